"""How good a model is on CTs it has not seen, and how near one volume is to another.

A CT is projected, reconstructed from the projections alone, and compared with itself on the
network's grid. The control is the mean training volume: a network that is not better than that
has learned nothing about the patient.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from xrecon.drr.projection import DrrOptions, project
from xrecon.evaluation.comparison import BODY, CONTROL
from xrecon.io.atomic import atomic_write_text
from xrecon.io.folder import output_folder
from xrecon.outcome import Outcome, table_text
from xrecon.pipelines import evaluate, mean_training_volume, reconstruct
from xrecon.progress import json_text
from xrecon.provenance import shareable_name
from xrecon.volume import InputError, Quantity, Radiograph, Volume

ProgressCallback = Callable[[str, float, str], None]
SUMMARY, TABLE = "evaluation.json", "evaluation.csv"


def compare_files(
    prediction: Path, reference: Path, output: Path, labels: bool, progress: ProgressCallback
) -> Outcome:
    """The metrics of one volume file against another; segments of two segmentations match by name.

    Raises InputError as `pipelines.evaluate`, and for label maps that both hold nothing where both reach.
    """
    from xrecon.io.image import read_volume
    from xrecon.io.segmentation import read_by_name

    named = [path.name.lower().endswith(".seg.nrrd") for path in (prediction, reference)]
    labels = labels or any(named)
    quantity, segments = Quantity.LABEL if labels else Quantity.HU, None
    with output_folder(output) as folder:
        progress("read", 0.0, str(prediction))
        if all(named):
            first, second, segments = read_by_name(prediction, reference)
        else:
            first, second = read_volume(prediction, quantity), read_volume(reference, quantity)
        progress("evaluate", 0.0, "comparing")
        metrics = evaluate(first, second) if labels else evaluate_with_body(first, second)
        if labels and not metrics:
            raise InputError(
                f"expected labels in {prediction.name} or {reference.name} where both reach: "
                "both hold no labels there"
            )
        names = {"prediction": shareable_name(prediction), "reference": shareable_name(reference)}
        row = {**names, **metrics}
        numbers = {"subjects": [row], **({"segments": segments} if segments else {})}
        _write(folder, numbers, [row])
    return _outcome(output, numbers, [row])


def score_model(
    model: str,
    data: Path,
    output: Path,
    subjects: Sequence[str] | None,
    device: str,
    progress: ProgressCallback,
    record: bool = False,
) -> Outcome:
    """The metrics of a model on each CT of a folder: a reconstruction model with its mean training
    volume as control, a lung model against classical lungs and synthetic pneumothorax.

    record: also write the figures into the model's card; refused for CTs the model was trained on.
    """
    from xrecon.io.image import read_volume
    from xrecon.nets.registry import load_card, record_quality
    from xrecon.preprocess.ct import remove_table
    from xrecon.training.subjects import find_subjects

    card = load_card(model)
    warnings: list[str] = []
    chosen = find_subjects(data, warnings)
    if subjects:
        unknown = sorted(set(subjects) - {s.name for s in chosen})
        if unknown:
            raise InputError(f"expected subjects out of {[s.name for s in chosen]}, got {unknown}")
        chosen = [s for s in chosen if s.name in subjects]
    known = {d.subject for d in card.training_data} | set(card.quality.get("validation_subjects", ()))
    seen = sorted(known & {s.name for s in chosen})
    if seen and record:
        raise InputError(
            f"expected CTs new to the model, got {', '.join(seen)}, on which it was trained or validated"
        )
    score = score_lung_model if card.output.kind == "labels" else score_volume
    rows = []
    with output_folder(output) as folder:
        for number, subject in enumerate(chosen):
            progress("evaluate", number / len(chosen), subject.name)
            volume = remove_table(read_volume(subject.path))
            row, notes = score(volume, model, device)
            rows.append({"subject": subject.name, **row})
            warnings += [f"{subject.name}: {note}" for note in notes]
        if seen:
            warnings.append(f"these figures are no test: the model has seen {', '.join(seen)}")
        numbers = {"model": card.name, "model_sha256": card.sha256, "subjects": rows, "mean": _means(rows)}
        numbers["warnings"] = warnings
        _write(folder, numbers, rows)
    if record:
        record_quality(model, "test", {"subjects": rows, "mean": numbers["mean"]})
    return replace(_outcome(output, numbers, rows), warnings=warnings)


def score_volume(volume: Volume, model: str, device: str) -> tuple[dict[str, float], list[str]]:
    """Metrics of the reconstruction of a CT (table removed) from its own projections, and notes.

    The names of the control's metrics end in "_mean_volume".
    """
    radiographs, _, notes = project(volume, DrrOptions(), lambda *_: None)
    result = reconstruct(radiographs, model, device)
    row = {**compare_with_control(result.volume, volume, model), **flat_scores(result.scores)}
    return row, [*notes, *result.warnings]


def score_lung_model(volume: Volume, model: str, device: str) -> tuple[dict[str, float], list[str]]:
    """Metrics of a lung model on a CT (table removed), and notes; see `scoring_lungs.score_lungs`."""
    from xrecon.nets.device import choose_device
    from xrecon.scoring_lungs import score_lungs

    chosen = choose_device(device)
    return score_lungs(volume, model, chosen.name), list(chosen.notes)


def compare_with_control(reconstruction: Volume, truth: Volume, model: str | Path) -> dict[str, float]:
    """Metrics of a reconstruction, and those of the mean training volume in its place.

    Each over the whole cube and, with "_body" in its name, inside the body of the truth.
    """
    metrics = evaluate_with_body(reconstruction, truth)
    mean = mean_training_volume(model)
    if mean is not None:
        control = evaluate_with_body(reconstruction.with_array(mean.array), truth)
        metrics |= {f"{name}{CONTROL}": value for name, value in control.items()}
    return metrics


def evaluate_with_body(prediction: Volume, truth: Volume) -> dict[str, float]:
    """Metrics wherever both volumes (HU) reach and, "_body", only inside the body of the truth.

    The air about a patient is easy to get right and flatters the figures of the whole; how much
    depends on the field of view. Without a body in the truth there are no "_body" figures.
    """
    from xrecon.preprocess.ct import body_mask

    metrics = evaluate(prediction, truth)
    try:
        body = truth.with_array(body_mask(truth).astype(np.uint8), Quantity.LABEL)
        inside = evaluate(prediction, truth, body)
    except InputError:  # the volumes agree with each other, as the line above has shown: no body there
        return metrics
    return metrics | {f"{name}{BODY}": value for name, value in inside.items()}


def flat_scores(scores: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """{"pa_relative_residual": ...} of {"PA": {"relative_residual": ...}}."""
    return {
        f"{view.lower().replace(' ', '_')}_{name}": value
        for view, of_view in scores.items()
        for name, value in of_view.items()
    }


def as_network_saw(radiograph: Radiograph) -> np.ndarray:
    """Grey values in [0, 1] (row, column) as the network's normalisation gives them, for pictures."""
    from xrecon.preprocess.radiograph import normalize

    return np.clip(normalize(radiograph.array), 0.0, 1.0)


def _means(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    names = [n for n, v in rows[0].items() if isinstance(v, (int, float))] if rows else []
    return {name: float(np.mean([row[name] for row in rows])) for name in names}


def _write(folder: Path, numbers: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    atomic_write_text(folder / SUMMARY, json_text(numbers))
    atomic_write_text(folder / TABLE, table_text(rows))


def _outcome(output: Path, numbers: dict[str, Any], rows: Sequence[Mapping[str, Any]]) -> Outcome:
    text = "\n".join(
        ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else str(v) for k, v in row.items()) for row in rows
    )
    return Outcome({"summary": output / SUMMARY, "table": output / TABLE}, numbers, text)
