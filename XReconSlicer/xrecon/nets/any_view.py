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

With `air=True` the network says of every voxel how likely it is pleural air, and where it does the volume
becomes air. In HU air and lung are so close that a pneumothorax weighs next to nothing in a loss on the
volume, which a network then does not learn; as a class it weighs what it should (`loss.air`). The same
volume is compared as a whole, so that air in the wrong place costs there, too. In training it also marks
the shadow of that air in each picture, where a pneumothorax is plainest.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from xrecon.nets.any_view_blocks import (
    POOLINGS,
    Pointwise,
    PosedEncoder,
    Residual,
    ViewPooling,
    group_norm,
)
from xrecon.nets.lifting import LEVELS, SLOPE, voxel_centers
from xrecon.nets.outputs import TrainingOutputs
from xrecon.nets.ray_features import DESCRIPTOR, seen_volume, view_descriptors
from xrecon.nets.registry import register_model
from xrecon.volume import InputError

MAX_VIEWS = 4
# Of the [0, 1] scale: the error to expect starts here (log variance of 0.1) and stays above the
# smallest, about 3 HU, so that the loss is bounded below.
START_LOG_VARIANCE, LEAST_LOG_VARIANCE = -4.6, -13.5
# The logarithm has a long way to go while Adam's steps are small: its last layer's are this much longer.
LOG_VARIANCE_GAIN = 5.0
# Pleural air is rare: its logit starts where one voxel in four hundred is air.
START_AIR_LOGIT = -6.0
# Faint edges: a picture less its mean over this many pixels a side, so many times as strong.
DETAIL_PIXELS, DETAIL_GAIN = 9, 10.0
AIR_UNIT = 0.0096  # -1000 HU in the window from -1024 to 1476


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


@register_model("any-view")
class AnyViewNetwork(nn.Module):
    """Pictures and matrices of one to four views to a unit volume, and how uncertain it is.

    side: voxels per edge of the output cube, a multiple of 8. field_mm: edge of the cube about the
    isocentre. view_widths, grid_widths: channels of the 2D levels, and of the 3D levels with the bottom.
    pooling: over the views, out of `POOLINGS`. embedding: numbers that describe a view; 0: the network
    is not told how views stand. uncertainty: whether there is a second channel. prior: whether the mean
    volume is an input. full_convolutions: wide convolutions at the finest level of the grid, 0 to 2.
    finest: halvings of the cube at that level: 0, or 1 for a fifth of the time, where a voxel's eight parts
    are channels. air: whether pleural air is told apart and put into the volume. detail: whether each picture
    is given a second time without what is smooth in it.
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
        air: bool = False,
        detail: bool = False,
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
        self.prior, self.finest, self.detail = prior, finest, detail
        self.encoder = PosedEncoder(1 + detail + prior, tuple(view_widths), embedding)
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
        self.last = nn.Sequential(group_norm(g[0]), nn.LeakyReLU(SLOPE))
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
        self.air: nn.Module | None = None
        if air:
            self.shadow = nn.Conv2d(view_widths[0], 1, 1)
            nn.init.constant_(self.shadow.bias, START_AIR_LOGIT)
            self.air = Pointwise(g[0], parts)
            nn.init.zeros_(self.air.weight)
            nn.init.constant_(self.air.bias, START_AIR_LOGIT)
        self.wants_reference = self.predicts_air = air  # for its logits in training
        self.register_buffer("mean_volume", torch.zeros(1, 1, side, side, side))

    def clip_groups(self) -> list[list[nn.Parameter]]:
        """Parameters whose gradients are clipped together: the volume's, and the uncertainty's."""
        apart = [] if self.spread is None else list(self.spread.parameters())
        known = {id(p) for p in apart}
        rest = [p for p in self.parameters() if id(p) not in known]
        return [rest, apart] if apart else [rest]

    def _channels(self, pictures: torch.Tensor, matrices: torch.Tensor) -> torch.Tensor:
        """Each picture, its detail, and what the mean volume looks like there: (b * view, channel, rows,
        columns)."""
        seen = pictures.flatten(0, 1)[:, None]
        channels = [seen]
        if self.detail:
            around = functional.pad(seen, (DETAIL_PIXELS // 2,) * 4, mode="replicate")
            channels.append(DETAIL_GAIN * (seen - functional.avg_pool2d(around, DETAIL_PIXELS, 1)))
        if self.prior:
            expected = seen_volume(self.mean_volume, self.field_mm, matrices.flatten(0, 1), seen.shape[2:])
            channels.append(expected.to(seen.dtype))
        return torch.cat(channels, dim=1)

    def _anatomy(self, level: int) -> torch.Tensor:
        """The mean volume on a level's grid, at the finest with all of its voxels."""
        if level == 0:
            return _parted(self.mean_volume, self.finest)
        return functional.avg_pool3d(self.mean_volume, 1 << (level + self.finest))

    def forward(
        self,
        pictures: torch.Tensor,
        matrices: torch.Tensor,
        reference: torch.Tensor | None = None,
        only_shadow: bool = False,
    ) -> torch.Tensor | TrainingOutputs:
        """pictures (b, view, rows, columns) normalised, matrices (b, view, 3, 4) in LPS mm about the
        isocentre, all zeros for an absent view -> (b, 2, z, y, x): volume in [0, 1] units and the
        logarithm of its variance, or (b, 1, z, y, x) without uncertainty.

        With `reference` (the true volume, which is not looked at) also the logits of pleural air; with
        `only_shadow` those of its shadow alone, for which nothing is done in 3D.
        """
        features, embedding, described = self._features(pictures, matrices)
        if only_shadow:
            return TrainingOutputs(None, air_shadow=self._shadow(features, pictures))
        state = self._state(features, embedding, described, pictures, matrices)
        volume = self.mean_volume + _joined(self.head(state).float(), self.finest)
        air = None
        if self.air is not None:
            air = _joined(self.air(state).float(), self.finest)
            volume = torch.lerp(volume, volume.new_tensor(AIR_UNIT), air.sigmoid())
        outputs = volume if self.spread is None else self._with_variance(volume, state)
        if reference is None:
            return outputs
        return TrainingOutputs(outputs, air=air, air_shadow=self._shadow(features, pictures))

    def _shadow(self, features: list[torch.Tensor], pictures: torch.Tensor) -> torch.Tensor | None:
        """Logits (b, view, rows, columns) of where a picture shows pleural air, at half its resolution."""
        if self.air is None:
            return None
        return self.shadow(features[0])[:, 0].float().unflatten(0, pictures.shape[:2])

    def _with_variance(self, volume: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        seen = torch.cat([state, _parted(volume, self.finest).to(state.dtype)], dim=1).detach()
        away = LOG_VARIANCE_GAIN * _joined(self.spread(seen).float(), self.finest)
        return torch.cat([volume, (START_LOG_VARIANCE + away).clamp_min(LEAST_LOG_VARIANCE)], dim=1)

    def _features(
        self, pictures: torch.Tensor, matrices: torch.Tensor
    ) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]:
        """Of the pictures at 1/2, 1/4, 1/8 of their resolution, (b * view, channels, rows, columns); the
        embeddings of the views and what describes them, (b, view, numbers)."""
        described = view_descriptors(matrices).to(pictures.dtype)
        embedding = self.pose(described if self.told else torch.zeros_like(described))
        features = self.encoder(self._channels(pictures, matrices), embedding.flatten(0, 1))
        return features, embedding, described

    def _state(
        self,
        features: list[torch.Tensor],
        embedding: torch.Tensor,
        described: torch.Tensor,
        pictures: torch.Tensor,
        matrices: torch.Tensor,
    ) -> torch.Tensor:
        """What is known of each voxel of the finest level, (b, channels, z, y, x)."""
        batch, shape = pictures.shape[0], tuple(pictures.shape[2:])
        skips, state = [], None
        for level in range(LEVELS):
            side = self.side >> (level + self.finest)
            points = voxel_centers(side, self.field_mm, pictures.device)
            pooled = self.lift[level](features[level], matrices, points, shape, embedding, described[..., :3])
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
        return self.last(state)
