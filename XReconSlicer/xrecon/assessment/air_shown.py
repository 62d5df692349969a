"""Whether a reconstruction shows the air that was put into a CT: why PTX-Seg finds it there, or does not.

The CT and its reconstruction are compared with themselves without the pneumothorax, so that nothing but the
air and the lung that it displaced can make a difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xrecon.benchmark.cases import Case
from xrecon.preprocess.ct import resample_like
from xrecon.volume import Volume

TRUE_CHANGE, CHANGE = "air_change_true_hu", "air_change_hu"
# The robust mode looks for what is darker than half-way from lung to air: with less of the darkening than
# this, in percent, no threshold between the two can tell them apart.
LEAST_SHOWN = 50.0


def air_shown(case: Case, volume: Volume, plain: Case, plain_volume: Volume) -> dict[str, float]:
    """air_change_true_hu, air_change_hu: HU with the air less HU without it, mean over the voxels of which
    half or more is air, of the CT and of the reconstruction. {} when the case has no such voxel.

    case, volume: with the air, and its reconstruction; plain, plain_volume: the same CT as scanned. All are
    compared on the grid of the case's truth.
    """
    if case.exact is None or not case.exact.mask.any():
        return {}
    place = case.exact.mask

    def change(first: Volume, second: Volume) -> float:
        a, b = (resample_like(v, case.truth).array[place].astype(np.float64) for v in (first, second))
        return float((a - b).mean())

    return {TRUE_CHANGE: change(case.truth, plain.truth), CHANGE: change(volume, plain_volume)}


def shown_percent(cases: Sequence[Mapping[str, Any]]) -> float | None:
    """How much of the CT's darkening the reconstructions have, over all cases; None where it was not
    measured, or the CT did not become darker."""
    pairs = [(case[CHANGE], case[TRUE_CHANGE]) for case in cases if case.get(TRUE_CHANGE) is not None]
    shown, true = (sum(values) for values in zip(*pairs, strict=True)) if pairs else (0.0, 0.0)
    return 100.0 * shown / true if true < 0.0 else None


def false_air(test: Mapping[str, Any]) -> str:
    """How much air PTX-Seg finds in the reconstructions of the CTs as scanned, in a sentence; "" where no CT
    says it. test: `quality["test"]` of a card."""
    rows = [row for row in test.get("subjects") or () if row.get("air_ml") is not None]
    if not rows:
        return ""
    each = ", ".join(
        f"{row['subject']} {row['air_ml']:.0f} ml (on the CT {row.get('reference_air_ml') or 0.0:.0f} ml)"
        for row in rows
    )
    return f"Air found in the reconstructions of the CTs as scanned: {each}."


def cause(cases: Sequence[Mapping[str, Any]]) -> str:
    """Why the air is found or not, in a sentence; "" where it was not measured."""
    share = shown_percent(cases)
    if share is None:
        return ""
    measured = [case for case in cases if case.get(TRUE_CHANGE) is not None]
    true, shown = (sum(case[name] for case in measured) / len(measured) for name in (TRUE_CHANGE, CHANGE))
    each = [100.0 * case[CHANGE] / case[TRUE_CHANGE] for case in measured if case[TRUE_CHANGE] < 0.0]
    spread = f"; {round(min(each))} to {round(max(each))} % in single cases" if len(each) > 1 else ""
    told = (
        f"Where the air is, the CT becomes {round(-true)} HU darker by it and the reconstruction "
        f"{round(-shown)} HU ({round(share)} %{spread})"
    )
    seen = sum(e >= LEAST_SHOWN for e in each)
    limit = f"Below {LEAST_SHOWN:.0f} % no threshold between lung and air tells the two apart."
    if not seen:
        return f"{told}: the reconstruction does not show the air. {limit}"
    if seen < len(each):
        return f"{told}: the reconstruction shows half or more of it in {seen} of {len(each)} cases. {limit}"
    return f"{told}: the reconstruction shows the air; what is missing is missed by PTX-Seg."
