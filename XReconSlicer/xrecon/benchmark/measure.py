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
METRICS = ("dice", "jaccard", "hd95_mm", "assd_mm")
# Beginning of the names of what PTX-Seg gives on the truth, and of what is compared with that.
REFERENCE = "reference_"
# Correlation -> the two figures of a case.
CORRELATED = {
    "right_lung_r": ("right_lung_ml", "reference_right_lung_ml"),
    "left_lung_r": ("left_lung_ml", "reference_left_lung_ml"),
    "air_r": ("air_ml", "air_true_ml"),
    "occupancy_r": ("occupancy_percent", "occupancy_true_percent"),
    "reference_air_r": ("air_ml", "reference_air_ml"),
}


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
        images = evaluate_with_body(volume, case.truth) | as_published(volume, case)
        rows.append(row | images | ptx_figures(volume, case))
    for row, case in zip(rows, cases, strict=True):
        other = _of_another(case, cases)
        if other is not None:
            exchanged = centred_on(made[other], case)
            figures = evaluate(exchanged, case.truth)
            row |= {f"{name}{EXCHANGED}": figures[name] for name in ("psnr", "ssim")}
    return rows, made


def as_published(volume: Volume, case: Case) -> dict[str, float]:
    """x2ct_psnr_avg: what X2CT-GAN's code prints. What X-Recon's prints is among the other figures: psnr,
    psnr_slices, ssim_slices, cosine_similarity."""
    from xrecon.evaluation.published import published_metrics
    from xrecon.preprocess.ct import resample_like

    found = published_metrics(resample_like(volume, case.truth).array, case.truth.array, "x2ct")
    return {"x2ct_psnr_avg": found["psnr_avg"]}


def _of_another(case: Case, cases: Sequence[Case]) -> int | None:
    """Number of the first case of the next patient in the list, of the same kind; None for one patient."""
    place = next(i for i, c in enumerate(cases) if c.name == case.name)
    order = [*range(place + 1, len(cases)), *range(place)]
    return next((i for i in order if cases[i].patient != case.patient and cases[i].air == case.air), None)


def centred_on(volume: Volume, case: Case) -> Volume:
    """A reconstruction moved onto the grid of another patient's truth, isocentre on isocentre."""
    return case.truth.with_array(volume.array) if volume.shape == case.truth.shape else volume


def ptx_figures(volume: Volume, case: Case) -> dict[str, float | None]:
    """PTX-Seg of a reconstruction against what is known and against PTX-Seg of the truth, on one grid.

    air_dice, air_jaccard, air_hd95_mm, air_assd_mm, air_true_ml, occupancy_true_percent: against the air
    that was put in (both sides). reference_{right_lung, left_lung, air}_dice and so on, and
    reference_..._ml, reference_occupancy_percent: against PTX-Seg of the truth with the same lung model,
    which errs itself; truth_air_dice says how well that finds the air. right_lung_ml, left_lung_ml,
    air_ml, occupancy_percent: of the reconstruction. None where a figure has no meaning, such as a
    distance to an empty mask, or any true air as scanned.
    """
    from xrecon.benchmark.cases import ptx_labels
    from xrecon.pneumothorax.quantify import quantify
    from xrecon.preprocess.ct import resample_like

    found, reference = ptx_labels(resample_like(volume, case.truth), case.lungs), case.labels
    figures: dict[str, float | None] = {}
    for name, labels in STRUCTURES.items():
        p, r = (np.isin(v.array, labels) for v in (found, reference))
        figures |= {f"{name}_ml": _ml(p, case), f"{REFERENCE}{name}_ml": _ml(r, case)}
        figures |= _agreement(f"{REFERENCE}{name}", p, r, case)
    figures["occupancy_percent"] = quantify(found).occupancy_percent
    figures[f"{REFERENCE}occupancy_percent"] = quantify(reference).occupancy_percent
    return figures | _air_figures(*(np.isin(v.array, STRUCTURES["air"]) for v in (found, reference)), case)


def _air_figures(found: np.ndarray, reference: np.ndarray, case: Case) -> dict[str, float | None]:
    """What was found on the reconstruction and on the truth, boolean (z, y, x), against the true air."""
    exact = case.exact
    if exact is None:
        names = (*(f"air_{metric}" for metric in METRICS), "air_true_ml", "occupancy_true_percent")
        return dict.fromkeys((*names, "truth_air_dice"))
    return _agreement("air", found, exact.mask, case) | {
        "air_true_ml": _ml(exact.air, case),
        "occupancy_true_percent": exact.occupancy_percent,
        "truth_air_dice": _agreement("air", reference, exact.mask, case)["air_dice"],
    }


def _ml(share: np.ndarray, case: Case) -> float:
    """Volume of a mask or of shares (z, y, x)."""
    return float(share.sum()) * case.truth.voxel_ml


def _agreement(name: str, found: np.ndarray, wanted: np.ndarray, case: Case) -> dict[str, float | None]:
    """Overlap and distances of two masks (z, y, x); None where one has no meaning."""
    metrics = label_metrics(found.astype(np.uint8), wanted.astype(np.uint8), case.truth.spacing)
    values = {metric: metrics.get(f"{metric}_1", np.nan) for metric in METRICS}
    return {f"{name}_{m}": float(value) if np.isfinite(value) else None for m, value in values.items()}


def correlations(rows: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Pearson's r over the cases of volumes and occupancy on the reconstruction and on the truth.

    air_r, occupancy_r: with the air that was put in; the others: with PTX-Seg of the truth.
    """
    from xrecon.evaluation.metrics import pearson

    out: dict[str, float | None] = {}
    for name, (first, second) in CORRELATED.items():
        pairs = [(row[first], row[second]) for row in rows if None not in (row[first], row[second])]
        value = pearson(*zip(*pairs, strict=True)) if len(pairs) > 2 else float("nan")
        out[name] = value if np.isfinite(value) else None
    return out
