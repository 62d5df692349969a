"""X-Recon's generator: two radiographs to one CT volume.

Paper: Wang et al., "X-Recon: Learning-based Patient-specific High-Resolution CT Reconstruction from
Orthogonal X-Ray Images", sections III-A1 and III-A3. Published network: wangyunpengbio/X-Recon (no
licence; nothing was copied). What differs from the published network, all without effect on the
result: layers whose output is never used are left out (`dead_branches` brings them back), instance
normalisation keeps no running statistics, and no feature outlives its last use.

Two encoder-decoder branches, one per view, work in the axis order of their own view, so that dim 2
of every 3D feature is the projection axis of that view. At each of the six scales their features are
brought into CT order and averaged; the mean goes back into both branches and into a main branch,
where one 1x1x1 convolution per scale predicts a CT value ("rendering"). The predictions are added
up from coarse to fine, each step halving what came before.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from xrecon.nets.xrecon_blocks import Bridge, ConvBlock3d, Encoder, SkipLift, UpBlock3d, initialize
from xrecon.volume import InputError

# Scale k has the side S / 2**k; widths of the decoders at scales 0..5 for 64 base channels.
DECODER_WIDTHS = (16, 16, 32, 64, 128, 256)
COARSEST = len(DECODER_WIDTHS) - 1
SIDE_MULTIPLE = 2**COARSEST
LEAK = 0.01

# Permutations (batch and channels first) between CT order (D, H, W) and the order of each view.
FRONTAL_FROM_CT, FRONTAL_TO_CT = (0, 1, 3, 2, 4), (0, 1, 3, 2, 4)  # view order (H, D, W)
LATERAL_FROM_CT, LATERAL_TO_CT = (0, 1, 4, 2, 3), (0, 1, 3, 4, 2)  # view order (W, D, H)


class ViewBranch(nn.Module):
    """Encoder and decoder of one view, in the view's own axis order.

    `lifts[k]` and `merges[k]` serve scale k (0..4); `rises[k]` takes scale k + 1 to scale k.
    """

    def __init__(
        self, base_channels: int, widths: tuple[int, ...], side: int, dropout: float, skip_connections: bool
    ) -> None:
        super().__init__()
        self.encoder = Encoder(base_channels)
        self.bridge = Bridge(self.encoder.code_size, widths[COARSEST], side // SIDE_MULTIPLE, dropout)
        self.lifts = nn.ModuleList(
            SkipLift(inputs, width)
            for inputs, width in zip(self.encoder.widths, widths[:COARSEST], strict=True)
            if skip_connections
        )
        joined = 2 if skip_connections else 1
        self.merges = nn.ModuleList(ConvBlock3d(joined * w, w) for w in widths[:COARSEST])
        self.rises = nn.ModuleList(_rise(widths, k, joined=1) for k in range(COARSEST))

    def encode(self, image: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
        """(b, 1, S, S) -> feature maps by scale, and the coarsest volume."""
        maps, code = self.encoder(image)
        return maps, self.bridge(code)

    def descend(self, scale: int, volume: torch.Tensor, maps: list[torch.Tensor]) -> torch.Tensor:
        """The volume of scale + 1 -> the volume of `scale`, joined with the encoder's map."""
        volume = self.rises[scale](volume)
        if self.lifts:
            volume = torch.cat([volume, self.lifts[scale](maps[scale])], dim=1)
        return self.merges[scale](volume)


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
        dead_branches: bool = False,
    ) -> None:
        super().__init__()
        _require_options(side, base_channels, dropout)
        self.side = side
        self.multiscale_fusion = multiscale_fusion
        widths = tuple(w * base_channels // 64 for w in DECODER_WIDTHS)
        options = (base_channels, widths, side, dropout, skip_connections)
        self.frontal = ViewBranch(*options)
        self.lateral = ViewBranch(*options)
        # fuse_rises[k] takes the main branch from scale k + 1 to scale k, heads[k] renders scale k.
        self.fuse_rises = nn.ModuleList(_rise(widths, k, joined=2) for k in range(COARSEST))
        self.heads = nn.ModuleList(nn.Conv3d(2 * w, 1, 1) for w in widths[:COARSEST])
        self.unused = _unused_layers(widths[0]) if dead_branches else None
        initialize(self)

    def forward(self, radiographs: torch.Tensor) -> torch.Tensor:
        """(b, 2, S, S) -> (b, 1, D, H, W); see the class for axes and values."""
        _require_radiographs(radiographs, self.side)
        frontal_maps, frontal = self.frontal.encode(radiographs[:, 0:1])
        lateral_maps, lateral = self.lateral.encode(radiographs[:, 1:2])
        mean = _mean(frontal, lateral)
        main, rendered = mean, None
        for scale in reversed(range(COARSEST)):
            if self.multiscale_fusion:
                frontal, lateral = mean.permute(FRONTAL_FROM_CT), mean.permute(LATERAL_FROM_CT)
            frontal = self.frontal.descend(scale, frontal, frontal_maps)
            lateral = self.lateral.descend(scale, lateral, lateral_maps)
            mean = _mean(frontal, lateral)
            main = torch.cat([mean, self.fuse_rises[scale](main)], dim=1)
            rendered = self._render(scale, main, rendered)
        return F.leaky_relu(rendered, LEAK)

    def _render(self, scale: int, main: torch.Tensor, coarser: torch.Tensor | None) -> torch.Tensor:
        """Half of this scale's prediction plus half of the coarser ones, enlarged."""
        own = F.leaky_relu(self.heads[scale](main), LEAK)
        if coarser is None:
            return own / 2
        return (F.interpolate(coarser, scale_factor=2, mode="trilinear", align_corners=False) + own) / 2


def _mean(frontal: torch.Tensor, lateral: torch.Tensor) -> torch.Tensor:
    """Mean of both branches' volumes in CT order (b, c, D, H, W)."""
    return (frontal.permute(FRONTAL_TO_CT) + lateral.permute(LATERAL_TO_CT)) / 2


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


def _require_options(side: int, base_channels: int, dropout: float) -> None:
    for name, value, multiple in (("side", side, SIDE_MULTIPLE), ("base_channels", base_channels, 4)):
        if not isinstance(value, int) or value < multiple or value % multiple:
            raise InputError(f"expected {name} as a positive multiple of {multiple}, got {value}")
    if not 0.0 <= dropout < 1.0:
        raise InputError(f"expected dropout in [0, 1), got {dropout}")


def _require_radiographs(radiographs: torch.Tensor, side: int) -> None:
    if radiographs.ndim != 4 or tuple(radiographs.shape[1:]) != (2, side, side):
        raise InputError(
            f"expected radiographs (batch, 2, {side}, {side}): PA and lateral, got {tuple(radiographs.shape)}"
        )
