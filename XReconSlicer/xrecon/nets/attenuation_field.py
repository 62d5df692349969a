"""A network for one patient: attenuation as a function of position, fitted to that patient's radiographs.

Source: NAF (Zha, Zhang, Li, MICCAI 2022): an MLP behind a multi-resolution encoding of the position, whose
projections are fitted to the measured ones; no training data. What is changed, and why:
- the encoding is a pyramid of dense feature grids, interpolated linearly, in place of a hash table, which
  needs a CUDA extension and has nothing to save at these sizes;
- the field is read at all voxel centres and projected by our `Projector` in every step, so that the rays
  are integrated as everywhere else in this package; NAF samples points along random rays;
- the output is soft-plus of the MLP (attenuation is not negative), the start is `start_per_mm` everywhere.

NAF was made for fifty views. Four or fewer leave nearly all of the volume open, and nothing but the
smoothness of the encoding fills it: few-view-inr-radiotherapy reports 23.23 dB at four views, below all
trained networks.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from xrecon.physics.filtered_backprojection import check_projections
from xrecon.physics.geometry import ViewGeometry
from xrecon.physics.projector import Projector
from xrecon.volume import InputError

# The MLP works in units of this, so that its outputs are about 1: water at 70 keV.
UNIT_PER_MM = 0.0193


class AttenuationField(nn.Module):
    """Attenuation per mm at positions.

    levels: cells per edge of each feature grid. features: numbers in each node. width: of the MLP.
    start_per_mm: attenuation everywhere before fitting.
    """

    def __init__(
        self,
        levels: Sequence[int] = (4, 8, 16, 32, 64),
        features: int = 4,
        width: int = 32,
        start_per_mm: float = 0.3 * UNIT_PER_MM,
    ) -> None:
        super().__init__()
        self.grids = nn.ParameterList(
            nn.Parameter(1e-2 * torch.randn(1, features, n + 1, n + 1, n + 1)) for n in levels
        )
        self.mlp = nn.Sequential(
            nn.Linear(features * len(levels), width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
        )
        self.last = nn.Linear(width, 1)
        nn.init.constant_(self.last.bias, math.log(math.expm1(start_per_mm / UNIT_PER_MM)))

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        """points (..., 3) as (x, y, z) in [-1, 1] -> (...) per mm."""
        flat = points.reshape(1, 1, 1, -1, 3)
        known = [
            functional.grid_sample(grid, flat, padding_mode="border", align_corners=True)[0, :, 0, 0]
            for grid in self.grids
        ]
        value = self.last(self.mlp(torch.cat(known).T))[:, 0]
        return UNIT_PER_MM * functional.softplus(value).reshape(points.shape[:-1])


@dataclass(frozen=True, eq=False)
class FittedField:
    """A fit: the volume (1, 1, z, y, x) per mm, and the relative residual |A x - y| / |y| of each step."""

    volume: torch.Tensor
    residuals: tuple[float, ...]


def fit_attenuation_field(
    projections: torch.Tensor,
    views: Sequence[ViewGeometry],
    volume_shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    *,
    steps: int = 200,
    seconds: float = math.inf,
    learning_rate: float = 1e-2,
    variation: float = 0.0,
    seed: int = 0,
    field: AttenuationField | None = None,
    progress: Callable[[int, float], None] | None = None,
) -> FittedField:
    """Fits a field to line integrals (1, view, row, column) on a grid centred at LPS zero, as in `Projector`.

    steps of Adam, or fewer when `seconds` of wall-clock time are over. variation: weight of the mean
    absolute difference of neighbouring voxels, in units of water. seed: of the field's start, which is
    the same for the same seed. Raises InputError for tensors or options that do not fit.
    """
    views = check_projections(projections, views)
    if projections.shape[0] != 1 or steps < 1 or not seconds > 0 or variation < 0:
        raise InputError(
            "expected the projections of one patient, a step or more, some time and no negative variation, "
            f"got {projections.shape[0]} patients, {steps}, {seconds}, {variation}"
        )
    projector = Projector(views, volume_shape, spacing, device=projections.device, dtype=projections.dtype)
    if field is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            field = AttenuationField()
    field = field.to(projections)
    axes = [(torch.arange(n, dtype=projections.dtype) + 0.5) / n * 2 - 1 for n in volume_shape]
    z, y, x = torch.meshgrid(*axes, indexing="ij")
    points = torch.stack([x, y, z], dim=-1).to(projections.device)
    optimizer = torch.optim.Adam(field.parameters(), lr=learning_rate, betas=(0.9, 0.99))
    size, residuals, start = projections.square().mean(), [], time.monotonic()
    with torch.enable_grad():
        for step in range(steps):
            # what ends the fit, steps or time, also says how far the learning rate has fallen
            done = min(1.0, max(step / steps, (time.monotonic() - start) / seconds))
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * 0.5 * (1 + math.cos(math.pi * done))
            volume = field(points)[None, None]
            misfit = (projector(volume) - projections).square().mean() / size
            loss = misfit + variation * _variation(volume / UNIT_PER_MM) if variation else misfit
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            residuals.append(float(misfit.detach().sqrt()))
            if progress is not None:
                progress(step + 1, residuals[-1])
            if time.monotonic() - start > seconds:
                break
    with torch.no_grad():
        return FittedField(field(points)[None, None], tuple(residuals))


def _variation(volume: torch.Tensor) -> torch.Tensor:
    return sum(volume.diff(dim=axis).abs().mean() for axis in (2, 3, 4)) / 3.0
