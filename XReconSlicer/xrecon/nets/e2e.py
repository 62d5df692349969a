"""E2E: both radiographs repeated along their rays into one 3D encoder-decoder.

Paper: Kasten, Doktofsky, Kovler, "End-to-end convolutional neural network for 3D reconstruction of knee
bones from bi-planar X-ray images", MLMIR at MICCAI 2020, as described by Tan et al. (EAR, section 4.3).
No code was used; the encoder-decoder is MONAI's residual UNet.

Changed: it gives CT values instead of bone classes, so the mean absolute or squared error takes the
place of the weighted cross-entropy; the loss on reprojected bone is the engine's `loss.projection`.
The first level already halves the side, which spares most of the time and memory.
Ablation: `residual_units=0` for plain convolutions, `widths` for depth and width.
"""

from __future__ import annotations

import torch
from torch import nn

from xrecon.nets.biplanar import PAIR, require_side, spread, superior_pictures
from xrecon.nets.registry import register_model
from xrecon.volume import InputError


@register_model("e2e")
class EndToEnd(nn.Module):
    """Frontal and lateral picture to a unit volume.

    side: voxels per edge, a multiple of 2 per level below the first, and at least 2 at the coarsest.
    widths: channels of the levels. residual_units: pairs of convolutions per level.
    Raises InputError for options that do not fit.
    """

    view_sets = PAIR

    def __init__(
        self, side: int = 64, widths: tuple[int, ...] = (16, 32, 64, 128, 256), residual_units: int = 2
    ) -> None:
        super().__init__()
        from monai.networks.nets import UNet

        if len(widths) < 2:
            raise InputError(f"expected widths of at least two levels, got {tuple(widths)}")
        require_side(side, 2 ** (len(widths) - 1), 2 ** len(widths), "e2e")
        self.side = side
        self.network = UNet(
            spatial_dims=3,
            in_channels=2,
            out_channels=1,
            channels=tuple(widths),
            strides=(2,) * (len(widths) - 1),
            num_res_units=residual_units,
            norm=("instance", {"affine": True}),
            act=("LeakyReLU", {"negative_slope": 0.1}),
        )

    def forward(self, pictures: torch.Tensor, matrices: torch.Tensor | None = None) -> torch.Tensor:
        """pictures (b, 2, rows, columns) -> (b, 1, z, y, x); the matrices are ignored."""
        views = superior_pictures(pictures, self.side, PAIR[0])
        volumes = [spread(v, kind, self.side) for v, kind in zip(views, PAIR[0], strict=True)]
        return self.network(torch.cat(volumes, dim=1))
