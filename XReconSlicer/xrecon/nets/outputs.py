"""What a network that does more than reconstruct hands to the losses and to the pipelines.

Every reconstructor is called as `network(pictures, matrices)` and gives a volume. One that also
segments, or draws edges, has besides

    wants_reference = True
    forward(pictures, matrices, reference)             -> TrainingOutputs, `reference` being the true volume
    reconstruct_and_segment(pictures, matrices)        -> volume, logits (b, classes, z, y, x) or None

The true volume goes through `forward`, so that several processes can average all gradients at once.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn


class TrainingOutputs(NamedTuple):
    """volume (b, 1, z, y, x); class logits of it and of the reference volume, (b, classes, z, y, x);
    logits of an edge map, (b, 1, ...) at the volume's resolution or a coarser one; logits of pleural air,
    (b, 1, z, y, x), and of its shadow in each picture (b, view, rows, columns), as fine as the picture or
    coarser. None: not made."""

    volume: torch.Tensor | None
    segmentation: torch.Tensor | None = None
    reference_segmentation: torch.Tensor | None = None
    edges: torch.Tensor | None = None
    air: torch.Tensor | None = None
    air_shadow: torch.Tensor | None = None


def segments(network: nn.Module) -> bool:
    """Whether a reconstruction network, as it was made, also gives classes."""
    return bool(getattr(network, "classes", 0)) and hasattr(network, "reconstruct_and_segment")


def volume_and_classes(network: nn.Module, pictures: torch.Tensor, matrices: torch.Tensor) -> torch.Tensor:
    """(b, 2, z, y, x) of a network that segments: the volume, and the class of each voxel."""
    volume, logits = network.reconstruct_and_segment(pictures, matrices)
    return torch.cat([volume, logits.argmax(dim=1, keepdim=True).to(volume.dtype)], dim=1)
