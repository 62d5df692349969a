"""Distances between the pleurae of a side: the largest, at the apex and at the lateral rim.

Largest interpleural distance: of all points of the chest wall beside air the greatest distance to the
nearest point of the lung, in three dimensions, along a straight way through the pleural space. On a
radiograph it would be measured in one plane and perpendicular to the wall; from the same point of the wall
that is never less.

Apex distance: from the highest point of the lung up to the cupola, along the body's axis, the measure of
the American College of Chest Physicians (Baumann et al., Chest 2001;119:590-602: 3 cm and more is large).

Rim distance: from the lateral edge of the lung to the chest wall at the level of the hilum, both as seen
in frontal projection, the measure of the British Thoracic Society (MacDuff et al., Thorax 2010;65 Suppl
2:ii18-31: 2 cm and more is large). Air in front of the lung does not count in it, and on a CT most air
lies there: patients are supine. Both measures were made for erect patients.

Fluid is not segmented: where it lies between lung and wall, its surface counts as wall.

Intervals: each of the two surfaces lies within half a voxel of where the labels change, so a distance has
the size of a voxel in its direction to either side.
"""

from __future__ import annotations

import numpy as np

from xrecon.pneumothorax.measures import InterpleuralDistance, Measure
from xrecon.pneumothorax.quantify_surfaces import SideShape
from xrecon.preprocess.masks import surface

LEVELS = ("basal", "middle", "apical")
# The straight way may leave the side by this share of its length: ribs and the grid make walls uneven.
OUTSIDE_SHARE = 0.1
SAMPLES = 32
CHUNK, MAX_CHUNKS = 500, 40
CT_NOTE = "supine on most CTs; the limits for treatment were set on erect radiographs"


def measure_distances(shape: SideShape) -> tuple[list[Measure], InterpleuralDistance | None]:
    """The three distances of a side in mm and the place of the largest.

    0 where the pleurae touch; None without lung, or when no straight way leads from the wall to the lung.
    """
    if not shape.lung.any() or not shape.air.any():
        value = 0.0 if shape.lung.any() else None
        return [Measure("pneumothorax", shape.side, name, value, "mm") for name in NAMES], None
    found = largest_distance(shape)
    if found is None:
        largest = Measure("pneumothorax", shape.side, NAMES[0], None, "mm")
    else:
        away = np.subtract(found.wall, found.lung) / max(found.mm, 1e-9)
        step = float(np.abs(shape.grid.direction.T @ away) @ np.array(shape.grid.spacing[::-1]))
        largest = _distance(shape.side, NAMES[0], found.mm, step, f"{found.level} third")
    rim = shape.lateral_gap("hilum", shape.hilum_z)
    return [
        largest,
        _distance(shape.side, NAMES[1], shape.apical_gap().mm, shape.voxel_mm[2], CT_NOTE),
        _distance(shape.side, NAMES[2], None if rim is None else rim.mm, shape.voxel_mm[0], CT_NOTE),
    ], found


NAMES = ("largest_interpleural_distance", "apex_distance", "rim_distance")


def _distance(side: str, name: str, mm: float | None, step: float, note: str) -> Measure:
    low, high = (None, None) if mm is None else (max(0.0, mm - step), mm + step if mm > 0 else step)
    return Measure("pneumothorax", side, name, mm, "mm", low, high, note)


def largest_distance(shape: SideShape) -> InterpleuralDistance | None:
    """The largest interpleural distance; None when there is no air, or no way through it to the lung."""
    import edt
    from scipy.spatial import cKDTree

    at_wall = surface(shape.lung | shape.air) & shape.air
    if not at_wall.any():
        return None
    away = edt.edt(np.ascontiguousarray(~shape.lung), anisotropy=shape.grid.spacing, black_border=False)
    away = away[at_wall]
    walls = shape.points(at_wall)
    tree = cKDTree(shape.pleura, balanced_tree=False, compact_nodes=False)
    # ties, which symmetric shapes have, go to the highest point, whatever the order of the array
    order = np.lexsort((walls[:, 0], walls[:, 1], -walls[:, 2], -np.round(away, 3)))
    for start in range(0, min(order.size, CHUNK * MAX_CHUNKS), CHUNK):
        starts = walls[order[start : start + CHUNK]]
        ends = shape.pleura[tree.query(starts)[1]]
        open_ways = np.flatnonzero(_inside_share(shape, starts, ends) >= 1.0 - OUTSIDE_SHARE)
        if open_ways.size:
            wall, lung = starts[open_ways[0]], ends[open_ways[0]]
            return InterpleuralDistance(
                shape.side, float(np.linalg.norm(wall - lung)), tuple(wall.tolist()), tuple(lung.tolist()),
                level_of(shape, float(wall[2] + lung[2]) / 2.0),
            )  # fmt: skip
    return None


def _inside_share(shape: SideShape, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """How much of each straight way (n, 3) to (n, 3) lies in the side."""
    shares = (np.arange(SAMPLES) + 0.5)[:, None, None] / SAMPLES
    index = shape.grid.world_to_index(starts + shares * (ends - starts))[..., ::-1]
    index = np.rint(index).astype(np.int64) - np.array(shape.corner)
    index = np.clip(index, 0, np.array(shape.lung.shape) - 1)
    place = tuple(np.moveaxis(index, -1, 0))
    return (shape.lung[place] | shape.air[place]).mean(axis=0)


def level_of(shape: SideShape, z: float) -> str:
    """The third of the height of the hemithorax in which a level lies."""
    height = (z - shape.base_z) / max(shape.top_z - shape.base_z, 1e-6)
    return LEVELS[int(np.clip(height * 3.0, 0, 2))]
