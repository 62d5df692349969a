"""The terms of the reconstruction loss: those with a weight, from one step's outputs.

Each stands in its own file with its source; here they are made and called by the names of their weights
in `xrecon.training.config.LossConfig`. The adversarial term needs the discriminator and is the task's.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional

from xrecon.nets.outputs import TrainingOutputs
from xrecon.preprocess.ct import HU_WINDOW
from xrecon.training.config import LossConfig, TrainConfig
from xrecon.training.order import pose_generator
from xrecon.volume import InputError

Volumes = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class LossTerms:
    """Called with a step's outputs, the true volume and its labels; gives each term before weighting.

    Raises InputError for a file of weights that cannot be used.
    """

    def __init__(self, config: TrainConfig, device: torch.device) -> None:
        self.weights, self.seed = config.loss, config.seed
        self._volumes = _volume_terms(config.loss)
        self._drawn = _drawn_terms(config, device)
        if config.loss.segmentation or config.loss.consistency:
            from xrecon.training.label_losses import ConsistencyLoss, SegmentationLoss

            self._segmentation, self._consistency = SegmentationLoss(), ConsistencyLoss()

    def __call__(
        self, outputs: TrainingOutputs, target: torch.Tensor, labels: torch.Tensor | None, step: int
    ) -> dict[str, torch.Tensor]:
        """outputs: of the network; target (b, 1, z, y, x); labels (b, z, y, x) or None. step draws poses."""
        weights, volume = self.weights, outputs.volume
        terms = {name: term(volume, target) for name, term in self._volumes.items()}
        for name, term in self._drawn.items():
            terms[name] = term(volume, target, pose_generator(self.seed, step))
        if weights.edge:
            from xrecon.training.volume_losses import edge_distance

            low, high = HU_WINDOW
            threshold = (weights.edge_hu - low) / (high - low)
            width = weights.edge_width_hu / (high - low)
            terms["edge"] = edge_distance(volume, target, threshold, width, outputs.edges)
        if weights.segmentation:
            terms["segmentation"] = self._segmentation(outputs.segmentation, labels)
        if weights.consistency:
            terms["consistency"] = self._consistency(
                outputs.segmentation,
                outputs.reference_segmentation,
                labels,
                detached=step < weights.consistency_detached_steps,
            )
        return terms


def _volume_terms(weights: LossConfig) -> dict[str, Volumes]:
    """Terms of two volumes alone."""
    from xrecon.training.volume_losses import axis_projection_distance, frequency_distance, mip_distance

    terms: dict[str, Volumes] = {
        "reconstruction": functional.mse_loss,
        "absolute": functional.l1_loss,
        "axis_projection": axis_projection_distance,
        "frequency": frequency_distance,
        "mip": mip_distance,
    }
    return {name: term for name, term in terms.items() if getattr(weights, name)}


def _drawn_terms(
    config: TrainConfig, device: torch.device
) -> dict[str, Callable[[torch.Tensor, torch.Tensor, np.random.Generator], torch.Tensor]]:
    """Terms that also draw something at each step: a pose, or slices."""
    weights, terms = config.loss, {}
    if weights.projection:
        from xrecon.training.losses import ProjectionLoss

        terms["projection"] = ProjectionLoss(
            side=config.grid.side,
            jitter_deg=weights.projection_jitter_deg,
            jitter_fraction=weights.projection_jitter_fraction,
            geometry=weights.projection_geometry,
        ).to(device)
    if weights.perceptual:
        from xrecon.training.perceptual import FilterBank, PerceptualLoss, VGG16Features

        if weights.perceptual_features == "filter-bank":
            features = FilterBank()
        else:
            features = VGG16Features(weights.perceptual_weights)
        terms["perceptual"] = PerceptualLoss(features, weights.perceptual_slices).to(device)
    return terms


def require_outputs(config: TrainConfig, network: torch.nn.Module) -> None:
    """Raises InputError for terms that need what this network does not give, and for classes that it
    would give and nothing trains."""
    from xrecon.nets.outputs import segments

    weights, name = config.loss, config.architecture
    if (weights.segmentation or weights.consistency) and not segments(network):
        raise InputError(
            f"loss.segmentation, loss.consistency: expected a network with classes, {name!r} has none"
        )
    if weights.consistency and not hasattr(network, "segmenter"):
        raise InputError(
            f"loss.consistency: expected a network that segments volumes, {name!r} has no segmenter"
        )
    if segments(network) and not (weights.segmentation or weights.consistency):
        raise InputError(
            f"options.classes: expected 0 without loss.segmentation, got {network.classes} for {name!r}"
        )
