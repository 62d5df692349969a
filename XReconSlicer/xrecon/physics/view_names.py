"""What views are called: presets, "LAO 30 CRA 10" as a cardiologist says it, or DICOM's angles "30,10".

Angles are DICOM's positioner angles in degrees, primary and secondary (see `xrecon.physics.poses`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from xrecon.physics.geometry import VIEWS
from xrecon.volume import InputError, Radiograph

NAMED_ANGLES = {
    "PA": (0.0, 0.0),
    "LEFT LATERAL": (90.0, 0.0),
    "RIGHT LATERAL": (-90.0, 0.0),
    "AP": (180.0, 0.0),
    "LAO": (45.0, 0.0),
    "RAO": (-45.0, 0.0),
    "LPO": (135.0, 0.0),
    "RPO": (-135.0, 0.0),
}
_NUMBER = r"[+-]?\d+(?:\.\d*)?"
_PAIR = re.compile(rf"({_NUMBER})\s*,\s*({_NUMBER})")
_SPOKEN = re.compile(rf"(LAO|RAO)\s*({_NUMBER})(?:\s+(CRA|CAU)\s*({_NUMBER}))?|(CRA|CAU)\s*({_NUMBER})")
EXPECTED = f"one of {', '.join(NAMED_ANGLES)}, angles such as 'LAO 30 CRA 10', or degrees such as 30,10"


def named_angles(text: str) -> tuple[float, float] | None:
    """Primary and secondary angle of a view's name or angles; None for text of another form.

    Raises InputError for angles out of range.
    """
    told = " ".join(text.upper().replace("_", " ").split())
    if told in NAMED_ANGLES:
        return NAMED_ANGLES[told]
    pair, spoken = _PAIR.fullmatch(told), _SPOKEN.fullmatch(told)
    if pair:
        primary, secondary = float(pair[1]), float(pair[2])
    elif spoken:
        side, turn, tilt, by = spoken[1], spoken[2], spoken[3] or spoken[5], spoken[4] or spoken[6]
        primary = float(turn or 0.0) * (-1.0 if side == "RAO" else 1.0)
        secondary = float(by or 0.0) * (-1.0 if tilt == "CAU" else 1.0)
    else:
        return None
    if abs(primary) > 180.0 or abs(secondary) > 90.0:
        raise InputError(f"expected angles up to 180 and 90 degrees, got {text!r}")
    return primary, secondary


def angle_name(primary: float, secondary: float) -> str:
    """"PA" for 0 and 0, "LAO 30 CRA 10" for 30 and 10: what a view at these angles is called."""
    for name, angles in NAMED_ANGLES.items():
        if name in VIEWS and angles == (abs(primary) if abs(primary) == 180.0 else primary, secondary):
            return name
    turn = f"{'LAO' if primary > 0 else 'RAO'} {abs(primary):.10g}" if primary else ""
    tilt = f"{'CRA' if secondary > 0 else 'CAU'} {abs(secondary):.10g}" if secondary else ""
    return f"{turn} {tilt}".strip()


def named_by_angles(radiographs: Sequence[Radiograph]) -> list[Radiograph]:
    """The radiographs, those that are no preset view called by their angles, each name once."""
    from xrecon.physics.poses import positioner_angles

    named: list[Radiograph] = []
    for radiograph in radiographs:
        name = radiograph.view
        if not name and radiograph.geometry is not None:
            name = angle_name(*(round(a, 1) + 0.0 for a in positioner_angles(radiograph.geometry)))
        count = sum(r.view.partition(" (")[0] == name for r in named)
        named.append(replace(radiograph, view=f"{name} ({count + 1})" if name and count else name))
    return named
