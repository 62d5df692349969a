"""Means over patients with their confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

LEVEL = 0.95
# With fewer patients there is no interval: of two, Student's t is 12.7 and the limits are anywhere.
FEWEST = 3
MEANING = f"Means over patients, {LEVEL:.0%} t intervals; of two patients the smallest and the largest value."
# What a figure can be, by a part of its name; the first that fits.
_POSSIBLE = (
    (("dice", "jaccard", "_kept"), (0.0, 1.0)),
    (("ssim", "cosine", "correlation"), (-1.0, 1.0)),
    (("occupancy",), (0.0, 100.0)),
    (("hd95", "assd", "mae", "residual", "_ml"), (0.0, math.inf)),
)


@dataclass(frozen=True)
class Interval:
    """A mean over `count` patients, and the limits of its interval; None where there is none.

    is_range: low and high are the smallest and the largest value, of too few patients for an interval.
    """

    mean: float
    low: float | None
    high: float | None
    count: int
    is_range: bool = False

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{_short(self.mean)}"
        what = "range " if self.is_range else ""
        return f"{_short(self.mean)} ({what}{_short(self.low)} to {_short(self.high)})"


def limits_are(intervals: Iterable[Interval]) -> str:
    """What the low and high of a row of figures are, in words: those of few patients are no interval."""
    limited = [each for each in intervals if each.low is not None]
    if not limited:
        return "none, of one patient"
    return "range of two patients" if any(each.is_range for each in limited) else "95 % t interval"


def possible_range(name: str) -> tuple[float, float]:
    """The smallest and largest value that a figure of this name can have, infinite where it has no limit."""
    limits = (limits for parts, limits in _POSSIBLE if any(part in name for part in parts))
    return next(limits, (-math.inf, math.inf))


def mean_interval(
    values: Sequence[float], level: float = LEVEL, *, possible: tuple[float, float] = (-math.inf, math.inf)
) -> Interval | None:
    """Mean and Student's t interval of values that belong to different patients, cut at what is possible.

    Values that are nan (not applicable) are left out; None when none is left, no limits for a single
    one, and the range of the values for two. An interval assumes that patients are drawn alike, which a
    folder of open CTs is not.
    """
    known = np.array([v for v in values if v is not None and math.isfinite(v)], dtype=np.float64)
    if not known.size:
        return None
    mean = float(known.mean())
    if known.size < 2:
        return Interval(mean, None, None, 1)
    if known.size < FEWEST:
        return Interval(mean, float(known.min()), float(known.max()), int(known.size), is_range=True)
    from scipy import stats

    half = float(stats.t.ppf((1.0 + level) / 2.0, known.size - 1)) * float(known.std(ddof=1))
    half /= math.sqrt(known.size)
    return Interval(mean, max(mean - half, possible[0]), min(mean + half, possible[1]), int(known.size))


def figure_interval(
    rows: Sequence[Mapping[str, object]], name: str, patient: str = "patient"
) -> Interval | None:
    """Mean and interval over the patients of a figure of the rows; see `by_patient` and `mean_interval`."""
    return mean_interval(by_patient(rows, name, patient), possible=possible_range(name))


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
