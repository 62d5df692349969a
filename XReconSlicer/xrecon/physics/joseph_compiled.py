"""Joseph's method as one fused loop over rays and planes, made by torch.compile.

Four voxels are gathered per ray and plane and nothing is kept in between, neither positions nor
samples. Needs what torch.compile needs: a C++ compiler for the CPU, Triton for a GPU. The first
call of a process takes 10 to 30 s, or a few with inductor's cache on disk.

The adjoint is that of `joseph_eager`: the same weights from the same numbers.
"""

from __future__ import annotations

from functools import cache

import torch

from xrecon.physics import joseph_eager
from xrecon.physics.rays import IN_PLANE, RayGroup

# Without these inductor stores every sample before it sums; they change speed and memory only.
_OPTIONS = {
    "realize_opcount_threshold": 4096,
    "realize_reads_threshold": 4096,
    "assert_indirect_indexing": False,
}
# Voxels are addressed with 32 bits.
LARGEST_VOLUME = 2**31 - 1


def project(volume: torch.Tensor, group: RayGroup) -> torch.Tensor:
    """Line integrals (b, n) of a volume (b, z, y, x) along the rays of a group."""
    if volume[0].numel() > LARGEST_VOLUME:
        return joseph_eager.project(volume, group)
    kernel = _compiled(_sums if group.t_start is None else _bounded_sums)
    limits = () if group.t_start is None else (group.t_start, group.t_slope)
    sums = [kernel(*_arguments(one, group), *limits) for one in volume]
    return torch.stack(sums) * group.step_mm


backproject = joseph_eager.backproject


def ray_gradients(
    volume: torch.Tensor, group: RayGroup, gradient: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients for start (2, n), slope (2, n) and step_mm (n,) of the rays; see `joseph_eager`."""
    if volume[0].numel() > LARGEST_VOLUME or group.t_start is not None:
        return joseph_eager.ray_gradients(volume, group, gradient)
    kernel = _compiled(_derivatives)
    start, slope = torch.zeros_like(group.start), torch.zeros_like(group.slope)
    step = torch.zeros_like(group.step_mm)
    for one, weight in zip(volume, gradient, strict=True):
        samples, first, second, first_k, second_k = kernel(*_arguments(one, group))
        step += samples * weight
        weight = weight * group.step_mm
        start += torch.stack([first, second]) * weight
        slope += torch.stack([first_k, second_k]) * weight
    return start, slope, step


@cache
def is_usable(device_type: str = "cpu") -> bool:
    """Whether torch.compile works here for this kind of device, found out by a tiny projection."""
    try:
        ones = torch.ones(3, 3, 3, device=device_type)
        rays = torch.ones(2, 5, device=device_type)
        with torch.no_grad():
            sums = _compiled(_sums)(ones.reshape(-1), rays, 0.0 * rays, 0, 3, 3, 3, 9, 3, 1)
    except Exception:  # no compiler, a broken one, an operating system without support
        return False
    return bool((sums == 3.0).all())


def _arguments(volume: torch.Tensor, group: RayGroup) -> tuple:
    volume = volume.contiguous()
    first, second = IN_PLANE[group.axis]
    stride = volume.stride()
    return (
        volume.reshape(-1),
        group.start,
        group.slope,
        *group.planes,
        volume.shape[first],
        volume.shape[second],
        stride[group.axis],
        stride[first],
        stride[second],
    )


@cache
def _compiled(function):
    from torch._inductor import config

    options = {name: value for name, value in _OPTIONS.items() if hasattr(config, name)}
    return torch.compile(function, dynamic=True, options=options)


# -- what is compiled: planes run down, rays across ------------------------------------------------
def _corners(volume, start, slope, first, last, n_u, n_v, stride_k, stride_u, stride_v):
    """Values at the four neighbours of each ray in each plane (0 outside), and the position between."""
    k = torch.arange(first, last, dtype=torch.int32, device=volume.device)[:, None]
    u = start[0] + k * slope[0]
    v = start[1] + k * slope[1]
    floor_u, floor_v = torch.floor(u), torch.floor(v)
    i, j = floor_u.to(torch.int32), floor_v.to(torch.int32)

    def at(i: torch.Tensor, j: torch.Tensor) -> torch.Tensor:
        inside = (i >= 0) & (i < n_u) & (j >= 0) & (j < n_v)
        index = torch.where(inside, k * stride_k + i * stride_u + j * stride_v, 0)
        return torch.where(inside, volume[index], 0.0)

    return k, u - floor_u, v - floor_v, at(i, j), at(i, j + 1), at(i + 1, j), at(i + 1, j + 1)


def _sums(volume, start, slope, first, last, n_u, n_v, stride_k, stride_u, stride_v):
    _, u, v, a, b, c, d = _corners(
        volume, start, slope, first, last, n_u, n_v, stride_k, stride_u, stride_v
    )
    return ((1 - u) * ((1 - v) * a + v * b) + u * ((1 - v) * c + v * d)).sum(0)


def _bounded_sums(
    volume, start, slope, first, last, n_u, n_v, stride_k, stride_u, stride_v, t_start, t_slope
):
    k, u, v, a, b, c, d = _corners(
        volume, start, slope, first, last, n_u, n_v, stride_k, stride_u, stride_v
    )
    t = t_start + k * t_slope
    samples = (1 - u) * ((1 - v) * a + v * b) + u * ((1 - v) * c + v * d)
    return torch.where((t >= 0) & (t <= 1), samples, 0.0).sum(0)


def _derivatives(volume, start, slope, first, last, n_u, n_v, stride_k, stride_u, stride_v):
    """Sums of the samples, of their derivatives along both axes, and of these times the plane number."""
    k, u, v, a, b, c, d = _corners(
        volume, start, slope, first, last, n_u, n_v, stride_k, stride_u, stride_v
    )
    samples = (1 - u) * ((1 - v) * a + v * b) + u * ((1 - v) * c + v * d)
    along_u = (1 - v) * (c - a) + v * (d - b)
    along_v = (1 - u) * (b - a) + u * (d - c)
    return samples.sum(0), along_u.sum(0), along_v.sum(0), (k * along_u).sum(0), (k * along_v).sum(0)
