"""The models a panel can offer, read from their cards without importing any network code."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from slicer.i18n import tr as _
from xrecon.volume import InputError

from XReconSlicerLib.jobs import PACKAGE_PARENT

MODELS_FOLDER = PACKAGE_PARENT / "xrecon" / "models"
CARD_NAME, WEIGHTS_NAME = "card.json", "weights.safetensors"
RECONSTRUCTION, SEGMENTATION = "radiographs", "slices"  # a card's input kind


@dataclass(frozen=True)
class ModelChoice:
    """One entry of a model selector. `reference` is what `--model` takes: a name or a folder."""

    reference: str
    title: str
    details: str


def readModel(folder: Path, kind: str) -> ModelChoice:
    """The model in a folder. Raises InputError when it is none, or one for another purpose."""
    try:
        card = json.loads((folder / CARD_NAME).read_text(encoding="utf-8"))
        found = card["input"]["kind"]
        choice = ModelChoice(str(folder), card["title"], _details(card))
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = _("Expected a model folder with {file} and its weights: {folder}")
        raise InputError(message.format(file=CARD_NAME, folder=folder)) from error
    if found != kind:
        raise InputError(
            _("The model '{title}' takes {found}, expected one that takes {kind}.").format(
                title=choice.title, found=found, kind=kind
            )
        )
    return choice


def bundledModels(kind: str, folder: Path = MODELS_FOLDER) -> list[ModelChoice]:
    """The models of one kind that came with the extension, by title."""
    choices = []
    for card in sorted(folder.glob(f"*/{CARD_NAME}")):
        try:
            found = readModel(card.parent, kind)
        except InputError:
            continue  # a model of the other kind
        choices.append(ModelChoice(card.parent.name, found.title, found.details))
    return sorted(choices, key=lambda choice: choice.title)


def _details(card: dict) -> str:
    lines = [
        card.get("description", ""),
        _measured(card),
        card.get("intended_use", ""),
        card.get("limitations", ""),
    ]
    return "\n".join(line for line in lines if line)


def _measured(card: dict) -> str:
    # the panel lists models before pydantic, which reads cards in the backend, is installed
    mean = ((card.get("quality") or {}).get("test") or {}).get("mean") or {}
    if "psnr" in mean and "psnr_mean_volume" in mean:
        return _(
            "On held-out CTs: PSNR {psnr:.1f} dB; the mean training volume has {control:.1f} dB."
        ).format(psnr=mean["psnr"], control=mean["psnr_mean_volume"])
    if "dice_right" in mean and "dice_left" in mean:
        return _("On held-out CTs: Dice {right:.3f} right, {left:.3f} left.").format(
            right=mean["dice_right"], left=mean["dice_left"]
        )
    return ""
