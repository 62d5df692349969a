"""Joseph's method with torch's own operators: no compiler needed, any device.

Planes are sampled by `grid_sample`, which torch vectorises; the adjoint is the gradient kernel of
the same sampling, so that <Ax, y> = <x, A*y> to rounding. Rays go in blocks and planes in slabs:
large parallel regions of torch wait for each other on a busy machine, small ones do not.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.nn.functional import grid_sample

from xrecon.physics.rays import IN_PLANE, RayGroup

PLANES_PER_SLAB = 16
_BILINEAR, _ZEROS = 0, 0  # the enumerators of aten's grid sampler


def project(volume: torch.Tensor, group: RayGroup) -> torch.Tensor:
    """Line integrals (b, n) of a volume (b, z, y, x) along the rays of a group."""
    # (planes, b, first, second): the batch rides along as channels of each plane
    planes = volume.movedim(group.axis + 1, 0)
    out = volume.new_zeros(volume.shape[0], group.count)
    for part, block in _blocks(group):
        total = out[:, part]
        for first, last, grid, weights in _slabs(block, volume.shape):
            samples = grid_sample(planes[first:last], grid, "bilinear", "zeros", align_corners=False)
            samples = samples[:, :, 0]
            total += (samples if weights is None else samples * weights).sum(dim=0)
        total *= block.step_mm
    return out


def backproject(values: torch.Tensor, group: RayGroup, out: torch.Tensor) -> None:
    """Adds the transpose of `project` of values (b, n) to `out` (b, z, y, x)."""
    planes = out.movedim(group.axis + 1, 0)
    for part, block in _blocks(group):
        weighted = values[:, part] * block.step_mm
        for first, last, grid, weights in _slabs(block, out.shape):
            spread = weighted.expand(last - first, -1, -1)
            if weights is not None:
                spread = spread * weights
            gradient, _ = torch.ops.aten.grid_sampler_2d_backward(
                spread[:, :, None].contiguous(),
                planes[first:last].contiguous(),  # only its shape and type count
                grid,
                _BILINEAR,
                _ZEROS,
                False,
                [True, False],
            )
            planes[first:last] += gradient


def ray_gradients(
    volume: torch.Tensor, group: RayGroup, gradient: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients for start (2, n), slope (2, n) and step_mm (n,) of the rays.

    gradient: (b, n), that of the line integrals.
    """
    planes = volume.movedim(group.axis + 1, 0)
    start, slope = torch.zeros_like(group.start), torch.zeros_like(group.slope)
    step = torch.zeros_like(group.step_mm)
    # d(sampling position) / d(voxels), first and second axis
    to_grid = [2.0 / volume.shape[axis + 1] for axis in IN_PLANE[group.axis]]
    for part, block in _blocks(group):
        weighted = gradient[:, part] * block.step_mm
        for first, last, grid, weights in _slabs(block, volume.shape):
            slab = planes[first:last].contiguous()
            samples = grid_sample(slab, grid, "bilinear", "zeros", align_corners=False)[:, :, 0]
            spread = weighted.expand(last - first, -1, -1)
            if weights is not None:
                samples, spread = samples * weights, spread * weights
            step[part] += (samples.sum(dim=0) * gradient[:, part]).sum(dim=0)
            _, moved = torch.ops.aten.grid_sampler_2d_backward(
                spread[:, :, None].contiguous(), slab, grid, _BILINEAR, _ZEROS, False, [False, True]
            )
            number = torch.arange(first, last, dtype=volume.dtype, device=volume.device)[:, None]
            for row, scale in enumerate(to_grid):
                along = moved[:, 0, :, 1 - row] * scale
                start[row, part] += along.sum(dim=0)
                slope[row, part] += (along * number).sum(dim=0)
    return start, slope, step


def _blocks(group: RayGroup) -> Iterator[tuple[slice, RayGroup]]:
    """On a GPU one launch for all rays is best, on a CPU what fits the cache."""
    return group.blocks() if group.step_mm.device.type == "cpu" else iter([(slice(None), group)])


def _slabs(
    group: RayGroup, shape: torch.Size
) -> Iterator[tuple[int, int, torch.Tensor, torch.Tensor | None]]:
    """First plane, last + 1, sampling grid (planes, 1, n, 2), and 0/1 weights (planes, 1, n) or None."""
    # index c of n voxels sits at (2 c + 1) / n - 1 (align_corners=False); the last axis comes first
    counts = torch.tensor([shape[axis + 1] for axis in IN_PLANE[group.axis]]).to(group.start)[:, None]
    start = ((2.0 * group.start + 1.0) / counts - 1.0).flip(0).T.contiguous()
    slope = (2.0 * group.slope / counts).flip(0).T.contiguous()
    for first in range(group.planes[0], group.planes[1], PLANES_PER_SLAB):
        last = min(first + PLANES_PER_SLAB, group.planes[1])
        k = torch.arange(first, last, dtype=start.dtype, device=start.device)[:, None, None]
        grid = torch.addcmul(start, k, slope)[:, None]
        weights = None
        if group.t_start is not None:
            t = group.t_start + k * group.t_slope
            weights = ((t >= 0) & (t <= 1)).to(start.dtype)
        yield first, last, grid, weights
