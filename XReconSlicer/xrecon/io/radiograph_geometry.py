"""From the facts about a radiograph to the layout of its picture and its geometry.

No value is made up silently: each one's origin goes into `Radiograph.meta` as "<name>.origin".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from xrecon.io.radiograph_facts import RANKS, Fact, Picture
from xrecon.io.radiograph_positioner import (
    DETECTOR,
    POSITIONER,
    geometry_of_angles,
    nearest_preset,
    with_view_of_angles,
)
from xrecon.physics.geometry import (
    DETECTOR_WIDTH_MM,
    SOURCE_TO_DETECTOR_MM,
    SOURCE_TO_ISOCENTER_MM,
    ViewGeometry,
)
from xrecon.volume import InputError

# The isocentre (the middle of the patient) lies this far before the detector when nothing is known.
ISOCENTER_TO_DETECTOR_MM = SOURCE_TO_DETECTOR_MM - SOURCE_TO_ISOCENTER_MM

# Patient directions towards which columns (to the right) and rows (down the picture) run.
_LAYOUT = {
    "PA": ("L", "F"),
    "AP": ("L", "F"),
    "LEFT LATERAL": ("P", "F"),
    "RIGHT LATERAL": ("A", "F"),
}
_OPPOSITE = {"L": "R", "R": "L", "A": "P", "P": "A", "H": "F", "F": "H"}
_GEOMETRY_VALUES = ("source_to_detector_mm", "source_to_isocenter_mm", "pixel_spacing_mm")


def settled(picture: Picture) -> tuple[Picture, tuple[str, ...]]:
    """The picture with view and C-arm angles in agreement, and notes; a whole geometry needs neither."""
    if _kept_geometry(picture.facts) is not None:
        return picture, ()
    facts, notes = with_view_of_angles(picture.facts)
    return replace(picture, facts=facts), tuple(notes)


# -- layout ------------------------------------------------------------------------------------
def layout_of(geometry: ViewGeometry) -> tuple[str, str]:
    """DICOM letters of the patient directions along which columns and rows run, e.g. ("L", "F")."""
    letters = []
    for direction in (geometry.column_direction, geometry.row_direction):
        axis = int(np.abs(direction).argmax())
        letters.append(("LPH" if direction[axis] > 0 else "RAF")[axis])
    return letters[0], letters[1]


def to_convention(picture: Picture) -> tuple[Picture, tuple[str, ...]]:
    """Turn or mirror a picture into the layout of its view, by its PatientOrientation.

    Returns the picture and the notes for its history. Left as it is when view or orientation
    are unknown; an orientation that cannot belong to the view is noted and not followed.
    """
    view, whole = picture.fact("view"), _kept_geometry(picture.facts)
    letters = tuple(value.strip().upper()[:1] for value in picture.orientation)
    wanted = layout_of(whole) if whole else _LAYOUT.get(view)
    if wanted is None or len(letters) != 2 or letters == wanted or _is_oblique(picture):
        return picture, ()
    told = "\\".join(picture.orientation)
    array, covered, notes, turned = picture.array, picture.covered, [], picture
    if letters[0] in ("H", "F"):
        array, letters = array.T, letters[::-1]
        covered = None if covered is None else covered.T
        turned = _with_detector_angles(_transposed_spacing(picture), ((0, -1), (-1, 0)))
        notes.append("rows and columns exchanged")
    for axis, name, signs in (
        (1, "mirrored left to right", ((-1, 0), (0, 1))),
        (0, "turned upside down", ((1, 0), (0, -1))),
    ):
        letter = letters[1 - axis]
        if letter == _OPPOSITE[wanted[1 - axis]]:
            array, turned = np.flip(array, axis), _with_detector_angles(turned, signs)
            covered = None if covered is None else np.flip(covered, axis)
            notes.append(name)
        elif letter != wanted[1 - axis]:
            return picture, (f"PatientOrientation {told} does not fit a {view} view: not followed",)
    expected = "\\".join(wanted)
    note = f"{', '.join(notes)}: PatientOrientation is {told}, a {view} view has {expected}"
    return replace(turned, array=array, covered=covered), (note,)


def _is_oblique(picture: Picture) -> bool:
    """Whether a C-arm's angles, and no preset, tell how the picture is laid out."""
    return (
        _kept_geometry(picture.facts) is None
        and POSITIONER in picture.facts
        and nearest_preset(picture.fact(POSITIONER)) != picture.fact("view")
    )


def _transposed_spacing(picture: Picture) -> Picture:
    swapped = {
        name: replace(fact, value=fact.value[::-1])
        for name, fact in picture.facts.items()
        if name in ("pixel_spacing_mm", "patient_spacing_mm") and fact.origin == "DICOM"
    }
    return replace(picture, facts={**picture.facts, **swapped})


def _with_detector_angles(picture: Picture, matrix: tuple[tuple[int, int], ...]) -> Picture:
    """The picture with detector angles (to higher columns, to lower rows) changed as it was turned."""
    told = picture.facts.get(DETECTOR)
    if told is None:
        return picture
    angles = tuple(float(a) + 0.0 for a in np.array(matrix) @ told.value)
    return replace(picture, facts={**picture.facts, DETECTOR: replace(told, value=angles)})


# -- geometry ----------------------------------------------------------------------------------
def build_geometry(
    picture: Picture,
) -> tuple[ViewGeometry | None, str, tuple[str, ...], dict[str, str]]:
    """Geometry, view name, notes for the history, and `meta` entries with values and origins.

    The geometry is None when neither a view nor a whole geometry is known. Raises InputError
    when a whole geometry is for another number of pixels, or the values contradict each other.
    """
    facts, notes = _with_values_of_geometry(picture.facts), []
    whole, view = _kept_geometry(picture.facts), picture.fact("view") or ""
    shape = picture.array.shape
    if whole is not None and whole.shape != shape:
        raise InputError(f"expected a picture of {whole.shape} pixels as its geometry says, got {shape}")
    if whole is None and not view and POSITIONER not in facts:
        return None, "", (), _origins(facts)
    if whole is not None:
        return _adjusted(whole, facts), view, (), _origins(facts)
    facts = _spacing(_distances(facts, notes), shape, notes)
    values = {name: facts[name].value for name in _GEOMETRY_VALUES}
    options = {
        "source_to_detector_mm": values["source_to_detector_mm"],
        "source_to_isocenter_mm": values["source_to_isocenter_mm"],
        "shape": shape,
        "pixel_spacing": values["pixel_spacing_mm"],
        "isocenter": facts["isocenter_lps_mm"].value if "isocenter_lps_mm" in facts else (0.0, 0.0, 0.0),
    }
    if POSITIONER in facts:
        # a picture that is nearly a preset's has been put into that one's layout
        letters = picture.orientation if _is_oblique(picture) else _LAYOUT[view]
        geometry, more = geometry_of_angles(facts, letters, **options)
        notes += more
    else:
        geometry = ViewGeometry.preset(view, **options)
    # without a place of its own the isocentre lies where the middle of the picture does
    told = "isocenter_lps_mm" in facts or POSITIONER in facts  # a C-arm turns about it
    return geometry, view, tuple(notes), _origins(facts) | ({} if told else {"isocenter.origin": "assumed"})


def _kept_geometry(facts: Mapping[str, Fact]) -> ViewGeometry | None:
    """The whole geometry, unless a stronger fact names another view than it was made for."""
    if "geometry" not in facts:
        return None
    named, view = facts.get("geometry_view"), facts.get("view")
    return None if named and view and named.value != view.value else facts["geometry"].value


def _with_values_of_geometry(facts: Mapping[str, Fact]) -> dict[str, Fact]:
    """The facts with the values of a whole geometry, where no stronger ones are known."""
    if "geometry" not in facts:
        return dict(facts)
    whole, origin = facts["geometry"].value, facts["geometry"].origin
    own = {
        "source_to_detector_mm": whole.source_to_detector_mm,
        "source_to_isocenter_mm": whole.source_to_isocenter_mm,
        "pixel_spacing_mm": whole.pixel_spacing,
        "isocenter_lps_mm": whole.isocenter,
    }
    weaker = {
        name: Fact(value, origin)
        for name, value in own.items()
        if name not in facts or RANKS[facts[name].origin] <= RANKS[origin]
    }
    return {**facts, **weaker}


def _adjusted(whole: ViewGeometry, facts: Mapping[str, Fact]) -> ViewGeometry:
    """The geometry with the distances (along its central ray) and pixel spacing of the facts."""
    to_isocenter, to_detector, spacing = (
        facts[name].value for name in ("source_to_isocenter_mm", "source_to_detector_mm", "pixel_spacing_mm")
    )
    own = (whole.source_to_isocenter_mm, whole.source_to_detector_mm)
    if (to_isocenter, to_detector) == own:  # bit for bit
        return replace(whole, pixel_spacing=spacing)
    isocenter, source = np.array(whole.isocenter), np.array(whole.source)
    moved = isocenter + (source - isocenter) * (to_isocenter / own[0])
    center = moved + (np.array(whole.detector_center) - source) * (to_detector / own[1])
    return replace(whole, source=tuple(moved), detector_center=tuple(center), pixel_spacing=spacing)


def _distances(facts: dict[str, Fact], notes: list[str]) -> dict[str, Fact]:
    """The facts with both distances; what is missing comes from the magnification, or is assumed."""
    detector, isocenter = facts.get("source_to_detector_mm"), facts.get("source_to_isocenter_mm")
    magnification = facts.get("magnification")
    if detector and isocenter and isocenter.value >= detector.value:
        if RANKS[detector.origin] == RANKS[isocenter.origin]:
            raise InputError(
                "expected source_to_isocenter_mm below source_to_detector_mm, got "
                f"{isocenter.value} and {detector.value} ({detector.origin})"
            )
        weaker = min((detector, isocenter), key=lambda fact: RANKS[fact.origin])
        notes.append(f"a distance of {weaker.value} mm ({weaker.origin}) contradicts the other one: not used")
        detector, isocenter = (None if fact is weaker else fact for fact in (detector, isocenter))
    if magnification and magnification.value > 1:
        if detector and not isocenter:
            isocenter = Fact(detector.value / magnification.value, magnification.origin, magnification.tag)
        elif isocenter and not detector:
            detector = Fact(isocenter.value * magnification.value, magnification.origin, magnification.tag)
    if not detector:
        beyond = isocenter.value + ISOCENTER_TO_DETECTOR_MM if isocenter else SOURCE_TO_DETECTOR_MM
        detector = Fact(beyond, "assumed")
    if not isocenter:
        isocenter = Fact(detector.value - ISOCENTER_TO_DETECTOR_MM, "assumed")
        if isocenter.value <= 0:
            raise InputError(
                f"expected source_to_detector_mm above {ISOCENTER_TO_DETECTOR_MM:.0f} mm when "
                f"source_to_isocenter_mm is not given, got {detector.value} ({detector.origin})"
            )
    return {**facts, "source_to_detector_mm": detector, "source_to_isocenter_mm": isocenter}


def _spacing(facts: dict[str, Fact], shape: tuple[int, int], notes: list[str]) -> dict[str, Fact]:
    """The facts with the pixel spacing on the detector."""
    if "pixel_spacing_mm" in facts:
        return facts
    if "patient_spacing_mm" in facts:
        given = facts["patient_spacing_mm"]
        factor = facts["source_to_detector_mm"].value / facts["source_to_isocenter_mm"].value
        notes.append(f"pixel spacing at the patient enlarged {factor:.4f} times to that on the detector")
        on_detector = replace(given, value=tuple(s * factor for s in given.value))
        return {**facts, "pixel_spacing_mm": on_detector}
    return {**facts, "pixel_spacing_mm": Fact((DETECTOR_WIDTH_MM / shape[1],) * 2, "assumed")}


def _origins(facts: Mapping[str, Fact]) -> dict[str, str]:
    """`meta` entries: each geometry value as text, its origin, and the DICOM attribute that told it."""
    meta = {}
    for name in (*_GEOMETRY_VALUES, POSITIONER, "view"):
        if name in facts:
            value = facts[name].value
            meta[name] = " ".join(f"{v:.10g}" for v in np.atleast_1d(value)) if name != "view" else value
            meta[f"{name}.origin"] = facts[name].origin
            if facts[name].tag:
                meta[f"{name}.tag"] = facts[name].tag
    return meta
