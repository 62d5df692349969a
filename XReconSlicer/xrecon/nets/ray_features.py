"""From points in space to pictures: where they project, what is seen there, how a view stands.

Everything comes from the 3x4 matrices alone (LPS mm about the isocentre to column and row), so that a
network that uses nothing else takes views of any pose. A view whose matrix is all zeros is absent:
batches are filled up with such views when their samples have unlike numbers of them.
"""

from __future__ import annotations

import torch
from torch.nn import functional

# Numbers per view that `view_descriptors` gives.
DESCRIPTOR = 7
# A detector pixel at the isocentre is about this many mm wide; keeps the descriptor's scale near 0.
PIXEL_MM = 3.0


def present_views(matrices: torch.Tensor) -> torch.Tensor:
    """1 for each view that is there and 0 for each absent one, (b, view), of matrices (b, view, 3, 4)."""
    return (matrices != 0).any(dim=-1).any(dim=-1).to(matrices.dtype)


def view_descriptors(matrices: torch.Tensor) -> torch.Tensor:
    """How each view sees the isocentre: (b, view, 7) of matrices (b, view, 3, 4), zeros for absent ones.

    Viewing axis (x, y, z; from the gradients of column and row, so the same for PA and AP), direction
    of the column on the isocentre plane, and the logarithm of the pixels' size there.
    """
    present = present_views(matrices)
    matrices = matrices.float()
    depth = matrices[..., 2, 3]
    depth = torch.where(depth == 0, torch.ones_like(depth), depth)[..., None]
    gradients = [
        (matrices[..., i, :3] - matrices[..., i, 3:] / depth * matrices[..., 2, :3]) / depth for i in (0, 1)
    ]
    axis = functional.normalize(torch.linalg.cross(*gradients), dim=-1)
    size = -torch.log(gradients[0].norm(dim=-1, keepdim=True).clamp_min(1e-6) * PIXEL_MM)
    described = torch.cat([axis, functional.normalize(gradients[0], dim=-1), size], dim=-1)
    return described * present[..., None]


def rays(matrices: torch.Tensor, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The straight lines that project to pixels: their points X = first + t * step, (b, n, 3) each in mm.

    matrices: (b, 3, 4), not all zeros. pixels: (n, 2) as (column, row). t: mm along the viewing axis
    from the isocentre's plane, so that parallel beams need no case of their own.
    """
    axis = view_descriptors(matrices[:, None])[:, 0, :3][:, None]
    # the planes of one column and of one row, which meet in the ray
    column, row = (matrices[:, None, i] - pixels[:, i : i + 1] * matrices[:, None, 2] for i in (0, 1))
    step = torch.linalg.cross(column[..., :3], row[..., :3])
    scale = (step * axis).sum(dim=-1, keepdim=True)
    scale = torch.where(scale.abs() < 1e-12, torch.ones_like(scale), scale)
    axis = axis.expand_as(step)
    first = column[..., 3:] * torch.linalg.cross(row[..., :3], axis)
    first = first + row[..., 3:] * torch.linalg.cross(axis, column[..., :3])
    return -first / scale, step / scale


@torch.no_grad()
def seen_volume(
    volume: torch.Tensor, field_mm: float, matrices: torch.Tensor, shape: tuple[int, int], stride: int = 4
) -> torch.Tensor:
    """What a cube about the isocentre looks like in each view: (b, 1, rows, columns), 0 to 1 in each.

    volume: (1, 1, z, y, x), not negative, the same for all; field_mm: its edge. matrices: (b, 3, 4); a
    view that is absent is all 0. shape: (rows, columns) of the pictures; every stride-th pixel is
    computed, the others are interpolated. Sums along the rays, without their length: a picture of what is
    where, not a measurement.
    """
    with torch.autocast(volume.device.type, enabled=False):
        rows, columns = (torch.arange(n // stride, device=volume.device) * float(stride) for n in shape)
        middle = (stride - 1) / 2.0
        r, c = torch.meshgrid(rows + middle, columns + middle, indexing="ij")
        first, step = rays(matrices.float(), torch.stack([c, r], dim=-1).reshape(-1, 2))
        points = max(1, min(volume.shape[-1], 32))
        small = functional.adaptive_avg_pool3d(volume.float(), points)
        # the cube's diagonal, in steps of a voxel
        count = int(points * 3**0.5) + 1
        t = (torch.arange(count, device=volume.device) - (count - 1) / 2.0) * (field_mm / points)
        grid = (first[:, None] + t[:, None, None] * step[:, None]) * (2.0 / field_mm)
        sampled = functional.grid_sample(
            small.expand(matrices.shape[0], -1, -1, -1, -1), grid[:, :, None], align_corners=False
        )
        sums = sampled[:, 0].sum(dim=1).reshape(matrices.shape[0], 1, *r.shape)
        low, high = sums.amin(dim=(2, 3), keepdim=True), sums.amax(dim=(2, 3), keepdim=True)
        picture = (sums - low) / (high - low).clamp_min(1e-6)
        picture = picture * present_views(matrices)[:, None, None, None]
        return functional.interpolate(picture, size=shape, mode="bilinear", align_corners=False)


def sample_points(
    features: torch.Tensor, matrices: torch.Tensor, points: torch.Tensor, picture_shape: tuple[int, int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (b, c, h, w) where points (n, 3) in LPS mm project to -> (b, c, n), and what is in the
    picture: 1 or 0, (b, 1, n).

    matrices: (b, 3, 4) to (column, row, 1) in pixels of the full picture of `picture_shape` (rows,
    columns), pixel centres at integers. Outside the picture the border value holds.
    """
    flat = points.to(matrices.dtype)
    # in half precision the projections and the weights between pixels would be off by a quarter of a pixel
    with torch.autocast(matrices.device.type, enabled=False):
        projected = flat @ matrices[:, :, :3].mT + matrices[:, None, :, 3]
        depth = projected[..., 2:]
        pixels = projected[..., :2] / torch.where(depth == 0, torch.ones_like(depth), depth)
        size = matrices.new_tensor([picture_shape[1], picture_shape[0]])
        grid = (2 * pixels + 1) / size - 1  # align_corners=False: right at every resolution
        sampled = functional.grid_sample(
            features.to(grid.dtype), grid[:, None], "bilinear", "border", align_corners=False
        )
        inside = (grid.abs() <= 1).all(dim=-1)[:, None]
    return sampled[:, :, 0].to(features.dtype), inside.to(features.dtype)
