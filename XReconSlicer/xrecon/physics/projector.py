"""Line integrals through a voxel volume and their exact adjoint: `A(x)` and `A.adjoint(y)`.

Joseph's method (IEEE Trans Med Imaging 1982;1:192-196): each ray is cut with the planes of voxel
centres along the axis it runs most along (in voxels), the volume is interpolated bilinearly in
each plane, and the sum is multiplied by the path length between planes. Beyond the outermost
voxel centres the volume falls linearly to zero over one voxel, so a ray that meets any voxel at
all gets its share: no cap is skipped and no half voxel lost. `method="siddon"` takes the voxels as
boxes instead.

The operator is linear in the volume: autograd goes through it any number of times and stores no
intermediate. Given frames (see `xrecon.physics.rays`), it is differentiable in the poses as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import astuple, replace
from functools import cached_property
from itertools import groupby
from types import ModuleType

import numpy as np
import torch

from xrecon.physics import joseph_compiled, joseph_eager, joseph_triton, siddon
from xrecon.physics.geometry import ViewGeometry
from xrecon.physics.presum import Slabs, slabs_for
from xrecon.physics.rays import RayGroup, grid_of, group_rays, view_frames
from xrecon.volume import InputError, Volume

METHODS = ("joseph", "siddon")
BACKENDS = ("auto", "eager", "compiled", "triton")
LARGEST_PRESUM = 8
# What a ray takes: its table, and its share of the temporary arrays while it is projected.
_TABLE_BYTES_PER_RAY = 150  # float64 on the way
_KEPT_BYTES_PER_RAY = 36


class Projector:
    """The system matrix A of some views of one volume grid.

    views: geometries in LPS mm; all with the same detector shape.
    volume_shape: (z, y, x) voxels; spacing: mm in the same order.
    origin: LPS mm (x, y, z) of the centre of voxel [0, 0, 0]; None centres the grid at LPS zero.
    direction: 3x3 as in `Volume`; None is the identity.
    device, dtype: where the rays live; inputs must match.
    method: "joseph" (bilinear interpolation) or "siddon" (exact lengths through boxes).
    backend: "eager" (torch's operators, anywhere), "compiled" (one fused kernel by torch.compile, up to
        twice as fast; the first call of a process compiles), "triton" (CUDA), or "auto": triton
        on CUDA devices where it is installed, else eager.
    presum: this many planes are added before they are sampled, 1 to 8; see `xrecon.physics.presum`.
        For data made by the thousand: against exact integrals 2 is not less accurate than 1 and 4 about
        as accurate. The sums are made in every call and cost a few passes over the volume, so that 4
        saves most where a view has many pixels for the volume's size. Joseph only.
    memory_mb: bound for the tables of rays. Where they would be larger, detectors are worked
        off in blocks of rows and the tables made anew in each call.

    `A(x)` maps attenuation per mm, (b, 1, z, y, x), to line integrals, (b, view, row, column).
    Raises InputError for views of different detector shapes, a grid that is none, options out of
    range, or tensors of the wrong shape or kind.
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
        method: str = "joseph",
        backend: str = "auto",
        presum: int = 1,
        memory_mb: float = 512.0,
    ) -> None:
        self.views = tuple(views)
        if not self.views or len({view.shape for view in self.views}) != 1:
            raise InputError(
                "expected one or more views with the same detector shape, got "
                f"{[view.shape for view in self.views]}"
            )
        self._grid = grid_of(volume_shape, spacing, origin, direction)
        self.volume_shape = self._grid.shape
        self.spacing = tuple(float(s) for s in spacing)
        self.device, self.dtype = torch.device(device), dtype
        self.presum, self.memory_mb = presum, float(memory_mb)
        if not self.memory_mb > 0:
            raise InputError(f"expected memory_mb above 0, got {memory_mb}")
        self._kernels = _kernels(method, backend, self.device, presum)
        self.method, self.backend = method, backend
        self.frames = view_frames(self.views)

    @classmethod
    def of_volume(cls, views: Sequence[ViewGeometry], volume: Volume, **options) -> Projector:
        """The projector for the grid of a `Volume`; options as in the constructor."""
        return cls(views, volume.shape, volume.spacing, volume.origin, volume.direction, **options)

    @property
    def output_shape(self) -> tuple[int, int, int]:
        """(view, row, column)."""
        return (len(self.views), *self.views[0].shape)

    def __call__(self, x: torch.Tensor, frames: torch.Tensor | None = None) -> torch.Tensor:
        """Line integrals (b, view, row, column) of attenuation per mm (b, 1, z, y, x).

        frames: (view, 4, 3), where sources and detectors are instead of where the views say, LPS mm;
            `Projector.frames` holds those of the views, `rays.moved_frames` moves them. Gradients reach
            them once (no second derivatives). Only with method="joseph" and presum=1.
        """
        if x.ndim != 5 or x.shape[1] != 1 or tuple(x.shape[2:]) != self.volume_shape:
            raise InputError(f"expected a tensor (b, 1, {self.volume_shape}), got {tuple(x.shape)}")
        self._require_kind(x)
        if frames is None:
            return _Project.apply(x, self)
        if frames.shape != self.frames.shape:
            raise InputError(f"expected frames {tuple(self.frames.shape)}, got {tuple(frames.shape)}")
        if self.method != "joseph" or self.presum != 1:
            raise InputError("expected method='joseph' and presum=1 for poses given as frames")
        out = x.new_zeros(x.shape[0], int(np.prod(self.output_shape)))
        for group in self._made(frames.to("cpu", torch.float64)):
            rays = group.start, group.slope, group.step_mm
            values = _ProjectPosed.apply(x[:, 0], *rays, group, self._kernels)
            out = out.index_add(1, group.rays, values)
        return out.reshape(x.shape[0], *self.output_shape)

    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        """Back-projection (b, 1, z, y, x) of (b, view, row, column): the transpose of A, in mm."""
        if y.ndim != 4 or tuple(y.shape[1:]) != self.output_shape:
            raise InputError(f"expected a tensor (b, {self.output_shape}), got {tuple(y.shape)}")
        self._require_kind(y)
        return _Backproject.apply(y, self)

    T = adjoint

    def _require_kind(self, values: torch.Tensor) -> None:
        if values.dtype != self.dtype or values.device.type != self.device.type:
            raise InputError(
                f"expected a tensor of {self.dtype} on {self.device}, got {values.dtype} on {values.device}"
            )

    # -- rays ------------------------------------------------------------------------------------
    def _groups(self) -> Iterable[RayGroup]:
        """The rays: kept when they fit the memory, else made for this call block by block."""
        rays = int(np.prod(self.output_shape))
        if rays * _KEPT_BYTES_PER_RAY <= self.memory_mb * 2**20:
            return self._kept_groups
        return self._made(self.frames)

    @cached_property
    def _kept_groups(self) -> list[RayGroup]:
        groups = list(self._made(self.frames))
        if self.presum > 1:  # views of about one direction share their sums of planes
            groups.sort(key=lambda group: astuple(self._slabs_of(group)))
        return groups

    def _made(self, frames: torch.Tensor) -> Iterable[RayGroup]:
        columns = self.views[0].shape[1]
        rows = int(self.memory_mb * 2**20 / (_TABLE_BYTES_PER_RAY * columns))
        return group_rays(
            frames, self.views, self._grid, dtype=self.dtype, device=self.device, rows_per_block=max(1, rows)
        )

    def _by_slabs(self) -> Iterable[tuple[Slabs | None, Iterable[RayGroup]]]:
        """The groups, together with those that follow and use the same sums of planes."""
        if self.presum == 1:
            return [(None, self._groups())]
        return groupby(self._groups(), self._slabs_of)

    def _slabs_of(self, group: RayGroup) -> Slabs:
        return slabs_for(group.axis, group.pixels.mean_slope(), self.presum)

    # -- the operator --------------------------------------------------------------------------
    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        batch = x.shape[0]
        out = x.new_zeros(batch, int(np.prod(self.output_shape)))
        for slabs, groups in self._by_slabs():
            volume = x[:, 0] if slabs is None else slabs.collapse(x[:, 0])
            for group in groups:
                rays = group if slabs is None else slabs.group(group)
                out[:, group.rays] = self._kernels.project(volume, rays)
        return out.reshape(batch, *self.output_shape)

    def _backward(self, y: torch.Tensor) -> torch.Tensor:
        batch = y.shape[0]
        flat = y.reshape(batch, -1)
        out = y.new_zeros(batch, *self.volume_shape)
        for slabs, groups in self._by_slabs():
            target = out if slabs is None else out.new_zeros(batch, *slabs.shape(self.volume_shape))
            for group in groups:
                rays = group if slabs is None else slabs.group(group)
                self._kernels.backproject(flat[:, group.rays], rays, target)
            if slabs is not None:
                slabs.expand(target, out)
        return out[:, None]


def _kernels(method: str, backend: str, device: torch.device, presum: int) -> ModuleType:
    if method not in METHODS:
        raise InputError(f"expected method out of {METHODS}, got {method!r}")
    if backend not in BACKENDS:
        raise InputError(f"expected backend out of {BACKENDS}, got {backend!r}")
    allowed = range(1, (LARGEST_PRESUM if method == "joseph" else 1) + 1)
    if presum not in allowed:
        raise InputError(f"expected presum from 1 to {LARGEST_PRESUM}, 1 with siddon, got {presum}")
    if method == "siddon":
        if backend not in ("auto", "eager"):
            raise InputError(f"expected backend 'auto' or 'eager' with method='siddon', got {backend!r}")
        return siddon
    if backend == "compiled":
        if not joseph_compiled.is_usable(device.type):
            raise InputError(
                f"expected torch.compile to work here on {device.type}, it does not: use 'eager'"
            )
        return joseph_compiled
    has_triton = joseph_triton.is_usable(device)
    if backend == "triton" and not has_triton:
        raise InputError(f"expected a CUDA device and the package triton for backend='triton', got {device}")
    if backend == "triton" or (backend == "auto" and device.type == "cuda" and has_triton):
        return joseph_triton
    return joseph_eager


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


class _ProjectPosed(torch.autograd.Function):
    """One group of rays whose positions have gradients of their own."""

    @staticmethod
    def forward(ctx, volume, start, slope, step_mm, group: RayGroup, kernels: ModuleType) -> torch.Tensor:
        ctx.save_for_backward(volume)
        ctx.group, ctx.kernels = _detached(group), kernels
        return kernels.project(volume, ctx.group)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: torch.Tensor):
        (volume,) = ctx.saved_tensors
        for_volume, for_rays = None, (None, None, None)
        if ctx.needs_input_grad[0]:
            for_volume = torch.zeros_like(volume)
            ctx.kernels.backproject(gradient, ctx.group, for_volume)
        if any(ctx.needs_input_grad[1:4]):
            for_rays = ctx.kernels.ray_gradients(volume, ctx.group, gradient)
        return for_volume, *for_rays, None, None


def _detached(group: RayGroup) -> RayGroup:
    return replace(
        group, start=group.start.detach(), slope=group.slope.detach(), step_mm=group.step_mm.detach()
    )
