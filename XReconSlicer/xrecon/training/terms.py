"""The terms that other papers, and our own models, add to the reconstruction loss: those with a weight.

Each stands in its own file with its source; here they are made and called by the names of their weights
in `xrecon.training.config.LossConfig`. X-Recon's terms are in `xrecon.training.reconstruction`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from xrecon.nets.outputs import TrainingOutputs
from xrecon.preprocess.ct import HU_WINDOW
from xrecon.training.config import LossConfig, TrainConfig
from xrecon.training.order import pose_generator
from xrecon.volume import InputError

Volumes = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class PaperTerms:
    """Called with a step's outputs, the true volume and its labels; gives each term before weighting.

    Raises InputError for a file of weights that cannot be used.
    """

    def __init__(self, config: TrainConfig, device: torch.device) -> None:
        self.weights, self.seed = config.loss, config.seed
        self._volumes = _volume_terms(config.loss)
        self._perceptual = _perceptual(config.loss, device)
        if config.loss.classes or config.loss.consistency:
            from xrecon.training.label_losses import ClassLoss, ConsistencyLoss

            self._classes, self._consistency = ClassLoss(), ConsistencyLoss()
        if config.loss.air:
            from xrecon.training.label_losses import AirLoss

            self._air = AirLoss()

    def __call__(
        self,
        outputs: TrainingOutputs,
        target: torch.Tensor,
        labels: torch.Tensor | None,
        step: int,
        air_mm: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """outputs: of the network; target (b, 1, z, y, x); labels (b, z, y, x) or None; air_mm: as in
        `label_losses.AirLoss`. step draws slices."""
        weights, volume = self.weights, outputs.volume
        if volume is None:
            return {"air": self._air.of_shadow(outputs.air_shadow, air_mm)}
        terms = {name: term(volume, target) for name, term in self._volumes.items()}
        if self._perceptual is not None:
            terms["perceptual"] = self._perceptual(volume, target, pose_generator(self.seed, step))
        if weights.edge:
            from xrecon.training.volume_losses import edge_distance

            low, high = HU_WINDOW
            threshold = (weights.edge_hu - low) / (high - low)
            width = weights.edge_width_hu / (high - low)
            terms["edge"] = edge_distance(volume, target, threshold, width, outputs.edges)
        if weights.classes:
            terms["classes"] = self._classes(outputs.segmentation, labels)
        if weights.air:
            terms["air"] = self._air(outputs.air, labels, outputs.air_shadow, air_mm)
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
        "axis_projection": axis_projection_distance,
        "frequency": frequency_distance,
        "mip": mip_distance,
    }
    return {name: term for name, term in terms.items() if getattr(weights, name)}


def _perceptual(weights: LossConfig, device: torch.device) -> torch.nn.Module | None:
    """The perceptual term with its features, when it has a weight."""
    if not weights.perceptual:
        return None
    from xrecon.training.perceptual import FilterBank, PerceptualLoss, VGG16Features

    if weights.perceptual_features == "filter-bank":
        features: torch.nn.Module = FilterBank()
    else:
        features = VGG16Features(weights.perceptual_weights)
    return PerceptualLoss(features, weights.perceptual_slices).to(device)


def require_outputs(config: TrainConfig, network: torch.nn.Module) -> None:
    """Raises InputError for terms that need what this network does not give, and for classes that it
    would give and nothing trains."""
    from xrecon.nets.outputs import segments

    weights, name = config.loss, config.architecture
    if (weights.classes or weights.consistency) and not segments(network):
        raise InputError(
            f"loss.classes, loss.consistency: expected a network with classes, {name!r} has none"
        )
    if weights.consistency and not hasattr(network, "segmenter"):
        raise InputError(
            f"loss.consistency: expected a network that segments volumes, {name!r} has no segmenter"
        )
    if weights.air and not getattr(network, "predicts_air", False):
        raise InputError(f"loss.air: expected a network that tells pleural air apart, {name!r} does not")
    if getattr(network, "predicts_air", False) and not weights.air:
        raise InputError(f"options.air: expected false without loss.air, got true for {name!r}")
    if segments(network) and not (weights.classes or weights.consistency):
        raise InputError(
            f"options.classes: expected 0 without loss.classes, got {network.classes} for {name!r}"
        )
