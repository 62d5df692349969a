"""X-Recon's generator: two radiographs to one CT volume.

Paper: Wang et al., "X-Recon: Learning-based Patient-specific High-Resolution CT Reconstruction from
Orthogonal X-Ray Images", sections III-A1 and III-A3. Published network: wangyunpengbio/X-Recon (no
licence; nothing was copied). What differs from the published network, all without effect on the
result: layers whose output is never used are left out (`dead_branches` brings them back), instance
normalisation keeps no running statistics, no feature outlives its last use, convolutions over joined
volumes are split instead of joining them, and of a map repeated along an axis only the distinct
slices are computed.

Two encoder-decoder branches, one per view, each have an axis of repetition, the projection axis of
their view. At each of the six scales their features are averaged; the mean goes back into both
branches and into a main branch, where one 1x1x1 convolution per scale predicts a CT value
("rendering"). The predictions are added up from coarse to fine, each step halving what came before.

The published branches keep their volumes in the axis order of their view, with the projection axis
first. Here all volumes are in CT order and the kernels are permuted instead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from xrecon.nets.xrecon_blocks import (
    CT_ORDER,
    Bridge,
    ConvBlock3d,
    Encoder,
    MergeBlock3d,
    Order,
    SkipLift,
    UpBlock3d,
    initialize,
    run,
)
from xrecon.nets.xrecon_finest import FinestScale
from xrecon.nets.xrecon_volumes import records_graph
from xrecon.volume import InputError

# Scale k has the side S / 2**k; widths of the decoders at scales 0..5 for 64 base channels.
DECODER_WIDTHS = (16, 16, 32, 64, 128, 256)
COARSEST = len(DECODER_WIDTHS) - 1
SIDE_MULTIPLE = 2**COARSEST
LEAK = 0.01

# From the axis order of each view to CT order (D, H, W).
FRONTAL_TO_CT: Order = (0, 1, 3, 2, 4)  # view order (H, D, W)
LATERAL_TO_CT: Order = (0, 1, 3, 4, 2)  # view order (W, D, H)
PRECISIONS = {"float32": None, "float16": torch.float16, "bfloat16": torch.bfloat16}


class ViewBranch(nn.Module):
    """Encoder and decoder of one view; volumes in CT order, parameters in the axis order of the view.

    `lifts[k]` and `merges[k]` serve scale k (0..4); `rises[k]` takes scale k + 1 to scale k.
    """

    def __init__(
        self,
        order: Order,
        base_channels: int,
        widths: tuple[int, ...],
        side: int,
        dropout: float,
        skip_connections: bool,
    ) -> None:
        super().__init__()
        self.order = order
        self.encoder = Encoder(base_channels)
        self.bridge = Bridge(self.encoder.code_size, widths[COARSEST], side // SIDE_MULTIPLE, dropout)
        self.lifts = nn.ModuleList(
            SkipLift(inputs, width)
            for inputs, width in zip(self.encoder.widths, widths[:COARSEST], strict=True)
            if skip_connections
        )
        self.merges = nn.ModuleList(MergeBlock3d(w, w, lifted=skip_connections) for w in widths[:COARSEST])
        self.rises = nn.ModuleList(_rise(widths, k, joined=1) for k in range(COARSEST))

    def encode(
        self, image: torch.Tensor, checkpointing: bool = False
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        """(b, 1, S, S) -> feature maps by scale, and the coarsest volume."""
        maps, code = self.encoder(image, checkpointing)
        return maps, self.bridge(code).permute(self.order)

    def descend(self, scale: int, volume: torch.Tensor, feature_map: torch.Tensor) -> torch.Tensor:
        """The volume of scale + 1 -> the volume of `scale`, joined with the encoder's map."""
        volume = _ascend(self.rises[scale], volume, order=self.order)
        return self.merges[scale](volume, self.lift(scale, feature_map), order=self.order)

    def lift(self, scale: int, feature_map: torch.Tensor) -> torch.Tensor | None:
        """The encoder's map as distinct slices of its lifted volume; None without skip connections."""
        return self.lifts[scale](feature_map) if self.lifts else None


Views = tuple[tuple[ViewBranch, torch.Tensor, torch.Tensor], ...]  # branch, volume, map of its encoder


class XReconGenerator(nn.Module):
    """Dense encoders, fused decoders and multi-scale rendering of X-Recon.

    Input (b, 2, S, S), values 0..1: channel 0 the PA view with rows D and columns W, channel 1 the
    lateral view with rows D and columns H. Output (b, 1, D, H, W), each of length S: the network
    value is (HU + 1024) / 2500, not bounded by the network. Axis order as published: **D runs from
    superior to inferior** (index 0 is superior), H from anterior to posterior, W towards the
    patient's left. `xrecon.volume.Volume` has z towards superior, so the caller flips dim 2 when the
    class says `depth_axis_is_superior_first`.

    side: S, a multiple of 32. At 32 the last encoder stage sees a single position, which instance
        normalisation sets to zero; use that size for trials only.
    base_channels: width of the stem, 64 as published; every other width scales with it. A multiple
        of 4, so that the narrowest decoder (a quarter of it) is a whole number.
    skip_connections: hand the encoders' feature maps to the decoders.
    multiscale_fusion: hand the mean of both branches back to them at every scale; without it each
        branch keeps its own features and they meet in the main branch only.
    dropout: probability behind the linear bridge, in training only.
    checkpointing: in training, keep only what enters each stage and compute the rest again for the
        gradients: about a third more time for a fraction of the memory. May be switched later.
    precision: of the decoders' arithmetic when no gradients are recorded: "float32" (or whatever
        the weights have), "float16", "bfloat16", or "auto": float16 on CUDA, float32 elsewhere.
        Encoders and sums stay in float32. Training is governed by torch.autocast alone.
    dead_branches: also hold the layers that the published network computes and never uses (45 602
        parameters at 64 base channels). They are never run here; they only make the parameter count
        the published one and let a complete published state be stored.

    Parameters with dead branches at S = 64, 128, 224: 25 217 655, 37 517 943, 98 799 735; without:
    25 172 053, 37 472 341, 98 754 133. Raises InputError for options or inputs that do not fit.
    """

    depth_axis_is_superior_first = True

    def __init__(
        self,
        side: int = 128,
        *,
        base_channels: int = 64,
        skip_connections: bool = True,
        multiscale_fusion: bool = True,
        dropout: float = 0.5,
        checkpointing: bool = False,
        precision: str = "auto",
        dead_branches: bool = False,
    ) -> None:
        super().__init__()
        _require_options(side, base_channels, dropout, precision)
        self.side = side
        self.multiscale_fusion = multiscale_fusion
        self.checkpointing = checkpointing
        self.precision = precision
        # Without gradients: hold no volume of full size and compute those needed twice or thrice.
        self.low_memory = False
        widths = tuple(w * base_channels // 64 for w in DECODER_WIDTHS)
        options = (base_channels, widths, side, dropout, skip_connections)
        self.frontal = ViewBranch(FRONTAL_TO_CT, *options)
        self.lateral = ViewBranch(LATERAL_TO_CT, *options)
        # fuse_rises[k] takes the main branch from scale k + 1 to scale k, heads[k] renders scale k.
        self.fuse_rises = nn.ModuleList(_rise(widths, k, joined=2) for k in range(COARSEST))
        self.heads = nn.ModuleList(nn.Conv3d(2 * w, 1, 1) for w in widths[:COARSEST])
        self.unused = _unused_layers(widths[0]) if dead_branches else None
        initialize(self)

    def forward(self, radiographs: torch.Tensor) -> torch.Tensor:
        """(b, 2, S, S) -> (b, 1, D, H, W); see the class for axes and values."""
        _require_radiographs(radiographs, self.side)
        frontal_maps, frontal = self.frontal.encode(radiographs[:, 0:1], self.checkpointing)
        lateral_maps, lateral = self.lateral.encode(radiographs[:, 1:2], self.checkpointing)
        half = None if records_graph() else self._half(radiographs.device)
        if half is None:
            return self._decode(frontal, frontal_maps, lateral, lateral_maps)
        with torch.autocast(radiographs.device.type, half):
            return self._decode(frontal, frontal_maps, lateral, lateral_maps).to(radiographs.dtype)

    def _half(self, device: torch.device) -> torch.dtype | None:
        """The half precision of the decoders without gradients; None when it is not wanted."""
        if self.precision == "auto":
            return torch.float16 if device.type == "cuda" else None
        return PRECISIONS[self.precision]

    def _decode(
        self,
        frontal: torch.Tensor,
        frontal_maps: list[torch.Tensor],
        lateral: torch.Tensor,
        lateral_maps: list[torch.Tensor],
    ) -> torch.Tensor:
        """The coarsest volumes and the maps by scale of both views -> the CT volume."""
        main, rendered = ((frontal + lateral) / 2,), None
        for scale in range(COARSEST - 1, 0, -1):
            if self.multiscale_fusion:
                frontal = lateral = main[0]
            frontal = self._run(self.frontal.descend, scale, frontal, frontal_maps[scale])
            lateral = self._run(self.lateral.descend, scale, lateral, lateral_maps[scale])
            own = self._run(_ascend, self.fuse_rises[scale], *main)
            main = ((frontal + lateral) / 2, own)
            rendered = _blend(_predict(self.heads[scale], *main), rendered)
        if self.multiscale_fusion:
            frontal = lateral = main[0]
        views = ((self.frontal, frontal, frontal_maps[0]), (self.lateral, lateral, lateral_maps[0]))
        predicted = self._finest(main, views) if records_graph() else self._finest_in_slabs(main, views)
        return F.leaky_relu(_blend(predicted + self.heads[0].bias, rendered), LEAK)

    def _run(self, compute: Callable[..., torch.Tensor], *inputs: Any) -> torch.Tensor:
        return run(compute, *inputs, checkpointing=self.checkpointing)

    # At full size the mean of the branches goes nowhere but through the head, a 1x1x1 convolution. So it
    # is not made: the head is a sum over both branches and the main branch, without its bias.
    def _finest(self, main: tuple[torch.Tensor, ...], views: Views) -> torch.Tensor:
        """The full-size prediction for gradients; checkpointing keeps no volume of full size."""
        mean_kernel, own_kernel = self.heads[0].weight.chunk(2, dim=1)
        predicted = self._run(_project, own_kernel, _ascend, self.fuse_rises[0], *main)
        for branch, volume, feature_map in views:
            part = self._run(_project, mean_kernel / 2, branch.descend, 0, volume, feature_map)
            predicted = predicted + part
        return predicted

    def _finest_in_slabs(self, main: tuple[torch.Tensor, ...], views: Views) -> torch.Tensor:
        """The same without gradients, slab by slab; with low memory no volume of full size is made."""
        finest = FinestScale(self.side, keep=not self.low_memory)
        mean_kernel, own_kernel = self.heads[0].weight.flatten().chunk(2)
        predicted = finest.project(self.fuse_rises[0][-1], _refine(self.fuse_rises[0], *main), own_kernel)
        for branch, volume, feature_map in views:
            rise, merge, order = branch.rises[0], branch.merges[0], branch.order
            volume, lifted = _refine(rise, volume, order=order), branch.lift(0, feature_map)
            predicted += finest.project(rise[-1], volume, mean_kernel / 2, order, merge, lifted)
        return predicted


def _predict(head: nn.Conv3d, mean: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    """The head's 1x1x1 convolution of both, joined, without joining them."""
    of_mean, of_own = head.weight.chunk(2, dim=1)
    return F.conv3d(mean, of_mean, head.bias) + F.conv3d(own, of_own)


def _project(kernel: torch.Tensor, compute: Callable[..., torch.Tensor], *inputs: Any) -> torch.Tensor:
    """The volume that `compute` makes, seen through a 1x1x1 kernel."""
    return F.conv3d(compute(*inputs), kernel)


def _blend(predicted: torch.Tensor, coarser: torch.Tensor | None) -> torch.Tensor:
    own = F.leaky_relu(predicted, LEAK)
    if coarser is None:
        return own / 2
    return (F.interpolate(coarser, scale_factor=2, mode="trilinear", align_corners=False) + own) / 2


def _ascend(rise: nn.Sequential, *volumes: torch.Tensor, order: Order = CT_ORDER) -> torch.Tensor:
    """Volumes of one scale, together, to the next finer one."""
    return rise[-1](_refine(rise, *volumes, order=order), order)


def _refine(rise: nn.Sequential, *volumes: torch.Tensor, order: Order = CT_ORDER) -> torch.Tensor:
    """All of `_ascend` but the enlargement."""
    for block in rise[:-1]:
        volumes = (block(*volumes, order=order),)
    return volumes[0]


def _rise(widths: tuple[int, ...], scale: int, joined: int) -> nn.Sequential:
    """One decoder from scale + 1 to `scale`.

    `joined` volumes of the coarser scale come in, concatenated; at the coarsest scale it is always
    one, the bridge's, and goes straight to the up-sampling.
    """
    width = widths[scale + 1]
    up = UpBlock3d(width, widths[scale])
    if scale + 1 == COARSEST:
        return nn.Sequential(up)
    return nn.Sequential(ConvBlock3d(joined * width, width), ConvBlock3d(width, width), up)


def _unused_layers(width: int) -> nn.ModuleDict:
    """The published layers at full size that nothing depends on."""
    views = {
        name: nn.Sequential(ConvBlock3d(width, width), nn.Conv3d(width, 1, 7, padding=3))
        for name in ("frontal", "lateral")
    }
    main = nn.Sequential(ConvBlock3d(2 * width, width), ConvBlock3d(width, width))
    return nn.ModuleDict({**views, "main": main})


def _require_options(side: int, base_channels: int, dropout: float, precision: str) -> None:
    for name, value, multiple in (("side", side, SIDE_MULTIPLE), ("base_channels", base_channels, 4)):
        if not isinstance(value, int) or value < multiple or value % multiple:
            raise InputError(f"expected {name} as a positive multiple of {multiple}, got {value}")
    if not 0.0 <= dropout < 1.0:
        raise InputError(f"expected dropout in [0, 1), got {dropout}")
    if precision != "auto" and precision not in PRECISIONS:
        raise InputError(f"expected precision 'auto' or one of {sorted(PRECISIONS)}, got {precision!r}")


def _require_radiographs(radiographs: torch.Tensor, side: int) -> None:
    if radiographs.ndim != 4 or tuple(radiographs.shape[1:]) != (2, side, side):
        raise InputError(
            f"expected radiographs (batch, 2, {side}, {side}): PA and lateral, got {tuple(radiographs.shape)}"
        )
