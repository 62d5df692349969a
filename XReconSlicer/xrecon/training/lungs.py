"""The lung task: axial slices to right and left lung, pleural air included.

The labels come from the prepared subjects (a classical segmentation, so the network learns from
pseudo-labels); variants with a synthetic pneumothorax teach it to keep the air in the hemithorax.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from xrecon.nets.card import LabelOutput, ModelCard, SliceInput
from xrecon.nets.registry import create_model, load_model, save_model
from xrecon.preprocess.ct import AIR_HU
from xrecon.training.config import AugmentationConfig, TrainConfig
from xrecon.training.distributed import Processes
from xrecon.training.labels import LUNG_CLASSES
from xrecon.training.order import Shuffle, sample_generator
from xrecon.training.prepared import PreparedSubjects
from xrecon.training.reconstruction_card import LICENCE
from xrecon.training.seen import record_validation, training_data
from xrecon.volume import Quantity, Volume

if TYPE_CHECKING:
    from PIL.Image import Image

HU_WINDOW = (-1024.0, 600.0)
INTENDED_USE = (
    "Research on measuring pneumothorax in CT: the lung masks of PTX-Seg. Not a medical device; not for "
    "diagnosis or treatment. Look at every mask before using a figure."
)
_CLASS_OF = LUNG_CLASSES.astype(np.int64)
VALIDATION_BATCH = 16


def to_unit(hu: torch.Tensor) -> torch.Tensor:
    """HU to the network's [0, 1]."""
    low, high = HU_WINDOW
    return (hu.clamp(low, high) - low) / (high - low)


class LungTask:
    """Trains the slice network with Dice + cross-entropy (MONAI)."""

    critic: nn.Module | None = None

    def __init__(
        self, train: PreparedSubjects, validation: PreparedSubjects, config: TrainConfig, device: str
    ):
        from monai.losses import DiceCELoss

        self.config, self.device = config, torch.device(device)
        self.train, self.validation = train, validation
        self._shuffle = Shuffle(len(train), config.seed)
        torch.manual_seed(config.seed)
        self.network = create_model(config.architecture, **config.options).to(self.device)
        # over the whole batch: a slice without lung has no Dice of its own
        self.criterion = DiceCELoss(softmax=True, to_onehot_y=True, include_background=False, batch=True)
        self.distribute(Processes())

    def distribute(self, processes: Processes) -> tuple[nn.Module, None]:
        """The network as the loss calls it when several processes work together."""
        self._network = processes.parallel(self.network, self.device)
        return self._network, None

    def generator_loss(
        self, step: int, items: Sequence[int], following: Sequence[int] | None = None
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """Loss of a batch of random slices."""
        pairs = [self._slice(item) for item in items]
        pictures = torch.stack([p for p, _ in pairs]).to(self.device)
        labels = torch.stack([t for _, t in pairs]).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16"):
            logits = self._network(pictures)
        return self.criterion(logits.float(), labels), {}

    def close(self) -> None:
        """Nothing makes samples beside the training."""

    def critic_loss(self) -> torch.Tensor:
        """There is no discriminator in this task."""
        raise RuntimeError("the lung task has no discriminator")

    def _slice(self, item: int) -> tuple[torch.Tensor, torch.Tensor]:
        rng = sample_generator(self.config.seed, item)
        prepared = self.train[self._shuffle.subject(item)]
        settings, variant = self.config.augmentation, 0
        if len(prepared.variants) > 1 and rng.random() < settings.pneumothorax_probability:
            variant = int(rng.integers(1, len(prepared.variants)))
        hu, labels = prepared.variants[variant]
        index = _random_index(labels, rng)
        picture = torch.as_tensor(hu[index].astype(np.float32))
        target = torch.as_tensor(_CLASS_OF[labels[index]])
        grid = _random_grid(picture.shape, self.config.grid.source_spacing_mm, settings, rng)
        picture = (
            functional.grid_sample((picture - AIR_HU)[None, None], grid, align_corners=False)[0] + AIR_HU
        )
        target = functional.grid_sample(
            target[None, None].float(), grid, mode="nearest", align_corners=False
        )[0].long()
        # each slice has its own offset, contrast and noise, from low dose to reconstruction blur
        if rng.random() < settings.intensity_probability:
            picture = picture + float(rng.uniform(-1, 1)) * settings.hu_offset
        if rng.random() >= settings.noise_probability:
            return to_unit(picture), target
        noise = torch.as_tensor(rng.normal(0.0, rng.uniform(0.0, 80.0), picture.shape).astype(np.float32))
        if rng.random() < 0.3:
            kernel = int(rng.choice([3, 5]))
            picture = functional.avg_pool2d(picture[None], kernel, 1, kernel // 2)[0]
            noise = noise * 0.3
        return to_unit(picture + noise), target

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Mean Dice per side over the validation patients, and of the variants with pneumothorax."""
        from xrecon.evaluation.metrics import dice  # loads scikit-image

        rows: dict[str, list[float]] = {}
        for prepared in self.validation:
            for number, (hu, labels) in enumerate(prepared.variants):
                predicted, truth = self._segment(network, hu), _CLASS_OF[labels]
                suffix = "_pneumothorax" if number else ""
                for value, side in ((1, "right"), (2, "left")):
                    rows.setdefault(f"dice_{side}{suffix}", []).append(
                        dice(predicted == value, truth == value)
                    )
                air = labels >= 3
                if air.any():
                    rows.setdefault("pleural_air_kept", []).append(float((predicted[air] > 0).mean()))
        return {name: float(np.nanmean(values)) for name, values in rows.items()}

    def picture(self, network: nn.Module) -> Image | None:
        """Lungs of the first validation patient (else training patient), outlined in the CT."""
        from xrecon.evaluation.pictures import pneumothorax_picture

        source = self.validation if self.validation.subjects else self.train
        hu, _ = source[0].variants[-1]
        spacing = (self.config.grid.source_spacing_mm,) * 3
        labels = self._segment(network, hu).astype(np.uint8)
        return pneumothorax_picture(Volume(hu, spacing), Volume(labels, spacing, quantity=Quantity.LABEL))

    def _segment(self, network: nn.Module, hu: np.ndarray) -> np.ndarray:
        slices = to_unit(torch.as_tensor(hu.astype(np.float32)))[:, None]
        parts = []
        with torch.no_grad():
            for part in slices.split(VALIDATION_BATCH):
                parts.append(network(part.to(self.device)).argmax(dim=1).cpu().numpy())
        return np.concatenate(parts)

    def export(self, folder: Path, network: nn.Module, training: dict[str, object]) -> dict[str, float]:
        """Card and half-precision weights into `folder`; returns the validation metrics of these weights."""
        grid = self.config.grid
        card = ModelCard(
            name=self.config.name,
            title="Right and left lung on axial CT slices, U-Net",
            description="Lung masks for PTX-Seg; keeps pleural air inside the hemithorax.",
            architecture=self.config.architecture,
            options=dict(self.config.options),
            input=SliceInput(
                shape=(grid.source_side,) * 2, spacing_mm=grid.source_spacing_mm, hu_window=HU_WINDOW
            ),
            output=LabelOutput(labels=["background", "right lung", "left lung"]),
            licence=LICENCE,
            intended_use=INTENDED_USE,
            limitations=(
                f"Learned from a classical segmentation of {len(self.train)} people and from synthetic "
                "pneumothorax; no hand-drawn lung and no real pneumothorax was used."
            ),
            training_data=[training_data(s) for s in self.train.subjects],
            training={**training, "precision": self.config.precision},
        )
        save_model(folder, network, card)
        stored, _ = load_model(folder, self.device.type)  # the weights as they are stored
        quality = self.validate(stored)
        record_validation(folder, quality, self.validation.subjects)
        return quality


def _random_index(labels: np.ndarray, rng: np.random.Generator) -> int:
    """A slice, three times out of four one with lung in it."""
    if rng.random() < 0.75:
        with_lung = np.flatnonzero(labels.any(axis=(1, 2)))
        if with_lung.size:
            return int(rng.choice(with_lung))
    return int(rng.integers(labels.shape[0]))


def _random_grid(
    shape: torch.Size, spacing_mm: float, settings: AugmentationConfig, rng: np.random.Generator
) -> torch.Tensor:
    """Sampling grid (1, rows, columns, 2) of a rotation, scale, shift and smooth displacement."""
    half_field = shape[0] * spacing_mm / 2.0
    theta = np.eye(2, 3)
    if rng.random() < settings.affine_probability:
        angle = np.radians(rng.uniform(-1, 1) * settings.rotation_deg)
        linear = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        linear = linear / (1.0 + rng.uniform(-1, 1, 2) * settings.scale)
        theta = np.column_stack([linear, rng.uniform(-1, 1, 2) * 2 * settings.shift_mm / half_field])
    grid = functional.affine_grid(
        torch.as_tensor(theta, dtype=torch.float32)[None], (1, 1, *shape), align_corners=False
    )
    if rng.random() >= settings.elastic_probability:
        return grid
    knots = int(rng.integers(settings.warp_knots[0], settings.warp_knots[1] + 1))
    field = torch.as_tensor(rng.normal(0.0, settings.warp_mm / half_field / 2, (1, 2, knots, knots)))
    field = functional.interpolate(field.float(), size=tuple(shape), mode="bicubic", align_corners=True)
    return grid + field.movedim(1, -1)
