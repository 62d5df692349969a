"""MulSISNet: a 3D U-Net whose encoder levels go on as parallel paths that exchange features.

Paper: Ge et al., "X-CTRSNet: 3D cervical vertebra CT reconstruction and segmentation directly from 2D
X-ray images", Knowl Based Syst 236:107680, 2022, section 2.2 (equations 12 to 14). No code was published.

Group norm as in the paper. The widths are not given: with 16 channels at full resolution, doubled per
level, and two convolutions per sequence it has 4.42 M parameters (the paper counts 4.41 M).
Ablation: `exchange=False` leaves paths that only start from each other.
"""

from __future__ import annotations

import torch
from torch import nn

from xrecon.nets.blocks import conv_sequence, up_block
from xrecon.nets.multiscale import PATHS, MultiScalePaths
from xrecon.nets.registry import register_model
from xrecon.volume import InputError


@register_model("mulsisnet")
class MulSISNet(nn.Module):
    """(b, 1, z, y, x) unit volume -> logits (b, classes, z, y, x); sides multiples of 8.

    classes: background included. width: channels at full resolution, doubled at each level.
    convs: 3x3x3 convolutions of each sequence. Raises InputError for options that do not fit.
    """

    kind = "volumes"

    def __init__(self, classes: int = 3, width: int = 16, exchange: bool = True, convs: int = 2) -> None:
        super().__init__()
        if classes < 2 or width < 1:
            raise InputError(f"expected two or more classes and a positive width, got {classes}, {width}")
        self.classes = classes
        widths = [width * 2**k for k in range(PATHS)]
        columns = [[w] * MultiScalePaths.COLUMNS for w in widths]
        self.encoder = MultiScalePaths(3, 1, columns, "group", exchange=exchange, convs=convs)
        pairs = list(zip(widths[:-1], widths[1:], strict=True))
        self.up = nn.ModuleList(up_block(3, coarse, fine, norm="group") for fine, coarse in pairs)
        self.join = nn.ModuleList(conv_sequence(3, 2 * f, f, convs, norm="group") for f, _ in pairs)
        # 3x3x3: behind normalised features a 1x1x1 layer of few channels moves its logits very slowly
        self.head = nn.Conv3d(width, classes, 3, padding=1)

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        """See the class. Raises InputError for sides that are no multiples of 8."""
        if volume.ndim != 5 or any(n % 8 for n in volume.shape[2:]):
            raise InputError(
                "expected a volume (batch, 1, z, y, x) with sides in multiples of 8, "
                f"got {tuple(volume.shape)}"
            )
        features = self.encoder(volume)
        state = features[-1]
        for level in reversed(range(PATHS - 1)):
            state = self.join[level](torch.cat([self.up[level](state), features[level]], dim=1))
        return self.head(state)
