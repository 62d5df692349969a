"""Intervals of what is measured in a reconstruction, from the error that its voxels are expected to have.

The volume is drawn again and again as the truth may be: reconstruction + sigma * g, with g a Gaussian
field of mean 0 and deviation 1 whose correlation falls to 1/e over the distance measured for the model's
errors. Independent errors would average out over a lung and make every interval far too narrow. What is
measured in each draw spreads about its mean; the interval is Student's prediction interval of one more
draw, widened to the measured value itself where thresholds shift it (noise in a volume is not neutral to
a threshold), and never narrower than the interval of the voxel grid.

The lungs are not searched anew in a draw: a search of lungs breaks down on noise, and what it then calls
air is no error of the volume. They stay, but for their border, which goes where the draw puts it.

An interval that takes up more than half of what is possible tells nothing and is not given; why is said in
its place. So it is with air in volumes of networks whose errors in the lung are larger than the contrast
of lung and air. Nor is one given for air, and what depends on it, when the network was found to lose air:
deviations are calibrated on people without pneumothorax, so of air that was filled up they know nothing.
Nor is any given from deviations of which it is not known that they were calibrated: they are no error in HU.

What it leaves out: errors that are correlated over longer distances than measured, and errors of the
method that measures, such as lungs whose border was found in the wrong place. It holds as far as the
calibration of sigma does.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from xrecon.volume import InputError, Volume

if TYPE_CHECKING:
    from xrecon.pneumothorax.measures import Measure, PtxMeasures

DRAWS, LEVEL = 12, 0.95
# Wider than this share of what is possible, an interval is none.
USABLE_SHARE = 0.5
# Between lung and tissue; so far from where it was found a draw may move the border of a lung.
BORDER_HU, BORDER_MM = -500.0, 10.0
# In the `meta` of a volume of deviations: over which distance its errors are correlated, mm.
CORRELATION = "error_correlation_mm"
# There, too: "no", "not measured", or from which size on the network keeps pleural air.
AIR_KEPT = "error_air_preserved"
LOSES_AIR, NOT_MEASURED = "no", "not measured"
# There, too: whether the deviations were calibrated on subjects new to the model.
CALIBRATED, YES, NO = "error_calibrated", "yes", "no"
WHY_UNCALIBRATED = "the expected error was not calibrated for this model and this number of radiographs"
WHY_LOST = {
    LOSES_AIR: "the model does not preserve pleural air of any size tested, whatever its volumes show",
    NOT_MEASURED: "it was not measured whether the model preserves pleural air",
}
TOO_WIDE = "with the reconstruction's expected error anything from"
# Structures and quantities that are other ones when air was overlooked.
OF_AIR = {
    ("pneumothorax", "air_volume"), ("pneumothorax", "occupancy"), ("lung", "lung_volume"),
    *(("radiograph index", f"{name}_estimate") for name in ("collins", "light", "rhea")),
}  # fmt: skip
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
    _require_deviations(volume, deviation)
    length = correlation_of(deviation)
    generator = np.random.default_rng(seed)
    low = min(float(volume.array.min()), -1000.0)
    drawn = []
    for _ in range(draws):
        noise = correlated_noise(volume.shape, volume.spacing, length, generator)
        drawn.append(volume.with_array(np.maximum(volume.array + deviation.array * noise, low)))
    return drawn


def _require_deviations(volume: Volume, deviation: Volume) -> None:
    deviation.require_finite("the uncertainty")
    if not deviation.same_grid(volume) or float(deviation.array.min()) < 0:
        raise InputError(
            "expected standard deviations (no negative numbers) on the grid of the reconstruction "
            f"{volume.shape}, got {deviation.shape} from {float(deviation.array.min()):g} HU"
        )


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


def border_moved(lungs: Volume, volume: Volume) -> Callable[[Volume], Volume]:
    """Makes of a drawn volume its lungs: those of the reconstruction, with the border where the draw has it.

    lungs: labels on the grid of `volume`. Near their border, voxels that the draw takes across `BORDER_HU`
    change sides.
    """
    from scipy import ndimage

    inside = lungs.array > 0
    depth = ndimage.distance_transform_edt(inside, lungs.spacing)
    if inside.any():
        distance, nearest = ndimage.distance_transform_edt(~inside, lungs.spacing, return_indices=True)
        side = lungs.array[tuple(nearest)]
    else:
        distance, side = np.full(inside.shape, np.inf), lungs.array
    light = volume.array < BORDER_HU
    may_go = inside & (depth <= BORDER_MM) & light
    may_come = ~inside & (distance <= BORDER_MM) & ~light

    def moved(drawn: Volume) -> Volume:
        array = np.where(may_go & (drawn.array >= BORDER_HU), 0, lungs.array)
        return lungs.with_array(np.where(may_come & (drawn.array < BORDER_HU), side, array).astype(np.uint8))

    return moved


def with_bounds(measures: PtxMeasures, bounds: Mapping[tuple[str, str], Bounds], note: str) -> PtxMeasures:
    """The measures with intervals that hold those of the draws, too; by (side, quantity).

    ml from 0 to the hemithorax's, percent from 0 to 100. Where that takes up more than `USABLE_SHARE` of
    what is possible, or a draw had no such number, low and high are None and `no_interval` says why.
    """
    room = {
        m.side: max(m.value, m.high or 0.0, bounds.get((m.side, m.quantity), (0.0, 0.0))[1])
        for m in measures.measures
        if m.quantity == "hemithorax_volume" and m.value is not None
    }
    changed = []
    for measure in measures.measures:
        if measure.value is None or measure.unit not in ("ml", "%"):
            changed.append(measure)
            continue
        found = bounds.get((measure.side, measure.quantity))
        if found is None:
            changed.append(_without(measure, "not every volume drawn with the expected error has it"))
            continue
        known = [v for v in (measure.value, measure.low, measure.high) if v is not None]
        low, high = max(min(found[0], *known), 0.0), max(found[1], *known)
        possible = 100.0 if measure.unit == "%" else room.get(measure.side, np.inf)
        high = max(min(high, possible), *known)
        if high - low > USABLE_SHARE * possible:
            digits = 1 if measure.unit == "%" else 0
            changed.append(_without(
                measure,
                f"{TOO_WIDE} {low:.{digits}f} to "
                f"{high:.{digits}f} {measure.unit} is possible, of 0 to {possible:.{digits}f}",
            ))  # fmt: skip
            continue
        told = f"{measure.note}; {note}" if measure.note else note
        changed.append(replace(measure, low=low, high=high, note=told))
    return replace(measures, measures=tuple(changed))


def _without(measure: Measure, why: str) -> Measure:
    return replace(measure, low=None, high=None, no_interval=why)


def without_lost_air(measures: PtxMeasures, deviation: Volume) -> PtxMeasures:
    """The measures, those that rest on pleural air without an interval where the network may have lost it.

    A map that does not say whether it did counts as one of a network of which it was not measured.
    """
    kept = deviation.meta.get(AIR_KEPT, NOT_MEASURED)
    if kept not in WHY_LOST:
        return measures
    return _all_without(measures, WHY_LOST[kept], lambda m: (m.structure, m.quantity) in OF_AIR)


def _all_without(measures: PtxMeasures, why: str, which: Callable[[Measure], bool]) -> PtxMeasures:
    """The measures, those volumes and percentages that are meant without an interval."""
    changed = [
        _without(m, why) if m.value is not None and m.unit in ("ml", "%") and which(m) else m
        for m in measures.measures
    ]
    return replace(measures, measures=tuple(changed))


def interval_warnings(measures: PtxMeasures) -> list[str]:
    """A sentence on the volumes and percentages that have no usable interval, for the user."""
    by_reason: dict[str, list[str]] = {}
    for measure in measures.measures:
        if measure.no_interval:
            wide = measure.no_interval.startswith(TOO_WIDE)
            reason = "more than half of what is possible lies within it" if wide else measure.no_interval
            name = measure.quantity.replace("_", " ")
            by_reason.setdefault(reason, []).append(name)
    return [
        f"no usable interval of {', '.join(dict.fromkeys(names))}: {why}" for why, names in by_reason.items()
    ]


def interval_note(draws: int, deviation: Volume, level: float = LEVEL) -> str:
    """How an interval came about, for JSON and report."""
    return (
        f"{100 * level:g} % interval from {draws} volumes drawn with the reconstruction's expected error, "
        f"correlated over {correlation_of(deviation):.0f} mm; it does not cover lungs found wrongly"
    )


def with_error_intervals(
    measures: PtxMeasures,
    volume: Volume,
    deviation: Volume,
    again: Callable[[Volume], PtxMeasures],
    say: Callable[[str, float, str], None],
    draws: int | None = None,
) -> PtxMeasures:
    """The measures of a reconstruction with intervals from its expected error, or without any interval
    where the deviations do not say that they were calibrated.

    again: measures a drawn volume as the reconstruction itself was measured. draws: `DRAWS` unless given.
    Others as `sampled_bounds`.
    """
    draws = DRAWS if draws is None else draws
    _require_deviations(volume, deviation)
    if deviation.meta.get(CALIBRATED, NO) != YES:
        return _all_without(measures, WHY_UNCALIBRATED, lambda _: True)

    def measured(drawn: Volume) -> Measured:
        return {(m.side, m.quantity): m.value for m in again(drawn).measures}

    def tell(number: int) -> None:
        say("intervals", number / draws, f"volume {number + 1} of {draws}")

    bounds = sampled_bounds(volume, deviation, measured, draws, progress=tell)
    return without_lost_air(with_bounds(measures, bounds, interval_note(draws, deviation)), deviation)
