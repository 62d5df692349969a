"""Tiny networks of every registered name, and what they take."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import nn
from xrecon.nets.cost import RECONSTRUCTOR, SLICES, example_inputs
from xrecon.nets.registry import create_model, list_models
from xrecon.physics.geometry import ViewGeometry

SIDE = 16
# Options of a trial size. A name that is missing here is made with its own defaults at side 16.
TINY: dict[str, dict[str, Any]] = {
    "any-view": {"side": SIDE, "view_widths": (4, 8, 8), "grid_widths": (4, 8, 8, 8), "embedding": 8},
    "bx2s-net": {"side": SIDE, "widths": (4, 8, 8)},
    "e2e": {"side": SIDE, "widths": (4, 8, 8)},
    "ear": {"side": SIDE, "widths": (4, 8), "classes": 2},  # a third level would be 2^3: no imaginary part
    "lifting": {"side": SIDE, "view_widths": (4, 4, 8), "grid_widths": (4, 8, 8, 8)},
    "lungs-unet": {"widths": (8, 8, 8, 16, 16, 8)},
    "mulsisnet": {"width": 2, "convs": 1},
    "pixel-inr": {
        "side": SIDE,
        "widths": (4, 8, 8),
        "kernel": 3,
        "features": 8,
        "width": 16,
        "frequencies": 6,
    },
    "psr": {"side": SIDE, "width": 8},
    "sit": {"side": SIDE, "width": 8},
    "unet3d": {"widths": (4, 4, 8)},
    "view-classifier": {"side": SIDE, "widths": (4, 6)},
    "x-ctrsnet": {
        "side": SIDE,
        "features": 2,
        "width": 0.5,
        "segmenter_options": {"width": 2, "convs": 1},
    },
    "x-recon": {"side": 32, "base_channels": 4, "dropout": 0.0},
    "x-recon-discriminator": {"base_channels": 2},
    "x2ct-cnn": {"side": SIDE, "base_channels": 4, "dense_layers": (2, 2), "dropout": 0.0},
    "x2ct-gan": {"side": SIDE, "base_channels": 4, "dense_layers": (2, 2), "dropout": 0.0},
}
NAMES = [name for name in list_models() if not name.startswith("test-")]


def tiny_network(name: str, seed: int = 0, **changes: Any) -> nn.Module:
    """A network of trial size with the weights of a seed."""
    torch.manual_seed(seed)
    options = TINY[name] if name in TINY else {"side": SIDE}
    return create_model(name, **{**options, **changes})


@cache
def kind_of(name: str) -> str:
    """What a network is; see `xrecon.nets.cost`."""
    return getattr(tiny_network(name), "kind", RECONSTRUCTOR)


def is_reconstructor(name: str) -> bool:
    """Whether a network makes a volume out of pictures."""
    return kind_of(name) == RECONSTRUCTOR


def matrices(count: int, field_mm: float = 358.4, pixels: int = SIDE) -> torch.Tensor:
    """Projection matrices (1, view, 3, 4) of PA and left lateral (and PA again) that see a field."""
    spacing = (field_mm * 1.2 / pixels,) * 2
    views = [ViewGeometry.pa, ViewGeometry.lateral, ViewGeometry.ap, ViewGeometry.pa][:count]
    made = [view(shape=(pixels, pixels), pixel_spacing=spacing).matrix for view in views]
    return torch.as_tensor(np.stack(made), dtype=torch.float32)[None]


def sample(network: nn.Module, seed: int = 1, batch: int = 1) -> tuple[torch.Tensor, ...]:
    """Inputs of a network: random, but for the matrices."""
    torch.manual_seed(seed)
    kind = getattr(network, "kind", RECONSTRUCTOR)
    # a slice network halves its side four times
    inputs = example_inputs(network, "cpu", 2 * SIDE if kind == SLICES else SIDE)
    inputs = tuple(torch.rand(batch, *each.shape[1:]) for each in inputs)
    if kind != RECONSTRUCTOR:
        return inputs
    pictures = inputs[0]
    known = matrices(pictures.shape[1], pixels=pictures.shape[2])
    return pictures, known.expand(batch, -1, -1, -1)


def all_outputs(network: nn.Module, inputs: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
    """Everything that training sees of a network."""
    if not getattr(network, "wants_reference", False):
        return [network(*inputs)]
    side = network.side
    outputs = network(*inputs, torch.rand(inputs[0].shape[0], 1, side, side, side))
    return [each for each in outputs if each is not None]
