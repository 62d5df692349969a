"""What is measured of a reconstruction model on a case, and the controls beside it.

Of the CT as scanned: image metrics on the model's grid, over all of it and inside the body; the same of the
mean training volume and of the nearest training subject; how well the reprojection explains the
radiographs; PTX-Seg of the reconstruction against PTX-Seg of the truth. With a synthetic pneumothorax: the
image metrics, and PTX-Seg against the air that was put in.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from xrecon.assessment.cases import Grid
from xrecon.benchmark.cases import Case
from xrecon.benchmark.measure import EXCHANGED, centred_on, ptx_figures
from xrecon.evaluation.methods import Example, Method, create_method
from xrecon.pipelines import evaluate, reconstruct
from xrecon.scoring import compare_with_control, flat_scores
from xrecon.volume import Volume

NEAREST = "_nearest_subject"
# Ends the names of figures on voxels of 5.6 mm, for models with finer ones: what can be compared.
COMMON, COMMON_MM, COMMON_SIDE = "_at_5.6mm", 5.6, 64
_CONTROLLED = ("psnr", "ssim", "mae_hu")


def nearest_control(grid: Grid, examples: Sequence[Case]) -> Method | None:
    """The method that answers with the training subject whose radiographs are most alike; None without."""
    if not examples:
        return None
    known = [Example(case.name, case.radiographs, case.truth) for case in examples]
    return create_method("nearest-subject", grid.cube, known)


def assess(
    model: str, case: Case, device: str, nearest: Method | None
) -> tuple[dict[str, Any], Volume, list[str]]:
    """Figures of a model on a case, the reconstruction, and warnings."""
    began = time.perf_counter()
    result = reconstruct(case.radiographs, model, device, uncertainty_samples=0)
    row: dict[str, Any] = {
        "subject": case.subject,
        "patient": case.patient,
        "case": case.name,
        "seconds": time.perf_counter() - began,
    }
    row |= compare_with_control(result.volume, case.truth, model)
    row |= ptx_figures(result.volume, case)
    if case.air:
        return row, result.volume, result.warnings
    row |= flat_scores(result.scores)
    if nearest is not None:
        found = evaluate(nearest(case.radiographs), case.truth)
        row |= {f"{name}{NEAREST}": found[name] for name in _CONTROLLED}
    return row | _at_common_grid(result.volume, case.truth), result.volume, result.warnings


def _at_common_grid(volume: Volume, truth: Volume) -> dict[str, float]:
    if truth.spacing[0] >= COMMON_MM - 1e-6:
        return {}
    from xrecon.preprocess.ct import resample

    place = ((COMMON_SIDE,) * 3, (COMMON_MM,) * 3, truth.center)
    found = evaluate(resample(volume, *place), resample(truth, *place))
    return {f"{name}{COMMON}": found[name] for name in _CONTROLLED}


def exchanged(cases: Sequence[Case], volumes: Mapping[str, Volume]) -> dict[str, dict[str, float]]:
    """By case as scanned: figures of the reconstruction from the next patient's radiographs.

    A model that looks at its radiographs is much worse there. {} for cases of a single patient.
    """
    plain = [case for case in cases if not case.air and case.name in volumes]
    figures = {}
    for place, case in enumerate(plain):
        others = [c for c in (*plain[place + 1 :], *plain[:place]) if c.patient != case.patient]
        if others:
            found = evaluate(centred_on(volumes[others[0].name], case), case.truth)
            figures[case.name] = {f"{name}{EXCHANGED}": found[name] for name in _CONTROLLED}
    return figures
