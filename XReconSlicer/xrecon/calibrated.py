"""Reconstruct, calibrate, reconstruct: geometry that was guessed or is wrong, corrected by the pictures.

Every view is moved to where the first reconstruction explains it best (`physics.pose_fit`), then the
reconstruction is made anew. A network makes of contradicting views a patient in between, so each view is
off by about half of the contradiction; what they share, a shift of all views, is taken away again, so that
the first view stands. The new reconstruction is taken only when it explains the radiographs clearly better;
otherwise the first one stays, and the report says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xrecon.pipelines import DEFAULT_MODEL, ProgressCallback, Reconstruction, reconstruct
from xrecon.volume import GUESSED_ORIGINS, Radiograph

if TYPE_CHECKING:
    from xrecon.physics.geometry import ViewGeometry
    from xrecon.physics.pose_fit import PoseFit

# The residual must fall to this share in all to be worth another geometry, to this in a round to go on.
WORTHWHILE, GOES_ON, ROUNDS = 0.93, 0.97, 2
# What a radiograph's `meta` tells the origin of that calibration can set right when it was guessed. The place
# of the isocentre is none: nearly no file tells it, and the intake puts it on the lungs.
GUESSABLE = ("source_to_detector_mm", "source_to_isocenter_mm", "pixel_spacing_mm", "view")
# A residual this small is rounding: there is nothing to calibrate.
NEGLIGIBLE = 1e-4


@dataclass(frozen=True)
class Calibration:
    """What self-calibration did. residuals: one minus the mean structure correlation over the views.
    radiographs: with the geometry that was taken in the end."""

    used: bool
    reason: str
    fits: tuple[PoseFit, ...]
    residual_before: float
    residual_after: float
    radiographs: tuple[Radiograph, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "used": self.used,
            "reason": self.reason,
            "views": [fit.to_dict() for fit in self.fits],
            "residual_before": self.residual_before,
            "residual_after": self.residual_after,
        }

    def warnings(self) -> list[str]:
        """One sentence each, for the user, when the geometry was changed."""
        if not self.used:
            return []
        drop = f"the residual fell from {self.residual_before:.3f} to {self.residual_after:.3f}"
        return [f"the geometry was calibrated by the pictures ({drop}): {fit.text()}" for fit in self.fits]


def is_guessed(radiographs: Sequence[Radiograph]) -> bool:
    """Whether a distance, a pixel size or a view was assumed, so that calibration may help."""
    return any(r.meta.get(f"{name}.origin") in GUESSED_ORIGINS for r in radiographs for name in GUESSABLE)


def reconstruct_calibrated(
    radiographs: Sequence[Radiograph],
    model: str | Path = DEFAULT_MODEL,
    device: str = "auto",
    progress: ProgressCallback | None = None,
) -> tuple[Reconstruction, Calibration]:
    """As `pipelines.reconstruct`, with the views' relative pose corrected where that explains them better.

    A network that predicts no uncertainty is not run again to estimate it: that is for the caller to do with
    the geometry that was taken in the end. Raises what `pipelines.reconstruct` raises. One radiograph alone
    has nothing to be calibrated against.
    """
    from xrecon.physics.pose_fit import pose_change
    from xrecon.preprocess.radiograph import canonical, with_geometry_of_pictures

    def attempt(pictures: Sequence[Radiograph]) -> Reconstruction:
        return reconstruct(pictures, model, device, progress, uncertainty_samples=0)

    first = attempt(radiographs)
    before = residual(first)
    if len(first.inputs) < 2:
        reason = "one radiograph alone cannot be calibrated"
        return first, Calibration(False, reason, (), before, before, tuple(radiographs))
    if before <= NEGLIGIBLE:
        reason = "the radiographs are explained as they are"
        return first, Calibration(False, reason, (), before, before, tuple(radiographs))
    upright = [canonical(r) for r in radiographs]  # a fit's axes are those of the upright picture
    best, geometries, taken = first, [r.geometry for r in upright], list(radiographs)
    tried, plausible = before, True
    for number in range(ROUNDS):
        moved = _refitted(best, geometries, number, progress)
        changes = [
            pose_change(r.view, r.geometry, g, (before, before)) for r, g in zip(upright, moved, strict=True)
        ]
        plausible = all(change.is_plausible for change in changes)
        if not plausible:
            break
        again = [
            with_geometry_of_pictures(r, g, f"pose calibrated: {change.text()}")
            for r, g, change in zip(upright, moved, changes, strict=True)
        ]
        found = attempt(again)
        tried = min(tried, residual(found))
        if residual(found) >= GOES_ON * residual(best):
            break
        best, geometries, taken = found, moved, again
    after = residual(best)
    used = best is not first and after < WORTHWHILE * before
    fits = tuple(
        pose_change(r.view, r.geometry, g, (before, after)) for r, g in zip(upright, geometries, strict=True)
    )
    taken = taken if used else radiographs
    reason = _reason(used, plausible, (after if used else tried) / max(before, 1e-9))
    calibration = Calibration(used, reason, fits, before, after, tuple(taken))
    if not used:
        return first, calibration
    return replace(best, warnings=[*best.warnings, *calibration.warnings()]), calibration


def _reason(used: bool, plausible: bool, share: float) -> str:
    """Why the geometry was changed or left. share: of the residual that is left with the best poses tried."""
    if not used and not plausible:
        return "the fitted poses are too far off for an error of positioning"
    told = f"the residual went to {share:.1%} of what it was"
    return f"{told}, {'and' if used else 'only'} up to {WORTHWHILE:.0%} counts"


def _refitted(
    result: Reconstruction, geometries: Sequence[ViewGeometry], number: int, progress: ProgressCallback | None
) -> list[ViewGeometry]:
    """The geometries of the radiographs, each moved as the result's picture of it fits best."""
    from xrecon.physics.pose_fit import fit_views

    def tell(share: float, view: str) -> None:
        if progress:
            progress("calibrate", (number + share) / ROUNDS, f"pose of {view}")

    # the model's order of views may be another
    pictures = [
        min(result.inputs, key=lambda r: np.linalg.norm(np.subtract(r.geometry.source, geometry.source)))
        for geometry in geometries
    ]
    return fit_views(result.volume, pictures, geometries, tell)


def residual(result: Reconstruction) -> float:
    """One minus the mean structure correlation of the views with their reprojections."""
    return 1.0 - float(np.mean([of_view["structure_correlation"] for of_view in result.scores.values()]))
