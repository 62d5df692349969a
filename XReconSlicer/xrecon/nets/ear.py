"""EAR: edge-aware reconstruction of a vertebra from two radiographs repeated along their rays.

Paper: Tan et al., "EAR: Edge-Aware Reconstruction of 3-D vertebrae structures from bi-planar X-ray
images", section 3. No code was published.

Five levels down (each a strided and a plain convolution; FEM after the first three), five up (each a
transposed and a plain convolution), CBAM in the shortcuts, and an edge map out of the first three levels
(EAM) that weighs every decoder level: F + F * edge. The paper says only that the map enters there.

Changed: instance norm by default, since training goes in batches of one (`norm="batch"` is published);
a HU window instead of z-scores, which would need the unknown volume's statistics at test time; the edge
map is a single channel that the engine supervises besides (`loss.edge`); `classes=2` adds a head for the
vertebra's occupancy, from which its mask and the whole spine are put together (`xrecon.vertebrae`), where
the paper does not say how CT values become the mask of its Dice. Radiographs are those of the whole field,
not of a vertebra cut out of the CT, which nobody can take (`xrecon.training.vertebrae`).
The losses are in the engine: `loss.absolute`, `loss.edge`, `loss.frequency`, `loss.mip`.
Ablation: `frequency`, `edge_attention`, `attention` (CBAM).
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from xrecon.nets.biplanar import PAIR, require_side, spread, superior_pictures
from xrecon.nets.blocks import NORMS, conv_block, conv_sequence, up_block
from xrecon.nets.ear_blocks import CBAM3d, EdgeAttention, FrequencyEnhancement
from xrecon.nets.outputs import TrainingOutputs
from xrecon.nets.registry import register_model
from xrecon.volume import InputError

ENHANCED_LEVELS = 3


@register_model("ear")
class EdgeAwareReconstruction(nn.Module):
    """Frontal and lateral picture to a unit volume, and to the occupancy of the vertebra.

    side: voxels per edge, a multiple of 2 per level, at least 2 at the coarsest. widths: channels of the
    levels, 1/2 of the side first. classes: logits of a second head; 0 for none, 2 for background and
    vertebra. frequency, edge_attention, attention: FEM, EAM, CBAM. norm: of the encoder, decoder and EAM.
    Raises InputError for options that do not fit.
    """

    view_sets = PAIR

    def __init__(
        self,
        side: int = 64,
        widths: tuple[int, ...] = (16, 32, 64, 128, 256),
        classes: int = 0,
        frequency: bool = True,
        edge_attention: bool = True,
        attention: bool = True,
        norm: str = "instance",
    ) -> None:
        super().__init__()
        widths = tuple(widths)
        if len(widths) < 2 or norm not in NORMS or classes < 0 or classes == 1:
            raise InputError(
                f"expected two or more widths, a norm out of {NORMS} and classes as 0 or at least 2, "
                f"got {widths}, {norm!r}, {classes}"
            )
        require_side(side, 2 ** len(widths), 2 ** (len(widths) + 1), "ear")
        self.side, self.classes = side, classes
        self.down = nn.ModuleList(
            nn.Sequential(conv_block(3, a, b, stride=2, norm=norm), conv_block(3, b, b, norm=norm))
            for a, b in zip((2, *widths[:-1]), widths, strict=True)
        )
        enhanced = widths[:ENHANCED_LEVELS]
        self.enhance = nn.ModuleList(FrequencyEnhancement(w) for w in enhanced if frequency)
        self.edges = EdgeAttention(enhanced, norm) if edge_attention else None
        # the decoder reaches one level above the first shortcut, back to the full side
        up = [*reversed(widths), widths[0]]
        shortcuts = [*reversed(widths[:-1]), 0]
        self.shortcut = nn.ModuleList(CBAM3d(w) for w in shortcuts if w and attention)
        self.up = nn.ModuleList(
            up_block(3, a, b, kernel=2, norm=norm) for a, b in zip(up[:-1], up[1:], strict=True)
        )
        self.join = nn.ModuleList(
            conv_sequence(3, b + s, b, count=1, norm=norm) for b, s in zip(up[1:], shortcuts, strict=True)
        )
        # 3x3x3: behind normalised features a 1x1x1 layer of few channels moves very slowly
        self.head = nn.Conv3d(widths[0], 1, 3, padding=1)
        self.occupancy = nn.Conv3d(widths[0], classes, 3, padding=1) if classes else None
        self.wants_reference = bool(classes) or edge_attention

    def forward(
        self,
        pictures: torch.Tensor,
        matrices: torch.Tensor | None = None,
        reference: torch.Tensor | None = None,
    ) -> torch.Tensor | TrainingOutputs:
        """pictures (b, 2, rows, columns) -> (b, 1, z, y, x); the matrices are ignored.

        With `reference` (only that it is given counts) also the logits of occupancy and of edges.
        """
        state, edges = self._decode(pictures)
        volume = self.head(state)
        if reference is None:
            return volume
        return TrainingOutputs(volume, self.occupancy(state) if self.occupancy else None, edges=edges)

    def reconstruct_and_segment(
        self, pictures: torch.Tensor, matrices: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The volume, and logits (b, classes, z, y, x) of the occupancy; None without classes."""
        state, _ = self._decode(pictures)
        return self.head(state), self.occupancy(state) if self.occupancy else None

    def _decode(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The last features, at full resolution, and the edge map's logits."""
        views = superior_pictures(pictures, self.side, PAIR[0])
        tiled = [spread(v, kind, self.side) for v, kind in zip(views, PAIR[0], strict=True)]
        state, maps = torch.cat(tiled, dim=1), []
        for level, layer in enumerate(self.down):
            state = layer(state)
            if level < len(self.enhance):
                state = self.enhance[level](state)
            maps.append(state)
        edges = self.edges(maps[:ENHANCED_LEVELS]) if self.edges else None
        skips = maps[-2::-1]
        for number, (up, join) in enumerate(zip(self.up, self.join, strict=True)):
            state = up(state)
            if number < len(skips):
                skip = skips[number]
                state = torch.cat([state, self.shortcut[number](skip) if len(self.shortcut) else skip], dim=1)
            state = join(state)
            if edges is not None:
                weight = F.interpolate(edges, size=state.shape[2:], mode="trilinear", align_corners=False)
                state = state + state * torch.sigmoid(weight)
        return state, edges
