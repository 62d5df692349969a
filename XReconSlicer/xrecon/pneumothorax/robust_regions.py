"""Whether a region of dark voxels is free pleural air: its features and the decision."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xrecon.pneumothorax import morphology
from xrecon.pneumothorax.robust_levels import Levels

# Free air: much of its surface on chest wall or mediastinum, a sharp edge to the lung, no vessels.
MIN_WALL_SHARE = 0.30
MIN_STEP_HU = 60.0
ALONE_ML = 150.0
MAX_VESSEL_SHARE = 0.03
MAX_OFFSET_SHARE = 0.35
PART_WALL_SHARE = 0.35
PART_VESSEL_SHARE = 0.015
PART_SPREAD_HU = 16.0


@dataclass(frozen=True)
class Region:
    """Features of one candidate.

    ml: volume. offset: median smoothed HU minus the CT's air, HU. spread: standard deviation of the
    smoothed HU inside. wall: share of its surface on chest wall or mediastinum. step: rise of HU from its
    inside to the lung 2 to 4 mm beyond its edge, median; step_low: the 20th percentile. vessels: share of
    the closed region that is denser than air. depth: largest distance to its own edge, mm.
    """

    ml: float
    offset: float
    spread: float
    wall: float
    step: float
    step_low: float
    vessels: float
    depth: float


def describe(
    piece: np.ndarray, g: np.ndarray, room: np.ndarray, wall: np.ndarray, levels: Levels,
    spacing: tuple[float, float, float],
) -> Region:
    """Features of the mask `piece`; g: smoothed HU; room: pleural space; wall: tissue that is no vessel."""
    coarse = max(spacing)
    ml = float(piece.sum() * np.prod(spacing)) / 1000.0
    inner = morphology.erode(piece, 1.0 * coarse, spacing)
    inner = inner if inner.any() else piece
    near = morphology.dilate(piece, 1.0 * coarse, spacing) & ~piece
    far = morphology.dilate(piece, max(4.0, 2.5 * coarse), spacing)
    far &= ~morphology.dilate(piece, max(2.0, 1.0 * coarse), spacing)
    wide_wall = morphology.dilate(wall, 1.5 * coarse, spacing)
    lung = far & room & ~wide_wall
    middle = float(np.median(g[inner]))
    values = g[lung] - middle if lung.sum() >= 20 else np.array([np.nan])
    closed = morphology.close(piece, 5.0, spacing) & room
    holes = closed & ~morphology.dilate(piece, 1.0 * coarse, spacing)
    import edt

    return Region(
        ml, middle - levels.air, float(g[inner].std()),
        float((near & wide_wall).sum()) / max(float(near.sum()), 1.0),
        float(np.median(values)), float(np.percentile(values, 20.0)),
        float(holes.sum()) / max(float(closed.sum()), 1.0),
        float(edt.edt(piece, anisotropy=spacing, black_border=False).max()),
    )


def is_free_air(region: Region, levels: Levels) -> bool:
    """The decision on one candidate."""
    # Without lung beside it, it may be a trachea, or a hemithorax with hardly any lung left.
    sharp = region.ml >= ALONE_ML if np.isnan(region.step) else region.step >= MIN_STEP_HU
    return bool(
        region.wall >= MIN_WALL_SHARE
        and sharp
        and region.vessels <= MAX_VESSEL_SHARE
        and region.offset <= MAX_OFFSET_SHARE * levels.contrast
    )


def is_free_part(region: Region, levels: Levels) -> bool:
    """The decision on a part cut out of a refused region: stricter, for there are many parts."""
    return bool(
        region.wall >= PART_WALL_SHARE
        and region.vessels <= PART_VESSEL_SHARE
        and region.spread <= PART_SPREAD_HU
        and is_free_air(region, levels)
    )
