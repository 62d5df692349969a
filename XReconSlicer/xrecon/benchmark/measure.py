"""What is measured of a method: images, the controls with exchanged radiographs, PTX-Seg on the result."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xrecon.benchmark.cases import Case
from xrecon.evaluation.comparison import label_metrics
from xrecon.evaluation.methods import Method
from xrecon.pipelines import evaluate
from xrecon.scoring import evaluate_with_body
from xrecon.volume import Volume

EXCHANGED = "_exchanged"
# Labels of PTX-Seg by the names that their figures carry.
STRUCTURES = {"right_lung": (1,), "left_lung": (2,), "air": (3, 4)}


def measure(method: Method, cases: Sequence[Case]) -> tuple[list[dict[str, Any]], list[Volume]]:
    """A row of figures for each case, and the reconstructions.

    Names end in "_body" for figures inside the patient, in "_exchanged" for the reconstruction from the
    next patient's radiographs against this patient's truth: a method that looks at its radiographs must
    be worse there. seconds: of one reconstruction, wall clock, the first one includes loading.
    """
    rows, made = [], []
    for case in cases:
        began = time.perf_counter()
        volume = method(case.radiographs)
        seconds = time.perf_counter() - began
        made.append(volume)
        row = {
            "case": case.name,
            "subject": case.subject,
            "patient": case.patient,
            "air": case.air,
            "seconds": seconds,
        }
        rows.append(row | evaluate_with_body(volume, case.truth) | ptx_figures(volume, case))
    for row, case in zip(rows, cases, strict=True):
        other = _of_another(case, cases)
        if other is not None:
            exchanged = centred_on(made[other], case)
            figures = evaluate(exchanged, case.truth)
            row |= {f"{name}{EXCHANGED}": figures[name] for name in ("psnr", "ssim")}
    return rows, made


def _of_another(case: Case, cases: Sequence[Case]) -> int | None:
    """Number of the first case of the next patient in the list, of the same kind; None for one patient."""
    place = next(i for i, c in enumerate(cases) if c.name == case.name)
    order = [*range(place + 1, len(cases)), *range(place)]
    return next((i for i in order if cases[i].patient != case.patient and cases[i].air == case.air), None)


def centred_on(volume: Volume, case: Case) -> Volume:
    """A reconstruction moved onto the grid of another patient's truth, isocentre on isocentre."""
    return case.truth.with_array(volume.array) if volume.shape == case.truth.shape else volume


def ptx_figures(volume: Volume, case: Case) -> dict[str, float | None]:
    """PTX-Seg of a reconstruction against PTX-Seg of the truth, on the same grid and with the same lungs.

    For right_lung, left_lung and air (both sides): dice, jaccard, hd95_mm, assd_mm, and ml of both; also
    occupancy_percent of both. None where a figure has no meaning, such as a distance to an empty mask.
    """
    from xrecon.benchmark.cases import ptx_labels
    from xrecon.pneumothorax.quantify import quantify
    from xrecon.preprocess.ct import resample_like

    found, wanted = ptx_labels(resample_like(volume, case.truth), case.lungs), case.labels
    figures: dict[str, float | None] = {}
    for name, labels in STRUCTURES.items():
        p, r = (np.isin(v.array, labels).astype(np.uint8) for v in (found, wanted))
        figures[f"{name}_ml"] = float(p.sum()) * wanted.voxel_ml
        figures[f"{name}_true_ml"] = float(r.sum()) * wanted.voxel_ml
        metrics = label_metrics(p, r, wanted.spacing)
        for metric in ("dice", "jaccard", "hd95_mm", "assd_mm"):
            value = metrics.get(f"{metric}_1")
            figures[f"{name}_{metric}"] = None if value is None or not np.isfinite(value) else float(value)
    figures["occupancy_percent"] = quantify(found).occupancy_percent
    figures["occupancy_true_percent"] = quantify(wanted).occupancy_percent
    return figures


def correlations(rows: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Pearson's r over the cases of volumes and occupancy on the reconstruction and on the truth."""
    from xrecon.evaluation.metrics import pearson

    out: dict[str, float | None] = {}
    for name in (*STRUCTURES, "occupancy"):
        first, second = ("occupancy_percent", "occupancy_true_percent")
        if name != "occupancy":
            first, second = f"{name}_ml", f"{name}_true_ml"
        pairs = [(row[first], row[second]) for row in rows if None not in (row[first], row[second])]
        value = pearson(*zip(*pairs, strict=True)) if len(pairs) > 2 else float("nan")
        out[f"{name}_r"] = value if np.isfinite(value) else None
    return out
