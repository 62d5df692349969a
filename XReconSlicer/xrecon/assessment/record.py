"""Figures into a model's folder: card.json, MODEL_CARD.md and the picture of the worst case.

`quality["test"]` of a card, written here and nowhere else:
    subjects      figures of each CT as scanned; mean, intervals: over patients (of three and more)
    pneumothorax  cases with synthetic air, the correlations over them, and shown_percent: how much of the
                  CT's darkening by the air the reconstructions have
    data          the test CTs: patient, SHA-256, attribution, licence
    controls      the training CTs of the nearest-subject control
    conditions    grid, views, lung model of PTX-Seg
    worst_case    CT, figure, picture
    made_with     software and device of the evaluation
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xrecon.assessment.air_shown import shown_percent
from xrecon.assessment.card_page import render_card
from xrecon.assessment.figures import AIR
from xrecon.assessment.page import worst_case, worst_picture
from xrecon.assessment.run import Plan, Result
from xrecon.assessment.table import air_correlations, intervals, numbers_of
from xrecon.io.atomic import atomic_path, atomic_write_text
from xrecon.nets.card import ModelCard
from xrecon.nets.registry import load_card, model_folder, record_quality
from xrecon.training.seen import trained_on, validated_on
from xrecon.volume import InputError

CARD_PAGE, PICTURE = "MODEL_CARD.md", "worst_case.png"
_DIGITS = 6
# Not figures of the model: names, or what differs from run to run.
_LEFT_OUT = ("case", "seconds", "fraction")


def require_unseen(card: ModelCard, plan: Plan) -> None:
    """Raises InputError when a CT of the plan was seen by a model: by name, content, or patient."""
    seen = seen_subjects(card, plan)
    if seen:
        raise InputError(
            f"expected CTs new to the model, got {', '.join(seen)}, on which it was trained or validated"
        )


def seen_subjects(card: ModelCard, plan: Plan) -> list[str]:
    """Names of the plan's CTs that a model was trained or validated on, or others of whose patients."""
    return (trained_on(card) | validated_on(card)).among(plan.subjects)


def record(result: Result, plan: Plan, folder: Path, made_with: Mapping[str, Any]) -> list[Path]:
    """Writes a result into its model's folder; returns what was written, the card first.

    made_with: software and device. Other entries of the card's quality stay.
    """
    place = model_folder(result.model.name)
    picture = worst_picture(result, plan, folder)
    quality = test_quality(result, plan, made_with, picture is not None)
    record_quality(result.model.name, "test", quality)
    written = [place / "card.json", write_card_page(result.model.name)]
    if picture is not None:
        written.append(place / PICTURE)
        with atomic_path(written[-1]) as temporary:
            picture.save(temporary, format="PNG", optimize=True)
    return written


def write_card_page(model: str | Path) -> Path:
    """Writes MODEL_CARD.md of a model from its card.json; to be called whenever that has changed."""
    path = model_folder(model) / CARD_PAGE
    atomic_write_text(path, render_card(load_card(model)))
    return path


def test_quality(result: Result, plan: Plan, made_with: Mapping[str, Any], pictured: bool) -> dict[str, Any]:
    """`quality["test"]` as the module describes it, numbers with six significant digits."""
    rows = [{k: v for k, v in row.items() if k not in _LEFT_OUT and v is not None} for row in result.plain]
    air = [row for row in result.rows if row.get("fraction")]
    quality: dict[str, Any] = {
        "subjects": rows,
        "mean": means_of_all(result),
        "intervals": {n: [i.low, i.high] for n, i in intervals(result).items() if not i.is_range},
        "data": [
            {
                "subject": s.name,
                "patient": s.patient,
                "sha256": s.sha256,
                "attribution": s.attribution or "not stated",
                "licence": s.licence or "not stated",
            }
            for s in plan.subjects
            if s.name in {row["subject"] for row in result.rows}
        ],
        "worst_case": {**worst_case(result), **({"picture": PICTURE} if pictured else {})},
        "made_with": dict(made_with),
    }
    if result.grid is not None:
        quality["conditions"] = {
            "side": result.grid.side,
            "spacing_mm": result.grid.spacing_mm,
            "views": list(result.grid.views),
            "lungs": plan.lungs,
        }
        quality["controls"] = {"nearest_subject_of": result.examples}
    if air:
        cases = [{"case": row["case"], **{name: row.get(name) for name in AIR}} for row in air]
        quality["pneumothorax"] = {
            "cases": cases,
            "correlations": air_correlations(result),
            "shown_percent": shown_percent(cases),
        }
    return _rounded(quality)


def means_of_all(result: Result) -> dict[str, float]:
    """Mean over patients of every number of the rows, also of those that no table shows."""
    from xrecon.evaluation.intervals import figure_interval

    names = [name for name in numbers_of(result.plain) if name not in _LEFT_OUT]
    found = {name: figure_interval(result.plain, name) for name in names}
    return {name: interval.mean for name, interval in found.items() if interval is not None}


def _rounded(value: Any) -> Any:
    """The same with floats of six significant digits: cards are read by people, too."""
    if isinstance(value, Mapping):
        return {str(key): _rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    return value
