"""Siddon's exact path lengths through voxels of constant value (Med Phys 1985;12:252-255).

A ray crosses less than a voxel's width of the other two axes while it crosses one voxel layer of
its main axis. So at most three voxels share its way through a layer, and their lengths follow from
where it passes the two walls between them: no list of crossings is sorted.

Exact for the voxels as boxes. For a smooth object `joseph_eager` is as near and several times
faster; positions of source and detector have no useful gradient here.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from xrecon.physics.rays import IN_PLANE, RayGroup

LAYERS_PER_SLAB = 16


def project(volume: torch.Tensor, group: RayGroup) -> torch.Tensor:
    """Line integrals (b, n) of a volume (b, z, y, x) along the rays of a group."""
    flat = volume.contiguous().flatten(1)
    out = volume.new_zeros(volume.shape[0], group.count)
    for part, block in group.blocks():
        total = out[:, part]
        for index, share in _segments(block, volume.shape):
            total += (flat[:, index] * share).sum(dim=1)
        total *= block.step_mm
    return out


def backproject(values: torch.Tensor, group: RayGroup, out: torch.Tensor) -> None:
    """Adds the transpose of `project` of values (b, n) to `out` (b, z, y, x), which is contiguous."""
    flat = out.view(out.shape[0], -1)
    for part, block in group.blocks():
        weighted = values[:, part] * block.step_mm
        for index, share in _segments(block, out.shape):
            flat.index_add_(1, index.flatten(), (weighted[:, None] * share).flatten(1))


def _segments(group: RayGroup, shape: torch.Size) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Voxel indices in the flattened volume and shares of the layer's path, each (layers, n).

    Outside the volume the share is 0 and the index that of some voxel.
    """
    sizes = [shape[axis + 1] for axis in IN_PLANE[group.axis]]
    strides = [shape[2] * shape[3], shape[3], 1]
    stride_k, stride_i, stride_j = strides[group.axis], *(strides[axis] for axis in IN_PLANE[group.axis])
    for first in range(group.planes[0], group.planes[1], LAYERS_PER_SLAB):
        last = min(first + LAYERS_PER_SLAB, group.planes[1])
        k = torch.arange(first, last, device=group.start.device)[:, None]
        before_i, after_i, wall_i = _along(group, 0, k)
        before_j, after_j, wall_j = _along(group, 1, k)
        low, high = _limits(group, k)
        nearer = torch.minimum(wall_i, wall_j).clamp(low, high)
        farther = torch.maximum(wall_i, wall_j).clamp(low, high)
        i_first = wall_i < wall_j
        voxels = (
            (before_i, before_j, nearer - low),
            (torch.where(i_first, after_i, before_i), torch.where(i_first, before_j, after_j), farther - nearer),
            (after_i, after_j, high - farther),
        )
        for i, j, share in voxels:
            inside = (i >= 0) & (i < sizes[0]) & (j >= 0) & (j < sizes[1])
            index = torch.where(inside, k * stride_k + i * stride_i + j * stride_j, 0)
            yield index, torch.where(inside, share, 0.0)


def _along(
    group: RayGroup, row: int, k: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Voxel number before and after layer k, and the share of the layer at the wall between (or 1)."""
    enters = group.start[row] + (k - 0.5) * group.slope[row] + 0.5
    before = torch.floor(enters)
    after = torch.floor(enters + group.slope[row])
    wall = (torch.maximum(before, after) - enters) / group.slope[row]
    wall = torch.where(before == after, torch.ones_like(wall), wall)
    return before.long(), after.long(), wall


def _limits(group: RayGroup, k: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Shares of layer k at which the ray comes from the source and meets the detector: 0 and 1 mostly."""
    zero = torch.zeros((), dtype=group.start.dtype, device=group.start.device)
    if group.t_start is None:
        return zero, zero + 1.0
    enters = group.t_start + (k - 0.5) * group.t_slope
    ends = torch.stack([-enters, 1.0 - enters]) / group.t_slope
    return ends.amin(dim=0).clamp(0.0, 1.0), ends.amax(dim=0).clamp(0.0, 1.0)
