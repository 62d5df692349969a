"""How well a reconstructed volume explains the radiographs it was made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from xrecon.volume import Quantity, Radiograph, Volume

REPROJECTION_ENERGY_KEV = 70.0


def reproject(volume: Volume, inputs: Sequence[Radiograph]) -> list[Radiograph]:
    """Line integrals of a volume in HU through the geometries of `inputs`."""
    from xrecon.physics.drr import render_drrs

    pictures = render_drrs(
        volume, [r.geometry for r in inputs], REPROJECTION_ENERGY_KEV, names=[r.view for r in inputs]
    )
    note = f"reprojection of a reconstructed volume at {REPROJECTION_ENERGY_KEV:g} keV"
    return [replace(p, history=(note,), meta={**p.meta, "synthetic": "reprojection"}) for p in pictures]


def reprojection_scores(reprojection: Radiograph, radiograph: Radiograph) -> dict[str, float]:
    """How well the line integrals p of a reprojection explain a radiograph y on the same detector.

    correlation: Pearson's, -1..1, 1 is best; blind to the grey scale's gain and offset.
    relative_residual: |p - y| / |y|, 0 is best, nothing fitted; only when y is in line integrals,
        since a processed radiograph has lost its absolute scale.
    Rays that miss the volume (p = 0) are left out: nothing there is explained. A correlation that
    is not defined, because p or y does not vary, counts as 0.
    """
    hit = reprojection.array > 0
    p = reprojection.array[hit].astype(np.float64)
    y = radiograph.array[hit].astype(np.float64)
    scores = {"correlation": _correlation(p, y)}
    if radiograph.quantity is Quantity.LINE_INTEGRAL:
        size = float(np.linalg.norm(y))
        scores["relative_residual"] = float(np.linalg.norm(p - y)) / size if size else float("nan")
    return scores


def _correlation(p: np.ndarray, y: np.ndarray) -> float:
    if p.size < 2:
        return 0.0
    p, y = p - p.mean(), y - y.mean()
    spread = float(np.linalg.norm(p) * np.linalg.norm(y))
    return float(p @ y) / spread if spread else 0.0
