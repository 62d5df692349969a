"""Volumes through files: exact on oblique, anisotropic, odd grids; every bad input has one clear sentence."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image
from xrecon.io import atomic
from xrecon.io.image import from_sitk, read_volume, storable, to_sitk, write_volume
from xrecon.volume import InputError, Quantity, Volume

FORMATS = (".nrrd", ".nii.gz", ".nii", ".mha")
# NIfTI keeps its affine in float32: 1e-4 mm at 1 m from the origin; the others in decimal doubles.
TOLERANCE_MM = {".nrrd": 1e-9, ".mha": 1e-9, ".nii.gz": 2e-4, ".nii": 2e-4}


def corners(volume: Volume) -> np.ndarray:
    ends = [(0, n - 1) for n in volume.shape[::-1]]
    return volume.index_to_world(np.array(np.meshgrid(*ends)).reshape(3, -1).T)


def mirrored(volume: Volume) -> Volume:
    """A left-handed grid: slices stacked from head to feet."""
    direction = volume.direction.copy()
    direction[:, 2] *= -1
    return Volume(volume.array, volume.spacing, volume.origin, direction, volume.quantity, volume.meta)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("left_handed", [False, True])
@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.uint8])
def test_round_trip(
    oblique_volume: Volume, tmp_path: Path, suffix: str, left_handed: bool, dtype: type
) -> None:
    volume = oblique_volume.with_array((oblique_volume.array / 16.5).astype(dtype))
    volume = mirrored(volume) if left_handed else volume
    path = tmp_path / f"ct{suffix}"
    write_volume(volume, path)
    read = read_volume(path)
    assert read.array.dtype == dtype
    assert np.array_equal(read.array, volume.array)
    assert np.abs(corners(read) - corners(volume)).max() < TOLERANCE_MM[suffix]
    assert np.allclose(read.spacing, volume.spacing, rtol=0, atol=1e-6)
    assert np.linalg.det(read.direction) == pytest.approx(-1 if left_handed else 1, abs=1e-6)
    assert read.quantity is Quantity.HU
    assert dict(read.meta) == {**volume.meta, "file": path.name}


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_second_round_trip_changes_nothing(oblique_volume: Volume, tmp_path: Path, suffix: str) -> None:
    for name in ("a", "b"):
        write_volume(oblique_volume, tmp_path / f"{name}{suffix}")
        once, oblique_volume = oblique_volume, read_volume(tmp_path / f"{name}{suffix}")
    assert np.allclose(once.affine, oblique_volume.affine, rtol=0, atol=1e-6 if "nii" in suffix else 1e-12)


@pytest.mark.parametrize("suffix", FORMATS)
def test_provenance_survives(oblique_volume: Volume, tmp_path: Path, suffix: str) -> None:
    meta = {"model": "x-recon ü", "note": 'two\nlines; a := b = c \\ "q"', "synthetic": "yes"}
    volume = oblique_volume.with_array(oblique_volume.array, quantity=Quantity.ATTENUATION, **meta)
    write_volume(volume, tmp_path / f"mu{suffix}")
    read = read_volume(tmp_path / f"mu{suffix}", Quantity.ATTENUATION)
    assert {key: read.meta[key] for key in meta} == meta
    with pytest.raises(InputError, match="'HU'.*'attenuation'"):
        read_volume(tmp_path / f"mu{suffix}")


def test_axes_and_frame_agree_with_itk(tmp_path: Path) -> None:
    """One bright voxel: index order (x, y, z) and LPS positions as ITK itself reports them."""
    array = np.zeros((5, 7, 9), np.int16)
    array[3, 2, 6] = 1000
    volume = Volume(array, (2.0, 0.5, 0.75), (10.0, -20.0, 30.0))
    write_volume(volume, tmp_path / "a.nrrd")
    image = sitk.ReadImage(str(tmp_path / "a.nrrd"))
    assert image.GetPixel(6, 2, 3) == 1000
    assert image.TransformIndexToPhysicalPoint((6, 2, 3)) == pytest.approx((14.5, -19.0, 36.0))
    assert volume.index_to_world(np.array([6, 2, 3])) == pytest.approx((14.5, -19.0, 36.0))
    # NIfTI holds RAS: the same place has x and y negated in its affine.
    write_volume(volume, tmp_path / "a.nii")
    header = np.frombuffer((tmp_path / "a.nii").read_bytes()[280:328], "<f4").reshape(3, 4)
    assert np.allclose(header @ (6, 2, 3, 1), (-14.5, 19.0, 36.0), atol=1e-5)


def test_sitk_both_ways(oblique_volume: Volume, label_volume: Volume) -> None:
    assert from_sitk(to_sitk(oblique_volume)).same_grid(oblique_volume, 1e-9)
    again = from_sitk(to_sitk(label_volume), Quantity.LABEL)
    assert np.array_equal(again.array, label_volume.array)
    assert dict(again.meta) == dict(label_volume.meta)
    with pytest.raises(InputError, match="'HU', got 'label'"):
        from_sitk(to_sitk(label_volume))


@pytest.mark.parametrize(
    ("array", "dtype"),
    [
        (np.array([True, False]), np.uint8),
        (np.array([1.5], np.float16), np.float32),
        (np.array([-5, 2**20]), np.int32),
        (np.array([2**40]), np.int64),
        (np.array([-7], ">i2"), np.int16),
        (np.array([0.1]), np.float64),
    ],
)
def test_storable_keeps_the_numbers(array: np.ndarray, dtype: type) -> None:
    stored = storable(array)
    assert stored.dtype == dtype
    assert stored.dtype.isnative
    assert np.array_equal(stored, array)


def test_labels_stored_as_floats_become_integers(oblique_volume: Volume, tmp_path: Path) -> None:
    floats = np.round(oblique_volume.array / 1000.0).astype(np.float32)
    sitk.WriteImage(sitk.GetImageFromArray(floats), str(tmp_path / "l.nii.gz"))
    labels = read_volume(tmp_path / "l.nii.gz", Quantity.LABEL)
    assert labels.array.dtype == np.int16
    assert np.array_equal(labels.array, floats)
    sitk.WriteImage(sitk.GetImageFromArray(floats + 0.25), str(tmp_path / "f.nii.gz"))
    with pytest.raises(InputError, match="fractions"):
        read_volume(tmp_path / "f.nii.gz", Quantity.LABEL)


def test_a_time_series_of_one_is_a_volume(tmp_path: Path) -> None:
    image = sitk.JoinSeries([sitk.GetImageFromArray(np.arange(60, dtype=np.int16).reshape(3, 4, 5))])
    sitk.WriteImage(image, str(tmp_path / "t1.nii"))
    assert read_volume(tmp_path / "t1.nii").shape == (3, 4, 5)
    sitk.WriteImage(sitk.JoinSeries([image[..., 0]] * 2), str(tmp_path / "t2.nii"))
    with pytest.raises(InputError, match="3D.*5 x 4 x 3 x 2.*t2.nii"):
        read_volume(tmp_path / "t2.nii")


def test_sidecar_of_another_file_is_passed_over(oblique_volume: Volume, tmp_path: Path) -> None:
    write_volume(oblique_volume, tmp_path / "a.mha")
    other = oblique_volume.with_array(oblique_volume.array, quantity=Quantity.ATTENUATION)
    write_volume(other, tmp_path / "a.nii.gz")  # has its sidecar under its whole name
    assert {path.name for path in tmp_path.glob("*.json")} == {"a.json", "a.nii.gz.json"}
    assert dict(read_volume(tmp_path / "a.mha").meta) == {**oblique_volume.meta, "file": "a.mha"}
    assert read_volume(tmp_path / "a.nii.gz", Quantity.ATTENUATION).quantity is Quantity.ATTENUATION
    (tmp_path / "a.nii.gz.json").unlink()
    assert read_volume(tmp_path / "a.nii.gz").quantity is Quantity.HU  # a.json is that of a.mha
    (tmp_path / "a.json").write_text(json.dumps({"Modality": "CT"}))  # another program's
    assert read_volume(tmp_path / "a.nii.gz").quantity is Quantity.HU
    (tmp_path / "a.json").write_text("{not json")
    with pytest.raises(InputError, match="a.json"):
        read_volume(tmp_path / "a.nii.gz")


# -- bad inputs --------------------------------------------------------------------------------
def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="expected a CT volume.*absent.nrrd"):
        read_volume(tmp_path / "absent.nrrd")


def test_not_an_image(tmp_path: Path) -> None:
    for name, content in (
        ("text.nii.gz", b"just text"),
        ("zeros.nrrd", bytes(400)),
        ("noise.mha", bytes(range(256)) * 4),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=f"expected a CT volume, cannot read .*{name}"):
            read_volume(tmp_path / name)
    (tmp_path / "empty.nrrd").touch()
    with pytest.raises(InputError, match=r"empty.nrrd \(0 bytes\)"):
        read_volume(tmp_path / "empty.nrrd")
    (tmp_path / "ct.txt").write_text("just text")
    with pytest.raises(InputError, match=r"\.nrrd.*ct\.txt"):
        read_volume(tmp_path / "ct.txt")


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_cut_short(oblique_volume: Volume, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"ct{suffix}"
    write_volume(oblique_volume, path)
    path.write_bytes(path.read_bytes()[:-600])
    with pytest.raises(InputError, match=f"cannot read .*ct{suffix}"):
        read_volume(path)


def test_pictures_and_colours(tmp_path: Path, rng: np.random.Generator) -> None:
    grey = rng.integers(0, 255, (31, 37), dtype=np.uint8)
    Image.fromarray(grey).save(tmp_path / "xray.png")
    with pytest.raises(InputError, match="expected a CT volume.*xray.png"):
        read_volume(tmp_path / "xray.png")
    sitk.WriteImage(sitk.GetImageFromArray(grey), str(tmp_path / "flat.nrrd"))
    with pytest.raises(InputError, match="3D image with several slices, got size 37 x 31 in .*flat.nrrd"):
        read_volume(tmp_path / "flat.nrrd")
    sitk.WriteImage(sitk.GetImageFromArray(grey[None]), str(tmp_path / "slice.nrrd"))
    with pytest.raises(InputError, match="37 x 31 x 1"):
        read_volume(tmp_path / "slice.nrrd")
    colours = sitk.GetImageFromArray(rng.integers(0, 255, (5, 6, 7, 3), dtype=np.uint8), isVector=True)
    sitk.WriteImage(colours, str(tmp_path / "rgb.nrrd"))
    with pytest.raises(InputError, match="one number per voxel, got 3"):
        read_volume(tmp_path / "rgb.nrrd")


def test_nan(oblique_volume: Volume, tmp_path: Path) -> None:
    array = oblique_volume.array.astype(np.float32)
    array[1, 2, 3], array[4, 5, 6] = np.nan, np.inf
    write_volume(oblique_volume.with_array(array), tmp_path / "nan.nrrd")
    with pytest.raises(InputError, match="nan.nrrd, got 2 NaN or infinite"):
        read_volume(tmp_path / "nan.nrrd")


def test_sheared_nifti_is_refused(oblique_volume: Volume, tmp_path: Path) -> None:
    """A gantry tilt kept as a shear in the sform has no orthonormal axes."""
    path = tmp_path / "tilt.nii"
    write_volume(oblique_volume, path)
    data = bytearray(path.read_bytes())
    affine = np.frombuffer(data, "<f4", 12, 280).copy().reshape(3, 4)
    affine[1, 2] += 0.8
    data[280:328] = affine.tobytes()
    data[252:254] = bytes(2)  # no qform: the sform alone counts
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"tilt\.nii"):
        read_volume(path)


# -- bad outputs -------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["ct.txt", "ct", "ct.mhd", "ct.seg.nrrd", "ct.dcm"])
def test_unknown_extension(oblique_volume: Volume, tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=name):
        write_volume(oblique_volume, tmp_path / name)
    assert os.listdir(tmp_path) == []


def test_unwritable_folder(oblique_volume: Volume, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("in the way")
    with pytest.raises(OSError, match="out: a file stands where"):
        write_volume(oblique_volume, tmp_path / "out" / "ct.nrrd")
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("suffix", FORMATS)
def test_full_disk(
    oblique_volume: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    path = tmp_path / f"ct{suffix}"
    write_volume(oblique_volume, path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(OSError, match="disk is full"):
        write_volume(oblique_volume.moved((1, 2, 3)), path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


# -- real data, and weight ---------------------------------------------------------------------
def test_real_ct(data_dir: Path, tmp_path: Path) -> None:
    volume = read_volume(data_dir / "lidc_0001.nii.gz")
    assert volume.array.dtype == np.int16
    assert volume.spacing == pytest.approx((1.6, 1.6, 1.6), abs=1e-5)
    assert np.allclose(volume.direction, np.eye(3), atol=1e-6)
    assert -1100 < volume.array.min() < -1000 < 1000 < volume.array.max()
    write_volume(volume, tmp_path / "ct.nrrd")
    again = read_volume(tmp_path / "ct.nrrd")
    assert again.same_grid(volume, 1e-9)
    assert np.array_equal(again.array, volume.array)


def test_real_labels_lie_on_their_ct(data_dir: Path) -> None:
    volume = read_volume(data_dir / "cip_ct64.nrrd")
    labels = read_volume(data_dir / "cip_ct64_labels.nrrd", Quantity.LABEL)
    assert volume.same_grid(labels)
    assert np.median(volume.array[labels.array > 0]) < -600 < np.median(volume.array[labels.array == 0])


def test_import_is_light(repository: Path) -> None:
    code = (
        "import sys, xrecon.io.image, xrecon.io.radiograph, xrecon.io.segmentation;"
        "heavy = {'torch', 'SimpleITK', 'pydicom', 'monai', 'skimage', 'scipy', 'slicer'} & set(sys.modules);"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    environment = {**os.environ, "PYTHONPATH": str(repository / "XReconSlicer")}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
