"""A geometry-aware lifting network: 2D features carried into the volume along the true rays.

Each view passes a small 2D encoder-decoder; its features at three resolutions are sampled where
the centre of every voxel projects to (any 3x4 matrix), joined with the other views and the voxel
coordinates, and refined by a 3D U-Net. The output is added to the mean training volume, so that
the network has only to say how this patient differs from the mean.

Source: own design after the pixel-aligned features of Sun et al. (few-view INR, section 2.2),
with grids in place of point-wise MLPs.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from xrecon.nets.ray_features import sample_points
from xrecon.nets.registry import register_model
from xrecon.volume import InputError

SLOPE = 0.1  # of LeakyReLU
LEVELS = 3  # feature resolutions 1/2, 1/4, 1/8 of the picture; the grid has the same three


def _block(conv: type[nn.Module], channels_in: int, channels: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        conv(channels_in, channels, 3, stride, 1),
        nn.GroupNorm(min(8, channels // 4), channels),
        nn.LeakyReLU(SLOPE),
    )


class ViewEncoder(nn.Module):
    """Picture (b, 1, rows, columns) to features at 1/2, 1/4 and 1/8 of its resolution."""

    def __init__(self, widths: tuple[int, int, int]) -> None:
        super().__init__()
        first, second, third = widths
        conv = nn.Conv2d
        self.down = nn.ModuleList(
            [
                nn.Sequential(_block(conv, 1, first, 2), _block(conv, first, first)),
                nn.Sequential(_block(conv, first, second, 2), _block(conv, second, second)),
                nn.Sequential(_block(conv, second, third, 2), _block(conv, third, third)),
                nn.Sequential(_block(conv, third, 2 * third, 2), _block(conv, 2 * third, 2 * third)),
            ]
        )
        self.up = nn.ModuleList(
            [
                _block(conv, 3 * third, third),
                _block(conv, third + second, second),
                _block(conv, second + first, first),
            ]
        )

    def forward(self, picture: torch.Tensor) -> list[torch.Tensor]:
        features = []
        for layer in self.down:
            picture = layer(picture)
            features.append(picture)
        state, out = features.pop(), []
        for layer in self.up:
            skip = features.pop()
            state = functional.interpolate(state, size=skip.shape[2:], mode="bilinear", align_corners=False)
            state = layer(torch.cat([state, skip], dim=1))
            out.append(state)
        return out[::-1]


def voxel_centers(side: int, field_mm: float, device: torch.device) -> torch.Tensor:
    """LPS mm (side, side, side, 3) as (x, y, z) of a cube's voxel centres, array order (z, y, x)."""
    axis = ((torch.arange(side, device=device) + 0.5) / side - 0.5) * field_mm
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    return torch.stack([x, y, z], dim=-1)


def sample_along_rays(
    features: torch.Tensor, matrices: torch.Tensor, points: torch.Tensor, picture_shape: tuple[int, int]
) -> torch.Tensor:
    """Features (b, c, h, w) at the projections of points (z, y, x, 3) -> (b, c, z, y, x).

    matrices: (b, 3, 4) to (column, row, 1) in pixels of the full picture of `picture_shape`
    (rows, columns), pixel centres at integers. Outside the picture the border value holds.
    """
    sampled, _ = sample_points(features, matrices, points.reshape(-1, 3), picture_shape)
    return sampled.reshape(*features.shape[:2], *points.shape[:3])


@register_model("lifting")
class LiftingNetwork(nn.Module):
    """Pictures and projection matrices to a volume in [0, 1] units of the card's HU window.

    side: voxels per edge of the output cube, a multiple of 8.
    field_mm: edge of the cube, centred on the isocentre.
    views: number of pictures; each has its own encoder.
    view_widths, grid_widths: channels of the 2D levels and of the 3D levels.
    Raises InputError for a side that is no multiple of 8.
    """

    def __init__(
        self,
        side: int = 64,
        field_mm: float = 358.4,
        views: int = 2,
        view_widths: tuple[int, int, int] = (16, 32, 64),
        grid_widths: tuple[int, int, int, int] = (16, 32, 64, 96),
    ) -> None:
        super().__init__()
        if side % 8 or side < 8:
            raise InputError(f"expected side as a positive multiple of 8, got {side}")
        self.side, self.field_mm, self.views = side, field_mm, views
        self.encoders = nn.ModuleList(ViewEncoder(tuple(view_widths)) for _ in range(views))
        conv = nn.Conv3d
        self.join = nn.ModuleList(
            _block(conv, views * view_widths[i] + 3 + (grid_widths[i - 1] if i else 0), grid_widths[i])
            for i in range(LEVELS)
        )
        self.refine = nn.ModuleList(_block(conv, w, w) for w in grid_widths[:LEVELS])
        self.bottom = nn.Sequential(
            _block(conv, grid_widths[2], grid_widths[3], 2), _block(conv, grid_widths[3], grid_widths[3])
        )
        self.up = nn.ModuleList(
            _block(conv, grid_widths[i] + grid_widths[i + 1], grid_widths[i]) for i in range(LEVELS)
        )
        self.head = nn.Conv3d(grid_widths[0], 1, 1)
        nn.init.zeros_(self.head.weight)  # training starts at the mean volume
        nn.init.zeros_(self.head.bias)
        self.register_buffer("mean_volume", torch.zeros(1, 1, side, side, side))

    def forward(self, pictures: torch.Tensor, matrices: torch.Tensor) -> torch.Tensor:
        """pictures (b, view, rows, columns) normalised, matrices (b, view, 3, 4) in LPS mm about
        the isocentre -> (b, 1, z, y, x)."""
        shape = tuple(pictures.shape[2:])
        features = [encoder(pictures[:, i : i + 1]) for i, encoder in enumerate(self.encoders)]
        skips, state = [], None
        for level in range(LEVELS):
            points = voxel_centers(self.side >> level, self.field_mm, pictures.device)
            lifted = [
                sample_along_rays(f[level], matrices[:, i], points, shape) for i, f in enumerate(features)
            ]
            place = (points.movedim(-1, 0)[None] * (2.0 / self.field_mm)).to(lifted[0].dtype)
            parts = [*lifted, place.expand(pictures.shape[0], -1, -1, -1, -1)]
            if state is not None:
                parts.append(functional.avg_pool3d(state, 2))
            state = self.refine[level](self.join[level](torch.cat(parts, dim=1)))
            skips.append(state)
        state = self.bottom(state)
        for level in reversed(range(LEVELS)):
            state = functional.interpolate(state, scale_factor=2, mode="trilinear", align_corners=False)
            state = self.up[level](torch.cat([state, skips[level]], dim=1))
        return self.mean_volume + self.head(state).float()
