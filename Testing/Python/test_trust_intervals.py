"""Intervals of volumes from the expected error of voxels: they hold the truth as often as they say."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from xrecon.evaluation.lesion_preservation import KINDS
from xrecon.nets.registry import load_card
from xrecon.pneumothorax.measures import Measure, PtxMeasures
from xrecon.segmentation_report import _cell
from xrecon.trust.intervals import (
    AIR_KEPT,
    CALIBRATED,
    CORRELATION,
    LOSES_AIR,
    NO,
    NOT_MEASURED,
    USUAL_CORRELATION_MM,
    YES,
    border_moved,
    correlated_noise,
    correlation_of,
    drawn_volumes,
    interval_warnings,
    sampled_bounds,
    with_bounds,
    with_error_intervals,
)
from xrecon.trust.stages import air_kept, figures_of, uncertainty
from xrecon.volume import InputError, Quantity, Volume

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
        Measure("hemithorax", "left", "hemithorax_volume", 2400.0, "ml"),
        Measure("pneumothorax", "left", "air_volume", 20.0, "ml", 15.0, 26.0, "bound"),
        Measure("pneumothorax", "left", "occupancy", 96.0, "%", 95.0, 97.0),
        Measure("lung", "left", "mean_lung_density", -800.0, "HU"),
        Measure("lung", "right", "lung_volume", None, "ml"),
    ))  # fmt: skip
    sides = {("left", "air_volume"): (-9.0, 25.0), ("left", "occupancy"): (80.0, 120.0)}
    bounds = {
        **sides, ("left", "mean_lung_density"): (0.0, 1.0), ("right", "lung_volume"): (1.0, 2.0),
        ("left", "hemithorax_volume"): (2300.0, 2500.0),
    }  # fmt: skip
    hemithorax, *found = with_bounds(measures, bounds, "drawn").measures
    assert (hemithorax.low, hemithorax.high, hemithorax.no_interval) == (2300.0, 2500.0, "")
    assert (found[0].low, found[0].high, found[0].note) == (0.0, 26.0, "bound; drawn")
    assert (found[1].low, found[1].high, found[1].note) == (80.0, 100.0, "drawn")
    assert tuple(found[2:]) == measures.measures[3:]


def test_an_interval_of_nearly_everything_is_none_and_says_why():
    """A healthy side once had "air 0 ml, 95 % interval 0 to 2950 ml"."""
    measures = PtxMeasures((
        Measure("hemithorax", "right", "hemithorax_volume", 2577.0, "ml", 2302.0, 2875.0),
        Measure("pneumothorax", "right", "air_volume", 0.0, "ml", 0.0, 0.0),
        Measure("pneumothorax", "right", "occupancy", 0.0, "%", 0.0, 0.0),
        Measure("lung", "right", "lung_volume", 2577.0, "ml", 2302.0, 2875.0),
        Measure("radiograph index", "right", "light_estimate", 3.0, "%"),
    ))  # fmt: skip
    names = ("hemithorax_volume", "air_volume", "occupancy", "lung_volume")
    ranges = ((2290.0, 2880.0), (-300.0, 2950.0), (0.0, 48.0), (1200.0, 2600.0))
    bounds = {("right", name): found for name, found in zip(names, ranges, strict=True)}
    found = PtxMeasures(with_bounds(measures, bounds, "drawn").measures)
    air = found.get("air_volume", "right")
    assert (air.value, air.low, air.high, air.note) == (0.0, None, None, "")
    assert air.no_interval.endswith("anything from 0 to 2880 ml is possible, of 0 to 2880")
    assert air.to_dict()["no_interval"] == air.no_interval and air.to_dict()["low"] is None
    assert air.row()["interval"] == "no usable interval" and _cell(air) == "0 (no usable interval)"
    assert found.get("lung_volume", "right").no_interval  # 1200 to 2875 of 2880
    occupancy = found.get("occupancy", "right")
    assert (occupancy.low, occupancy.high, occupancy.row()["interval"]) == (0.0, 48.0, "")
    assert "no_interval" not in occupancy.to_dict()
    # where a draw has no such number, the method's own interval is none of the reconstruction's error
    assert "not every volume drawn" in found.get("light_estimate", "right").no_interval


@pytest.mark.parametrize("kept", ["no", "not measured", "from 20 mm", None])
def test_air_that_the_model_may_have_lost_gets_no_interval(ball: Volume, kept: str | None):
    """Of 400 ml of air that chest-128 did not show, the interval was once 0 to 0 ml."""
    measures = PtxMeasures((
        Measure("hemithorax", "left", "hemithorax_volume", 1000.0, "ml"),
        Measure("pneumothorax", "left", "air_volume", 0.0, "ml"),
        Measure("lung", "left", "lung_volume", 1000.0, "ml"),
    ))  # fmt: skip
    meta = {CALIBRATED: YES} if kept is None else {CALIBRATED: YES, AIR_KEPT: kept}
    deviation = ball.with_array(np.full(SHAPE, 40.0, np.float32), **meta)
    found = with_error_intervals(measures, ball, deviation, lambda _: measures, lambda *_: None, draws=3)
    whole, air, lung = found.measures
    assert (whole.low, whole.high, whole.no_interval) == (1000.0, 1000.0, "")
    if kept == "from 20 mm":
        assert (air.low, air.high, air.no_interval) == (0.0, 0.0, "") and interval_warnings(found) == []
        return
    assert interval_warnings(found) == [f"no usable interval of air volume, lung volume: {air.no_interval}"]
    assert "preserve" in air.no_interval and air.no_interval == lung.no_interval
    assert air.low is air.high is lung.low is lung.high is None and air.row()["interval"]


@pytest.mark.parametrize("told", [{}, {CALIBRATED: NO}])
def test_a_map_that_was_not_calibrated_gives_no_interval_at_all(ball: Volume, told: dict[str, str]):
    """A model for any views has constants of two; its map of one view once gave "95 % intervals"."""
    measures = PtxMeasures((
        Measure("hemithorax", "left", "hemithorax_volume", 1000.0, "ml", 990.0, 1010.0),
        Measure("pneumothorax", "left", "air_volume", 0.0, "ml"),
        Measure("lung", "left", "mean_lung_density", -800.0, "HU"),
        Measure("lung", "right", "lung_volume", None, "ml"),
    ))  # fmt: skip
    deviation = ball.with_array(np.full(SHAPE, 40.0, np.float32), **{AIR_KEPT: "from 20 mm", **told})
    given = measures, ball
    found = with_error_intervals(*given, deviation, lambda _: measures, lambda *_: None, draws=3)
    for measure in found.measures[:2]:
        assert measure.low is measure.high is None and "not calibrated" in measure.no_interval
    assert tuple(found.measures[2:]) == measures.measures[2:]
    assert len(interval_warnings(found)) == 1
    with pytest.raises(InputError, match="no negative numbers"):  # as a calibrated one
        with_error_intervals(*given, ball, lambda _: measures, lambda *_: None)


def test_what_a_card_tells_of_air():
    def figures(limit: float | None) -> dict:
        return {"classes": [{"name": KINDS[2].name, "smallest_preserved_mm": limit}]}

    assert air_kept({"lesions": figures(20.0)}) == "from 20 mm"
    assert air_kept({"lesions": figures(20.0), "test": {"lesions": figures(None)}}) == LOSES_AIR
    assert air_kept({}) == air_kept({"lesions": {"classes": []}}) == NOT_MEASURED
    for name in ("chest-128", "lifting-64"):
        assert air_kept(figures_of(load_card(name))) == LOSES_AIR


@pytest.mark.parametrize("views", [1, 2, 3])
def test_a_map_tells_whether_it_was_calibrated_for_so_many_views(ball: Volume, views: int):
    card = load_card("any-view-64")
    given = (np.zeros((2, *SHAPE), np.float32), ball, card, "any-view-64", [None] * views, np.zeros(3), "cpu")
    found, facts = uncertainty(*given, None, lambda *_: None)
    assert facts["calibrated"] == (views == 2) == (CORRELATION in found.meta)
    assert found.meta[CALIBRATED] == (YES if views == 2 else NO) and found.meta[AIR_KEPT] == LOSES_AIR


def test_lungs_stay_in_a_draw_but_for_their_border(ball: Volume):
    """A search of lungs in noise called all of a healthy lung air."""
    lungs = ball.with_array((ball.array < -400.0).astype(np.uint8) * 2, Quantity.LABEL)
    moved = border_moved(lungs, ball)
    np.testing.assert_array_equal(moved(ball).array > 0, lungs.array > 0)
    z, y, x = (np.arange(n) for n in SHAPE)
    noise = 400.0 * np.sign(np.sin(1.3 * z[:, None, None] + 1.7 * y[:, None] + 2.1 * x))
    found = moved(ball.with_array(ball.array + noise)).array
    depth = ndimage.distance_transform_edt(lungs.array > 0, SPACING)
    away = ndimage.distance_transform_edt(lungs.array == 0, SPACING)
    assert (found[depth > 10.0] == 2).all() and (found[away > 10.0] == 0).all()
    assert (found != lungs.array).any() and set(np.unique(found)) == {0, 2}
    larger = moved(ball.with_array(ball.array - 300.0)).array
    assert np.count_nonzero(larger) > np.count_nonzero(lungs.array)
    nothing = lungs.with_array(np.zeros(SHAPE, np.uint8))
    assert not border_moved(nothing, ball)(ball).array.any()


def test_the_whole_way_tells_how_it_was_done(ball: Volume):
    def again(volume: Volume) -> PtxMeasures:
        return PtxMeasures((Measure("lung", "left", "lung_volume", air_ml(volume)["air"], "ml"),))

    told_by_map = {CORRELATION: "25.0", AIR_KEPT: "from 20 mm", CALIBRATED: YES}
    deviation = ball.with_array(np.full(SHAPE, 80.0, np.float32), **told_by_map)
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
