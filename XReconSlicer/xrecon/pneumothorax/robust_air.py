"""Candidates of free air: deep dark cores, grown to the half-way surfaces towards lung and wall."""

from __future__ import annotations

import numpy as np

from xrecon.pneumothorax import morphology
from xrecon.pneumothorax.robust_levels import Levels

CORE_SHARE = 0.35
CORE_FLOOR_HU = 18.0
REACH_MM = 15.0
TISSUE_HU = 40.0


def wall_of(hu: np.ndarray, lungs: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    """Chest wall, mediastinum and diaphragm: tissue without the vessels of the lungs."""
    tissue = hu > -300.0
    return tissue & ~(lungs & ~morphology.dilate(morphology.open_(tissue, 4.0, spacing), 2.0, spacing))


def candidates(
    g: np.ndarray, room: np.ndarray, levels: Levels, core_mm: float, spacing: tuple[float, float, float]
) -> tuple[np.ndarray, int]:
    """Labels 1..n of dark regions with a core, and n."""
    strong = room & (g < levels.air + max(CORE_SHARE * levels.contrast, CORE_FLOOR_HU))
    core = morphology.open_(strong, core_mm, spacing)
    if not core.any():
        return np.zeros(g.shape, np.int32), 0
    dark = room & (g < levels.air + 0.5 * levels.contrast) & morphology.dilate(core, REACH_MM, spacing)
    labels, sizes = morphology.label_components(dark, connectivity=6)
    keep = np.zeros(sizes.size, bool)
    keep[np.unique(labels[core])] = True
    keep[0] = False
    number = np.cumsum(keep) * keep
    return number[labels].astype(np.int32), int(keep.sum())
