"""X-Recon's full-size scale without gradients, in slabs of a few slices along D.

At full size a decoder's volume has 16 channels (719 MB in float32 at 224^3), and all that is wanted
of it is a weighted sum of its channels. So one branch is worked through after the other, in one
buffer: a slab of a convolution replaces the slab it was made from, once its neighbours have had
what they need of it. An instance norm needs the statistics of the whole volume; those are gathered
slab by slab on the way in, and the norm is applied on the way out.

With `keep=False` there is no buffer: every slab is made again for each pass over the volume.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext

import torch
from torch.nn import functional as F

from xrecon.nets.xrecon_blocks import CT_ORDER, MergeBlock3d, Order, UpBlock3d
from xrecon.nets.xrecon_volumes import (
    CHANNELS_LAST,
    HALF,
    ChannelStatistics,
    Normal,
    add_repeated,
    slices_at_once,
)

# Slices first..stop of a volume along D, channels last; to be overwritten at will.
Fetch = Callable[[int, int], torch.Tensor]
Slab = tuple[int, int, torch.Tensor]
# On a GPU a slab has this many numbers (64 MB in float16), a quarter of it when memory is short.
GPU_SLAB = 2**25


class FinestScale:
    """Projects decoder volumes of side `side` onto their channels; `keep` as above."""

    def __init__(self, side: int, keep: bool = True) -> None:
        self.side, self.keep = side, keep

    def project(
        self,
        up: UpBlock3d,
        coarse: torch.Tensor,
        weights: torch.Tensor,
        order: Order = CT_ORDER,
        merge: MergeBlock3d | None = None,
        lifted: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Sum over the channels of `merge(up(coarse), lifted)` with `weights`, or of `up(coarse)`.

        coarse: (b, inputs, S/2, S/2, S/2) in CT order. weights: (c,). order, lifted: as of the
        blocks. -> (b, 1, S, S, S), at least float32.
        """
        slabs = self._slabs(coarse.shape[0] * up.conv.out_channels, coarse)
        hold = _Holder(self.side if self.keep else None)

        def raised() -> Iterator[Slab]:
            return ((a, b, _raise(up, coarse, order, a, b)) for a, b in slabs)

        normal = _measure(raised(), hold)
        if merge is not None:
            above: Fetch = hold.fetch if self.keep else lambda a, b: _raise(up, coarse, order, a, b)
            raised_normal = normal
            part = None if lifted is None else _last(merge.lifted_part(lifted, order))

            def merged() -> Iterator[Slab]:
                return _convolve(merge, order, part, above, raised_normal, slabs)

            normal = _measure(merged(), hold)
        again = ((a, b, hold.fetch(a, b)) for a, b in slabs) if self.keep else (merged if merge else raised)()
        return _weigh(again, normal, weights, self.side)

    def _slabs(self, channels: int, like: torch.Tensor) -> list[tuple[int, int]]:
        slice_like = like.new_empty((1, 1, 1, 1, 1)).expand(1, channels, 1, self.side, self.side)
        if like.device.type == "cpu":
            count = slices_at_once(slice_like)
        else:
            count = max(1, GPU_SLAB // (1 if self.keep else 4) // slice_like.numel())
        # Pairs come from one slice of the coarser scale; torch leaves thinner slabs to slow kernels.
        count = max(4, count // 2 * 2)
        return [(a, min(a + count, self.side)) for a in range(0, self.side, count)]


class _Holder:
    """A buffer for one volume; without a side it forgets what it is given."""

    def __init__(self, side: int | None) -> None:
        self._side, self._buffer = side, None

    def put(self, first: int, stop: int, slab: torch.Tensor) -> None:
        if self._side is None:
            return
        if self._buffer is None:
            shape = (*slab.shape[:2], self._side, *slab.shape[3:])
            self._buffer = torch.empty(
                shape, dtype=slab.dtype, device=slab.device, memory_format=CHANNELS_LAST
            )
        self._buffer[:, :, first:stop] = slab

    def fetch(self, first: int, stop: int) -> torch.Tensor:
        return self._buffer[:, :, first:stop]


def _measure(slabs: Iterable[Slab], hold: _Holder) -> Normal:
    """The instance norm of a volume that comes in slabs."""
    statistics = ChannelStatistics()
    for first, stop, slab in slabs:
        statistics.add(slab)
        hold.put(first, stop, slab)
    return statistics.normal()


def _raise(up: UpBlock3d, coarse: torch.Tensor, order: Order, first: int, stop: int) -> torch.Tensor:
    """Slices first..stop of the transposed convolution, without its norm.

    Slice 2i comes from slice i of the coarser volume, slice 2i + 1 from i and i + 1.
    """
    begin, end = first // 2, (stop + 1) // 2
    part = coarse[:, :, begin : end + 1]
    if part.device.type == "cpu":
        if part.shape[2] == end - begin:  # there is no slice end: zero
            part = F.pad(part, (0, 0, 0, 0, 0, 1))
        slab = _transposed_convolution(part, up.conv.weight.permute(order), up.conv.bias)
    else:
        slab = up.convolve(part, order)
    return _last(slab[:, :, first - 2 * begin : stop - 2 * begin])


def _transposed_convolution(x: torch.Tensor, kernel: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """As an `UpBlock3d`'s, of all slices of `x` (b, inputs, n + 1, h, w) but the last: 2n slices.

    Every second slice and row of the result is a convolution with part of the kernel (inputs,
    outputs, 3, 3, 3): its layer 1, or 2 and 0. Along W both are made at once. Four convolutions in
    2D, channels last; for thin slabs on a CPU five times as fast as the library's own.
    """
    b, _, n, h, w = (*x.shape[:2], x.shape[2] - 1, *x.shape[3:])
    layers = ([1], [2, 0])
    both = kernel.new_tensor([[[0, 1, 0], [0, 0, 0]], [[0, 0, 1], [1, 0, 0]]])
    kernel = torch.einsum("iozyx,pqx->poizyq", kernel, both).flatten(0, 1)  # (2 outputs, inputs, 3, 3, 2)
    bias = bias.repeat(2)
    padded = F.pad(x.movedim(1, -1), (0, 0, 0, 1, 0, 1))  # (b, n + 1, h + 1, w + 1, inputs)
    result = x.new_empty((b, n, 2, h, 2, w, len(kernel)))
    for i, taken in enumerate((padded[:, :n], torch.cat([padded[:, :n], padded[:, 1:]], dim=-1))):
        taken = taken.flatten(0, 1).movedim(-1, 1)
        of_slice = kernel[:, :, layers[i]].transpose(1, 2).flatten(1, 2)
        for j in range(2):
            part = of_slice[:, :, layers[j]].contiguous(memory_format=torch.channels_last)
            made = F.conv2d(taken[:, :, : h + j], part, bias)
            result[:, :, i, :, j] = made.movedim(1, -1).unflatten(0, (b, n))
    return result.view(b, 2 * n, 2 * h, 2 * w, len(kernel) // 2).movedim(-1, 1)


def _convolve(
    merge: MergeBlock3d,
    order: Order,
    lifted_part: torch.Tensor | None,
    above: Fetch,
    normal: Normal,
    slabs: list[tuple[int, int]],
) -> Iterator[Slab]:
    """The merging convolution without its norm, slab by slab.

    Each slice of the volume above is fetched once and before the slab with its number is given out,
    so that the receiver may overwrite it.
    """
    kernel, bias = merge.kernel(order), merge.conv.bias
    side, known, rim = slabs[-1][1], 0, None
    for first, stop in slabs:
        new = normal.relu_(above(known, min(stop + 1, side)))
        edge = torch.zeros_like(new[:, :, :1])
        parts = [edge if rim is None else rim, new] + ([edge] if stop == side else [])
        joined = _last(torch.cat(parts, dim=2))
        known, rim = stop + 1, joined[:, :, -2:].clone()
        result = _last(F.conv3d(joined, kernel, bias, padding=(0, 1, 1)))
        if lifted_part is not None:
            result = add_repeated(result, lifted_part[:, :, first:stop], order.index(2))
        yield first, stop, result


def _weigh(slabs: Iterable[Slab], normal: Normal, weights: torch.Tensor, side: int) -> torch.Tensor:
    """Sum over the channels of ReLU(norm(volume)) with `weights`: (b, 1, side, side, side)."""
    total = None
    for first, stop, slab in slabs:
        slab = normal.relu_(slab).movedim(1, -1)
        half = slab.dtype in HALF
        slab = slab.float() if half else slab
        if total is None:
            total = slab.new_empty((slab.shape[0], 1, side, side, side))
        with torch.autocast(slab.device.type, enabled=False) if half else nullcontext():
            total[:, 0, first:stop] = slab @ weights.to(slab.dtype)
    return total


def _last(x: torch.Tensor) -> torch.Tensor:
    return x.contiguous(memory_format=CHANNELS_LAST)
