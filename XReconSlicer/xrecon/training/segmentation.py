"""The segmentation task: whole CTs to classes (3D U-Net, MulSISNet).

Trained on true CTs, for comparison and as the frozen judge of reconstructions. Classes are those of
`segmentation` in the config: lungs found in each CT, or label maps that come with the CTs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from xrecon.nets.card import LabelOutput, ModelCard, VolumeInput
from xrecon.nets.registry import create_model, load_model, save_model
from xrecon.preprocess.ct import HU_WINDOW, unit_to_hu
from xrecon.training.config import TrainConfig
from xrecon.training.datasets import Batch, ProjectedPairs, stack, to_target
from xrecon.training.distributed import Processes
from xrecon.training.label_losses import ClassLoss
from xrecon.training.labels import dice_by_name, mean_dice, to_label_target
from xrecon.training.prepared import PreparedSubjects
from xrecon.training.reconstruction_card import LICENCE
from xrecon.training.seen import record_validation, training_data
from xrecon.volume import InputError, Quantity, Volume

if TYPE_CHECKING:
    from PIL.Image import Image

INTENDED_USE = (
    "Research on segmentation of reconstructed CTs. Not a medical device; not for diagnosis or treatment. "
    "Look at every mask before using a figure."
)


class LabelledVolumes(ProjectedPairs):
    """Volumes and their classes, without radiographs: the batches' pictures and matrices are empty."""

    def sample(self, items: Sequence[int]) -> Batch:
        """The augmented samples of these numbers."""
        return stack([self._volume(*self._moved(item)[:3]) for item in items])

    def reference(self, index: int, variant: int = 0) -> Batch:
        """A subject as scanned."""
        prepared = self.prepared[index]
        return self._volume(
            self._cube(prepared, variant), self._classes(prepared, variant), prepared.subject.name
        )

    def _volume(self, hu: torch.Tensor, classes: torch.Tensor | None, name: str) -> Batch:
        nothing = torch.empty(1, 0)
        labels = None if classes is None else to_label_target(classes, self.config.grid)
        return Batch(nothing, nothing, to_target(hu, self.config.grid), (name,), labels)


def create_segmenter(config: TrainConfig) -> nn.Module:
    """The network with fresh weights and the config's classes.

    Raises InputError for an architecture that does not segment volumes, or options that do not exist.
    """
    options = {"classes": 1 + len(config.segmentation.names), **config.options}
    try:
        network = create_model(config.architecture, **options)
    except InputError as error:
        raise InputError(f"task 'segmentation': {error}") from error
    if getattr(network, "kind", "") != "volumes" or network.classes != 1 + len(config.segmentation.names):
        raise InputError(
            f"expected a network that gives {1 + len(config.segmentation.names)} classes of volumes for the "
            f"task 'segmentation', got {config.architecture!r}"
        )
    return network


class SegmentationTask:
    """Trains a volume segmenter with Dice and cross-entropy."""

    critic: nn.Module | None = None

    def __init__(
        self, train: PreparedSubjects, validation: PreparedSubjects, config: TrainConfig, device: str
    ) -> None:
        self.config, self.device = config, torch.device(device)
        self.train = LabelledVolumes(train, config, device)
        self.validation = LabelledVolumes(validation, config, device)
        torch.manual_seed(config.seed)
        self._dtype = torch.float64 if config.precision == "float64" else torch.float32
        self.network = create_segmenter(config).to(self.device, self._dtype)
        self.criterion = ClassLoss()
        self.distribute(Processes())

    def distribute(self, processes: Processes) -> tuple[nn.Module, None]:
        """The network as the loss calls it when several processes work together."""
        self._network = processes.parallel(self.network, self.device)
        return self._network, None

    def generator_loss(
        self, step: int, items: Sequence[int], following: Sequence[int] | None = None
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """Loss of a batch of CTs."""
        batch = self.train.sample(items)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16"):
            logits = self._network(batch.target.to(self.device, self._dtype))
        return self.criterion(logits, batch.labels.to(self.device)), {}

    def close(self) -> None:
        """Nothing makes samples beside the training."""

    def critic_loss(self) -> torch.Tensor:
        """There is no discriminator in this task."""
        raise RuntimeError("the segmentation task has no discriminator")

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Mean Dice of each class over the validation patients."""
        rows = []
        for index in range(len(self.validation.subjects)):
            batch = self.validation.reference(index)
            found = self._segment(network, batch)
            rows.append(dice_by_name(found, batch.labels[0].cpu().numpy(), self.config.segmentation.names))
        return mean_dice(rows)

    def _segment(self, network: nn.Module, batch: Batch) -> np.ndarray:
        """Classes (z, y, x), uint8."""
        dtype = next(network.parameters()).dtype
        with torch.no_grad():
            return (
                network(batch.target.to(self.device, dtype)).argmax(dim=1)[0].cpu().numpy().astype(np.uint8)
            )

    def picture(self, network: nn.Module) -> Image | None:
        """Classes of the first validation patient (else training patient), outlined in the CT."""
        from xrecon.evaluation.pictures import pneumothorax_picture

        source = self.validation if self.validation.subjects else self.train
        batch = source.reference(0)
        spacing = (self.config.grid.spacing_mm,) * 3
        ct = Volume(unit_to_hu(batch.target[0, 0].cpu().numpy()), spacing)
        # the picture has four outlines
        found = np.minimum(self._segment(network, batch), 4)
        return pneumothorax_picture(ct, Volume(found, spacing, quantity=Quantity.LABEL))

    def export(self, folder: Path, network: nn.Module, training: dict[str, object]) -> dict[str, float]:
        """Card and half-precision weights into `folder`; returns the validation metrics of these weights."""
        config, grid = self.config, self.config.grid
        card = ModelCard(
            name=config.name,
            title=f"{', '.join(config.segmentation.names)} in CT, {config.architecture}",
            description="Classes of each voxel of a CT.",
            architecture=config.architecture,
            options={"classes": 1 + len(config.segmentation.names), **config.options},
            input=VolumeInput(side=grid.side, spacing_mm=grid.spacing_mm, hu_window=HU_WINDOW),
            output=LabelOutput(labels=["background", *config.segmentation.names]),
            licence=LICENCE,
            intended_use=INTENDED_USE,
            limitations=f"Learned from {len(self.train.subjects)} people.",
            training_data=[training_data(s) for s in self.train.subjects],
            training={**training, "precision": config.precision},
        )
        save_model(folder, network.float(), card)
        stored, _ = load_model(folder, self.device.type)
        quality = self.validate(stored)
        record_validation(folder, quality, self.validation.subjects)
        return quality
