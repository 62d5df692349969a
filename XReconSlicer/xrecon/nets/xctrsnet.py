"""X-CTRSNet: reconstruction (SpaDRNet) and segmentation of the reconstruction, trained together.

Paper: Ge et al., "X-CTRSNet: 3D cervical vertebra CT reconstruction and segmentation directly from 2D
X-ray images", Knowl Based Syst 236:107680, 2022, sections 2.1 to 2.3. No code was published.

SpaDRNet, per view: four 2D paths of scales 1, 1/2, 1/4, 1/8 exchange features while their channels grow to
the depth that they stand for (side * scale); a 2D convolution gives `features` channels per depth, and the
channels are read as depth. Frontal and lateral features are turned to the volume's axes and joined, one
3D exchange over the scales follows, then fusion from coarse to fine.

Changed: plain reshaping for the paper's "pixelshuffle", which reduces channels where the text says it
enlarges them (`features` = 8 per depth); the equations of the exchange are read as HRNet's columns (see
`multiscale`); the published widths of the first path (16, 32, 64, 128 at side 128) are kept as 1/8, 1/4,
1/2 and 1 of the side; any set of classes, with softmax. The losses are in the engine: `loss.absolute`,
`loss.perceptual` (multi-view VGG), `loss.classes`, `loss.consistency` (RSC; equation 16 as printed
would drive the segmentations apart, so 1 - Dice).

Size: at side 128 SpaDRNet has 6.8 M parameters and 324 GFLOP (2 per multiply-add) here, 22.99 M and 217
GFLOP in the paper's table 2. What would have to be known is not printed: the widths of the three coarser
paths and of everything in 3D, and how many convolutions a SeqConv has. No widths were chosen to meet the
count, for none that are natural meet both figures: C = 16 gives 10.5 M and 957 GFLOP, four convolutions
for two 8.6 M and 372; with all four paths as wide as the first (which contradicts a depth of 128 * S *
C) 13.9 M and 347; with that, three convolutions and C of 4, 8, 16, 32 over the scales 17.2 M and 231.
Nor is the table a yardstick: X2CT-GAN's published code has 61.7 M parameters, not 23.6 M. `width` and
`features` scale ours.

Ablation: `exchange`, `hierarchical`, `classes=0` (SpaDRNet alone), `segmenter` "unet3d" for MulSISNet.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from xrecon.nets.biplanar import PAIR, require_side, superior_pictures, unfold_depth
from xrecon.nets.blocks import conv_sequence, up_block
from xrecon.nets.multiscale import PATHS, Exchange, MultiScalePaths
from xrecon.nets.outputs import TrainingOutputs
from xrecon.nets.registry import create_model, register_model
from xrecon.volume import InputError

SEGMENTERS = ("mulsisnet", "unet3d")


class SpaDRNet(nn.Module):
    """Frontal and lateral picture (b, 1, side, side), rows to superior -> (b, 1, z, y, x)."""

    def __init__(self, side: int, features: int, width: float, exchange: bool, hierarchical: bool) -> None:
        super().__init__()
        self.depths = [side >> k for k in range(PATHS)]
        columns = [[_path_width(d, t, width) for t in range(MultiScalePaths.COLUMNS)] for d in self.depths]
        self.paths = nn.ModuleList(
            MultiScalePaths(2, 1, columns, "instance", exchange=exchange, convs=2) for _ in PAIR[0]
        )
        self.deepen = nn.ModuleList(
            nn.ModuleList(
                nn.Conv2d(c[-1], d * features, 3, padding=1)
                for c, d in zip(columns, self.depths, strict=True)
            )
            for _ in PAIR[0]
        )
        both = len(PAIR[0]) * features
        self.align = Exchange(3, [both] * PATHS, [both] * PATHS, "instance") if exchange else None
        self.merge = nn.ModuleList(conv_sequence(3, both, both) for _ in range(PATHS))
        self.up = nn.ModuleList(up_block(3, both, both) for _ in range(PATHS - 1) if hierarchical)
        self.fuse = nn.ModuleList(conv_sequence(3, 2 * both, both) for _ in range(PATHS - 1) if hierarchical)
        # without the hierarchy all scales are brought to the finest and summed
        self.head = nn.Conv3d(both, 1, 3, padding=1)

    def forward(self, views: list[torch.Tensor]) -> torch.Tensor:
        scales = [self.merge[k](f) for k, f in enumerate(self._aligned(views))]
        if not len(self.up):
            size = scales[0].shape[2:]
            return self.head(sum(F.interpolate(s, size=size, mode="nearest") for s in scales))
        state = scales[-1]
        for level in reversed(range(PATHS - 1)):
            state = self.fuse[level](torch.cat([scales[level], self.up[level](state)], dim=1))
        return self.head(state)

    def _aligned(self, views: list[torch.Tensor]) -> list[torch.Tensor]:
        """Both views' features in the volume's axes, per scale."""
        lifted: list[list[torch.Tensor]] = [[] for _ in range(PATHS)]
        for view, kind, paths, deepen in zip(views, PAIR[0], self.paths, self.deepen, strict=True):
            for k, features in enumerate(paths(view)):
                lifted[k].append(unfold_depth(deepen[k](features), self.depths[k], kind))
        joined = [torch.cat(parts, dim=1) for parts in lifted]
        return joined if self.align is None else self.align(joined)


def _path_width(depth: int, column: int, width: float) -> int:
    """Channels of a 2D path: doubled per column until they are its depth, in the fourth column."""
    return max(4, round(width * depth / 2 ** max(PATHS - 1 - column, 0)))


@register_model("x-ctrsnet")
class XCTRSNet(nn.Module):
    """Frontal and lateral picture to a unit volume and, from that, to classes.

    side: voxels per edge, a multiple of 8, at least 16. classes: of the segmentation, background
    included; 0 is reconstruction alone. features: channels per depth after the conversion to 3D. width: of
    the 2D paths, as a share of the published one. segmenter: one of `SEGMENTERS`, with segmenter_options.
    Raises InputError for options that do not fit.
    """

    view_sets = PAIR

    def __init__(
        self,
        side: int = 64,
        classes: int = 3,
        features: int = 8,
        width: float = 1.0,
        exchange: bool = True,
        hierarchical: bool = True,
        segmenter: str = "mulsisnet",
        segmenter_options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        require_side(side, 8, 16, "x-ctrsnet")
        if classes == 1 or classes < 0 or features < 1 or width <= 0:
            raise InputError(
                "expected classes as 0 or at least 2, and positive features and width, "
                f"got {classes}, {features}, {width}"
            )
        if segmenter not in SEGMENTERS:
            raise InputError(f"expected segmenter out of {SEGMENTERS}, got {segmenter!r}")
        self.side, self.classes = side, classes
        self.reconstructor = SpaDRNet(side, features, width, exchange, hierarchical)
        self.segmenter = (
            create_model(segmenter, classes=classes, **(segmenter_options or {})) if classes else None
        )
        self.wants_reference = bool(classes)

    def forward(
        self,
        pictures: torch.Tensor,
        matrices: torch.Tensor | None = None,
        reference: torch.Tensor | None = None,
    ) -> torch.Tensor | TrainingOutputs:
        """pictures (b, 2, rows, columns) -> (b, 1, z, y, x); the matrices are ignored.

        With `reference`, the true volume, also the logits of the reconstruction and of the reference.
        """
        volume = self.reconstructor(superior_pictures(pictures, self.side, PAIR[0]))
        if reference is None:
            return volume
        if self.segmenter is None:
            return TrainingOutputs(volume)
        return TrainingOutputs(volume, self.segmenter(volume), self.segmenter(reference))

    def reconstruct_and_segment(
        self, pictures: torch.Tensor, matrices: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The volume, and logits (b, classes, z, y, x) of its segmentation; None without classes."""
        volume = self.forward(pictures, matrices)
        return volume, None if self.segmenter is None else self.segmenter(volume)
