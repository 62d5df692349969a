"""A radiograph from a DICOM file: pixels, polarity, view and geometry facts from its tags.

Meanings after PS3.3: C.8.11 (DX modules), C.8.7.5 (XA positioner), 10.7 (pixel spacing and its
calibration), C.7.6.1.1.1 (PatientOrientation). What the pixel values mean stands in
`radiograph_dicom_values`, which view it is in `radiograph_dicom_view`.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from xrecon.io.dicom_frames import chosen_frame, frame_count, of_frame
from xrecon.io.dicom_padding import without_padding
from xrecon.io.dicom_pixels import pixels_and_notes, read_dataset
from xrecon.io.dicom_tags import Tags
from xrecon.io.radiograph_dicom_field import without_covered
from xrecon.io.radiograph_dicom_values import Values, is_for_processing, pixel_values
from xrecon.io.radiograph_dicom_view import view_fact
from xrecon.io.radiograph_facts import Facts, NotARadiographError, Picture, implausible_spacing
from xrecon.io.radiograph_positioner import (
    DETECTOR,
    ISOCENTRIC_MODALITIES,
    POSITIONER,
    is_isocentric,
    put_angles,
)
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

_MAGNIFICATION = "EstimatedRadiographicMagnificationFactor"
_CALIBRATION = "PixelSpacingCalibrationType"
_PROVENANCE = (
    "Modality", "SeriesDescription", "StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID",
)  # fmt: skip

# CID 4010 in SNOMED CT: written for views between frontal and lateral; read by their angles alone.
OBLIQUE_CODES = {
    "left anterior oblique": "399135007",
    "right anterior oblique": "399356000",
    "left posterior oblique": "399006002",
    "right posterior oblique": "399038007",
}


def read_dicom_picture(path: Path, frame: int | None = None, voi: bool = False) -> Picture:
    """The picture in a DICOM file with the facts from its tags.

    frame: which one, from 1, when the file holds several. voi: apply the VOI LUT (see `pixel_values`).
    Files by `write_radiograph_dicom` give back values, geometry, history and provenance as they
    were written, unless other software changed the number of pixels.

    Raises InputError when the modality is none of `MODALITIES`, or the pixels are not one grey
    frame that can be read, and for several frames without a choice.
    """
    dataset = read_dataset(path)
    notes: list[str] = []
    modality = _require_radiograph(Tags(dataset), path)
    count = frame_count(dataset)
    index = chosen_frame(count, frame, path)
    dataset = of_frame(dataset, index)
    tags = Tags(dataset, notes)
    stored, bit_notes = pixels_and_notes(dataset, path, index + 1)
    stored, padding = without_padding(tags, stored, notes)
    values = pixel_values(tags, stored, voi, str(path))
    facts = _facts(tags, index)
    array, behind = without_covered(tags, values.array, notes)
    covered = padding | behind
    which = f", frame {index + 1} of {count}" if count > 1 else ""
    photometric, allocated = _photometric(tags), int(tags.number("BitsAllocated"))
    bits = min(int(tags.number("BitsStored") or allocated), allocated)
    syntax = dataset.file_meta.TransferSyntaxUID.name
    picture = Picture(
        array,
        values.value_range,
        bright_is_dense=values.bright_is_dense,
        polarity=values.polarity,
        orientation=tags.texts("PatientOrientation"),
        facts=facts,
        history=(
            f"read from DICOM ({modality}, {photometric}, {bits} bits, {syntax}{which})",
            *bit_notes,
            *values.notes,
            *notes,
        ),
        meta={**_provenance(tags), **_signal(tags, values), **({"frame": str(index + 1)} if which else {})},
        covered=covered if covered.any() else None,
    )
    return _with_own_description(picture, dataset, path)


def _require_radiograph(tags: Tags, path: Path) -> str:
    """The modality. Raises NotARadiographError for another one's image, or colours."""
    modality = tags.text("Modality")
    if modality not in MODALITIES:
        hint = ": give it as the CT" if modality == "CT" else ""
        raise NotARadiographError(
            f"expected a radiograph (CR, DX), got an image of modality {modality}{hint}: {path}"
        )
    if _photometric(tags) not in ("MONOCHROME1", "MONOCHROME2"):
        raise NotARadiographError(f"expected a grey radiograph, got {_photometric(tags)} pixels in {path}")
    return modality


def _photometric(tags: Tags) -> str:
    return tags.text("PhotometricInterpretation").upper() or "MONOCHROME2"


def _provenance(tags: Tags) -> dict[str, str]:
    found = {name: ", ".join(tags.texts(name)) for name in _PROVENANCE}
    return {name: text for name, text in found.items() if text}


def _signal(tags: Tags, values: Values) -> dict[str, str]:
    """What makes a signal of the values: how they follow the beam, and the value without any beam."""
    intent = {"intent": "for processing" if is_for_processing(tags) else "for presentation"}
    if not values.relation:
        return intent
    return {**intent, "beam_relation": values.relation, "no_beam_value": f"{values.no_beam:.10g}"}


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
            mapped = Tags(item)
            slope, intercept = mapped.number("RealWorldValueSlope"), mapped.number("RealWorldValueIntercept")
            if not slope or intercept is None:
                continue
            array = picture.array * slope + intercept
            return replace(picture, array=array, quantity=quantity, bright_is_dense=True)
    return picture


# -- facts -------------------------------------------------------------------------------------
def _facts(tags: Tags, index: int) -> Facts:
    """View, distances and spacing from the tags of frame `index`; what cannot be used is noted."""
    facts, notes = Facts("DICOM"), tags.notes
    _put_distances(facts, tags, notes)
    _put_spacing(facts, tags, notes)
    put_angles(facts, tags, notes, index)
    view = view_fact(tags, notes, guess=POSITIONER not in facts)
    if view is not None:
        facts["view"] = view
    return facts


def _put_distances(facts: Facts, tags: Tags, notes: list[str]) -> None:
    """Distances and magnification: of a C-arm as recorded, else only those that a chest can have.

    DistanceSourceToPatient of a CR or DX file is often that to the table or bucky. So the estimated
    magnification counts first, and the distance only when it makes a magnification of a chest.
    """
    isocentric = is_isocentric(tags)
    plausible = PLAUSIBLE_MAGNIFICATION if isocentric else CHEST_MAGNIFICATION
    detector = _number(tags, "DistanceSourceToDetector", PLAUSIBLE_MM, notes)
    middle = "DistanceSourceToIsocenter" if isocentric else ""  # of enhanced objects
    patient = _number(tags, middle, PLAUSIBLE_MM, notes) if middle else None
    if not patient:
        middle = "DistanceSourceToPatient"
        patient = _number(tags, middle, PLAUSIBLE_MM, notes)
    magnification = _number(tags, _MAGNIFICATION, plausible, notes)
    facts.put("source_to_detector_mm", detector, "DistanceSourceToDetector")
    facts.put("magnification", magnification, _MAGNIFICATION)
    if isocentric or not patient:
        facts.put("source_to_isocenter_mm", patient, middle)
        return
    if magnification:
        if not detector:
            facts.put("source_to_isocenter_mm", patient, middle)
        return  # the isocentre follows from the magnification
    if detector and plausible[0] <= detector / patient <= plausible[1]:
        facts.put("source_to_isocenter_mm", patient, middle)
    else:
        told = f"a magnification of {detector / patient:.3f}" if detector else "no magnification"
        notes.append(
            f"DistanceSourceToPatient {patient:g} gives {told}: not to the middle of a chest, not used"
        )


def _number(tags: Tags, keyword: str, plausible: tuple[float, float], notes: list[str]) -> float | None:
    """A number within its plausible range, else None and a note; 0 is how devices say unknown."""
    value = tags.number(keyword)
    if not value:
        return None
    if not plausible[0] <= value <= plausible[1]:
        notes.append(f"{keyword} {value:g} is not plausible: not used")
        return None
    return value


def _put_spacing(facts: Facts, tags: Tags, notes: list[str]) -> None:
    """Pixel spacing: on the detector from ImagerPixelSpacing; PixelSpacing where it is alone.

    PixelSpacing that was calibrated (by geometry or a fiducial) is that at the patient; without
    calibration type it repeats the detector's (section 10.7.1.1). Beside ImagerPixelSpacing a calibrated
    one tells the magnification. A spacing with which the picture is too small or too large for a chest (of
    a copy that was resampled, often) is not used, but for C-arms, whose fields may be small.
    """
    found: dict[str, tuple[float, float]] = {}
    for keyword in ("ImagerPixelSpacing", "PixelSpacing", "NominalScannedPixelSpacing"):
        spacing = _usable_spacing(tags, keyword, notes)
        if spacing:
            found[keyword] = spacing
            notes += [] if len(found) > 1 else [_spacing_note(tags, keyword)]
    if not found:
        return
    keyword, spacing = next(iter(found.items()))
    calibrated = keyword == "PixelSpacing" and tags.text(_CALIBRATION)
    facts.put("patient_spacing_mm" if calibrated else "pixel_spacing_mm", spacing, keyword)
    if keyword == "ImagerPixelSpacing" and "PixelSpacing" in found and tags.text(_CALIBRATION):
        _put_magnification(facts, spacing, found["PixelSpacing"], notes)


def _usable_spacing(tags: Tags, keyword: str, notes: list[str]) -> tuple[float, float] | None:
    spacing = tags.numbers(keyword)
    if not spacing:
        return None
    if len(spacing) != 2 or min(spacing) <= 0:
        notes.append(f"{keyword} {' x '.join(f'{s:g}' for s in spacing)} is not usable")
        return None
    shape = tuple(int(tags.number(keyword)) for keyword in ("Rows", "Columns"))
    note = implausible_spacing(shape, spacing, f"{keyword} {spacing[0]:g} x {spacing[1]:g} mm")
    if note and tags.text("Modality") not in ISOCENTRIC_MODALITIES:
        notes.append(note)
        return None
    return spacing


def _spacing_note(tags: Tags, keyword: str) -> str:
    calibrated = tags.text(_CALIBRATION) if keyword == "PixelSpacing" else ""
    return f"pixel spacing from {keyword}" + (f" ({calibrated})" if calibrated else "")


def _put_magnification(
    facts: Facts, on_detector: tuple[float, float], at_patient: tuple[float, float], notes: list[str]
) -> None:
    """The magnification of a calibrated PixelSpacing, where no other attribute tells where the patient is."""
    if "magnification" in facts or "source_to_isocenter_mm" in facts:
        return
    ratios = [d / p for d, p in zip(on_detector, at_patient, strict=True)]
    low, high = CHEST_MAGNIFICATION
    if abs(ratios[0] - ratios[1]) < 0.01 * ratios[0] and low <= ratios[0] <= high:
        facts.put("magnification", ratios[0], "ImagerPixelSpacing / PixelSpacing")
        notes.append(f"magnification {ratios[0]:.3f} from ImagerPixelSpacing and calibrated PixelSpacing")
