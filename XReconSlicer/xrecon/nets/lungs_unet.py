"""A small 2D U-Net for right and left lung on axial slices: MONAI's BasicUNet, made narrow.

Architecture: Falk et al., Nat Methods 2019;16:67-70, as implemented in MONAI.
"""

from __future__ import annotations

import torch
from torch import nn

from xrecon.nets.registry import register_model


@register_model("lungs-unet")
class LungsUNet(nn.Module):
    """widths: channels of the five levels, and of the last layer before the classes."""

    kind = "slices"

    def __init__(self, widths: tuple[int, ...] = (16, 24, 48, 96, 160, 16), classes: int = 3) -> None:
        super().__init__()
        from monai.networks.nets import BasicUNet

        self.network = BasicUNet(
            spatial_dims=2,
            in_channels=1,
            out_channels=classes,
            features=tuple(widths),
            act=("LeakyReLU", {"negative_slope": 0.1, "inplace": True}),
            norm=("instance", {"affine": True}),
        )

    def forward(self, slices: torch.Tensor) -> torch.Tensor:
        """(b, 1, rows, columns) in [0, 1], sides multiples of 16 -> logits (b, classes, rows, columns)."""
        return self.network(slices)
