"""Volumes inside X-Recon: instance normalisation, and volumes that a map repeated along an axis makes.

Source: Wang et al., X-Recon, sections III-A1 and III-A3; the savings are exact rearrangements.
Statistics over parts follow Chan, Golub, LeVeque: "Algorithms for computing the sample variance",
The American Statistician 1983;37:242-247. All volumes are (b, c, D, H, W).

While gradients are recorded, and in graphs for torch.compile and torch.export, everything is written
with differentiable operations. Else results overwrite their inputs and are worked through in
pieces that stay in a CPU's cache, channels last, which is where convolutions are fastest.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch.nn import functional as F

EPSILON = 1e-5
HALF = (torch.float16, torch.bfloat16)
CHANNELS_LAST = torch.channels_last_3d
# Numbers worked on at once on a CPU: 16 MB in float32. glibc gives larger arrays back to the
# system each time, and fetching them anew costs more than the arithmetic.
PIECE = 2**22


def records_graph() -> bool:
    """Whether gradients are recorded or a graph is being made: nothing may be overwritten then."""
    return torch.is_grad_enabled() or torch.compiler.is_compiling()


def instance_norm(x: torch.Tensor) -> torch.Tensor:
    """Each channel of each sample to mean 0 and variance 1 over its positions: (b, c, ...), same shape.

    No parameters, no running statistics, eps 1e-5, the same in training and evaluation. A channel
    of one single position becomes 0, which is what the formula says (torch refuses that case).
    """
    if x[0, 0].numel() == 1:
        return x - x  # not zeros: a NaN must stay visible
    return F.instance_norm(x, eps=EPSILON)


def norm_relu(x: torch.Tensor) -> torch.Tensor:
    """Instance norm and ReLU of a volume that nobody else needs: it may be overwritten."""
    if records_graph():
        return F.relu(instance_norm(x))
    x = x.contiguous(memory_format=CHANNELS_LAST)
    pieces = x.split(slices_at_once(x), dim=2)
    statistics = ChannelStatistics()
    for piece in pieces:
        statistics.add(piece)
    normal = statistics.normal()
    for piece in pieces:
        normal.relu_(piece)
    return x


def slices_at_once(x: torch.Tensor) -> int:
    """How many D slices of `x` make a piece."""
    return max(1, PIECE // max(1, x[:, :, 0].numel())) if x.device.type == "cpu" else x.shape[2]


class Normal(NamedTuple):
    """An instance norm with known statistics: (x - mean) * scale, each (b, c) in float64."""

    mean: torch.Tensor
    scale: torch.Tensor

    def relu_(self, x: torch.Tensor) -> torch.Tensor:
        """Overwrites the channels-last volume `x` with ReLU(norm(x)) and returns it."""
        rows = _rows(x)
        working = rows.float() if rows.dtype in HALF else rows
        mean, scale = (v.to(working.dtype).repeat(1, x.shape[4]).unsqueeze(1) for v in self)
        working.sub_(mean).mul_(scale).relu_()  # in this order a constant channel becomes zero
        if working is not rows:
            rows.copy_(working)
        return x


class ChannelStatistics:
    """Mean and variance of each channel of each sample, over parts of a volume given one by one.

    Each part is centred on its own mean before it is squared, so no large numbers cancel.
    """

    def __init__(self) -> None:
        self._count = 0
        self._mean: torch.Tensor | float = 0.0
        self._squares: torch.Tensor | float = 0.0  # sum of squared deviations from the mean

    def add(self, part: torch.Tensor) -> None:
        """Takes in a channels-last volume (b, c, any D, H, W)."""
        rows = _rows(part)
        rows = rows.float() if rows.dtype in HALF else rows
        mean = rows.mean(1)
        squares = (rows - mean.unsqueeze(1)).square_().sum(1)
        columns = (part.shape[0], part.shape[4], part.shape[1])  # one mean per W and channel so far
        mean, squares = mean.double().view(columns), squares.double().view(columns)
        center = mean.mean(1)
        squares = squares.sum(1) + rows.shape[1] * (mean - center.unsqueeze(1)).square().sum(1)
        self._combine(rows.shape[1] * part.shape[4], center, squares)

    def _combine(self, count: int, mean: torch.Tensor, squares: torch.Tensor) -> None:
        total = self._count + count
        apart = mean - self._mean
        self._squares = self._squares + squares + apart**2 * (self._count * count / total)
        self._mean = self._mean + apart * (count / total)
        self._count = total

    def normal(self) -> Normal:
        """The instance norm with these statistics."""
        return Normal(self._mean, torch.rsqrt(self._squares / self._count + EPSILON))


def _rows(x: torch.Tensor) -> torch.Tensor:
    """A view (b, D * H, W * c) of a channels-last volume; long rows keep elementwise work fast."""
    b, c, d, h, w = x.shape
    return x.permute(0, 2, 3, 4, 1).view(b, d * h, w * c)


# -- volumes made of one repeated slice ----------------------------------------------------------
# A map repeated along an axis and then convolved is the same in all slices but the outermost ones.
# Such a volume is kept as few slices, of which the middle one stands for all that are left out.
def repeated_norm_relu(slices: torch.Tensor, depth: int) -> torch.Tensor:
    """ReLU(instance norm) of the `depth` slices that `slices` (b, c, n, s, s) stand for, as n slices."""
    x = slices.float() if slices.dtype in HALF else slices
    weights = torch.ones(x.shape[2], dtype=x.dtype, device=x.device)
    weights[x.shape[2] // 2] += depth - x.shape[2]
    weights = (weights / depth).view(-1, 1, 1)
    mean = (x.mean(dim=(3, 4), keepdim=True) * weights).sum(2, keepdim=True)
    x = x - mean
    variance = (x.square().mean(dim=(3, 4), keepdim=True) * weights).sum(2, keepdim=True)
    return F.relu(x * torch.rsqrt(variance + EPSILON)).to(slices.dtype)


def convolve_repeated(
    slices: torch.Tensor, kernel: torch.Tensor, bias: torch.Tensor | None, depth: int, distinct: int
) -> torch.Tensor:
    """Convolution 3x3x3 with zero padding of the `depth` slices that `slices` stand for.

    slices: (b, c, n, s, s); kernel: (o, c, 3, 3, 3). Returns m = min(depth, distinct) slices
    (b, o, m, s, s), where `distinct` is n + 2 or more. One convolution in 2D, all slices side by
    side as channels: of the kernel's three layers, those are added up that meet the same slice.
    """
    given, made = slices.shape[2], min(depth, distinct)
    before = given // 2
    source = [min(i, max(before, i - made + given)) for i in range(made)]  # which slice each one is
    rows = []
    for j in range(made):
        blocks: list[torch.Tensor | None] = [None] * given
        for layer, i in enumerate(range(j - 1, j + 2)):
            if 0 <= i < made:
                block, k = kernel[:, :, layer], source[i]
                blocks[k] = block if blocks[k] is None else blocks[k] + block
        rows.append(torch.cat([torch.zeros_like(kernel[:, :, 0]) if k is None else k for k in blocks], dim=1))
    beside = slices.transpose(1, 2).flatten(1, 2)
    result = F.conv2d(beside, torch.cat(rows), None if bias is None else bias.repeat(made), padding=1)
    return result.unflatten(1, (made, kernel.shape[0])).transpose(1, 2)


def repeat_middle(slices: torch.Tensor, depth: int, axis: int = 2) -> torch.Tensor:
    """The volume with `depth` slices along `axis` that `slices` stand for."""
    count = slices.shape[axis]
    if count == depth:
        return slices
    before, middle, after = slices.split(_thirds(count, 1), dim=axis)
    sizes = list(slices.shape)
    sizes[axis] = depth - count + 1
    return torch.cat([before, middle.expand(sizes), after], dim=axis)


def add_repeated(volume: torch.Tensor, slices: torch.Tensor, axis: int) -> torch.Tensor:
    """`volume`, which may be overwritten, plus the volume that `slices` stand for along `axis`."""
    depth, count = volume.shape[axis], slices.shape[axis]
    if records_graph():
        return volume + repeat_middle(slices, depth, axis)
    parts = zip(
        volume.split(_thirds(count, depth - count + 1), dim=axis),
        slices.split(_thirds(count, 1), dim=axis),
        strict=True,
    )
    for own, added in parts:
        own += added
    return volume


def _thirds(count: int, middle: int) -> list[int]:
    """How many slices lie before, in, and after the middle."""
    return [count // 2, middle, count - count // 2 - 1]
