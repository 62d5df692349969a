"""Convolution blocks that the re-implemented papers share."""

from __future__ import annotations

import torch
from torch import nn

_CONVOLUTIONS = {2: nn.Conv2d, 3: nn.Conv3d}
_TRANSPOSED = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_INSTANCE = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
_BATCH = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
NORMS = ("instance", "group", "batch", "none")
GROUPS = 8


def norm_layer(dims: int, channels: int, kind: str) -> nn.Module:
    """One of `NORMS` for (b, channels, ...); instance and batch norm with learnt scale and offset."""
    if kind == "instance":
        return _INSTANCE[dims](channels, affine=True)
    if kind == "group":
        groups = next(n for n in range(min(GROUPS, channels), 0, -1) if channels % n == 0)
        return nn.GroupNorm(groups, channels)
    return _BATCH[dims](channels) if kind == "batch" else nn.Identity()


def conv_block(
    dims: int,
    inputs: int,
    outputs: int,
    *,
    kernel: int = 3,
    stride: int = 1,
    norm: str = "instance",
    slope: float = 0.1,
) -> nn.Sequential:
    """Convolution, norm, leaky ReLU (slope 0 is ReLU), in 2D or 3D. Odd kernels keep the side.

    The convolution has a bias only where no norm takes it away again.
    """
    conv = _CONVOLUTIONS[dims](inputs, outputs, kernel, stride, kernel // 2, bias=norm == "none")
    return nn.Sequential(conv, norm_layer(dims, outputs, norm), nn.LeakyReLU(slope))


def up_block(
    dims: int, inputs: int, outputs: int, *, kernel: int = 3, norm: str = "instance", slope: float = 0.1
) -> nn.Sequential:
    """Transposed convolution that doubles the side (kernel 2 or 3), norm, leaky ReLU."""
    padding = {2: {}, 3: {"padding": 1, "output_padding": 1}}[kernel]
    conv = _TRANSPOSED[dims](inputs, outputs, kernel, stride=2, bias=norm == "none", **padding)
    return nn.Sequential(conv, norm_layer(dims, outputs, norm), nn.LeakyReLU(slope))


def conv_sequence(dims: int, inputs: int, outputs: int, count: int = 2, **options: object) -> nn.Sequential:
    """`count` blocks in a row; only the first changes the width."""
    widths = [inputs, *[outputs] * count]
    return nn.Sequential(
        *(conv_block(dims, a, b, **options) for a, b in zip(widths[:-1], widths[1:], strict=True))
    )


class ResidualBlock(nn.Module):
    """Two convolution blocks beside a shortcut (a 1x1 convolution where the width changes), summed."""

    def __init__(self, dims: int, inputs: int, outputs: int, **options: object) -> None:
        super().__init__()
        self.body = conv_sequence(dims, inputs, outputs, **options)
        self.shortcut = nn.Identity() if inputs == outputs else _CONVOLUTIONS[dims](inputs, outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x) + self.shortcut(x)
