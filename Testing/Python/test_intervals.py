"""Means over patients, their intervals, and the chart that shows them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from xrecon.evaluation.charts import COLORS
from xrecon.evaluation.dot_chart import Dots, dot_chart
from xrecon.evaluation.intervals import (
    Interval,
    by_patient,
    figure_interval,
    mean_interval,
    possible_range,
)
from xrecon.volume import InputError


def test_the_t_interval_of_three_values():
    found = mean_interval([1.0, 2.0, 3.0])
    assert found.mean == 2.0 and found.count == 3
    half = 4.302652729911275 / math.sqrt(3)  # Student's t, two degrees of freedom, 97.5 %
    assert (found.low, found.high) == pytest.approx((2.0 - half, 2.0 + half), rel=1e-9)
    assert str(found) == "2.00 (-0.484 to 4.48)"


def test_of_two_patients_there_is_a_range_and_no_interval():
    """Student's t is 12.7 then: "right lung Dice 0.652 to 1.112" says nothing."""
    found = mean_interval([0.86, 0.9])
    assert (found.low, found.high, found.is_range) == (0.86, 0.9, True)
    assert str(found) == "0.880 (range 0.860 to 0.900)"
    assert not mean_interval([0.86, 0.9, 0.91]).is_range


@pytest.mark.parametrize(
    ("name", "values", "limits"),
    [
        ("reference_right_lung_dice", [0.99, 0.9, 0.98], (None, 1.0)),
        ("right_30_air_kept", [1.0, 0.2, 0.0], (0.0, 1.0)),
        ("reference_left_lung_hd95_mm", [12.0, 60.0, 8.0], (0.0, None)),
        ("mae_hu_body", [10.0, 100.0, 20.0], (0.0, None)),
        ("ssim_at_5.6mm", [0.99, 0.9, 0.98], (None, 1.0)),
        ("occupancy_percent", [99.0, 50.0, 98.0], (None, 100.0)),
        ("psnr", [-1.0, 5.0, 20.0], (None, None)),
    ],
)
def test_an_interval_ends_where_the_figure_does(
    name: str, values: list[float], limits: tuple[float | None, float | None]
):
    rows = [{"patient": str(n), name: value} for n, value in enumerate(values)]
    free, found = mean_interval(values), figure_interval(rows, name)
    low, high = limits
    assert found.low == (free.low if low is None else low) and found.mean == free.mean
    assert found.high == (free.high if high is None else high)
    low, high = possible_range(name)
    assert low <= found.low and found.high <= high


def test_what_is_not_applicable_is_left_out():
    assert mean_interval([]) is None and mean_interval([math.nan, math.inf]) is None
    assert mean_interval([math.nan, 4.0]) == Interval(4.0, None, None, 1)


def test_the_interval_holds_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(3)
    found = [mean_interval(rng.normal(5.0, 2.0, 4)) for _ in range(2000)]
    held = np.mean([i.low <= 5.0 <= i.high for i in found])
    assert 0.935 < held < 0.965


def test_several_cases_of_a_patient_are_one_patient():
    rows = [{"patient": s, "psnr": v} for s, v in (("a", 1.0), ("a", 3.0), ("b", 10.0), ("c", math.nan))]
    assert by_patient(rows, "psnr") == [2.0, 10.0]
    assert by_patient(rows, "ssim") == []


def test_a_dot_stands_further_right_when_its_mean_is_larger():
    rows = [
        Dots("small", [(0, Interval(1.0, 0.9, 1.1, 3))]),
        Dots("large", [(1, Interval(2.0, None, None, 1))]),
    ]
    pixels = np.asarray(dot_chart(rows, ["one", "two"], "PSNR", "dB")).astype(int)
    body = pixels[40:92]  # the two rows, without title and legend
    small, large = (np.argwhere((body == COLORS[k]).all(axis=2)) for k in (0, 1))
    assert small[:, 1].mean() < large[:, 1].mean() and small[:, 0].max() < large[:, 0].min()
    assert np.ptp(small[:, 1]) > np.ptp(large[:, 1])  # the interval's bar


def test_nothing_to_draw_is_refused():
    with pytest.raises(InputError, match="got none"):
        dot_chart([Dots("a", [(0, None)])], ["one"], "PSNR", "dB")
