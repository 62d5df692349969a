"""How weights change: optimiser, learning rate, gradient clipping, and their moving average."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from xrecon.training.config import OptimizerConfig


def learning_rate_factor(settings: OptimizerConfig, step: int, steps: int) -> float:
    """Share of the learning rate at a step: constant, cosine to zero, or linear to zero after
    `warm_fraction` of the steps (X-Recon: 100 epochs constant, 100 linear), or a tenth from there on."""
    done = step / max(steps, 1)
    if settings.schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * min(done, 1.0)))
    if settings.schedule == "linear" and done > settings.warm_fraction:
        return max(0.0, (1.0 - done) / max(1.0 - settings.warm_fraction, 1e-9))
    if settings.schedule == "step" and done >= settings.warm_fraction:
        return 0.1
    return 1.0


def make_optimizer(module: nn.Module, settings: OptimizerConfig) -> torch.optim.Optimizer:
    """Adam, or AdamW when decoupled, over all parameters."""
    kind = torch.optim.AdamW if settings.decoupled else torch.optim.Adam
    return kind(
        module.parameters(),
        lr=settings.learning_rate,
        betas=settings.betas,
        weight_decay=settings.weight_decay,
    )


def apply_gradients(
    optimizer: torch.optim.Optimizer, module: nn.Module, settings: OptimizerConfig, factor: float
) -> None:
    """One update with the gradients that the module holds, clipped when the settings say so.

    A module with `clip_groups()` names parameters whose gradients are clipped each group by itself.
    """
    for group in optimizer.param_groups:
        group["lr"] = settings.learning_rate * factor
    if settings.gradient_clip:
        groups = module.clip_groups() if hasattr(module, "clip_groups") else [module.parameters()]
        for parameters in groups:
            nn.utils.clip_grad_norm_(parameters, settings.gradient_clip)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def moving_average(module: nn.Module, decay: float) -> AveragedModel | None:
    """An exponential moving average of the module's weights; None for a decay of 0.

    The decay grows with the number of updates n as (1 + n) / (10 + n), so that the first, random
    weights are soon forgotten.
    """
    if not decay:
        return None

    def update(averaged: Sequence[torch.Tensor], present: Sequence[torch.Tensor], count: int) -> None:
        held = min(decay, (1.0 + float(count)) / (10.0 + float(count)))
        torch._foreach_lerp_(averaged, present, 1.0 - held)

    return AveragedModel(module, multi_avg_fn=torch.no_grad()(update))
