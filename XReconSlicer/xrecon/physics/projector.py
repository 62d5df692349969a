"""Line integrals through a voxel volume and their exact adjoint: `A(x)` and `A.adjoint(y)`.

Joseph's method (IEEE Trans Med Imaging 1982;1:192-196): each ray is cut with the planes of voxel
centres along the axis it runs most along (in voxels), the volume is interpolated bilinearly in
each plane, and the sum is multiplied by the path length between planes. Beyond the outermost
voxel centres the volume falls linearly to zero over one voxel, so a ray that meets any voxel at
all gets its share: no cap is skipped and no half voxel lost.

Each plane is one 2D `grid_sample`, which torch vectorises on CPU and GPU alike. The adjoint uses
the gradient kernel of the same sampling, so <Ax, y> = <x, A*y> to rounding. The operator is
linear; autograd goes through it any number of times and stores no intermediate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import grid_sample

from xrecon.physics.geometry import ViewGeometry
from xrecon.volume import InputError, Volume

# Planes sampled in one call: large enough to fill the cores, small enough to stay in cache.
PLANES_PER_CALL = 8
# (first, second) remaining axes of (z, y, x) once the plane axis is taken out.
_IN_PLANE = {0: (1, 2), 1: (0, 2), 2: (0, 1)}
_BILINEAR, _ZEROS = 0, 0  # the enumerators of aten's grid sampler


@dataclass
class _RayGroup:
    """Rays that run mainly along one axis; coordinates are affine in the plane number k.

    start, slope: (rays, 2) so that start + k * slope is the (last axis, first axis) position in
        grid_sample's [-1, 1] coordinates.
    step_mm: (rays,) path length between two planes.
    rays: (rays,) position in the flattened (view, row, column) output.
    t_start, t_slope: (rays,) or None: fraction of the way from source to detector at plane k,
        kept only where the source or the detector lies within the volume.
    """

    axis: int
    start: torch.Tensor
    slope: torch.Tensor
    step_mm: torch.Tensor
    rays: torch.Tensor
    t_start: torch.Tensor | None
    t_slope: torch.Tensor | None


class Projector:
    """The system matrix A of some views of one volume grid.

    views: geometries in LPS mm; all with the same detector shape.
    volume_shape: (z, y, x) voxels; spacing: mm in the same order.
    origin: LPS mm (x, y, z) of the centre of voxel [0, 0, 0]; None centres the grid at LPS zero.
    direction: 3x3 as in `Volume`; None is the identity.
    device, dtype: where the ray tables live; inputs must match.

    `A(x)` maps attenuation per mm, (b, 1, z, y, x), to line integrals, (b, view, row, column).
    Raises InputError for views of different detector shapes or tensors of the wrong shape.
    """

    def __init__(
        self,
        views: Sequence[ViewGeometry],
        volume_shape: tuple[int, int, int],
        spacing: tuple[float, float, float],
        origin: tuple[float, float, float] | None = None,
        direction: np.ndarray | None = None,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.views = tuple(views)
        if not self.views or len({view.shape for view in self.views}) != 1:
            raise InputError(
                "expected one or more views with the same detector shape, got "
                f"{[view.shape for view in self.views]}"
            )
        self.volume_shape = tuple(int(n) for n in volume_shape)
        self.spacing = tuple(float(s) for s in spacing)
        direction = np.eye(3) if direction is None else np.asarray(direction, dtype=np.float64)
        spacing_xyz = np.array(self.spacing[::-1])
        if origin is None:
            middle = (np.array(self.volume_shape[::-1]) - 1) / 2.0
            origin = -(direction * spacing_xyz) @ middle
        self._to_index = np.linalg.inv(direction * spacing_xyz)
        self._origin = np.asarray(origin, dtype=np.float64)
        self.device, self.dtype = torch.device(device), dtype
        self._groups = self._group_rays()

    @classmethod
    def of_volume(cls, views: Sequence[ViewGeometry], volume: Volume, **options) -> Projector:
        """The projector for the grid of a `Volume`; options as in the constructor."""
        return cls(views, volume.shape, volume.spacing, volume.origin, volume.direction, **options)

    @property
    def output_shape(self) -> tuple[int, int, int]:
        """(view, row, column)."""
        return (len(self.views), *self.views[0].shape)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Line integrals (b, view, row, column) of attenuation per mm (b, 1, z, y, x)."""
        if x.ndim != 5 or x.shape[1] != 1 or tuple(x.shape[2:]) != self.volume_shape:
            raise InputError(f"expected a tensor (b, 1, {self.volume_shape}), got {tuple(x.shape)}")
        return _Project.apply(x, self)

    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        """Back-projection (b, 1, z, y, x) of (b, view, row, column): the transpose of A, in mm."""
        if y.ndim != 4 or tuple(y.shape[1:]) != self.output_shape:
            raise InputError(f"expected a tensor (b, {self.output_shape}), got {tuple(y.shape)}")
        return _Backproject.apply(y, self)

    T = adjoint

    # -- ray tables ----------------------------------------------------------------------------
    def _group_rays(self) -> list[_RayGroup]:
        starts, ends = (np.concatenate(parts) for parts in zip(*map(_ray_ends, self.views), strict=True))
        length_mm = np.linalg.norm(ends - starts, axis=1)
        # continuous voxel indices in array order (z, y, x)
        starts = ((starts - self._origin) @ self._to_index.T)[:, ::-1]
        rays = ((ends - self._origin) @ self._to_index.T)[:, ::-1] - starts
        bounded = np.concatenate([np.full(v.shape[0] * v.shape[1], v.beam == "cone") for v in self.views])
        main_axis = np.argmax(np.abs(rays), axis=1)
        groups = []
        for axis in range(3):
            chosen = np.flatnonzero(main_axis == axis)
            if chosen.size:
                groups.append(
                    self._group(
                        axis, chosen, starts[chosen], rays[chosen], length_mm[chosen], bounded[chosen]
                    )
                )
        return groups

    def _group(self, axis, chosen, starts, rays, length_mm, bounded) -> _RayGroup:
        per_plane = rays / rays[:, axis : axis + 1]
        at_zero = starts - starts[:, axis : axis + 1] * per_plane
        # index c of n voxels sits at (2 c + 1) / n - 1 (align_corners=False); x comes first
        in_plane = list(_IN_PLANE[axis])[::-1]
        counts = np.array([self.volume_shape[a] for a in in_plane])
        t_slope = 1.0 / rays[:, axis]
        t_start = -starts[:, axis] * t_slope
        planes = np.array([0, self.volume_shape[axis] - 1])
        t_planes = t_start[:, None] + planes * t_slope[:, None]
        inside = bounded & ((t_planes.min(axis=1) < 0) | (t_planes.max(axis=1) > 1))
        # unbounded rays get a constant t of one half, so that one test serves all
        t_start, t_slope = np.where(bounded, t_start, 0.5), np.where(bounded, t_slope, 0.0)

        def tensor(values: np.ndarray) -> torch.Tensor:
            return torch.as_tensor(np.ascontiguousarray(values), dtype=self.dtype, device=self.device)

        return _RayGroup(
            axis=axis,
            start=tensor((2 * at_zero[:, in_plane] + 1) / counts - 1),
            slope=tensor(2 * per_plane[:, in_plane] / counts),
            step_mm=tensor(length_mm / np.abs(rays[:, axis])),
            rays=torch.as_tensor(chosen, device=self.device),
            t_start=tensor(t_start) if inside.any() else None,
            t_slope=tensor(t_slope) if inside.any() else None,
        )

    # -- the operator --------------------------------------------------------------------------
    def _planes(self, group: _RayGroup):
        """Yields (first plane, last plane + 1, sampling grid (planes, 1, rays, 2), weights)."""
        count = self.volume_shape[group.axis]
        for first in range(0, count, PLANES_PER_CALL):
            last = min(first + PLANES_PER_CALL, count)
            k = torch.arange(first, last, dtype=self.dtype, device=self.device)[:, None]
            grid = group.start + k[..., None] * group.slope
            weights = group.step_mm.expand(last - first, -1)
            if group.t_start is not None:
                t = group.t_start + k * group.t_slope
                weights = weights * ((t >= 0) & (t <= 1))
            yield first, last, grid[:, None], weights

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        batch = x.shape[0]
        out = x.new_zeros(batch, int(np.prod(self.output_shape)))
        for group in self._groups:
            # (planes, b, first, second): the batch rides along as channels of each plane
            planes = x[:, 0].movedim(group.axis + 1, 0)
            total = x.new_zeros(batch, group.rays.numel())
            for first, last, grid, weights in self._planes(group):
                samples = grid_sample(planes[first:last], grid, "bilinear", "zeros", align_corners=False)
                total += (samples[:, :, 0] * weights[:, None]).sum(dim=0)
            out[:, group.rays] = total
        return out.reshape(batch, *self.output_shape)

    def _backward(self, y: torch.Tensor) -> torch.Tensor:
        batch = y.shape[0]
        flat = y.reshape(batch, -1)
        out = y.new_zeros(batch, *self.volume_shape)
        for group in self._groups:
            planes = out.movedim(group.axis + 1, 0)
            values = flat[:, group.rays]
            for first, last, grid, weights in self._planes(group):
                shape_only = planes[first:last]
                gradient, _ = torch.ops.aten.grid_sampler_2d_backward(
                    (values * weights[:, None])[:, :, None].contiguous(),
                    shape_only.contiguous(),
                    grid.contiguous(),
                    _BILINEAR,
                    _ZEROS,
                    False,
                    [True, False],
                )
                planes[first:last] += gradient
        return out[:, None]


def _ray_ends(view: ViewGeometry) -> tuple[np.ndarray, np.ndarray]:
    """Start and end points (rays, 3) in LPS mm; for a parallel beam only the line matters."""
    ends = view.pixel_positions().reshape(-1, 3)
    source = np.array(view.source)
    if view.beam == "parallel":
        return ends - (np.array(view.detector_center) - source), ends
    return np.broadcast_to(source, ends.shape), ends


class _Project(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: torch.Tensor, projector: Projector) -> torch.Tensor:
        ctx.projector = projector
        return projector._forward(x)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor):
        return _Backproject.apply(gradient.contiguous(), ctx.projector), None


class _Backproject(torch.autograd.Function):
    @staticmethod
    def forward(ctx, y: torch.Tensor, projector: Projector) -> torch.Tensor:
        ctx.projector = projector
        return projector._backward(y)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor):
        return _Project.apply(gradient.contiguous(), ctx.projector), None
