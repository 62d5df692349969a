"""The geometry of a C-arm's picture from its DICOM angles, and the angles of a detector off the beam.

Positioner angles tell where the detector's normal through the source points (PS3.3 C.8.7.5.1.2),
detector angles how far the middle of the detector lies off that ray (C.8.7.5.1.4): primary, positive
towards higher columns; secondary, positive towards lower rows. What no attribute of DX, XA or RF says:
the place of the isocentre in the patient, and a turn of the detector about the beam other than by
quarters (PatientOrientation); there the isocentre is LPS zero and the turn is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from xrecon.io.dicom_tags import Tags
from xrecon.io.radiograph_facts import RANKS, Fact, Facts
from xrecon.physics.geometry import VIEWS, ViewGeometry
from xrecon.physics.poses import view_from_positioner_angles

# Here angles and (0018,1111) are about the isocentre (PS3.3 C.8.7.5.1); elsewhere devices differ.
ISOCENTRIC_MODALITIES = ("XA", "RF")
POSITIONER, DETECTOR = "positioner_angles_deg", "detector_angles_deg"
# A beam within this of a preset's is that view, a little turned; farther off it is an oblique one.
SAME_VIEW_DEG = 15.0
# A view that was named for a beam farther off than this contradicts the angles.
CONTRADICTION_DEG = 45.0
_LIMITS = ((POSITIONER, "Positioner", (180.0, 90.0)), (DETECTOR, "Detector", (45.0, 45.0)))
_EACH_FRAME = "PerFrameFunctionalGroupsSequence"
_ACROSS = 0.1  # share of a direction below which it does not run along a patient axis
_AXES = {"L": (1, 0, 0), "R": (-1, 0, 0), "P": (0, 1, 0), "A": (0, -1, 0), "H": (0, 0, 1), "F": (0, 0, -1)}


def is_isocentric(tags: Tags) -> bool:
    """Whether the device says that its angles and distances are about an isocentre."""
    return tags.text("Modality") in ISOCENTRIC_MODALITIES or tags.text("PositionerType") == "CARM"


# -- reading -----------------------------------------------------------------------------------
def put_angles(facts: Facts, tags: Tags, notes: list[str], index: int = 0) -> None:
    """Positioner and detector angles of an isocentric device, (primary, secondary) in degrees.

    index: of the frame. The angles are those of the first one; what the increments of a moving C-arm
    count from differs between devices, so later frames have none, unless stored for each frame.
    """
    if not is_isocentric(tags):
        return
    if index and tags.text("PositionerMotion") == "DYNAMIC" and not tags.items(_EACH_FRAME):
        notes.append(f"the C-arm moved: its angles in frame {index + 1} are not known")
        return
    for name, prefix, limits in _LIMITS:
        values = [tags.number(f"{prefix}{which}Angle") for which in ("Primary", "Secondary")]
        if values[0] is None:  # a secondary angle alone tells nothing
            continue
        angles = tuple(0.0 if value is None else value for value in values)
        if all(abs(angle) <= limit for angle, limit in zip(angles, limits, strict=True)):
            facts.put(name, angles, f"{prefix}PrimaryAngle, {prefix}SecondaryAngle")
        else:
            notes.append(f"{prefix} angles {angles[0]:g} and {angles[1]:g} are not plausible: not used")


def with_view_of_angles(facts: Mapping[str, Fact]) -> tuple[dict[str, Fact], list[str]]:
    """The facts in agreement: a view by the angles where none is known, no angles that contradict it.

    A view counts more than the angles where it is of a stronger origin or of the same; an assumed view
    gives way.
    """
    facts = dict(facts)
    if POSITIONER not in facts:
        return facts, []
    angles, view = facts[POSITIONER], facts.get("view")
    told = f"positioner angles {angles.value[0]:g} and {angles.value[1]:g}"
    if view is None or RANKS[view.origin] < RANKS[angles.origin]:
        near = nearest_preset(angles.value)
        if near:
            facts["view"] = Fact(near, angles.origin, angles.tag)
            return facts, [f"a {near} view by {told}"] if view is None else []
        return facts, []
    if degrees_off(angles.value, view.value) > CONTRADICTION_DEG:
        del facts[POSITIONER]
        facts.pop(DETECTOR, None)
        return facts, [f"{told} contradict the view {view.value} ({view.origin}): not used"]
    return facts, []


def nearest_preset(angles: tuple[float, float]) -> str:
    """The preset whose beam lies within `SAME_VIEW_DEG`, else ""."""
    best = min(VIEWS, key=lambda view: degrees_off(angles, view))
    return best if degrees_off(angles, best) <= SAME_VIEW_DEG else ""


def degrees_off(angles: tuple[float, float], view: str) -> float:
    """Angle in degrees between the beam at these positioner angles and that of a preset."""
    cosine = float(view_from_positioner_angles(*angles).normal @ ViewGeometry.preset(view).normal)
    return float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))


# -- geometry ----------------------------------------------------------------------------------
def geometry_of_angles(
    facts: Mapping[str, Fact], letters: tuple[str, ...], **options: Any
) -> tuple[ViewGeometry, list[str]]:
    """The view of the angles in `facts`, and notes.

    letters: PatientOrientation of columns and rows, which says how the picture is mirrored or turned by
    quarters; () takes it as seen from the detector. options: as in `ViewGeometry.preset`.
    """
    geometry = view_from_positioner_angles(*facts[POSITIONER].value, seen_from="detector", **options)
    notes = []
    if len(letters) == 2:
        laid_out = _laid_out(geometry, letters)
        if laid_out is None:
            notes.append(f"PatientOrientation {'/'.join(letters)} does not fit the angles: not followed")
        geometry = laid_out or geometry
    if DETECTOR not in facts:
        return geometry, notes
    tangents = np.tan(np.radians(facts[DETECTOR].value)) * geometry.source_to_detector_mm
    shift = tangents[0] * np.array(geometry.column_direction) - tangents[1] * np.array(geometry.row_direction)
    return (geometry.shifted(shift) if np.any(tangents) else geometry), notes


def _laid_out(geometry: ViewGeometry, letters: tuple[str, ...]) -> ViewGeometry | None:
    """The detector's rows and columns exchanged or reversed to run towards the letters, if they can."""
    column, row = np.array(geometry.column_direction), np.array(geometry.row_direction)
    wanted = [_AXES.get(letter.strip().upper()[:1]) for letter in letters]
    if None in wanted:
        return None
    if wanted[0][2]:  # columns run along the patient
        column, row = row, column
    along = [float(np.dot(d, axis)) for d, axis in zip((column, row), wanted, strict=True)]
    if min(abs(share) for share in along) < _ACROSS:
        return None
    column, row = column * np.sign(along[0]), row * np.sign(along[1])
    return replace(geometry, column_direction=tuple(column + 0.0), row_direction=tuple(row + 0.0))


def detector_angles(geometry: ViewGeometry) -> tuple[float, float]:
    """DICOM's primary and secondary detector angle of a cone-beam view, degrees."""
    to_center = np.array(geometry.detector_center) - np.array(geometry.source)
    offsets = np.array([to_center @ geometry.column_direction, -(to_center @ geometry.row_direction)])
    # what rounding leaves of the offset of a detector on the ray
    offsets[np.abs(offsets) < 1e-9] = 0.0
    primary, secondary = np.degrees(np.arctan(offsets / geometry.source_to_detector_mm)) + 0.0
    return float(primary), float(secondary)
