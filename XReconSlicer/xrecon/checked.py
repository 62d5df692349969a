"""A reconstruction with its guards: are these the views they are said to be, does the geometry fit them?

    done = reconstruct_checked(radiographs)       done.result, .check, .calibration

`pipelines.reconstruct` computes what it is given, for experiments and benchmarks. What a user starts goes
through here: command line, panel and the panel's scripts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xrecon.calibrated import Calibration, is_guessed, reconstruct_calibrated
from xrecon.pipelines import (
    DEFAULT_MODEL,
    ProgressCallback,
    Reconstruction,
    reconstruct,
    runs_for_uncertainty,
    with_fitted_poses,
)
from xrecon.volume import Radiograph

if TYPE_CHECKING:
    from xrecon.evaluation.report import Table
    from xrecon.evaluation.view_recognition import InputCheck


@dataclass(frozen=True, eq=False)
class Checked:
    """A reconstruction, whose warnings tell of the checks too, and what these found.

    calibration: None when the geometry was not to be calibrated.
    """

    result: Reconstruction
    check: InputCheck
    calibration: Calibration | None

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and texts for a JSON file."""
        calibration = {} if self.calibration is None else {"calibration": self.calibration.to_dict()}
        return {**self.result.to_dict(), "recognition": self.check.to_dict(), **calibration}

    def tables(self) -> list[Table]:
        """What was found, for the report."""
        tables = [_recognition_table(self.check)] if self.check.found else []
        return tables if self.calibration is None else [*tables, _calibration_table(self.calibration)]


def reconstruct_checked(
    radiographs: Sequence[Radiograph],
    model: str | Path = DEFAULT_MODEL,
    device: str = "auto",
    progress: ProgressCallback | None = None,
    *,
    force: bool = False,
    skip: Sequence[str] = (),
    calibrate: bool | None = None,
    refine: bool = False,
    uncertainty_samples: int | None = None,
    refine_poses: bool = False,
) -> Checked:
    """A CT in HU from radiographs that were checked before.

    force: go on with a warning where a picture surely is another view than it is said to be, turned,
    inverted or foreign. skip: steps of the intake to leave out (`preprocess.intake`). calibrate: correct the
    views' relative pose by the pictures; None: where distances, pixel size or view were guessed. refine,
    uncertainty_samples, refine_poses and the others as in `pipelines.reconstruct`.
    Raises InputError for such pictures unless forced, and as `pipelines.reconstruct` does.
    """
    from xrecon.evaluation.view_recognition import check_radiographs
    from xrecon.preprocess.intake import take_in

    if progress:
        progress("check", 0.0, "whether the pictures are the views they are said to be")
    check = check_radiographs(radiographs, force)
    # before the intake, which may put a measured pixel size in place of an assumed one
    guessed = len(radiographs) > 1 and is_guessed(radiographs)
    # after the check, which has to see the grey values as they came
    radiographs, notes = take_in(radiographs, skip)
    calibration = None
    extra = {
        "refine": refine, "uncertainty_samples": uncertainty_samples, "refine_poses": refine_poses,
    }  # fmt: skip
    if guessed if calibrate is None else calibrate:
        result, calibration = reconstruct_calibrated(radiographs, model, device, progress)
        runs = runs_for_uncertainty(model, uncertainty_samples, len(radiographs))
        if refine or (result.uncertainty is None and runs):
            result = reconstruct(calibration.radiographs, model, device, progress, **extra)
            result = replace(result, warnings=[*result.warnings, *calibration.warnings()])
        if calibration.used:
            result = replace(result, trust=with_fitted_poses(result.trust))
    else:
        result = reconstruct(radiographs, model, device, progress, **extra)
    return Checked(replace(result, warnings=[*check.warnings, *notes, *result.warnings]), check, calibration)


def _recognition_table(check: InputCheck) -> Table:
    from xrecon.evaluation.report import Table

    rows = []
    for each in check.found:
        turned = f"turned by {90 * each.quarters} degrees" if each.quarters else ""
        layout = [turned, "mirrored" if each.mirrored else "", "inverted" if each.inverted else ""]
        found = ", ".join([each.kind, *filter(None, layout)])
        reasons = "; ".join(each.familiarity.reasons) or "as usual"
        rows.append((each.said, found, each.probability, each.as_said, each.familiarity.distance, reasons))
    return Table(
        "What the radiographs look like",
        ("said to be", "seen as", "probability", "of what was said", "unfamiliarity", "because"),
        rows,
        "Found by a small classifier that was trained on projections of CTs; it cannot tell PA from AP. "
        "Unfamiliarity is the distance to those projections; from 1 on a picture is unusual.",
    )


def _calibration_table(calibration: Calibration) -> Table:
    from xrecon.evaluation.report import Table

    rows = [
        (fit.view, *fit.angles_deg, fit.shift_mm[0], fit.shift_mm[1], 100.0 * (fit.scale - 1.0))
        for fit in calibration.fits
    ]
    used = "used" if calibration.used else "not used"
    return Table(
        "Calibration of the geometry by the pictures",
        ("view", "across, deg", "upright, deg", "beam, deg", "shift across, mm", "along, mm", "scale, %"),
        rows,
        f"This geometry was {used}: {calibration.reason} (one minus structure "
        f"correlation: {calibration.residual_before:.3f} before, {calibration.residual_after:.3f} after). "
        "Angles about the axes of the picture. A turn about the patient's long axis, a roll of the picture "
        "and a shift from front to back hardly show in two views.",
    )
