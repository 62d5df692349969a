"""Radiographic indices of pneumothorax size, estimated from the outlines that a CT gives.

Collins: 4.2 + 4.7 (A + B + C), distances in cm, percent of the hemithorax; regression on helical CT of 20
pneumothoraces (Collins et al., AJR 1995;165:1127-1130).
Light: 100 (1 - DL^3 / DH^3) with the widths of lung and hemithorax at the level of the hilum.
Rhea: a nomogram of the mean of A, B and C (Rhea et al., Radiology 1982;144:733-736). `RHEA_PERCENT` holds
the values that handbooks print; the nomogram itself was not at hand. Beyond them there is no estimate.

A is the interpleural distance at the apex, B and C those at the middle of the upper and the lower half of
the lung, all in frontal projection. The indices are defined on erect PA radiographs. On a CT the patient
lies, the air moves to the front, and they come out too small: they are given to compare with a radiograph,
not to size the pneumothorax, which the volume does.
"""

from __future__ import annotations

import numpy as np

from xrecon.pneumothorax.measures import FrontalLine, Measure
from xrecon.pneumothorax.quantify_surfaces import SideShape

RHEA_CM = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0)
RHEA_PERCENT = (10.0, 14.0, 18.0, 23.0, 27.0, 32.0, 36.0, 40.0, 49.0)
NOTE = "estimated from CT; defined for erect PA radiographs"
NAMES = ("collins_estimate", "light_estimate", "rhea_estimate")


def measure_radiograph_indices(shape: SideShape) -> tuple[list[Measure], list[FrontalLine]]:
    """The indices of a side in percent and the distances A, B, C behind them; None and [] without air."""
    values: dict[str, float | None] = dict.fromkeys(NAMES)
    lines: list[FrontalLine] = []
    if shape.air.any() and shape.lung.any():
        low, high = float(shape.pleura[:, 2].min()), float(shape.pleura[:, 2].max())
        halves = (("upper_half", 0.75), ("lower_half", 0.25))
        found = [shape.lateral_gap(name, low + share * (high - low)) for name, share in halves]
        lines = [shape.apical_gap(), *(line for line in found if line is not None)]
        values[NAMES[1]] = _light(shape)
    centimetres = np.array([line.mm for line in lines]) / 10.0
    # without any distance there is nothing that the regressions were made for
    if len(lines) == 3 and centimetres.any():
        values[NAMES[0]] = collins_percent(*centimetres.tolist())
        values[NAMES[2]] = rhea_percent(float(centimetres.mean()))
    return [
        Measure("radiograph index", shape.side, name, value, "%", note=NOTE) for name, value in values.items()
    ], lines


def collins_percent(a_cm: float, b_cm: float, c_cm: float) -> float:
    """Collins' size in percent, at most 100, of the three interpleural distances in cm."""
    return min(100.0, 4.2 + 4.7 * (a_cm + b_cm + c_cm))


def light_percent(lung_width: float, hemithorax_width: float) -> float:
    """Light's index in percent of two widths in one unit."""
    return 100.0 * (1.0 - (lung_width / hemithorax_width) ** 3)


def rhea_percent(mean_cm: float) -> float | None:
    """Rhea's size in percent of the mean interpleural distance; None outside 0.5 to 5 cm."""
    if not RHEA_CM[0] <= mean_cm <= RHEA_CM[-1]:
        return None
    return float(np.interp(mean_cm, RHEA_CM, RHEA_PERCENT))


def _light(shape: SideShape) -> float | None:
    wall, lung = (shape.edges(points, shape.hilum_z) for points in (shape.wall, shape.pleura))
    if wall is None or lung is None:
        return None
    voxel = float(shape.voxel_mm[0])  # edges are centres of voxels; a width reaches from face to face
    return light_percent(lung[0] - lung[1] + voxel, wall[0] - wall[1] + voxel)
