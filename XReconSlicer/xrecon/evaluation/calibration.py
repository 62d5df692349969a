"""A straight line from a method's HU to true HU, fitted on training subjects.

Back-projection from few views smears: its HU are right on average along rays and far too flat in
between. The best line costs nothing, keeps the picture as it is, and keeps a benchmark from counting a
wrong scale as a wrong picture.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from xrecon.preprocess.ct import HU_WINDOW
from xrecon.volume import InputError


@dataclass(frozen=True)
class AffineHU:
    """slope * HU + offset, clipped to the HU window."""

    slope: float
    offset: float

    def __call__(self, hu: np.ndarray) -> np.ndarray:
        return np.clip(self.slope * hu + self.offset, *HU_WINDOW)


IDENTITY = AffineHU(1.0, 0.0)


def fit_hu(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> AffineHU:
    """The line with the least squared error from the first to the second array of all pairs together.

    Every pair counts alike, whatever its size. Raises InputError when there is none.
    """
    moments = []
    for given, true in pairs:
        x, y = given.astype(np.float64).ravel(), true.astype(np.float64).ravel()
        moments.append([x.mean(), y.mean(), (x * x).mean(), (x * y).mean()])
    if not moments:
        raise InputError("expected pairs of volumes to calibrate on, got none")
    x, y, xx, xy = np.mean(moments, axis=0)
    variance = xx - x * x
    slope = (xy - x * y) / variance if variance > 1e-9 * max(xx, 1.0) else 0.0
    return AffineHU(float(slope), float(y - slope * x))
