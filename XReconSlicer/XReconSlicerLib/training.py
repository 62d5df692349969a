"""What the training panel runs: radiographs from CTs, training, evaluation, handing the model over."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _
from xrecon.io.folder import output_folder
from xrecon.volume import InputError

from XReconSlicerLib.jobs import CliJob
from XReconSlicerLib.models import CARD_NAME, WEIGHTS_NAME

# Time to leave no half-written file in the user's folder when a job is cancelled.
GRACE_MS = 10000
# What a run leaves in its folder.
CHECKPOINT, MODEL_FOLDER = "checkpoint.pt", "model"
RADIOGRAPHS_FOLDER, EVALUATION_FOLDER = "radiographs", "evaluation"


# ---- settings -----------------------------------------------------------------------------------
def recipes() -> list[str]:
    """Names of the training recipes. Raises ImportError while packages are missing."""
    from xrecon.training.config import RECIPES

    return list(RECIPES)


def recipeSettings(recipe: str) -> dict[str, tuple[str, str]]:
    """The settings of a recipe by dotted name: value as JSON text, and what it means."""
    from xrecon.training.config import make_config

    config = make_config(recipe)
    return dict(_flat(config, ""))


def _flat(model: Any, prefix: str) -> Iterator[tuple[str, tuple[str, str]]]:
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if hasattr(type(value), "model_fields"):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            text = json.dumps(model.model_dump(mode="json", include={name})[name])
            yield prefix + name, (text.strip('"'), field.description or "")


def checkSettings(recipe: str, changes: Mapping[str, str]) -> None:
    """Raises InputError naming what is wrong with changed settings."""
    from xrecon.training.config import make_config

    make_config(recipe, overrides=changes)


# ---- jobs ---------------------------------------------------------------------------------------
def trainingJob(
    data: Path, output: Path, recipe: str, changes: Mapping[str, Any] | None = None, resume: bool = False
) -> CliJob:
    """The job `xrecon train`. `changes` are settings by dotted name, other than the recipe's."""
    options = [f"--set={name}={_asText(value)}" for name, value in (changes or {}).items()]
    if resume:
        options.append("--resume")
    return CliJob(["train", "--data", data, "--output", output, "--recipe", recipe, *options])


def _asText(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def radiographsJob(
    data: Path, output: Path, detectorPixels: int, formats: str, chestFilm: bool = False
) -> CliJob:
    """The job `xrecon drr` for all CTs of a folder; each CT's pictures go into a folder of its name.

    A job that was cancelled goes on with the CTs that are not done; one that fails does not stop it.
    """
    options = ["--detector-pixels", detectorPixels, "--formats", formats]
    options += ["--look", "chest" if chestFilm else "ideal"]
    return CliJob(["drr", "--data", data, "--output", output, *options])


def evaluationJob(model: Path, data: Path, output: Path, device: str = "auto") -> CliJob:
    """The job `xrecon evaluate` for a model on all CTs of a folder."""
    folder = output / EVALUATION_FOLDER
    return CliJob(["evaluate", "--model", model, "--data", data, "--output", folder, "--device", device])


# ---- folders ------------------------------------------------------------------------------------
def isFolder(text: str) -> bool:
    """Whether a path edit names an existing folder."""
    return bool(text) and Path(text).is_dir()


def hasModel(folder: str) -> bool:
    """Whether a folder holds a finished model."""
    return bool(folder) and (Path(folder) / CARD_NAME).is_file()


def exportModel(source: Path, destination: Path) -> Path:
    """Copies a finished model into a new folder, named as in its card, below `destination`.

    The new folder appears only when the copy is complete and its weights are those of the card.
    :raises InputError: when the source is no model, its weights are not those of its card, or the
        new folder exists.
    :raises OSError: when it cannot be written.
    """
    name, digest = _nameAndChecksum(source)
    target = destination / name
    if target.exists():
        raise InputError(_("There is already a model in {folder}.").format(folder=target))
    with output_folder(destination) as staging:
        copy = staging / name
        copy.mkdir()
        for file in (CARD_NAME, WEIGHTS_NAME):
            shutil.copyfile(source / file, copy / file)
        if hashlib.sha256((copy / WEIGHTS_NAME).read_bytes()).hexdigest() != digest:
            raise InputError(
                _(
                    "The weights do not have the card's SHA-256; they are damaged or exchanged: {folder}"
                ).format(folder=source)
            )
    return target


def _nameAndChecksum(folder: Path) -> tuple[str, str]:
    """What the card of a model says, without the packages that the backend needs to read cards."""
    try:
        card = json.loads((folder / CARD_NAME).read_text(encoding="utf-8"))
        name, digest = card["name"], card["sha256"]
        if not isinstance(name, str) or name in ("", ".", "..") or Path(name).name != name:
            raise ValueError(f"not the name of a folder: {name!r}")
    except (FileNotFoundError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            _("Expected a model folder with a readable {file}: {folder} ({reason})").format(
                file=CARD_NAME, folder=folder, reason=error
            )
        ) from error
    if not (folder / WEIGHTS_NAME).is_file():
        raise InputError(
            _("Expected weights in {file} beside the card: {folder}").format(file=WEIGHTS_NAME, folder=folder)
        )
    return name, digest


def describeMetrics(numbers: Mapping[str, Any]) -> str:
    """Metrics of a training or an evaluation, and warnings, a line each."""
    metrics = numbers.get("metrics") or numbers.get("mean") or {}
    lines = [f"{name.replace('_', ' ')}: {value:.4g}" for name, value in metrics.items() if value is not None]
    return "\n".join([*lines, *numbers.get("warnings", [])])
