"""Which voxels of a volume the beams of some views pass through, and at which angle they cross there.

A voxel in no beam is not measured at all. In one beam it enters line integrals only together with all
that lies before and behind it. In two or more beams the rays through it cross; the nearer to a right
angle, the better its place is told. Even there two pictures give far fewer numbers than there are
voxels: `undetermined_share` bounds from below how much of a volume such pictures leave open at the pixels
that are counted, a network's detector having fewer of them than a radiograph, whatever they show
(rank of A <= number of rays; the rest of the volume's dimensions are A's null space).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from xrecon.physics.geometry import ViewGeometry
from xrecon.volume import InputError, Quantity, Volume

# Rays that cross at less than this tell little of depth, as two views of one side do.
WELL_CROSSED_DEG = 30.0
MOST_VIEWS = 255


@dataclass(frozen=True, eq=False)
class RaySupport:
    """views: LABEL, how many beams hold each voxel's centre; 0 is outside all of them.
    crossing_deg: the largest angle between two of these beams' rays as lines, 0 to 90; 0 with fewer than
    two. rays: pixels whose rays meet the volume, over all views.
    """

    views: Volume
    crossing_deg: Volume
    rays: int

    @property
    def undetermined_share(self) -> float:
        """At least this share of the volume's dimensions no pictures of so many pixels can determine."""
        return max(0.0, 1.0 - self.rays / self.views.array.size)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers: shares of the voxels, 0 to 1, and degrees."""
        shares = np.bincount(self.views.array.ravel()) / self.views.array.size
        crossed = self.views.array >= 2
        angles = self.crossing_deg.array[crossed]
        return {
            "voxels": int(self.views.array.size),
            "rays": self.rays,
            "share_of_voxels_by_views": {str(n): float(share) for n, share in enumerate(shares)},
            "share_outside_every_beam": float(np.mean(self.views.array == 0)),
            "share_well_crossed": float(np.mean(self.crossing_deg.array >= WELL_CROSSED_DEG)),
            "well_crossed_from_deg": WELL_CROSSED_DEG,
            "median_crossing_deg": float(np.median(angles)) if angles.size else None,
            "undetermined_share_at_least": self.undetermined_share,
        }


def ray_support(grid: Volume, pictures: Sequence[Sequence[ViewGeometry]]) -> RaySupport:
    """The support of a grid's voxels by some views.

    grid: any volume; only its place counts. pictures: for each view the detector areas that a ray must
    meet to count, such as the radiograph's own and the network's; they share one source. The rays that
    are counted are those of the last area of each view.
    Raises InputError for no views, a view without an area, or more than 255 views.
    """
    if not 1 <= len(pictures) <= MOST_VIEWS or not all(len(areas) for areas in pictures):
        raise InputError(f"expected 1 to {MOST_VIEWS} views with a detector area each, got {len(pictures)}")
    inside = [_inside(grid, areas) for areas in pictures]
    count = np.sum(inside, axis=0, dtype=np.uint8)
    best = np.zeros(grid.shape, dtype=np.float32)
    for (first, at), (second, there) in combinations(zip(pictures, inside, strict=True), 2):
        both = at & there
        cosine = np.abs(np.sum(_directions(grid, first[-1]) * _directions(grid, second[-1]), axis=0))
        angle = np.degrees(np.arccos(np.clip(cosine, 0.0, 1.0)))
        best = np.where(both, np.maximum(best, angle), best)
    rays = sum(_rays_that_meet(grid, areas[-1]) for areas in pictures)
    return RaySupport(
        grid.with_array(count, Quantity.LABEL, statistic="views whose beam holds the voxel"),
        grid.with_array(best.astype(np.float32), statistic="largest crossing angle of two rays, degrees"),
        rays,
    )


def _centers(grid: Volume) -> list[np.ndarray]:
    """LPS mm of the voxel centres as three arrays (z, y, x)."""
    z, y, x = np.ogrid[tuple(slice(n) for n in grid.shape)]
    matrix = grid.affine
    return [matrix[i, 0] * x + matrix[i, 1] * y + matrix[i, 2] * z + matrix[i, 3] for i in range(3)]


def _inside(grid: Volume, areas: Sequence[ViewGeometry]) -> np.ndarray:
    """Whether the rays through the voxel centres meet all areas, boolean (z, y, x)."""
    x, y, z = _centers(grid)
    met = np.ones(grid.shape, dtype=bool)
    for area in areas:
        column, row, depth = (p[0] * x + p[1] * y + p[2] * z + p[3] for p in area.matrix)
        rows, columns = area.shape
        met &= depth > 0  # behind the source there is no beam
        met &= (row > -0.5 * depth) & (row < (rows - 0.5) * depth)
        met &= (column > -0.5 * depth) & (column < (columns - 0.5) * depth)
    return met


def _directions(grid: Volume, view: ViewGeometry) -> np.ndarray:
    """Unit vectors (3, z, y, x) along the rays through the voxel centres, float32."""
    if view.beam == "parallel":
        along = np.array(view.detector_center) - np.array(view.source)
        along = (along / np.linalg.norm(along)).astype(np.float32)
        return np.broadcast_to(along[:, None, None, None], (3, *grid.shape))
    rays = np.stack([(c - s).astype(np.float32) for c, s in zip(_centers(grid), view.source, strict=True)])
    return rays / np.linalg.norm(rays, axis=0)


def _rays_that_meet(grid: Volume, view: ViewGeometry) -> int:
    """How many of a view's pixels have rays through the box of the grid (slabs; Kay and Kajiya 1986)."""
    inverse = np.linalg.inv(grid.affine[:3, :3])
    pixels = view.pixel_positions().reshape(-1, 3)
    if view.beam == "parallel":
        along = np.array(view.detector_center) - np.array(view.source)
        start, ray, first, last = pixels, np.broadcast_to(along, pixels.shape), -np.inf, np.inf
    else:
        start, ray, first, last = np.broadcast_to(view.source, pixels.shape), pixels - view.source, 0.0, 1.0
    start, ray = (start - np.array(grid.origin)) @ inverse.T, ray @ inverse.T
    low, high = np.full(len(ray), first), np.full(len(ray), last)
    for axis, count in enumerate(grid.shape[::-1]):
        with np.errstate(divide="ignore", invalid="ignore"):
            ends = np.stack([(edge - start[:, axis]) / ray[:, axis] for edge in (-0.5, count - 0.5)])
        parallel = ray[:, axis] == 0
        within = np.abs(start[:, axis] - (count - 1) / 2.0) < count / 2.0
        low = np.where(parallel, np.where(within, low, np.inf), np.maximum(low, ends.min(axis=0)))
        high = np.where(parallel, high, np.minimum(high, ends.max(axis=0)))
    return int(np.count_nonzero(low < high))
