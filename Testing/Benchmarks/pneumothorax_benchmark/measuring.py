"""PTX-Seg on a case in each mode, beside the truth: one row of figures per mode."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import xrecon.pneumothorax
from xrecon.evaluation.metrics import asd, dice, hd95
from xrecon.pneumothorax.lungs import segment_lungs
from xrecon.pneumothorax.parameters import PtxParameters
from xrecon.pneumothorax.segment import ptx_seg
from xrecon.volume import Volume

from pneumothorax_benchmark.cases import Case
from pneumothorax_benchmark.making import Made, make

MODES = ("reference", "robust")
# Sources whose change does not change the figures of the reference mode, or of any.
ROBUST_SOURCES, FREE_SOURCES = "robust", ("quantify", "measures", "doubts")


def mode_parameters() -> dict[str, Any]:
    """The modes that this checkout has, with their default parameters."""
    found: dict[str, Any] = {"reference": PtxParameters()}
    try:
        from xrecon.pneumothorax.robust_parameters import RobustParameters
    except ImportError:
        return found
    return found | {"robust": RobustParameters()}


def settings_hash(case: Case, mode: str, parameters: Any) -> str:
    """What a row depends on: the case, the mode's parameters, the sources of the pneumothorax room."""
    digest = hashlib.sha256(json.dumps(case.settings(), sort_keys=True).encode())
    digest.update(f"{mode} {parameters.model_dump_json()}".encode())
    room = Path(xrecon.pneumothorax.__file__).parent
    for path in (*sorted(room.glob("*.py")), *sorted(Path(__file__).parent.glob("ma*.py"))):
        if path.stem.startswith(FREE_SOURCES):
            continue
        if mode == "reference" and (path.stem.startswith(ROBUST_SOURCES) or path.stem == "segment"):
            continue
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def measure_case(
    case: Case, modes: dict[str, Any], data: Path, cache: Path
) -> tuple[list[dict[str, Any]], list[str]]:
    """(The rows of a case, what went wrong): generated once, lungs by the bundled network once, then every
    mode. A mode that raises leaves no row; the other one's is kept."""
    start = time.process_time()
    made = make(case, data, cache)
    made_s = time.process_time() - start
    start = time.process_time()
    lungs = segment_lungs(made.volume)
    lungs_s = time.process_time() - start
    rows, failures = [], []
    for mode, parameters in modes.items():
        start = time.process_time()
        try:
            found = ptx_seg(made.volume, lungs, parameters)
        except Exception as error:  # told by the caller; the table goes on
            failures.append(f"{mode}: {type(error).__name__}: {error}")
            continue
        row = {
            "case": case.name, "mode": mode, "hash": settings_hash(case, mode, parameters),
            **case.settings(), **figures(made, found), **lung_figures(made, lungs),
            "warnings": found.meta.get("warnings", ""), "cpu_s": round(time.process_time() - start, 2),
            "cpu_make_s": round(made_s, 2), "cpu_lungs_s": round(lungs_s, 2),
        }  # fmt: skip
        rows.append(row)
    return rows, failures


def figures(made: Made, found: Volume) -> dict[str, float | None]:
    """Air of both sides together against the truth; None where a measure does not exist.

    dice, hd95_mm, asd_mm as in `xrecon.evaluation.metrics`; ml_error: found less true; false_ml: found where
    the truth has none; occupancy_error: percentage points, of the side where it is larger.
    """
    truth, labels, spacing = made.truth.array, found.array, made.truth.spacing
    p, r = labels >= 3, truth >= 3
    ml = made.truth.voxel_ml
    off = [
        100.0 * (_occupancy(labels, lung, air) - _occupancy(truth, lung, air))
        for lung, air in ((1, 3), (2, 4))
    ]
    measures = {
        "truth_ml": r.sum() * ml, "found_ml": p.sum() * ml, "ml_error": (p.sum() - float(r.sum())) * ml,
        "false_ml": (p & ~r).sum() * ml, "missed_ml": (r & ~p).sum() * ml, "dice": dice(p, r),
        "hd95_mm": hd95(p, r, spacing), "asd_mm": asd(p, r, spacing),
        "occupancy_error": max(off, key=abs),
    }  # fmt: skip
    return {k: round(float(v), 4) if np.isfinite(v) else None for k, v in measures.items()}


def lung_figures(made: Made, lungs: Volume) -> dict[str, float | None]:
    """How much of the true air the lung mask that both modes get holds, and the Dice of the hemithorax."""
    truth = made.truth.array
    air = truth >= 3
    return {
        "mask_holds_air": round(float((lungs.array[air] > 0).mean()), 4) if air.any() else None,
        "mask_dice": round(float(dice(lungs.array > 0, truth > 0)), 4),
    }


def _occupancy(labels: np.ndarray, lung: int, air: int) -> float:
    """Air over air + lung of a side; 0 for an empty one."""
    some = np.count_nonzero(labels == air)
    return some / max(some + np.count_nonzero(labels == lung), 1)
