"""How near one volume is to another, in files or in memory, and the mean training volume as its control.

A network that is not better than the mean of its training volumes has learned nothing about the patient.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xrecon.evaluation.comparison import BODY, CONTROL
from xrecon.io.atomic import atomic_write_text
from xrecon.io.folder import output_folder
from xrecon.outcome import Outcome, table_text
from xrecon.pipelines import evaluate, mean_training_volume
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


def _write(folder: Path, numbers: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    atomic_write_text(folder / SUMMARY, json_text(numbers))
    atomic_write_text(folder / TABLE, table_text(rows))


def _outcome(output: Path, numbers: dict[str, Any], rows: Sequence[Mapping[str, Any]]) -> Outcome:
    text = "\n".join(
        ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else str(v) for k, v in row.items()) for row in rows
    )
    return Outcome({"summary": output / SUMMARY, "table": output / TABLE}, numbers, text)
