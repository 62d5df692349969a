"""A voxel canvas for soft-edged anatomy: signed distances in, partial-volume CT numbers out.

Every primitive is given by a signed distance in mm (negative inside). Where a surface crosses a
voxel the CT number is mixed, so shapes keep their size on coarse grids and radiographs of them
show no stair steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

Window = tuple[slice, slice, slice]
AIR_HU = -1000.0


class Canvas:
    """HU on a grid whose axes are LPS axes.

    hu: float32 (z, y, x), starts as air.
    x, y, z: voxel centres in mm, shaped to broadcast to (z, y, x).
    voxel: mean voxel size in mm, the width over which edges are mixed.
    """

    def __init__(self, shape: Sequence[int], spacing: Sequence[float], center: Sequence[float]) -> None:
        """`shape` and `spacing` (mm) in array order (z, y, x); `center` (x, y, z) of the grid in mm."""
        axes = [
            ((np.arange(n) - (n - 1) / 2.0) * s + c).astype(np.float32)
            for n, s, c in zip(shape, spacing, tuple(center)[::-1], strict=True)
        ]
        self.z, self.y, self.x = axes[0][:, None, None], axes[1][None, :, None], axes[2][None, None, :]
        self.spacing = tuple(float(s) for s in spacing)
        self._first = tuple(float(a[0]) for a in axes)
        self.voxel = float(np.cbrt(np.prod(self.spacing)))
        self.hu = np.full(tuple(shape), AIR_HU, dtype=np.float32)
        self._cover = np.zeros(tuple(shape), dtype=np.float32)

    def blank(self) -> Canvas:
        """An empty canvas on the same grid."""
        middle = [float(a.ravel()[0] + a.ravel()[-1]) / 2.0 for a in (self.x, self.y, self.z)]
        return Canvas(self.hu.shape, self.spacing, middle)

    def window(self, low: np.ndarray, high: np.ndarray) -> Window:
        """Slices (z, y, x) of the voxels between two points (x, y, z) in mm, one voxel to spare."""
        slices = []
        for axis in range(3):
            lower, upper = float(low[2 - axis]), float(high[2 - axis])
            start, step, count = self._first[axis], self.spacing[axis], self.hu.shape[axis]
            first = math.floor((lower - start) / step) - 1
            last = math.ceil((upper - start) / step) + 2
            slices.append(slice(min(max(first, 0), count), min(max(last, 0), count)))
        return tuple(slices)

    def coordinates(self, window: Window) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """x, y, z of the voxels in the window, broadcastable to its shape."""
        return self.x[:, :, window[2]], self.y[:, window[1], :], self.z[window[0], :, :]

    def coverage(self, distance: np.ndarray) -> np.ndarray:
        """Share of a voxel (0..1) that lies inside a surface at signed `distance` mm."""
        return np.clip(0.5 - distance / self.voxel, 0.0, 1.0)

    def paint(self, cover: np.ndarray, hu: float | np.ndarray, window: Window | None = None) -> None:
        """Mixes `hu` into the canvas where `cover` (0..1) says so."""
        target = self.hu if window is None else self.hu[window]
        target += cover * (hu - target)

    def fill(self, distance: np.ndarray, hu: float | np.ndarray, window: Window | None = None) -> None:
        """Paints the inside of a signed distance given on the window (default: everywhere)."""
        self.paint(self.coverage(distance), hu, window)

    def ellipsoid(
        self,
        center: Sequence[float],
        semi_axes: Sequence[float],
        hu: float,
        rotation: np.ndarray | None = None,
        where: np.ndarray | None = None,
    ) -> None:
        """Paints an ellipsoid; `where` (0..1, whole grid) limits it. Lengths in mm, LPS."""
        reach = np.full(3, max(semi_axes) + self.voxel)
        window = self.window(np.asarray(center) - reach, np.asarray(center) + reach)
        distance = ellipsoid_distance(self.coordinates(window), center, semi_axes, rotation)
        cover = self.coverage(distance)
        self.paint(cover if where is None else cover * where[window], hu, window)

    def tube(
        self,
        points: np.ndarray,
        radius: float | np.ndarray,
        hu: float,
        *,
        flat: np.ndarray | None = None,
        flat_radius: float | np.ndarray = 0.0,
        where: np.ndarray | None = None,
    ) -> None:
        """Paints a tube along a polyline (n, 3) in mm.

        radius: one or n values in mm. flat: (n, 3) unit vectors across the tube; along them the
        half thickness is `flat_radius` instead of `radius`. Both are taken at segment middles.
        where: cover (0..1) on the whole grid that limits the tube.
        """
        points = np.asarray(points, dtype=np.float64)
        radii = np.broadcast_to(np.asarray(radius, dtype=np.float64), (len(points),))
        thin = np.broadcast_to(np.asarray(flat_radius, dtype=np.float64), (len(points),))
        for i in range(len(points) - 1):
            if flat is None:
                self.add_segment(points[i], points[i + 1], radii[i], radii[i + 1])
            else:
                sizes = ((radii[i] + radii[i + 1]) / 2, (thin[i] + thin[i + 1]) / 2)
                self._add_flat_segment(points[i], points[i + 1], sizes, flat[i] + flat[i + 1])
        reach = radii.max() + self.voxel
        self.flush(hu, self.window(points.min(0) - reach, points.max(0) + reach), where)

    def add_segment(self, start: np.ndarray, end: np.ndarray, first: float, last: float) -> None:
        """Marks a round cone segment (radii in mm) in the cover buffer; `flush` paints it.

        Segments thinner than a voxel get the cover that keeps their cross-section area, so that a
        vessel of 1 mm stays visible, and faint, on a grid of 3 mm.
        """
        reach = max(first, last) + self.voxel / 2
        window = self.window(np.minimum(start, end) - reach, np.maximum(start, end) + reach)
        along, squared = _nearest(self.coordinates(window), start, end)[:2]
        radius = first + (last - first) * along
        cover = self.coverage(np.sqrt(squared) - radius)
        mean_radius = (first + last) / 2
        if mean_radius < self.voxel / 2:
            # Area of the disc over that of the cone-shaped profile the soft edge would give it.
            cover *= min(1.0, 3 * self.voxel * mean_radius**2 / (mean_radius + self.voxel / 2) ** 3)
        np.maximum(self._cover[window], cover, out=self._cover[window])

    def _add_flat_segment(
        self, start: np.ndarray, end: np.ndarray, sizes: tuple[float, float], across: np.ndarray
    ) -> None:
        wide, thin = sizes
        reach = wide + self.voxel
        window = self.window(np.minimum(start, end) - reach, np.maximum(start, end) + reach)
        across = across / np.linalg.norm(across)
        _, squared, offset = _nearest(self.coordinates(window), start, end)
        through = sum(o * float(a) for o, a in zip(offset, across, strict=True))
        sideways = np.maximum(squared - through**2, 0.0)
        level = np.sqrt(sideways / wide**2 + through**2 / thin**2)
        slope = np.sqrt(sideways / wide**4 + through**2 / thin**4)
        distance = (level - 1.0) * level / np.maximum(slope, 1e-6)
        distance = np.where(slope < 1e-6, -thin, distance)
        np.maximum(self._cover[window], self.coverage(distance), out=self._cover[window])

    def flush(self, hu: float, window: Window | None = None, where: np.ndarray | None = None) -> None:
        """Paints what `add_segment` marked inside the window and clears it."""
        window = window or (slice(None),) * 3
        cover = self._cover[window]
        self.paint(cover if where is None else cover * where[window], hu, window)
        cover[...] = 0.0


def _nearest(
    coordinates: tuple[np.ndarray, np.ndarray, np.ndarray], start: np.ndarray, end: np.ndarray
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Position 0..1 of the nearest point of a segment, squared distance to it, offset (x, y, z)."""
    step = np.asarray(end, dtype=np.float64) - start
    length = max(float(step @ step), 1e-12)
    relative = [c - np.float32(s) for c, s in zip(coordinates, start, strict=True)]
    along = sum(r * np.float32(s / length) for r, s in zip(relative, step, strict=True))
    along = np.clip(along, 0.0, 1.0)
    offset = [r - along * np.float32(s) for r, s in zip(relative, step, strict=True)]
    return along, sum(o * o for o in offset), offset


def ellipsoid_distance(
    coordinates: tuple[np.ndarray, np.ndarray, np.ndarray],
    center: Sequence[float],
    semi_axes: Sequence[float],
    rotation: np.ndarray | None = None,
) -> np.ndarray:
    """Signed distance (first order, mm) to an ellipsoid; columns of `rotation` are its axes."""
    relative = [c - np.float32(v) for c, v in zip(coordinates, center, strict=True)]
    if rotation is not None:
        relative = [sum(r * np.float32(rotation[i, j]) for i, r in enumerate(relative)) for j in range(3)]
    level = np.sqrt(sum((r / np.float32(s)) ** 2 for r, s in zip(relative, semi_axes, strict=True)))
    slope = np.sqrt(sum((r / np.float32(s * s)) ** 2 for r, s in zip(relative, semi_axes, strict=True)))
    return np.where(slope < 1e-6, -min(semi_axes), (level - 1.0) * level / np.maximum(slope, 1e-6))


def oval_distance(
    x: np.ndarray, y: np.ndarray, half_width: np.ndarray, half_depth: np.ndarray, power: float
) -> np.ndarray:
    """Signed in-plane distance (first order, mm) to |x/a|^p + |y/b|^p = 1."""
    u, v = np.abs(x) / half_width, np.abs(y) / half_depth
    total = np.maximum(u**power + v**power, 1e-9)
    level = total ** (1.0 / power)
    slope = np.hypot(u ** (power - 1) / half_width, v ** (power - 1) / half_depth) * level ** (1 - power)
    return ((level - 1.0) / np.maximum(slope, 1e-6)).astype(np.float32)


def smooth_line(points: Sequence[Sequence[float]], count: int) -> np.ndarray:
    """`count` points (count, 3) on a smooth curve through the given ones, by chord length."""
    from scipy.interpolate import PchipInterpolator

    points = np.asarray(points, dtype=np.float64)
    chords = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))]
    return PchipInterpolator(chords, points)(np.linspace(0.0, chords[-1], count))
