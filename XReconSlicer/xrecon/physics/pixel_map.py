"""Where a voxel of a plane is seen, and where a pixel's ray meets a plane, as a few numbers per view.

Kernels that gather per voxel need both directions without tables. For an axis of the volume, with k
the plane and (u, v) the position in it in voxels, a 3x4 matrix M maps (k, u, v, 1) to w (row,
column, 1). The ray of pixel (row, column) is at (u, v) = (start + k slope) / weight, where start,
slope and weight are affine in row and column.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Voxels at the border see rays up to here; a thousandth of a pixel for rounding.
_MARGIN = 1e-3
# Rays a side of the detector that stand for all.
_LATTICE = 9


@dataclass(frozen=True, eq=False)
class PixelMap:
    """One view seen along one axis. matrix: 3x4 as above. parallel: the beam. shape: (rows, columns)."""

    matrix: np.ndarray
    parallel: bool
    shape: tuple[int, int]

    def of_slabs(self, count: int, mean_shift: tuple[float, float]) -> PixelMap:
        """The map for slabs of `count` planes that were shifted by `mean_shift` voxels on average."""
        to_planes = np.diag([float(count), 1.0, 1.0, 1.0])
        to_planes[:3, 3] = (count - 1) / 2.0, *mean_shift
        return PixelMap(self.matrix @ to_planes, self.parallel, self.shape)

    def ray_coefficients(self) -> np.ndarray:
        """Coefficients of (1, row, column): start u, start v, slope u, slope v, weight; (5, 3)."""
        linear, offset = self.matrix[:, :3], self.matrix[:, 3]
        if self.parallel:
            inverse = np.linalg.inv(linear[:2, 1:])
            start = np.column_stack([-inverse @ offset[:2], inverse])
            slope = np.column_stack([-inverse @ linear[:2, 0], np.zeros((2, 2))])
            return np.vstack([start, slope, [[1.0, 0.0, 0.0]]])
        to_ray = np.linalg.inv(linear)
        source = -to_ray @ offset
        vectors = to_ray[:, [2, 0, 1]]  # of the ray, for 1, row, column
        start = source[1:, None] * vectors[0] - source[0] * vectors[1:]
        return np.vstack([start, vectors[1:], vectors[:1]]) / np.abs(vectors[0]).max()

    def mean_slope(self) -> tuple[float, float]:
        """Voxels in u and v from plane to plane, the mean of the view's rays that run along this axis."""
        lattice = [np.linspace(0.0, n - 1.0, _LATTICE) for n in self.shape]
        pixels = np.array(np.meshgrid(*lattice, indexing="ij")).reshape(2, -1)
        coefficients = self.ray_coefficients()
        affine = coefficients[:, :1] + coefficients[:, 1:] @ pixels
        with np.errstate(divide="ignore", invalid="ignore"):
            slopes = affine[2:4] / affine[4]
        steepness = np.nan_to_num(np.abs(slopes).max(axis=0), nan=np.inf)
        along = steepness <= max(1.0, steepness.min())
        u, v = slopes[:, along].mean(axis=1)
        return float(u), float(v)

    def reach(self, planes: int, size: tuple[int, int]) -> tuple[float, float]:
        """How many rows and columns from where a voxel is seen a ray can lie that meets its neighbourhood.

        The neighbourhood is one voxel to each side in the plane; the largest value over a volume of
        so many planes of this size.
        """
        ends = [(-0.5, n - 0.5) for n in (planes, *size)]
        corners = np.array(np.meshgrid(*ends, indexing="ij")).reshape(3, -1).T
        middle = self._seen(corners)
        around = [self._seen(corners + [0.0, du, dv]) for du in (-1, 1) for dv in (-1, 1)]
        reach = np.abs(np.stack(around) - middle).max(axis=(0, 1)) + _MARGIN
        return float(reach[0]), float(reach[1])

    def _seen(self, points: np.ndarray) -> np.ndarray:
        seen = points @ self.matrix[:, :3].T + self.matrix[:, 3]
        return seen[:, :2] / seen[:, 2:]


def pixel_map(
    frame: np.ndarray,
    parallel: bool,
    shape: tuple[int, int],
    to_index: np.ndarray,
    origin: np.ndarray,
    axis: int,
) -> PixelMap:
    """The map of a frame (4, 3) of `rays.view_frames` for one axis (0 z, 1 y, 2 x) of a grid."""
    order = [axis, *(a for a in range(3) if a != axis)]

    def vector(value: np.ndarray) -> np.ndarray:
        return (to_index @ value)[::-1][order]

    source, first, row, column = frame
    start = vector((source if not parallel else first) - origin)
    if parallel:
        middle = (np.array(shape) - 1) / 2.0
        beam = first + middle[0] * row + middle[1] * column - source
    else:
        beam = first - source
    inverse = np.linalg.inv(np.column_stack([vector(row), vector(column), vector(beam)]))
    matrix = np.column_stack([inverse, -inverse @ start])
    if parallel:
        matrix[2] = 0.0, 0.0, 0.0, 1.0
    return PixelMap(matrix, parallel, tuple(shape))
