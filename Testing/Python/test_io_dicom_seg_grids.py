"""DICOM segmentations on another grid or in another frame of reference than the CT, and sheared frames."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from export_inputs import labels, reconstruction
from xrecon.export import export
from xrecon.io.dicom_ct_images import CtImages, ct_images_of
from xrecon.io.dicom_ct_writer import write_ct_series
from xrecon.io.dicom_seg import RESAMPLED, read_dicom_seg
from xrecon.io.dicom_seg_writer import write_dicom_seg
from xrecon.io.dicom_series import series_files
from xrecon.io.image import read_volume
from xrecon.volume import InputError, Quantity, Volume


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Volume, CtImages]:
    """A folder with a CT series and its segmentation, the labels, and the CT's images."""
    folder = tmp_path_factory.mktemp("pair")
    volume = reconstruction()
    ct = write_ct_series(volume, folder / "ct")
    write_dicom_seg(labels(volume), folder / "seg.dcm", ct=ct)
    return folder, labels(volume), ct


# -- reading -------------------------------------------------------------------------------------
def test_on_its_own_ct_nothing_is_resampled(pair: tuple[Path, Volume, CtImages]) -> None:
    folder, expected, _ = pair
    read, _ = read_dicom_seg(folder / "seg.dcm", read_volume(folder / "ct"))
    turned = Volume(
        expected.array[:, ::-1],
        expected.spacing,
        tuple(expected.index_to_world(np.array([0, expected.shape[1] - 1, 0]))),
        expected.direction * np.array([1.0, -1.0, 1.0]),
        Quantity.LABEL,
    )
    on_turned, _ = read_dicom_seg(folder / "seg.dcm", turned)
    assert np.array_equal(read.array, expected.array) and np.array_equal(on_turned.array, turned.array)
    assert RESAMPLED not in read.meta and RESAMPLED not in on_turned.meta


def test_on_another_grid_it_says_so(pair: tuple[Path, Volume, CtImages], tmp_path: Path) -> None:
    folder, expected, _ = pair
    direction = expected.direction
    between = Volume(np.zeros((9, 11, 13), np.float32), (2.5, 0.7, 1.3), expected.origin, direction)
    read, _ = read_dicom_seg(folder / "seg.dcm", between)
    assert read.meta[RESAMPLED] == (
        "the segmentation's voxels of 1.3 x 0.7031 x 2.5 mm were put on the CT's of 1.3 x 0.7 x 2.5 mm, "
        "the nearest"
    )
    first = Volume(np.zeros((4, 11, 13), np.int16), expected.spacing, expected.origin, direction)
    read, _ = read_dicom_seg(folder / "seg.dcm", first)
    lost = int((expected.array[4:] > 0).sum())
    every = int((expected.array > 0).sum())
    assert np.array_equal(read.array, expected.array[:4])
    assert read.meta[RESAMPLED] == (
        f"{lost} of {every} voxels of the segmentation lie outside the CT and were left out"
    )


def test_another_examinations_segmentation_is_refused(
    pair: tuple[Path, Volume, CtImages], tmp_path: Path
) -> None:
    folder, expected, _ = pair
    ct = read_volume(folder / "ct")
    other = replace(ct, meta={**ct.meta, "FrameOfReferenceUID": "1.2.3.4"})
    with pytest.raises(InputError, match="frame of reference"):
        read_dicom_seg(folder / "seg.dcm", other)
    with pytest.raises(InputError, match="no voxel lies in it"):
        read_dicom_seg(folder / "seg.dcm", expected.moved(np.array([500.0, 0, 0])))


def test_an_export_warns_of_resampling(pair: tuple[Path, Volume, CtImages], tmp_path: Path) -> None:
    from xrecon.io.image import write_volume

    folder, expected, _ = pair
    hu = Volume(np.zeros((9, 11, 13), np.int16), (2.5, 0.7, 1.3), expected.origin, expected.direction)
    write_volume(hu, tmp_path / "ct.nrrd")
    arguments = (tmp_path / "out", "nrrd", folder / "seg.dcm", None, lambda *_: None)
    (warning,) = export(tmp_path / "ct.nrrd", *arguments).warnings
    assert warning.startswith("the segmentation's voxels of 1.3 x 0.7031 x 2.5 mm were put on")


def test_frames_that_are_no_straight_stack_are_refused(
    pair: tuple[Path, Volume, CtImages], tmp_path: Path
) -> None:
    folder, expected, _ = pair
    dataset = pydicom.dcmread(folder / "seg.dcm")
    for number, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        place = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
        moved = place + 0.5 * number * expected.direction[:, 0]
        frame.PlanePositionSequence[0].ImagePositionPatient = [f"{value:.6f}" for value in moved]
    dataset.save_as(tmp_path / "sheared.dcm")
    with pytest.raises(InputError, match="shift sideways by"):
        read_dicom_seg(tmp_path / "sheared.dcm")
    dataset = pydicom.dcmread(folder / "seg.dcm")
    orientation = dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence
    del dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence
    for number, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        turned = pydicom.Dataset()
        turned.ImageOrientationPatient = orientation[0].ImageOrientationPatient
        if number == 2:
            turned.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        frame.PlaneOrientationSequence = [turned]
    dataset.save_as(tmp_path / "turned.dcm")
    with pytest.raises(InputError, match="parallel frames"):
        read_dicom_seg(tmp_path / "turned.dcm")


# -- writing -------------------------------------------------------------------------------------
def test_labels_of_other_pixels_than_the_cts_are_refused(
    pair: tuple[Path, Volume, CtImages], tmp_path: Path
) -> None:
    """All begin at the CT's first pixel, slice by slice."""
    folder, expected, made = pair
    read = ct_images_of(series_files(folder / "ct"))
    rows, columns = expected.shape[1:]
    coarse = Volume(
        expected.array[:, ::2, ::2],
        (2.5, 2 * 0.703125, 2 * 1.3),
        expected.origin,
        expected.direction,
        Quantity.LABEL,
    )
    cut = replace(expected, array=expected.array[:, : rows - 1])
    stretched = replace(expected, spacing=(2.5, 0.703125, 1.31))
    mirrored = replace(expected, direction=expected.direction * np.array([-1.0, -1.0, 1.0]))
    for ct in (made, read):
        assert ct.shape == (rows, columns) and ct.spacing == pytest.approx((0.703125, 1.3))
        assert np.allclose(ct.axes, expected.direction[:, :2].T, atol=1e-6)
        for wrong, words in (
            (coarse, "pixels of the CT, 11 x 13 pixels of 0.70312 x 1.3 mm, got 6 x 7 pixels"),
            (cut, "got 10 x 13 pixels"),
            (stretched, "got 11 x 13 pixels of 0.70312 x 1.31 mm"),
            (mirrored, "rows and columns along those of the CT"),
        ):
            with pytest.raises(InputError, match=words):
                write_dicom_seg(wrong, tmp_path / "a.dcm", ct=ct)
    assert not (tmp_path / "a.dcm").exists()
