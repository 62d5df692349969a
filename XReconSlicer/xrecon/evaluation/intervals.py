"""Means over patients with their confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean over `count` patients, and the limits of its interval; None where there is none."""

    mean: float
    low: float | None
    high: float | None
    count: int

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{_short(self.mean)}"
        return f"{_short(self.mean)} ({_short(self.low)} to {_short(self.high)})"


def mean_interval(values: Sequence[float], level: float = LEVEL) -> Interval | None:
    """Mean and Student's t interval of values that belong to different patients.

    Values that are nan (not applicable) are left out; None when none is left, no limits for a single
    one. With two patients the interval is wide, as it should be; it assumes that patients are drawn
    alike, which a folder of open CTs is not.
    """
    known = np.array([v for v in values if v is not None and math.isfinite(v)], dtype=np.float64)
    if not known.size:
        return None
    mean = float(known.mean())
    if known.size < 2:
        return Interval(mean, None, None, 1)
    from scipy import stats

    half = float(stats.t.ppf((1.0 + level) / 2.0, known.size - 1)) * float(known.std(ddof=1))
    half /= math.sqrt(known.size)
    return Interval(mean, mean - half, mean + half, int(known.size))


def by_patient(rows: Sequence[Mapping[str, object]], name: str, patient: str = "patient") -> list[float]:
    """A figure's mean within each patient, so that several cases of one do not count as several patients."""
    groups: dict[object, list[float]] = {}
    for row in rows:
        value = row.get(name)
        if isinstance(value, (int, float)) and math.isfinite(value):
            groups.setdefault(row[patient], []).append(float(value))
    return [float(np.mean(group)) for group in groups.values()]


def _short(value: float) -> str:
    """Two digits after the point, three for figures below one."""
    return f"{value:.3f}" if abs(value) < 1 else f"{value:.2f}"
