"""Segmentations as `.seg.nrrd`: a label map with the names, colours and codes that Slicer shows.

The file is an ordinary NRRD with one key per property of each segment ("Segment0_Name"), as
Slicer's documentation of its segmentation files describes.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xrecon.io.atomic import atomic_path
from xrecon.io.checks import file_suffix, read_itk, require_file, write_itk
from xrecon.io.image import META_PREFIX, from_sitk, to_sitk
from xrecon.provenance import for_files
from xrecon.volume import InputError, Quantity, Volume

if TYPE_CHECKING:
    import SimpleITK

# Lung is in the terminology that comes with Slicer, pneumothorax is not in any of them.
_SLICER_CONTEXT = "Segmentation category and type - 3D Slicer General Anatomy list"
XRECON_CONTEXT = "Segmentation category and type - XRecon"
_REGIONS = "Anatomic codes - DICOM master list"
_ANATOMY = "SCT^123037004^Anatomical Structure"
_ALTERED = "SCT^49755003^Morphologically Altered Structure"
_LUNG = "SCT^39607008^Lung"
_PNEUMOTHORAX = "SCT^36118008^Pneumothorax"
_RIGHT, _LEFT = "SCT^24028007^Right", "SCT^7771000^Left"


def _entry(context: str, category: str, kind: str, modifier: str) -> str:
    """Slicer's terminology entry: seven parts joined by ~, each code as scheme^value^meaning."""
    return "~".join((context, category, kind, modifier, _REGIONS, "^^", "^^"))


@dataclass(frozen=True)
class SegmentDescription:
    """One segment: its value in the label map, its name, its colour (red, green, blue in 0..1)
    and its terminology entry as Slicer serializes it ("" for none)."""

    label: int
    name: str
    color: tuple[float, float, float]
    terminology: str = ""


PTX_SEGMENTS = (
    SegmentDescription(1, "right lung", (0.77, 0.65, 0.57), _entry(_SLICER_CONTEXT, _ANATOMY, _LUNG, _RIGHT)),
    SegmentDescription(2, "left lung", (0.60, 0.72, 0.80), _entry(_SLICER_CONTEXT, _ANATOMY, _LUNG, _LEFT)),
    SegmentDescription(
        3, "right pneumothorax", (0.93, 0.33, 0.22), _entry(XRECON_CONTEXT, _ALTERED, _PNEUMOTHORAX, _RIGHT)
    ),
    SegmentDescription(
        4, "left pneumothorax", (0.98, 0.75, 0.15), _entry(XRECON_CONTEXT, _ALTERED, _PNEUMOTHORAX, _LEFT)
    ),
)


def numbered_segments(names: Sequence[str]) -> tuple[SegmentDescription, ...]:
    """Segments of the labels 1, 2, ... with these names, in colours as unlike as may be."""
    # steps of the golden ratio around the colour circle: neighbours always differ
    hues = [(0.08 + 0.618034 * number) % 1.0 for number in range(len(names))]
    return tuple(
        SegmentDescription(number, name, colorsys.hsv_to_rgb(hue, 0.55, 0.9))
        for number, (name, hue) in enumerate(zip(names, hues, strict=True), start=1)
    )


# -- writing -----------------------------------------------------------------------------------
def write_segmentation(
    labels: Volume, path: str | Path, segments: Sequence[SegmentDescription] = PTX_SEGMENTS
) -> None:
    """Write a label volume as a `.seg.nrrd` that Slicer opens as a segmentation.

    Every segment is written, also those without a voxel, so that "no pneumothorax" can be told
    from "not looked for". `meta` is kept in fields "xrecon.*".

    Raises InputError when the volume holds no whole numbers, labels below 0 or labels that no
    segment describes, when two segments share a label, or the name is no `.seg.nrrd`; OSError
    when the file cannot be written.
    """
    path = Path(path)
    if file_suffix(path) != ".seg.nrrd":
        raise InputError(f"expected a file name ending in .seg.nrrd, got {path}")
    array = checked_labels(labels, segments)
    kept = replace(labels, array=array, quantity=Quantity.LABEL, meta=for_files(labels.meta))
    image = to_sitk(kept)
    for key, value in {**_reference_geometry(labels), **_slicer_fields(array, segments)}.items():
        image.SetMetaData(key, value)
    with atomic_path(path) as temporary:
        write_itk(image, temporary)


def checked_labels(labels: Volume, segments: Sequence[SegmentDescription]) -> np.ndarray:
    """The labels in the smallest type that Slicer takes, checked against their descriptions.

    Raises InputError as `write_segmentation`.
    """
    if labels.array.dtype.kind not in "iub":
        raise InputError(f"expected whole numbers as labels, got {labels.array.dtype}")
    described = [segment.label for segment in segments]
    if len(set(described)) != len(described) or min(described, default=1) < 1:
        raise InputError(f"expected segments with different labels above 0, got {described}")
    unknown = sorted(set(np.unique(labels.array).tolist()) - {0, *described})
    if unknown:
        raise InputError(f"expected only the labels 0 and {described}, got {unknown[:10]} too")
    return labels.array.astype(np.uint8 if max(described, default=0) < 256 else np.int16)


def _reference_geometry(labels: Volume) -> dict[str, str]:
    """What makes Slicer keep the whole grid; without it, it keeps the box around the segments.

    The matrix from index to RAS mm by rows, then first and last index along x, y, z.
    """
    matrix = np.diag([-1.0, -1.0, 1.0, 1.0]) @ labels.affine
    extent = [bound for size in labels.shape[::-1] for bound in (0, size - 1)]
    numbers = "".join(f"{number:.17g};" for number in (*matrix.ravel(), *extent))
    return {"Segmentation_ConversionParameters": f"Reference image geometry|{numbers}|&"}


def _slicer_fields(array: np.ndarray, segments: Sequence[SegmentDescription]) -> dict[str, str]:
    fields = {
        "Segmentation_ContainedRepresentationNames": "Binary labelmap|",
        "Segmentation_MasterRepresentation": "Binary labelmap",
        "Segmentation_ReferenceImageExtentOffset": "0 0 0",
    }
    for number, segment in enumerate(segments):
        prefix = f"Segment{number}_"
        fields |= {
            prefix + "ID": f"Segment_{segment.label}",
            prefix + "Name": segment.name,
            prefix + "NameAutoGenerated": "0",
            prefix + "Color": " ".join(f"{c:g}" for c in segment.color),
            prefix + "ColorAutoGenerated": "0",
            prefix + "LabelValue": str(segment.label),
            prefix + "Layer": "0",
            prefix + "Extent": _extent(array == segment.label),
            prefix + "Tags": f"TerminologyEntry:{segment.terminology}|" if segment.terminology else "|",
        }
    return fields


def _extent(mask: np.ndarray) -> str:
    """First and last index along x, y, z of the box around a mask (z, y, x); 0 -1 when empty."""
    bounds = []
    for axis in (2, 1, 0):
        used = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        bounds += [used[0], used[-1]] if used.size else [0, -1]
    return " ".join(str(int(bound)) for bound in bounds)


# -- reading -----------------------------------------------------------------------------------
def read_segmentation(path: str | Path) -> tuple[Volume, list[SegmentDescription]]:
    """Labels and descriptions from a `.seg.nrrd` by this package or by Slicer.

    Segments that Slicer keeps in several layers because they overlap are flattened: a later
    segment covers an earlier one, and `meta["overlap"]` counts the voxels. Label values used
    twice (in different layers) are numbered anew in the order of the segments.

    Raises FileNotFoundError when nothing is there, InputError when it is no segmentation.
    """
    path = Path(path)
    what = "a segmentation (.seg.nrrd)"
    image = read_itk(require_file(path, what), what)
    found = _descriptions(image, path)
    layers, grid = _layers(image, path)
    values = [(layer, segment.label) for layer, segment in found]
    labels_differ = len({label for _, label in values}) == len(values)
    array = np.zeros(grid.shape, np.uint8 if len(found) < 256 else np.int16)
    if labels_differ and max(label for _, label in values) >= 256:
        array = array.astype(np.int16)
    segments, overlap = [], 0
    for number, (layer, segment) in enumerate(found, start=1):
        if layer >= len(layers):
            raise InputError(f"expected {layer + 1} layers in {path}, got {len(layers)}")
        mask = layers[layer] == segment.label
        overlap += int(np.count_nonzero(array[mask]))
        label = segment.label if labels_differ else number
        array[mask] = label
        segments.append(SegmentDescription(label, segment.name, segment.color, segment.terminology))
    meta = {"file": path.name, **({"overlap": str(overlap)} if overlap else {})}
    return grid.with_array(array, **meta), segments


def _descriptions(image: SimpleITK.Image, path: Path) -> list[tuple[int, SegmentDescription]]:
    """(layer, description) of each segment, from the fields of the file."""
    fields = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys()}
    found = []
    while f"Segment{len(found)}_LabelValue" in fields or f"Segment{len(found)}_ID" in fields:
        prefix = f"Segment{len(found)}_"
        try:
            color = tuple(float(c) for c in fields.get(prefix + "Color", "0.5 0.5 0.5").split())
            layer = int(fields.get(prefix + "Layer", len(found)))  # Slicer 4.10: a layer each, value 1
            label = int(fields.get(prefix + "LabelValue", 1))
        except ValueError as error:
            raise InputError(f"expected numbers in the fields {prefix}* of {path}: {error}") from error
        tags = dict(tag.partition(":")[::2] for tag in fields.get(prefix + "Tags", "").split("|"))
        name = fields.get(prefix + "Name", f"segment {label}")
        found.append((layer, SegmentDescription(label, name, color, tags.get("TerminologyEntry", ""))))
    if not found:
        raise InputError(f"expected a segmentation (.seg.nrrd), {path} describes no segments")
    return found


def _layers(image: SimpleITK.Image, path: Path) -> tuple[list[np.ndarray], Volume]:
    """The layers (z, y, x) of the file and a volume with its grid and provenance."""
    import SimpleITK as sitk

    count = image.GetNumberOfComponentsPerPixel()
    parts = [image]
    if count > 1:
        parts = [sitk.VectorIndexSelectionCast(image, layer) for layer in range(count)]
        for key in image.GetMetaDataKeys():
            if key.startswith(META_PREFIX):
                parts[0].SetMetaData(key, image.GetMetaData(key))
    try:
        grid = from_sitk(parts[0], Quantity.LABEL)
    except InputError as error:
        raise InputError(f"{error} in {path}") from error
    return [sitk.GetArrayFromImage(part) for part in parts], grid


def labels_on_grid(labels: Volume, like: Volume) -> Volume:
    """The labels on the grid of `like`, by nearest voxel; 0 outside.

    Slicer stores only the box around the segments when it does not know the CT they were drawn
    on; this puts them back.
    """
    if labels.same_grid(like):
        return labels
    import SimpleITK as sitk

    moved = sitk.Resample(
        to_sitk(labels), to_sitk(like.with_array(np.zeros(like.shape, np.uint8))), sitk.Transform(),
        sitk.sitkNearestNeighbor, 0,
    )  # fmt: skip
    return like.with_array(sitk.GetArrayFromImage(moved), Quantity.LABEL, **labels.meta)


def uncropped_labels(labels: Volume, like: Volume) -> Volume:
    """Labels that are a box cut out of the grid of `like`, on that grid; others as they are.

    The box must have the spacing and direction of `like`, its voxel centres on those of `like`, and
    lie inside it.
    """
    if labels.same_grid(like):
        return labels
    corner = like.world_to_index(np.array(labels.origin)[None])[0]
    first = np.rint(corner).astype(int)
    last = first + np.array(labels.shape[::-1]) - 1
    if (first < 0).any() or (last >= np.array(like.shape[::-1])).any():
        return labels
    box = tuple(slice(a, b + 1) for a, b in zip(first[::-1], last[::-1], strict=True))
    place = tuple(like.index_to_world(first[None])[0])
    cut = Volume(like.array[box], like.spacing, place, like.direction, like.quantity)
    return labels_on_grid(labels, like) if labels.same_grid(cut) else labels


def read_by_name(prediction: str | Path, reference: str | Path) -> tuple[Volume, Volume, dict[int, str]]:
    """Two segmentations whose equal labels mean segments of equal names, and the names by label.

    Label values are a program's own affair, names are what a person means: segments are matched by
    name (case and outer spaces aside). Labels are those of the reference; segments that only the
    prediction has get numbers above.
    Raises InputError when a file names two segments alike, or the files have no name in common.
    """
    (first, described), (second, expected) = read_segmentation(prediction), read_segmentation(reference)
    labels = _labels_by_name(expected, reference)
    found = _labels_by_name(described, prediction)
    if not labels.keys() & found.keys():
        raise InputError(
            f"expected segments of the same names in {prediction} ({', '.join(found)}) and {reference} "
            f"({', '.join(labels)})"
        )
    top = max(labels.values())
    for name in found:
        if name not in labels:
            labels[name] = top = top + 1
    array = np.zeros(first.shape, np.uint8 if top < 256 else np.int16)
    for name, label in found.items():
        array[first.array == label] = labels[name]
    return first.with_array(array), second, {label: name for name, label in labels.items()}


def _labels_by_name(segments: Sequence[SegmentDescription], path: str | Path) -> dict[str, int]:
    labels = {segment.name.strip().lower(): segment.label for segment in segments}
    if len(labels) < len(segments):
        raise InputError(f"expected segments of different names in {path}, got {[s.name for s in segments]}")
    return labels
