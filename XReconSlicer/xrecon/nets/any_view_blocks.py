"""Parts of the any-view network: pictures to features that know their pose, and from them into the volume.

Source: see `xrecon.nets.any_view`.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from xrecon.nets.lifting import SLOPE
from xrecon.nets.ray_features import present_views, sample_points

POOLINGS = ("mean-variance", "mean", "attention")
# Weight of a voxel that a view does not see, so that one that no view sees has a feature at all.
UNSEEN = 1e-3


def group_norm(channels: int) -> nn.GroupNorm:
    """As many groups as there are fours of channels, up to eight."""
    return nn.GroupNorm(min(8, max(1, channels // 4)), channels)


def _linear_in_place(weights: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """weights (b, c, 3) times the places (z, y, x, 3) of a cube, in halves of its edge: (b, c, z, y, x).

    A sum of three lines: as one product with all places its gradient took a third of a step on a GPU.
    """
    along = points[0, 0, :, 0].to(weights.dtype)
    lines = weights[..., None] * (along / along.abs().amax())
    x, y, z = lines.unbind(dim=2)
    return (z[..., None] + y[:, :, None])[..., None] + x[:, :, None, None]


class PosedBlock(nn.Module):
    """3x3 convolution, norm, scale and shift by the view's embedding, LeakyReLU; on single pictures."""

    def __init__(self, channels_in: int, channels: int, embedding: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.norm = group_norm(channels)
        self.pose = nn.Linear(embedding, 2 * channels)

    def forward(self, x: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        scale, shift = self.pose(embedding)[..., None, None].chunk(2, dim=1)
        return functional.leaky_relu(self.norm(self.conv(x)) * (1 + scale) + shift, SLOPE)


class PosedEncoder(nn.Module):
    """Pictures (n, channels, rows, columns) to features at 1/2, 1/4 and 1/8 of their resolution."""

    def __init__(self, channels: int, widths: tuple[int, int, int], embedding: int) -> None:
        super().__init__()
        first, second, third = widths
        sizes = [channels, first, second, third, 2 * third]
        self.down = nn.ModuleList(
            nn.ModuleList([PosedBlock(a, b, embedding, 2), PosedBlock(b, b, embedding)])
            for a, b in zip(sizes, sizes[1:], strict=False)
        )
        self.up = nn.ModuleList(
            [
                PosedBlock(3 * third, third, embedding),
                PosedBlock(third + second, second, embedding),
                PosedBlock(second + first, first, embedding),
            ]
        )

    def forward(self, picture: torch.Tensor, embedding: torch.Tensor) -> list[torch.Tensor]:
        features = []
        for halve, refine in self.down:
            picture = refine(halve(picture, embedding), embedding)
            features.append(picture)
        state, out = features.pop(), []
        for layer in self.up:
            skip = features.pop()
            state = functional.interpolate(state, size=skip.shape[2:], mode="bilinear", align_corners=False)
            state = layer(torch.cat([state, skip], dim=1), embedding)
            out.append(state)
        return out[::-1]


class ViewPooling(nn.Module):
    """Features of one level, carried into the volume and pooled over the views.

    What the pose does to the features is linear, so it is done on the pictures, before sampling.
    features: channels of the level. width: channels of each view when they are pooled. After pooling
    there are `channels`.
    """

    def __init__(self, features: int, width: int, embedding: int, pooling: str) -> None:
        super().__init__()
        self.pooling = pooling
        self.mix = nn.Conv2d(features, width, 1)
        self.pose = nn.Linear(embedding, 2 * width)
        nn.init.normal_(self.pose.weight, std=embedding**-0.5)  # poses part the channels from the start
        self.place = nn.Linear(3, width, bias=False)
        self.depth = nn.Parameter(torch.randn(width, 1) * 0.3)  # along the viewing axis
        self.score = nn.Conv1d(width, 1, 1) if pooling == "attention" else None
        self.channels = width if pooling == "mean" else 2 * width

    def forward(
        self,
        features: torch.Tensor,
        matrices: torch.Tensor,
        points: torch.Tensor,
        shape: tuple[int, int],
        embedding: torch.Tensor,
        axes: torch.Tensor,
    ) -> torch.Tensor:
        """features (b * view, c, h, w), matrices (b, view, 3, 4), points (z, y, x, 3) in mm of a cube about
        the isocentre, embedding (b, view, e), viewing axes (b, view, 3) -> (b, channels, z, y, x)."""
        sizes = matrices.shape[:2]
        scale, shift = self.pose(embedding).flatten(0, 1)[..., None, None].chunk(2, dim=1)
        picture = self.mix(features) * (1 + scale) + shift
        state, inside = sample_points(picture, matrices.flatten(0, 1), points.reshape(-1, 3), shape)
        place = self.place.weight + self.depth * axes.flatten(0, 1)[:, None].to(state.dtype)
        state = functional.leaky_relu(state + _linear_in_place(place, points).flatten(2), SLOPE)
        weight = (inside + UNSEEN) * present_views(matrices).flatten()[:, None, None].to(inside.dtype)
        if self.score is not None:
            weight = weight * self.score(state).clamp(-8, 8).exp()
        state, weight = state.unflatten(0, sizes), weight.unflatten(0, sizes)
        weight = weight / weight.sum(dim=1, keepdim=True)
        mean = (weight * state).sum(dim=1)
        if self.pooling != "mean":
            mean = torch.cat([mean, (weight * (state - mean[:, None]) ** 2).sum(dim=1)], dim=1)
        return mean.unflatten(2, points.shape[:3])


class Pointwise(nn.Linear):
    """A linear layer over the channels of (b, c, z, y, x); a 1x1x1 convolution takes longer on a CPU."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.baddbmm(
            self.bias[:, None], self.weight.expand(x.shape[0], -1, -1), x.flatten(2)
        ).unflatten(2, x.shape[2:])


class Residual(nn.Module):
    """Norm, LeakyReLU, 3x3x3 convolution, `depth` times, added to the input."""

    def __init__(self, channels: int, depth: int = 1) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *[
                nn.Sequential(
                    group_norm(channels), nn.LeakyReLU(SLOPE), nn.Conv3d(channels, channels, 3, 1, 1)
                )
                for _ in range(depth)
            ]
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x) if len(self.layers) else x
