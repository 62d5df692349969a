"""Candidates of free air: dark layers a few millimetres thick, grown to about half-way towards lung."""

from __future__ import annotations

import numpy as np

from xrecon.pneumothorax import morphology
from xrecon.pneumothorax.robust_levels import Levels, smoothed, smoothing_mm

Spacing = tuple[float, float, float]
# Thresholds between air (0) and lung (1): where a layer may begin, and how far it grows.
CORE_SHARE, GROWN_SHARE = 0.50, 0.55
CORE_FLOOR_HU = 18.0
REACH_MM = 25.0
WALL_HU = -300.0
# Thin ends of the air: how far from the wall they lie, and how far from thicker air.
TAIL_DEPTH_MM, TAIL_MM = 4.0, 20.0
TAIL_SHARE = 0.6


def wall_of(hu: np.ndarray, lungs: np.ndarray, spacing: Spacing) -> np.ndarray:
    """Chest wall, mediastinum and diaphragm: tissue without the vessels of the lungs."""
    tissue = hu > WALL_HU
    return tissue & ~(lungs & ~morphology.dilate(morphology.open_(tissue, 4.0, spacing), 2.0, spacing))


def candidates(
    g: np.ndarray, room: np.ndarray, levels: Levels, layer_mm: float, spacing: Spacing
) -> tuple[np.ndarray, int]:
    """Labels 1..n (6 neighbours) of dark regions of which some part is a box of `layer_mm` thick, and n."""
    from scipy import ndimage

    strong = room & (g < levels.air + max(CORE_SHARE * levels.contrast, CORE_FLOOR_HU))
    size = [max(1, round(layer_mm / s)) for s in spacing]
    core = ndimage.binary_opening(strong, np.ones(size, bool))
    if not core.any():
        return np.zeros(g.shape, np.int32), 0
    dark = room & (g < levels.air + GROWN_SHARE * levels.contrast)
    dark &= morphology.dilate(core, REACH_MM, spacing)
    labels, sizes = morphology.label_components(dark, connectivity=6)
    keep = np.zeros(sizes.size, bool)
    keep[np.unique(labels[core])] = True
    keep[0] = False
    number = np.cumsum(keep) * keep
    return number[labels].astype(np.int32), int(keep.sum())


def along_the_wall(
    air: np.ndarray, hu: np.ndarray, room: np.ndarray, wall: np.ndarray, levels: Levels, spacing: Spacing
) -> np.ndarray:
    """The accepted air with its thin ends: dark voxels near the wall that it reaches within 2 cm.

    They are looked for with just the smoothing that leaves a sixth of the contrast as noise: layers of two
    voxels do not survive more.
    """
    level = float(np.median(hu[air]))
    limit = level + TAIL_SHARE * max(levels.lung - level, 40.0)
    sigma = smoothing_mm(levels.noise, spacing, levels.contrast / 6.0)
    clear = smoothed(hu, sigma, spacing) if levels.noise > levels.contrast / 6.0 else hu
    rim = morphology.dilate(wall, TAIL_DEPTH_MM, spacing) & morphology.dilate(air, TAIL_MM, spacing)
    dark = air | (room & rim & (clear < limit))
    labels, sizes = morphology.label_components(dark, connectivity=6)
    keep = np.zeros(sizes.size, bool)
    keep[np.unique(labels[air])] = True
    return keep[labels]
