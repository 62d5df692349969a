"""X-Recon's discriminator: is this volume a CT that belongs to these two radiographs?

Paper: Wang et al., X-Recon, section III-A2: fully convolutional, 3D, with a coordinate convolution
first. Each value of the output judges the 70^3 voxels it sees. The published network (no licence;
nothing was copied) strides in its first three layers, not in "three cascaded modules" after the
first as the paper says; this class follows the published network.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from xrecon.nets.xrecon_blocks import CoordinateChannels, InstanceNorm, initialize
from xrecon.volume import InputError

LEAK = 0.2
KERNEL, PADDING = 4, 2
SMALLEST_SIDE = 8


class XReconDiscriminator(nn.Module):
    """Patch discriminator conditioned on the radiographs.

    Called with the volume (b, 1, D, H, W) in the generator's axis order (D superior first, all sides
    S) and the radiographs (b, 2, S, S), PA (D, W) and lateral (D, H). The PA image is repeated along
    H and the lateral one along W; channels are PA, lateral, CT, then the coordinates D, H, W. No
    gradient flows into the radiographs. Output (b, 1, d, d, d) with d = S // 8 + 3 for S a multiple
    of 8 (31 at 224): unbounded scores for the least squares loss, 1 real, 0 generated.

    base_channels: width of the first layer (64 as published), doubled in each of the next three.
    coordinates: append the coordinate channels (the paper's ablation switches them off).

    11 067 457 parameters at 64 channels with coordinates. Raises InputError for what does not fit.
    """

    kind = "critic"

    def __init__(self, *, base_channels: int = 64, coordinates: bool = True) -> None:
        super().__init__()
        if base_channels < 1:
            raise InputError(f"expected base_channels of at least 1, got {base_channels}")
        widths = [base_channels * 2**i for i in range(4)]
        self.coordinates = CoordinateChannels() if coordinates else nn.Identity()
        self.first = nn.Conv3d(6 if coordinates else 3, widths[0], KERNEL, stride=2, padding=PADDING)
        self.middle = nn.ModuleList(
            nn.Conv3d(inputs, outputs, KERNEL, stride=stride, padding=PADDING, bias=False)
            for inputs, outputs, stride in zip(widths[:-1], widths[1:], (2, 2, 1), strict=True)
        )
        self.norm = InstanceNorm()
        self.last = nn.Conv3d(widths[-1], 1, KERNEL, padding=PADDING)
        initialize(self)

    def forward(self, volume: torch.Tensor, radiographs: torch.Tensor) -> torch.Tensor:
        """(b, 1, D, H, W) and (b, 2, S, S) -> scores (b, 1, d, d, d)."""
        _require_inputs(volume, radiographs)
        frontal, lateral = radiographs.detach().split(1, dim=1)
        side = volume.shape[2]
        frontal = frontal.unsqueeze(3).expand(-1, -1, -1, side, -1)
        lateral = lateral.unsqueeze(4).expand(-1, -1, -1, -1, side)
        x = self.coordinates(torch.cat([frontal, lateral, volume], dim=1))
        x = F.leaky_relu(self.first(x), LEAK)
        for conv in self.middle:
            x = F.leaky_relu(self.norm(conv(x)), LEAK)
        return self.last(x)


def _require_inputs(volume: torch.Tensor, radiographs: torch.Tensor) -> None:
    if volume.ndim != 5 or volume.shape[1] != 1 or len(set(volume.shape[2:])) != 1:
        raise InputError(f"expected a cubic volume (batch, 1, S, S, S), got {tuple(volume.shape)}")
    batch, side = volume.shape[0], volume.shape[2]
    if side < SMALLEST_SIDE:
        raise InputError(f"expected a volume of at least {SMALLEST_SIDE} voxels a side, got {side}")
    if tuple(radiographs.shape) != (batch, 2, side, side):
        raise InputError(
            f"expected radiographs ({batch}, 2, {side}, {side}) for this volume, "
            f"got {tuple(radiographs.shape)}"
        )
