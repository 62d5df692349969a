"""Building blocks of X-Recon (Wang et al., "X-Recon: Learning-based Patient-specific High-Resolution
CT Reconstruction from Orthogonal X-Ray Images", sections III-A1 to III-A3).

Written from the paper and from measured facts about the published network (layer widths, kernel
sizes, parameter counts); no code was taken from the published repository, which has no licence.

Every convolution has a bias, also before an instance normalisation, where it cannot act: the
published parameter counts include those biases, and published weights bring them along.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from xrecon.nets.xrecon_volumes import (
    add_repeated,
    convolve_repeated,
    instance_norm,
    norm_relu,
    repeated_norm_relu,
)

# Layers of each of the five densely connected encoder modules.
DENSE_LAYERS = (4, 8, 16, 8, 4)
INITIAL_DEVIATION = 0.02

# How a tensor in the axis order of a view is permuted into CT order, batch and channels first. The
# decoders' kernels are permuted instead of their volumes, which costs nothing.
Order = tuple[int, int, int, int, int]
CT_ORDER: Order = (0, 1, 2, 3, 4)


class InstanceNorm(nn.Module):
    """`instance_norm` as a module: (b, c, ...) -> (b, c, ...)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return instance_norm(x)


class ConvBlock3d(nn.Module):
    """Convolution 3x3x3, instance norm, ReLU: (b, inputs, D, H, W) -> (b, outputs, D, H, W)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(inputs, outputs, 3, padding=1)

    def forward(self, *volumes: torch.Tensor, order: Order = CT_ORDER) -> torch.Tensor:
        """Several volumes count as one, their channels one after the other.

        order: where each axis of the kernel lies in the volumes.
        """
        return norm_relu(self.convolve(*volumes, order=order))

    def convolve(self, *volumes: torch.Tensor, order: Order = CT_ORDER) -> torch.Tensor:
        """The convolution alone: a sum over the volumes, which saves joining them."""
        kernels = self.conv.weight.permute(order).split([v.shape[1] for v in volumes], dim=1)
        total = F.conv3d(volumes[0], kernels[0], self.conv.bias, padding=1)
        for volume, kernel in zip(volumes[1:], kernels[1:], strict=True):
            total += F.conv3d(volume, kernel, padding=1)
        return total


class MergeBlock3d(ConvBlock3d):
    """A `ConvBlock3d` on a volume joined with lifted maps that are kept as few slices.

    The convolution is split: the volume's half runs over the whole volume; the half of the lifted
    maps has at most five distinct slices along the axis of repetition.
    """

    DISTINCT = 5

    def __init__(self, inputs: int, outputs: int, lifted: bool) -> None:
        super().__init__(2 * inputs if lifted else inputs, outputs)
        self.inputs = inputs

    def forward(
        self, volume: torch.Tensor, lifted: torch.Tensor | None = None, order: Order = CT_ORDER
    ) -> torch.Tensor:
        """volume (b, inputs, D, H, W) in CT order, `lifted` as from `SkipLift` or None."""
        total = F.conv3d(volume, self.kernel(order), self.conv.bias, padding=1)
        if lifted is not None:
            total = add_repeated(total, self.lifted_part(lifted, order), axis=order.index(2))
        return norm_relu(total)

    def kernel(self, order: Order) -> torch.Tensor:
        """The half of the kernel that acts on the volume, axes in CT order."""
        return self.conv.weight[:, : self.inputs].permute(order)

    def lifted_part(self, lifted: torch.Tensor, order: Order) -> torch.Tensor:
        """What the lifted maps add, as distinct slices along their axis, all in CT order."""
        kernel = self.conv.weight[:, self.inputs :]
        return convolve_repeated(lifted, kernel, None, lifted.shape[-1], self.DISTINCT).permute(order)


class UpBlock3d(nn.Module):
    """Transposed convolution that doubles each side, instance norm, ReLU: (b, c, D, H, W)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose3d(inputs, outputs, 3, stride=2, padding=1, output_padding=1)

    def forward(self, x: torch.Tensor, order: Order = CT_ORDER) -> torch.Tensor:
        return norm_relu(self.convolve(x, order))

    def convolve(self, x: torch.Tensor, order: Order = CT_ORDER) -> torch.Tensor:
        """The transposed convolution alone."""
        kernel, bias = self.conv.weight.permute(order), self.conv.bias
        return F.conv_transpose3d(x, kernel, bias, stride=2, padding=1, output_padding=1)


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

    def forward(
        self, x: torch.Tensor, checkpointing: bool = False
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        maps = [F.relu(self.norm(self.stem(x)))]
        for stage in self.stages:
            maps.append(run(stage, maps[-1], checkpointing=checkpointing))
        return maps[:-1], maps[-1].mean(dim=(2, 3))


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
    """A feature map of the encoder, repeated along the projection axis of its view and convolved.

    (b, inputs, s, s) -> (b, outputs, n, s, s), n = min(s, 3); the new axis is dim 2. All s slices of
    the volume but the first and the last are the same, so only three are computed: first, interior,
    last. The instance norm weighs the interior one as often as it occurs.
    """

    DISTINCT = 3

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(inputs, outputs, 1)
        self.norm = InstanceNorm()
        self.spread = ConvBlock3d(outputs, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.norm(self.reduce(x)))
        depth, conv = x.shape[-1], self.spread.conv
        slices = convolve_repeated(x.unsqueeze(2), conv.weight, conv.bias, depth, self.DISTINCT)
        return repeated_norm_relu(slices, depth)


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


def run(compute: Callable[..., Any], *inputs: Any, checkpointing: bool) -> Any:
    """`compute(*inputs)`; with `checkpointing`, its inner results are computed again for the gradients."""
    if checkpointing and torch.is_grad_enabled():
        return checkpoint(compute, *inputs, use_reentrant=False)
    return compute(*inputs)
