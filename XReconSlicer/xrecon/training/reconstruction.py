"""The reconstruction task: radiographs to volume, with the losses of X-Recon.

Source: x-recon section III.C; x-recon-network.md section 4. One generator update, then one
discriminator update on the same (detached) output.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from xrecon.nets.card import ModelCard, RadiographInput, TrainingData, VolumeOutput
from xrecon.nets.registry import create_model, load_model, record_quality, save_model
from xrecon.preprocess.ct import HU_WINDOW
from xrecon.training.config import TrainConfig
from xrecon.training.datasets import Batch, ReconstructionData
from xrecon.training.prepared import Prepared

LICENCE = "CC BY 4.0, with the attributions of the training data"
INTENDED_USE = (
    "Research on few-view reconstruction. Not a medical device; not for diagnosis or treatment. "
    "Every output is synthetic: what two radiographs leave open is filled in from few other people."
)


def reconstructor_options(config: TrainConfig) -> dict[str, Any]:
    """Keyword arguments of the network: the config's, with what follows from grid and views."""
    options: dict[str, Any] = {"side": config.grid.side}
    if config.architecture == "lifting":
        options["field_mm"] = config.grid.side * config.grid.spacing_mm
        options["views"] = len(config.geometry.views)
    return {**options, **config.options}


def create_reconstructor(config: TrainConfig) -> nn.Module:
    """The network with fresh weights; raises InputError for an architecture or options that do not exist."""
    return create_model(config.architecture, **reconstructor_options(config))


class ReconstructionTask:
    """Trains a network that maps radiographs and their matrices to a unit volume.

    train, validation: prepared subjects. The network is created from the config; one that has a
    `mean_volume` buffer starts from the mean of the training subjects.
    """

    def __init__(
        self, train: Sequence[Prepared], validation: Sequence[Prepared], config: TrainConfig, device: str
    ):
        self.config, self.device = config, torch.device(device)
        self.data, self.validation = ReconstructionData(train, config), list(validation)
        torch.manual_seed(config.seed)
        self.network = create_reconstructor(config).to(self.device)
        self.mean_volume = self.data.mean_volume()
        if hasattr(self.network, "mean_volume"):
            self.network.mean_volume.copy_(self.mean_volume)
        self._half = config.precision == "bfloat16"
        self._last: tuple[Batch, torch.Tensor] | None = None
        self._make_losses()

    def _make_losses(self) -> None:
        config, weights = self.config, self.config.loss
        self.critic: nn.Module | None = None
        if weights.adversarial:
            from xrecon.training.losses import LeastSquaresGANLoss

            self.critic = create_model("x-recon-discriminator").to(self.device)
            self.gan = LeastSquaresGANLoss()
        if weights.projection:
            from xrecon.training.losses import ProjectionLoss

            self.projection = ProjectionLoss(
                side=config.grid.side,
                jitter_deg=weights.projection_jitter_deg,
                jitter_fraction=weights.projection_jitter_fraction,
                geometry=weights.projection_geometry,
            ).to(self.device)

    def _predict(self, batch: Batch) -> torch.Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._half):
            prediction = self.network(batch.pictures.to(self.device), batch.matrices.to(self.device))
        return prediction.float()

    def generator_loss(self, step: int) -> tuple[torch.Tensor, dict[str, float]]:
        """Weighted sum of the terms that are switched on, and each term before weighting."""
        batch, weights = self.data.sample(step), self.config.loss
        prediction, target = self._predict(batch), batch.target.to(self.device)
        terms: dict[str, torch.Tensor] = {}
        if weights.reconstruction:
            terms["reconstruction"] = nn.functional.mse_loss(prediction, target)
        if weights.absolute:
            terms["absolute"] = nn.functional.l1_loss(prediction, target)
        if weights.projection:
            rng = np.random.default_rng([self.config.seed, step, 1])
            terms["projection"] = self.projection(prediction, target, rng)
        if self.critic is not None:
            terms["adversarial"] = self.gan.generator(self._judge(batch, prediction))
            self._last = (batch, prediction.detach())
        loss = sum(getattr(weights, name) * term for name, term in terms.items())
        return loss, {name: float(term.detach()) for name, term in terms.items()}

    def critic_loss(self, step: int) -> torch.Tensor:
        """Least-squares loss of the discriminator on the last real and generated volume."""
        batch, fake = self._last
        real = batch.target.to(self.device)
        return self.gan.discriminator(self._judge(batch, real), self._judge(batch, fake))

    def _judge(self, batch: Batch, volume: torch.Tensor) -> torch.Tensor:
        # the published discriminator has the superior slice first, and pictures as wide as the volume
        pictures = nn.functional.interpolate(
            batch.pictures[:, :2].to(self.device), size=volume.shape[3:], mode="bilinear", antialias=True
        )
        return self.critic(volume.flip(2), pictures)

    def _scores(self, subjects: Sequence[Prepared]) -> list[dict[str, float]]:
        from xrecon.evaluation.metrics import mae, psnr, ssim  # loads scikit-image

        rows = []
        for prepared in subjects:
            batch = self.data.reference(prepared)
            truth = batch.target[0, 0].numpy()
            prediction = self._predict(batch)[0, 0].clamp(0, 1).cpu().numpy()
            mean = self.mean_volume[0, 0].numpy()
            width = HU_WINDOW[1] - HU_WINDOW[0]
            rows.append(
                {
                    "psnr": psnr(prediction, truth, data_range=1.0),
                    "ssim": ssim(prediction, truth, data_range=1.0),
                    "mae_hu": mae(prediction, truth) * width,
                    "psnr_mean_volume": psnr(mean, truth, data_range=1.0),
                }
            )
        return rows

    def validate(self) -> dict[str, float]:
        """Means over the validation patients: PSNR 3D (dB), SSIM, MAE (HU), PSNR of the mean volume."""
        return _means(self._scores(self.validation))

    def export(self, folder: Path, training: dict[str, object]) -> dict[str, float]:
        """Card and half-precision weights into `folder`; returns the validation metrics of these weights."""
        save_model(folder, self.network, self._card(training))
        self.network, _ = load_model(folder, self.device.type)
        self._half = False  # as at inference
        with torch.no_grad():
            quality = self.validate()
        names = [p.subject.name for p in self.validation]
        record_quality(folder, "validation", quality)
        record_quality(folder, "validation_subjects", names)
        return quality

    def _card(self, training: dict[str, object]) -> ModelCard:
        config, grid, geometry = self.config, self.config.grid, self.config.geometry
        low, high = geometry.source_to_detector_mm
        near, far = geometry.isocenter_to_detector_mm
        return ModelCard(
            name=config.name,
            title=f"{config.architecture}, {grid.side}^3 voxels of {grid.spacing_mm:g} mm",
            description=f"Chest CT from {' + '.join(geometry.views)} radiographs.",
            architecture=config.architecture,
            options=reconstructor_options(config),
            input=RadiographInput(
                views=list(geometry.views),
                shape=(grid.detector_pixels,) * 2,
                pixel_spacing=(grid.detector_spacing_mm,) * 2,
                source_to_detector_mm=(low, high),
                source_to_isocenter_mm=(low - far, high - near),
            ),
            output=VolumeOutput(side=grid.side, spacing_mm=grid.spacing_mm, hu_window=HU_WINDOW),
            licence=LICENCE,
            intended_use=INTENDED_USE,
            limitations=(
                f"Trained on {len(self.data.subjects)} people. Fine detail and lesions are not reliable; "
                "trained on projected CTs, not on real radiographs."
            ),
            training_data=[training_data(p) for p in self.data.subjects],
            training=training,
        )


def training_data(prepared: Prepared) -> TrainingData:
    """What a card says of one subject; unknown rights are said to be unknown."""
    subject = prepared.subject
    return TrainingData(
        subject=subject.name,
        attribution=subject.attribution or "not stated",
        licence=subject.licence or "not stated",
    )


def _means(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]} if rows else {}
