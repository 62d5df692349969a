"""Back-projection and iterative reconstruction by the projector and its adjoint.

SIRT: Gilbert, Iterative methods for the three-dimensional reconstruction of an object from
projections. J Theor Biol 1972;36:105-117, in the weighted form of Gregor and Benson, IEEE Trans
Med Imaging 2008;27:918-924:

    x <- x + relaxation * C A^T R (y - A x),   R = 1 / (A 1),  C = 1 / (A^T 1).

With relaxation below 2 the residual sqrt(sum R (y - A x)^2) never rises, also when negative voxels
are set to 0. With ordered subsets of views (OS-SART; Andersen and Kak, Ultrason Imaging
1984;6:81-94) each iteration makes one such step per subset: as much progress for the same work many
times over at first, but with contradicting data it ends in a cycle instead of a least-squares fit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from xrecon.physics.filtered_backprojection import check_projections
from xrecon.physics.geometry import ViewGeometry
from xrecon.physics.projector import Projector
from xrecon.volume import InputError

# A ray or voxel whose weight is below this share of the largest counts as not met at all.
_SUPPORT = 1e-5
BACKPROJECTIONS = ("plain", "mean", "attenuation")


@dataclass(frozen=True, eq=False)
class IterativeResult:
    """A reconstruction and how it came about.

    volume: attenuation per mm (b, 1, z, y, x).
    residuals: before the first and after each iteration, the residual by that of an empty volume
        (1 is empty, 0 explains the projections), over the whole batch. With ordered subsets all
        but the last are gathered from the subsets as their turn comes.
    stopped: "iterations", "target" or "stalled".
    """

    volume: torch.Tensor
    residuals: tuple[float, ...]
    stopped: str

    @property
    def iterations(self) -> int:
        """How many were made."""
        return len(self.residuals) - 1


def backproject(
    projections: torch.Tensor,
    views: Sequence[ViewGeometry],
    volume_shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    origin: tuple[float, float, float] | None = None,
    direction: np.ndarray | None = None,
    *,
    normalize: str = "mean",
    views_per_call: int | None = None,
) -> torch.Tensor:
    """Projections (b, view, row, column) smeared back over a volume (b, 1, z, y, x).

    normalize: "plain" is A^T y, whose unit is that of y times mm; "mean" divides by the support
        A^T 1, so that each voxel has the mean of its rays' values; "attenuation" also divides each
        ray by its length in the volume first: for line integrals the mean attenuation per mm along
        the rays of a voxel, the first step of SIRT. A voxel that no ray meets is 0.
    Others as in `sirt`. Differentiable.
    """
    if normalize not in BACKPROJECTIONS:
        raise InputError(f"expected normalize to be one of {BACKPROJECTIONS}, got {normalize!r}")
    system = _System(
        projections, views, volume_shape, spacing, origin, direction, subsets=1, views_per_call=views_per_call
    )
    (subset,) = system.subsets
    total = projections.new_zeros(projections.shape[0], 1, *system.volume_shape)
    for block in subset.blocks:
        values = projections[:, block.numbers]
        if normalize == "attenuation":
            values = values * block.per_length
        total = total + block.projector.adjoint(values.contiguous())
    return total if normalize == "plain" else total * subset.per_support


@torch.no_grad()
def sirt(
    projections: torch.Tensor,
    views: Sequence[ViewGeometry],
    volume_shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    origin: tuple[float, float, float] | None = None,
    direction: np.ndarray | None = None,
    *,
    iterations: int = 50,
    relaxation: float = 1.0,
    nonnegative: bool = True,
    start: torch.Tensor | None = None,
    subsets: int = 1,
    target: float = 0.0,
    stall: float = 0.0,
    views_per_call: int | None = None,
    progress: Callable[[int, float], None] | None = None,
) -> IterativeResult:
    """Attenuation per mm (b, 1, z, y, x) from line integrals (b, view, row, column).

    views and grid as in `Projector`: any poses, any number of views from one on. What the views do
    not see (their null space) stays as it is in `start`.

    relaxation: above 0 and below 2. nonnegative: negative voxels become 0 after each step.
    start: (b, 1, z, y, x) per mm; zeros unless given.
    subsets: ordered subsets of views (view k is in subset k modulo their number); 1 is SIRT.
    target: stop at a residual (see `IterativeResult`) of this or less, such as the noise's share.
    stall: stop when an iteration lowers the residual by less than this fraction of it.
    views_per_call: at most this many views are projected at once, all of a subset unless given.
    progress: called with the number of iterations made and the residual before the last of them.

    Raises InputError for tensors, views or options that do not fit, and when no ray meets the grid.
    """
    if iterations < 1 or not 0 < relaxation < 2 or target < 0 or stall < 0:
        raise InputError(
            "expected one or more iterations, a relaxation between 0 and 2 and no negative target or stall, "
            f"got {iterations}, {relaxation}, {target}, {stall}"
        )
    system = _System(
        projections, views, volume_shape, spacing, origin, direction, subsets, views_per_call=views_per_call
    )
    if start is None:
        x = projections.new_zeros(projections.shape[0], 1, *system.volume_shape)
    else:
        expected = (projections.shape[0], 1, *system.volume_shape)
        if tuple(start.shape) != expected or not torch.isfinite(start).all():
            raise InputError(f"expected a finite start volume {expected}, got {tuple(start.shape)}")
        x = start.to(projections, copy=True)
    empty = _norm(system.residual(projections, None))
    if empty == 0:
        raise InputError("expected projections with values on rays that meet the volume, got zeros there")
    residuals: list[float] = []
    stopped = "iterations"
    for number in range(iterations):
        squares = 0.0
        for subset in system.subsets:
            step = torch.zeros_like(x)
            for block in subset.blocks:
                weighted, square = block.misfit(projections, x)
                step += block.projector.adjoint(weighted)
                squares += square
            x += step.mul_(subset.per_support).mul_(relaxation)
            if nonnegative:
                x.clamp_(min=0)
        residuals.append(float(np.sqrt(squares)) / empty)
        if progress is not None:
            progress(number + 1, residuals[-1])
        if residuals[-1] <= target:
            stopped = "target"
            break
        if stall and number and residuals[-2] - residuals[-1] < stall * residuals[-2]:
            stopped = "stalled"
            break
    residuals.append(_norm(system.residual(projections, x)) / empty)
    return IterativeResult(x, tuple(residuals), stopped)


class _Block:
    """Some views that are projected in one call; `per_length` is R, 0 for rays that miss the volume."""

    def __init__(self, numbers: list[int], projector: Projector) -> None:
        self.numbers, self.projector = numbers, projector
        ones = torch.ones(1, 1, *projector.volume_shape, dtype=projector.dtype, device=projector.device)
        self.per_length = _inverse(projector(ones))

    def misfit(self, projections: torch.Tensor, x: torch.Tensor | None) -> tuple[torch.Tensor, float]:
        """R (y - A x), and the sum of R (y - A x)^2; None is an empty volume."""
        difference = projections[:, self.numbers]
        if x is not None:
            difference = difference - self.projector(x)
        weighted = difference * self.per_length
        return weighted, float((weighted * difference).sum(dtype=torch.float64))


class _Subset:
    """Blocks of views whose updates are added up; `per_support` is C."""

    def __init__(self, blocks: Sequence[_Block]) -> None:
        self.blocks = tuple(blocks)
        met = (block.projector.adjoint((block.per_length > 0).to(block.per_length)) for block in self.blocks)
        self.per_support = _inverse(sum(met))


class _System:
    """The equations of all views, as subsets of blocks of views."""

    def __init__(
        self,
        projections: torch.Tensor,
        views: Sequence[ViewGeometry],
        volume_shape: tuple[int, int, int],
        spacing: tuple[float, float, float],
        origin: tuple[float, float, float] | None,
        direction: np.ndarray | None,
        subsets: int,
        views_per_call: int | None,
    ) -> None:
        views = check_projections(projections, views)
        if not 1 <= subsets <= len(views):
            raise InputError(f"expected 1 to {len(views)} subsets for as many views, got {subsets}")
        if views_per_call is not None and views_per_call < 1:
            raise InputError(f"expected views_per_call from 1, got {views_per_call}")
        self.volume_shape = tuple(int(n) for n in volume_shape)
        grid = (volume_shape, spacing, origin, direction)
        options = {"device": projections.device, "dtype": projections.dtype}

        def block(numbers: list[int]) -> _Block:
            return _Block(numbers, Projector([views[n] for n in numbers], *grid, **options))

        self.subsets = []
        for first in range(subsets):
            members = list(range(first, len(views), subsets))
            size = views_per_call or len(members)
            self.subsets.append(
                _Subset([block(members[at : at + size]) for at in range(0, len(members), size)])
            )
        if not any(bool((b.per_length > 0).any()) for subset in self.subsets for b in subset.blocks):
            raise InputError("expected views whose rays meet the volume, got none that do")

    def residual(self, projections: torch.Tensor, x: torch.Tensor | None) -> float:
        """The sum of R (y - A x)^2 over all views."""
        return sum(block.misfit(projections, x)[1] for subset in self.subsets for block in subset.blocks)


def _norm(square: float) -> float:
    return float(np.sqrt(square))


def _inverse(weights: torch.Tensor) -> torch.Tensor:
    """One over each weight; 0 where the weight is no more than rounding."""
    met = weights > _SUPPORT * weights.max()
    return torch.where(met, 1.0 / torch.where(met, weights, torch.ones_like(weights)), 0.0)
