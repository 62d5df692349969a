"""Scores between own and another's radiographs, and uncertainties that mean what they say."""

from __future__ import annotations

import numpy as np
import pytest
from xrecon.evaluation.reprojection_calibration import ReprojectionCalibration, fit_reprojection, summarize
from xrecon.evaluation.uncertainty_calibration import (
    UncertaintyCalibration,
    assess,
    correlation_length,
    error_correlation,
    error_sample,
    fit_uncertainty,
)
from xrecon.trust.intervals import correlated_noise
from xrecon.volume import InputError, Volume

SHAPE, SPACING = (36, 30, 33), (4.0, 5.0, 4.5)


# -- reprojection ------------------------------------------------------------------------------------
def scores(*correlations: float) -> dict[str, dict[str, float]]:
    views = ("PA", "LEFT LATERAL")
    return {v: {"structure_correlation": c} for v, c in zip(views, correlations, strict=True)}


def test_own_is_0_and_another_is_1():
    calibration = fit_reprojection([0.05, 0.04, 0.09], [0.5, 0.6, 0.4, 0.07])
    assert (calibration.own, calibration.other) == (0.05, 0.45)
    assert calibration.score(0.05) == 0.0 and calibration.score(0.45) == 1.0 and calibration.score(0.65) > 1.0
    assert calibration.separation == pytest.approx(11 / 12)  # of 12 pairs one, 0.09 and 0.07, is wrong
    again = ReprojectionCalibration.from_dict(calibration.to_dict())
    assert again == calibration and ReprojectionCalibration.from_dict(None) is None


def test_a_score_is_told_in_words_and_not_without_constants():
    calibration = fit_reprojection([0.05], [0.45])
    good, doubtful, bad = (summarize(scores(1 - d, 1 - d), calibration) for d in (0.06, 0.2, 0.4))
    assert good["score"] == pytest.approx(0.025) and "about as well" in good["meaning"]
    assert "less well" in doubtful["meaning"] and "hardly better" in bad["meaning"]
    assert good["independent"] and "those of the one person new to it" in good["meaning"]
    assert "measured on one person; 1 is another patient's, measured in one comparison" in good["meaning"]
    several = fit_reprojection([0.05, 0.06, 0.04], [0.45, 0.5])
    test = {"own": {"a": -0.06, "b": -0.05}, "other": [0.79, 0.44]}
    told = summarize(scores(0.94, 0.94), several, test)["meaning"]
    assert "those of the 3 people new to it" in told and "measured in 2 comparisons" in told
    assert "On 2 other people own radiographs scored -0.06 to -0.05, another patient's 0.44 to 0.79" in told
    assert good["score_by_view"]["PA"] == pytest.approx(0.025)
    unknown = summarize(scores(0.9, 0.8), None)
    assert unknown["score"] is None and not unknown["calibrated"]
    assert unknown["distance"] == pytest.approx(0.15)
    for told in (good, unknown):
        assert "cannot see" in told["cannot_see"]


def test_a_model_that_tells_nobody_apart_cannot_be_calibrated():
    with pytest.raises(InputError, match="nearer to their own"):
        fit_reprojection([0.5, 0.5], [0.5])
    with pytest.raises(InputError, match="got 1, 0"):
        fit_reprojection([0.5], [])
    with pytest.raises(InputError, match="cannot be used"):
        ReprojectionCalibration.from_dict({"own": 0.1})
    reversed_scale = {**fit_reprojection([0.1], [0.2]).to_dict(), "other": 0.05}
    with pytest.raises(InputError, match="not in order"):
        ReprojectionCalibration.from_dict(reversed_scale)


# -- uncertainty -------------------------------------------------------------------------------------
def sample(seed: int, heavy: bool = False) -> object:
    """Errors of deviation sqrt(30^2 + (2 s)^2) under raw deviations s from 5 to 60 HU."""
    rng = np.random.default_rng(seed)
    raw = rng.uniform(5.0, 60.0, SHAPE)
    noise = rng.laplace(0.0, 0.5**0.5, SHAPE) if heavy else rng.standard_normal(SHAPE)
    truth = rng.uniform(-900.0, 100.0, SHAPE)
    estimate = Volume(truth + noise * np.sqrt(30.0**2 + (2.0 * raw) ** 2), SPACING)
    return error_sample(estimate, truth, raw, np.ones(SHAPE, dtype=bool))


def test_factor_and_floor_are_found_and_carry_over():
    calibration = fit_uncertainty([sample(1), sample(2)], "augmentation", 8)
    assert calibration.factor == pytest.approx(2.0, rel=0.05)
    assert calibration.floor_hu == pytest.approx(30.0, rel=0.15)
    told = assess([sample(3)], calibration)
    assert told["expected_calibration_error"] < 0.05
    for level in (50, 80, 95):
        assert told["coverage"][str(level)] == pytest.approx(level / 100, abs=0.015)
        assert told["gaussian_coverage"][str(level)] == pytest.approx(level / 100, abs=0.015)
    expected = [row["expected_hu"] for row in told["curve"]]
    assert expected == sorted(expected) and told["rank_correlation"] > 0.3
    assert UncertaintyCalibration.from_dict({**told, **calibration.to_dict()}) == calibration


def test_an_uncertainty_that_is_too_small_is_shown_to_be():
    calibration = UncertaintyCalibration("predicted", 0, 1.0, 0.0, {"95": 1.96}, 10.0)
    told = assess([sample(4)], calibration)
    assert told["coverage"]["95"] < 0.8 and told["expected_calibration_error"] > 0.4
    assert told["observed_rmse_hu"] > 1.9 * told["expected_rmse_hu"]


def test_heavy_tails_have_their_own_multipliers():
    calibration = fit_uncertainty([sample(5, heavy=True)], "predicted")
    told = assess([sample(6, heavy=True)], calibration)
    assert told["coverage"]["50"] == pytest.approx(0.5, abs=0.02)
    assert told["gaussian_coverage"]["50"] > 0.58  # a Gaussian's interval is too wide in the middle


def test_the_correlation_length_of_a_field_is_found_in_millimetres(rng: np.random.Generator):
    field = correlated_noise((60, 50, 55), SPACING, 18.0, rng)
    assert field.std() == pytest.approx(1.0, abs=0.06)
    length = correlation_length(*error_correlation(field, np.ones(field.shape, bool), SPACING))
    assert length == pytest.approx(18.0, rel=0.15)
    white = rng.standard_normal((20, 20, 20))
    assert correlation_length(*error_correlation(white, np.ones(white.shape, bool), (5.0,) * 3)) < 5.0


def test_what_cannot_be_calibrated_on_is_refused():
    with pytest.raises(InputError, match="none"):
        fit_uncertainty([], "predicted")
    volume = Volume(np.zeros(SHAPE), SPACING)
    with pytest.raises(InputError, match="at least 100 voxels"):
        error_sample(volume, volume.array, volume.array, np.zeros(SHAPE, dtype=bool))
    with pytest.raises(InputError, match="cannot be used"):
        UncertaintyCalibration.from_dict({"source": "predicted", "factor": -1})
