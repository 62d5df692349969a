"""A recipe trained within the budget: a few steps are timed, then the budget's number of steps is trained.

The budget is equal in processor time, not in steps: a heavy network gets few. The number of steps is
decided once and kept, because the schedule of the learning rate depends on it and a benchmark that was
stopped must go on as it began.
"""

from __future__ import annotations

import csv
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from xrecon.benchmark.methods import recipe_config
from xrecon.benchmark.plan import Plan
from xrecon.io.atomic import atomic_write_text
from xrecon.training.checkpoint import CHECKPOINT
from xrecon.training.config import TrainConfig
from xrecon.training.run import PREPARED_NAME, train
from xrecon.training.status import StopRequested
from xrecon.training.subjects import MANIFEST_NAME, Subject
from xrecon.volume import InputError

DATA, STEPS = "data", "steps.json"
# Timed after a first one, fewer when they take more than this share of the budget.
PILOT_STEPS, PILOT_SHARE = 4, 0.2
MANY_STEPS = 1000  # of the pilot, which does not reach its end
Progress = Callable[[str, float, str], None]


def write_data(subjects: list[Subject], plan: Plan, folder: Path) -> Path:
    """A folder whose subjects.csv names the training CTs, where they lie."""
    data = folder / DATA
    data.mkdir(parents=True, exist_ok=True)
    names = ("path", "name", "patient", "split", "attribution", "licence")
    with (data / MANIFEST_NAME).open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(names)
        for s in subjects:
            if s.name in plan.train:
                writer.writerow([s.path.resolve(), s.name, s.patient, "train", s.attribution, s.licence])
    return data


def train_within(name: str, plan: Plan, folder: Path, progress: Progress) -> tuple[Path, int, float | None]:
    """(model folder, steps, minutes of processor time) of a recipe trained under the plan.

    A run that was stopped goes on from its checkpoint; its minutes are then not known (None).
    Raises InputError as `xrecon train` does, and when the budget does not suffice for two steps.
    """
    run = folder / "runs" / name
    steps = plan.steps or _steps_within(name, plan, folder, run, progress)
    if not (run / "model" / "card.json").is_file():
        config = recipe_config(name, plan, steps)
        resumed, began = (run / CHECKPOINT).exists(), time.process_time()
        _train(run, config, resumed, folder, progress)
        minutes = None if resumed else (time.process_time() - began) / 60.0
        _note(run, {"steps": steps, "minutes": minutes})
    noted = json.loads((run / STEPS).read_text(encoding="utf-8"))
    return run / "model", int(noted["steps"]), noted["minutes"]


def _steps_within(name: str, plan: Plan, folder: Path, run: Path, progress: Progress) -> int:
    if (run / STEPS).is_file():
        return int(json.loads((run / STEPS).read_text(encoding="utf-8"))["steps"])
    each = _seconds_a_step(name, plan, folder, progress)
    steps = int(plan.minutes * 60.0 / each)
    if steps < 2:
        raise InputError(f"{name}: one step takes {each:.0f} s, {plan.minutes:g} minutes are too few")
    _note(run, {"steps": steps, "minutes": None, "seconds_a_step": each})
    return steps


def _seconds_a_step(name: str, plan: Plan, folder: Path, progress: Progress) -> float:
    """Processor time of a step, without start and end, by a run that is stopped after a few."""
    pilot, ends = folder / "runs" / f"{name}.pilot", []

    def watch(stage: str, fraction: float, message: str) -> None:
        if stage != "train":
            return progress(stage, fraction, message)
        ends.append(time.process_time())
        timed, spent = len(ends) - 1, ends[-1] - ends[0]
        if timed >= PILOT_STEPS or (timed and spent > PILOT_SHARE * 60.0 * plan.minutes):
            raise StopRequested("enough steps are timed")
        return progress("pilot", timed / PILOT_STEPS, message)

    shutil.rmtree(pilot, ignore_errors=True)
    try:
        _train(pilot, recipe_config(name, plan, MANY_STEPS), False, folder, watch)
    except StopRequested:
        pass
    finally:
        shutil.rmtree(pilot, ignore_errors=True)
    return max((ends[-1] - ends[0]) / (len(ends) - 1), 1e-3)


def _train(run: Path, config: TrainConfig, resume: bool, folder: Path, progress: Progress) -> None:
    """All runs use one folder of prepared CTs: they are the same for all recipes of one grid."""
    train(folder / DATA, run, config, resume, progress, prepared=folder / PREPARED_NAME)


def _note(run: Path, values: dict[str, float | None]) -> None:
    run.mkdir(parents=True, exist_ok=True)
    atomic_write_text(run / STEPS, json.dumps(values) + "\n")
