"""Rays from the hilum through one lung: where they enter and leave it, and a hilum to cast them from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from xrecon.volume import Volume

ELEVATIONS, AZIMUTHS = 40, 80
# Directions closer than about four degrees share their ray lengths; the outer face is a high mean of them.
KERNEL_SHARPNESS = 220.0
OUTER_MEAN_POWER = 8


def positions(volume: Volume, box: tuple[slice, slice, slice]) -> np.ndarray:
    """LPS mm (z, y, x, 3) of the voxel centres of a box, float32."""
    axes = [np.arange(s.start, s.stop, dtype=np.float32) for s in box]
    affine = volume.affine.astype(np.float32)
    z, y, x = (a.reshape([-1 if i == k else 1 for i in range(3)] + [1]) for k, a in enumerate(axes))
    return affine[:3, 3] + x * affine[:3, 0] + y * affine[:3, 1] + z * affine[:3, 2]


def hilum(points: np.ndarray, side: str) -> np.ndarray:
    """A point just medial of the lung at half its height: where the lung stays attached, LPS mm."""
    low, high = np.percentile(points[:, 2], [2.0, 98.0])
    level = low + 0.58 * (high - low)
    slab = _nearest(points, np.abs(points[:, 2] - level), 0.08 * (high - low) + 1.0)
    toward = 1.0 if side == "right" else -1.0  # the midline lies to the left of the right lung
    y_mid = np.percentile(slab[:, 1], 55.0)
    row = _nearest(slab, np.abs(slab[:, 1] - y_mid), 0.1 * np.ptp(slab[:, 1]) + 1.0)
    x = toward * np.percentile(toward * row[:, 0], 97.0) + toward * 5.0
    return np.array([x, y_mid, level], dtype=np.float32)


def _nearest(points: np.ndarray, away: np.ndarray, limit: float) -> np.ndarray:
    """Points less than `limit` away, and never fewer than the nearest twentieth."""
    return points[away <= max(limit, float(np.percentile(away, 5.0)))]


@cache
def _sphere() -> tuple[np.ndarray, Any]:
    """Unit vectors (elevation x azimuth, 3), and the sparse matrix of their nearness to each other."""
    from scipy.sparse import csr_array

    elevation = np.linspace(-np.pi / 2, np.pi / 2, ELEVATIONS)
    azimuth = np.arange(AZIMUTHS) * 2 * np.pi / AZIMUTHS
    e, a = np.meshgrid(elevation, azimuth, indexing="ij")
    directions = np.stack([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)], -1).reshape(-1, 3)
    kernel = np.exp((directions @ directions.T - 1.0) * KERNEL_SHARPNESS)
    return directions, csr_array(np.where(kernel > 1e-3, kernel, 0.0))


@dataclass(frozen=True)
class Rays:
    """Where rays from the hilum enter (`near`) and leave (`far`) the lung, mm, on an elevation x azimuth
    grid of unit vectors `directions` (elevation, azimuth, 3)."""

    directions: np.ndarray
    near: np.ndarray
    far: np.ndarray

    @classmethod
    def cast(cls, volume: Volume, inside: np.ndarray, start_lps: np.ndarray, reach_mm: float) -> Rays:
        """Rays through the mask `inside` of the volume, `reach_mm` long, lengths smoothed in angle."""
        directions, kernel = _sphere()
        step = min(volume.spacing)
        radii = np.arange(step / 2, reach_mm + step, step)
        start = volume.world_to_index(start_lps[None])[0]
        slope = volume.world_to_index(start_lps + directions) - start
        index = np.rint(start + radii[:, None, None] * slope).astype(np.int32)[..., ::-1]
        valid = np.all((index >= 0) & (index < inside.shape), axis=-1)
        index[~valid] = 0
        hit = inside[index[..., 0], index[..., 1], index[..., 2]] & valid
        near = radii[hit.argmax(axis=0)] - step / 2
        far = radii[len(radii) - 1 - hit[::-1].argmax(axis=0)] + step / 2
        some = hit.any(axis=0).astype(np.float64)
        total = kernel @ some
        blank = total == 0.0  # directions without lung
        total[blank] = 1.0
        mean_near = kernel @ (some * near) / total
        mean_far = (kernel @ (some * far**OUTER_MEAN_POWER) / total) ** (1.0 / OUTER_MEAN_POWER)
        mean_near[blank], mean_far[blank] = 0.0, step
        shape = (ELEVATIONS, AZIMUTHS)
        return cls(directions.reshape(*shape, 3), mean_near.reshape(shape), mean_far.reshape(shape))

    def at(self, offset: np.ndarray, radius: np.ndarray, fields: tuple[np.ndarray, ...]) -> list[np.ndarray]:
        """The fields, bilinear in angle, at offsets (n, 3) from the hilum."""
        e = np.arcsin(np.clip(offset[:, 2] / np.maximum(radius, 1e-6), -1, 1))
        row = (e / np.pi + 0.5) * (ELEVATIONS - 1)
        column = (np.arctan2(offset[:, 1], offset[:, 0]) / (2 * np.pi) % 1.0) * AZIMUTHS
        r0 = np.minimum(row.astype(np.int32), ELEVATIONS - 2)
        c0 = column.astype(np.int32) % AZIMUTHS
        c1 = (c0 + 1) % AZIMUTHS
        fr, fc = (row - r0).astype(np.float32), (column % 1.0).astype(np.float32)
        corners = (
            (r0, c0, (1 - fr) * (1 - fc)), (r0, c1, (1 - fr) * fc),
            (r0 + 1, c0, fr * (1 - fc)), (r0 + 1, c1, fr * fc),
        )
        return [sum(f.astype(np.float32)[r, c] * share for r, c, share in corners) for f in fields]
