"""Training on sampled points: which voxels of a volume a step compares.

The protocol for networks: `forward(pictures, matrices, points)` takes points (n, 3) in LPS mm about the
isocentre as (x, y, z) and gives (b, c, n); without points it gives the whole cube (b, c, z, y, x). A
network that has this parameter is trained on `points_per_step` voxel centres when the config says so,
and on whole axial slices of the cube when a loss on slices is on.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from xrecon.nets.lifting import voxel_centers
from xrecon.training.config import GridConfig, TrainConfig
from xrecon.training.order import point_generator


def takes_points(network: nn.Module) -> bool:
    """Whether a network follows the protocol of this module."""
    return "points" in inspect.signature(network.forward).parameters


@dataclass(frozen=True)
class Chosen:
    """The voxels of a step: `voxels` numbers (n,) into the flat cube, and `slices` z indices (k,)."""

    voxels: torch.Tensor
    slices: torch.Tensor
    grid: GridConfig

    def points(self) -> torch.Tensor:
        """Centres (n + k * side^2, 3) of the voxels, then of all voxels of the slices; mm."""
        side = self.grid.side
        centers = voxel_centers(side, side * self.grid.spacing_mm, self.voxels.device)
        return torch.cat([centers.reshape(-1, 3)[self.voxels], centers[self.slices].reshape(-1, 3)])

    def part(self, answers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Answers (b, c, n + k * side^2) to `points`, as (b, c, n) and slices (b * k, c, y, x)."""
        side, count = self.grid.side, len(self.voxels)
        planes = answers[..., count:].unflatten(2, (len(self.slices), side, side))
        return answers[..., :count], planes.movedim(2, 1).flatten(0, 1)

    def of_volume(self, volume: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The same voxels and slices of a volume (b, c, z, y, x)."""
        return volume.flatten(2)[..., self.voxels], slices_of(volume, self.slices)


def slices_of(volume: torch.Tensor, slices: torch.Tensor) -> torch.Tensor:
    """Axial slices (b * k, c, y, x) of a volume (b, c, z, y, x)."""
    return volume[:, :, slices].movedim(2, 1).flatten(0, 1)


def choose(config: TrainConfig, step: int, device: torch.device) -> Chosen:
    """The voxels of a step, the same in every process; each drawn with equal chance."""
    rng, side = point_generator(config.seed, step), config.grid.side
    count = min(config.points_per_step, side**3)
    voxels = rng.integers(0, side**3, count) if count < side**3 else np.arange(count)
    wanted = min(config.loss.segmentation_slices, side) if config.loss.segmentation else 0
    slices = np.sort(rng.permutation(side)[:wanted])
    return Chosen(*(torch.as_tensor(n, device=device) for n in (voxels, slices)), config.grid)
