"""CTs or a store in, a trained and exported model out: what `xrecon train` and the panel start."""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from xrecon.nets.device import choose_device
from xrecon.nets.registry import create_model
from xrecon.training.checkpoint import CHECKPOINT, changed_settings
from xrecon.training.config import TrainConfig
from xrecon.training.datasets import PairSource, ProjectedPairs
from xrecon.training.distributed import Processes, join_processes
from xrecon.training.engine import CONFIG, Progress, Task, Trainer
from xrecon.training.manifest import Manifest, identify, read_json, require_same_data
from xrecon.training.order import Share
from xrecon.training.precision import usable_precision
from xrecon.training.prepared import MemoryCache, PreparedSubjects, prepare_subject
from xrecon.training.reconstruction import (
    ReconstructionTask,
    create_discriminator,
    create_reconstructor,
    require_fitting_network,
    switch_on_checkpointing,
)
from xrecon.training.status import RunStatus, StopRequested
from xrecon.training.store import MANIFEST, open_store
from xrecon.training.stored import StoredPairs, make_pair, stored_subjects
from xrecon.training.subjects import Subject, find_subjects, hold_out, split_subjects
from xrecon.volume import InputError

PREPARED_NAME = "prepared"
# How many reasons an error names when no CT can be used.
NAMED = 5


def train(
    data: Path,
    output: Path,
    config: TrainConfig,
    resume: bool = False,
    progress: Progress | None = None,
    warnings: list[str] | None = None,
    prepared: Path | None = None,
    *,
    test: Sequence[str] = (),
    table: Path | None = None,
) -> dict[str, float]:
    """Trains on the CTs (or the store) of `data` in the run folder `output`; returns validation metrics.

    The exported model is `output/model`. What was left out and why is appended to `warnings`. prepared:
    a folder of prepared CTs that runs on one grid may share; one in `output` when there is none. test:
    names of CTs that are held out with all others of their patients, beside those that a table holds out;
    they are only identified, never prepared, trained on or validated on. table: a subjects.csv that lies
    elsewhere (`subjects.find_subjects`). Under `torchrun` every process calls this; the first one writes,
    the others return {}. Raises InputError for unusable data or settings and for a folder that already
    holds another run; StopRequested when a file `stop` in the folder asked the run to end
    (`training.status`).
    """
    data, output = Path(data), Path(output)
    warnings = [] if warnings is None else warnings
    prepared = prepared or output / PREPARED_NAME
    require_place(output, config, resume)
    require_network(config)
    device = choose_device(config.device)
    precision, notes = usable_precision(config.precision, device.name)
    warnings.extend([*device.notes, *notes])
    with join_processes(device.name) as processes:
        first = RunStatus(output) if processes.is_first else None
        with first or nullcontext():
            say, stop = _connected(first, progress)
            if first:
                places = _Places(data, output, prepared, test, table)
                manifest = _manifest(places, config, warnings, say, stop)
            else:
                manifest = None
            manifest = processes.from_first(manifest)
            on_device = config.model_copy(update={"precision": precision})
            task = make_task(data, prepared, manifest, on_device, device.name)
            steps, epoch_steps = count_steps(len(manifest.chosen("train")), config, processes)
            trainer = Trainer(
                task, config, steps, output, say, epoch_steps=epoch_steps, processes=processes, stop=stop
            )
            metrics = trainer.run(resume)
            if first:
                first.finish({"metrics": _finite(metrics), "warnings": warnings})
            return metrics


def _finite(metrics: Mapping[str, float | None]) -> dict[str, float]:
    """Those that JSON knows."""
    return {name: value for name, value in metrics.items() if value is not None and math.isfinite(value)}


def _connected(first: RunStatus | None, progress: Progress | None) -> tuple[Progress, Callable[[], bool]]:
    """What tells the progress of this process, and what says whether it is to stop."""
    if first is None:
        return _silent, lambda: False

    def say(stage: str, fraction: float, message: str) -> None:
        first.tell(stage, fraction, message)
        if progress:
            progress(stage, fraction, message)

    return say, lambda: first.is_stop_requested


def count_steps(subjects: int, config: TrainConfig, processes: Processes) -> tuple[int, int]:
    """Steps of the run, and of one epoch. Raises InputError when none is left for the volume."""
    samples = Share(config.batch, config.accumulation, 0, processes.count).step_samples
    steps = config.steps or -(-config.epochs * subjects // samples)
    if steps <= config.loss.air_shadow_steps:
        raise InputError(
            f"loss.air_shadow_steps: expected less than the {steps} steps of the run, got "
            f"{config.loss.air_shadow_steps}: no step would be left for the volume"
        )
    return steps, max(1, round(subjects / samples))


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
    changed = changed_settings(read_json(output / CONFIG), config)
    if changed:
        raise InputError(f"expected the settings of the run in {output}, got others in {changed}")


def require_network(config: TrainConfig) -> None:
    """Raises InputError for an architecture or options that do not exist, and for settings that the
    network or the task cannot have, without making weights."""
    import torch

    if config.task in ("lungs", "views") and config.precision == "float64":
        raise InputError(
            f"precision: expected float32 or bfloat16 for the task {config.task!r}, got 'float64'"
        )
    with torch.device("meta"):
        if config.task in ("lungs", "views"):
            network = create_model(config.architecture, **config.options)
        elif config.task == "segmentation":
            from xrecon.training.segmentation import create_segmenter

            network = create_segmenter(config)
        else:
            network = create_reconstructor(config)
            require_fitting_network(network, config)
            create_discriminator(config)
    if config.checkpointing:
        switch_on_checkpointing(network, config.architecture)


def is_store(data: Path) -> bool:
    """Whether a folder is a training store, not a folder of CTs."""
    return (data / MANIFEST).is_file()


def make_task(data: Path, prepared: Path, manifest: Manifest, config: TrainConfig, device: str) -> Task:
    """The task that the config names, on the usable subjects of the splits that training sees.

    prepared: the folder of the prepared CTs.
    """
    chosen = [manifest.chosen("train"), manifest.chosen("validation")]
    cache: MemoryCache = MemoryCache(config.memory_budget_gb * 1e9)
    if is_store(data):
        store = open_store(data)
        if config.geometry.any_angle_probability:
            raise InputError(
                "geometry.any_angle_probability: expected a folder of CTs to project from any direction, "
                f"got the store {data}, whose radiographs are as they are"
            )
        return ReconstructionTask(*(StoredPairs(store, s, config, cache) for s in chosen), config, device)
    subjects = [PreparedSubjects(s, config, prepared, cache) for s in chosen]
    if config.task == "lungs":
        from xrecon.training.lungs import LungTask

        return LungTask(*subjects, config, device)
    if config.task == "views":
        from xrecon.training.view_task import ViewTask

        return ViewTask(*subjects, config, device)
    if config.task == "segmentation":
        from xrecon.training.segmentation import SegmentationTask

        return SegmentationTask(*subjects, config, device)
    pairs: list[PairSource] = [ProjectedPairs(s, config, device) for s in subjects]
    return ReconstructionTask(*pairs, config, device)


# -- the data ------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Places:
    """Where the CTs of a run are, where the run is, and who is held out; see `train`."""

    data: Path
    output: Path
    prepared: Path
    test: Sequence[str]
    table: Path | None


def _manifest(
    places: _Places,
    config: TrainConfig,
    warnings: list[str],
    say: Progress,
    stop: Callable[[], bool],
) -> Manifest:
    """Who is trained on, who is validated on, and who is left out: written before training starts."""
    data, output = places.data, places.output
    say("prepare", 0.0, f"looking for CTs in {data}")
    notes: list[str] = []
    if is_store(data):
        if places.table:
            raise InputError(f"expected a folder of CTs for the table {places.table}, got the store {data}")
        found, check = _from_store(data, config, notes)
    else:
        found = find_subjects(data, notes, places.table)
        check = partial(prepare_subject, config=config, folder=places.prepared)
    # identified first: a copy of a held-out CT under another name is that patient's, too
    subjects = hold_out(identify(found, output, notes), places.test)
    for note in notes:
        say("prepare", 0.0, note)
    manifest = Manifest(subjects, split_subjects(subjects, config), notes=notes)
    if (output / CHECKPOINT).exists():
        require_same_data(output, manifest)
    _check_all(manifest, check, say, stop, 1 if is_store(data) else config.preparation_processes)
    if not manifest.chosen("train"):
        reasons = "; ".join(list(manifest.left_out.values())[:NAMED])
        raise InputError(f"expected at least one CT that can be trained on in {data}, got none: {reasons}")
    output.mkdir(parents=True, exist_ok=True)
    manifest.write(output)
    warnings.extend([*notes, *(f"left out {name}: {why}" for name, why in manifest.left_out.items())])
    return manifest


def _from_store(
    data: Path, config: TrainConfig, notes: list[str]
) -> tuple[list[Subject], Callable[[Subject], object]]:
    if config.task != "reconstruction":
        raise InputError(f"expected a folder of CTs for the task {config.task!r}, got the store {data}")
    if config.needs_labels:
        raise InputError(
            "expected a folder of CTs for training with loss.classes, loss.consistency or loss.air, "
            f"got the store {data}"
        )
    store = open_store(data)
    notes.extend(f"{name} is not in the store: {why}" for name, why in store.failed.items())
    return stored_subjects(store), lambda subject: make_pair(store.load(subject.name), config)


def _check_all(
    manifest: Manifest,
    check: Callable[[Subject], object],
    say: Progress,
    stop: Callable[[], bool],
    processes: int = 1,
) -> None:
    """Reads and prepares what training will see; test patients are not touched.

    processes: how many work at once, when `check` can be sent to another process.
    """
    wanted = [s for split in ("train", "validation") for s in manifest.chosen(split)]
    say("prepare", 0.0, f"preparing {len(wanted)} CTs")
    done = _checked(wanted, check, processes)
    for number, (subject, problem) in enumerate(done, start=1):
        if problem:  # one CT that cannot be used must not stop the others
            manifest.left_out[subject.name] = problem
        told = f"left out {subject.name}: {problem}" if problem else f"prepared {subject.name}"
        say("prepare", number / len(wanted), told)
        if stop() and number < len(wanted):
            done.close()
            raise StopRequested(f"stopped while CTs were prepared, {number} of {len(wanted)} are done")


def _checked(
    subjects: Sequence[Subject], check: Callable[[Subject], object], processes: int
) -> Generator[tuple[Subject, str], None, None]:
    """Each subject as it is done, and what is wrong with it; "" for nothing."""
    if processes < 2 or len(subjects) < 2:
        yield from ((subject, _problem(check, subject)) for subject in subjects)
        return
    # spawned: torch's threads do not survive a fork
    pool = ProcessPoolExecutor(min(processes, len(subjects)), multiprocessing.get_context("spawn"))
    try:
        waiting = {pool.submit(_problem, check, subject): subject for subject in subjects}
        yield from ((waiting[future], future.result()) for future in as_completed(waiting))
    finally:
        pool.shutdown(cancel_futures=True)


def _problem(check: Callable[[Subject], object], subject: Subject) -> str:
    """Why a subject cannot be used, "" when it can; what was prepared of it is in its file."""
    try:
        check(subject)
    except InputError as error:
        return str(error)
    return ""


def _silent(stage: str, fraction: float, message: str) -> None:
    """Progress for nobody."""
