"""A radiograph as a DICOM Digital X-Ray image (PS3.3 A.26), marked as derived and synthetic.

DX demands RescaleSlope 1 and RescaleIntercept 0, so the scale of line integrals goes into the
Real World Value Mapping (C.7.6.16.2.11), which any reader may use, and, together with the exact
geometry, into a private block.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xrecon import __version__
from xrecon.io.atomic import atomic_path
from xrecon.io.checks import file_suffix
from xrecon.io.pydicom_versions import save_dataset
from xrecon.io.radiograph_dicom import (
    PRIVATE_CREATOR,
    PRIVATE_ELEMENT,
    PRIVATE_GROUP,
    VALUE_LABELS,
    VIEW_CODES,
)
from xrecon.io.radiograph_geometry import layout_of
from xrecon.io.radiograph_sidecar import describe, quantized
from xrecon.io.sidecar import json_text
from xrecon.physics.geometry import ViewGeometry
from xrecon.physics.poses import positioner_angles
from xrecon.volume import InputError, Quantity, Radiograph

if TYPE_CHECKING:
    import pydicom

_VIEW_POSITIONS = {"PA": "PA", "AP": "AP", "LEFT LATERAL": "LL", "RIGHT LATERAL": "RL"}
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
    study_uid: str | None = None,
) -> None:
    """Write a computed radiograph as a DX image, For Presentation, MONOCHROME2, 16 bits, bright = dense.

    `study_uid` puts several views into one study; series and instance are always new. Values
    are rounded as `write_radiograph_png` does it.

    Raises InputError when the radiograph has no geometry (DX demands the pixel spacing and the
    patient's orientation), a value is not finite, the name has no DICOM extension, or the UID is
    not valid; OSError when the file cannot be written.
    """
    path = Path(path)
    if file_suffix(path) not in (".dcm", ".dicom"):
        raise InputError(f"expected a file name ending in .dcm, got {path}")
    if radiograph.geometry is None:
        raise InputError("expected a radiograph with a geometry to write as DICOM, got one without")
    stored, scale, offset = quantized(radiograph)
    description = describe(radiograph, scale, offset)
    dataset = _dataset(study_uid)
    _put_subject(dataset, patient_name)
    _put_image(dataset, radiograph, stored)
    _put_geometry(dataset, radiograph.geometry, description["view"])
    _put_values(dataset, description)
    with atomic_path(path) as temporary:
        save_dataset(dataset, temporary)


def _dataset(study_uid: str | None) -> pydicom.Dataset:
    """An empty DX image with its UIDs and file header."""
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import (
        RE_VALID_UID,
        DigitalXRayImageStorageForPresentation,
        ExplicitVRLittleEndian,
        generate_uid,
    )

    if study_uid is not None and not (len(study_uid) <= 64 and re.fullmatch(RE_VALID_UID, study_uid)):
        raise InputError(f"expected a valid DICOM UID for the study, got {study_uid!r}")
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.SOPInstanceUID = generate_uid()
    dataset.StudyInstanceUID = study_uid or generate_uid()
    dataset.SeriesInstanceUID = generate_uid()
    return dataset


def _put_subject(dataset: pydicom.Dataset, patient_name: str) -> None:
    """Patient, study, series, equipment and anatomy modules."""
    now = datetime.now()
    dataset.PatientName, dataset.PatientID = patient_name, "SYNTHETIC"
    dataset.PatientBirthDate = dataset.PatientSex = ""
    for kind in ("Study", "Content"):
        setattr(dataset, f"{kind}Date", now.strftime("%Y%m%d"))
        setattr(dataset, f"{kind}Time", now.strftime("%H%M%S"))
    dataset.AccessionNumber = dataset.ReferringPhysicianName = dataset.StudyID = ""
    dataset.Modality, dataset.SeriesNumber, dataset.InstanceNumber = "DX", 1, 1
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.Manufacturer, dataset.ManufacturerModelName = "XRecon", "XRecon"
    dataset.SoftwareVersions = __version__
    dataset.BodyPartExamined, dataset.ImageLaterality = "CHEST", "U"
    dataset.AnatomicRegionSequence = [_code("816094009", "SCT", "Chest")]
    dataset.AcquisitionContextSequence = []


def _put_image(dataset: pydicom.Dataset, radiograph: Radiograph, stored: np.ndarray) -> None:
    """Image pixel, DX image and VOI LUT modules."""
    dataset.ImageType = ["DERIVED", "SECONDARY", ""]
    view = f" {radiograph.view}" if radiograph.view else ""
    dataset.SeriesDescription = f"Synthetic radiograph{view}"
    dataset.ImageComments = _COMMENT
    dataset.DerivationDescription = "; ".join(radiograph.history)[:1024] or "Computed, not acquired"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = stored.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelRepresentation = 0
    dataset.PixelData = stored.astype("<u2").tobytes()
    dataset["PixelData"].VR = "OW"
    dataset.BurnedInAnnotation, dataset.LossyImageCompression = "NO", "00"
    # Higher values mean less intensity, logarithmically: what a line integral is.
    dataset.PixelIntensityRelationship, dataset.PixelIntensityRelationshipSign = "LOG", -1
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = 0, 1, "US"
    dataset.PresentationLUTShape = "IDENTITY"
    low, high = int(stored.min()), int(stored.max())
    dataset.WindowCenter, dataset.WindowWidth = (low + high + 1) / 2, high - low + 1


def _put_geometry(dataset: pydicom.Dataset, geometry: ViewGeometry, view: str) -> None:
    """DX detector and positioning modules."""
    from pydicom.valuerep import DSfloat

    def decimal(value: float) -> DSfloat:
        return DSfloat(value, auto_format=True)

    dataset.ImagerPixelSpacing = [decimal(s) for s in geometry.pixel_spacing]
    dataset.DetectorType = ""
    dataset.DistanceSourceToDetector = decimal(geometry.source_to_detector_mm)
    dataset.DistanceSourceToPatient = decimal(geometry.source_to_isocenter_mm)
    dataset.EstimatedRadiographicMagnificationFactor = decimal(geometry.magnification)
    dataset.PatientOrientation = list(layout_of(geometry))
    dataset.PositionerType = "NONE"
    primary, secondary = positioner_angles(geometry)
    dataset.PositionerPrimaryAngle, dataset.PositionerSecondaryAngle = decimal(primary), decimal(secondary)
    if view:
        dataset.ViewPosition = _VIEW_POSITIONS[view]
        meaning = {"PA": "postero-anterior", "AP": "antero-posterior"}.get(view, view.lower())
        dataset.ViewCodeSequence = [_code(VIEW_CODES[view][0], "SCT", meaning)]


def _put_values(dataset: pydicom.Dataset, description: Mapping[str, Any]) -> None:
    """What the stored values mean, as a Real World Value Mapping and in the private block."""
    from pydicom import Dataset

    quantity = Quantity(description["quantity"])
    item = Dataset()
    item.add_new("RealWorldValueFirstValueMapped", "US", 0)
    item.add_new("RealWorldValueLastValueMapped", "US", 65535)
    item.RealWorldValueSlope, item.RealWorldValueIntercept = description["scale"], description["offset"]
    item.LUTLabel, item.LUTExplanation = VALUE_LABELS[quantity], _EXPLANATIONS[quantity]
    item.MeasurementUnitsCodeSequence = [_code("1", "UCUM", "no units")]
    dataset.RealWorldValueMappingSequence = [item]
    block = dataset.private_block(PRIVATE_GROUP, PRIVATE_CREATOR, create=True)
    block.add_new(PRIVATE_ELEMENT, "UT", json_text(description))


def _code(value: str, scheme: str, meaning: str) -> pydicom.Dataset:
    from pydicom import Dataset

    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item
