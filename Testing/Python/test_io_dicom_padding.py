"""Pixels that DICOM files call padding are neither tissue nor contrast."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dicom_inputs import SHAPE, acquired
from test_io_dicom_series import ct_series, save
from xrecon.io.image import read_volume
from xrecon.io.radiograph import read_radiograph

PADDED = np.zeros((11, 13), dtype=bool)
PADDED[:2, :3], PADDED[-1], PADDED[:, -2:] = True, True, True


# -- CT ------------------------------------------------------------------------------------------
def padded_series(value: int, signed: bool, **tags: object) -> tuple[np.ndarray, list]:
    """A series with padding around every slice, and its HU with air there."""
    volume, files = ct_series(PixelRepresentation=int(signed), BitsStored=16, HighBit=15, **tags)
    expected = volume.array.copy()
    for dataset, plane in zip(files, expected, strict=True):
        stored = (plane.astype(int) + 1024) // 2
        stored[PADDED] = value
        plane[PADDED] = -1024
        dataset.PixelData = stored.astype("<i2" if signed else "<u2").tobytes()
    return expected, files


@pytest.mark.parametrize(
    ("value", "signed", "tags"),
    [
        (-2000, True, {"PixelPaddingValue": -2000}),
        (30000, True, {"PixelPaddingValue": 30000}),
        (4095, False, {"PixelPaddingValue": 4095}),
        (4090, False, {"PixelPaddingValue": 4095, "PixelPaddingRangeLimit": 4080}),
        (2500, False, {"PixelPaddingValue": 2400, "PixelPaddingRangeLimit": 2600}),
    ],
)
def test_padding_of_a_ct_is_air(tmp_path: Path, value: int, signed: bool, tags: dict[str, int]) -> None:
    expected, files = padded_series(value, signed, **tags)
    read = read_volume(save(tmp_path, files))
    assert np.array_equal(read.array, expected)
    assert read.meta["padding"] == f"{7 * PADDED.sum()} voxels set to -1024 HU"


def test_a_padding_value_that_tissue_has_counts_at_the_edge_only(tmp_path: Path) -> None:
    """Files name a value that the picture has: water, at 0 HU."""
    expected, files = padded_series(512, False, PixelPaddingValue=512)
    for dataset, plane in zip(files, expected, strict=True):
        stored = np.frombuffer(dataset.PixelData, "<u2").reshape(11, 13).copy()
        stored[4:7, 4:7] = stored[3, 5] = 512
        stored[2:4, 4] = stored[3, 6] = 900  # no way to the edge
        dataset.PixelData = stored.tobytes()
        inside = ~PADDED
        plane[inside] = (stored[inside].astype(int) * 2 - 1024).astype(np.int16)
    read = read_volume(save(tmp_path, files))
    edge = read.array == -1024
    assert np.array_equal(read.array[:, 4:7, 4:7], np.zeros((7, 3, 3)))
    assert edge[:, PADDED].all() and np.array_equal(read.array, expected)


def test_a_ct_without_padding_is_as_it_was(tmp_path: Path) -> None:
    volume, files = ct_series(PixelPaddingValue=4000)
    read = read_volume(save(tmp_path, files))
    assert np.array_equal(read.array, volume.array) and "padding" not in read.meta


# -- radiographs -----------------------------------------------------------------------------------
def frame() -> np.ndarray:
    """The corners that a round detector leaves."""
    row, column = np.indices(SHAPE)
    return np.hypot((row - 15) / 15.5, (column - 18) / 18.5) > 1.0


@pytest.mark.parametrize(
    ("value", "tags"),
    [
        (0, {"PixelPaddingValue": 0}),
        (4095, {"PixelPaddingValue": 4095}),
        (4090, {"PixelPaddingValue": 4095, "PixelPaddingRangeLimit": 4000}),
    ],
)
def test_padding_of_a_radiograph_does_not_make_its_contrast(
    tmp_path: Path, value: int, tags: dict[str, int]
) -> None:
    stored = np.random.default_rng(4).integers(1000, 1500, SHAPE).astype(np.uint16)
    stored[15, 18] = value  # measured: in the middle of the picture
    padded = stored.copy()
    padded[frame()] = value
    acquired(tmp_path / "plain.dcm", stored)
    acquired(tmp_path / "padded.dcm", padded, **tags)
    plain, read = read_radiograph(tmp_path / "plain.dcm"), read_radiograph(tmp_path / "padded.dcm")
    assert np.array_equal(read.array[~frame()], plain.array[~frame()])
    (one,) = np.unique(read.array[frame()])
    inside = np.sort(read.array[~frame()].ravel())
    assert one in (inside[0], inside[-1], np.float32(value))
    assert inside[0] <= one <= inside[-1]
    assert f"{frame().mean():.1%} of the picture are padding: set to one value" in read.history
    assert plain.covered is None and np.array_equal(read.covered, frame())


@pytest.mark.parametrize("orientation", [("L", "F"), ("R", "F"), ("L", "H"), ("F", "L")])
def test_what_is_padding_is_covered_however_the_picture_lies(tmp_path: Path, orientation: tuple[str, str]):
    stored = np.random.default_rng(4).integers(1000, 1500, SHAPE).astype(np.uint16)
    stored[:4, :9] = 0
    tags = {"PatientOrientation": list(orientation), "ViewPosition": "PA", "PixelPaddingValue": 0}
    acquired(tmp_path / "a.dcm", stored, **tags)
    read = read_radiograph(tmp_path / "a.dcm")
    assert read.covered.sum() == 4 * 9 and len(np.unique(read.array[read.covered])) == 1
    assert read.array[read.covered].max() <= read.array[read.seen].min()


def test_padding_beyond_the_pictures_values_is_brought_into_them(tmp_path: Path) -> None:
    stored = np.random.default_rng(4).integers(1000, 1500, SHAPE).astype(np.uint16)
    padded = np.where(frame(), np.uint16(60000), stored)
    acquired(tmp_path / "plain.dcm", np.where(frame(), stored[~frame()].max(), stored))
    acquired(tmp_path / "padded.dcm", padded, PixelPaddingValue=60000, BitsStored=16, HighBit=15)
    plain, read = read_radiograph(tmp_path / "plain.dcm"), read_radiograph(tmp_path / "padded.dcm")
    assert np.array_equal(read.array, plain.array)


def test_a_padding_value_that_takes_the_whole_picture_is_not_used(tmp_path: Path) -> None:
    stored = np.full(SHAPE, 7, np.uint16)
    stored[10:12, 10:12] = 1000
    acquired(tmp_path / "a.dcm", stored, PixelPaddingValue=7)
    read = read_radiograph(tmp_path / "a.dcm")
    assert "PixelPaddingValue leaves 0.3% of the picture: not used" in read.history
