"""3D U-Net on volumes: the segmentation baseline, and the plain alternative to MulSISNet.

Paper: Cicek et al., "3D U-Net: learning dense volumetric segmentation from sparse annotation", MICCAI
2016. MONAI's UNet, without residual units. Changed: group norm, since training goes in batches of one.
"""

from __future__ import annotations

import torch
from torch import nn

from xrecon.nets.blocks import GROUPS
from xrecon.nets.registry import register_model
from xrecon.volume import InputError


@register_model("unet3d")
class UNet3d(nn.Module):
    """(b, 1, z, y, x) unit volume -> logits (b, classes, z, y, x).

    classes: background included. widths: channels of the levels; the first has the full resolution, each
    further one half of that before, but for the last, which keeps it: sides must be multiples of
    2 ** (levels - 2).
    Raises InputError for options that do not fit.
    """

    kind = "volumes"

    def __init__(self, classes: int = 3, widths: tuple[int, ...] = (16, 16, 32, 64, 128)) -> None:
        super().__init__()
        from monai.networks.nets import UNet

        if classes < 2 or len(widths) < 3:
            raise InputError(
                f"expected two or more classes and three or more widths, got {classes} and {tuple(widths)}"
            )
        self.classes = classes
        # one group norm setting serves all levels
        groups = next(n for n in range(GROUPS, 0, -1) if all(w % n == 0 for w in widths))
        self.network = UNet(
            spatial_dims=3,
            in_channels=1,
            out_channels=classes,
            channels=tuple(widths),
            strides=(1, *(2,) * (len(widths) - 2)),
            norm=("group", {"num_groups": groups}),
            act=("LeakyReLU", {"negative_slope": 0.1}),
        )

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return self.network(volume)
