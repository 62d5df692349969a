"""BX2S-Net: both radiographs repeated along their rays, a 3D encoder-decoder, attention in its shortcuts.

Paper: Chen et al., "BX2S-Net: Learning to reconstruct 3D spinal structures from bi-planar X-ray images",
Comput Biol Med 154:106615, 2023. Its text was not at hand: this follows what field surveys and Tan et al.
(EAR, sections 2 and 4.3) say of it: a tiled two-channel input, widths 8-16-32-64-128, and a feature
attention guidance module (FFAG) that joins features of several resolutions in the shortcuts. No code
was used.

Our reading of FFAG: the encoder's maps of all levels are brought to the level of the shortcut, joined by
a 1x1x1 convolution, and, gated by the decoder's state, weigh the level's own map voxel by voxel.
Changed: CT values instead of occupancy, so no edge-weighted cross-entropy (the engine's `loss.edge` is
near to it); instance norm, since training goes in batches of one.
Ablation: `attention=False` for plain shortcuts.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from xrecon.nets.biplanar import PAIR, require_side, spread, superior_pictures
from xrecon.nets.blocks import conv_sequence, up_block
from xrecon.nets.registry import register_model
from xrecon.volume import InputError


class AttentionGuidance(nn.Module):
    """Weighs the maps of one level by what the other levels and the decoder see there."""

    def __init__(self, widths: tuple[int, ...], level: int) -> None:
        super().__init__()
        width = widths[level]
        self.gather = nn.ModuleList(nn.Conv3d(w, width, 1) for w in widths)
        self.guide = nn.Conv3d(width, width, 1)
        self.weigh = nn.Conv3d(width, 1, 1)

    def forward(self, maps: list[torch.Tensor], level: int, state: torch.Tensor) -> torch.Tensor:
        size, total = maps[level].shape[2:], self.guide(state)
        for conv, features in zip(self.gather, maps, strict=True):
            features = conv(features)
            if features.shape[2] > size[0]:
                features = F.adaptive_avg_pool3d(features, size)
            elif features.shape[2] < size[0]:
                features = F.interpolate(features, size=size, mode="trilinear", align_corners=False)
            total = total + features
        return maps[level] * torch.sigmoid(self.weigh(F.relu(total)))


@register_model("bx2s-net")
class BX2SNet(nn.Module):
    """Frontal and lateral picture to a unit volume.

    side: voxels per edge, a multiple of 2 per level below the first, at least 2 at the coarsest.
    widths: channels of the levels. attention: FFAG in the shortcuts.
    Raises InputError for options that do not fit.
    """

    view_sets = PAIR

    def __init__(
        self, side: int = 64, widths: tuple[int, ...] = (8, 16, 32, 64, 128), attention: bool = True
    ) -> None:
        super().__init__()
        widths = tuple(widths)
        if len(widths) < 2:
            raise InputError(f"expected widths of at least two levels, got {widths}")
        require_side(side, 2 ** (len(widths) - 1), 2 ** len(widths), "bx2s-net")
        self.side = side
        self.first = conv_sequence(3, 2, widths[0])
        pairs = list(zip(widths[:-1], widths[1:], strict=True))
        self.down = nn.ModuleList(
            nn.Sequential(
                conv_sequence(3, fine, coarse, count=1, stride=2), conv_sequence(3, coarse, coarse, 1)
            )
            for fine, coarse in pairs
        )
        self.up = nn.ModuleList(up_block(3, coarse, fine, kernel=2) for fine, coarse in pairs)
        self.guide = nn.ModuleList(AttentionGuidance(widths, i) for i in range(len(pairs)) if attention)
        self.join = nn.ModuleList(conv_sequence(3, 2 * fine, fine) for fine, _ in pairs)
        self.head = nn.Conv3d(widths[0], 1, 3, padding=1)

    def forward(self, pictures: torch.Tensor, matrices: torch.Tensor | None = None) -> torch.Tensor:
        """pictures (b, 2, rows, columns) -> (b, 1, z, y, x); the matrices are ignored."""
        views = superior_pictures(pictures, self.side, PAIR[0])
        tiled = [spread(v, kind, self.side) for v, kind in zip(views, PAIR[0], strict=True)]
        maps = [self.first(torch.cat(tiled, dim=1))]
        for layer in self.down:
            maps.append(layer(maps[-1]))
        state = maps[-1]
        for level in reversed(range(len(self.up))):
            state = self.up[level](state)
            shortcut = self.guide[level](maps, level, state) if len(self.guide) else maps[level]
            state = self.join[level](torch.cat([state, shortcut], dim=1))
        return self.head(state)
