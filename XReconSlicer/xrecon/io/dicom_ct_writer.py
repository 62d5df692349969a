"""A volume in HU as a DICOM CT series (PS3.3 A.3), marked as derived and, where it is, as synthetic.

One file per slice, in the order of the slices' positions along their normal. The folder appears whole or
not at all. pydicom writes the files: Slicer brings it along (2.4 or 3), and highdicom, which has no class
for a CT series, would need pydicom 3.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xrecon.io.atomic import atomic_folder
from xrecon.io.dicom_checks import require_valid
from xrecon.io.dicom_ct_images import CtImages
from xrecon.io.dicom_objects import (
    LONG_STRING,
    NOT_FOR_DIAGNOSIS,
    SHORT_TEXT,
    decimal,
    new_object,
    one_line,
    put_equipment,
    put_provenance,
    put_references,
    source_item,
)
from xrecon.io.dicom_provenance import DERIVATION_CODE
from xrecon.io.dicom_study import Study, placeholder_study
from xrecon.io.pydicom_versions import save_dataset
from xrecon.io.radiograph_dicom_technique import code_item
from xrecon.provenance import is_reconstructed, sources_in
from xrecon.volume import InputError, Quantity, Volume

if TYPE_CHECKING:
    import pydicom

_WINDOWS = {"LUNG": (-600, 1500), "MEDIASTINUM": (40, 400)}
_STORED = np.iinfo(np.int16)


def write_ct_series(
    volume: Volume,
    folder: str | Path,
    *,
    study: Study | None = None,
    frame_of_reference_uid: str = "",
    description: str = "",
) -> CtImages:
    """Write a CT series into a new folder, read it back and check it.

    Values are rounded to whole HU. Voxels lie where those of `volume` lie, to 1e-6 mm, whatever its
    direction; a left-handed grid is written with its slices in the other order. `meta` of the volume says
    what it is: "synthetic", "model", "model_sha256", "sources" (see `xrecon.provenance`).

    study: patient and study; None for a placeholder. frame_of_reference_uid: only where the volume is known
    to share the coordinates of that frame; new when "". description: of the series; says by default what
    the volume is, and always that it is not for diagnosis.

    Raises InputError when the volume is not HU, not finite, or beyond 16 bits, or the folder holds
    something; OSError when it cannot be written.
    """
    volume = right_handed(_storable(volume))
    study = study or placeholder_study()
    template = _template(volume, study, description)
    if frame_of_reference_uid:
        template.FrameOfReferenceUID = frame_of_reference_uid
    digits = max(4, len(str(volume.shape[0])))
    images = []
    with atomic_folder(folder) as staging:
        for number, plane in enumerate(volume.array):
            dataset = _slice(template, volume, number, plane)
            save_dataset(dataset, staging / f"{number + 1:0{digits}d}.dcm")
            images.append((str(dataset.SOPClassUID), str(dataset.SOPInstanceUID)))
        require_valid(sorted(staging.iterdir()))
    return CtImages(
        study,
        str(template.SeriesInstanceUID),
        str(template.FrameOfReferenceUID),
        tuple(images),
        _positions(volume),
        volume.shape[1:],
        volume.spacing[1:],
        volume.direction[:, :2].T.copy(),
    )


def _storable(volume: Volume) -> Volume:
    """The volume in int16 HU."""
    if volume.quantity is not Quantity.HU:
        raise InputError(f"expected a CT in HU to write as DICOM, got a volume of {volume.quantity.value}")
    volume.require_finite()
    if max(volume.shape[1:]) > np.iinfo(np.uint16).max:
        raise InputError(f"expected slices of at most 65535 pixels a side, got {volume.shape[1:]}")
    whole = np.issubdtype(volume.array.dtype, np.integer)
    rounded = volume.array if whole else np.rint(volume.array)
    low, high = float(rounded.min()), float(rounded.max())
    if low < _STORED.min or high > _STORED.max:
        raise InputError(f"expected HU from {_STORED.min} to {_STORED.max}, got {low:g} to {high:g}")
    return volume.with_array(rounded.astype(np.int16))


def right_handed(volume: Volume) -> Volume:
    """The same voxels at the same places, slices in the order of their positions along the normal
    (cross product of row and column direction) of their plane, which is how DICOM orders them."""
    if np.linalg.det(volume.direction) > 0:
        return volume
    last = volume.index_to_world(np.array([0, 0, volume.shape[0] - 1]))
    direction = volume.direction * np.array([1.0, 1.0, -1.0])
    return Volume(volume.array[::-1], volume.spacing, tuple(last), direction, volume.quantity, volume.meta)


def _positions(volume: Volume) -> np.ndarray:
    first = np.zeros((volume.shape[0], 3))
    first[:, 2] = np.arange(volume.shape[0])
    return volume.index_to_world(first)


def _template(volume: Volume, study: Study, description: str) -> pydicom.Dataset:
    """What all slices have in common."""
    from pydicom.uid import CTImageStorage, generate_uid

    dataset = new_object(CTImageStorage, study, "CT", series_description(volume.meta, description))
    dataset.FrameOfReferenceUID = generate_uid()
    dataset.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
    dataset.ContentQualification = "RESEARCH"
    dataset.KVP = dataset.AcquisitionNumber = None  # nobody was exposed for it
    dataset.PatientPosition = ""
    _put_plane(dataset, volume)
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = 0, 1, "HU"
    dataset.WindowCenter = [center for center, _ in _WINDOWS.values()]
    dataset.WindowWidth = [width for _, width in _WINDOWS.values()]
    dataset.WindowCenterWidthExplanation = list(_WINDOWS)
    _put_origin(dataset, volume.meta)
    return dataset


def series_description(meta: Mapping[str, str], description: str = "") -> str:
    """At most 64 characters that say what it is and that it is not for diagnosis."""
    if meta.get("synthetic"):
        start = f"SYNTHETIC, {NOT_FOR_DIAGNOSIS}"
        name = description or f"CT by XRecon {meta.get('model', '')}"
    else:
        start, name = f"XRecon, {NOT_FOR_DIAGNOSIS}", description or "CT"
    return one_line(f"{start}: {name}", LONG_STRING)


def _put_plane(dataset: pydicom.Dataset, volume: Volume) -> None:
    """Image Plane module, but for the position."""
    dataset.Rows, dataset.Columns = volume.shape[1:]
    dataset.PixelSpacing = [decimal(s) for s in volume.spacing[1:]]
    dataset.SliceThickness = dataset.SpacingBetweenSlices = decimal(volume.spacing[0])
    dataset.ImageOrientationPatient = [decimal(c) for c in volume.direction[:, :2].T.ravel()]


def _put_origin(dataset: pydicom.Dataset, meta: Mapping[str, str]) -> None:
    """By what and from which images it was computed."""
    sources = sources_in(meta)
    dataset.DerivationDescription = one_line(derivation(meta), SHORT_TEXT)
    put_equipment(dataset, meta, derivation(meta))
    if is_reconstructed(meta):
        dataset.DerivationCodeSequence = [code_item(*DERIVATION_CODE)]
    items = [source_item(s.sop_class_uid, s.sop_instance_uid) for s in sources if s.is_dicom]
    if items:
        dataset.SourceImageSequence = items
    put_references(dataset, sources)
    dataset.ImageComments = one_line(meta.get("notice", ""), 10240) or f"Research only, {NOT_FOR_DIAGNOSIS}"
    put_provenance(dataset, meta)


def derivation(meta: Mapping[str, str]) -> str:
    """How a volume came about, in a sentence."""
    if is_reconstructed(meta):
        model, checksum = meta.get("model", "unknown"), meta.get("model_sha256", "") or "unknown"
        views = meta.get("views", "") or "unknown"
        return (
            f"SYNTHETIC, {NOT_FOR_DIAGNOSIS}: CT estimated from radiographs ({views}) by the network "
            f"{model} (weights sha256 {checksum}). What they do not show is filled in from other people."
        )
    if meta.get("synthetic"):
        return f"SYNTHETIC, {NOT_FOR_DIAGNOSIS}: {meta['synthetic']}"
    return f"Written anew from a volume file; values rounded to whole HU; {NOT_FOR_DIAGNOSIS}"


def _slice(template: pydicom.Dataset, volume: Volume, number: int, plane: np.ndarray) -> pydicom.Dataset:
    from pydicom import Dataset
    from pydicom.uid import generate_uid

    dataset = Dataset()
    dataset.update(template)  # the elements are shared: they are replaced below, never changed
    dataset.file_meta = copy.copy(template.file_meta)
    del dataset.SOPInstanceUID
    position = volume.index_to_world(np.array([0, 0, number]))
    dataset.SOPInstanceUID = generate_uid()
    dataset.InstanceNumber = number + 1
    dataset.ImagePositionPatient = [decimal(p) for p in position]
    dataset.SliceLocation = decimal(position @ np.cross(volume.direction[:, 0], volume.direction[:, 1]))
    dataset.PixelData = plane.astype("<i2").tobytes()
    dataset["PixelData"].VR = "OW"
    return dataset
