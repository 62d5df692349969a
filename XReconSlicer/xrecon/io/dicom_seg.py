"""Labels from a DICOM Segmentation (PS3.3 A.51) of binary segments."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xrecon.io.checks import require_file
from xrecon.io.dicom_pixels import read_dataset
from xrecon.io.dicom_provenance import own_provenance
from xrecon.io.dicom_series import ORIENTATION_DECIMALS, POSITION_TOLERANCE_MM
from xrecon.io.segmentation import PTX_SEGMENTS, SegmentDescription, labels_on_grid, numbered_segments
from xrecon.volume import InputError, Quantity, Volume

if TYPE_CHECKING:
    import pydicom

# Frames of a sparse segmentation lie at multiples of the slice distance, as exact as decimal strings are.
_OFF_STEP = 0.01
# Voxels whose centres are no further apart than this share of a voxel are the same ones.
_SAME_VOXEL = 0.02
FRAME_OF_REFERENCE = "FrameOfReferenceUID"
# Key of `meta` that tells that the labels are not voxel for voxel those of the file.
RESAMPLED = "resampled"


def read_dicom_seg(path: str | Path, like: Volume | None = None) -> tuple[Volume, list[SegmentDescription]]:
    """Labels 1, 2, ... in the order of the file's segments, and what they are.

    like: the CT; the labels come on its grid: exactly, where the segmentation lies on it, else by the nearest
    voxel, which `meta["resampled"]` tells in a sentence. None: on the file's own grid, from the first slice
    that any segment has to the last.

    Where segments overlap, a later one covers an earlier one. Terminology and colours are those of PTX-Seg
    for segments of its names; other codes of the file are not read.
    Raises FileNotFoundError when nothing is there, InputError for what is no binary segmentation, is
    compressed, or whose frames are no even, straight stack; with a CT also when both name a frame of
    reference, but not the same, and when no labelled voxel lies in the CT.
    """
    from pydicom.uid import SegmentationStorage

    path = require_file(path, "a DICOM segmentation")
    dataset = read_dataset(path)
    if dataset.get("SOPClassUID") != SegmentationStorage or dataset.get("SegmentationType") != "BINARY":
        raise InputError(f"expected a DICOM segmentation with binary segments, got {path}")
    if dataset.file_meta.TransferSyntaxUID.is_compressed:
        name = dataset.file_meta.TransferSyntaxUID.name
        raise InputError(f"expected an uncompressed DICOM segmentation, {path} is {name}")
    try:
        labels = _labels(dataset, path)
        segments = _segments(dataset)
    except (AttributeError, KeyError, IndexError, TypeError) as error:
        raise InputError(f"expected a complete DICOM segmentation, got {path}: {error}") from error
    return (labels if like is None else _on_ct(labels, like, path)), segments


def _on_ct(labels: Volume, ct: Volume, path: Path) -> Volume:
    """The labels on the grid of the CT that they are of."""
    frames = {volume.meta.get(FRAME_OF_REFERENCE, "") for volume in (labels, ct)} - {""}
    if len(frames) > 1:
        raise InputError(
            f"expected a segmentation in the CT's frame of reference, {path} is in another one: "
            "of another examination or patient?"
        )
    where = np.rint(ct.world_to_index(labels.index_to_world(np.argwhere(labels.array)[:, ::-1])))
    outside = int(((where < 0) | (where >= np.array(ct.shape[::-1]))).any(axis=1).sum())
    if len(where) and outside == len(where):
        raise InputError(f"expected a segmentation of the CT, got one of which no voxel lies in it: {path}")
    told = []
    if not _lies_on(labels, ct):
        sizes = [" x ".join(f"{s:.4g}" for s in reversed(volume.spacing)) for volume in (labels, ct)]
        told.append(
            f"the segmentation's voxels of {sizes[0]} mm were put on the CT's of {sizes[1]} mm, the nearest"
        )
    if outside:
        counted = f"{outside} of {len(where)} voxels"
        told.append(f"{counted} of the segmentation lie outside the CT and were left out")
    moved = labels_on_grid(labels, ct)
    return moved.with_array(moved.array, **({RESAMPLED: "; ".join(told)} if told else {}))


def _lies_on(labels: Volume, ct: Volume) -> bool:
    """Whether voxels of the labels are voxels of the CT, whatever the order of its axes."""
    ends = np.diag(np.array(labels.shape[::-1]) - 1)
    index = ct.world_to_index(labels.index_to_world(np.vstack([np.zeros(3), ends])))
    if np.abs(index - np.rint(index)).max() > _SAME_VOXEL:
        return False
    steps = np.abs(np.rint(index[1:] - index[0]))  # each along one axis of the CT, a voxel for a voxel
    return bool((np.count_nonzero(steps, axis=1) <= 1).all()) and np.array_equal(steps.sum(1), ends.sum(1))


def _labels(dataset: pydicom.Dataset, path: Path) -> Volume:
    numbers, positions, axes, spacing = _places(dataset)
    column, row = axes
    normal = np.cross(column, row)
    along = positions @ normal
    step = spacing[0]
    planes = (along - along.min()) / step
    if np.abs(planes - np.rint(planes)).max() > _OFF_STEP:
        raise InputError(f"expected frames at multiples of {step:g} mm in {path}, got others between them")
    planes = np.rint(planes).astype(int)
    sideways = float(np.abs((positions - positions[0]) @ axes.T).max())
    if sideways > POSITION_TOLERANCE_MM:
        raise InputError(
            f"expected frames straight above each other in {path}, they shift sideways by {sideways:.1f} mm"
        )
    frames = unpacked_frames(dataset)
    array = np.zeros((planes.max() + 1, *frames.shape[1:]), np.uint8 if numbers.max() < 256 else np.int16)
    for number in np.unique(numbers):  # in their order, so that later segments cover earlier ones
        for frame in np.flatnonzero(numbers == number):
            array[planes[frame]][frames[frame]] = number
    direction = np.column_stack([column, row, normal])
    frame = str(dataset.get(FRAME_OF_REFERENCE, "") or "")
    meta = {**own_provenance(path), "file": path.name, **({FRAME_OF_REFERENCE: frame} if frame else {})}
    origin = tuple(positions[along.argmin()])
    return Volume(array, spacing, origin, direction, Quantity.LABEL, meta)


def _places(
    dataset: pydicom.Dataset,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[float, float, float]]:
    """Segment number and LPS position (frame, 3) of each frame, the axes, and the spacing (z, y, x) in mm."""
    shared = dataset.SharedFunctionalGroupsSequence[0]
    frames = list(dataset.PerFrameFunctionalGroupsSequence)

    def group(name: str, frame: pydicom.Dataset) -> pydicom.Dataset:
        return (shared if name in shared else frame)[name].value[0]

    numbers = [group("SegmentIdentificationSequence", f).ReferencedSegmentNumber for f in frames]
    positions = [group("PlanePositionSequence", f).ImagePositionPatient for f in frames]
    turned = np.array([group("PlaneOrientationSequence", f).ImageOrientationPatient for f in frames], float)
    if np.ptp(turned, axis=0).max() > 10.0**-ORIENTATION_DECIMALS:
        raise InputError("expected parallel frames in a DICOM segmentation, got some turned to others")
    measures = group("PixelMeasuresSequence", frames[0])
    step = float(measures.get("SpacingBetweenSlices") or measures.SliceThickness)
    rows, columns = (float(s) for s in measures.PixelSpacing)
    return (
        np.array(numbers, dtype=int),
        np.array(positions, dtype=np.float64),
        turned[0].reshape(2, 3),
        (step, rows, columns),
    )


def unpacked_frames(dataset: pydicom.Dataset) -> np.ndarray:
    """The frames of a segmentation of one bit per pixel, bool (frame, row, column)."""
    shape = (int(dataset.NumberOfFrames), int(dataset.Rows), int(dataset.Columns))
    bits = np.frombuffer(dataset.PixelData, np.uint8)
    count = int(np.prod(shape))
    if 8 * len(bits) < count:
        raise InputError(f"expected {count} bits in a DICOM segmentation, got {8 * len(bits)}")
    return np.unpackbits(bits, count=count, bitorder="little").reshape(shape).astype(bool)


def _segments(dataset: pydicom.Dataset) -> list[SegmentDescription]:
    known = {segment.name: segment for segment in PTX_SEGMENTS}
    names = [str(item.SegmentLabel) for item in dataset.SegmentSequence]
    return [_described(known.get(plain.name, plain), plain.label) for plain in numbered_segments(names)]


def _described(segment: SegmentDescription, label: int) -> SegmentDescription:
    return SegmentDescription(label, segment.name, segment.color, segment.terminology)
