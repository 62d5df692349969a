"""The DICOM segmentation we write: voxel for voxel, coded, tied to the images of its CT."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from export_inputs import SHAPE, labels, reconstruction
from pydicom.uid import CTImageStorage
from xrecon.io.dicom_checks import file_problems
from xrecon.io.dicom_ct_images import ct_images_of
from xrecon.io.dicom_ct_writer import write_ct_series
from xrecon.io.dicom_seg import read_dicom_seg
from xrecon.io.dicom_seg_writer import Algorithm, cielab_words, write_dicom_seg
from xrecon.io.dicom_series import series_files
from xrecon.io.dicom_study import Study, placeholder_study
from xrecon.io.image import read_volume
from xrecon.io.segmentation import PTX_SEGMENTS, SegmentDescription
from xrecon.volume import InputError, Quantity, Volume

# Written down from SNOMED CT, not taken from the code.
CODES = {
    "right lung": ("123037004", "39607008", "24028007"),
    "left lung": ("123037004", "39607008", "7771000"),
    "right pneumothorax": ("49755003", "36118008", "24028007"),
}


@pytest.fixture(scope="module", params=[False, True], ids=["right-handed", "left-handed"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Volume]:
    """A folder with a CT series and its segmentation, and the labels."""
    folder = tmp_path_factory.mktemp("pair")
    volume = reconstruction(left_handed=request.param)
    ct = write_ct_series(volume, folder / "ct")
    write_dicom_seg(labels(volume), folder / "seg.dcm", ct=ct)
    return folder, labels(volume)


def places_by_hand(dataset: pydicom.Dataset) -> dict[str, set[tuple[float, ...]]]:
    """LPS positions of all voxels of each segment, from the standard's attributes and pydicom's pixels."""
    shared = dataset.SharedFunctionalGroupsSequence[0]
    along_row, along_column = np.array(
        shared.PlaneOrientationSequence[0].ImageOrientationPatient, float
    ).reshape(2, 3)
    between_rows, between_columns = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    names = {item.SegmentNumber: item.SegmentLabel for item in dataset.SegmentSequence}
    found: dict[str, set[tuple[float, ...]]] = {name: set() for name in names.values()}
    frames = zip(dataset.PerFrameFunctionalGroupsSequence, dataset.pixel_array, strict=True)
    for frame, mask in frames:
        corner = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
        name = names[frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber]
        for row, column in np.argwhere(mask):
            place = corner + along_row * between_columns * column + along_column * between_rows * row
            found[name].add(tuple(np.round(place, 3)))
    return found


def places(volume: Volume) -> dict[str, set[tuple[float, ...]]]:
    found = {}
    for segment in PTX_SEGMENTS:
        index = np.argwhere(volume.array == segment.label)[:, ::-1]
        found[segment.name] = {tuple(np.round(p, 3)) for p in volume.index_to_world(index)}
    return {name: where for name, where in found.items() if where}


def test_every_voxel_is_in_its_place(pair: tuple[Path, Volume]) -> None:
    folder, expected = pair
    dataset = pydicom.dcmread(folder / "seg.dcm")
    assert places_by_hand(dataset) == places(expected)
    read, segments = read_dicom_seg(folder / "seg.dcm")
    assert [s.name for s in segments] == ["right lung", "left lung", "right pneumothorax"]
    assert places(read) == places(expected)  # on the file's own grid, from the first slice used to the last
    on_ct, _ = read_dicom_seg(folder / "seg.dcm", read_volume(folder / "ct"))
    assert on_ct.shape == SHAPE and places(on_ct) == places(expected)
    on_labels, _ = read_dicom_seg(folder / "seg.dcm", expected)
    assert np.array_equal(on_labels.array, expected.array)


def test_itk_finds_each_voxel_in_its_place(pair: tuple[Path, Volume], tmp_path: Path) -> None:
    """A reader that is not ours. It stacks the frames of a file as one volume with even steps, so that it
    gets one segment at a time, of those without a gap."""
    import SimpleITK as sitk

    folder, expected = pair
    ct = ct_images_of(series_files(folder / "ct"))
    for segment in PTX_SEGMENTS[:2]:
        path = tmp_path / f"{segment.label}.dcm"
        alone = np.where(expected.array == segment.label, segment.label, 0).astype(np.uint8)
        write_dicom_seg(expected.with_array(alone), path, ct=ct)
        image = sitk.ReadImage(str(path))
        array = sitk.GetArrayFromImage(image)
        # ITK leaves the last bits, when they fill no byte, as they were in memory; nothing lies there
        array.ravel()[array.size // 8 * 8 :] = 0
        voxels = np.argwhere(array)[:, ::-1].tolist()
        points = np.array([image.TransformIndexToPhysicalPoint(index) for index in voxels])
        index = expected.world_to_index(points)
        np.testing.assert_allclose(index, np.rint(index), atol=1e-3)
        found = np.zeros(expected.shape, dtype=np.uint8)
        found[tuple(np.rint(index).astype(int)[:, ::-1].T)] = segment.label
        assert np.array_equal(found, alone)


def test_each_frame_names_the_ct_image_in_its_plane(pair: tuple[Path, Volume]) -> None:
    folder, _ = pair
    dataset = pydicom.dcmread(folder / "seg.dcm")
    images = {}
    for path in sorted((folder / "ct").iterdir()):
        image = pydicom.dcmread(path, stop_before_pixels=True)
        images[str(image.SOPInstanceUID)] = image
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        (source,) = frame.DerivationImageSequence[0].SourceImageSequence
        image = images[source.ReferencedSOPInstanceUID]
        assert source.ReferencedSOPClassUID == CTImageStorage
        position = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
        assert np.allclose(position, np.array(image.ImagePositionPatient, float), atol=1e-6)
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID", "PatientName", "Rows", "Columns"):
        assert {image.get(keyword) for image in images.values()} == {dataset.get(keyword)}
    (series,) = dataset.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == image.SeriesInstanceUID != dataset.SeriesInstanceUID
    assert file_problems([folder / "seg.dcm"]) == []


def test_segments_are_coded_named_and_of_an_algorithm(pair: tuple[Path, Volume]) -> None:
    dataset = pydicom.dcmread(pair[0] / "seg.dcm")
    assert (dataset.Modality, dataset.SegmentationType) == ("SEG", "BINARY")
    assert list(dataset.ImageType) == ["DERIVED", "PRIMARY"]
    assert dataset.SeriesDescription.startswith("SYNTHETIC, not for diagnosis")
    assert dataset[0x0008, 0x001C].value == "YES"
    found = {}
    for number, item in enumerate(dataset.SegmentSequence, start=1):
        assert item.SegmentNumber == number and item.SegmentAlgorithmType == "AUTOMATIC"
        assert item.SegmentAlgorithmName == "PTX-Seg"
        (kind,) = item.SegmentedPropertyTypeCodeSequence
        (side,) = kind.SegmentedPropertyTypeModifierCodeSequence
        (category,) = item.SegmentedPropertyCategoryCodeSequence
        assert {c.CodingSchemeDesignator for c in (kind, side, category)} == {"SCT"}
        found[item.SegmentLabel] = (category.CodeValue, kind.CodeValue, side.CodeValue)
        (algorithm,) = item.SegmentationAlgorithmIdentificationSequence
        assert algorithm.AlgorithmName == "PTX-Seg" and algorithm.AlgorithmVersion
    assert found == CODES


def test_colours_are_those_of_a_calibrated_screen() -> None:
    """White, black and red by the tables of CIE and ICC (sRGB under D50): L*a*b* 54.29, 80.81, 69.89."""
    assert cielab_words((0, 0, 0)) == [0, round(128 / 255 * 65535), round(128 / 255 * 65535)]
    white = cielab_words((1, 1, 1))
    assert white[0] == 65535 and abs(white[1] - 32896) < 20 and abs(white[2] - 32896) < 20
    lightness, a, b = cielab_words((1, 0, 0))
    assert lightness * 100 / 65535 == pytest.approx(54.29, abs=0.02)
    assert a * 255 / 65535 - 128 == pytest.approx(80.81, abs=0.05)
    assert b * 255 / 65535 - 128 == pytest.approx(69.89, abs=0.05)


def test_empty_segments_are_left_out_and_told_and_nothing_at_all_is_refused(tmp_path: Path) -> None:
    volume = labels(reconstruction())
    notes = write_dicom_seg(volume, tmp_path / "a.dcm")
    assert notes == ["without a voxel and left out of the DICOM segmentation: left pneumothorax"]
    assert "left pneumothorax" in pydicom.dcmread(tmp_path / "a.dcm").ContentDescription
    left = volume.with_array(np.where(volume.array == 2, 4, 0).astype(np.uint8))
    write_dicom_seg(left, tmp_path / "b.dcm")
    (item,) = pydicom.dcmread(tmp_path / "b.dcm").SegmentSequence
    assert (item.SegmentNumber, item.SegmentLabel) == (1, "left pneumothorax")
    read, _ = read_dicom_seg(tmp_path / "b.dcm", left)
    assert np.array_equal(read.array == 1, left.array == 4)
    with pytest.raises(InputError, match="at least one voxel"):
        write_dicom_seg(volume.with_array(np.zeros_like(volume.array)), tmp_path / "c.dcm")
    with pytest.raises(InputError, match="only the labels"):
        write_dicom_seg(volume.with_array(volume.array + 3), tmp_path / "c.dcm")
    with pytest.raises(InputError, match=r"ending in \.dcm"):
        write_dicom_seg(volume, tmp_path / "c.nrrd")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.dcm", "b.dcm"]


def test_labels_that_do_not_lie_on_the_ct_are_refused(pair: tuple[Path, Volume], tmp_path: Path) -> None:
    folder, expected = pair
    ct = ct_images_of(series_files(folder / "ct"))
    normal = expected.direction[:, 2]
    with pytest.raises(InputError, match=r"slice 0\.40 mm off"):
        write_dicom_seg(expected.moved(0.4 * normal), tmp_path / "a.dcm", ct=ct)
    write_dicom_seg(expected.moved(0.04 * normal), tmp_path / "a.dcm", ct=ct)  # rounding in the CT's tags


def test_another_study_than_the_ct_refers_across_studies(pair: tuple[Path, Volume], tmp_path: Path) -> None:
    """De-identified: the patient of the CT is not in it, but its images can be found by who has them."""
    folder, expected = pair
    ct = ct_images_of(series_files(folder / "ct"))
    named = {**ct.study.attributes, "PatientName": "DOE^JOHN", "PatientID": "4711"}
    known = replace(ct, study=Study(ct.study.uid, named))
    write_dicom_seg(expected, tmp_path / "a.dcm", ct=known, study=placeholder_study())
    dataset = pydicom.dcmread(tmp_path / "a.dcm")
    assert "DOE" not in str(dataset) and "4711" not in str(dataset.PatientID)
    assert "ReferencedSeriesSequence" not in dataset
    (other,) = dataset.StudiesContainingOtherReferencedInstancesSequence
    assert other.StudyInstanceUID == ct.study.uid
    assert dataset.FrameOfReferenceUID == ct.frame_of_reference_uid
    assert file_problems([tmp_path / "a.dcm"]) == []
    write_dicom_seg(expected, tmp_path / "b.dcm", ct=known)
    assert str(pydicom.dcmread(tmp_path / "b.dcm").PatientName) == "DOE^JOHN"


def test_segments_without_a_code_are_tissue_and_a_real_ct_is_not_synthetic(tmp_path: Path) -> None:
    volume = replace(labels(reconstruction()), meta={})
    named = [SegmentDescription(n, f"class {n}", (0.1 * n, 0.2, 0.3)) for n in (1, 2, 3)]
    algorithm = Algorithm("X" * 80, "1", ("123110", "Artificial Intelligence"), "steps=3")
    write_dicom_seg(volume, tmp_path / "a.dcm", segments=named, algorithm=algorithm)
    dataset = pydicom.dcmread(tmp_path / "a.dcm")
    for item in dataset.SegmentSequence:
        assert item.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Tissue"
        (used,) = item.SegmentationAlgorithmIdentificationSequence
        assert used.AlgorithmFamilyCodeSequence[0].CodeMeaning == "Artificial Intelligence"
        assert used.AlgorithmParameters == "steps=3" and len(used.AlgorithmName) == 64
    assert (0x0008, 0x001C) not in dataset and "SYNTHETIC" not in dataset.SeriesDescription
    assert [s.name for s in read_dicom_seg(tmp_path / "a.dcm")[1]] == ["class 1", "class 2", "class 3"]


def test_what_is_no_segmentation_is_refused(pair: tuple[Path, Volume], tmp_path: Path) -> None:
    folder, _ = pair
    with pytest.raises(InputError, match="with binary segments"):
        read_dicom_seg(folder / "ct" / "0001.dcm")
    with pytest.raises(FileNotFoundError):
        read_dicom_seg(tmp_path / "none.dcm")
    for keyword in ("SharedFunctionalGroupsSequence", "NumberOfFrames", "SegmentSequence", "PixelData"):
        dataset = pydicom.dcmread(folder / "seg.dcm")
        delattr(dataset, keyword)
        dataset.save_as(tmp_path / "a.dcm")
        with pytest.raises(InputError, match="complete DICOM segmentation"):
            read_dicom_seg(tmp_path / "a.dcm")
    dataset = pydicom.dcmread(folder / "seg.dcm")
    dataset.PixelData = dataset.PixelData[:10]
    dataset.save_as(tmp_path / "a.dcm")
    with pytest.raises(InputError, match="bits in a DICOM segmentation"):
        read_dicom_seg(tmp_path / "a.dcm")


def test_highdicom_reads_the_same(pair: tuple[Path, Volume]) -> None:
    """An independent reader, where it is installed (it needs pydicom 3, which Slicer 5.10 has not)."""
    highdicom = pytest.importorskip("highdicom", reason="needs highdicom")
    folder, expected = pair
    seg = highdicom.seg.segread(folder / "seg.dcm")
    assert [seg.get_segment_description(n).segment_label for n in (1, 2, 3)] == list(CODES)
    found = seg.get_volume(combine_segments=True)
    index = np.argwhere(found.array)
    voxels = found.map_indices_to_reference(index)
    for name, label in (("right lung", 1), ("left lung", 2), ("right pneumothorax", 3)):
        here = found.array[tuple(index.T)] == label
        assert {tuple(np.round(p, 3)) for p in voxels[here]} == places(expected)[name]


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy of dicom3tools")
def test_a_validator_finds_no_error(pair: tuple[Path, Volume], tmp_path: Path) -> None:
    folder, expected = pair
    write_dicom_seg(replace(expected, meta={}), tmp_path / "alone.dcm")
    for path in (folder / "seg.dcm", tmp_path / "alone.dcm"):
        run = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False)
        assert "Segmentation" in run.stderr
        wrong = [line for line in run.stderr.splitlines() if line.startswith("Error")]
        # Synthetic Data (0008,001C) is younger than the validator's releases
        assert [line for line in wrong if "(0008,001c)" not in line] == []


def test_labels_of_the_wrong_kind_are_refused(tmp_path: Path) -> None:
    volume = reconstruction()
    with pytest.raises(InputError, match="whole numbers"):
        write_dicom_seg(volume.with_array(volume.array, Quantity.LABEL), tmp_path / "a.dcm")
