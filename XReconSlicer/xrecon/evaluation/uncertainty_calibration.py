"""Whether an uncertainty means what it says: expected against observed error, and the share intervals hold.

A raw standard deviation s of each voxel, predicted by the network or spread of its outputs under changes
of the input, becomes

    sigma^2 = floor^2 + (factor * s)^2,

fitted to the observed squared error in bins of s (Kuleshov, Fenner and Ermon, ICML 2018, recalibrate
likewise; Levi et al., Sensors 2022;22:5540, scale the deviation). Errors of reconstructions have heavier
tails than a Gaussian, so the half widths of intervals are not 0.67, 1.28 and 1.96 sigma but the quantiles
of |error| / sigma on the same subjects (split conformal prediction; Lei et al., JASA 2018;113:1094-1111).
Both hold for people and pictures like those they were measured on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from xrecon.volume import InputError, Volume

LEVELS = (0.5, 0.8, 0.95)
BINS = 12
# Voxels of one subject that enter, so that a fine grid costs no more than a coarse one.
MOST_VOXELS = 200_000
# A deviation of nothing would claim certainty.
LEAST_SIGMA_HU = 1.0
LONGEST_LAG_MM = 120.0


@dataclass(frozen=True)
class UncertaintyCalibration:
    """How raw deviations of one source become deviations that held on the calibration subjects.

    source: "predicted" or "augmentation". samples: outputs the spread is taken over, 0 for predicted.
    factor, floor_hu: see the module. multipliers: half width of the interval of a level in sigma, by the
    level in percent. correlation_mm: distance at which the correlation of error / sigma falls to 1/e.
    """

    source: str
    samples: int
    factor: float
    floor_hu: float
    multipliers: Mapping[str, float]
    correlation_mm: float

    def sigma(self, raw_hu: np.ndarray) -> np.ndarray:
        """The calibrated standard deviation in HU of raw ones, same shape, float32."""
        sigma = np.sqrt(self.floor_hu**2 + (self.factor * np.asarray(raw_hu, np.float64)) ** 2)
        return np.maximum(sigma, LEAST_SIGMA_HU).astype(np.float32)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for a card."""
        return {**asdict(self), "multipliers": dict(self.multipliers)}

    @classmethod
    def from_dict(cls, figures: Mapping[str, Any] | None) -> UncertaintyCalibration | None:
        """What `to_dict` wrote, other entries left out; None of nothing. Raises InputError for the rest."""
        if not figures:
            return None
        try:
            found = cls(**{name: figures[name] for name in cls.__dataclass_fields__})
            numbers = (found.factor, found.floor_hu, found.correlation_mm, *found.multipliers.values())
            if not all(np.isfinite(n) and n >= 0 for n in numbers) or found.correlation_mm == 0:
                raise ValueError(f"numbers out of range: {numbers}")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"the card's calibration of the uncertainty cannot be used: {error}") from error
        return found


def level_name(level: float) -> str:
    """ "95" of 0.95: how levels are called in cards."""
    return f"{100 * level:g}"


@dataclass(frozen=True, eq=False)
class ErrorSample:
    """Raw deviations and errors (estimate less truth) of one subject's voxels, HU, and how errors hang
    together: correlation of error / raw deviation at the distances `lags_mm`."""

    raw_hu: np.ndarray
    error_hu: np.ndarray
    lags_mm: np.ndarray
    correlation: np.ndarray


def error_sample(
    estimate: Volume, truth: np.ndarray, raw_hu: np.ndarray, inside: np.ndarray, seed: int = 0
) -> ErrorSample:
    """What one subject tells, from the voxels `inside` (boolean, z, y, x): those of the body.

    truth, raw_hu: HU on the grid of the estimate. Raises InputError when fewer than 100 voxels are inside.
    """
    if np.count_nonzero(inside) < 100:
        raise InputError(f"expected at least 100 voxels to calibrate on, got {np.count_nonzero(inside)}")
    error = estimate.array.astype(np.float64) - truth
    lags, correlation = error_correlation(error / np.maximum(raw_hu, 1.0), inside, estimate.spacing)
    raw, wrong = np.asarray(raw_hu, np.float64)[inside], error[inside]
    if raw.size > MOST_VOXELS:
        chosen = np.random.default_rng(seed).choice(raw.size, MOST_VOXELS, replace=False)
        raw, wrong = raw[chosen], wrong[chosen]
    return ErrorSample(raw, wrong, lags, correlation)


def error_correlation(
    field: np.ndarray, inside: np.ndarray, spacing: tuple[float, float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Lags in mm and the correlation there of a field (z, y, x), mean over the axes, voxels inside only.

    The mean is not taken away: an error shared by all voxels is correlated over any distance.
    """
    values = np.where(inside, field, 0.0)
    # one coarse voxel steps further than three fine ones: all axes share the largest spacing's lags
    step = max(spacing)
    count = max(1, min(int(LONGEST_LAG_MM / step), min(field.shape) - 1))
    correlation = np.zeros(count)
    for lag in range(1, count + 1):
        products, squares = 0.0, 0.0
        for axis, size in enumerate(spacing):
            shift = max(1, round(lag * step / size))
            a, b = (_shifted(values, axis, shift, end) for end in (False, True))
            both = _shifted(inside, axis, shift, False) & _shifted(inside, axis, shift, True)
            products += float((a * b)[both].sum())
            squares += float((0.5 * (a**2 + b**2))[both].sum())
        correlation[lag - 1] = products / squares if squares else 0.0
    return step * np.arange(1, count + 1), correlation


def _shifted(array: np.ndarray, axis: int, shift: int, end: bool) -> np.ndarray:
    part = slice(shift, None) if end else slice(None, -shift)
    return array[tuple(part if a == axis else slice(None) for a in range(3))]


def fit_uncertainty(
    samples: Sequence[ErrorSample], source: str, outputs: int = 0
) -> UncertaintyCalibration:
    """The calibration with which the samples' bins show their observed errors; subjects count alike.

    Raises InputError without samples.
    """
    from scipy.optimize import nnls

    if not samples:
        raise InputError("expected subjects to calibrate an uncertainty on, got none")
    raw, error = _pooled(samples)
    rows = _bins(raw, error)
    expected, observed = (np.array([row[k] for row in rows]) ** 2 for k in ("expected_hu", "observed_hu"))
    # relative errors of the variance count, so that bins of small errors are met as well as those of large
    weight = 1.0 / np.maximum(observed, LEAST_SIGMA_HU**2)
    (floor, factor), _ = nnls(np.stack([weight, weight * expected], axis=1), weight * observed)
    plain = UncertaintyCalibration(source, outputs, float(factor**0.5), float(floor**0.5), {}, 1.0)
    ratio = np.abs(error) / plain.sigma(raw)
    multipliers = {level_name(level): float(np.quantile(ratio, level)) for level in LEVELS}
    correlation = float(np.mean([correlation_length(s.lags_mm, s.correlation) for s in samples]))
    return UncertaintyCalibration(
        source, outputs, plain.factor, plain.floor_hu, multipliers, correlation
    )


def correlation_length(lags_mm: np.ndarray, correlation: np.ndarray) -> float:
    """The distance in mm at which a correlation first falls to 1/e, linear between lags (and from 1 at 0)."""
    distance, value = np.concatenate([[0.0], lags_mm]), np.concatenate([[1.0], correlation])
    below = np.flatnonzero(value <= np.exp(-1.0))
    if not below.size:
        return float(distance[-1])
    k = below[0]
    share = (value[k - 1] - np.exp(-1.0)) / (value[k - 1] - value[k])
    return float(distance[k - 1] + share * (distance[k] - distance[k - 1]))


def assess(samples: Sequence[ErrorSample], calibration: UncertaintyCalibration) -> dict[str, Any]:
    """How a calibration holds on subjects, those it was fitted on or others.

    curve: bins of equal size by expected error, HU, with the observed root mean square error there.
    coverage: share of the errors within the interval of each level; gaussian_coverage: within the same
    level's interval of a Gaussian. expected_calibration_error: mean of |expected - observed| / observed.
    correlation_mm: of the errors. Subjects count alike.
    """
    from scipy import stats

    raw, error = _pooled(samples)
    sigma = calibration.sigma(raw).astype(np.float64)
    rows = _bins(sigma, error)
    gap = [abs(row["expected_hu"] - row["observed_hu"]) / max(row["observed_hu"], 1e-9) for row in rows]
    ratio = np.abs(error) / sigma
    return {
        "voxels": int(raw.size),
        "subjects": len(samples),
        "curve": rows,
        "expected_calibration_error": float(np.mean(gap)),
        "expected_rmse_hu": float(np.sqrt(np.mean(sigma**2))),
        "observed_rmse_hu": float(np.sqrt(np.mean(error**2))),
        "coverage": {n: float(np.mean(ratio <= k)) for n, k in calibration.multipliers.items()},
        "gaussian_coverage": {
            level_name(v): float(np.mean(ratio <= stats.norm.ppf(0.5 + v / 2.0))) for v in LEVELS
        },
        "rank_correlation": float(stats.spearmanr(sigma, np.abs(error)).statistic) if np.ptp(sigma) else 0.0,
        "correlation_mm": float(np.mean([correlation_length(s.lags_mm, s.correlation) for s in samples])),
    }


def _pooled(samples: Sequence[ErrorSample]) -> tuple[np.ndarray, np.ndarray]:
    """Deviations and errors of all subjects, as many of each as the smallest has."""
    least = min(sample.raw_hu.size for sample in samples)
    raw, error = [], []
    for number, sample in enumerate(samples):
        chosen = np.random.default_rng(number).permutation(sample.raw_hu.size)[:least]
        raw.append(sample.raw_hu[chosen])
        error.append(sample.error_hu[chosen])
    return np.concatenate(raw), np.concatenate(error)


def _bins(expected: np.ndarray, error: np.ndarray) -> list[dict[str, float]]:
    """Root mean squares of expected and true errors in bins of equal size by the expected one."""
    parts = np.array_split(np.argsort(expected, kind="stable"), BINS)
    return [
        {
            "expected_hu": float(np.sqrt(np.mean(expected[part] ** 2))),
            "observed_hu": float(np.sqrt(np.mean(error[part] ** 2))),
        }
        for part in parts
        if part.size
    ]
