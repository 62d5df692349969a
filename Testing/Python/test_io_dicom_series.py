"""DICOM CT series: sorted by position, rescaled, placed; what is no even stack is refused."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid
from rotations import rotation_matrix
from xrecon.io.dicom_pixels import decode_with_gdcm, read_dataset, stored_pixels
from xrecon.io.dicom_series import series_images
from xrecon.io.image import read_volume
from xrecon.io.pydicom_versions import is_pydicom_3, save_dataset
from xrecon.volume import InputError, Quantity, Volume

DIRECTION = rotation_matrix((0.2, 1.0, -0.3), 20.0)
SPACING = (2.5, 0.8, 0.7)
ORIGIN = (-100.5, 40.25, 700.0)


def ct_series(count: int = 7, seed: int = 1, **changes: object) -> tuple[Volume, list[FileDataset]]:
    """An oblique CT series as data sets in order of position, and the volume it shows.

    Stored as 12 of 16 bits with slope 2 and intercept -1024; `changes` go into every data set.
    """
    stored = np.random.default_rng(seed).integers(0, 2000, (count, 11, 13), dtype=np.uint16)
    volume = Volume(stored * np.int16(2) - 1024, SPACING, ORIGIN, DIRECTION)
    series, study = generate_uid(), generate_uid()
    files = []
    for number in range(count):
        dataset = FileDataset("", {}, file_meta=FileMetaDataset(), preamble=bytes(128))
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = CTImageStorage
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
        dataset.Modality, dataset.SeriesInstanceUID, dataset.StudyInstanceUID = "CT", series, study
        dataset.SeriesDescription = "oblique"
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        dataset.InstanceNumber = (number * 3) % count  # says nothing about the place
        dataset.Rows, dataset.Columns = stored.shape[1:]
        dataset.PixelSpacing = [f"{s:.6f}" for s in SPACING[1:]]
        dataset.ImageOrientationPatient = [f"{c:.6f}" for c in (*DIRECTION[:, 0], *DIRECTION[:, 1])]
        position = volume.index_to_world(np.array([0, 0, number]))
        dataset.ImagePositionPatient = [f"{p:.4f}" for p in position]
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
        dataset.PixelRepresentation = 0
        dataset.RescaleSlope, dataset.RescaleIntercept = "2", "-1024"
        dataset.PixelData = stored[number].tobytes()
        for key, value in changes.items():
            setattr(dataset, key, value)
        files.append(dataset)
    return volume, files


def save(folder: Path, files: list[FileDataset], *, names: str = "IM{:04d}") -> Path:
    """The files under names whose order is not that of the positions."""
    folder.mkdir(parents=True, exist_ok=True)
    order = np.random.default_rng(0).permutation(len(files))
    for name, number in enumerate(order):
        save_dataset(files[number], folder / names.format(name))
    return folder


def test_unsorted_oblique_series(tmp_path: Path) -> None:
    volume, files = ct_series()
    folder = save(tmp_path / "ct" / "deeper", files).parent
    (folder / "readme.txt").write_text("not an image")
    (folder / "empty").touch()
    read = read_volume(folder)
    assert read.array.dtype == np.int16
    assert np.array_equal(read.array, volume.array)
    assert series_images(folder) == [(CTImageStorage, file.SOPInstanceUID) for file in files]
    assert read.same_grid(volume, 2e-4)  # the file's own decimals
    assert read.spacing == pytest.approx(SPACING, abs=1e-4)
    assert read.quantity is Quantity.HU
    assert read.meta["SeriesInstanceUID"] == files[0].SeriesInstanceUID
    assert read.meta["SeriesDescription"] == "oblique"
    assert "left out" not in read.meta
    assert "series" not in read.meta


def test_agrees_with_itk(tmp_path: Path) -> None:
    """ITK's own series reader, given the files in order, sees the same voxels at the same places."""
    _, files = ct_series()
    folder = save(tmp_path, files)
    read = read_volume(folder)
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
    image = sitk.ReadImage(names)
    assert np.array_equal(sitk.GetArrayFromImage(image), read.array)
    assert image.TransformIndexToPhysicalPoint((12, 10, 6)) == pytest.approx(
        tuple(read.index_to_world(np.array([12, 10, 6]))), abs=1e-3
    )


def test_slices_from_head_to_feet_give_the_same_volume(tmp_path: Path) -> None:
    _, files = ct_series()
    a = read_volume(save(tmp_path / "a", files))
    b = read_volume(save(tmp_path / "b", files[::-1]))
    assert np.array_equal(a.array, b.array)
    assert a.same_grid(b, 1e-9)
    assert np.linalg.det(a.direction) == pytest.approx(1)


def test_fractional_rescale_and_signed_pixels(tmp_path: Path) -> None:
    volume, files = ct_series(RescaleSlope="0.5", RescaleIntercept="-1000.25")
    read = read_volume(save(tmp_path / "half", files))
    assert read.array.dtype == np.float32
    assert np.array_equal(read.array, (volume.array + 1024) / 4 - 1000.25)
    signed = np.random.default_rng(2).integers(-2048, 2047, (7, 11, 13), dtype=np.int16)
    _, files = ct_series(PixelRepresentation=1, RescaleSlope="1", RescaleIntercept="0")
    for dataset, plane in zip(files, signed, strict=True):
        # An old device: the upper four bits hold an overlay instead of the sign.
        dataset.PixelData = (plane.astype(np.uint16) & 0x0FFF | 0x3000).tobytes()
    assert np.array_equal(read_volume(save(tmp_path / "signed", files)).array, signed)


def test_rescale_may_differ_from_slice_to_slice(tmp_path: Path) -> None:
    volume, files = ct_series()
    files[3].RescaleIntercept = "-1000"
    expected = volume.array.copy()
    expected[3] += 24
    assert np.array_equal(read_volume(save(tmp_path, files)).array, expected)


def test_the_largest_ct_series_is_read(tmp_path: Path) -> None:
    _, small = ct_series(3)
    volume, large = ct_series(6, seed=5)
    _, scout = ct_series(9, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    _, other = ct_series(12, Modality="PT")
    for name, files in (("a", small), ("b", large), ("c", scout), ("d", other)):
        save(tmp_path / name, files)
    read = read_volume(tmp_path)
    assert np.array_equal(read.array, volume.array)
    assert read.meta["series"] == "the largest of 2 CT series"


def test_stray_images_of_the_series_are_left_out_and_counted(tmp_path: Path) -> None:
    volume, files = ct_series()
    _, stray = ct_series(2, SeriesInstanceUID=files[0].SeriesInstanceUID)
    stray[0].ImageOrientationPatient = [1, 0, 0, 0, 0, -1]  # a coronal reformat
    del stray[1].ImagePositionPatient  # a dose report picture
    read = read_volume(save(tmp_path, files + stray))
    assert np.array_equal(read.array, volume.array)
    assert read.meta["left out"] == "2 of 9 images of the series"


def test_copies_of_a_file_count_once(tmp_path: Path) -> None:
    volume, files = ct_series()
    save(tmp_path, files)
    save(tmp_path / "backup", files[:4])
    assert np.array_equal(read_volume(tmp_path).array, volume.array)


@pytest.mark.parametrize("compressor", ["JPEG", "JPEG2000"])
def test_compressed_slices(tmp_path: Path, compressor: str) -> None:
    """JPEG lossless goes through GDCM, JPEG 2000 through pillow: the same numbers as uncompressed."""
    volume, files = ct_series(3)
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.UseCompressionOn()
    writer.SetCompressor(compressor)
    for dataset in files:
        plane = dataset.pixel_array
        writer.SetFileName(str(tmp_path / "one.dcm"))
        writer.Execute(sitk.GetImageFromArray(plane))
        compressed = pydicom.dcmread(tmp_path / "one.dcm")
        assert compressed.file_meta.TransferSyntaxUID.is_compressed
        dataset.PixelData = compressed.PixelData
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = compressed.file_meta.TransferSyntaxUID
        dataset.BitsStored, dataset.HighBit = compressed.BitsStored, compressed.HighBit
        (tmp_path / "one.dcm").unlink()
    assert np.array_equal(read_volume(save(tmp_path, files)).array, volume.array)


def test_implicit_vr_and_no_preamble(tmp_path: Path) -> None:
    volume, files = ct_series()
    for number, dataset in enumerate(files):
        bare = copy.deepcopy(dataset)
        bare.file_meta = FileMetaDataset()
        bare.preamble = None
        options = {"implicit_vr": True, "little_endian": True} if is_pydicom_3() else {}
        if not options:
            bare.is_implicit_VR, bare.is_little_endian = True, True
        pydicom.dcmwrite(tmp_path / f"{number}.dcm", bare, **options)
    assert (tmp_path / "0.dcm").read_bytes()[128:132] != b"DICM"
    assert read_dataset(tmp_path / "0.dcm").file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
    assert np.array_equal(read_volume(tmp_path).array, volume.array)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_gdcm_gives_stored_values(photometric: str) -> None:
    """Neither rescaled nor inverted, although ITK does both when it meets those tags."""
    _, files = ct_series(1, PhotometricInterpretation=photometric)
    expected = np.frombuffer(files[0].PixelData, np.uint16).reshape(11, 13)
    assert np.array_equal(decode_with_gdcm(files[0]), expected)
    assert np.array_equal(stored_pixels(files[0], "x"), expected)


# -- bad inputs --------------------------------------------------------------------------------
def refused(folder: Path, files: list[FileDataset], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_volume(save(folder, files))


def test_missing_slice(tmp_path: Path) -> None:
    _, files = ct_series()
    refused(tmp_path, files[:3] + files[4:], r"misses slices: 5\.00 mm after .* 2\.50 mm apart \(1 such")


def test_two_time_points(tmp_path: Path) -> None:
    _, first = ct_series()
    _, second = ct_series(seed=2, SeriesInstanceUID=first[0].SeriesInstanceUID)
    refused(tmp_path, first + second, "several at")


def test_uneven_slices(tmp_path: Path) -> None:
    _, files = ct_series()
    moved = np.array(files[3].ImagePositionPatient, float) + 0.8 * DIRECTION[:, 2]
    files[3].ImagePositionPatient = [f"{p:.4f}" for p in moved]
    refused(tmp_path, files, r"evenly spaced slices in .* 0\.80 mm")


def test_gantry_tilt(tmp_path: Path) -> None:
    _, files = ct_series()
    for number, dataset in enumerate(files):
        moved = np.array(dataset.ImagePositionPatient, float) + 0.5 * number * DIRECTION[:, 1]
        dataset.ImagePositionPatient = [f"{p:.4f}" for p in moved]
    refused(tmp_path, files, r"shift sideways by 3\.0 mm \(gantry tilt\)")


def test_no_ct_in_the_folder(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="expected a DICOM CT series in .*empty, found no DICOM images in 0"):
        read_volume(tmp_path / "empty")
    _, files = ct_series(2, Modality="MR")
    refused(tmp_path / "mr", files, "found 2 MR in 2 files")
    _, files = ct_series(1)
    refused(tmp_path / "one", files, "several slices in .*one, got one")


def test_no_geometry(tmp_path: Path) -> None:
    _, files = ct_series()
    for dataset in files:
        del dataset.ImagePositionPatient
    refused(tmp_path, files, "position and orientation")


def test_multi_frame_ct(tmp_path: Path) -> None:
    _, files = ct_series(1, NumberOfFrames=5)
    refused(tmp_path, files, "multi-frame")


def test_one_file_of_a_series_or_a_radiograph(tmp_path: Path) -> None:
    _, files = ct_series(1)
    save(tmp_path, files, names="a.dcm")
    with pytest.raises(InputError, match="expected the folder with all slices of the CT series.*a.dcm"):
        read_volume(tmp_path / "a.dcm")
    _, files = ct_series(1, Modality="DX")
    save(tmp_path, files, names="IM{}")  # no extension: known by its content
    with pytest.raises(InputError, match="expected a CT, got an image of modality DX: give it as a radiog"):
        read_volume(tmp_path / "IM0")
    (tmp_path / "text.dcm").write_text("just text")
    with pytest.raises(InputError, match="DICOM.*text.dcm"):
        read_volume(tmp_path / "text.dcm")


def test_damaged_pixels(tmp_path: Path) -> None:
    _, files = ct_series()
    files[2].PixelData = files[2].PixelData[:100]
    refused(tmp_path / "short", files, "expected readable pixels in")
    _, files = ct_series()
    del files[4].PixelData
    refused(tmp_path / "none", files, "has no PixelData")


def test_a_real_radiograph_is_no_ct(data_dir: Path) -> None:
    with pytest.raises(InputError, match="expected a CT, got an image of modality CR: give it as a radiog"):
        read_volume(data_dir / "radiographs" / "rsna_patientA.dcm")
    with pytest.raises(InputError, match="found 2 CR in 2 files"):
        read_volume(data_dir / "radiographs")
