"""The view task: which view a radiograph is and how it hangs, learnt from DRRs that are rendered once.

The network turns with the picture by construction (`nets.view_classifier`), so samples are shown upright;
what varies is the patient, the pose and everything that `view_looks` does to a picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from xrecon.evaluation.familiarity import calibrate, picture_statistics
from xrecon.nets.card import LabelOutput, ModelCard, PictureInput
from xrecon.nets.registry import create_model, load_model, save_model
from xrecon.nets.view_classifier import (
    HYPOTHESES,
    KINDS,
    LAYOUTS,
    NEITHER,
    Layout,
    ViewClassifier,
    hypothesis,
)
from xrecon.training.config import TrainConfig
from xrecon.training.distributed import Processes
from xrecon.training.order import sample_generator
from xrecon.training.prepared import PreparedSubjects
from xrecon.training.reconstruction_card import LICENCE
from xrecon.training.seen import record_validation, training_data
from xrecon.training.view_bank import DEFORMATIONS, PIXELS, Entry, foreign_pattern, kinds_of, render_bank
from xrecon.training.view_looks import seen
from xrecon.volume import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

INTENDED_USE = (
    "Catching exchanged, turned, mirrored, inverted or foreign pictures before a reconstruction. Not a "
    "medical device; not for diagnosis. It does not know PA from AP, nor a left from a right lateral but by "
    "the side that the patient faces."
)
SMOOTHING = 0.03
# Layouts that a step compares with the upright one: always the mirror image, which is hardest to tell from
# it, and a few of the others, which stand for all. All 15 cost five times as much and teach little more.
MIRRORED = LAYOUTS.index(Layout(mirrored=True))
OTHERS = tuple(i for i in range(1, len(LAYOUTS)) if i != MIRRORED)
COMPARED = 2
# Shares of a batch: the two kinds of views, and what is neither.
NEITHER_SHARE, PATTERN_SHARE, PART_SHARE = 0.34, 0.4, 0.25
VALIDATION_PICTURES, CALIBRATION_PICTURES = 300, 1600
# The first sample numbers of validation and calibration, beyond those of any run.
_VALIDATION, _CALIBRATION = 2**40, 2**41


class ViewTask:
    """Trains the view classifier with cross-entropy over its 33 hypotheses.

    deformations: of each subject; pixels: of the rendered pictures.
    """

    critic: nn.Module | None = None

    def __init__(
        self,
        train: PreparedSubjects,
        validation: PreparedSubjects,
        config: TrainConfig,
        device: str,
        deformations: int | None = None,
        pixels: int | None = None,
    ) -> None:
        self.config, self.device = config, torch.device(device)
        self.subjects = (train.subjects, validation.subjects)
        size = (deformations or DEFORMATIONS, pixels or PIXELS)
        self.train = render_bank(train, config, *size)
        self.validation = render_bank(validation, config, *size)
        torch.manual_seed(config.seed)
        self.network: ViewClassifier = create_model(config.architecture, **config.options).to(self.device)
        self.distribute(Processes())

    def distribute(self, processes: Processes) -> tuple[nn.Module, None]:
        """The network as the loss calls it. Raises InputError for several processes: minutes do on one."""
        if processes.count > 1:
            raise InputError("expected one process for the task 'views', which takes minutes")
        self._network = self.network
        return self._network, None

    # -- samples -------------------------------------------------------------------------------
    def sample(self, entries: Sequence[Entry], items: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Pictures (b, 1, side, side) and the columns of their hypotheses (b)."""
        by_kind, pairs = kinds_of(entries), []
        for item in items:
            rng = sample_generator(self.config.seed, item)
            draw = rng.random()
            kind = NEITHER if draw < NEITHER_SHARE else KINDS[int(rng.integers(2))]
            pairs.append((self._picture(entries, by_kind, kind, rng), hypothesis(kind)))
        pictures = torch.as_tensor(np.stack([p for p, _ in pairs]))[:, None]
        return pictures.to(self.device), torch.as_tensor([h for _, h in pairs], device=self.device)

    def _picture(
        self, entries: Sequence[Entry], by_kind: dict[str, list[int]], kind: str, rng: np.random.Generator
    ) -> np.ndarray:
        side, part = self.network.side, False
        if kind == NEITHER:
            draw = rng.random()
            if draw < PATTERN_SHARE:
                pattern = foreign_pattern(side, rng)
                return _turned(seen(pattern, rng, side=side), rng)
            part = draw < PATTERN_SHARE + PART_SHARE
        chosen = by_kind[KINDS[int(rng.integers(2))] if part else kind]
        picture = seen(entries[int(rng.choice(chosen))].picture, rng, part=part, side=side)
        return _turned(picture, rng) if kind == NEITHER else picture

    # -- what the engine asks for --------------------------------------------------------------
    def generator_loss(
        self, step: int, items: Sequence[int], following: Sequence[int] | None = None
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """Loss of a batch of pictures."""
        pictures, columns = self.sample(self.train, items)
        # samples are upright: that layout, its mirror image, and a few others that stand for all
        others = np.random.default_rng([self.config.seed, step]).permutation(OTHERS)[:COMPARED]
        logits = self._network.compare(pictures, [LAYOUTS[i] for i in (0, MIRRORED, *map(int, others))])
        width, neither = 2 + len(others), len(HYPOTHESES) - 1
        targets = torch.where(columns == neither, 2 * width, columns // len(LAYOUTS) * width)
        weight = torch.full((logits.shape[1],), float(np.log(len(OTHERS) / len(others))))
        weight[[0, 1, width, width + 1, 2 * width]] = 0.0
        logits = logits + weight.to(logits)
        right = float((logits.detach().argmax(dim=1) == targets).float().mean())
        return functional.cross_entropy(logits, targets, label_smoothing=SMOOTHING), {"right": right}

    def close(self) -> None:
        """Nothing makes samples beside the training."""

    def critic_loss(self) -> torch.Tensor:
        """There is no discriminator in this task."""
        raise RuntimeError("the view task has no discriminator")

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Share of right answers on pictures of the validation patients: all, and by kind."""
        if not self.validation:
            return {}
        items = range(_VALIDATION, _VALIDATION + VALIDATION_PICTURES)
        found, targets = self._answers(network, self.validation, items)
        right = found == targets
        metrics = {"accuracy": float(right.mean())}
        for kind in (*KINDS, NEITHER):
            of_kind = targets == hypothesis(kind)
            if of_kind.any():
                metrics[f"accuracy_{kind}"] = float(right[of_kind].mean())
        return metrics

    def _answers(
        self, network: nn.Module, entries: Sequence[Entry], items: range
    ) -> tuple[np.ndarray, np.ndarray]:
        found, targets = [], []
        for start in range(items.start, items.stop, 50):
            pictures, wanted = self.sample(entries, range(start, min(start + 50, items.stop)))
            with torch.no_grad():
                found.append(network(pictures).argmax(dim=1).cpu().numpy())
            targets.append(wanted.cpu().numpy())
        return np.concatenate(found), np.concatenate(targets)

    def picture(self, network: nn.Module) -> Image | None:
        """Samples of a batch, side by side."""
        from PIL import Image

        pictures, _ = self.sample(self.validation or self.train, range(_VALIDATION, _VALIDATION + 32))
        rows = pictures[:, 0].cpu().numpy().reshape(4, 8, *pictures.shape[-2:])
        sheet = np.concatenate(list(np.concatenate(list(rows.swapaxes(0, 1)), axis=-1)), axis=0)
        return Image.fromarray(np.uint8(np.round(255.0 * sheet)))

    # -- export --------------------------------------------------------------------------------
    def export(self, folder: Path, network: nn.Module, training: dict[str, object]) -> dict[str, float]:
        """Card and weights, with the usual values of the properties; returns the validation metrics."""
        self._calibrate(network)
        card = ModelCard(
            name=self.config.name,
            title="View, layout and polarity of chest radiographs",
            description="Frontal, lateral or neither; turned by quarters, mirrored, inverted; and what DRRs "
            "of chests usually look like, to tell unfamiliar pictures.",
            architecture=self.config.architecture,
            options=dict(self.config.options),
            input=PictureInput(shape=(network.side, network.side)),
            output=LabelOutput(labels=[*KINDS, NEITHER]),
            licence=LICENCE,
            intended_use=INTENDED_USE,
            limitations=(
                f"Learned from DRRs of {len(self.subjects[0])} people, with synthetic processing; an unusual "
                "anatomy, such as organs on the other side or one lung, may be taken for a mistake."
            ),
            training_data=[training_data(s) for s in self.subjects[0]],
            training=training,
        )
        save_model(folder, network, card, half=False)
        stored, _ = load_model(folder, self.device.type)
        quality = self.validate(stored)
        record_validation(folder, quality, self.subjects[1])
        return quality

    def _calibrate(self, network: ViewClassifier) -> None:
        by_kind, side = kinds_of(self.train), network.side
        for number, kind in enumerate(KINDS):
            statistics, embeddings = [], []
            for item in range(CALIBRATION_PICTURES):
                rng = sample_generator(self.config.seed, _CALIBRATION + item)
                picture = seen(self.train[int(rng.choice(by_kind[kind]))].picture, rng, side=side)
                statistics.append(picture_statistics(picture))
                with torch.no_grad():
                    pictures = torch.as_tensor(picture, device=self.device)[None, None]
                    embeddings.append(network.embed(pictures)[0].double().cpu().numpy())
            calibrate(network, number, statistics, np.stack(embeddings))


def _turned(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What is neither has no upright layout: any of the 16."""
    _, layout = HYPOTHESES[int(rng.integers(16))]
    return np.ascontiguousarray(layout.of(torch.as_tensor(picture)).numpy())
