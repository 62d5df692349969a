"""X2CT-CNN and X2CT-GAN: dense 2D encoders, 3D decoders per view, and a decoder that fuses them.

Paper: Ying et al., "X2CT-GAN: Reconstructing CT from Biplanar X-Rays with Generative Adversarial
Networks", CVPR 2019. Written from the paper's description; its code is under the GPL and was not used.
Dense stages, bridge and lifted skip connections are X-Recon's blocks, which follow this paper:
Connection-A (code of the view through a linear layer to the coarsest volume), Connection-B (encoder
maps repeated along the rays), Connection-C (mean of both views' volumes into the fusing decoder).

Both names are one generator. `x2ct-cnn` is trained with voxel and projection losses alone; `x2ct-gan`
(its recipe) adds the least squares loss of a conditional 3D patch discriminator, which is
`x-recon-discriminator` with `coordinates: false`: X-Recon took it from this paper and put coordinates
before it. The paper's projection loss (means along each axis) is `loss.axis_projection`.

Changed: instance norm without statistics, since training goes in batches of one (the paper: batches of
4); the number of levels follows the side, where the paper has five at 128; the output is linear, not
bounded. 57.6 M parameters at 128^3; 61.7 M were counted of the published code.
Ablation: `views=1` (CNN+S, GAN+S of the paper), `skip_connections` (Connection-B).
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from xrecon.nets.biplanar import (
    FRONTAL_OR_PAIR,
    require_side,
    require_views,
    spread,
    superior_pictures,
    to_volume,
)
from xrecon.nets.blocks import conv_block, conv_sequence, up_block
from xrecon.nets.registry import register_model
from xrecon.nets.xrecon_blocks import Bridge, DenseStage, InstanceNorm
from xrecon.volume import InputError

DENSE_LAYERS = (6, 12, 24, 16, 6)


class DenseEncoder(nn.Module):
    """(b, 1, S, S) -> maps of sides S, S/2, ..., and a code (b, code_size): the last map, averaged."""

    def __init__(self, base_channels: int, layers: tuple[int, ...]) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, base_channels, 7, padding=3, padding_mode="reflect")
        self.norm = InstanceNorm()
        self.stages, widths = nn.ModuleList(), [base_channels]
        for number, count in enumerate(layers):
            last = number == len(layers) - 1
            self.stages.append(DenseStage(widths[-1], max(base_channels // 2, 1), count, compress=not last))
            widths.append(self.stages[-1].outputs)
        self.widths, self.code_size = tuple(widths[:-1]), widths[-1]

    def forward(self, picture: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
        maps = [F.relu(self.norm(self.stem(picture)))]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps[:-1], maps[-1].mean(dim=(2, 3))


class ViewDecoder(nn.Module):
    """One view: bridge, then at each level the volume is doubled and joined with a lifted map.

    Gives the volumes of all levels in CT axes, coarse to fine; the first is the bridge's.
    """

    def __init__(
        self, kind: str, encoder: DenseEncoder, widths: list[int], bottom: int, dropout: float, skips: bool
    ) -> None:
        super().__init__()
        self.kind = kind
        self.bridge = Bridge(encoder.code_size, widths[-1], bottom, dropout)
        pairs = list(zip(widths[:-1], widths[1:], strict=True))
        self.up = nn.ModuleList(up_block(3, coarse, fine, slope=0.0) for fine, coarse in pairs)
        self.lift = nn.ModuleList(
            conv_block(2, inputs, fine, kernel=1, slope=0.0)
            for inputs, fine in zip(encoder.widths, widths[:-1], strict=True)
            if skips
        )
        self.join = nn.ModuleList(
            conv_sequence(3, 2 * fine if skips else fine, fine, count=1, slope=0.0) for fine, _ in pairs
        )

    def forward(self, maps: list[torch.Tensor], code: torch.Tensor) -> list[torch.Tensor]:
        volumes = [to_volume(self.bridge(code), self.kind)]
        for level in reversed(range(len(self.up))):
            state = self.up[level](volumes[-1])
            if len(self.lift):
                lifted = spread(self.lift[level](maps[level]), self.kind, state.shape[2])
                state = torch.cat([state, lifted], dim=1)
            volumes.append(self.join[level](state))
        return volumes


@register_model("x2ct-cnn")
@register_model("x2ct-gan")
class X2CTGenerator(nn.Module):
    """Pictures to a unit volume.

    side: voxels per edge, a multiple of 2 ** len(dense_layers) and at least twice that.
    views: 1 (frontal) or 2 (frontal, lateral). base_channels: of the encoders' stem, a multiple of 4; 64
    as published. dense_layers: densely connected layers of each level. dropout: in the bridge.
    Raises InputError for options that do not fit.
    """

    view_sets = FRONTAL_OR_PAIR

    def __init__(
        self,
        side: int = 64,
        views: int = 2,
        base_channels: int = 64,
        dense_layers: tuple[int, ...] = DENSE_LAYERS,
        skip_connections: bool = True,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        levels = len(dense_layers)
        require_side(side, 2**levels, 2 ** (levels + 1), "x2ct")
        if base_channels < 4 or base_channels % 4:
            raise InputError(f"expected base_channels as a multiple of 4, got {base_channels}")
        self.kinds = require_views(views, self.view_sets, "x2ct")
        self.side, bottom = side, side >> levels
        first = base_channels // 4
        widths = [first, *(first * 2 ** max(i - 1, 0) for i in range(1, levels + 1))]
        self.encoders = nn.ModuleList(DenseEncoder(base_channels, tuple(dense_layers)) for _ in self.kinds)
        self.decoders = nn.ModuleList(
            ViewDecoder(kind, encoder, widths, bottom, dropout, skip_connections)
            for kind, encoder in zip(self.kinds, self.encoders, strict=True)
        )
        fused = len(self.kinds) > 1
        pairs = list(zip(widths[:-1], widths[1:], strict=True))
        self.up = nn.ModuleList(up_block(3, coarse, fine, slope=0.0) for fine, coarse in pairs if fused)
        self.join = nn.ModuleList(
            conv_sequence(3, 2 * fine, fine, count=1, slope=0.0) for fine, _ in pairs if fused
        )
        self.head = nn.Conv3d(first, 1, 3, padding=1)

    def forward(self, pictures: torch.Tensor, matrices: torch.Tensor | None = None) -> torch.Tensor:
        """pictures (b, view, rows, columns) -> (b, 1, z, y, x); the matrices are ignored."""
        views = superior_pictures(pictures, self.side, self.kinds)
        volumes = [
            decoder(*encoder(view))
            for view, encoder, decoder in zip(views, self.encoders, self.decoders, strict=True)
        ]
        if len(volumes) == 1:
            return self.head(volumes[0][-1])
        # Connection-C: at each level the mean of the views' volumes enters the fusing decoder
        means = [(a + b) / 2 for a, b in zip(*volumes, strict=True)]
        state = means[0]
        for number, mean in enumerate(means[1:], 1):
            level = len(self.up) - number
            state = self.join[level](torch.cat([self.up[level](state), mean], dim=1))
        return self.head(state)
