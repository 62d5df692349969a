"""A radiograph as a DICOM Digital X-Ray image (PS3.3 A.26), marked as derived and synthetic.

Line integrals and log signals are an image For Processing: they are not meant for a screen, and
A.26.3 allows them no VOI window. Grey values for display are one For Presentation.

DX demands RescaleSlope 1 and RescaleIntercept 0, so the scale of line integrals goes into the
Real World Value Mapping (C.7.6.16.2.11), which any reader may use, and, together with the exact
geometry, into a private block.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xrecon import __version__
from xrecon.io.atomic import atomic_path
from xrecon.io.checks import file_suffix
from xrecon.io.dicom_provenance import SYNTHETIC_DATA
from xrecon.io.pydicom_versions import save_dataset
from xrecon.io.radiograph_dicom import (
    PRIVATE_CREATOR,
    PRIVATE_ELEMENT,
    PRIVATE_GROUP,
    VALUE_LABELS,
)
from xrecon.io.radiograph_dicom_technique import code_item, put_geometry, put_technique
from xrecon.io.radiograph_sidecar import describe, quantized
from xrecon.io.sidecar import json_text
from xrecon.volume import InputError, Quantity, Radiograph

if TYPE_CHECKING:
    import pydicom

_DISPLAY_BITS = 12  # what detectors' processed pictures have
_EXPLANATIONS = {
    Quantity.LINE_INTEGRAL: "Line integral of linear attenuation",
    Quantity.LOG_SIGNAL: "-log of detector signal over open beam",
    Quantity.DISPLAY: "Grey value, bright = dense",
}
_COMMENT = "Synthetic radiograph computed by XRecon, not an acquired image. Research only, not for diagnosis."


def write_radiograph_dicom(
    radiograph: Radiograph,
    path: str | Path,
    *,
    patient_name: str = "Synthetic^DRR",
    patient_id: str = "SYNTHETIC",
    study_uid: str | None = None,
    study_description: str = "",
    series_number: int = 1,
    source_images: Sequence[tuple[str, str]] = (),
) -> None:
    """Write a computed radiograph as a DX image, MONOCHROME2 (higher stored values are denser).

    With "photometric": "MONOCHROME1" in its `meta`, values are stored the other way round. Grey values
    0 to 4095 without fractions are stored as they are, in 12 bits; all others in 16 bits, rounded as
    `write_radiograph_png` does it.

    patient_id: at most 64 characters without a backslash (DICOM's LO).
    study_uid: puts several views into one study; series and instance are always new. study_description:
    up to 64 characters of it are kept. series_number: of the view in the study.
    source_images: (SOP class UID, SOP instance UID) of the CT's images, where they are known.

    Raises InputError when the radiograph has no geometry (DX demands the pixel spacing and the
    patient's orientation), a value is not finite, the name has no DICOM extension, or the UID is
    not valid; OSError when the file cannot be written.
    """
    path = Path(path)
    if file_suffix(path) not in (".dcm", ".dicom"):
        raise InputError(f"expected a file name ending in .dcm, got {path}")
    if radiograph.geometry is None:
        raise InputError("expected a radiograph with a geometry to write as DICOM, got one without")
    if not 0 < len(patient_id) <= 64 or "\\" in patient_id:
        raise InputError(f"expected a patient ID of 1 to 64 characters without backslash, got {patient_id!r}")
    stored, scale, offset, bits = _stored(radiograph)
    description = describe(radiograph, scale, offset)
    inverted = radiograph.meta.get("photometric") == "MONOCHROME1"
    dataset = _dataset(study_uid, radiograph.quantity)
    _put_subject(dataset, patient_name, patient_id)
    dataset.SeriesNumber = series_number
    if study_description:
        dataset.StudyDescription = study_description.replace("\\", "/")[:64]
    _put_image(dataset, radiograph, stored, bits)
    put_geometry(dataset, radiograph.geometry, description["view"])
    put_technique(dataset, radiograph.meta)
    _put_values(dataset, description, bits)
    _put_origin(dataset, radiograph, source_images)
    if inverted:
        _invert(dataset, stored, bits)
    block = dataset.private_block(PRIVATE_GROUP, PRIVATE_CREATOR, create=True)
    block.add_new(PRIVATE_ELEMENT, "UT", json_text({**description, "stored_inverted": inverted}))
    with atomic_path(path) as temporary:
        save_dataset(dataset, temporary)


def _stored(radiograph: Radiograph) -> tuple[np.ndarray, float, float, int]:
    """uint16 values, scale, offset, and how many bits they need."""
    array = radiograph.require_finite().array
    if radiograph.quantity is Quantity.DISPLAY and array.min() >= 0 and array.max() < 2**_DISPLAY_BITS:
        whole = np.rint(array)
        if np.array_equal(whole, array):
            return whole.astype(np.uint16), 1.0, 0.0, _DISPLAY_BITS
    return *quantized(radiograph), 16


def _dataset(study_uid: str | None, quantity: Quantity) -> pydicom.Dataset:
    """An empty DX image with its UIDs, intent and file header."""
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import (
        RE_VALID_UID,
        DigitalXRayImageStorageForPresentation,
        DigitalXRayImageStorageForProcessing,
        ExplicitVRLittleEndian,
        generate_uid,
    )

    if study_uid is not None and not (len(study_uid) <= 64 and re.fullmatch(RE_VALID_UID, study_uid)):
        raise InputError(f"expected a valid DICOM UID for the study, got {study_uid!r}")
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SpecificCharacterSet = "ISO_IR 192"
    if quantity is Quantity.DISPLAY:
        dataset.PresentationIntentType = "FOR PRESENTATION"
        dataset.SOPClassUID = DigitalXRayImageStorageForPresentation
    else:
        dataset.PresentationIntentType = "FOR PROCESSING"
        dataset.SOPClassUID = DigitalXRayImageStorageForProcessing
    dataset.SOPInstanceUID = generate_uid()
    dataset.StudyInstanceUID = study_uid or generate_uid()
    dataset.SeriesInstanceUID = generate_uid()
    return dataset


def _put_subject(dataset: pydicom.Dataset, patient_name: str, patient_id: str) -> None:
    """Patient, study, series, equipment and anatomy modules."""
    now = datetime.now()
    dataset.PatientName, dataset.PatientID = patient_name, patient_id
    dataset.PatientBirthDate = dataset.PatientSex = ""
    for kind in ("Study", "Content"):
        setattr(dataset, f"{kind}Date", now.strftime("%Y%m%d"))
        setattr(dataset, f"{kind}Time", now.strftime("%H%M%S"))
    dataset.AccessionNumber = dataset.ReferringPhysicianName = dataset.StudyID = ""
    dataset.Modality, dataset.InstanceNumber = "DX", 1
    dataset.Manufacturer, dataset.ManufacturerModelName = "XRecon", "XRecon"
    dataset.SoftwareVersions = __version__
    # The chest is no paired part, also in a lateral view: its side is in view and PatientOrientation.
    dataset.BodyPartExamined, dataset.ImageLaterality = "CHEST", "U"
    dataset.AnatomicRegionSequence = [code_item("816094009", "SCT", "Chest")]
    dataset.AcquisitionContextSequence = []


def _put_image(dataset: pydicom.Dataset, radiograph: Radiograph, stored: np.ndarray, bits: int) -> None:
    """Image pixel, DX image and VOI LUT modules."""
    dataset.ImageType = ["DERIVED", "SECONDARY", ""]
    name = radiograph.meta.get("view_name", radiograph.view)
    dataset.SeriesDescription = f"Synthetic radiograph {name}".strip()[:64]
    dataset.ImageComments = _COMMENT
    dataset.DerivationDescription = "; ".join(radiograph.history)[:1024] or "Computed, not acquired"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = stored.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, bits, bits - 1
    dataset.PixelRepresentation = 0
    dataset.PixelData = stored.astype("<u2").tobytes()
    dataset["PixelData"].VR = "OW"
    dataset.BurnedInAnnotation, dataset.LossyImageCompression = "NO", "00"
    # Higher values mean less intensity, logarithmically: what a line integral is.
    dataset.PixelIntensityRelationship, dataset.PixelIntensityRelationshipSign = "LOG", -1
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = 0, 1, "US"
    dataset.PresentationLUTShape = "IDENTITY"
    if radiograph.quantity is not Quantity.DISPLAY:
        return
    low, high = int(stored.min()), int(stored.max())
    if "radiography" in radiograph.meta and bits == _DISPLAY_BITS:  # the look-up curve was made for all
        low, high = 0, 2**bits - 1
    dataset.WindowCenter, dataset.WindowWidth = (low + high + 1) / 2, high - low + 1


def _put_values(dataset: pydicom.Dataset, description: Mapping[str, Any], bits: int) -> None:
    """What the stored values mean, as a Real World Value Mapping."""
    from pydicom import Dataset

    quantity = Quantity(description["quantity"])
    item = Dataset()
    item.add_new("RealWorldValueFirstValueMapped", "US", 0)
    item.add_new("RealWorldValueLastValueMapped", "US", 2**bits - 1)
    item.RealWorldValueSlope, item.RealWorldValueIntercept = description["scale"], description["offset"]
    item.LUTLabel, item.LUTExplanation = VALUE_LABELS[quantity], _EXPLANATIONS[quantity]
    item.MeasurementUnitsCodeSequence = [code_item("1", "UCUM", "no units")]
    dataset.RealWorldValueMappingSequence = [item]


def _invert(dataset: pydicom.Dataset, stored: np.ndarray, bits: int) -> None:
    """Store low values for dense, as MONOCHROME1: the screen shows the same picture."""
    top = 2**bits - 1
    dataset.PixelData = (top - stored).astype("<u2").tobytes()
    dataset.PhotometricInterpretation, dataset.PresentationLUTShape = "MONOCHROME1", "INVERSE"
    dataset.PixelIntensityRelationshipSign = 1
    if "WindowCenter" in dataset:
        dataset.WindowCenter = top + 1 - float(dataset.WindowCenter)
    item = dataset.RealWorldValueMappingSequence[0]
    slope, intercept = item.RealWorldValueSlope, item.RealWorldValueIntercept
    item.RealWorldValueSlope, item.RealWorldValueIntercept = -slope, intercept + top * slope


def _put_origin(
    dataset: pydicom.Dataset, radiograph: Radiograph, source_images: Sequence[tuple[str, str]]
) -> None:
    """That it was computed, by what (SOP common module), and from which images (general reference)."""
    from pydicom import Dataset

    dataset.add_new(SYNTHETIC_DATA, "CS", "YES")
    equipment = Dataset()
    equipment.PurposeOfReferenceCodeSequence = [code_item("109100", "DCM", "Synthesizing Equipment")]
    equipment.Manufacturer, equipment.ManufacturerModelName = "XRecon", "XRecon"
    equipment.SoftwareVersions = __version__
    equipment.ContributionDescription = f"Projected a CT: {radiograph.quantity.value}"
    dataset.ContributingEquipmentSequence = [equipment]
    if not source_images:
        return
    items = []
    for sop_class, instance in source_images:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, instance
        purpose = code_item("121322", "DCM", "Source image for image processing operation")
        item.PurposeOfReferenceCodeSequence = [purpose]
        items.append(item)
    dataset.SourceImageSequence = items
