"""A DICOM CT series from a folder: choose it, sort it, check its geometry, read it as HU.

Positions and orientation follow PS3.3 C.7.6.2 (Image Plane): a slice's position along the
normal of its plane orders the slices, whatever their names and instance numbers are.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xrecon.io.checks import is_dicom
from xrecon.io.dicom_padding import padding_at_the_edge, padding_range
from xrecon.io.dicom_pixels import read_dataset, stored_pixels
from xrecon.io.dicom_provenance import own_provenance
from xrecon.io.dicom_tags import Tags
from xrecon.volume import InputError, Quantity, Volume

if TYPE_CHECKING:
    import pydicom

# Positions in files have few decimals; a slice may lie this far from its place in an even stack.
POSITION_TOLERANCE_MM = 0.1
# Orientation cosines in files have about six decimals.
ORIENTATION_DECIMALS = 3
# Of voxels outside the scanned field: as most scanners store them, and no less than air.
PADDING_HU = -1024.0

_HEADER_TAGS = [
    "SOPClassUID", "SOPInstanceUID", "Modality", "ImageType", "NumberOfFrames", "SeriesInstanceUID",
    "StudyInstanceUID", "FrameOfReferenceUID", "SeriesDescription", "Rows", "Columns", "PixelSpacing",
    "ImageOrientationPatient", "ImagePositionPatient",
]  # fmt: skip


@dataclass(frozen=True)
class _Slice:
    """One file's header, with its plane: rows and columns of `axes` are unit vectors in LPS."""

    path: Path
    header: pydicom.Dataset
    position: np.ndarray
    axes: np.ndarray

    @property
    def stack(self) -> tuple:
        """What slices of one volume have in common."""
        spacing = tuple(round(float(s), 4) for s in self.header.PixelSpacing)
        orientation = tuple(np.round(self.axes[:2].ravel(), ORIENTATION_DECIMALS) + 0.0)
        return (self.header.Rows, self.header.Columns, spacing, orientation)


def read_series(folder: str | Path) -> Volume:
    """The largest CT series in `folder` and its subfolders, as HU.

    Localizer pictures are passed over. When a series holds stacks of different size or
    orientation, the one with most slices is read; what was left out is told in `meta`. Voxels that the files
    call padding (PixelPaddingValue) are air.

    Raises InputError when there is no CT (naming the modalities found), when slices are missing,
    doubled, unevenly spaced or sheared (gantry tilt), or when the pixels cannot be read.
    """
    folder = Path(folder)
    series = _series_in(folder)
    uid, headers, chosen = _chosen(series, folder)
    volume = _volume(chosen, folder)
    header = chosen[0].header
    meta = {
        **own_provenance(chosen[0].path),
        "file": folder.name,
        "Modality": "CT",
        "SeriesDescription": str(header.get("SeriesDescription", "")),
        "StudyInstanceUID": str(header.get("StudyInstanceUID", "")),
        "SeriesInstanceUID": uid,
        "FrameOfReferenceUID": str(header.get("FrameOfReferenceUID", "")),
    }
    if len(series) > 1:
        meta["series"] = f"the largest of {len(series)} CT series"
    if len(headers) > len(chosen):
        meta["left out"] = f"{len(headers) - len(chosen)} of {len(headers)} images of the series"
    return volume.with_array(volume.array, **meta)


def series_images(folder: str | Path) -> list[tuple[str, str]]:
    """(SOP class UID, SOP instance UID) of the images that `read_series` reads from a folder, from its
    first slice to its last. Raises InputError as that does where there is no CT."""
    _, _, chosen = _chosen(_series_in(Path(folder)), Path(folder))
    return [(str(s.header.SOPClassUID), str(s.header.SOPInstanceUID)) for s in chosen]


def series_files(folder: str | Path) -> list[Path]:
    """The files that `read_series` reads from a folder, from its first slice to its last. Raises
    InputError as that does where there is no CT."""
    _, _, chosen = _chosen(_series_in(Path(folder)), Path(folder))
    return [s.path for s in chosen]


def _chosen(
    series: dict[str, dict[Path, pydicom.Dataset]], folder: Path
) -> tuple[str, dict[Path, pydicom.Dataset], list[_Slice]]:
    """UID and headers of the largest series, and its largest stack of slices in their order."""
    uid, headers = max(series.items(), key=lambda item: len(item[1]))
    slices = [s for s in (_as_slice(path, header) for path, header in headers.items()) if s]
    if not slices:
        raise InputError(f"expected CT slices with position and orientation in {folder}, found none")
    stacks: dict[tuple, list[_Slice]] = defaultdict(list)
    for item in slices:
        stacks[item.stack].append(item)
    chosen = max(stacks.values(), key=len)
    return uid, headers, sorted(chosen, key=lambda s: float(s.axes[2] @ s.position))


def refuse_single_file(path: Path) -> None:
    """Say why one DICOM file is no CT volume. Always raises InputError."""
    header = read_dataset(path, pixels=False, tags=_HEADER_TAGS)
    modality = str(header.get("Modality", "")) or "unknown"
    if modality == "CT":
        raise InputError(f"expected the folder with all slices of the CT series, got one file: {path}")
    hint = ": give it as a radiograph" if modality in ("CR", "DX") else ""
    raise InputError(f"expected a CT, got an image of modality {modality}{hint}: {path}")


def _series_in(folder: Path) -> dict[str, dict[Path, pydicom.Dataset]]:
    """Headers of all CT images below a folder by series; copies of one image count once."""
    series: dict[str, dict[Path, pydicom.Dataset]] = defaultdict(dict)
    seen: set[str] = set()
    modalities: Counter[str] = Counter()
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "DICOMDIR")
    for path in files:
        if path.stat().st_size == 0 or not is_dicom(path):
            continue
        header = read_dataset(path, pixels=False, tags=_HEADER_TAGS)
        modalities[str(header.get("Modality", "unknown"))] += 1
        uid = str(header.get("SOPInstanceUID", path))
        if header.get("Modality") != "CT" or "LOCALIZER" in header.get("ImageType", ()) or uid in seen:
            continue
        if int(header.get("NumberOfFrames", 1) or 1) > 1:
            raise InputError(f"expected one CT slice per file, {path} is multi-frame (Enhanced CT)")
        seen.add(uid)
        series[str(header.get("SeriesInstanceUID", ""))][path] = header
    if not series:
        found = ", ".join(f"{count} {name}" for name, count in modalities.items()) or "no DICOM images"
        raise InputError(f"expected a DICOM CT series in {folder}, found {found} in {len(files)} files")
    return series


def _as_slice(path: Path, header: pydicom.Dataset) -> _Slice | None:
    """The slice's plane; None when the header does not say where it lies."""
    cosines, position = header.get("ImageOrientationPatient"), header.get("ImagePositionPatient")
    if not cosines or not position or not header.get("PixelSpacing") or len(cosines) != 6:
        return None
    column, row = np.array(cosines, dtype=np.float64).reshape(2, 3)
    normal = np.cross(column, row)
    return _Slice(path, header, np.array(position, dtype=np.float64), np.array([column, row, normal]))


def _volume(slices: Sequence[_Slice], folder: Path) -> Volume:
    if len(slices) < 2:
        raise InputError(f"expected a CT series of several slices in {folder}, got one")
    axes = _orthonormal(slices[0].axes)
    positions = np.array([s.position for s in slices])
    step = _even_step(positions, axes, folder)
    rows, columns = (float(s) for s in slices[0].header.PixelSpacing)
    array, padded = _hounsfield(slices)
    return Volume(
        array=array,
        spacing=(step, rows, columns),
        origin=tuple(positions[0]),
        direction=axes.T,
        quantity=Quantity.HU,
        meta={"padding": f"{padded} voxels set to {PADDING_HU:g} HU"} if padded else {},
    )


def _orthonormal(axes: np.ndarray) -> np.ndarray:
    """The nearest rotation to axes written with few decimals (polar decomposition)."""
    left, _, right = np.linalg.svd(axes)
    return left @ right


def _even_step(positions: np.ndarray, axes: np.ndarray, folder: Path) -> float:
    """Distance of neighbouring slices, mm; positions (slice, 3) are sorted along axes[2].

    Raises InputError when the slices are no even, straight stack.
    """
    along = positions @ axes[2]
    gaps = np.diff(along)
    step = float(np.median(gaps))
    if gaps.min() < POSITION_TOLERANCE_MM:
        at = float(along[int(gaps.argmin())])
        raise InputError(f"expected one slice at each place, {folder} has several at {at:.1f} mm (times?)")
    wide = [(float(along[i]), float(gap)) for i, gap in enumerate(gaps) if gap > 1.5 * step]
    if wide:
        raise InputError(
            f"expected a series without gaps, {folder} misses slices: {wide[0][1]:.2f} mm after "
            f"{wide[0][0]:.1f} mm where slices lie {step:.2f} mm apart ({len(wide)} such gaps)"
        )
    step = float((along[-1] - along[0]) / (len(along) - 1))
    uneven = np.abs(along - along[0] - step * np.arange(len(along))).max()
    if uneven > POSITION_TOLERANCE_MM:
        raise InputError(f"expected evenly spaced slices in {folder}, one lies {uneven:.2f} mm off its place")
    sideways = (positions - positions[0]) @ axes[:2].T
    if np.abs(sideways).max() > POSITION_TOLERANCE_MM:
        raise InputError(
            f"expected slices straight above each other in {folder}, they shift sideways by "
            f"{np.abs(sideways).max():.1f} mm (gantry tilt): resample the series first"
        )
    return step


def _hounsfield(slices: Sequence[_Slice]) -> tuple[np.ndarray, int]:
    """Rescaled values (z, y, x), int16 when all are whole numbers that fit, else float32; and how many voxels
    are padding, which is set to air."""
    planes, count = [], 0
    for item in slices:
        dataset = read_dataset(item.path)
        slope = float(dataset.get("RescaleSlope", 1) or 1)
        intercept = float(dataset.get("RescaleIntercept", 0) or 0)
        stored = stored_pixels(dataset, item.path)
        plane = stored * np.float64(slope) + intercept
        padded = _padding(Tags(dataset), stored, slope, intercept)
        if padded is not None:
            count += int(padded.sum())
            plane[padded] = PADDING_HU
        whole = slope.is_integer() and intercept.is_integer()
        fits = -(2**15) <= plane.min() and plane.max() < 2**15
        planes.append(plane.astype(np.int16 if whole and fits else np.float32))
    return np.stack(planes), count  # one float32 plane makes all of them float32


def _padding(tags: Tags, stored: np.ndarray, slope: float, intercept: float) -> np.ndarray | None:
    """Which pixels of a slice are padding by its tags; None for none, or where they are air already."""
    limits = padding_range(tags, stored)
    if limits is None:
        return None
    hu = sorted(limit * slope + intercept for limit in limits)
    if hu == [PADDING_HU, PADDING_HU]:
        return None
    if hu[1] <= PADDING_HU:  # no tissue has it: wherever it stands
        return (stored >= limits[0]) & (stored <= limits[1])
    return padding_at_the_edge(stored, limits)
