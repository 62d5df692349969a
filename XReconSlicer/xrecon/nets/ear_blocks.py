"""Modules of EAR: frequency enhancement, edge attention with gated convolutions, CBAM in 3D.

Paper: Tan et al., "EAR: Edge-Aware Reconstruction of 3-D vertebrae structures from bi-planar X-ray
images", sections 3.3 and 3.4. CBAM: Woo et al., ECCV 2018. No code was used.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from xrecon.nets.blocks import ResidualBlock, conv_block, norm_layer


class FrequencyEnhancement(nn.Module):
    """FEM, equation 1: (b, c, z, y, x) of the same shape out.

    Instance norm, Fourier transform, one convolution on the real and one on the imaginary parts, the
    inverse transform (of which the magnitude is taken, as the paper says), joined with the input.
    The transform of a real volume is symmetric, so half of it is computed; always in float32.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = norm_layer(3, channels, "instance")
        self.real = nn.Conv3d(channels, channels, 3, padding=1)
        self.imaginary = nn.Conv3d(channels, channels, 3, padding=1)
        self.join = conv_block(3, 2 * channels, channels, slope=0.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wide = torch.promote_types(x.dtype, torch.float32)
        with torch.autocast(x.device.type, enabled=False):
            spectrum = torch.fft.rfftn(self.norm(x.to(wide)), dim=(2, 3, 4), norm="ortho")
            changed = torch.complex(self.real(spectrum.real), self.imaginary(spectrum.imag))
            back = torch.fft.irfftn(changed, s=x.shape[2:], dim=(2, 3, 4), norm="ortho").abs()
        return self.join(torch.cat([back.to(x.dtype), x], dim=1))


class GatedConvolution(nn.Module):
    """The modified gated convolution, equation 2: F * gate + F.

    Two convolution blocks on F and the gating features make the gate; the second ends in a sigmoid.
    """

    def __init__(self, channels: int, gating: int, norm: str) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            conv_block(3, channels + gating, channels, norm=norm, slope=0.0),
            nn.Conv3d(channels, channels, 3, padding=1, bias=norm == "none"),
            norm_layer(3, channels, norm),
        )

    def forward(self, features: torch.Tensor, gating: torch.Tensor) -> torch.Tensor:
        gating = F.interpolate(gating, size=features.shape[2:], mode="trilinear", align_corners=False)
        return features * torch.sigmoid(self.gate(torch.cat([features, gating], dim=1))) + features


class EdgeAttention(nn.Module):
    """EAM: features of up to three encoder levels, finest first -> logits of an edge map (b, 1, ...).

    The finest level passes a residual block and is gated by each coarser level in turn.
    """

    def __init__(self, widths: tuple[int, ...], norm: str) -> None:
        super().__init__()
        first = widths[0]
        self.residual = nn.ModuleList(ResidualBlock(3, first, first, norm=norm, slope=0.0) for _ in widths)
        self.gates = nn.ModuleList(GatedConvolution(first, w, norm) for w in widths[1:])
        self.head = nn.Conv3d(first, 1, 3, padding=1)

    def forward(self, features: list[torch.Tensor]) -> torch.Tensor:
        state = self.residual[0](features[0])
        for block, gate, coarser in zip(self.residual[1:], self.gates, features[1:], strict=True):
            state = block(gate(state, coarser))
        return self.head(state)


class CBAM3d(nn.Module):
    """Convolutional block attention, equations 3 and 4: channels weighed first, then voxels."""

    def __init__(self, channels: int, reduction: int = 4, kernel: int = 7) -> None:
        super().__init__()
        hidden = max(channels // reduction, 1)
        self.channels = nn.Sequential(
            nn.Conv3d(channels, hidden, 1), nn.LeakyReLU(0.1), nn.Conv3d(hidden, channels, 1)
        )
        self.voxels = nn.Conv3d(2, 1, kernel, padding=kernel // 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, top = x.mean(dim=(2, 3, 4), keepdim=True), x.amax(dim=(2, 3, 4), keepdim=True)
        x = x * torch.sigmoid(self.channels(mean) + self.channels(top))
        along = torch.cat([x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)], dim=1)
        return x * torch.sigmoid(self.voxels(along))
