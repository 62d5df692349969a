"""Names of views and the angles they stand for.

A view is a preset ("PA", "LEFT LATERAL"), an oblique one ("RAO", 45 degrees), angles as a cardiologist
says them ("LAO 30 CRA 10"), or DICOM's positioner angles in degrees ("30,10": primary, secondary).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from xrecon.physics.geometry import VIEWS, ViewGeometry
from xrecon.physics.poses import view_from_positioner_angles
from xrecon.volume import InputError

ANGLES_OF = {
    "PA": (0.0, 0.0),
    "LEFT LATERAL": (90.0, 0.0),
    "RIGHT LATERAL": (-90.0, 0.0),
    "AP": (180.0, 0.0),
    "LAO": (45.0, 0.0),
    "RAO": (-45.0, 0.0),
    "LPO": (135.0, 0.0),
    "RPO": (-135.0, 0.0),
}
# A beam within this of a view's is that view, a little turned.
SAME_VIEW_DEG = 15.0
_NUMBER = r"[+-]?\d+(?:\.\d*)?"
_PAIR = re.compile(rf"({_NUMBER})\s*,\s*({_NUMBER})")
_SPOKEN = re.compile(rf"(LAO|RAO)\s*({_NUMBER})(?:\s+(CRA|CAU)\s*({_NUMBER}))?|(CRA|CAU)\s*({_NUMBER})")
EXPECTED = f"one of {', '.join(ANGLES_OF)}, angles such as 'LAO 30 CRA 10', or degrees such as 30,10"


def view_angles(text: str) -> tuple[float, float]:
    """Primary and secondary positioner angle of a view's name or angles.

    Raises InputError for text of no such form, or angles out of range.
    """
    told = " ".join(text.upper().replace("_", " ").split())
    if told in ANGLES_OF:
        return ANGLES_OF[told]
    pair, spoken = _PAIR.fullmatch(told), _SPOKEN.fullmatch(told)
    if pair:
        primary, secondary = float(pair[1]), float(pair[2])
    elif spoken:
        side, turn, tilt, by = spoken[1], spoken[2], spoken[3] or spoken[5], spoken[4] or spoken[6]
        primary = float(turn or 0.0) * (-1.0 if side == "RAO" else 1.0)
        secondary = float(by or 0.0) * (-1.0 if tilt == "CAU" else 1.0)
    else:
        raise InputError(f"expected a view as {EXPECTED}, got {text!r}")
    if abs(primary) > 180.0 or abs(secondary) > 90.0:
        raise InputError(f"expected angles up to 180 and 90 degrees, got {text!r}")
    return primary, secondary


def angle_name(primary: float, secondary: float) -> str:
    """"PA" for 0 and 0, "LAO 30 CRA 10" for 30 and 10: what a view at these angles is called."""
    for name, angles in ANGLES_OF.items():
        if name in VIEWS and angles == (abs(primary) if abs(primary) == 180.0 else primary, secondary):
            return name
    turn = f"{'LAO' if primary > 0 else 'RAO'} {abs(primary):.10g}" if primary else ""
    tilt = f"{'CRA' if secondary > 0 else 'CAU'} {abs(secondary):.10g}" if secondary else ""
    return f"{turn} {tilt}".strip()


def nearest_view(geometry: ViewGeometry, names: Sequence[str]) -> str:
    """The one of the named views whose beam is nearest, "" when none is within `SAME_VIEW_DEG`."""
    beam = np.array(geometry.detector_center) - np.array(geometry.source)
    beam = beam / np.linalg.norm(beam)
    cosines = {name: float(beam @ view_from_positioner_angles(*view_angles(name)).normal) for name in names}
    best = max(cosines, key=cosines.get, default="")
    return best if best and cosines[best] > np.cos(np.radians(SAME_VIEW_DEG)) else ""
