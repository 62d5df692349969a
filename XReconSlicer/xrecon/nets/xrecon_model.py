"""X-Recon's generator behind the registry's common call: pictures and matrices to a unit volume.

The published network has the superior slice first and knows no geometry; here its depth axis is
turned to XRecon's (z grows to superior) and the matrices are ignored.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from xrecon.nets.biplanar import PAIR, view_sets_text
from xrecon.nets.registry import register_model
from xrecon.nets.xrecon_discriminator import XReconDiscriminator
from xrecon.nets.xrecon_generator import XReconGenerator
from xrecon.volume import InputError

register_model("x-recon-discriminator")(XReconDiscriminator)


@register_model("x-recon")
class XReconModel(nn.Module):
    """Options as `XReconGenerator`."""

    view_sets = PAIR

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.generator = XReconGenerator(**options)
        self.side = self.generator.side

    def forward(self, pictures: torch.Tensor, matrices: torch.Tensor | None = None) -> torch.Tensor:
        """pictures (b, 2, S, S): PA and left lateral, row 0 superior -> (b, 1, z, y, x), z to superior."""
        if pictures.ndim != 4 or pictures.shape[1] != len(PAIR[0]):
            raise InputError(
                f"expected pictures (batch, 2, rows, columns) of {view_sets_text(PAIR)}, "
                f"got {tuple(pictures.shape)}"
            )
        if pictures.shape[2:] != (self.generator.side,) * 2:
            pictures = nn.functional.interpolate(
                pictures,
                size=(self.generator.side,) * 2,
                mode="bilinear",
                antialias=True,
                align_corners=False,
            )
        return self.generator(pictures).flip(2)
