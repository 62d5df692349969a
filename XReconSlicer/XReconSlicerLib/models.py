"""The models a panel can offer, read from their cards without importing any network code.

Bundled ones came with the extension. Stored ones were imported by the user into a folder of this
computer: `$XRECON_MODELS`, else `.xrecon/models` in the home folder. Nothing is downloaded.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _
from xrecon.volume import InputError

from XReconSlicerLib.jobs import PACKAGE_PARENT
from XReconSlicerLib.looks import Detector

MODELS_FOLDER = PACKAGE_PARENT / "xrecon" / "models"
STORE_VARIABLE = "XRECON_MODELS"
CARD_NAME, WEIGHTS_NAME = "card.json", "weights.safetensors"
RECONSTRUCTION, SEGMENTATION = "radiographs", "slices"  # a card's input kind
_CHUNK = 2**22


@dataclass(frozen=True)
class ModelChoice:
    """One entry of a model selector. `reference` is what `--model` takes: a name or a folder.

    title begins with the card's name, by which the command line, reports and scenes call the model.
    views, detector and viewCount (least, most) are what a reconstruction model needs. summary (what it
    needs, how good it is) and details (all that the card says) are lines for the user. kind is what it takes.
    """

    reference: str
    title: str
    details: str
    summary: str = ""
    views: tuple[str, ...] = ()
    detector: Detector = Detector()
    viewCount: tuple[int, int] = (0, 0)
    isStored: bool = False
    kind: str = RECONSTRUCTION


def readModel(folder: Path, *kinds: str) -> ModelChoice:
    """The model in a folder. Raises InputError when it is none, or takes something else than `kinds`."""
    try:
        card = _readCard(folder)
        found = card["input"]["kind"]
        title = f"{card['name']}: {card['title']}"
        choice = ModelChoice(str(folder), title, _details(card), _summary(card), *_needs(card), kind=found)
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = _("Expected a model folder with {file} and its weights: {folder}")
        raise InputError(message.format(file=CARD_NAME, folder=folder)) from error
    if found not in kinds:
        raise InputError(
            _("The model '{title}' takes {found}, expected one that takes {kind}.").format(
                title=choice.title, found=found, kind=_(" or ").join(kinds)
            )
        )
    return choice


def bundledModels(kind: str, folder: Path = MODELS_FOLDER) -> list[ModelChoice]:
    """The models of one kind that came with the extension, by title."""
    found = _modelsIn(folder, kind)
    named = [_changed(choice, reference=Path(choice.reference).name) for choice in found]
    return sorted(named, key=_cardTitle)


def storedModels(kind: str) -> list[ModelChoice]:
    """The models of one kind that the user imported, by title."""
    stored = [_changed(choice, isStored=True) for choice in _modelsIn(storeFolder(), kind)]
    return sorted(stored, key=_cardTitle)


def storeFolder() -> Path:
    """Where imported models lie; it need not exist yet."""
    return Path(os.environ.get(STORE_VARIABLE) or Path.home() / ".xrecon" / "models")


def importModel(folder: Path) -> ModelChoice:
    """Copies a model folder into the store, after its weights matched the card; gives it as stored there.

    It may be one of XReconSlicer or one of PTXSeg (`kind` tells which): each panel lists its own.

    :raises InputError: when it is neither or its weights are damaged.
    :raises OSError: when it cannot be copied.
    """
    readModel(folder, RECONSTRUCTION, SEGMENTATION)
    requireWeights(folder)
    card = _readCard(folder)
    target = storeFolder() / f"{_safe(card['name'])}-{card['sha256'][:8]}"
    if target.resolve() != folder.resolve():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".import", dir=target.parent) as temporary:
            copy = Path(temporary) / "model"
            copy.mkdir()
            for name in (CARD_NAME, WEIGHTS_NAME):
                shutil.copyfile(folder / name, copy / name)
            requireWeights(copy)  # what was written is what was read
            shutil.rmtree(target, ignore_errors=True)
            copy.rename(target)
    return _changed(readModel(target, RECONSTRUCTION, SEGMENTATION), isStored=True)


def listedByPTXSeg(model: ModelChoice) -> str:
    """What the user is told after a lung model was imported, whichever panel it came through."""
    return _("PTXSeg now lists '{title}': tick it there.").format(title=model.title)


def deleteModel(reference: str) -> None:
    """Deletes a stored model. Raises InputError for one that does not lie in the store."""
    folder = Path(reference)
    if folder.resolve().parent != storeFolder().resolve():
        raise InputError(
            _("Only imported models can be deleted; this one is not: {folder}").format(folder=folder)
        )
    shutil.rmtree(folder)


def requireWeights(folder: Path) -> None:
    """Raises InputError when the weights of a model folder are missing or not those of its card."""
    weights = folder / WEIGHTS_NAME
    if not weights.is_file():
        raise InputError(_("Expected the weights {file} beside the card, found none.").format(file=weights))
    digest = hashlib.sha256()
    with weights.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    if digest.hexdigest() != _readCard(folder).get("sha256"):
        message = _(
            "The weights in {folder} are damaged or were exchanged: their checksum is not that of the card. "
            "Copy the folder again from where it came from."
        )
        raise InputError(message.format(folder=folder))


# ---- cards --------------------------------------------------------------------------------------
def _readCard(folder: Path) -> dict[str, Any]:
    return json.loads((folder / CARD_NAME).read_text(encoding="utf-8"))


def _modelsIn(folder: Path, kind: str) -> list[ModelChoice]:
    choices = []
    for card in sorted(folder.glob(f"*/{CARD_NAME}")):
        try:
            choices.append(readModel(card.parent, kind))
        except InputError:
            continue  # a model of the other kind
    return choices


def _cardTitle(choice: ModelChoice) -> str:
    """What the lists are sorted by, and so which bundled model is the first choice."""
    return choice.title.partition(": ")[2]


def _changed(choice: ModelChoice, **changes: Any) -> ModelChoice:
    return ModelChoice(**{**vars(choice), **changes})


def _safe(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name)


def _needs(card: dict) -> tuple[tuple[str, ...], Detector, tuple[int, int]]:
    """Views by name, the detector, and the least and most radiographs."""
    needed = card["input"]
    if needed["kind"] != RECONSTRUCTION:
        return (), Detector(), (0, 0)
    views = tuple(needed["views"])
    count = tuple(needed.get("view_count") or (len(views),) * 2)
    return views, Detector(tuple(needed["shape"]), tuple(needed["pixel_spacing"])), count


def _details(card: dict) -> str:
    lines = [
        card.get("description", ""),
        _sizes(card),
        _measured(card),
        card.get("intended_use", ""),
        card.get("limitations", ""),
        _("Licence: {licence}").format(licence=card["licence"]) if card.get("licence") else "",
    ]
    return "\n".join(line for line in lines if line)


def _summary(card: dict) -> str:
    return "\n".join(line for line in (_sizes(card), _measured(card)) if line)


def _sizes(card: dict) -> str:
    needed, made = card["input"], card.get("output", {})
    if needed["kind"] != RECONSTRUCTION or "side" not in made:
        return ""
    near, far = needed["source_to_detector_mm"]
    least, most = needed.get("view_count") or (0, 0)
    views = _(" and ").join(needed["views"])
    if most:
        views = _("{least} to {most} of {views}").format(least=least, most=most, views=views)
        if needed.get("directions") == "any":
            views = _("{least} to {most} views of any angle").format(least=least, most=most)
    return _(
        "Needs {views}, source to detector {near:.0f} to {far:.0f} mm. "
        "Makes {side}^3 voxels of {spacing:g} mm."
    ).format(
        views=views,
        near=near,
        far=far,
        side=made["side"],
        spacing=made["spacing_mm"],
    )


def _measured(card: dict) -> str:
    # the panel lists models before pydantic, which reads cards in the backend, is installed
    test = (card.get("quality") or {}).get("test") or {}
    mean, count = test.get("mean") or {}, len(test.get("subjects") or ())
    if "psnr" in mean and "psnr_mean_volume" in mean:
        return _(
            "On {count} held-out CTs: PSNR {psnr:.1f} dB; the mean training volume has {control:.1f} dB."
        ).format(count=count, psnr=mean["psnr"], control=mean["psnr_mean_volume"])
    if "dice_right" in mean and "dice_left" in mean:
        return _("On {count} held-out CTs: Dice {right:.3f} right, {left:.3f} left.").format(
            count=count, right=mean["dice_right"], left=mean["dice_left"]
        )
    return _("Not measured on held-out CTs.")
