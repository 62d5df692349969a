"""Where the mediastinum lies, and signs that go with tension.

Shift: in every row from front to back, the middle between the two medial pleural borders less the middle
between the two lateral ones, which is half the difference of the widths of the two sides; averaged over
rows through the mediastinum above the heart. The midline is so that of the rib cage, row by row, and
follows it through a scoliosis. What moves the figure beside the mediastinum: a chest that is wider on one
side, and a patient who lies turned (8 degrees moved it by 3 mm in a phantom). Positive is towards the
patient's left.
"""

from __future__ import annotations

import numpy as np

from xrecon.pneumothorax.measures import BOTH, Measure
from xrecon.pneumothorax.quantify_surfaces import SideShape

ROW_MM = 5.0
# Where rows are taken, as shares of what both sides have in common: height from the base, depth from the
# front. Below lies the heart, which is not in the middle; behind lies the spine, which does not move.
HEIGHTS = (0.5, 0.85)
DEPTHS = (0.2, 0.6)
MIN_ROWS = 5
# Least and greatest on eight CTs without pneumothorax; two had a mass or volume loss in the right lung.
USUAL_SHIFT_MM = (-13.0, 12.0)
# The tension hint asks for both. Judgement: a shift beyond those CTs, and a large pneumothorax.
TENSION_SHIFT_MM = 15.0
TENSION_OCCUPANCY_PERCENT = 30.0


def measure_shift(right: SideShape | None, left: SideShape | None) -> Measure:
    """Mediastinal shift in mm, positive to the patient's left; None when one side is missing."""
    mm = None if right is None or left is None else shift_mm(right, left)
    toward = "" if mm is None else f"towards the patient's {'left' if mm > 0 else 'right'}; "
    note = toward + (
        "from the middle of the rib cage, above the heart, positive to the left; CTs without pneumothorax "
        f"lay at {USUAL_SHIFT_MM[0]:.0f} to {USUAL_SHIFT_MM[1]:.0f} mm"
    )
    return Measure("mediastinum", BOTH, "mediastinal_shift", mm, "mm", note=note)


def shift_mm(right: SideShape, left: SideShape) -> float | None:
    """The shift; None when fewer than `MIN_ROWS` rows cross both sides."""
    walls = (right.wall, left.wall)
    front, base = (max(float(w[:, k].min()) for w in walls) for k in (1, 2))
    back, top = (min(float(w[:, k].max()) for w in walls) for k in (1, 2))
    if back <= front or top <= base:
        return None
    limits = (
        (front + DEPTHS[0] * (back - front), front + DEPTHS[1] * (back - front)),
        (base + HEIGHTS[0] * (top - base), base + HEIGHTS[1] * (top - base)),
    )
    row = max(ROW_MM, float(right.voxel_mm[1:].max()))
    low_r, high_r = _borders(right.wall, limits, row)
    low_l, high_l = _borders(left.wall, limits, row)
    rows = np.isfinite(low_r) & np.isfinite(low_l)
    if np.count_nonzero(rows) < MIN_ROWS:
        return None
    medial, lateral = high_r[rows] + low_l[rows], low_r[rows] + high_l[rows]
    return float((medial - lateral).mean()) / 2.0


def _borders(
    points: np.ndarray, limits: tuple[tuple[float, float], ...], row: float
) -> tuple[np.ndarray, np.ndarray]:
    """Least and greatest x of the points in each row of `row` mm in y and z; inf and -inf in empty ones."""
    counts = [max(1, int(np.ceil((high - low) / row))) for low, high in limits]
    place = [np.floor((points[:, k + 1] - limits[k][0]) / row).astype(np.int64) for k in range(2)]
    inside = np.all([(p >= 0) & (p < n) for p, n in zip(place, counts, strict=True)], axis=0)
    cell = place[0][inside] * counts[1] + place[1][inside]
    low, high = np.full(counts[0] * counts[1], np.inf), np.full(counts[0] * counts[1], -np.inf)
    np.minimum.at(low, cell, points[inside, 0])
    np.maximum.at(high, cell, points[inside, 0])
    return low, high


def tension_hint(shift: float | None, occupancy: dict[str, float | None]) -> str:
    """A sentence when much air on one side goes with a mediastinum shifted away from it, else "".

    shift: mm, positive to the left. occupancy: percent of each side.
    """
    if shift is None:
        return ""
    for side, away in (("right", shift), ("left", -shift)):
        share = occupancy.get(side)
        if share is not None and share >= TENSION_OCCUPANCY_PERCENT and away >= TENSION_SHIFT_MM:
            return (
                f"Air fills {share:.0f} % of the {side} side and the mediastinum lies {away:.0f} mm off the "
                "middle of the rib cage, away from it: such a shift can go with tension, and with a collapse "
                "or scar of the other lung. Tension is a clinical finding; this is no diagnosis."
            )
    return ""
