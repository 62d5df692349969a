"""Parallel paths of several resolutions that exchange features (after HRNet), in 2D and 3D.

Source: Ge et al., X-CTRSNet, equations 2, 3 and 12: path k has 1/2^k of the resolution and starts from
path k - 1 by a strided convolution, one column later. In every later column each path adds what the
others had: finer ones through chains of strided 3-wide convolutions, coarser ones through nearest
neighbour and a 1-wide convolution. (The printed equations name some terms twice and leave one out; read
as columns they are HRNet's.) Sun et al., CVPR 2019, is the source of the exchange.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from xrecon.nets.blocks import conv_block, conv_sequence

PATHS = 4  # scales 1, 1/2, 1/4, 1/8
_CONVOLUTIONS = {2: nn.Conv2d, 3: nn.Conv3d}


class Exchange(nn.Module):
    """Features of several scales, finest first, each summed with all others: same shapes out, but for the
    widths of `outputs`."""

    def __init__(self, dims: int, widths: list[int], outputs: list[int], norm: str) -> None:
        super().__init__()
        self.own, self.moves = nn.ModuleList(), nn.ModuleDict()
        for to, width in enumerate(outputs):
            same = width == widths[to]
            self.own.append(nn.Identity() if same else _CONVOLUTIONS[dims](widths[to], width, 1))
            for source, inputs in enumerate(widths):
                if source < to:
                    steps = [inputs] * (to - source) + [width]
                    chain = [
                        conv_block(dims, a, b, stride=2, norm=norm)
                        for a, b in zip(steps[:-1], steps[1:], strict=True)
                    ]
                    self.moves[f"{source}_{to}"] = nn.Sequential(*chain)
                elif source > to:
                    self.moves[f"{source}_{to}"] = _CONVOLUTIONS[dims](inputs, width, 1)

    def forward(self, features: list[torch.Tensor]) -> list[torch.Tensor]:
        sums = []
        for to, own in enumerate(self.own):
            total = own(features[to])
            for source, other in enumerate(features):
                if source != to:
                    moved = self.moves[f"{source}_{to}"](other)
                    if source > to:
                        moved = F.interpolate(moved, size=total.shape[2:], mode="nearest")
                    total = total + moved
            sums.append(total)
        return sums


class MultiScalePaths(nn.Module):
    """(b, inputs, ...) -> the last features of the four paths, finest first.

    widths[k][t]: channels of path k in column t, from column k on (earlier ones are not used). The last
    column is column 4, so that the coarsest path exchanges once. exchange: paths add each other's
    features; without, they only start from each other. Sides must be multiples of 8.
    """

    COLUMNS = 5

    def __init__(
        self,
        dims: int,
        inputs: int,
        widths: list[list[int]],
        norm: str,
        *,
        exchange: bool = True,
        convs: int = 2,
    ) -> None:
        super().__init__()
        self.start, self.sequences, self.exchanges = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for column in range(self.COLUMNS):
            present = min(column, PATHS)  # paths that exist in the column before
            before = [widths[k][column - 1] for k in range(present)]
            now = [widths[k][column] for k in range(present)]
            if column:
                self.exchanges.append(
                    Exchange(dims, before, now, norm)
                    if exchange
                    else nn.ModuleList(_CONVOLUTIONS[dims](a, b, 1) for a, b in zip(before, now, strict=True))
                )
            self.sequences.append(nn.ModuleList(conv_sequence(dims, w, w, convs, norm=norm) for w in now))
            if column < PATHS:
                fresh = widths[column][column]
                first = inputs if column == 0 else widths[column - 1][column - 1]
                down = conv_block(dims, first, fresh, stride=1 if column == 0 else 2, norm=norm)
                self.start.append(nn.Sequential(down, conv_sequence(dims, fresh, fresh, convs, norm=norm)))

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        features: list[torch.Tensor] = []
        for column in range(self.COLUMNS):
            last = features[-1] if features else x
            if features:
                exchange = self.exchanges[column - 1]
                joined = (
                    exchange(features)
                    if isinstance(exchange, Exchange)
                    else [conv(f) for conv, f in zip(exchange, features, strict=True)]
                )
                features = [layer(f) for layer, f in zip(self.sequences[column], joined, strict=True)]
            if column < PATHS:
                features.append(self.start[column](last))
        return features
