"""Ellipsoids whose line integrals are known exactly: the truth that projectors are tested against.

The density of overlapping ellipsoids adds, in the line integrals and in the voxels alike, so a
cavity is an ellipsoid of negative density.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from xrecon.physics.geometry import ViewGeometry
from xrecon.volume import DIRECTION_TOLERANCE, InputError, Quantity, Volume


@dataclass(frozen=True, eq=False)
class Ellipsoid:
    """A homogeneous ellipsoid.

    center: LPS mm (x, y, z). semi_axes: three half lengths in mm. rotation: 3x3 orthonormal, its
    columns are the LPS directions of the semi-axes. density: what is added inside; attenuation in
    1/mm, or any other quantity.

    Raises InputError when a number is not finite, a semi-axis not positive or the rotation skewed.
    """

    center: tuple[float, float, float]
    semi_axes: tuple[float, float, float]
    density: float = 1.0
    rotation: np.ndarray = field(default_factory=lambda: np.eye(3))

    def __post_init__(self) -> None:
        center, axes = np.asarray(self.center, float), np.asarray(self.semi_axes, float)
        if center.shape != (3,) or not np.all(np.isfinite(center)):
            raise InputError(f"expected center as three finite mm (x, y, z), got {self.center}")
        if axes.shape != (3,) or not np.all(np.isfinite(axes)) or np.any(axes <= 0):
            raise InputError(f"expected three positive semi-axes in mm, got {self.semi_axes}")
        if not np.isfinite(self.density):
            raise InputError(f"expected a finite density, got {self.density}")
        rotation = np.array(self.rotation, dtype=np.float64)
        if rotation.shape != (3, 3) or not np.allclose(
            rotation.T @ rotation, np.eye(3), atol=DIRECTION_TOLERANCE
        ):
            raise InputError(f"expected an orthonormal 3x3 rotation, got {self.rotation}")
        rotation.setflags(write=False)
        object.__setattr__(self, "center", tuple(float(c) for c in center))
        object.__setattr__(self, "semi_axes", tuple(float(a) for a in axes))
        object.__setattr__(self, "density", float(self.density))
        object.__setattr__(self, "rotation", rotation)

    @property
    def to_unit_sphere(self) -> np.ndarray:
        """3x3 matrix M: M @ (point - center) lies in the unit sphere where the point lies inside."""
        return self.rotation.T / np.array(self.semi_axes)[:, None]

    @property
    def volume_ml(self) -> float:
        """Its volume in millilitres."""
        return float(4.0 / 3.0 * np.pi * np.prod(self.semi_axes)) / 1000.0

    def contains(self, points: np.ndarray) -> np.ndarray:
        """Whether LPS points (..., 3) lie inside or on it."""
        relative = (np.asarray(points, dtype=np.float64) - self.center) @ self.to_unit_sphere.T
        return np.einsum("...i,...i->...", relative, relative) <= 1.0


def ellipsoid_line_integrals(ellipsoids: Sequence[Ellipsoid], geometry: ViewGeometry) -> np.ndarray:
    """Exact integrals of density along the ray of each pixel centre, (row, column) float64.

    In a cone beam a ray ends at the source and at its pixel, so that what lies behind the source
    or the detector does not count; in a parallel beam it is the whole line, as in `Projector`.
    Unit: density x mm.
    """
    pixels = geometry.pixel_positions()
    if geometry.beam == "cone":
        start = np.broadcast_to(np.array(geometry.source), pixels.shape)
        ray = pixels - start
    else:
        start = pixels
        ray = np.broadcast_to(np.array(geometry.detector_center) - np.array(geometry.source), pixels.shape)
    length = np.linalg.norm(ray, axis=-1)
    total = np.zeros(geometry.shape)
    for ellipsoid in ellipsoids:
        # In the ellipsoid's unit sphere the chord is centred on the point nearest to the origin.
        matrix = ellipsoid.to_unit_sphere
        origin = (start - ellipsoid.center) @ matrix.T
        step = ray @ matrix.T
        squared = np.einsum("rci,rci->rc", step, step)
        middle = -np.einsum("rci,rci->rc", origin, step) / squared
        nearest = origin + middle[..., None] * step
        room = 1.0 - np.einsum("rci,rci->rc", nearest, nearest)
        half = np.sqrt(np.maximum(room, 0.0) / squared)
        first, last = middle - half, middle + half
        if geometry.beam == "cone":
            first, last = np.clip(first, 0.0, 1.0), np.clip(last, 0.0, 1.0)
        total += ellipsoid.density * length * (last - first)
    return total


def voxelize(
    ellipsoids: Sequence[Ellipsoid],
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    origin: tuple[float, float, float] | None = None,
    direction: np.ndarray | None = None,
    supersample: int = 3,
) -> Volume:
    """The mean density of each voxel, estimated from supersample**3 points, as float64.

    shape, spacing: (z, y, x), mm. origin: LPS mm of the centre of voxel [0, 0, 0]; None centres
    the grid at LPS zero. direction: as in `Volume`. The volume has quantity ATTENUATION.
    """
    if supersample < 1:
        raise InputError(f"expected supersample as a count from 1, got {supersample}")
    direction = np.eye(3) if direction is None else np.asarray(direction, dtype=np.float64)
    if origin is None:
        middle = (np.array(shape[::-1]) - 1) / 2.0
        origin = tuple(-(direction * np.array(spacing[::-1])) @ middle)
    volume = Volume(np.zeros(shape), spacing, origin, direction, Quantity.ATTENUATION)
    for ellipsoid in ellipsoids:
        _add(volume, ellipsoid, supersample)
    return volume


def _add(volume: Volume, ellipsoid: Ellipsoid, supersample: int) -> None:
    """Adds one ellipsoid in place, slice by slice, within the voxels it can reach."""
    to_world = volume.affine[:3, :3]
    extent = np.abs(np.linalg.inv(to_world)) @ np.linalg.norm(
        ellipsoid.rotation * np.array(ellipsoid.semi_axes), axis=1
    )
    middle = volume.world_to_index(np.array(ellipsoid.center))
    count = np.array(volume.shape[::-1])
    low = np.clip(np.floor(middle - extent - 0.5), 0, count).astype(int)
    high = np.clip(np.ceil(middle + extent + 0.5) + 1, 0, count).astype(int)
    if np.any(low >= high):
        return
    # Sample positions of each voxel in voxel units: the middles of supersample equal parts.
    inner = (np.arange(supersample) + 0.5) / supersample - 0.5
    x, y, z = ((np.arange(a, b)[:, None] + inner).ravel() for a, b in zip(low, high, strict=True))
    matrix = ellipsoid.to_unit_sphere @ to_world
    origin = ellipsoid.to_unit_sphere @ (np.array(volume.origin) - ellipsoid.center)
    in_plane = matrix[:, 0] * x[None, :, None] + matrix[:, 1] * y[:, None, None] + origin
    for k in range(high[2] - low[2]):
        inside = np.zeros(in_plane.shape[:2])
        for depth in z[k * supersample : (k + 1) * supersample]:
            point = in_plane + matrix[:, 2] * depth
            inside += np.einsum("yxi,yxi->yx", point, point) <= 1.0
        blocks = inside.reshape(high[1] - low[1], supersample, high[0] - low[0], supersample)
        part = volume.array[low[2] + k, low[1] : high[1], low[0] : high[0]]
        part += ellipsoid.density * blocks.sum(axis=(1, 3)) / supersample**3
