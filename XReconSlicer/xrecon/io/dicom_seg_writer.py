"""A label volume as a DICOM Segmentation (PS3.3 A.51): multi-frame, binary, coded, tied to its CT.

A frame for each slice in which a segment has a voxel, as other writers do it; nothing is resampled.
pydicom rather than highdicom: see `dicom_ct_writer`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xrecon import __version__
from xrecon.io.atomic import atomic_path
from xrecon.io.checks import DICOM_SUFFIXES, file_suffix
from xrecon.io.dicom_checks import require_valid
from xrecon.io.dicom_ct_images import CtImages
from xrecon.io.dicom_ct_writer import right_handed
from xrecon.io.dicom_objects import (
    LONG_STRING,
    NOT_FOR_DIAGNOSIS,
    decimal,
    new_object,
    one_line,
    put_equipment,
    put_provenance,
    put_references,
    source_item,
)
from xrecon.io.dicom_study import Study, placeholder_study
from xrecon.io.pydicom_versions import save_dataset
from xrecon.io.radiograph_dicom_technique import code_item
from xrecon.io.segmentation import PTX_SEGMENTS, SegmentDescription, checked_labels
from xrecon.provenance import SourceImage
from xrecon.volume import InputError, Volume

if TYPE_CHECKING:
    import pydicom

# A slice of the labels belongs to the CT's image that lies no further away: as far as a series may be
# from an even stack (`dicom_series.POSITION_TOLERANCE_MM`).
SAME_PLACE_MM = 0.1
# Spacing and direction cosines in files have few decimals.
SAME_SPACING, SAME_DIRECTION = 1e-4, 2e-3
_SEGMENTATION = ("113076", "DCM", "Segmentation")
# What Slicer takes for a segment without a code of its own.
_TISSUE = ("85756007", "SCT", "Tissue")
# sRGB to CIE XYZ under D50, and that white: matrices of B. Lindbloom (Bradford adaptation), ICC's PCS.
_XYZ_OF_RGB = np.array(
    [
        [0.4360747, 0.3850649, 0.1430804],
        [0.2225045, 0.7168786, 0.0606169],
        [0.0139322, 0.0971045, 0.7141733],
    ]
)
_WHITE = np.array([0.96422, 1.0, 0.82521])


@dataclass(frozen=True)
class Algorithm:
    """By what segments were found.

    name, version: at most 64 characters. family: code value and meaning of CID 7162. parameters: a text.
    """

    name: str = "PTX-Seg"
    version: str = __version__
    family: tuple[str, str] = ("123104", "Morphological Operations")
    parameters: str = ""


def write_dicom_seg(
    labels: Volume,
    path: str | Path,
    *,
    ct: CtImages | None = None,
    study: Study | None = None,
    segments: Sequence[SegmentDescription] = PTX_SEGMENTS,
    algorithm: Algorithm | None = None,
) -> list[str]:
    """Write labels as a DICOM Segmentation, read it back and check it; notes on what was left out.

    Segments without a voxel are left out, since DICOM has no frame for them, and named in the notes and in
    the content description; the others are numbered anew from 1. Segments without a terminology entry are
    coded as tissue.

    ct: the images of the CT on whose grid the labels lie; its frame of reference is taken over, and its
    study where `study` is None. Without it nothing is referred to, and the frame of reference is new.

    Raises InputError when the name has no DICOM extension, the labels are not those of `segments`, no
    segment has a voxel, they have other pixels than the CT's images, or a slice lies in none of these;
    OSError when it cannot be written.
    """
    path = Path(path)
    if file_suffix(path) not in DICOM_SUFFIXES:
        raise InputError(f"expected a file name ending in .dcm, got {path}")
    labels = right_handed(labels.with_array(checked_labels(labels, segments)))
    present = [s for s in segments if (labels.array == s.label).any()]
    if not present:
        raise InputError("expected a segmentation with at least one voxel to write as DICOM, got none")
    empty = [s.name for s in segments if s not in present]
    notes = [f"without a voxel and left out of the DICOM segmentation: {', '.join(empty)}"] if empty else []
    images = _images_of_slices(labels, ct) if ct else None
    chosen = study or (ct.study if ct else placeholder_study())
    dataset = _object(labels.meta, chosen, ct, algorithm or Algorithm(), empty)
    _put_segments(dataset, present, algorithm or Algorithm())
    _put_pixels(dataset, labels, present, images)
    if ct and images:
        put_references(dataset, _named_sources(dataset, ct))
    with atomic_path(path) as temporary:
        save_dataset(dataset, temporary)
        require_valid([temporary])
    return notes


def _images_of_slices(labels: Volume, ct: CtImages) -> list[tuple[str, str]]:
    """The CT's image whose pixels lie where those of each slice of the labels do."""
    shape, spacing = labels.shape[1:], labels.spacing[1:]
    if shape != tuple(ct.shape) or not np.allclose(spacing, ct.spacing, rtol=SAME_SPACING, atol=0):
        told, expected = (
            f"{n[0]} x {n[1]} pixels of {s[0]:.5g} x {s[1]:.5g} mm"
            for n, s in ((shape, spacing), (ct.shape, ct.spacing))
        )
        raise InputError(f"expected a segmentation on the pixels of the CT, {expected}, got {told}")
    if np.abs(labels.direction[:, :2].T - ct.axes).max() > SAME_DIRECTION:
        raise InputError("expected a segmentation with rows and columns along those of the CT, got others")
    corners = labels.index_to_world(np.array([[0, 0, n] for n in range(labels.shape[0])]))
    apart = np.linalg.norm(ct.positions[None] - corners[:, None], axis=2)
    nearest = apart.argmin(axis=1)
    worst = float(apart.min(axis=1).max())
    if worst > SAME_PLACE_MM:
        raise InputError(
            f"expected a segmentation on the slices of the CT, got one with a slice {worst:.2f} mm off"
        )
    return [ct.images[n] for n in nearest]


def _object(
    meta: Mapping[str, str], study: Study, ct: CtImages | None, algorithm: Algorithm, empty: Sequence[str]
) -> pydicom.Dataset:
    """All but segments and frames."""
    from pydicom.uid import SegmentationStorage, generate_uid

    start = "SYNTHETIC, " if meta.get("synthetic") else ""
    dataset = new_object(
        SegmentationStorage, study, "SEG", f"{start}{NOT_FOR_DIAGNOSIS}: {algorithm.name} by XRecon"
    )
    dataset.FrameOfReferenceUID = ct.frame_of_reference_uid if ct else generate_uid()
    dataset.ImageType = ["DERIVED", "PRIMARY"]
    dataset.InstanceNumber = 1
    dataset.ContentLabel = "SEGMENTATION"
    dataset.ContentDescription = one_line(f"empty: {', '.join(empty)}" if empty else "", LONG_STRING)
    dataset.ContentCreatorName = ""
    dataset.SegmentationType, dataset.SegmentsOverlap = "BINARY", "NO"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 1, 1, 0, 0
    put_equipment(dataset, meta, f"Segmented a CT by {algorithm.name}; {NOT_FOR_DIAGNOSIS}")
    put_provenance(dataset, meta)
    return dataset


# -- segments ------------------------------------------------------------------------------------
def _put_segments(
    dataset: pydicom.Dataset, segments: Sequence[SegmentDescription], algorithm: Algorithm
) -> None:
    from pydicom import Dataset

    items = []
    for number, segment in enumerate(segments, start=1):
        item = Dataset()
        item.SegmentNumber, item.SegmentLabel = number, one_line(segment.name, LONG_STRING)
        item.SegmentAlgorithmType = "AUTOMATIC"
        item.SegmentAlgorithmName = one_line(algorithm.name, LONG_STRING)
        item.SegmentationAlgorithmIdentificationSequence = [_identification(algorithm)]
        item.RecommendedDisplayCIELabValue = cielab_words(segment.color)
        _put_codes(item, segment.terminology)
        items.append(item)
    dataset.SegmentSequence = items


def _identification(algorithm: Algorithm) -> pydicom.Dataset:
    from pydicom import Dataset

    item = Dataset()
    value, meaning = algorithm.family
    item.AlgorithmFamilyCodeSequence = [code_item(value, "DCM", meaning)]
    item.AlgorithmName = one_line(algorithm.name, LONG_STRING)
    item.AlgorithmVersion = one_line(algorithm.version, LONG_STRING)
    item.AlgorithmSource = "XRecon"
    if algorithm.parameters:
        item.AlgorithmParameters = algorithm.parameters
    return item


def _put_codes(item: pydicom.Dataset, terminology: str) -> None:
    """Category, type and modifier of Slicer's terminology entry as code sequences."""
    category, kind, modifier = ([*terminology.split("~"), "", "", "", ""])[1:4]
    coded = _code(kind)
    item.SegmentedPropertyCategoryCodeSequence = [_code(category) or code_item(*_TISSUE)]
    item.SegmentedPropertyTypeCodeSequence = [coded or code_item(*_TISSUE)]
    side = _code(modifier)
    if coded and side:
        coded.SegmentedPropertyTypeModifierCodeSequence = [side]


def _code(text: str) -> pydicom.Dataset | None:
    """ "SCT^39607008^Lung" as an item of a code sequence; None when it is no code."""
    scheme, value, meaning = ([*text.split("^"), "", "", ""])[:3]
    return code_item(value, scheme, meaning) if scheme and value and meaning else None


def cielab_words(color: Sequence[float]) -> list[int]:
    """sRGB in 0..1 as DICOM's CIELab in 16-bit words (PS3.3 C.10.7.1.1): L* over 0 to 100, a* and b* over
    -128 to 127, under D50."""
    rgb = np.array(color, dtype=float)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    ratio = _XYZ_OF_RGB @ linear / _WHITE
    f = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    lab = np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])
    words = np.array([lab[0] / 100, (lab[1] + 128) / 255, (lab[2] + 128) / 255]) * 65535
    return [int(word) for word in np.clip(np.rint(words), 0, 65535)]


# -- frames --------------------------------------------------------------------------------------
def _put_pixels(
    dataset: pydicom.Dataset,
    labels: Volume,
    segments: Sequence[SegmentDescription],
    images: Sequence[tuple[str, str]] | None,
) -> None:
    """Frames by segment and slice, and the functional groups that say where they lie."""
    from pydicom import Dataset

    _put_dimensions(dataset)
    measures, orientation = Dataset(), Dataset()
    measures.PixelSpacing = [decimal(s) for s in labels.spacing[1:]]
    measures.SliceThickness = measures.SpacingBetweenSlices = decimal(labels.spacing[0])
    orientation.ImageOrientationPatient = [decimal(c) for c in labels.direction[:, :2].T.ravel()]
    shared = Dataset()
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    dataset.SharedFunctionalGroupsSequence = [shared]
    wanted = [s.label for s in segments]
    used = np.flatnonzero(np.isin(labels.array, wanted).any(axis=(1, 2))).tolist()
    frames, planes = [], []
    for number, label in enumerate(wanted, start=1):
        mask = labels.array == label
        for plane in np.flatnonzero(mask.any(axis=(1, 2))).tolist():
            index = (number, used.index(plane) + 1)  # ordinal numbers without gaps
            position = labels.index_to_world(np.array([0, 0, plane]))
            frames.append(_frame(index, position, images[plane] if images else None))
            planes.append(mask[plane])
    dataset.PerFrameFunctionalGroupsSequence = frames
    dataset.NumberOfFrames = len(frames)
    dataset.Rows, dataset.Columns = labels.shape[1:]
    # Frames follow each other bit by bit, the lowest bit first (PS3.5 8.1.1); the whole has even length.
    packed = np.packbits(np.stack(planes).ravel(), bitorder="little").tobytes()
    dataset.PixelData = packed + b"\0" * (len(packed) % 2)
    dataset["PixelData"].VR = "OB"


def _put_dimensions(dataset: pydicom.Dataset) -> None:
    """Frames are indexed by segment, then by position."""
    from pydicom import Dataset
    from pydicom.datadict import tag_for_keyword
    from pydicom.uid import generate_uid

    organization = Dataset()
    organization.DimensionOrganizationUID = generate_uid()
    dataset.DimensionOrganizationSequence = [organization]
    indices = []
    for group, keyword in (
        ("SegmentIdentificationSequence", "ReferencedSegmentNumber"),
        ("PlanePositionSequence", "ImagePositionPatient"),
    ):
        item = Dataset()
        item.DimensionOrganizationUID = organization.DimensionOrganizationUID
        item.DimensionIndexPointer = tag_for_keyword(keyword)
        item.FunctionalGroupPointer = tag_for_keyword(group)
        item.DimensionDescriptionLabel = keyword
        indices.append(item)
    dataset.DimensionIndexSequence = indices


def _frame(index: tuple[int, int], position: np.ndarray, image: tuple[str, str] | None) -> pydicom.Dataset:
    from pydicom import Dataset

    content, place, identity, frame = Dataset(), Dataset(), Dataset(), Dataset()
    content.DimensionIndexValues = list(index)
    place.ImagePositionPatient = [decimal(p) for p in position]
    identity.ReferencedSegmentNumber = index[0]
    frame.FrameContentSequence, frame.PlanePositionSequence = [content], [place]
    frame.SegmentIdentificationSequence = [identity]
    if image:
        derivation, source = Dataset(), source_item(*image)
        source.SpatialLocationsPreserved = "YES"
        derivation.SourceImageSequence = [source]
        derivation.DerivationCodeSequence = [code_item(*_SEGMENTATION)]
        frame.DerivationImageSequence = [derivation]
    return frame


def _named_sources(dataset: pydicom.Dataset, ct: CtImages) -> list[SourceImage]:
    """The images that frames refer to, each once."""
    named = {
        image.ReferencedSOPInstanceUID
        for frame in dataset.PerFrameFunctionalGroupsSequence
        for image in frame.DerivationImageSequence[0].SourceImageSequence
    }
    return [
        SourceImage("", "", "", sop_class, instance, ct.series_uid, ct.study.uid)
        for sop_class, instance in ct.images
        if instance in named
    ]
