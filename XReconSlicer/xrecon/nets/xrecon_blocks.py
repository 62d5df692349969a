"""Building blocks of X-Recon (Wang et al., "X-Recon: Learning-based Patient-specific High-Resolution
CT Reconstruction from Orthogonal X-Ray Images", sections III-A1 to III-A3).

Written from the paper and from measured facts about the published network (layer widths, kernel
sizes, parameter counts); no code was taken from the published repository, which has no licence.

Every convolution has a bias, also before an instance normalisation, where it cannot act: the
published parameter counts include those biases, and published weights bring them along.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

# Layers of each of the five densely connected encoder modules.
DENSE_LAYERS = (4, 8, 16, 8, 4)
INITIAL_DEVIATION = 0.02


class InstanceNorm(nn.Module):
    """Instance normalisation without parameters and without running statistics.

    (b, c, ...) -> (b, c, ...): each channel of each sample gets mean 0 and variance 1 over its
    own positions, eps 1e-5, the same in training and evaluation. A channel of one single
    position becomes 0, which is what the formula says (torch's module refuses that case).
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x[0, 0].numel() == 1:
            return x - x  # not zeros: a NaN must stay visible
        return F.instance_norm(x)


class ConvBlock3d(nn.Module):
    """Convolution 3x3x3, instance norm, ReLU: (b, inputs, D, H, W) -> (b, outputs, D, H, W)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(inputs, outputs, 3, padding=1)
        self.norm = InstanceNorm()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.norm(self.conv(x)))


class UpBlock3d(nn.Module):
    """Transposed convolution that doubles each side, instance norm, ReLU: (b, c, D, H, W)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose3d(inputs, outputs, 3, stride=2, padding=1, output_padding=1)
        self.norm = InstanceNorm()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.norm(self.conv(x)))


class DenseLayer(nn.Module):
    """Appends `growth` channels made from all channels before: (b, c, h, w) -> (b, c + growth, h, w)."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.norm = InstanceNorm()
        self.squeeze = nn.Conv2d(inputs, 4 * growth, 1)
        self.grow = nn.Conv2d(4 * growth, growth, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        new = self.squeeze(F.relu(self.norm(x)))
        new = self.grow(F.relu(self.norm(new)))
        return torch.cat([x, new], dim=1)


class DenseStage(nn.Module):
    """Halve the side, grow densely, compress the channels by half (the last stage does not).

    (b, inputs, s, s) -> (b, self.outputs, s / 2, s / 2).
    """

    def __init__(self, inputs: int, growth: int, layers: int, compress: bool) -> None:
        super().__init__()
        self.norm = InstanceNorm()
        self.down = nn.Conv2d(inputs, inputs, 3, stride=2, padding=1)
        self.layers = nn.Sequential(*(DenseLayer(inputs + i * growth, growth) for i in range(layers)))
        grown = inputs + layers * growth
        self.outputs = grown // 2 if compress else grown
        self.compress = nn.Conv2d(grown, self.outputs, 1) if compress else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layers(self.down(F.relu(self.norm(x))))
        if self.compress is None:
            return x
        return self.compress(F.relu(self.norm(x)))


class Encoder(nn.Module):
    """Densely connected encoder of one radiograph.

    (b, 1, S, S) -> five feature maps of sides S, S/2, S/4, S/8, S/16 with `self.widths` channels,
    and a code (b, self.code_size): the last stage, averaged over all its positions. That code is
    all that passes the bridge to 3D; everything spatial goes through the skip connections.
    """

    def __init__(self, base_channels: int) -> None:
        super().__init__()
        growth = base_channels // 2
        self.stem = nn.Conv2d(1, base_channels, 7, padding=3, padding_mode="reflect")
        self.norm = InstanceNorm()
        self.stages = nn.ModuleList()
        widths = [base_channels]
        for number, layers in enumerate(DENSE_LAYERS):
            last = number == len(DENSE_LAYERS) - 1
            self.stages.append(DenseStage(widths[-1], growth, layers, compress=not last))
            widths.append(self.stages[-1].outputs)
        self.widths: tuple[int, ...] = tuple(widths[:-1])
        self.code_size: int = widths[-1]

    def forward(self, x: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
        maps = [F.relu(self.norm(self.stem(x)))]
        for stage in self.stages[:-1]:
            maps.append(stage(maps[-1]))
        return maps, self.stages[-1](maps[-1]).mean(dim=(2, 3))


class Bridge(nn.Module):
    """From the code of one view to its coarsest volume: (b, code) -> (b, channels, side, side, side)."""

    def __init__(self, code_size: int, channels: int, side: int, dropout: float) -> None:
        super().__init__()
        self.shape = (channels, side, side, side)
        self.linear = nn.Linear(code_size, channels * side**3)
        self.dropout = nn.Dropout(dropout)

    def forward(self, code: torch.Tensor) -> torch.Tensor:
        return F.relu(self.dropout(self.linear(code))).unflatten(1, self.shape)


class SkipLift(nn.Module):
    """A feature map of the encoder, repeated along the projection axis of its view.

    (b, inputs, s, s) -> (b, outputs, s, s, s); the new axis is dim 2. The repeated map is constant
    along that axis, so the result has only three distinct slices: first, interior, last.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(inputs, outputs, 1)
        self.norm = InstanceNorm()
        self.spread = ConvBlock3d(outputs, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.norm(self.reduce(x)))
        return self.spread(x.unsqueeze(2).expand(-1, -1, x.shape[-1], -1, -1))


class CoordinateChannels(nn.Module):
    """Appends where each voxel lies: (b, c, D, H, W) -> (b, c + 3, D, H, W).

    The three channels run linearly from -1 to +1 (both inclusive) along D, H and W, in this order
    (CoordConv in 3D without radius).
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        axes = [torch.linspace(-1.0, 1.0, n, dtype=x.dtype, device=x.device) for n in x.shape[2:]]
        grid = torch.stack(torch.meshgrid(*axes, indexing="ij"))
        return torch.cat([x, grid.expand(x.shape[0], -1, -1, -1, -1)], dim=1)


def initialize(module: nn.Module) -> None:
    """Weights of every convolution and linear layer N(0, 0.02), biases 0, as published."""
    for part in module.modules():
        if isinstance(part, (nn.Conv2d, nn.Conv3d, nn.ConvTranspose3d, nn.Linear)):
            nn.init.normal_(part.weight, 0.0, INITIAL_DEVIATION)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
