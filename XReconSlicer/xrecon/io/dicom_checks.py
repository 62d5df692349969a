"""Checks of DICOM CT series and segmentations after they were written: what a validator would complain of.

Attributes that must be there, values of the right form, lengths of the pixel data, identifiers, and a
geometry that makes one volume. Not a replacement of dciodvfy: it knows the two kinds of objects that this
package writes, and only what PS3.3 demands of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xrecon.io.dicom_attributes import CT_IMAGE, SEGMENTATION, Requirements
from xrecon.io.dicom_values import element_problems

if TYPE_CHECKING:
    import pydicom

# Decimal strings of 16 characters hold positions and cosines far better than this.
TOLERANCE_MM, TOLERANCE_COSINE = 1e-3, 1e-4
_OF_SERIES = (
    "PatientName", "PatientID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "Modality",
    "SeriesDescription", "Rows", "Columns", "PixelSpacing", "ImageOrientationPatient", "SeriesNumber",
)  # fmt: skip


def require_valid(paths: Sequence[str | Path]) -> None:
    """Read written files back and check them. Raises RuntimeError with what is wrong: a bug of the writer."""
    problems = file_problems(paths)
    if problems:
        told = "; ".join(problems[:5])
        raise RuntimeError(f"the DICOM files written are not valid ({len(problems)} problems): {told}")


def file_problems(paths: Sequence[str | Path]) -> list[str]:
    """What is wrong with the files of one series, a sentence each, [] when nothing is."""
    import pydicom

    datasets, problems = [], []
    for path in paths:
        dataset = pydicom.dcmread(path)
        problems += [f"{Path(path).name}: {problem}" for problem in object_problems(dataset)]
        if "PixelData" in dataset:
            del dataset.PixelData  # a long series need not lie in memory
        datasets.append(dataset)
    return problems + series_problems(datasets)


def object_problems(dataset: pydicom.Dataset) -> list[str]:
    """What is wrong with one CT image or segmentation."""
    from pydicom.uid import CTImageStorage, SegmentationStorage

    known = {CTImageStorage: CT_IMAGE, SegmentationStorage: SEGMENTATION}
    requirements = known.get(dataset.get("SOPClassUID"))
    if requirements is None:
        return [f"expected a CT image or a segmentation, got SOP class {dataset.get('SOPClassUID')}"]
    elements = list(dataset.iterall())
    problems = [
        *_missing(dataset, elements, requirements),
        *_wrong_values(dataset, elements, requirements),
        *_header(dataset),
    ]
    problems += _pixel_problems(dataset)
    if requirements is SEGMENTATION and not problems:
        problems += _segment_problems(dataset)
    return problems


def _missing(
    dataset: pydicom.Dataset, elements: Sequence[pydicom.DataElement], requirements: Requirements
) -> Iterator[str]:
    for keyword in requirements.type_1:
        if keyword not in dataset or dataset[keyword].is_empty:
            yield f"{keyword} (type 1) is missing or empty"
    for keyword in requirements.type_2:
        if keyword not in dataset:
            yield f"{keyword} (type 2) is missing"
    for element in elements:
        for keyword in requirements.items.get(element.keyword, ()) if element.VR == "SQ" else ():
            for number, item in enumerate(element.value, start=1):
                if keyword not in item or item[keyword].is_empty:
                    yield f"{element.keyword} {number}: {keyword} (type 1) is missing or empty"


def _wrong_values(
    dataset: pydicom.Dataset, elements: Sequence[pydicom.DataElement], requirements: Requirements
) -> Iterator[str]:
    for keyword, allowed in requirements.fixed.items():
        if keyword in dataset and dataset[keyword].value not in allowed:
            yield f"{keyword} is {dataset[keyword].value!r}, expected {' or '.join(map(str, allowed))}"
    for element in elements:
        yield from element_problems(element)


def _header(dataset: pydicom.Dataset) -> Iterator[str]:
    header = dataset.file_meta
    for keyword, of_object in (
        ("MediaStorageSOPClassUID", "SOPClassUID"),
        ("MediaStorageSOPInstanceUID", "SOPInstanceUID"),
    ):
        if header.get(keyword) != dataset.get(of_object):
            yield f"{keyword} of the file header is not the {of_object} of the object"
    if not header.get("TransferSyntaxUID"):
        yield "the file header names no transfer syntax"


def _pixel_problems(dataset: pydicom.Dataset) -> Iterator[str]:
    if "PixelData" not in dataset:
        return
    if dataset.HighBit != dataset.BitsStored - 1:
        yield f"HighBit is {dataset.HighBit} for {dataset.BitsStored} bits"
    frames = int(dataset.get("NumberOfFrames", 1))
    bits = dataset.Rows * dataset.Columns * frames * dataset.BitsAllocated
    length = (bits + 7) // 8
    length += length % 2
    if len(dataset.PixelData) != length:
        yield f"PixelData has {len(dataset.PixelData)} bytes, expected {length}"


# -- segmentations -------------------------------------------------------------------------------
def _segment_problems(dataset: pydicom.Dataset) -> Iterator[str]:
    numbers = [int(item.SegmentNumber) for item in dataset.SegmentSequence]
    if numbers != list(range(1, len(numbers) + 1)):
        yield f"segments are numbered {numbers}, expected 1 to {len(numbers)} in steps of one"
    frames = dataset.PerFrameFunctionalGroupsSequence
    if len(frames) != dataset.NumberOfFrames:
        yield f"{len(frames)} items of per-frame functional groups for {dataset.NumberOfFrames} frames"
    used = {int(f.SegmentIdentificationSequence[0].ReferencedSegmentNumber) for f in frames}
    if used != set(numbers):
        yield f"frames of the segments {sorted(used)}, expected of {numbers}"
    indices = [tuple(f.FrameContentSequence[0].DimensionIndexValues) for f in frames]
    if len(set(indices)) != len(indices):
        yield "several frames have the same dimension index values"
    if any(len(index) != len(dataset.DimensionIndexSequence) for index in indices):
        yield "dimension index values do not fit the dimension index sequence"
    yield from _reference_problems(dataset)
    shared = dataset.SharedFunctionalGroupsSequence[0]
    axes = shared.PlaneOrientationSequence[0].ImageOrientationPatient
    positions = [f.PlanePositionSequence[0].ImagePositionPatient for f in frames]
    step = float(shared.PixelMeasuresSequence[0].get("SpacingBetweenSlices", 0) or 0)
    yield from _plane_problems(axes, np.unique(np.array(positions, dtype=float), axis=0), step, gaps=True)


def _reference_problems(dataset: pydicom.Dataset) -> Iterator[str]:
    """Every image that a frame names must stand in the list of referenced instances, once."""
    listed = [
        str(instance.ReferencedSOPInstanceUID)
        for element in dataset.iterall()
        if element.keyword == "ReferencedInstanceSequence"
        for instance in element.value
    ]
    if len(set(listed)) != len(listed):
        yield "an instance is listed twice among the referenced ones"
    named = {
        str(image.ReferencedSOPInstanceUID)
        for element in dataset.iterall()
        if element.keyword == "SourceImageSequence"
        for image in element.value
    }
    if not named <= set(listed):
        yield f"{len(named - set(listed))} source images are not among the referenced instances"


# -- series --------------------------------------------------------------------------------------
def series_problems(datasets: Sequence[pydicom.Dataset]) -> list[str]:
    """What is wrong between the images of one CT series; of one object alone, nothing can be."""
    problems = []
    uids = [str(dataset.get("SOPInstanceUID")) for dataset in datasets]
    if len(set(uids)) != len(uids):
        problems.append("several files have the same SOPInstanceUID")
    for keyword in _OF_SERIES:
        values = {str(dataset.get(keyword)) for dataset in datasets}
        if len(values) > 1:
            problems.append(f"{keyword} is not the same in all images: {sorted(values)[:3]}")
    if problems or any("ImagePositionPatient" not in dataset for dataset in datasets):
        return problems
    numbers = [dataset.InstanceNumber for dataset in datasets]
    if len(set(numbers)) != len(numbers):
        problems.append("several files have the same InstanceNumber")
    positions = np.array([dataset.ImagePositionPatient for dataset in datasets], dtype=float)
    step = float(datasets[0].get("SpacingBetweenSlices", 0) or 0)
    return problems + list(_plane_problems(datasets[0].ImageOrientationPatient, positions, step))


def _plane_problems(
    cosines: Sequence[float], positions: np.ndarray, step: float, *, gaps: bool = False
) -> Iterator[str]:
    """Of planes at positions (plane, 3) in mm; `step` apart, or multiples of it where `gaps` are allowed."""
    column, row = np.array(cosines, dtype=float).reshape(2, 3)
    if abs(np.linalg.norm(column) - 1) > TOLERANCE_COSINE or abs(np.linalg.norm(row) - 1) > TOLERANCE_COSINE:
        yield "ImageOrientationPatient does not hold unit vectors"
    if abs(column @ row) > TOLERANCE_COSINE:
        yield "rows and columns of ImageOrientationPatient are not perpendicular"
    normal = np.cross(column, row)
    along = np.sort(positions @ normal)
    sideways = positions - positions[0] - np.outer((positions - positions[0]) @ normal, normal)
    if np.abs(sideways).max() > TOLERANCE_MM * max(1, len(positions)):
        yield f"slices shift sideways by up to {np.abs(sideways).max():.3f} mm"
    distances = np.diff(along)
    if not len(distances) or not step:
        return
    counts = np.maximum(np.rint(distances / step), 1) if gaps else np.ones(len(distances))
    wrong = float(np.abs(distances - counts * step).max())
    if wrong > TOLERANCE_MM:
        yield f"slices are not {step:g} mm apart: off by up to {wrong:.3f} mm"
