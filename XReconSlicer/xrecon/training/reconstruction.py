"""The reconstruction task: radiographs to volume, with the losses of X-Recon.

Source: x-recon section III.C; x-recon-network.md section 4. One generator update, then one
discriminator update on the same (detached) output.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from xrecon.nets.biplanar import PAIR, view_sets_text
from xrecon.nets.outputs import TrainingOutputs, segments
from xrecon.nets.registry import create_model, load_model, save_model
from xrecon.preprocess.ct import HU_WINDOW, unit_to_hu
from xrecon.preprocess.views import view_kind
from xrecon.training.air import air_figures
from xrecon.training.config import TrainConfig
from xrecon.training.datasets import Batch, PairSource, mean_target
from xrecon.training.distributed import Processes
from xrecon.training.labels import dice_by_name, mean_dice
from xrecon.training.order import pose_generator
from xrecon.training.points import choose, slices_of, takes_points
from xrecon.training.reconstruction_card import reconstruction_card
from xrecon.training.sampling import Prefetched
from xrecon.training.seen import record_validation
from xrecon.training.terms import PaperTerms, require_outputs
from xrecon.training.uncertainty import uncertainty_loss
from xrecon.volume import InputError, Volume

if TYPE_CHECKING:
    from PIL.Image import Image

# Architectures that sample along the rays and so have to know how large the cube is.
KNOWS_THE_FIELD = ("lifting", "any-view", "pixel-inr")
# Of a validation patient's copies with pneumothorax, so many are looked at.
AIR_COPIES = 6


def reconstructor_options(config: TrainConfig) -> dict[str, Any]:
    """Keyword arguments of the network: the config's, with what follows from grid and views."""
    options: dict[str, Any] = {"side": config.grid.side}
    if config.architecture in KNOWS_THE_FIELD:
        options["field_mm"] = config.grid.side * config.grid.spacing_mm
    if config.architecture in _TAKE_VIEWS:
        options["views"] = len(config.geometry.views)
    if config.architecture in _TAKE_CLASSES:
        options["classes"] = 1 + len(config.segmentation.names) if config.needs_labels else 0
    return {**options, **config.options}


# Architectures whose options follow from the number of views, and from the classes that are learnt.
_TAKE_VIEWS = ("lifting", "sit", "psr", "x2ct-cnn", "x2ct-gan")
_TAKE_CLASSES = ("x-ctrsnet", "ear")


def create_reconstructor(config: TrainConfig) -> nn.Module:
    """The network with fresh weights.

    Raises InputError for an architecture or options that do not exist, views that it cannot take, and
    losses that it cannot have.
    """
    network = create_model(config.architecture, **reconstructor_options(config))
    view_sets, kinds = getattr(network, "view_sets", None), tuple(map(view_kind, config.geometry.views))
    if view_sets is not None and kinds not in view_sets:
        raise InputError(
            f"geometry.views: the architecture {config.architecture!r} takes {view_sets_text(view_sets)}, "
            f"got {' + '.join(config.geometry.views)}"
        )
    if config.loss.adversarial and kinds[:2] != PAIR[0]:
        raise InputError(
            f"loss.adversarial: the discriminator takes {view_sets_text(PAIR)}, "
            f"got {' + '.join(config.geometry.views)}"
        )
    require_outputs(config, network)
    return network


def require_fitting_network(network: nn.Module, config: TrainConfig) -> None:
    """Raises InputError when a network cannot be trained as the config says."""
    name = config.architecture
    if config.geometry.views_per_sample and not getattr(network, "any_views", False):
        raise InputError(f"geometry.views_per_sample: the architecture {name!r} takes all its views at once")
    if config.points_per_step and not takes_points(network):
        raise InputError(f"points_per_step: the architecture {name!r} gives whole volumes only")


def create_discriminator(config: TrainConfig) -> nn.Module:
    """The discriminator with fresh weights; raises InputError for options that do not exist."""
    return create_model("x-recon-discriminator", **config.discriminator)


class ReconstructionTask:
    """Trains a network that maps radiographs and their matrices to a unit volume.

    train, validation: where the pairs come from. The network is created from the config; one that has
    a `mean_volume` buffer starts from the mean of the training subjects.
    """

    def __init__(self, train: PairSource, validation: PairSource, config: TrainConfig, device: str):
        self.config, self.device = config, torch.device(device)
        self.data = Prefetched(train, config.sampling_processes)
        self.train, self.validation = train, validation
        torch.manual_seed(config.seed)
        self._dtype = torch.float64 if config.precision == "float64" else torch.float32
        self.network = create_reconstructor(config).to(self.device, self._dtype)
        self.mean_volume = mean_target(train).cpu()
        if hasattr(self.network, "mean_volume"):
            self.network.mean_volume.copy_(self.mean_volume)
        self._half = config.precision == "bfloat16"
        self._unjudged: deque[tuple[Batch, torch.Tensor]] = deque()
        self._make_losses()
        if config.checkpointing:
            switch_on_checkpointing(self.network, config.architecture)
        self.distribute(Processes())

    def _make_losses(self) -> None:
        config, weights = self.config, self.config.loss
        self.critic: nn.Module | None = None
        if weights.adversarial:
            from xrecon.training.losses import LeastSquaresGANLoss

            self.critic = create_discriminator(config).to(self.device, self._dtype)
            self.gan = LeastSquaresGANLoss()
        if weights.projection:
            from xrecon.training.losses import ProjectionLoss

            self.projection = ProjectionLoss(
                side=config.grid.side,
                jitter_deg=weights.projection_jitter_deg,
                jitter_fraction=weights.projection_jitter_fraction,
                geometry=weights.projection_geometry,
            ).to(self.device)
        self.paper_terms = PaperTerms(config, self.device)

        if weights.segmentation:
            from xrecon.training.segmentation_loss import SegmentationLoss

            self.segmentation = SegmentationLoss(weights.segmenter, config.grid.spacing_mm, self.device)

    def distribute(self, processes: Processes) -> tuple[nn.Module, nn.Module | None]:
        """Network and discriminator as the losses call them when several processes work together."""
        # the published network has layers that nothing depends on, when asked for; the first steps of
        # one that learns shadows leave out its 3D part
        all_used = not (self.config.options.get("dead_branches") or self.config.loss.air_shadow_steps)
        self._network = processes.parallel(self.network, self.device, all_used)
        self._critic = processes.parallel(self.critic, self.device) if self.critic else None
        return self._network, self._critic

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self._half)

    def _predict(
        self, network: nn.Module, batch: Batch, points: torch.Tensor | None = None
    ) -> torch.Tensor:
        pictures, matrices, _ = self._on_device(batch)
        asked = () if points is None else (points.to(self._dtype),)
        with self._autocast():
            prediction = network(pictures, matrices, *asked)
        return prediction.to(self._dtype)

    def _outputs(self, batch: Batch) -> TrainingOutputs:
        """What the losses see: the volume, and whatever else the network can give."""
        if not getattr(self.network, "wants_reference", False):
            return TrainingOutputs(self._predict(self._network, batch))
        with self._autocast():
            outputs = self._network(*self._on_device(batch))
        return outputs._replace(volume=outputs.volume.to(self._dtype))

    def _on_device(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        moved = batch.to(self.device, self._dtype)
        return moved.pictures, moved.matrices, moved.target

    # -- losses --------------------------------------------------------------------------------
    def generator_loss(
        self, step: int, items: Sequence[int], following: Sequence[int] | None = None
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Weighted sum of the terms that are switched on, and each term before weighting."""
        batch, weights = self.data.sample(items, following), self.config.loss
        batch = batch.to(self.device, self._dtype)
        if step < weights.air_shadow_steps:
            return self._shadow_loss(step, batch)
        outputs, target, slices = self._compared(step, batch)
        prediction = outputs.volume
        terms: dict[str, torch.Tensor] = {}
        if weights.uncertainty and prediction.shape[1] > 1:
            terms["uncertainty"] = uncertainty_loss(prediction, target)
        prediction = prediction[:, :1]
        if weights.reconstruction:
            terms["reconstruction"] = nn.functional.mse_loss(prediction, target)
        if weights.absolute:
            terms["absolute"] = nn.functional.l1_loss(prediction, target)
        if slices is not None:
            terms["segmentation"] = self.segmentation(*slices)
        if weights.projection:
            rng = pose_generator(self.config.seed, step)
            terms["projection"] = self.projection(prediction, target, rng)
        labels = None if batch.labels is None else batch.labels.long()
        terms |= self.paper_terms(outputs._replace(volume=prediction), target, labels, step, batch.air_mm)
        if self.critic is not None:
            # only the generator learns here, so the discriminator's own gradients are spared
            self.critic.requires_grad_(False)
            terms["adversarial"] = self.gan.generator(self._judge(self.critic, batch, prediction))
            self.critic.requires_grad_(True)
            self._unjudged.append((batch, prediction.detach()))
        loss = sum(getattr(weights, name) * term for name, term in terms.items())
        return loss, {name: term.detach() for name, term in terms.items()}

    def _shadow_loss(self, step: int, batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Of the steps that come first, when the network learns where the pictures show air."""
        with self._autocast():
            outputs = self._network(batch.pictures, batch.matrices, only_shadow=True)
        terms = self.paper_terms(outputs, batch.target, None, step, batch.air_mm)
        return self.config.loss.air * terms["air"], {"air": terms["air"].detach()}

    def _compared(
        self, step: int, batch: Batch
    ) -> tuple[TrainingOutputs, torch.Tensor, tuple[torch.Tensor, torch.Tensor] | None]:
        """Outputs and target where this step compares them, and their slices for the segmenter."""
        target = self._on_device(batch)[2]
        chosen = choose(self.config, step, self.device)
        if self.config.points_per_step:
            prediction, planes = chosen.part(self._predict(self._network, batch, chosen.points()))
            target, true_planes = chosen.of_volume(target)
            outputs = TrainingOutputs(prediction)
        else:
            outputs = self._outputs(batch)
            planes, true_planes = (slices_of(v, chosen.slices) for v in (outputs.volume, target))
        wanted = bool(self.config.loss.segmentation)
        return outputs, target, (planes[:, :1], true_planes) if wanted else None

    def critic_loss(self) -> torch.Tensor:
        """Least-squares loss of the discriminator on the oldest real and generated volumes not yet seen."""
        batch, fake = self._unjudged.popleft()
        both = torch.cat([self._on_device(batch)[2], fake])
        scores = self._judge(self._critic, batch, both)
        return self.gan.discriminator(*scores.chunk(2))

    def _judge(self, critic: nn.Module, batch: Batch, volume: torch.Tensor) -> torch.Tensor:
        # the published discriminator has the superior slice first, and pictures as wide as the volume
        pictures = nn.functional.interpolate(
            self._on_device(batch)[0][:, :2], size=volume.shape[3:], mode="bilinear", antialias=True
        )
        pictures = pictures.repeat(volume.shape[0] // pictures.shape[0], 1, 1, 1)
        with self._autocast():
            return critic(volume.flip(2), pictures).to(self._dtype)

    def close(self) -> None:
        """Ends the processes that make samples."""
        self.data.close()

    # -- quality -------------------------------------------------------------------------------
    def validate(self, network: nn.Module) -> dict[str, float]:
        """Means over the validation patients: PSNR 3D (dB), SSIM, MAE (HU); "_mean_volume" in its place."""
        from xrecon.evaluation.metrics import mae, psnr, ssim  # loads scikit-image

        rows, classes, mean = [], [], self.mean_volume[0, 0].numpy()
        for index in range(len(self.validation.subjects)):
            prediction, truth = self._pair(network, index)
            rows.append(
                {
                    "psnr": psnr(prediction, truth, data_range=1.0),
                    "ssim": ssim(prediction, truth, data_range=1.0),
                    "mae_hu": mae(prediction, truth) * (HU_WINDOW[1] - HU_WINDOW[0]),
                    "psnr_mean_volume": psnr(mean, truth, data_range=1.0),
                    "ssim_mean_volume": ssim(mean, truth, data_range=1.0),
                }
            )
            for count in self._view_counts():
                fewer = self._pair(network, index, views=count)[0]
                rows[-1][f"psnr_views_{count}"] = psnr(fewer, truth, data_range=1.0)
            classes.append(self._class_dice(network, index) | self._air_figures(network, index))
        return {**_means(rows), **mean_dice(classes)}

    def _air_figures(self, network: nn.Module, index: int) -> dict[str, float]:
        """How the pleural air of a validation patient's copies is shown, when the loss has a term of it."""
        if not self.config.loss.air:
            return {}

        def run(batch: Batch) -> TrainingOutputs:
            with torch.no_grad(), self._autocast():
                return network(*self._on_device(batch))

        copies = self.validation.with_air(index, AIR_COPIES)
        return air_figures(run, self.validation.reference(index), copies)

    def _class_dice(self, network: nn.Module, index: int) -> dict[str, float]:
        """Dice of each class of a validation patient, when the network gives classes."""
        if not segments(network):
            return {}
        batch = self.validation.reference(index)
        pictures, matrices, _ = self._on_device(batch)
        with torch.no_grad(), self._autocast():
            _, logits = network.reconstruct_and_segment(pictures, matrices)
        found = logits.argmax(dim=1)[0].cpu().numpy()
        return dice_by_name(found, batch.labels[0].cpu().numpy(), self.config.segmentation.names)

    def _view_counts(self) -> range:
        """The numbers of views to judge: the first ones of the config."""
        counts = self.config.geometry.views_per_sample
        return range(counts[0], counts[1] + 1) if counts else range(0)

    def validate_shuffled(self, network: nn.Module) -> dict[str, float]:
        """PSNR and SSIM of each validation patient's volume against that from the next one's radiographs.

        A network that looks at the radiographs scores worse than in `validate`. {} for one patient.
        """
        from xrecon.evaluation.metrics import psnr, ssim

        pairs = [self._pair(network, index) for index in range(len(self.validation.subjects))]
        if len(pairs) < 2:
            return {}
        rows = []
        for index, (_, truth) in enumerate(pairs):
            prediction = pairs[(index + 1) % len(pairs)][0]
            row = {"psnr": psnr(prediction, truth, data_range=1.0)}
            rows.append({**row, "ssim": ssim(prediction, truth, data_range=1.0)})
        return {f"{name}_shuffled": value for name, value in _means(rows).items()}

    def picture(self, network: nn.Module) -> Image | None:
        """Truth, reconstruction and error of the first validation patient (else training patient)."""
        from xrecon.evaluation.pictures import compare_volumes

        source = self.validation if self.validation.subjects else self.train
        spacing = (self.config.grid.spacing_mm,) * 3
        prediction, truth = (Volume(unit_to_hu(v), spacing) for v in self._pair(network, 0, source))
        return compare_volumes(truth, prediction)

    def _pair(
        self, network: nn.Module, index: int, source: PairSource | None = None, views: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Prediction, from the first `views` or all, and truth (z, y, x) of a subject in [0, 1]."""
        batch = (source or self.validation).reference(index)
        batch = replace(batch, pictures=batch.pictures[:, :views], matrices=batch.matrices[:, :views])
        with torch.no_grad():
            prediction = self._predict(network, batch)[0, 0].clamp(0, 1)
        return prediction.cpu().numpy(), batch.target[0, 0].cpu().numpy()

    def export(self, folder: Path, network: nn.Module, training: dict[str, object]) -> dict[str, float]:
        """Card and half-precision weights into `folder`; returns the validation metrics of these weights."""
        training = {**training, "precision": self.config.precision}
        card = reconstruction_card(
            self.config,
            reconstructor_options(self.config),
            self.train.subjects,
            training,
            with_classes=segments(self.network),
        )
        save_model(folder, network.float(), card)
        stored, _ = load_model(folder, self.device.type)
        self._half, self._dtype = False, torch.float32  # as at inference
        quality = {**self.validate(stored), **self.validate_shuffled(stored)}
        record_validation(folder, quality, self.validation.subjects)
        return quality


def switch_on_checkpointing(network: nn.Module, architecture: str) -> None:
    """Makes the parts of a network that can do so compute activations again in backward.

    Raises InputError when it has none.
    """
    able = [m for m in network.modules() if hasattr(m, "checkpointing")]
    if not able:
        raise InputError(f"checkpointing: the architecture {architecture!r} has no activation checkpointing")
    for module in able:
        module.checkpointing = True


def _means(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]} if rows else {}
