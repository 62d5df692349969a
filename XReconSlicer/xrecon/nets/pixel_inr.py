"""Pixel-aligned implicit network: any point in space is asked for what the radiographs show of it.

Source: Sun et al., Few-view CT reconstruction by implicit networks for radiotherapy (few-view-inr-
radiotherapy, section 2), after pixelNeRF (Yu et al., CVPR 2021). A 2D U-Net g makes features of each
picture; a point is projected into each picture; an MLP f takes Fourier features of the point and the
features found there; its answers are averaged over the views; an MLP h turns them into the intensity.

What differs, and why (`PAPER` are the options of the paper's code, field-survey.md section 1.4):
- projection by any 3x4 matrix; the code repeats features along an axis, which is right only for
  parallel orthogonal views;
- mean and variance over the views (IBRNet, Wang et al., CVPR 2021), so that h sees whether they agree;
- f knows how its view stands (`told_pose`), since after averaging nothing else says which direction a
  feature constrains. One f for all views; the code has one per place in the list (`own_mlps`);
- Gaussian Fourier features, 64 frequencies (Tancik et al., NeurIPS 2020); the code has a 3x3 matrix;
- the two layers of a residual block have weights of their own; the code calls one layer twice (`tied`);
- h has residual blocks as the paper says; the code has four plain layers (`plain_head`);
- the answer is added to the mean training volume at the point (`add_mean`), as in all our networks.

Sine layers are initialised as in SIREN (Sitzmann et al., NeurIPS 2020).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from xrecon.nets.lifting import voxel_centers
from xrecon.nets.ray_features import DESCRIPTOR, present_views, sample_points, view_descriptors
from xrecon.nets.registry import register_model
from xrecon.volume import InputError

SLOPE = 0.2  # of LeakyReLU, as in the paper's code
BLOCKS = 3
POOLINGS = ("mean", "mean-variance")
OMEGA = 30.0
# Weight of a point that a view does not see.
UNSEEN = 1e-3
PAPER: dict[str, Any] = {
    "frequencies": 3,
    "sigma": 1.0,
    "pooling": "mean",
    "told_pose": False,
    "own_mlps": 2,
    "tied": True,
    "plain_head": True,
    "add_mean": False,
    "omega": 50.0,
}


class PictureUNet(nn.Module):
    """Pictures (n, 1, rows, columns) to features (n, channels, rows, columns): four levels."""

    def __init__(self, widths: tuple[int, ...], channels: int, kernel: int) -> None:
        super().__init__()
        sizes = [1, *widths]
        block = partial(_double, kernel=kernel)
        self.down = nn.ModuleList(block(a, b) for a, b in zip(sizes, sizes[1:], strict=False))
        self.up = nn.ModuleList(
            block(low + high, high) for high, low in zip(widths[-2::-1], widths[:0:-1], strict=True)
        )
        self.last = nn.Conv2d(widths[0], channels, 1)

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        skips = []
        for level, layer in enumerate(self.down):
            picture = layer(functional.avg_pool2d(picture, 2) if level else picture)
            skips.append(picture)
        state = skips.pop()
        for layer in self.up:
            skip = skips.pop()
            state = functional.interpolate(state, size=skip.shape[2:], mode="bilinear", align_corners=False)
            state = layer(torch.cat([state, skip], dim=1))
        return self.last(state)


def _double(channels_in: int, channels: int, kernel: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for size in (channels_in, channels):
        layers += [
            nn.Conv2d(size, channels, kernel, padding=kernel // 2, bias=False),
            nn.GroupNorm(min(8, max(1, channels // 4)), channels),
            nn.LeakyReLU(SLOPE),
        ]
    return nn.Sequential(*layers)


class Sine(nn.Module):
    """sin(omega (W x + b)) on the last axis."""

    def __init__(self, size_in: int, size: int, omega: float, first: bool = False) -> None:
        super().__init__()
        self.omega, self.linear = omega, nn.Linear(size_in, size)
        limit = 1.0 / size_in if first else math.sqrt(6.0 / size_in) / omega
        nn.init.uniform_(self.linear.weight, -limit, limit)

    def phase(self, x: torch.Tensor) -> torch.Tensor:
        """omega (W x + b), in the precision of the weights: half precision would blur it."""
        with torch.autocast(x.device.type, enabled=False):
            return self.omega * self.linear(x.to(self.linear.weight.dtype))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sin(self.phase(x))


class SineBlock(nn.Module):
    """x + sine(sine(x)); tied: the code's sine(l(sine(l(x))) + x) with one layer l for both."""

    def __init__(self, size: int, tied: bool) -> None:
        super().__init__()
        self.first = Sine(size, size, OMEGA)
        self.second = None if tied else Sine(size, size, OMEGA)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.second is None:
            return torch.sin(self.first.phase(self.first(x)) + x)
        return x + self.second(self.first(x))


@register_model("pixel-inr")
class PixelINR(nn.Module):
    """Pictures and matrices of one to four views, and points or the whole cube, to unit intensities.

    side, field_mm: the cube that is given without points. widths, kernel, features: of the 2D U-Net and
    its output. width: neurons of both MLPs. frequencies, sigma: of the Fourier features of the position
    in half fields. pooling: out of `POOLINGS`. own_mlps: this many MLPs f for as many views in a fixed
    order; 0 is one for all. tied, plain_head, told_pose, add_mean, omega: see the module.
    chunk: points computed at once for a whole cube.
    Raises InputError for options that do not fit.
    """

    def __init__(
        self,
        side: int = 64,
        field_mm: float = 358.4,
        widths: tuple[int, ...] = (64, 128, 256, 512),
        kernel: int = 5,
        features: int = 128,
        width: int = 128,
        frequencies: int = 64,
        sigma: float = 4.0,
        pooling: str = "mean-variance",
        told_pose: bool = True,
        own_mlps: int = 0,
        tied: bool = False,
        plain_head: bool = False,
        add_mean: bool = True,
        omega: float = OMEGA,
        chunk: int = 2**16,
    ) -> None:
        super().__init__()
        if side < 1 or kernel % 2 == 0 or chunk < 1 or pooling not in POOLINGS:
            raise InputError(
                f"expected a positive side and chunk, an odd kernel and pooling out of {POOLINGS}, "
                f"got {side}, {chunk}, {kernel}, {pooling!r}"
            )
        self.side, self.field_mm, self.chunk, self.pooling = side, field_mm, chunk, pooling
        self.told_pose, self.own_mlps, self.add_mean = told_pose, own_mlps, add_mean
        self.any_views = not own_mlps
        self.unet = PictureUNet(tuple(widths), features, kernel)
        self.register_buffer("frequency", torch.randn(frequencies, 3) * sigma)
        size_in = features + 3 + 2 * frequencies + (DESCRIPTOR if told_pose else 0)
        self.view_mlps = nn.ModuleList(
            nn.Sequential(
                Sine(size_in, width, omega, first=True), *[SineBlock(width, tied) for _ in range(BLOCKS)]
            )
            for _ in range(max(1, own_mlps))
        )
        pooled = width * (2 if pooling == "mean-variance" else 1)
        block: Callable[[], nn.Module] = (
            (lambda: Sine(width, width, OMEGA)) if plain_head else (lambda: SineBlock(width, tied))
        )
        self.head = nn.Sequential(
            Sine(pooled, width, OMEGA), *[block() for _ in range(BLOCKS)], nn.Linear(width, 1)
        )
        if add_mean:
            nn.init.zeros_(self.head[-1].weight)
            nn.init.zeros_(self.head[-1].bias)
        self.register_buffer("mean_volume", torch.zeros(1, 1, side, side, side))

    def forward(
        self, pictures: torch.Tensor, matrices: torch.Tensor, points: torch.Tensor | None = None
    ) -> torch.Tensor:
        """pictures (b, view, rows, columns) normalised, matrices (b, view, 3, 4) in LPS mm about the
        isocentre, all zeros for an absent view; points (n, 3) in mm as (x, y, z) -> (b, 1, n), or without
        points (b, 1, z, y, x). Raises InputError for more views than there are MLPs."""
        if self.own_mlps and pictures.shape[1] != self.own_mlps:
            raise InputError(f"expected {self.own_mlps} views, got {pictures.shape[1]}")
        features = self.unet(pictures.flatten(0, 1)[:, None]).unflatten(0, pictures.shape[:2])
        shape = tuple(pictures.shape[2:])
        if points is not None:
            return self._at(features, matrices, points, shape)
        everywhere = voxel_centers(self.side, self.field_mm, pictures.device).reshape(-1, 3)
        parts = []
        for some in everywhere.split(self.chunk):
            if torch.is_grad_enabled():
                part = checkpoint(self._at, features, matrices, some, shape, use_reentrant=False)
            else:
                part = self._at(features, matrices, some, shape)
            parts.append(part)
        return torch.cat(parts, dim=2).unflatten(2, (self.side,) * 3)

    def _at(
        self, features: torch.Tensor, matrices: torch.Tensor, points: torch.Tensor, shape: tuple[int, int]
    ) -> torch.Tensor:
        """features (b, view, c, rows, columns), points (n, 3) -> (b, 1, n)."""
        unit = points * (2.0 / self.field_mm)
        # in half precision the phase of the highest frequency would be wrong by half a radian
        with torch.autocast(points.device.type, enabled=False):
            phase = 2 * math.pi * unit @ self.frequency.T.to(unit.dtype)
        place = torch.cat([unit, phase.cos(), phase.sin()], dim=1).to(features.dtype)
        described = view_descriptors(matrices).to(features.dtype)
        states, weights = [], []
        for view in range(features.shape[1]):
            found, inside = sample_points(features[:, view], matrices[:, view], points, shape)
            told = [described[:, view, None].expand(-1, len(points), -1)] if self.told_pose else []
            known = [found.mT, place.expand(len(found), -1, -1), *told]
            states.append(self.view_mlps[view if self.own_mlps else 0](torch.cat(known, dim=2)))
            weights.append((inside.mT + UNSEEN) * present_views(matrices)[:, view, None, None].to(inside))
        state, weight = torch.stack(states, dim=1), torch.stack(weights, dim=1)
        weight = weight / weight.sum(dim=1, keepdim=True)
        pooled = (weight * state).sum(dim=1)
        if self.pooling == "mean-variance":
            spread = (weight * (state - pooled[:, None]) ** 2).sum(dim=1)
            pooled = torch.cat([pooled, spread], dim=2)
        value = self.head(pooled).mT.float()
        return value + self._mean_at(unit) if self.add_mean else value

    def _mean_at(self, unit: torch.Tensor) -> torch.Tensor:
        """The mean volume (1, 1, n) at points in half fields."""
        grid = unit.to(self.mean_volume.dtype)[None, None, None]
        return functional.grid_sample(self.mean_volume, grid, padding_mode="border", align_corners=False)[
            :, :, 0, 0
        ]
