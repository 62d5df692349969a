"""A folder of CTs in, a trained and exported model out: what `xrecon train` and the panel start."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from xrecon.nets.device import choose_device
from xrecon.nets.registry import create_model
from xrecon.training.config import TrainConfig
from xrecon.training.engine import CHECKPOINT, CONFIG, Progress, Task, Trainer, changed_settings
from xrecon.training.prepared import Prepared, prepare_subject
from xrecon.training.reconstruction import create_reconstructor
from xrecon.training.subjects import SPLITS, Subject, find_subjects, split_subjects, write_splits
from xrecon.volume import InputError

SPLITS_NAME, PREPARED_NAME = "splits.json", "prepared"


def train(
    data: Path,
    output: Path,
    config: TrainConfig,
    resume: bool = False,
    progress: Progress | None = None,
) -> dict[str, float]:
    """Trains on the CTs of `data` in the run folder `output`; returns the validation metrics.

    The exported model is `output/model`. Raises InputError for unusable data or settings and for
    a folder that already holds another run.
    """
    output, say = Path(output), progress or _silent
    require_place(output, config, resume)
    require_network(config)
    notes: list[str] = []
    subjects = find_subjects(data, notes)
    device = choose_device(config.device)
    for note in (*notes, *device.notes):
        say("prepare", 0.0, note)
    splits = _splits(subjects, config, output)
    prepared = prepare_all(subjects, splits, config, output / PREPARED_NAME, say)
    steps = config.steps or config.epochs * len(prepared["train"])
    task = make_task(prepared, config, device.name)
    return Trainer(task, config, steps, output, progress).run(resume)


def require_place(output: Path, config: TrainConfig, resume: bool) -> None:
    """Raises InputError, before anything is written, when `output` holds a run that is not to be
    resumed or one with other settings."""
    if not (output / CHECKPOINT).exists():
        return
    if not resume:
        raise InputError(
            f"expected a folder without a run, found {output / CHECKPOINT}: resume it or choose another "
            "folder"
        )
    stored = _read_json(output / CONFIG)
    changed = changed_settings(stored, config)
    if changed:
        raise InputError(f"expected the settings of the run in {output}, got others in {changed}")


def require_network(config: TrainConfig) -> None:
    """Raises InputError for an architecture or options that do not exist, without making weights."""
    import torch

    with torch.device("meta"):
        if config.task == "lungs":
            create_model(config.architecture, **config.options)
        else:
            create_reconstructor(config)


def make_task(prepared: dict[str, list[Prepared]], config: TrainConfig, device: str) -> Task:
    """The task that the config names."""
    if config.task == "lungs":
        from xrecon.training.lungs import LungTask as Chosen
    else:
        from xrecon.training.reconstruction import ReconstructionTask as Chosen
    return Chosen(prepared["train"], prepared["validation"], config, device)


def prepare_all(
    subjects: list[Subject],
    splits: dict[str, list[str]],
    config: TrainConfig,
    folder: Path,
    say: Progress,
) -> dict[str, list[Prepared]]:
    """Prepared subjects of the splits that training sees; test patients are not prepared."""
    wanted = {name: split for split in ("train", "validation") for name in splits[split]}
    prepared: dict[str, list[Prepared]] = {"train": [], "validation": []}
    chosen = [s for s in subjects if s.name in wanted]
    for i, subject in enumerate(chosen):
        say("prepare", i / len(chosen), f"preparing {subject.name}")
        prepared[wanted[subject.name]].append(prepare_subject(subject, config, folder))
    return prepared


def _splits(subjects: list[Subject], config: TrainConfig, output: Path) -> dict[str, list[str]]:
    """The split, written before training; that of a run which has begun must be the same."""
    path = output / SPLITS_NAME
    splits = split_subjects(subjects, config)
    if (output / CHECKPOINT).exists() and path.is_file():
        stored = _read_json(path)
        if stored != splits:
            changed = sorted({n for s in SPLITS for n in set(stored.get(s, [])) ^ set(splits[s])})
            raise InputError(f"expected the patients of the run in {output}, got another split: {changed}")
    output.mkdir(parents=True, exist_ok=True)
    write_splits(path, splits)
    return splits


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"the run's {path} cannot be read ({error}): choose another folder") from error


def _silent(stage: str, fraction: float, message: str) -> None:
    """Progress for nobody."""
