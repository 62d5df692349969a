"""The rays of some views in the index coordinates of a voxel grid, grouped by the axis they run along.

A view is reduced to a frame, four points and vectors in LPS mm: source, centre of pixel (0, 0), step
to the next row, step to the next column. Everything here is made of differentiable torch operations
in float64 from those frames, so that gradients reach source and detector.

A ray belongs to the axis along which it crosses most voxels. With k the number of a plane of voxel
centres across that axis, the ray's position in the plane is `start + k * slope`, in voxels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from xrecon.physics.geometry import ViewGeometry
from xrecon.physics.pixel_map import PixelMap, pixel_map
from xrecon.volume import InputError

# Rays of one block: their tables stay in cache, and torch's threads meet rarely.
BLOCK_RAYS = 12544
# The two other axes of (z, y, x), in array order.
IN_PLANE = {0: (1, 2), 1: (0, 2), 2: (0, 1)}


@dataclass(frozen=True)
class Grid:
    """Where the voxels are: shape (z, y, x), LPS mm to index (x, y, z) matrix, LPS mm of voxel 0."""

    shape: tuple[int, int, int]
    to_index: np.ndarray
    origin: np.ndarray

    @property
    def to_lps(self) -> np.ndarray:
        """4x4 matrix from voxel index (x, y, z, 1) to LPS mm."""
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = np.linalg.inv(self.to_index), self.origin
        return matrix


@dataclass(frozen=True)
class RayGroup:
    """Rays along one axis of the volume.

    view: which view they are of. axis: 0 z, 1 y, 2 x.
    start, slope: (2, n); see the module. The first row belongs to the earlier axis of (z, y, x).
    step_mm: (n,) path length from plane to plane.
    rays: (n,) position in the flattened (view, row, column) output.
    planes: first and last + 1 of the planes that any of the rays meets inside the volume.
    t_start, t_slope: (n,) or None: t = t_start + k t_slope is 0 at the source and 1 at the detector;
        kept only where a source or detector lies within the volume.
    pixels: the view's map for this axis.
    """

    view: int
    axis: int
    start: torch.Tensor
    slope: torch.Tensor
    step_mm: torch.Tensor
    rays: torch.Tensor
    planes: tuple[int, int]
    t_start: torch.Tensor | None = None
    t_slope: torch.Tensor | None = None
    pixels: PixelMap | None = None

    @property
    def count(self) -> int:
        """Number of rays."""
        return self.step_mm.numel()

    def blocks(self, size: int = BLOCK_RAYS) -> Iterator[tuple[slice, RayGroup]]:
        """The rays in portions, each with its place among them."""
        for first in range(0, self.count, size):
            part = slice(first, min(first + size, self.count))
            yield part, (self if self.count <= size else self._part(part))

    def _part(self, part: slice) -> RayGroup:
        return replace(
            self,
            start=self.start[:, part],
            slope=self.slope[:, part],
            step_mm=self.step_mm[part],
            rays=self.rays[part],
            t_start=None if self.t_start is None else self.t_start[part],
            t_slope=None if self.t_slope is None else self.t_slope[part],
        )


def grid_of(
    shape: Sequence[int],
    spacing: Sequence[float],
    origin: Sequence[float] | None = None,
    direction: np.ndarray | None = None,
) -> Grid:
    """The grid of a volume; arguments as in `Projector`. Raises InputError when there is no such grid."""
    if len(shape) != 3 or any(int(n) != n or n < 1 for n in shape):
        raise InputError(f"expected a shape of three positive counts (z, y, x), got {tuple(shape)}")
    if len(spacing) != 3 or not all(np.isfinite(s) and s > 0 for s in spacing):
        raise InputError(f"expected a spacing of three positive mm (z, y, x), got {tuple(spacing)}")
    direction = np.eye(3) if direction is None else np.asarray(direction, dtype=np.float64)
    if direction.shape != (3, 3) or not np.allclose(direction.T @ direction, np.eye(3), atol=1e-4):
        raise InputError(f"expected an orthonormal 3x3 direction, got {direction.tolist()}")
    scaled = direction * np.array(spacing[::-1], dtype=np.float64)
    if origin is None:
        origin = -scaled @ ((np.array(shape[::-1]) - 1) / 2.0)
    origin = np.asarray(origin, dtype=np.float64)
    if origin.shape != (3,) or not np.all(np.isfinite(origin)):
        raise InputError(f"expected an origin of three finite mm (x, y, z), got {origin.tolist()}")
    return Grid(tuple(int(n) for n in shape), np.linalg.inv(scaled), origin)


def view_frames(views: Sequence[ViewGeometry]) -> torch.Tensor:
    """Source, first pixel centre, row step and column step of each view: (view, 4, 3), LPS mm, float64."""
    frames = []
    for view in views:
        row = np.array(view.row_direction) * view.pixel_spacing[0]
        column = np.array(view.column_direction) * view.pixel_spacing[1]
        middle = (np.array(view.shape) - 1) / 2.0
        first = np.array(view.detector_center) - middle[0] * row - middle[1] * column
        frames.append(np.stack([np.array(view.source), first, row, column]))
    return torch.from_numpy(np.stack(frames))


def moved_frames(
    frames: torch.Tensor, rotation: torch.Tensor, translation: torch.Tensor, center: torch.Tensor
) -> torch.Tensor:
    """Frames of sources and detectors moved together, differentiable in all arguments.

    frames: (view, 4, 3). rotation: (view, 3), axis times angle in radians about the LPS axes.
    translation, center: (view, 3), LPS mm; the rotation is about `center`.
    """
    zero = torch.zeros_like(rotation[:, 0])
    x, y, z = rotation.unbind(-1)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(-1, 3, 3)
    matrix = torch.linalg.matrix_exp(skew)
    points = (frames[:, :2] - center[:, None]) @ matrix.transpose(1, 2)
    return torch.cat(
        [points + (center + translation)[:, None], frames[:, 2:] @ matrix.transpose(1, 2)], dim=1
    )


def trace(
    frame: torch.Tensor, view: ViewGeometry, rows: tuple[int, int], grid: Grid
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Starts and vectors of rays in voxels, (3, n) in the order z, y, x, and lengths in mm, (n,).

    `rows` are the first and last + 1 row. A cone beam's rays run from source to pixel, a parallel
    beam's are as long as from the source to the detector's centre.
    """
    source, first, row, column = frame
    steps = torch.arange(*rows, dtype=frame.dtype)[:, None, None]
    across = torch.arange(view.shape[1], dtype=frame.dtype)[None, :, None]
    ends = (first + steps * row + across * column).reshape(-1, 3)
    if view.beam == "parallel":
        middle = first + (view.shape[0] - 1) / 2.0 * row + (view.shape[1] - 1) / 2.0 * column
        vectors = (middle - source).expand_as(ends)
        starts = ends - vectors
    else:
        vectors = ends - source
        starts = source.expand_as(ends)
    to_index = torch.from_numpy(grid.to_index)
    origin = torch.from_numpy(grid.origin)
    length = vectors.norm(dim=1)
    return ((starts - origin) @ to_index.T).T.flip(0), (vectors @ to_index.T).T.flip(0), length


def group_rays(
    frames: torch.Tensor,
    views: Sequence[ViewGeometry],
    grid: Grid,
    *,
    dtype: torch.dtype,
    device: torch.device,
    rows_per_block: int | None = None,
) -> Iterator[RayGroup]:
    """All rays that meet the volume, by view and axis, in blocks of detector rows.

    frames: (view, 4, 3), float64 on the CPU. Rays that miss the volume are in no group.
    """
    rows, columns = views[0].shape
    height = rows if rows_per_block is None else rows_per_block
    for number, view in enumerate(views):
        maps = _pixel_maps(frames[number], view, grid)
        for first in range(0, rows, height):
            last = min(first + height, rows)
            starts, vectors, length = trace(frames[number], view, (first, last), grid)
            offset = (number * rows + first) * columns
            main_axis = vectors.detach().abs().max(dim=0).indices
            for axis in range(3):
                chosen = (main_axis == axis).nonzero()[:, 0]
                if chosen.numel():
                    table = _Table(axis, starts[:, chosen], vectors[:, chosen], length[chosen], grid.shape)
                    group = table.group(number, chosen, offset, view.beam == "cone", dtype, device)
                    if group is not None:
                        yield replace(group, pixels=maps[axis])


def _pixel_maps(frame: torch.Tensor, view: ViewGeometry, grid: Grid) -> dict[int, PixelMap]:
    numbers = frame.detach().numpy()
    return {
        axis: pixel_map(numbers, view.beam == "parallel", view.shape, grid.to_index, grid.origin, axis)
        for axis in range(3)
    }


@dataclass
class _Table:
    """Rays of one axis on their way to a group."""

    axis: int
    starts: torch.Tensor
    vectors: torch.Tensor
    length: torch.Tensor
    shape: tuple[int, int, int]

    def group(self, view, chosen, offset, bounded, dtype, device) -> RayGroup | None:
        in_plane = list(IN_PLANE[self.axis])
        slope = self.vectors[in_plane] / self.vectors[self.axis]
        start = self.starts[in_plane] - self.starts[self.axis] * slope
        step = self.length / self.vectors[self.axis].abs()
        low, high = self._planes_met(start.detach(), slope.detach(), in_plane)
        met = (low <= high).nonzero()[:, 0]
        if not met.numel():
            return None
        planes = int(low[met].min()), int(high[met].max()) + 1
        t_slope = 1.0 / self.vectors[self.axis]
        t_start = -self.starts[self.axis] * t_slope
        if met.numel() == chosen.numel():
            met = slice(None)  # no copies
        cut = bounded and _ends_within(t_start[met], t_slope[met], planes)

        def cast(values: torch.Tensor) -> torch.Tensor:
            return values[..., met].contiguous().to(device=device, dtype=dtype)

        return RayGroup(
            view=view,
            axis=self.axis,
            start=cast(start),
            slope=cast(slope),
            step_mm=cast(step),
            rays=(chosen[met] + offset).to(device),
            planes=planes,
            t_start=cast(t_start.detach()) if cut else None,
            t_slope=cast(t_slope.detach()) if cut else None,
        )

    def _planes_met(
        self, start: torch.Tensor, slope: torch.Tensor, in_plane: Sequence[int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """First and last plane in which each ray is less than a voxel off the volume."""
        low = torch.zeros(start.shape[1], dtype=start.dtype)
        high = torch.full_like(low, self.shape[self.axis] - 1)
        for position, change, axis in zip(start, slope, in_plane, strict=True):
            change = torch.where(change.abs() < 1e-12, torch.full_like(change, 1e-12), change)
            ends = torch.stack([(-1.0 - position) / change, (self.shape[axis] - position) / change])
            low = torch.maximum(low, ends.amin(dim=0))
            high = torch.minimum(high, ends.amax(dim=0))
        # a ray that touches the border gets a plane too many rather than one too few
        return (low - 1e-6).ceil().clamp(min=0), (high + 1e-6).floor().clamp(max=self.shape[self.axis] - 1)


def _ends_within(t_start: torch.Tensor, t_slope: torch.Tensor, planes: tuple[int, int]) -> bool:
    """Whether source or detector of any ray lies within the layers of voxels."""
    ends = t_start + torch.tensor([[planes[0] - 0.5], [planes[1] - 0.5]], dtype=t_start.dtype) * t_slope
    return bool(((ends < 0) | (ends > 1)).any())
