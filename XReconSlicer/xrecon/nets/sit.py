"""SIT, single-image tomography: a 2D encoder whose channels are read as depth, and a 3D decoder.

Paper: Henzler, Rasche, Ropinski, Ritschel, "Single-image Tomography: 3D Volumes from 2D Cranial
X-Rays", Computer Graphics Forum 37(2), 2018. No code was used. Two views as in the comparison of Tan et
al. (EAR, section 4.3): the first layer takes both pictures as channels.

Changed: widths and number of levels are ours (the paper's network has 8.35 M parameters at 128^3 as
counted by Ge et al., X-CTRSNet, table 2; this one has 10.0 M); instance norm, since training goes in
batches of one; the output is linear.
The second picture's columns run along y, not x: as a channel beside the frontal one it is read in the
wrong place, and the network has to undo that. This is a weakness of the method, kept.
Ablation: `views=1` is the published single-view network; `residual=False` plain convolutions.
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
from xrecon.nets.blocks import ResidualBlock, conv_block, conv_sequence, up_block
from xrecon.nets.registry import register_model
from xrecon.volume import InputError

BOTTOM = 4  # side of the coarsest map


@register_model("sit")
class SingleImageTomography(nn.Module):
    """Pictures to a unit volume.

    side: voxels per edge, a multiple of 8 that halves down to 4 (8, 16, 32, 64, 128, ...).
    views: 1 (frontal) or 2 (frontal, lateral). width: channels of the first level; they double with each
    level up to 16-fold. residual: shortcuts around each pair of convolutions.
    Raises InputError for options that do not fit.
    """

    view_sets = FRONTAL_OR_PAIR

    def __init__(self, side: int = 64, views: int = 2, width: int = 24, residual: bool = True) -> None:
        super().__init__()
        levels = halvings(side, BOTTOM, "sit")
        if width < 2 or width % 2:
            raise InputError(f"expected an even width of at least 2 for sit, got {width}")
        self.kinds = require_views(views, self.view_sets, "sit")
        self.side = side
        pair = ResidualBlock if residual else conv_sequence
        down = [width * min(2**i, 16) for i in range(levels + 1)]
        # the fold into depth divides the channels by the depth of the coarsest level
        self.fold_width = max(down[-1] // 2, 1)
        self.stem = conv_block(2, views, down[0], kernel=7 if side >= 32 else 3)
        self.down = nn.ModuleList(
            nn.Sequential(conv_block(2, a, b, stride=2), pair(2, b, b))
            for a, b in zip(down[:-1], down[1:], strict=True)
        )
        self.fold = nn.Conv2d(down[-1], self.fold_width * BOTTOM, 1)
        up = [max(self.fold_width >> i, 4) for i in range(levels + 1)]
        self.up = nn.ModuleList(
            nn.Sequential(up_block(3, a, b), pair(3, b, b)) for a, b in zip(up[:-1], up[1:], strict=True)
        )
        self.head = nn.Conv3d(up[-1], 1, 3, padding=1)

    def forward(self, pictures: torch.Tensor, matrices: torch.Tensor | None = None) -> torch.Tensor:
        """pictures (b, view, rows, columns) -> (b, 1, z, y, x); the matrices are ignored."""
        state = self.stem(torch.cat(superior_pictures(pictures, self.side, self.kinds), dim=1))
        for layer in self.down:
            state = layer(state)
        # channels to depth: (b, c, depth, row, column)
        state = self.fold(state).unflatten(1, (self.fold_width, BOTTOM))
        for layer in self.up:
            state = layer(state)
        return to_volume(self.head(state), FRONTAL)
