"""A volume moved towards its projections, no further than a prior about its error and their noise allow.

Given an estimate x0, such as a network's, and line integrals y = A x + noise, the estimate's error d is
taken for Gaussian with standard deviations D, correlated over some millimetres (a Gaussian filter G):
d = D G e with e white. The most likely e minimises

    |W (A (x0 + D G e) - y)|^2 + prior * s |e|^2

(W: which rays count; s: the largest eigenvalue of (D G)^T A^T W A D G, so that `prior` has no unit).
Conjugate gradients on the normal equations lower it step by step (Hestenes and Stiefel, J Res Natl Bur
Stand 1952;49:409-436); they stop as soon as the rays agree within what the grid and the noise leave
unexplained anyway (discrepancy principle; Morozov, Sov Math Dokl 1966;7:414-417). Stopping early keeps
what the rays do not tell as the estimate has it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional

from xrecon.physics.projector import Projector
from xrecon.volume import InputError

POWER_ITERATIONS = 6
STALL = 0.01


@dataclass(frozen=True)
class ConsistencySettings:
    """prior: weight of the prior, 0 to 1 is useful. correlation_mm: over which the error is correlated.
    target: relative residual at which it stops. iterations: at most this many."""

    prior: float = 0.003
    correlation_mm: float = 12.0
    target: float = 0.02
    iterations: int = 25

    def __post_init__(self) -> None:
        numbers = (self.prior, self.correlation_mm, self.target)
        if min(numbers) < 0 or self.iterations < 1:
            raise InputError(f"expected no negative settings and one or more iterations, got {self}")


@dataclass(frozen=True, eq=False)
class ConsistentVolume:
    """volume: attenuation per mm (1, 1, z, y, x). residuals: |W (A x - y)| / |W y| before the first and
    after each iteration. stopped: "target", "stalled" or "iterations"."""

    volume: torch.Tensor
    residuals: tuple[float, ...]
    stopped: str


@torch.no_grad()
def move_to_projections(
    start: torch.Tensor,
    projections: torch.Tensor,
    projector: Projector,
    deviation: torch.Tensor,
    rays: torch.Tensor,
    settings: ConsistencySettings,
    progress: Callable[[int, float], None] | None = None,
) -> ConsistentVolume:
    """The estimate `start`, attenuation per mm (1, 1, z, y, x), moved towards line integrals.

    projections: (1, view, row, column). deviation: standard deviation of the start's error, per mm, as
    the start; where it is 0 nothing moves. rays: bool, as the projections, which count.
    progress: called with the number of iterations made and the relative residual.
    Raises InputError for shapes that do not fit, no ray that counts, or no deviation.
    """
    if deviation.shape != start.shape or rays.shape != projections.shape:
        raise InputError(
            f"expected deviations {tuple(start.shape)} and rays {tuple(projections.shape)}, got "
            f"{tuple(deviation.shape)} and {tuple(rays.shape)}"
        )
    weight = rays.to(projections.dtype)
    size = float((weight * projections).norm())
    if size == 0 or not float(deviation.max()) > 0:
        raise InputError("expected rays with line integrals and a volume that may move, got none")
    smooth = _Smoothing(settings.correlation_mm, projector.spacing, start)
    scaled = deviation / deviation.max()  # e's unit is free: only the shape of D counts

    def change(e: torch.Tensor) -> torch.Tensor:
        return scaled * smooth(e)

    def normal(e: torch.Tensor) -> torch.Tensor:
        return smooth(scaled * projector.adjoint(weight * projector(change(e))))

    largest = _largest_eigenvalue(normal, start)
    misfit = weight * (projections - projector(start))
    e = torch.zeros_like(start)
    residual = smooth(scaled * projector.adjoint(misfit))
    direction, square = residual.clone(), float((residual**2).sum())
    residuals, stopped = [float(misfit.norm()) / size], "iterations"
    for number in range(settings.iterations):
        if residuals[-1] <= settings.target:
            stopped = "target"
            break
        if square == 0 or (number > 1 and residuals[-2] - residuals[-1] < STALL * residuals[-2]):
            stopped = "stalled"
            break
        projected = weight * projector(change(direction))
        along = smooth(scaled * projector.adjoint(projected)) + settings.prior * largest * direction
        step = square / float((direction * along).sum())
        e += step * direction
        misfit -= step * projected
        residual -= step * along
        previous, square = square, float((residual**2).sum())
        direction = residual + square / previous * direction
        residuals.append(float(misfit.norm()) / size)
        if progress is not None:
            progress(number + 1, residuals[-1])
    return ConsistentVolume((start + change(e)).clamp_(min=0.0), tuple(residuals), stopped)


def _largest_eigenvalue(normal: Callable[[torch.Tensor], torch.Tensor], like: torch.Tensor) -> float:
    """By power iteration from a constant, to a few per cent."""
    vector, value = torch.ones_like(like), 0.0
    for _ in range(POWER_ITERATIONS):
        vector = normal(vector / vector.norm())
        value = float(vector.norm())
        if value == 0:
            raise InputError("expected rays that meet the volume where it may move, got none")
    return value


class _Smoothing:
    """A Gaussian filter that is its own transpose: symmetric kernels, zero beyond the edge.

    Its autocorrelation falls to 1/e over `correlation_mm`: sigma is half of that.
    """

    def __init__(
        self, correlation_mm: float, spacing: tuple[float, float, float], like: torch.Tensor
    ) -> None:
        self.kernels = []
        for axis, size in enumerate(spacing):
            sigma = 0.5 * correlation_mm / size
            reach = int(3.0 * sigma + 0.5)
            if reach:
                at = torch.arange(-reach, reach + 1, dtype=like.dtype, device=like.device)
                kernel = torch.exp(-0.5 * (at / sigma) ** 2)
                shape = [1, 1, 1, 1, 1]
                shape[2 + axis] = -1
                self.kernels.append((kernel / kernel.sum()).reshape(shape))

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        for kernel in self.kernels:
            x = functional.conv3d(x, kernel, padding=[n // 2 for n in kernel.shape[2:]])
        return x
