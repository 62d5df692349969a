"""Poses of the views fitted to a reconstruction, for its refinement: where they contradict each other.

A network makes of views that contradict each other a patient in between, which no volume then explains
well. Each view is moved to where the volume explains its picture best (`physics.pose_fit`). Unlike the
self-calibration (`xrecon.calibrated`) the network does not run again: the refinement of the volume follows
with the fitted poses, and says whether rays that no fit has seen are explained better. For that the pixels
which it leaves out do not count here either. The network itself was given all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from xrecon.volume import Radiograph, Volume

ProgressCallback = Callable[[str, float, str], None]
# One minus structure correlation, mean over the views, must fall to this share: less is no wrong pose.
WORTHWHILE = 0.93


@dataclass(frozen=True, eq=False)
class FittedPoses:
    """inputs: the radiographs with fitted geometry, None where the poses had better stay. record: for JSON:
    reason, structure_residual (before, after: mean over the views), views."""

    inputs: list[Radiograph] | None
    record: dict[str, Any]


def fitted_poses(
    volume: Volume,
    inputs: Sequence[Radiograph],
    left_out: np.ndarray,
    progress: ProgressCallback | None = None,
) -> FittedPoses:
    """The radiographs on the network's detector with the poses in which a volume in HU explains them best.

    left_out: bool (view, row, column), the pixels that do not count in the fit.
    """
    from xrecon.evaluation.reprojection import reproject, score_reprojections
    from xrecon.evaluation.reprojection_calibration import distance
    from xrecon.physics.pose_fit import fit_views, pose_change
    from xrecon.preprocess.radiograph import with_geometry_of_pictures

    def tell(share: float, view: str) -> None:
        if progress:
            progress("refine", share, f"pose of {view}")

    if len(inputs) < 2:
        return FittedPoses(None, {"reason": "one radiograph alone has no pose against another"})
    shown = [replace(r, covered=~r.seen | out) for r, out in zip(inputs, left_out, strict=True)]
    moved = fit_views(volume, shown, [r.geometry for r in inputs], tell)
    changes = [pose_change(r.view, r.geometry, g, (0.0, 0.0)) for r, g in zip(inputs, moved, strict=True)]
    fitted = [
        with_geometry_of_pictures(r, geometry, f"pose refined: {change.text()}")
        for r, geometry, change in zip(inputs, moved, changes, strict=True)
    ]
    shown_fitted = [replace(r, geometry=geometry) for r, geometry in zip(shown, moved, strict=True)]
    before, after = (
        distance(score_reprojections(volume, each, reproject(volume, each))) for each in (shown, shown_fitted)
    )
    record: dict[str, Any] = {
        "reason": "",
        "structure_residual": {"before": before, "after": after},
        "views": [
            {name: value for name, value in change.to_dict().items() if not name.startswith("residual")}
            for change in changes
        ],
        "text": [change.text() for change in changes],
    }
    if not all(change.is_plausible for change in changes):
        return FittedPoses(None, {**record, "reason": "the fitted poses are no errors of positioning"})
    if not after <= WORTHWHILE * before:
        reason = f"the pictures fit hardly better with other poses ({after:.3f} for {before:.3f})"
        return FittedPoses(None, {**record, "reason": reason})
    return FittedPoses(fitted, record)
