"""Intervals of volumes from the expected error of voxels: they hold the truth as often as they say."""

from __future__ import annotations

import numpy as np
import pytest
from xrecon.pneumothorax.measures import Measure, PtxMeasures
from xrecon.trust.intervals import (
    CORRELATION,
    USUAL_CORRELATION_MM,
    correlated_noise,
    correlation_of,
    drawn_volumes,
    sampled_bounds,
    with_bounds,
    with_error_intervals,
)
from xrecon.volume import InputError, Volume

SHAPE, SPACING = (22, 20, 24), (8.0, 9.0, 8.0)
SIGMA, LENGTH = 120.0, 30.0


@pytest.fixture(scope="module")
def ball() -> Volume:
    """Air in tissue with an edge of some voxels, as a reconstruction has."""
    z, y, x = np.meshgrid(
        *[(np.arange(n) - (n - 1) / 2) * s for n, s in zip(SHAPE, SPACING, strict=True)], indexing="ij"
    )
    distance = np.sqrt(z**2 + y**2 + x**2)
    return Volume((-400.0 + 450.0 * np.tanh((distance - 55.0) / 12.0)).astype(np.float32), SPACING)


def air_ml(volume: Volume) -> dict[str, float]:
    return {"air": float(np.count_nonzero(volume.array < -400.0)) * volume.voxel_ml}


def coverage(ball: Volume, told_mm: float, trials: int = 40) -> float:
    """How often the interval about a wrong volume holds the true one's, errors correlated over 30 mm."""
    hits = 0
    for trial in range(trials):
        noise = correlated_noise(SHAPE, SPACING, LENGTH, np.random.default_rng(1000 + trial))
        estimate = ball.with_array(ball.array - SIGMA * noise)
        deviation = ball.with_array(np.full(SHAPE, SIGMA, np.float32), **{CORRELATION: f"{told_mm}"})
        low, high = sampled_bounds(estimate, deviation, air_ml, draws=6, seed=trial)["air"]
        hits += low <= air_ml(ball)["air"] <= high
    return hits / trials


def test_95_percent_intervals_hold_the_truth_about_as_often(ball: Volume):
    assert 0.85 <= coverage(ball, LENGTH) <= 1.0


def test_errors_taken_for_independent_would_make_them_far_too_narrow(ball: Volume):
    assert coverage(ball, 2.0, trials=30) < 0.7


def test_drawn_volumes_differ_by_the_deviation(ball: Volume):
    spread = np.full(SHAPE, 1e-3, np.float32)
    spread[:, :, 12:] = 50.0
    drawn = drawn_volumes(ball.with_array(ball.array + 500.0), ball.with_array(spread), 6)
    difference = np.stack([v.array for v in drawn]) - (ball.array + 500.0)
    assert np.abs(difference[..., :12]).max() < 0.01
    assert difference[..., 12:].std() == pytest.approx(50.0, rel=0.1)
    again = drawn_volumes(ball.with_array(ball.array + 500.0), ball.with_array(spread), 6)
    np.testing.assert_array_equal(drawn[3].array, again[3].array)


def test_measures_get_the_wider_interval_within_what_is_possible():
    measures = PtxMeasures((
        Measure("pneumothorax", "left", "air_volume", 20.0, "ml", 15.0, 26.0, "bound"),
        Measure("pneumothorax", "left", "occupancy", 96.0, "%", 95.0, 97.0),
        Measure("lung", "left", "mean_lung_density", -800.0, "HU"),
        Measure("lung", "right", "lung_volume", None, "ml"),
    ))  # fmt: skip
    sides = {("left", "air_volume"): (-9.0, 25.0), ("left", "occupancy"): (80.0, 120.0)}
    bounds = {**sides, ("left", "mean_lung_density"): (0.0, 1.0), ("right", "lung_volume"): (1.0, 2.0)}
    found = with_bounds(measures, bounds, "drawn").measures
    assert (found[0].low, found[0].high, found[0].note) == (0.0, 26.0, "bound; drawn")
    assert (found[1].low, found[1].high, found[1].note) == (80.0, 100.0, "drawn")
    assert found[2:] == measures.measures[2:]


def test_the_whole_way_tells_how_it_was_done(ball: Volume):
    def again(volume: Volume) -> PtxMeasures:
        return PtxMeasures((Measure("lung", "left", "lung_volume", air_ml(volume)["air"], "ml"),))

    deviation = ball.with_array(np.full(SHAPE, 80.0, np.float32), **{CORRELATION: "25.0"})
    told = []
    found = with_error_intervals(again(ball), ball, deviation, again, lambda *e: told.append(e), draws=4)
    (measure,) = found.measures
    assert measure.low < measure.value < measure.high
    assert "95 % interval from 4 volumes" in measure.note and "over 25 mm" in measure.note
    assert [stage for stage, _, _ in told] == ["intervals"] * 4


def test_deviations_that_are_none_are_refused(ball: Volume):
    assert correlation_of(ball) == correlation_of(ball.with_array(ball.array, **{CORRELATION: "x"}))
    assert correlation_of(ball) == USUAL_CORRELATION_MM
    with pytest.raises(InputError, match="no negative numbers"):
        drawn_volumes(ball, ball, 3)
    with pytest.raises(InputError, match="on the grid"):
        drawn_volumes(ball, Volume(np.ones((3, 3, 3)), (1.0,) * 3), 3)
    with pytest.raises(InputError, match="at least 3 draws"):
        sampled_bounds(ball, ball, air_ml, draws=2)
