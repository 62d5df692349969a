"""What is measured of models that segment a CT: lung networks on slices, and networks on whole cubes.

Lung networks: against the classical segmentation, and with synthetic pneumothorax (`scoring_lungs`).
Networks on cubes: Dice of each class, against the classical lungs when the classes are the lungs, else
against the label map that the column `labels` of subjects.csv names.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from xrecon.assessment.cases import read_ct
from xrecon.nets.card import ModelCard
from xrecon.training.config import SegmentationConfig
from xrecon.training.subjects import MANIFEST_NAME, Subject
from xrecon.volume import InputError, Quantity, Volume

LUNGS = ("right lung", "left lung")


def assess_segmentation(
    model: str, card: ModelCard, subject: Subject, device: str
) -> tuple[dict[str, Any], list[str]]:
    """Figures of a segmentation model on a CT, and notes. Raises InputError for a CT that cannot be used."""
    from xrecon.nets.device import choose_device

    chosen, volume = choose_device(device), read_ct(subject)
    row: dict[str, Any] = {"subject": subject.name, "patient": subject.patient, "case": subject.name}
    if card.input.kind == "slices":
        from xrecon.scoring_lungs import score_lungs

        return row | score_lungs(volume, model, chosen.name), list(chosen.notes)
    return row | _score_cube(model, card, volume, subject, chosen.name), list(chosen.notes)


def _score_cube(
    model: str, card: ModelCard, volume: Volume, subject: Subject, device: str
) -> dict[str, float]:
    import torch

    from xrecon.nets.registry import load_model
    from xrecon.preprocess.ct import hu_to_unit, resample
    from xrecon.training.labels import dice_by_name

    names = tuple(card.output.labels[1:])
    truth, center = _truth(card, names, volume, subject)
    place = ((card.input.side,) * 3, (card.input.spacing_mm,) * 3, center)
    unit = hu_to_unit(resample(volume, *place).array, tuple(card.input.hu_window))
    network, _ = load_model(model, device)
    with torch.inference_mode():
        picture = torch.as_tensor(np.ascontiguousarray(unit), dtype=torch.float32, device=device)[None, None]
        found = network(picture).argmax(dim=1)[0].cpu().numpy()
    figures = dice_by_name(found, resample(truth, *place, fill=0, order=0).array, names)
    return {name.replace(" ", "_"): value for name, value in figures.items()}


def _truth(
    card: ModelCard, names: tuple[str, ...], volume: Volume, subject: Subject
) -> tuple[Volume, np.ndarray]:
    """Classes of the CT, and the LPS point that the cube is put about, as in training."""
    from xrecon.io.image import read_volume
    from xrecon.pneumothorax.lungs import classical_lungs
    from xrecon.preprocess.ct import lung_center
    from xrecon.training.labels import file_classes, label_center

    if names == LUNGS:
        return classical_lungs(volume), lung_center(volume)
    settings = (card.training.get("config") or {}).get("segmentation") or {}
    if subject.labels is None or not settings.get("labels"):
        raise InputError(
            f"expected a label map with {', '.join(names)} in column 'labels' of {MANIFEST_NAME} for "
            f"{subject.name}, got none"
        )
    labels = read_volume(subject.labels, Quantity.LABEL)
    classes = file_classes(labels, SegmentationConfig.model_validate(settings))
    return classes, label_center(classes)
