"""What the training panel runs: radiographs from CTs, training, evaluation, handing the model over."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _
from xrecon.io.folder import output_folder
from xrecon.volume import InputError

from XReconSlicerLib.detached_run import DetachedRun, runsIn
from XReconSlicerLib.jobs import CliJob
from XReconSlicerLib.models import CARD_NAME, WEIGHTS_NAME

# Time to leave no half-written file in the user's folder when a job is cancelled.
GRACE_MS = 10000
# What a run leaves in its folder.
CHECKPOINT, MODEL_FOLDER = "checkpoint.pt", "model"
RADIOGRAPHS_FOLDER, EVALUATION_FOLDER = "radiographs", "evaluation"
STORE_FOLDER, STORE_MANIFEST = "store", "manifest.json"
# A training that is asked to stop ends after the step it is at, which may take a while on a CPU.
STOP_GRACE_MS = 90000


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
def trainingArguments(
    data: Path,
    output: Path,
    recipe: str,
    changes: Mapping[str, Any] | None = None,
    resume: bool = False,
    table: Path | None = None,
) -> list[object]:
    """Those of `xrecon train`. `changes` are settings by dotted name, other than the recipe's; `table` says
    what each CT is used for."""
    options = [f"--set={name}={_asText(value)}" for name, value in (changes or {}).items()]
    if resume:
        options.append("--resume")
    if table:
        options += ["--split", table]
    return ["train", "--data", data, "--output", output, "--recipe", recipe, *options]


def trainingJob(*arguments: Any) -> CliJob:
    """The job with the arguments of `trainingArguments`, for scripts that wait for it."""
    return CliJob(trainingArguments(*arguments))


def _asText(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def trainingRun(data: Path, output: Path, *arguments: Any) -> DetachedRun:
    """The same as a run that goes on when Slicer is closed."""
    return DetachedRun(output, trainingArguments(data, output, *arguments))


@dataclass(frozen=True)
class RadiographOptions:
    """How CTs are projected; `views` are names with commas, "" for PA and left lateral."""

    detectorPixels: int = 512
    formats: str = "dcm,png"
    views: str = ""
    sourceToDetectorMm: float = 1800.0
    sourceToIsocenterMm: float = 1500.0
    chestFilm: bool = False


def radiographsJob(data: Path, output: Path, options: RadiographOptions) -> CliJob:
    """The job `xrecon drr` for all CTs of a folder; each CT's pictures go into a folder of its name.

    A job that was cancelled goes on with the CTs that are not done; one that fails does not stop it.
    """
    views = [view.strip() for view in options.views.split(",") if view.strip()]
    return CliJob(
        [
            *("drr", "--data", data, "--output", output),
            *(("--views", *views) if views else ()),
            *("--detector-pixels", options.detectorPixels, "--formats", options.formats),
            *("--source-to-detector-mm", f"{options.sourceToDetectorMm:g}"),
            *("--source-to-isocenter-mm", f"{options.sourceToIsocenterMm:g}"),
            *("--look", "chest" if options.chestFilm else "ideal"),
        ]
    )


def evaluationJob(
    model: Path, data: Path, output: Path, device: str = "auto", table: Path | None = None
) -> CliJob:
    """The job `xrecon evaluate` for a model on the CTs of a folder: those for tests in `table`, else all."""
    folder = output / EVALUATION_FOLDER
    # without the cases with synthetic pneumothorax, of which the panel shows nothing
    options = ["--output", folder, "--device", device, "--pneumothorax", "0"]
    split = ("--split", table) if table else ()
    return CliJob(["evaluate", "--model", model, "--data", data, *options, *split])


# ---- the folder of a run ------------------------------------------------------------------------
class RunFolder:
    """What keeps a run's folder from being used; each problem is a sentence, "" for none.

    :param folder: None while none is chosen.
    """

    def __init__(self, folder: Path | None) -> None:
        self.problem = "" if folder else _("Choose the folder of the run.")
        isStarted = folder is not None and (folder / CHECKPOINT).is_file()
        isRunning = folder is not None and runsIn(folder)
        atWork = _("A training is at work in the folder: follow it, or choose another folder.")
        self.freshProblem = (
            atWork if isRunning else
            _("The folder holds a run: resume it or choose another folder.") if isStarted else ""
        )  # fmt: skip
        self.resumeProblem = (
            atWork if isRunning else "" if isStarted else _("There is no run to resume in the folder.")
        )
        self.followProblem = "" if isRunning else _("No training is at work in the folder.")
        hasStore = folder is not None and (storeOf(folder) / STORE_MANIFEST).is_file()
        self.storeProblem = (
            "" if hasStore else _("There is no training store yet: tick its format and make radiographs.")
        )


def storeOf(folder: Path) -> Path:
    """Where the radiographs of a run's folder are stored to train from."""
    return folder / RADIOGRAPHS_FOLDER / STORE_FOLDER


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


def describeRadiographs(folder: Path, result: Mapping[str, Any]) -> str:
    """How many CTs were projected, in a sentence."""
    failed = len(result["numbers"]["failed"])
    text = _("{count} CTs projected into {folder}").format(count=len(result["files"]), folder=folder)
    more = _("; {count} failed, drr.json says why").format(count=failed) if failed else ""
    return text + more
