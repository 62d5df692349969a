"""HU of a collapsed lung and the air around it, from the geometry of the collapse and the old CT."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xrecon.pneumothorax.collapse import Collapse
from xrecon.pneumothorax.hemithorax import WALL_HU, Face
from xrecon.pneumothorax.scanner import AIR_HU, TISSUE_HU, Grain, make_noise

PLEURA_MM = 0.4
FLUID_HU = 12.0
# Blur, in voxels, of the copies of the CT from which a compressed lung is sampled, and what they keep of the
# variance of its noise.
COARSER = (0.0, 0.6, 1.2, 2.4)
NOISE_KEPT = (0.6, 0.2, 0.05, 0.0)
# How abruptly density stops at soft tissue.
SHARPNESS = 5.0


def render(
    hu: np.ndarray, face: Face, state: Collapse, blur_mm: Sequence[float], grain: Grain,
    index: np.ndarray, spacing: Sequence[float], generator: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, float]:
    """(New HU, share of free air 0..1 in each voxel of the side, lung mass after / before) in the box.

    Shares of lung, air, fluid and wall add up to one in each voxel. The scanner's blur makes the pleura an
    error function of the distance to it, the visceral pleura a Gaussian line of 0.4 mm of tissue; HU is the
    sum of shares times HU, so that a voxel half full of air is half way to -1000 HU. index: voxel positions
    (z, y, x, 3) of `state.source` in the box, (z, y, x) order.
    """
    normal = [state.normal[..., k] for k in range(3)]
    sigma = _along(normal, [max(b, 0.3 * s) for b, s in zip(blur_mm, spacing, strict=True)])
    lung = np.minimum(_step(-state.gap_mm / sigma), 1.0 - face.wall)
    space = 1.0 - face.wall - lung
    dry = _wide_step(state.above_mm, sigma)
    fluid = space * (1.0 - dry)
    moved, kept_variance = _sampled(face.lung, index, state.ratio)
    before = float(((1.0 - face.wall) * (face.lung - AIR_HU))[face.inside].sum())
    density, gain = _compressed(moved - AIR_HU, state.ratio, np.where(face.inside, lung, 0.0), before)
    # The pleura itself, where air parts it from the wall.
    gap_is_open = np.clip(1.0 - 2.0 * face.wall, 0.0, 1.0)
    line = PLEURA_MM * (TISSUE_HU - AIR_HU) / (np.sqrt(2.0 * np.pi) * sigma)
    line = line * np.exp(-0.5 * (state.gap_mm / sigma) ** 2) * gap_is_open * dry
    new = AIR_HU + lung * density + fluid * (FLUID_HU - AIR_HU) + face.wall * (WALL_HU - AIR_HU) + line
    new = np.where(face.wall >= 1.0, hu, np.minimum(new, np.maximum(hu, TISSUE_HU + 5.0)))
    missing = 1.0 - lung * np.minimum(gain**2 * kept_variance, 1.0)
    missing = np.clip(missing - face.taken, 0.0, 1.0) * (face.wall < 1.0)
    new = new + np.sqrt(missing) * make_noise(grain, hu.shape, generator)
    after = float((lung * density)[face.inside].sum())
    # The truth is made of shares without the scanner's blur.
    return new.astype(np.float32), _sharp_air(state, normal, spacing), after / max(before, 1e-6)


def _along(normal: Sequence[np.ndarray], sigma: Sequence[float]) -> np.ndarray:
    """Standard deviation along the normals of an anisotropic Gaussian; without a normal the least."""
    along = np.sqrt(sum((n * s) ** 2 for n, s in zip(normal, sigma, strict=True)))
    return np.maximum(along, min(sigma))


def _step(x: np.ndarray) -> np.ndarray:
    from scipy.special import ndtr

    return ndtr(np.clip(x, -8.0, 8.0).astype(np.float32))


def _wide_step(above_mm: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    return np.ones_like(sigma) if np.isinf(above_mm).all() else _step(above_mm / sigma)


def _sharp_air(state: Collapse, normal: Sequence[np.ndarray], spacing: Sequence[float]) -> np.ndarray:
    """Share of free air of the voxels as boxes: at least a half exactly in `state.air`."""
    width = np.maximum(sum(np.abs(n) * s for n, s in zip(normal, spacing, strict=True)), min(spacing))
    share = np.clip(state.gap_mm / width + 0.5, 0.0, 1.0)
    share = np.where(state.air, np.maximum(share, 0.5), np.minimum(share, 0.4999))
    share[state.fluid] = 0.0
    return np.where(state.air | state.lung, share, 0.0).astype(np.float32)


def _sampled(lung: np.ndarray, index: np.ndarray, ratio: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The old lung at the sources, blurred as the compression asks, and what is left of its noise."""
    from scipy import ndimage

    where = np.moveaxis(index, -1, 0)
    # A voxel stands for `ratio` old ones: blur that takes the structure finer than that out.
    wanted = 0.5 * np.sqrt(np.maximum(ratio ** (2.0 / 3.0) - 1.0, 0.0))
    out, kept = np.zeros(lung.shape, np.float32), np.zeros(lung.shape, np.float32)
    for number, blur in enumerate(COARSER):
        weight = np.interp(wanted, COARSER, np.eye(len(COARSER))[number]).astype(np.float32)
        used = weight > 0.0
        if not used.any():
            continue
        picture = ndimage.gaussian_filter(lung, blur) if blur else lung
        out[used] += weight[used] * ndimage.map_coordinates(picture, where[:, used], order=1, mode="nearest")
        kept += weight * NOISE_KEPT[number]
    stayed = ratio <= 1.001
    return out, np.where(stayed, 1.0, kept)


def _compressed(
    density: np.ndarray, ratio: np.ndarray, share: np.ndarray, mass: float
) -> tuple[np.ndarray, np.ndarray]:
    """HU + 1000 after compression, and by what small differences in it were multiplied.

    Density x sqrt(ratio) x k, levelling off at tissue; k keeps the mass. What was denser than tissue before
    (contrast, calcification) stays as it was.
    """
    cap = TISSUE_HU - AIR_HU
    base = np.maximum(density, 0.0) * np.sqrt(ratio)
    dense = density > cap
    counted = share > 0.0
    some, fixed, weight = base[counted], np.where(dense, density, 0.0)[counted], share[counted]

    def at(k: float) -> float:
        return float((weight * np.where(fixed > 0.0, fixed, _level_off(some * k, cap))).sum())

    low, high = 0.01, 100.0
    for _ in range(20):
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if at(middle) < mass else (low, middle)
    linear = base * high
    out = np.where(dense, density, _level_off(linear, cap))
    gain = out / np.maximum(density, 1.0) * (out / np.maximum(linear, 1.0)) ** SHARPNESS
    return out, np.where(dense, 1.0, gain)


def _level_off(x: np.ndarray, most: float) -> np.ndarray:
    """x where it is small, towards `most` where it is large."""
    return x / (1.0 + (x / most) ** SHARPNESS) ** (1.0 / SHARPNESS)
