"""A folder of CTs in, a trained and exported model out: what `xrecon train` and the panel start."""

from __future__ import annotations

import json
from pathlib import Path

from xrecon.nets.device import choose_device
from xrecon.training.config import TrainConfig
from xrecon.training.engine import Progress, Task, Trainer
from xrecon.training.subjects import (
    SPLITS,
    Prepared,
    Subject,
    find_subjects,
    prepare_subject,
    split_subjects,
    write_splits,
)
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
    output = Path(output)
    subjects = find_subjects(data)
    splits = _splits(subjects, config, output, resume)
    prepared = prepare_all(subjects, splits, config, output / PREPARED_NAME, progress)
    steps = config.steps or config.epochs * len(prepared["train"])
    device = choose_device(config.device)
    for note in device.notes:
        if progress:
            progress("train", 0.0, note)
    task = make_task(prepared, config, device.name)
    return Trainer(task, config, steps, output, progress).run(resume)


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
    progress: Progress | None = None,
) -> dict[str, list[Prepared]]:
    """Prepared subjects of the splits that training sees; test patients are not even read."""
    wanted = {name: split for split in ("train", "validation") for name in splits[split]}
    prepared: dict[str, list[Prepared]] = {"train": [], "validation": []}
    chosen = [s for s in subjects if s.name in wanted]
    for i, subject in enumerate(chosen):
        if progress:
            progress("prepare", i / len(chosen), f"preparing {subject.name}")
        prepared[wanted[subject.name]].append(prepare_subject(subject, config, folder))
    return prepared


def _splits(subjects: list[Subject], config: TrainConfig, output: Path, resume: bool) -> dict[str, list[str]]:
    path = output / SPLITS_NAME
    splits = split_subjects(subjects, config)
    if resume and path.is_file():
        stored = json.loads(path.read_text(encoding="utf-8"))
        if stored != splits:
            changed = sorted({n for s in SPLITS for n in set(stored.get(s, [])) ^ set(splits[s])})
            raise InputError(f"expected the patients of the run in {output}, got another split: {changed}")
    output.mkdir(parents=True, exist_ok=True)
    write_splits(path, splits)
    return splits
