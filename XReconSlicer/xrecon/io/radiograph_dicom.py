"""A radiograph from a DICOM file: pixels, polarity, view and geometry facts from its tags.

Meanings after PS3.3: C.8.11 (DX modules), C.8.7.5 (XA positioner), 10.7 (pixel spacing and its
calibration), C.7.6.1.1.1 (PatientOrientation).
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xrecon.io.dicom_pixels import read_dataset, stored_pixels
from xrecon.io.pydicom_versions import apply_modality_lut
from xrecon.io.radiograph_facts import (
    Fact,
    Facts,
    NotARadiographError,
    Picture,
    implausible_spacing,
    standard_view,
)
from xrecon.io.radiograph_positioner import DETECTOR, ISOCENTRIC_MODALITIES, is_isocentric, put_angles
from xrecon.io.radiograph_sidecar import apply_description
from xrecon.volume import InputError, Quantity

if TYPE_CHECKING:
    import pydicom

MODALITIES = ("CR", "DX", "RG", "RF", "XA", "OT", "")
# Private block in which this package keeps what has no standard attribute.
PRIVATE_GROUP, PRIVATE_CREATOR, PRIVATE_ELEMENT = 0x5259, "XRECON", 0x01
# LUTLabel of the Real World Value Mapping, by what the mapped values are.
VALUE_LABELS = {
    Quantity.LINE_INTEGRAL: "LINE_INTEGRAL",
    Quantity.LOG_SIGNAL: "LOG_SIGNAL",
    Quantity.DISPLAY: "GREY_VALUE",
}
# Distances outside are typing errors or other units (180 for 180 cm occurs).
PLAUSIBLE_MM = (500.0, 5000.0)
PLAUSIBLE_MAGNIFICATION = (1.0, 5.0)
# Of a chest at a wall stand or on a table: its middle is 10 cm or more before the detector. Below,
# the "patient" of the device is the table or the bucky, a hand's breadth before the detector.
CHEST_MAGNIFICATION = (1.08, 2.0)

# DICOM CID 4010 (DX View), in SNOMED CT and in the older SNOMED-RT codes.
VIEW_CODES = {
    "PA": ("272479007", "R-10214", "R-40888"),
    "AP": ("399348003", "R-10206"),
    "LEFT LATERAL": ("399173006", "R-10236"),
    "RIGHT LATERAL": ("399198007", "R-10232"),
    "LATERAL": ("399067008", "R-102CD"),
}
# CID 4010 in SNOMED CT: written for views between frontal and lateral; read by their angles alone.
OBLIQUE_CODES = {
    "left anterior oblique": "399135007",
    "right anterior oblique": "399356000",
    "left posterior oblique": "399006002",
    "right posterior oblique": "399038007",
}
_LATERAL_NAMES = ("LATERAL", "LAT", "L")


def read_dicom_picture(path: Path) -> Picture:
    """The picture in a DICOM file with the facts from its tags.

    Files by `write_radiograph_dicom` give back values, geometry, history and provenance as they
    were written, unless other software changed the number of pixels.

    Raises InputError when the modality is none of `MODALITIES`, or the pixels are not one grey
    frame that can be read.
    """
    dataset = read_dataset(path)
    modality = str(dataset.get("Modality", "") or "")
    if modality not in MODALITIES:
        hint = ": give it as the CT" if modality == "CT" else ""
        raise NotARadiographError(
            f"expected a radiograph (CR, DX), got an image of modality {modality}{hint}: {path}"
        )
    photometric = str(dataset.get("PhotometricInterpretation", "MONOCHROME2"))
    if photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise NotARadiographError(f"expected a grey radiograph, got {photometric} pixels in {path}")
    array, value_range = _modality_values(dataset, stored_pixels(dataset, path))
    bright, polarity = _polarity(dataset, photometric)
    facts, notes = _facts(dataset)
    bits, syntax = dataset.get("BitsStored", dataset.BitsAllocated), dataset.file_meta.TransferSyntaxUID
    picture = Picture(
        array,
        value_range,
        bright_is_dense=bright,
        polarity=polarity,
        orientation=_texts(dataset.get("PatientOrientation")),
        facts=facts,
        history=(f"read from DICOM ({modality}, {photometric}, {bits} bits, {syntax.name})", *notes),
        meta=_provenance(dataset),
    )
    return _with_own_description(picture, dataset, path)


def _texts(value: Any) -> tuple[str, ...]:
    """A text attribute of any multiplicity as a tuple without empty entries."""
    values = [value] if isinstance(value, str) or value is None else list(value)
    return tuple(str(v) for v in values if v)


def _provenance(dataset: pydicom.Dataset) -> dict[str, str]:
    names = (
        "Modality", "SeriesDescription", "StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID",
        "SOPInstanceUID",
    )  # fmt: skip
    return {name: str(dataset.get(name)) for name in names if dataset.get(name)}


# -- numbers -----------------------------------------------------------------------------------
def _modality_values(dataset: pydicom.Dataset, stored: np.ndarray) -> tuple[np.ndarray, tuple[float, float]]:
    """Values after the Modality LUT, float64, and the range that the stored bits allow."""
    bits = int(dataset.get("BitsStored", dataset.BitsAllocated))
    limits = np.array([0.0, 2.0**bits - 1])
    if stored.dtype.kind == "i":
        limits -= 2.0 ** (bits - 1)
    if dataset.get("ModalityLUTSequence"):
        array = apply_modality_lut(stored, dataset)
        return array.astype(np.float64), (float(array.min()), float(array.max()))
    slope = float(dataset.get("RescaleSlope", 1) or 1)
    intercept = float(dataset.get("RescaleIntercept", 0) or 0)
    low, high = sorted(limits * slope + intercept)
    return stored * slope + intercept, (float(low), float(high))


def _polarity(dataset: pydicom.Dataset, photometric: str) -> tuple[bool, str]:
    """Whether bright is dense, and how that is known.

    For presentation: bright on the screen, which is MONOCHROME1's low values. For processing:
    the sign between stored values and beam intensity counts, where it is given (C.8.11.3.1.2).
    """
    sign = dataset.get("PixelIntensityRelationshipSign")
    if dataset.get("PresentationIntentType") == "FOR PROCESSING" and sign in (1, -1):
        return sign == -1, f"for processing, PixelIntensityRelationshipSign {sign}"
    return photometric != "MONOCHROME1", photometric


def _with_own_description(picture: Picture, dataset: pydicom.Dataset, path: Path) -> Picture:
    """The picture with what `write_radiograph_dicom` noted: private block, or value mapping."""
    try:
        text = dataset.private_block(PRIVATE_GROUP, PRIVATE_CREATOR)[PRIVATE_ELEMENT].value
    except KeyError:
        return _with_value_mapping(picture, dataset)
    try:
        data = json.loads(text.decode("utf-8") if isinstance(text, bytes) else text)
        if data.get("stored_inverted"):
            picture = replace(picture, array=sum(picture.value_range) - picture.array)
        shape = tuple((data.get("geometry") or {}).get("shape", picture.array.shape))
        if shape != picture.array.shape:  # other software cropped or resampled it
            data = {key: data[key] for key in ("quantity", "scale", "offset", "history", "meta")}
            # where the middle of the picture lies now is not known
            picture = replace(picture, facts={k: v for k, v in picture.facts.items() if k != DETECTOR})
        return apply_description(picture, data, "DICOM")
    except (InputError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"expected the private XRECON block of {path} to be intact: {error}") from error


def _with_value_mapping(picture: Picture, dataset: pydicom.Dataset) -> Picture:
    """Line integrals or log signals by the Real World Value Mapping, the private block being gone."""
    measured = {label: quantity for quantity, label in VALUE_LABELS.items() if quantity != Quantity.DISPLAY}
    for item in dataset.get("RealWorldValueMappingSequence") or ():
        quantity = measured.get(item.get("LUTLabel"))
        if quantity is not None:
            slope, intercept = float(item.RealWorldValueSlope), float(item.RealWorldValueIntercept)
            array = picture.array * slope + intercept
            return replace(picture, array=array, quantity=quantity, bright_is_dense=True)
    return picture


# -- facts -------------------------------------------------------------------------------------
def _facts(dataset: pydicom.Dataset) -> tuple[Facts, list[str]]:
    """View, distances and spacing from the tags, and notes about tags that cannot be used."""
    facts, notes = Facts("DICOM"), []
    view = _view(dataset, notes)
    if view is not None:
        facts["view"] = view
    _put_distances(facts, dataset, notes)
    _put_spacing(facts, dataset, notes)
    put_angles(facts, dataset, notes)
    return facts, notes


def _put_distances(facts: Facts, dataset: pydicom.Dataset, notes: list[str]) -> None:
    """Distances and magnification: of a C-arm as recorded, else only those that a chest can have.

    DistanceSourceToPatient of a CR or DX file is often that to the table or bucky. So the estimated
    magnification counts first, and the distance only when it makes a magnification of a chest.
    """
    isocentric = is_isocentric(dataset)
    plausible = PLAUSIBLE_MAGNIFICATION if isocentric else CHEST_MAGNIFICATION
    detector = _number(dataset, "DistanceSourceToDetector", PLAUSIBLE_MM, notes)
    patient = _number(dataset, "DistanceSourceToPatient", PLAUSIBLE_MM, notes)
    magnification = _number(dataset, "EstimatedRadiographicMagnificationFactor", plausible, notes)
    facts.put("source_to_detector_mm", detector)
    facts.put("magnification", magnification)
    if isocentric or not patient:
        facts.put("source_to_isocenter_mm", patient)
        return
    if magnification:
        if not detector:
            facts.put("source_to_isocenter_mm", patient)
        return  # the isocentre follows from the magnification
    if detector and plausible[0] <= detector / patient <= plausible[1]:
        facts.put("source_to_isocenter_mm", patient)
    else:
        told = f"a magnification of {detector / patient:.3f}" if detector else "no magnification"
        notes.append(
            f"DistanceSourceToPatient {patient:g} gives {told}: not to the middle of a chest, not used"
        )


def _number(
    dataset: pydicom.Dataset, keyword: str, plausible: tuple[float, float], notes: list[str]
) -> float | None:
    """A number within its plausible range, else None and a note; 0 is how devices say unknown."""
    value = dataset.get(keyword)
    if not value:
        return None
    if not plausible[0] <= float(value) <= plausible[1]:
        notes.append(f"{keyword} {float(value):g} is not plausible: not used")
        return None
    return float(value)


def _put_spacing(facts: Facts, dataset: pydicom.Dataset, notes: list[str]) -> None:
    """Pixel spacing: on the detector from ImagerPixelSpacing; PixelSpacing where it is alone.

    PixelSpacing that was calibrated (by geometry or a fiducial) is that at the patient; without
    calibration type it repeats the detector's (section 10.7.1.1). A spacing with which the picture
    is too small or too large for a chest (of a copy that was resampled, often) is not used, but for
    C-arms, whose fields may be small.
    """
    shape = (int(dataset.Rows), int(dataset.Columns))
    for keyword in ("ImagerPixelSpacing", "PixelSpacing", "NominalScannedPixelSpacing"):
        value = dataset.get(keyword)
        if not value:
            continue
        if np.size(value) != 2 or not all(np.isfinite(float(v)) and float(v) > 0 for v in value):
            notes.append(f"{keyword} {value} is not usable")
            continue
        spacing = tuple(float(v) for v in value)
        note = implausible_spacing(shape, spacing, f"{keyword} {spacing[0]:g} x {spacing[1]:g} mm")
        if note and dataset.get("Modality") not in ISOCENTRIC_MODALITIES:
            notes.append(note)
            continue
        calibrated = keyword == "PixelSpacing" and dataset.get("PixelSpacingCalibrationType")
        facts.put("patient_spacing_mm" if calibrated else "pixel_spacing_mm", spacing)
        notes.append(f"pixel spacing from {keyword}" + (f" ({calibrated})" if calibrated else ""))
        return


def _view(dataset: pydicom.Dataset, notes: list[str]) -> Fact | None:
    """The view from ViewPosition, else from the view code; the side of a lateral may be assumed."""
    name = str(dataset.get("ViewPosition", "") or "").strip().upper() or _coded_view(dataset)
    if not name:
        return None
    if name not in _LATERAL_NAMES:
        try:
            return Fact(standard_view(name), "DICOM")
        except InputError:
            notes.append(f"ViewPosition {name} is none of the known views")
            return None
    column = (_texts(dataset.get("PatientOrientation")) or ("",))[0][:1].upper()
    side = {"P": "LEFT", "A": "RIGHT"}.get(column)
    if side:
        return Fact(f"{side} LATERAL", "DICOM")
    letter = str(dataset.get("ImageLaterality") or dataset.get("Laterality") or "").upper()
    side = {"L": "LEFT", "R": "RIGHT"}.get(letter)
    if side:
        return Fact(f"{side} LATERAL", "DICOM")
    notes.append("lateral view without a side: taken as LEFT LATERAL")
    return Fact("LEFT LATERAL", "assumed")


def _coded_view(dataset: pydicom.Dataset) -> str:
    for item in dataset.get("ViewCodeSequence") or ():
        for view, codes in VIEW_CODES.items():
            if item.get("CodeValue") in codes:
                return view
    return ""
