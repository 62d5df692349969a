"""One network for one to four radiographs of any pose, with an uncertainty for every voxel.

Each picture passes one shared 2D encoder-decoder that is told how the view stands (its matrix, not
its place in the list), and that sees beside it what the mean training volume looks like from there. Its
features at three resolutions are sampled where every voxel centre projects to, passed through a layer
that again depends on the pose, and pooled over the views by mean and variance, so that neither number nor
order of the views matters. A residual 3D U-Net refines them together with the mean volume; its output is
added to that.

Source: own design. Features along the true rays as in Sun et al. (few-view INR, section 2), on grids
as in `lifting`; pooling by mean and variance as in IBRNet (Wang et al., CVPR 2021); conditioning by
scale and shift as in FiLM (Perez et al., AAAI 2018). What differs from `lifting`, and why:
- shared encoder and pooling, where `lifting` has an encoder per view and concatenates: any views;
- the pose chooses what a view adds to which pooled channel, so that two orthogonal views do not mix
  into one average: without it pooling loses what concatenation keeps;
- wide kernels only below the full resolution, where most of the time of `lifting` goes; with `finest=1`
  nothing at the full resolution but the parts of larger voxels, for who counts in minutes;
- the mean volume is an input, too: what a difference between the two pictures means depends on what lies
  there, which coordinates alone say slowly. With few steps this is worth most.

The second output is the logarithm of the squared error to expect (Kendall and Gal, NeurIPS 2017). Its
layers see the trunk's features and the mean without sending gradients back, and their gradients are
clipped apart (`clip_groups`): the volume learns what it would learn without them, and no PSNR is paid.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from xrecon.nets.lifting import LEVELS, SLOPE, voxel_centers
from xrecon.nets.ray_features import DESCRIPTOR, present_views, sample_points, seen_volume, view_descriptors
from xrecon.nets.registry import register_model
from xrecon.volume import InputError

POOLINGS = ("mean-variance", "mean", "attention")
MAX_VIEWS = 4
# Weight of a voxel that a view does not see, so that one that no view sees has a feature at all.
UNSEEN = 1e-3
# Of the [0, 1] scale: the error to expect starts here (log variance of 0.1) and stays above the
# smallest, about 3 HU, so that the loss is bounded below.
START_LOG_VARIANCE, LEAST_LOG_VARIANCE = -4.6, -13.5
# The logarithm has a long way to go while Adam's steps are small: its last layer's are this much longer.
LOG_VARIANCE_GAIN = 5.0


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(min(8, max(1, channels // 4)), channels)


def _centered(unit: torch.Tensor) -> torch.Tensor:
    """A unit volume with the values of a chest spread over about -1 to 1: lung is 0.1, soft tissue 0.4."""
    return 4.0 * unit - 1.0


def _parted(volume: torch.Tensor, halvings: int) -> torch.Tensor:
    """(b, 1, z, y, x) as the eight parts of voxels twice as large, (b, 8, z / 2, ...); as it is for 0."""
    if not halvings:
        return volume
    z, y, x = (n // 2 for n in volume.shape[2:])
    return volume.reshape(-1, z, 2, y, 2, x, 2).permute(0, 2, 4, 6, 1, 3, 5).reshape(-1, 8, z, y, x)


def _joined(parts: torch.Tensor, halvings: int) -> torch.Tensor:
    """The inverse of `_parted`."""
    if not halvings:
        return parts
    z, y, x = parts.shape[2:]
    state = parts.reshape(-1, 2, 2, 2, z, y, x).permute(0, 4, 1, 5, 2, 6, 3)
    return state.reshape(-1, 1, 2 * z, 2 * y, 2 * x)


class PosedBlock(nn.Module):
    """3x3 convolution, norm, scale and shift by the view's embedding, LeakyReLU; on single pictures."""

    def __init__(self, channels_in: int, channels: int, embedding: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.norm = _norm(channels)
        self.pose = nn.Linear(embedding, 2 * channels)

    def forward(self, x: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        scale, shift = self.pose(embedding)[..., None, None].chunk(2, dim=1)
        return functional.leaky_relu(self.norm(self.conv(x)) * (1 + scale) + shift, SLOPE)


class PosedEncoder(nn.Module):
    """Pictures (n, channels, rows, columns) to features at 1/2, 1/4 and 1/8 of their resolution."""

    def __init__(self, channels: int, widths: tuple[int, int, int], embedding: int) -> None:
        super().__init__()
        first, second, third = widths
        sizes = [channels, first, second, third, 2 * third]
        self.down = nn.ModuleList(
            nn.ModuleList([PosedBlock(a, b, embedding, 2), PosedBlock(b, b, embedding)])
            for a, b in zip(sizes, sizes[1:], strict=False)
        )
        self.up = nn.ModuleList(
            [
                PosedBlock(3 * third, third, embedding),
                PosedBlock(third + second, second, embedding),
                PosedBlock(second + first, first, embedding),
            ]
        )

    def forward(self, picture: torch.Tensor, embedding: torch.Tensor) -> list[torch.Tensor]:
        features = []
        for halve, refine in self.down:
            picture = refine(halve(picture, embedding), embedding)
            features.append(picture)
        state, out = features.pop(), []
        for layer in self.up:
            skip = features.pop()
            state = functional.interpolate(state, size=skip.shape[2:], mode="bilinear", align_corners=False)
            state = layer(torch.cat([state, skip], dim=1), embedding)
            out.append(state)
        return out[::-1]


class ViewPooling(nn.Module):
    """Features of one level, carried into the volume and pooled over the views.

    What the pose does to the features is linear, so it is done on the pictures, before sampling.
    features: channels of the level. width: channels of each view when they are pooled. After pooling
    there are `channels`.
    """

    def __init__(self, features: int, width: int, embedding: int, pooling: str) -> None:
        super().__init__()
        self.pooling = pooling
        self.mix = nn.Conv2d(features, width, 1)
        self.pose = nn.Linear(embedding, 2 * width)
        nn.init.normal_(self.pose.weight, std=embedding**-0.5)  # poses part the channels from the start
        self.place = nn.Linear(3, width, bias=False)
        self.depth = nn.Parameter(torch.randn(width, 1) * 0.3)  # along the viewing axis
        self.score = nn.Conv1d(width, 1, 1) if pooling == "attention" else None
        self.channels = width if pooling == "mean" else 2 * width

    def forward(
        self,
        features: torch.Tensor,
        matrices: torch.Tensor,
        points: torch.Tensor,
        shape: tuple[int, int],
        embedding: torch.Tensor,
        axes: torch.Tensor,
    ) -> torch.Tensor:
        """features (b * view, c, h, w), matrices (b, view, 3, 4), points (n, 3) in mm, embedding
        (b, view, e), viewing axes (b, view, 3) -> (b, channels, n)."""
        sizes = matrices.shape[:2]
        scale, shift = self.pose(embedding).flatten(0, 1)[..., None, None].chunk(2, dim=1)
        picture = self.mix(features) * (1 + scale) + shift
        state, inside = sample_points(picture, matrices.flatten(0, 1), points, shape)
        unit = (points / points.abs().amax()).T.to(state.dtype)
        state = state + (self.place.weight + self.depth * axes.flatten(0, 1)[:, None].to(state.dtype)) @ unit
        state = functional.leaky_relu(state, SLOPE)
        weight = (inside + UNSEEN) * present_views(matrices).flatten()[:, None, None].to(inside.dtype)
        if self.score is not None:
            weight = weight * self.score(state).clamp(-8, 8).exp()
        state, weight = state.unflatten(0, sizes), weight.unflatten(0, sizes)
        weight = weight / weight.sum(dim=1, keepdim=True)
        mean = (weight * state).sum(dim=1)
        if self.pooling == "mean":
            return mean
        return torch.cat([mean, (weight * (state - mean[:, None]) ** 2).sum(dim=1)], dim=1)


class Pointwise(nn.Linear):
    """A linear layer over the channels of (b, c, z, y, x); a 1x1x1 convolution takes longer on a CPU."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.baddbmm(
            self.bias[:, None], self.weight.expand(x.shape[0], -1, -1), x.flatten(2)
        ).unflatten(2, x.shape[2:])


class Residual(nn.Module):
    """Norm, LeakyReLU, 3x3x3 convolution, `depth` times, added to the input."""

    def __init__(self, channels: int, depth: int = 1) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *[
                nn.Sequential(_norm(channels), nn.LeakyReLU(SLOPE), nn.Conv3d(channels, channels, 3, 1, 1))
                for _ in range(depth)
            ]
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x) if len(self.layers) else x


@register_model("any-view")
class AnyViewNetwork(nn.Module):
    """Pictures and matrices of one to four views to a unit volume, and how uncertain it is.

    side: voxels per edge of the output cube, a multiple of 8. field_mm: edge of the cube about the
    isocentre. view_widths, grid_widths: channels of the 2D levels, and of the 3D levels with the bottom.
    pooling: over the views, out of `POOLINGS`. embedding: numbers that describe a view; 0: the network
    is not told how views stand. uncertainty: whether there is a second channel. prior: whether the mean
    volume is an input. full_convolutions: wide convolutions at the finest level of the grid, 0 to 2.
    finest: halvings of the cube at that level: 0, or 1 for a fifth of the time, where a voxel's eight parts
    are channels.
    Raises InputError for options that do not fit.
    """

    def __init__(
        self,
        side: int = 64,
        field_mm: float = 358.4,
        view_widths: tuple[int, int, int] = (24, 48, 96),
        grid_widths: tuple[int, int, int, int] = (16, 32, 64, 128),
        pooling: str = "mean-variance",
        embedding: int = 32,
        uncertainty: bool = True,
        prior: bool = True,
        full_convolutions: int = 1,
        finest: int = 0,
    ) -> None:
        super().__init__()
        if finest not in (0, 1):
            raise InputError(f"expected finest as 0 or 1, got {finest}")
        if side % (8 << finest) or side < 8:
            raise InputError(f"expected side as a positive multiple of {8 << finest}, got {side}")
        if full_convolutions not in (0, 1, 2):
            raise InputError(f"expected full_convolutions as 0, 1 or 2, got {full_convolutions}")
        if pooling not in POOLINGS:
            raise InputError(f"expected pooling out of {POOLINGS}, got {pooling!r}")
        self.side, self.field_mm = side, field_mm
        self.any_views, self.predicts_uncertainty = True, uncertainty
        self.told = embedding > 0
        embedding = max(embedding, 1)
        # Small at the start, so that poses are told apart gently: normed, which makes the scales of two
        # poses unlike from the first step, the network learnt more slowly.
        self.pose = nn.Sequential(
            nn.Linear(DESCRIPTOR, 2 * embedding), nn.SiLU(), nn.Linear(2 * embedding, embedding), nn.SiLU()
        )
        self.prior, self.finest = prior, finest
        self.encoder = PosedEncoder(1 + prior, tuple(view_widths), embedding)
        self.lift = nn.ModuleList(
            ViewPooling(c, w, embedding, pooling) for c, w in zip(view_widths, grid_widths, strict=False)
        )
        g, conv, parts = grid_widths, nn.Conv3d, 8**finest
        self.join = nn.ModuleList(
            Pointwise(self.lift[i].channels + (g[i - 1] + prior if i else prior * parts), g[i])
            for i in range(LEVELS)
        )
        # the finest level has its only convolution on the way up, where all is known
        down, up = ((full_convolutions // 2, 2, 2), (min(full_convolutions, 1), 2, 2))
        self.refine = nn.ModuleList(Residual(g[i], down[i]) for i in range(LEVELS))
        self.bottom = nn.Sequential(conv(g[2], g[3], 3, 2, 1), Residual(g[3], 2))
        self.narrow = nn.ModuleList(Pointwise(g[i + 1], g[i]) for i in range(LEVELS))
        self.up = nn.ModuleList(Residual(g[i], up[i]) for i in range(LEVELS))
        self.last = nn.Sequential(_norm(g[0]), nn.LeakyReLU(SLOPE))
        self.head = Pointwise(g[0], parts)
        nn.init.zeros_(self.head.weight)  # training starts at the mean volume
        nn.init.zeros_(self.head.bias)
        self.spread: nn.Module | None = None
        if uncertainty:
            self.spread = nn.Sequential(
                Pointwise(g[0] + parts, g[0]), nn.LeakyReLU(SLOPE), Pointwise(g[0], parts)
            )
            nn.init.zeros_(self.spread[-1].weight)
            nn.init.zeros_(self.spread[-1].bias)
        self.register_buffer("mean_volume", torch.zeros(1, 1, side, side, side))

    def clip_groups(self) -> list[list[nn.Parameter]]:
        """Parameters whose gradients are clipped together: the volume's, and the uncertainty's."""
        apart = [] if self.spread is None else list(self.spread.parameters())
        known = {id(p) for p in apart}
        rest = [p for p in self.parameters() if id(p) not in known]
        return [rest, apart] if apart else [rest]

    def _with_prior(self, pictures: torch.Tensor, matrices: torch.Tensor) -> torch.Tensor:
        """Each picture, and what the mean volume looks like there: (b * view, channel, rows, columns)."""
        seen = pictures.flatten(0, 1)[:, None]
        if not self.prior:
            return seen
        expected = seen_volume(self.mean_volume, self.field_mm, matrices.flatten(0, 1), seen.shape[2:])
        return torch.cat([seen, expected.to(seen.dtype)], dim=1)

    def _anatomy(self, level: int) -> torch.Tensor:
        """The mean volume on a level's grid, at the finest with all of its voxels."""
        if level == 0:
            return _parted(self.mean_volume, self.finest)
        return functional.avg_pool3d(self.mean_volume, 1 << (level + self.finest))

    def forward(self, pictures: torch.Tensor, matrices: torch.Tensor) -> torch.Tensor:
        """pictures (b, view, rows, columns) normalised, matrices (b, view, 3, 4) in LPS mm about the
        isocentre, all zeros for an absent view -> (b, 2, z, y, x): volume in [0, 1] units and the
        logarithm of its variance, or (b, 1, z, y, x) without uncertainty."""
        batch, shape = pictures.shape[0], tuple(pictures.shape[2:])
        described = view_descriptors(matrices).to(pictures.dtype)
        embedding = self.pose(described if self.told else torch.zeros_like(described))
        features = self.encoder(self._with_prior(pictures, matrices), embedding.flatten(0, 1))
        skips, state = [], None
        for level in range(LEVELS):
            side = self.side >> (level + self.finest)
            points = voxel_centers(side, self.field_mm, pictures.device).reshape(-1, 3)
            pooled = self.lift[level](
                features[level], matrices, points, shape, embedding, described[..., :3]
            ).reshape(batch, -1, side, side, side)
            if state is not None:
                pooled = torch.cat([pooled, functional.avg_pool3d(state, 2)], dim=1)
            if self.prior:
                anatomy = _centered(self._anatomy(level)).to(pooled.dtype)
                pooled = torch.cat([pooled, anatomy.expand(batch, -1, -1, -1, -1)], dim=1)
            state = self.refine[level](self.join[level](pooled))
            skips.append(state)
        state = self.bottom(state)
        for level in reversed(range(LEVELS)):
            state = functional.interpolate(
                self.narrow[level](state), scale_factor=2, mode="trilinear", align_corners=False
            )
            state = self.up[level](state + skips[level])
        state = self.last(state)
        volume = self.mean_volume + _joined(self.head(state).float(), self.finest)
        if self.spread is None:
            return volume
        seen = torch.cat([state, _parted(volume, self.finest).to(state.dtype)], dim=1).detach()
        away = LOG_VARIANCE_GAIN * _joined(self.spread(seen).float(), self.finest)
        return torch.cat([volume, (START_LOG_VARIANCE + away).clamp_min(LEAST_LOG_VARIANCE)], dim=1)
