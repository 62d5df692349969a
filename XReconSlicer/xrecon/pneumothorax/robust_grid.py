"""Coarser copies of a CT for the robust mode: means over blocks of voxels, and the way back."""

from __future__ import annotations

import numpy as np

Factors = tuple[int, int, int]
Spacing = tuple[float, float, float]


def factors_for(spacing: Spacing, wanted_mm: float, shape: tuple[int, ...]) -> Factors:
    """Block sizes (z, y, x), at least 1, whose edges stay at or below `wanted_mm`."""
    return tuple(min(max(1, int(wanted_mm / s + 1e-6)), n) for s, n in zip(spacing, shape, strict=True))


def coarser(spacing: Spacing, factors: Factors) -> Spacing:
    """The spacing of the blocks, mm."""
    return tuple(s * f for s, f in zip(spacing, factors, strict=True))


def block_mean(array: np.ndarray, factors: Factors) -> np.ndarray:
    """Means over blocks (float32); the last blocks repeat the edge."""
    if factors == (1, 1, 1):
        return array.astype(np.float32)
    pad = [(0, -n % f) for n, f in zip(array.shape, factors, strict=True)]
    out = np.pad(array, pad, mode="edge") if any(p[1] for p in pad) else array
    for axis, f in enumerate(factors):  # one axis at a time: the first pass makes the array small
        if f > 1:
            shape = [*out.shape[:axis], out.shape[axis] // f, f, *out.shape[axis + 1 :]]
            out = out.reshape(shape).mean(axis=axis + 1, dtype=np.float32)
    return out.astype(np.float32)


def block_share(mask: np.ndarray, factors: Factors, share: float = 0.5) -> np.ndarray:
    """Blocks of which at least `share` is True."""
    return block_mean(mask.view(np.uint8) if mask.dtype == bool else mask, factors) >= share


def spread(array: np.ndarray, factors: Factors, shape: tuple[int, ...]) -> np.ndarray:
    """Every block's value at all of its voxels; `shape` of the fine grid."""
    for axis, f in enumerate(factors):
        if f > 1:
            array = np.repeat(array, f, axis=axis)
    return array[tuple(slice(n) for n in shape)]


def interpolated(array: np.ndarray, factors: Factors, shape: tuple[int, ...]) -> np.ndarray:
    """Linear interpolation (float32) of block centres at the voxels of the fine grid, axis by axis."""
    out = array.astype(np.float32)
    for axis, (f, n) in enumerate(zip(factors, shape, strict=True)):
        if f == 1:
            out = out[tuple(slice(None) if a != axis else slice(n) for a in range(3))]
            continue
        place = np.clip((np.arange(n) + 0.5) / f - 0.5, 0, out.shape[axis] - 1)
        low = np.minimum(place.astype(int), max(out.shape[axis] - 2, 0))
        share = (place - low).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        high = np.minimum(low + 1, out.shape[axis] - 1)
        out = np.take(out, low, axis) * (1.0 - share) + np.take(out, high, axis) * share
    return out
