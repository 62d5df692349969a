"""Every model on every case, one after the other; what is done is stored, so that a run can go on.

Figures of a case lie in `results/<model>-<sha256>/<case>.json` beside the reconstruction; they are used
again when weights, CT, settings and the CTs of the controls are the same.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xrecon.assessment.air_shown import air_shown
from xrecon.assessment.cases import FRACTIONS, Grid, Progress, Wanted, grid_of, load_cases, make_cases
from xrecon.assessment.reconstructions import assess, exchanged, nearest_control
from xrecon.assessment.segmentations import assess_segmentation
from xrecon.benchmark.cases import Case
from xrecon.io.atomic import atomic_write_text
from xrecon.nets.card import ModelCard
from xrecon.progress import json_text, plain_data
from xrecon.training.subjects import Subject
from xrecon.volume import InputError, Volume

RESULTS = "results"
# Of the stored figures: what another version gave is measured again.
VERSION = 2


@dataclass(frozen=True)
class Model:
    """A model by the name it was given, and its card. label: what tables call it."""

    name: str
    card: ModelCard
    label: str

    @property
    def makes_volumes(self) -> bool:
        """Whether it reconstructs; else it segments."""
        return self.card.output.kind == "volume"

    @property
    def place(self) -> str:
        """Of its results: models of one name may have other weights."""
        return f"{self.card.name}-{self.card.sha256[:12]}"


@dataclass(frozen=True)
class Plan:
    """Who is tested; fractions: sizes of the synthetic pneumothoraces; lungs: lung model of PTX-Seg."""

    subjects: Sequence[Subject]
    fractions: tuple[float, ...] = FRACTIONS
    lungs: str = "lungs-unet"
    device: str = "auto"


@dataclass
class Result:
    """What a model did. rows: a dict for each case; those with air say "fraction". examples: the training
    CTs of the nearest-subject control."""

    model: Model
    rows: list[dict[str, Any]] = field(default_factory=list)
    examples: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    grid: Grid | None = None

    @property
    def plain(self) -> list[dict[str, Any]]:
        """The rows of the CTs as scanned."""
        return [row for row in self.rows if not row.get("fraction")]


def run_model(
    model: Model, plan: Plan, examples: Sequence[Subject], folder: Path, progress: Progress
) -> Result:
    """Measures a model on all CTs of the plan. A CT that cannot be used is noted and stops no other.

    Raises InputError when no CT is left.
    """
    if model.makes_volumes:
        result = _reconstructions(model, plan, examples, folder, progress)
    else:
        result = _segmentations(model, plan, folder, progress)
    if not result.rows:
        raise InputError(f"expected CTs to measure {model.name} on, got none: {'; '.join(result.notes[:5])}")
    return result


def _reconstructions(
    model: Model, plan: Plan, examples: Sequence[Subject], folder: Path, progress: Progress
) -> Result:
    grid = grid_of(model.card)
    result, tested = Result(model, grid=grid), []
    known = _examples(examples, grid, folder, result, progress)
    nearest = nearest_control(grid, known)
    for number, subject in enumerate(plan.subjects):
        progress("evaluate", number / len(plan.subjects), f"{model.label}: {subject.name}")
        wanted = Wanted(subject, number, plan.fractions, plan.lungs)
        problem = make_cases(wanted, grid, folder)
        if problem:
            result.notes.append(f"left out {subject.name}: {problem}")
            continue
        plain: tuple[Case, Volume] | None = None
        for case in load_cases(wanted, grid, folder):
            key = _key(model, subject, wanted.settings(case.name, grid), [s.sha256 for s in examples])
            stored = _read(folder, model, case.name, key)
            if stored is None:
                row, volume, warnings = assess(model.name, case, plan.device, nearest)
                row |= {"fraction": wanted.names[case.name]}
                stored = _write(folder, model, case.name, key, row, warnings, volume)
            made = read_result_volume(folder, model, case.name)
            shown = air_shown(case, made, *plain) if plain is not None else {}
            result.rows.append(stored["row"] | shown)
            result.notes += [f"{case.name}: {note}" for note in stored["warnings"]]
            if not case.air:
                plain = (case, made)
                tested.append(case)
    volumes = {case.name: read_result_volume(folder, model, case.name) for case in tested}
    controls = exchanged(tested, volumes)
    result.rows = [row | controls.get(row["case"], {}) for row in result.rows]
    return result


def _examples(
    subjects: Sequence[Subject], grid: Grid, folder: Path, result: Result, progress: Progress
) -> list[Case]:
    """The training CTs that can be used, as cases."""
    cases: list[Case] = []
    for number, subject in enumerate(subjects):
        progress("controls", number / len(subjects), f"training CT {subject.name}")
        wanted = Wanted(subject, number)
        problem = make_cases(wanted, grid, folder)
        if problem:
            result.notes.append(f"not among the nearest subjects: {subject.name}: {problem}")
            continue
        cases += load_cases(wanted, grid, folder)
    result.examples = [case.name for case in cases]
    return cases


def _segmentations(model: Model, plan: Plan, folder: Path, progress: Progress) -> Result:
    result = Result(model)
    for number, subject in enumerate(plan.subjects):
        progress("evaluate", number / len(plan.subjects), f"{model.label}: {subject.name}")
        key = _key(model, subject, {}, [])
        stored = _read(folder, model, subject.name, key)
        if stored is None:
            try:
                row, notes = assess_segmentation(model.name, model.card, subject, plan.device)
            except InputError as error:
                result.notes.append(f"left out {subject.name}: {error}")
                continue
            stored = _write(folder, model, subject.name, key, row, notes, None)
        result.rows.append(stored["row"])
        result.notes += [f"{subject.name}: {note}" for note in stored["warnings"]]
    return result


# -- what is stored ------------------------------------------------------------------------------
def _key(model: Model, subject: Subject, settings: dict[str, Any], examples: list[str]) -> dict[str, Any]:
    weights = {"version": VERSION, "weights": model.card.sha256, "ct": subject.sha256}
    return plain_data({**weights, "settings": settings, "examples": examples})


def result_path(folder: Path, model: Model, case: str, suffix: str) -> Path:
    """Where a case's figures (".json") and reconstruction (".nrrd") are."""
    return folder / RESULTS / model.place / f"{case}{suffix}"


def read_result_volume(folder: Path, model: Model, case: str) -> Volume:
    """The stored reconstruction of a case."""
    from xrecon.io.image import read_volume

    return read_volume(result_path(folder, model, case, ".nrrd"))


def _read(folder: Path, model: Model, case: str, key: dict[str, Any]) -> dict[str, Any] | None:
    path = result_path(folder, model, case, ".json")
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    volume = path.with_suffix(".nrrd") if model.makes_volumes else path
    return stored if stored.get("key") == key and volume.is_file() else None


def _write(
    folder: Path,
    model: Model,
    case: str,
    key: dict[str, Any],
    row: dict[str, Any],
    warnings: list[str],
    volume: Volume | None,
) -> dict[str, Any]:
    from xrecon.io.image import write_volume

    path = result_path(folder, model, case, ".json")
    path.parent.mkdir(parents=True, exist_ok=True)
    if volume is not None:
        write_volume(volume, path.with_suffix(".nrrd"))
    stored = plain_data({"key": key, "row": row, "warnings": warnings})
    atomic_write_text(path, json_text(stored))
    return stored
