"""PSR, patient-specific reconstruction (PatRecon): a deep 2D encoder to 4x4 pixels, and a 3D decoder.

Paper: Shen, Zhao, Xing, "Patient-specific reconstruction of volumetric computed tomography images from
a single projection view via deep learning", Nat Biomed Eng 3, 880-888, 2019. Written from the paper's
description (representation, transformation and generation networks; 4096 x 4 x 4 features read as
2048 x 2 x 4 x 4); no code was used.

Changed: the last 2D layer gives as many slices as the cube has, not a fixed 46; instance norm instead of
batch norm, since training goes in batches of one; the width is an option, because the published one
(256; 500 M parameters) does not fit a trial. Trained on one patient by its authors, on many here.
Ablation: `views` 1 or 2 (pictures as channels, as published); `residual`.
"""

from __future__ import annotations

import torch
from torch import nn

from xrecon.nets.biplanar import (
    FRONTAL,
    FRONTAL_OR_PAIR,
    halvings,
    require_views,
    superior_pictures,
    to_volume,
)
from xrecon.nets.blocks import conv_block, up_block
from xrecon.nets.registry import register_model
from xrecon.volume import InputError

BOTTOM, BOTTOM_DEPTH = 4, 2


class DownBlock(nn.Module):
    """Convolution 4x4 of stride 2, convolution 3x3, and the shortcut around the second, summed."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.down = nn.Sequential(
            nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False),
            nn.InstanceNorm2d(outputs, affine=True),
            nn.ReLU(),
        )
        self.conv = nn.Sequential(
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.InstanceNorm2d(outputs, affine=True)
        )

    def forward(self, x: torch.Tensor, residual: bool = True) -> torch.Tensor:
        x = self.down(x)
        return torch.relu(self.conv(x) + x if residual else self.conv(x))


@register_model("psr")
class PatientSpecificReconstruction(nn.Module):
    """Pictures to a unit volume.

    side: voxels per edge, 4 times a power of two. views: 1 (frontal) or 2 (frontal, lateral).
    width: channels of the first level, doubled at each level; 256 as published (for side 128).
    residual: shortcuts in the encoder.
    Raises InputError for options that do not fit.
    """

    view_sets = FRONTAL_OR_PAIR

    def __init__(self, side: int = 64, views: int = 2, width: int = 32, residual: bool = True) -> None:
        super().__init__()
        levels = halvings(side, BOTTOM, "psr")
        if width < 2:
            raise InputError(f"expected a width of at least 2 for psr, got {width}")
        self.kinds = require_views(views, self.view_sets, "psr")
        self.side, self.residual = side, residual
        down = [views, *(width * 2**i for i in range(levels))]
        self.down = nn.ModuleList(DownBlock(a, b) for a, b in zip(down[:-1], down[1:], strict=True))
        folded = down[-1] // BOTTOM_DEPTH
        self.turn_2d = conv_block(2, down[-1], down[-1], kernel=1, slope=0.0)
        self.turn_3d = conv_block(3, folded, folded, kernel=1, slope=0.0)
        up = [folded, *(max(folded >> i, 4) for i in range(1, levels + 1))]
        self.up = nn.ModuleList(
            nn.Sequential(up_block(3, a, b, slope=0.0), conv_block(3, b, b, slope=0.0))
            for a, b in zip(up[:-1], up[1:], strict=True)
        )
        # the depth at the end is half the side: a 2D layer turns it into the slices of the cube
        self.to_one = nn.Conv3d(up[-1], 1, 1)
        self.to_slices = nn.Conv2d(side // BOTTOM * BOTTOM_DEPTH, side, 1)

    def forward(self, pictures: torch.Tensor, matrices: torch.Tensor | None = None) -> torch.Tensor:
        """pictures (b, view, rows, columns) -> (b, 1, z, y, x); the matrices are ignored."""
        state = torch.cat(superior_pictures(pictures, self.side, self.kinds), dim=1)
        for layer in self.down:
            state = layer(state, self.residual)
        state = self.turn_3d(self.turn_2d(state).unflatten(1, (-1, BOTTOM_DEPTH)))
        for layer in self.up:
            state = layer(state)
        slices = self.to_slices(self.to_one(state)[:, 0])
        return to_volume(slices[:, None], FRONTAL)
