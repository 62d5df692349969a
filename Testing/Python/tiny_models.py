"""Reconstruction models small enough for tests, saved and read through the registry like real ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from xrecon.nets.card import ModelCard, RadiographInput, VolumeOutput
from xrecon.nets.lifting import sample_along_rays, voxel_centers
from xrecon.nets.registry import create_model, register_model, save_model
from xrecon.preprocess.ct import HU_WINDOW, hu_to_unit
from xrecon.volume import Volume

SIDE, SPACING_MM = 16, 22.4
DETECTOR, PIXEL_MM = 48, 9.0
VIEWS = ("PA", "LEFT LATERAL")


@register_model("test-backprojection")
class Backprojection(nn.Module):
    """Every voxel is the mean of the pixels it projects to: no weights, all geometry."""

    def __init__(self, side: int = SIDE, field_mm: float = SIDE * SPACING_MM) -> None:
        super().__init__()
        self.side, self.field_mm = side, field_mm
        self.register_buffer("scale", torch.ones(1))

    def forward(self, pictures: torch.Tensor, matrices: torch.Tensor) -> torch.Tensor:
        points = voxel_centers(self.side, self.field_mm, pictures.device)
        shape = tuple(pictures.shape[2:])
        lifted = [
            sample_along_rays(pictures[:, i : i + 1], matrices[:, i], points, shape)
            for i in range(pictures.shape[1])
        ]
        return self.scale * torch.stack(lifted).mean(dim=0)


def card(
    architecture: str, options: dict[str, Any], side: int = SIDE, spacing_mm: float = SPACING_MM
) -> ModelCard:
    """A card for two views on a coarse detector."""
    return ModelCard(
        name=f"tiny-{architecture}",
        title="for tests",
        description="for tests",
        architecture=architecture,
        options=options,
        input=RadiographInput(
            views=list(VIEWS),
            shape=(DETECTOR, DETECTOR),
            pixel_spacing=(PIXEL_MM, PIXEL_MM),
            source_to_detector_mm=(1700.0, 1900.0),
            source_to_isocenter_mm=(1350.0, 1650.0),
        ),
        output=VolumeOutput(side=side, spacing_mm=spacing_mm, hu_window=HU_WINDOW),
        licence="Apache-2.0",
        intended_use="tests",
        limitations="knows nothing",
        training_data=[],
    )


def save_backprojection(folder: Path, side: int = SIDE, spacing_mm: float = SPACING_MM) -> Path:
    """A model folder whose output depends on pixels and geometry alone."""
    options = {"side": side, "field_mm": side * spacing_mm}
    network = create_model("test-backprojection", **options)
    save_model(folder, network, card("test-backprojection", options, side, spacing_mm))
    return folder


def save_untrained(folder: Path) -> Path:
    """A model folder of the real lifting network, untrained, that gives soft tissue everywhere."""
    options = {
        "side": SIDE,
        "field_mm": SIDE * SPACING_MM,
        "views": 2,
        "view_widths": [4, 4, 8],
        "grid_widths": [4, 8, 8, 8],
    }
    network = create_model("lifting", **options)
    network.mean_volume.fill_(0.4)
    save_model(folder, network, card("lifting", options))
    return folder


def save_memory(folder: Path, truth: Volume) -> Path:
    """A model folder that always answers with `truth` (a cube in HU): an untrained lifting network
    whose mean volume it is."""
    side = truth.shape[0]
    options = {
        "side": side,
        "field_mm": side * truth.spacing[0],
        "views": 2,
        "view_widths": [4, 4, 8],
        "grid_widths": [4, 8, 8, 8],
    }
    network = create_model("lifting", **options)
    network.mean_volume.copy_(torch.as_tensor(hu_to_unit(np.asarray(truth.array)))[None, None])
    save_model(folder, network, card("lifting", options, side, truth.spacing[0]), half=False)
    return folder
