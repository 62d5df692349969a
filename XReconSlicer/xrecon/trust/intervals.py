"""Intervals of what is measured in a reconstruction, from the error that its voxels are expected to have.

The volume is drawn again and again as the truth may be: reconstruction + sigma * g, with g a Gaussian
field of mean 0 and deviation 1 whose correlation falls to 1/e over the distance measured for the model's
errors. Independent errors would average out over a lung and make every interval far too narrow. What is
measured in each draw spreads about its mean; the interval is Student's prediction interval of one more
draw, widened to the measured value itself where thresholds shift it (noise in a volume is not neutral to
a threshold), and never narrower than the interval of the voxel grid.

What it leaves out: errors that are correlated over longer distances than measured, and errors of the
method that measures. It holds as far as the calibration of sigma does.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from xrecon.volume import InputError, Volume

if TYPE_CHECKING:
    from xrecon.pneumothorax.measures import PtxMeasures

DRAWS, LEVEL = 12, 0.95
# In the `meta` of a volume of deviations: over which distance its errors are correlated, mm.
CORRELATION = "error_correlation_mm"
# Of lifting-64 on its validation subject; for volumes of deviations that say nothing.
USUAL_CORRELATION_MM = 14.0

Bounds = tuple[float, float]
Measured = Mapping[Hashable, float | None]


def correlated_noise(
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    correlation_mm: float,
    generator: np.random.Generator,
) -> np.ndarray:
    """A Gaussian field (z, y, x), mean 0 and deviation 1, float32; correlation exp(-(d / length)^2).

    White noise through a Gaussian filter of half the length, divided by what the filter leaves of its
    deviation. Made on a larger grid, so that the edges are as the middle.
    """
    from scipy import ndimage

    sigma = [0.5 * correlation_mm / s for s in spacing]
    margin = [int(np.ceil(3.0 * s)) for s in sigma]
    larger = tuple(n + 2 * m for n, m in zip(shape, margin, strict=True))
    field = ndimage.gaussian_filter(generator.standard_normal(larger, dtype=np.float32), sigma, truncate=3.0)
    field = field[tuple(slice(m, m + n) for m, n in zip(margin, shape, strict=True))]
    left = 1.0
    for s in sigma:
        impulse = np.zeros(2 * int(3.0 * s + 0.5) + 1)
        impulse[impulse.size // 2] = 1.0
        kernel = ndimage.gaussian_filter1d(impulse, s, truncate=3.0) if s > 0 else impulse
        left *= float(np.sum(kernel**2))
    return field / np.float32(np.sqrt(left))


def drawn_volumes(volume: Volume, deviation: Volume, draws: int, seed: int = 0) -> list[Volume]:
    """Volumes as the truth may be, HU on the grid of `volume`.

    deviation: standard deviation of its error, HU, on the same grid; its `meta` may tell the correlation.
    Raises InputError for another grid or deviations that are negative or not finite.
    """
    deviation.require_finite("the uncertainty")
    if not deviation.same_grid(volume) or float(deviation.array.min()) < 0:
        raise InputError(
            "expected standard deviations (no negative numbers) on the grid of the reconstruction "
            f"{volume.shape}, got {deviation.shape} from {float(deviation.array.min()):g} HU"
        )
    length = correlation_of(deviation)
    generator = np.random.default_rng(seed)
    low = min(float(volume.array.min()), -1000.0)
    drawn = []
    for _ in range(draws):
        noise = correlated_noise(volume.shape, volume.spacing, length, generator)
        drawn.append(volume.with_array(np.maximum(volume.array + deviation.array * noise, low)))
    return drawn


def correlation_of(deviation: Volume) -> float:
    """The correlation length in mm that a volume of deviations tells, or the usual one."""
    try:
        length = float(deviation.meta[CORRELATION])
    except (KeyError, ValueError):
        return USUAL_CORRELATION_MM
    return length if np.isfinite(length) and length > 0 else USUAL_CORRELATION_MM


def sampled_bounds(
    volume: Volume,
    deviation: Volume,
    measure: Callable[[Volume], Measured],
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> dict[Hashable, Bounds]:
    """Low and high of each quantity that `measure` gives of a volume, by its key.

    Quantities that are None in some draw get no interval. Raises InputError as `drawn_volumes`, and for
    fewer than three draws.
    """
    from scipy import stats

    if draws < 3:
        raise InputError(f"expected at least 3 draws for an interval, got {draws}")
    values: dict[Hashable, list[float | None]] = {}
    for number, drawn in enumerate(drawn_volumes(volume, deviation, draws, seed)):
        if progress is not None:
            progress(number)
        for key, value in measure(drawn).items():
            values.setdefault(key, []).append(value)
    quantile = stats.t.ppf(0.5 + level / 2.0, draws - 1) * np.sqrt(1.0 + 1.0 / draws)
    bounds = {}
    for key, found in values.items():
        if len(found) == draws and None not in found:
            half = float(quantile * np.std(found, ddof=1))
            bounds[key] = (float(np.mean(found)) - half, float(np.mean(found)) + half)
    return bounds


def with_bounds(
    measures: PtxMeasures, bounds: Mapping[tuple[str, str], Bounds], note: str
) -> PtxMeasures:
    """The measures with intervals that hold those of the draws, too; by (side, quantity).

    ml from 0 on, percent from 0 to 100.
    """
    changed = []
    for measure in measures.measures:
        found = bounds.get((measure.side, measure.quantity))
        if found is None or measure.value is None or measure.unit not in ("ml", "%"):
            changed.append(measure)
            continue
        known = [v for v in (measure.value, measure.low, measure.high) if v is not None]
        low, high = max(min(found[0], *known), 0.0), max(found[1], *known)
        high = min(high, 100.0) if measure.unit == "%" else high
        told = f"{measure.note}; {note}" if measure.note else note
        changed.append(replace(measure, low=low, high=high, note=told))
    return replace(measures, measures=tuple(changed))


def interval_note(draws: int, deviation: Volume, level: float = LEVEL) -> str:
    """How an interval came about, for JSON and report."""
    return (
        f"{100 * level:g} % interval from {draws} volumes drawn with the reconstruction's expected error, "
        f"correlated over {correlation_of(deviation):.0f} mm"
    )


def with_error_intervals(
    measures: PtxMeasures,
    volume: Volume,
    deviation: Volume,
    again: Callable[[Volume], PtxMeasures],
    say: Callable[[str, float, str], None],
    draws: int | None = None,
) -> PtxMeasures:
    """The measures of a reconstruction with intervals from its expected error.

    again: measures a drawn volume as the reconstruction itself was measured. draws: `DRAWS` unless given.
    Others as `sampled_bounds`.
    """
    draws = DRAWS if draws is None else draws

    def measured(drawn: Volume) -> Measured:
        return {(m.side, m.quantity): m.value for m in again(drawn).measures}

    def tell(number: int) -> None:
        say("intervals", number / draws, f"volume {number + 1} of {draws}")

    bounds = sampled_bounds(volume, deviation, measured, draws, progress=tell)
    return with_bounds(measures, bounds, interval_note(draws, deviation))
