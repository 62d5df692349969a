"""Where free air ends: the half-way surface towards lung and wall, smoothed as much as the noise asks."""

from __future__ import annotations

import numpy as np

from xrecon.pneumothorax import morphology
from xrecon.pneumothorax.robust_levels import Levels

TISSUE_HU = 40.0
ROUNDS = 3
LUNG_SPREAD_HU = 25.0
COUPLING = 3.0


def local_lung(
    g: np.ndarray, lung: np.ndarray, levels: Levels, sigma_mm: float, spacing: tuple[float, float, float]
) -> np.ndarray:
    """The lung's HU near every voxel: a Gaussian mean over the mask `lung`; the CT's level where none."""
    from scipy import ndimage

    sigma = [sigma_mm / s for s in spacing]
    weight = lung.astype(np.float32)
    total = ndimage.gaussian_filter(weight, sigma, truncate=2.5)
    summed = ndimage.gaussian_filter(weight * g, sigma, truncate=2.5)
    floor = 0.01
    return (summed + floor * levels.lung) / (total + floor)


def refine(
    air: np.ndarray, hu: np.ndarray, g: np.ndarray, room: np.ndarray, wall: np.ndarray, levels: Levels,
    spacing: tuple[float, float, float],
) -> np.ndarray:
    """Share of air (float32, 0 to 1, half on the surface) around the accepted regions `air`."""
    from scipy import ndimage

    level = float(np.median(g[air]))
    step = max(spacing)
    band = morphology.dilate(air, 2.0 * step + levels.smooth_mm, spacing)
    lung = room & ~morphology.dilate(air | wall, 1.5 * step + levels.smooth_mm, spacing) & (g < -400.0)
    edge = local_lung(g, lung, levels, 8.0, spacing)
    contrast = np.maximum(edge - level, 40.0)
    variance = levels.noise**2 + LUNG_SPREAD_HU**2
    unary = np.clip(contrast * (level + 0.5 * contrast - hu) / variance, -12.0, 12.0)
    # At the chest wall a voxel mixes air with tissue: half air is half-way to tissue.
    beside = morphology.dilate(wall, step, spacing) & morphology.dilate(air, step, spacing)
    half = 0.5 * (level + TISSUE_HU)
    unary = np.where(beside, np.clip((half - hu) / 40.0, -12.0, 12.0), unary)
    allowed = band & (room | beside)
    share = np.where(allowed, 1.0 / (1.0 + np.exp(-unary)), 0.0).astype(np.float32)
    sigma = [max(levels.smooth_mm, 0.5 * min(spacing)) / s for s in spacing]
    coupling = COUPLING * min(1.0, levels.noise / 20.0)
    outside = (wall & ~beside).astype(np.float32) * 0.5
    for _ in range(ROUNDS):
        around = ndimage.gaussian_filter(share + outside, sigma, truncate=2.5)
        share = 1.0 / (1.0 + np.exp(-(unary + coupling * (2.0 * around - 1.0))))
        share = np.where(allowed, share, 0.0).astype(np.float32)
    return share
