"""Where free air ends: on the visceral pleura towards the lung, half-way to tissue at the wall.

The accepted region is darker than half-way to lung. Its true edge lies further out, for the pleural line
makes the edge brighter. So the mean HU is taken against the distance from the region, where noise averages
out over thousands of voxels, and an edge is fitted to it: an error function from air to lung plus the
Gaussian line of a thin layer of tissue, blurred alike.
"""

from __future__ import annotations

import edt
import numpy as np

from xrecon.pneumothorax import morphology

Spacing = tuple[float, float, float]
TISSUE_HU = 40.0
# Tissue in the visceral pleura, mm: what the fit expects and how far it may be off (one deviation).
PLEURA_MM, PLEURA_SPREAD_MM = 0.3, 0.15
# How far from the region the profile is taken, and the width of its bins, voxels.
INSIDE_VOXELS, OUTSIDE_VOXELS = 1.6, 3.6
BIN_VOXELS = 0.25
MIN_VOXELS = 30
# Along the wall the air thins out: what is half air belongs to it up to here, voxels.
WALL_REACH_VOXELS = 2.5
FAR_OUT = -10.0


def margin(
    air: np.ndarray, hu: np.ndarray, room: np.ndarray, wall: np.ndarray, spacing: Spacing
) -> np.ndarray:
    """How far inside the air's edge each voxel lies, mm (float32, negative outside); arrays (z, y, x).

    air: the accepted region. hu: not smoothed. room: pleural space. wall: tissue that is no vessel.
    """
    step = float(np.prod(spacing)) ** (1.0 / 3.0)
    out = edt.edt(~air, anisotropy=spacing, black_border=False)
    inner = edt.edt(air, anisotropy=spacing, black_border=False)
    level = float(np.median(hu[air]))
    beside = morphology.dilate(wall, min(spacing), spacing)
    away = room & ~morphology.dilate(wall, 2.0 * min(spacing), spacing)
    signed = np.where(air, step - inner, out)
    reach = pleura_at(signed[away], hu[away], level, step)
    # A voxel at the wall that is at least half air belongs to it, whatever the pleura did there.
    half = hu < 0.5 * (level + TISSUE_HU)
    field = np.where(air, inner, reach - out)
    at_wall = ~air & beside & half & (out <= WALL_REACH_VOXELS * step)
    field = np.where(at_wall, np.maximum(field, 0.5 * step), field)
    return np.where(air | (half & (room | beside)), field, np.minimum(field, -0.5 * step)).astype(np.float32)


def pleura_at(signed: np.ndarray, hu: np.ndarray, level: float, step: float) -> float:
    """How far the air reaches beyond the region on the lung's side, mm; 0 with too few voxels to tell.

    signed: distance from the region's last voxels, mm, negative inside. level: HU of the air.
    """
    near = (signed > -INSIDE_VOXELS * step) & (signed < OUTSIDE_VOXELS * step)
    number = ((signed[near] + INSIDE_VOXELS * step) / (BIN_VOXELS * step)).astype(int)
    bins = int((INSIDE_VOXELS + OUTSIDE_VOXELS) / BIN_VOXELS) + 1
    count = np.bincount(number, minlength=bins)
    use = count >= MIN_VOXELS
    if use.sum() < 6:
        return 0.0
    place, profile = (
        np.bincount(number, weights=w, minlength=bins)[use] / count[use] for w in (signed[near], hu[near])
    )
    return fitted_edge(place, profile, level, step)


def fitted_edge(place: np.ndarray, profile: np.ndarray, level: float, step: float) -> float:
    """The place of the edge, mm, in a mean HU profile from air (at `level`) to lung."""
    from scipy.optimize import least_squares
    from scipy.special import ndtr

    beyond = place > (OUTSIDE_VOXELS - 1.2) * step
    far = float(profile[beyond].mean()) if beyond.any() else level
    rise = max(far - level, 20.0)

    def wrong(x: np.ndarray) -> np.ndarray:
        edge, sigma, pleura, lung = x
        z = (place - edge) / sigma
        line = pleura * (TISSUE_HU - level) / (np.sqrt(2.0 * np.pi) * sigma) * np.exp(-0.5 * z**2)
        misfit = (level + lung * ndtr(z) + line - profile) / 10.0
        return np.append(misfit, (pleura - PLEURA_MM) / PLEURA_SPREAD_MM)

    start = [1.2 * step, 0.6 * step, PLEURA_MM, rise]
    low, high = [0.0, 0.3 * step, 0.0, 0.5 * rise], [2.5 * step, 2.0 * step, 1.0, 1.5 * rise]
    return float(least_squares(wrong, start, bounds=(low, high)).x[0])
