"""`xrecon evaluate --model ... --data ...`: models on CTs, tables, plots, pictures, and cards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xrecon.assessment.cases import FRACTIONS
from xrecon.assessment.page import write_page
from xrecon.assessment.record import (
    means_of_all,
    record,
    require_unseen,
    seen_subjects,
    write_card_page,
)
from xrecon.assessment.run import Model, Plan, Result, run_model
from xrecon.assessment.table import air_correlations, intervals, markdown, summary_row
from xrecon.assessment.trust import record_trust, require_trust
from xrecon.benchmark.methods import short_name
from xrecon.io.atomic import atomic_write_text
from xrecon.io.folder import OutputError
from xrecon.nets.registry import load_card
from xrecon.outcome import Outcome, ProgressCallback, table_text
from xrecon.progress import json_text
from xrecon.training.environment import environment
from xrecon.training.manifest import identify
from xrecon.training.subjects import Subject, find_subjects, hold_out
from xrecon.volume import InputError

SUMMARY, ROWS, TABLE, PAGE = "evaluation.json", "evaluation.csv", "evaluation.md", "evaluation.html"


def evaluate_models(
    models: Sequence[str],
    data: Path,
    output: Path,
    subjects: Sequence[str],
    device: str,
    progress: ProgressCallback,
    *,
    table: Path | None = None,
    lungs: str = "lungs-unet",
    fractions: Sequence[float] = FRACTIONS,
    recorded: bool = False,
    trust: bool = False,
) -> Outcome:
    """Measures every model on the same CTs; writes tables, plots and a page, and the models' cards.

    models: bundled names or model folders, of any kind. subjects: names of the CTs; else those of the split
    "test" in the table, else all. table: a subjects.csv that lies elsewhere. lungs: lung model of PTX-Seg, or
    "classical". fractions: sizes of the synthetic pneumothoraces, shares of a side; none: as scanned only.
    recorded: write the cards; trust: with it, also measure how far the volumes can be trusted.
    What was measured is stored in `output` and used again. Raises InputError, before anything is computed,
    for unknown models, CTs or sizes and, when recorded, for CTs that a model has seen.
    """
    notes: list[str] = []
    chosen_models = _models(models)
    _require_sizes(fractions)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write into the folder {output}: {error.strerror or error}") from error
    found = identify(find_subjects(data, notes, table), output, notes)
    plan = Plan(_chosen(found, subjects), tuple(fractions), lungs, device)
    for model in chosen_models:
        if recorded:
            require_unseen(model.card, plan)
        elif seen := seen_subjects(model.card, plan):
            notes.append(f"these figures are no test of {model.label}: it has seen {', '.join(seen)}")
        if trust and model.makes_volumes:
            require_trust(Result(model), found)
    results: list[Result] = []
    for model in chosen_models:
        results.append(run_model(model, plan, _training_cts(model, found, plan), output, progress))
        notes += [f"{model.label}: {note}" for note in dict.fromkeys(results[-1].notes)]
        if recorded:
            progress("record", 0.0, model.label)
            record(results[-1], plan, output, environment(_device_name(device)))
        if trust and model.makes_volumes:
            record_trust(results[-1], plan, found, progress)
            write_card_page(model.name)
    return _written(output, plan, results, notes)


def _device_name(device: str) -> str:
    from xrecon.nets.device import choose_device

    return choose_device(device).name


def _models(names: Sequence[str]) -> list[Model]:
    """The models with their cards, each once. Raises InputError for one that is not there or of one name."""
    cards = {name: load_card(name) for name in names}
    for name, card in cards.items():
        if card.input.kind == "picture":
            raise InputError(f"expected models that reconstruct or segment, got {name}, which does neither")
    called = [card.name for card in cards.values()]
    models = [
        # runs of one recipe have one name
        Model(name, card, card.name if called.count(card.name) == 1 else short_name(name))
        for name, card in cards.items()
    ]
    places: dict[str, str] = {}
    for model in models:
        if places.setdefault(model.place, model.name) != model.name:
            raise InputError(
                f"expected different models, got {places[model.place]} and {model.name} of one content"
            )
    return models


def _require_sizes(fractions: Sequence[float]) -> None:
    wrong = [f for f in fractions if not 0.01 <= f <= 0.9]
    if wrong:
        raise InputError(f"expected sizes of pneumothorax from 0.01 to 0.9, got {wrong}")


def _chosen(found: Sequence[Subject], names: Sequence[str]) -> list[Subject]:
    """Who is tested; see `evaluate_models`."""
    if names:
        hold_out(found, names)  # says which names there are
        return [s for s in found if s.name in names]
    return [s for s in found if s.split == "test"] or list(found)


def _training_cts(model: Model, found: Sequence[Subject], plan: Plan) -> list[Subject]:
    """The CTs of the folder that a model was trained on, none of a tested patient."""
    names = {d.subject for d in model.card.training_data}
    tested = {s.patient for s in plan.subjects}
    return [s for s in found if s.name in names and s.patient not in tested]


def _written(output: Path, plan: Plan, results: Sequence[Result], notes: list[str]) -> Outcome:
    text = markdown(results)
    rows = [{"model": r.model.label, **row} for r in results for row in r.rows]
    numbers: dict[str, Any] = {
        "model": ", ".join(r.model.label for r in results),
        # of a single model what its card would say
        **({"mean": means_of_all(results[0])} if len(results) == 1 else {}),
        "models": [
            {
                "model": result.model.label,
                "model_sha256": result.model.card.sha256,
                "kind": "reconstruction" if result.model.makes_volumes else "segmentation",
                "cases": result.rows,
                "summary": summary_row(result),
                "intervals": {name: vars(i) for name, i in intervals(result).items()},
                "correlations": air_correlations(result),
                "nearest_subject_of": result.examples,
            }
            for result in results
        ],
        "subjects": [s.name for s in plan.subjects],
        "pneumothorax": list(plan.fractions),
        "lungs": plan.lungs,
        "warnings": notes,
    }
    atomic_write_text(output / SUMMARY, json_text(numbers))
    atomic_write_text(output / ROWS, table_text(rows))
    atomic_write_text(output / TABLE, text)
    plots = write_page(output / PAGE, output, plan, results, notes)
    files = {"summary": SUMMARY, "table": ROWS, "text": TABLE, "page": PAGE}
    paths = {role: output / name for role, name in files.items()}
    paths |= {path.stem: path for path in plots}
    return Outcome(paths, numbers, text, notes)
