"""Metrics as two published codes compute them: against their formulas written out, and golden numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from xrecon.evaluation.published import published_metrics
from xrecon.volume import InputError


@pytest.fixture(scope="module")
def volumes() -> tuple[np.ndarray, np.ndarray]:
    """A prediction and its truth in HU, beyond both ends of the window; one axial slice is perfect."""
    rng = np.random.default_rng(5)
    truth = rng.normal(0.0, 900.0, (8, 11, 9))
    prediction = truth + rng.normal(30.0, 200.0, truth.shape)
    prediction[3] = truth[3]
    return prediction, truth


def slice_means(prediction: np.ndarray, truth: np.ndarray, peak: float) -> list[float]:
    """20 log10(peak / RMSE) of every slice, 100 where nothing differs; means along z, y, x. Plain loops."""
    means = []
    for axis in range(3):
        values = []
        for p, t in zip(np.moveaxis(prediction, axis, 0), np.moveaxis(truth, axis, 0), strict=True):
            error = (
                sum((float(a) - float(b)) ** 2 for a, b in zip(p.ravel(), t.ravel(), strict=True)) / p.size
            )
            values.append(20 * math.log10(peak / math.sqrt(error)) if error else 100.0)
        means.append(sum(values) / len(values))
    return means


def uniform_ssim(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Mean over all 7 x 7 windows of one slice on the scale 0..1, sample covariance. Plain loops."""
    values, first, second = [], 0.01**2, 0.03**2
    for row in range(prediction.shape[0] - 6):
        for column in range(prediction.shape[1] - 6):
            p, t = (a[row : row + 7, column : column + 7].ravel() for a in (prediction, truth))
            covariance = np.cov(p, t)
            numerator = (2 * p.mean() * t.mean() + first) * (2 * covariance[0, 1] + second)
            divisor = p.mean() ** 2 + t.mean() ** 2 + first
            values.append(numerator / divisor / (covariance[0, 0] + covariance[1, 1] + second))
    return float(np.mean(values))


@pytest.mark.parametrize(("code", "peak", "scale"), [("x2ct", 4095.0, 1.0), ("xrecon", 1.0, 1 / 2500)])
def test_the_formulas_of_the_published_codes(volumes, code, peak, scale):
    p, t = (np.clip(v + 1024.0, 0.0, 2500.0) * scale for v in volumes)
    found = published_metrics(*volumes, code)
    means = slice_means(p, t, peak)
    assert [found[f"psnr_{k}"] for k in (1, 2, 3)] == pytest.approx(means)
    assert found["psnr_avg"] == pytest.approx(sum(means) / 3)
    assert found["psnr_3d"] == pytest.approx(20 * math.log10(peak / math.sqrt(((p - t) ** 2).mean())))
    for k, axis in enumerate(range(3), start=1):
        slices = zip(*(np.moveaxis(v * (1 / 2500 / scale), axis, 0) for v in (p, t)), strict=True)
        wanted = [uniform_ssim(a, b) for a, b in slices]
        assert found[f"ssim_{k}"] == pytest.approx(np.mean(wanted), abs=1e-9)
    if code == "xrecon":
        assert found["cs"] == pytest.approx((p * t).sum() / math.sqrt((p * p).sum() * (t * t).sum()))
        assert found["mae"] == pytest.approx(np.abs(p - t).mean())
        assert found["mse"] == pytest.approx(((p - t) ** 2).mean())
    else:
        assert "cs" not in found


def test_golden_numbers():
    """250 HU of error everywhere is 20 dB for X-Recon and 24.29 dB for X2CT; 19.85 dB are 254 HU."""
    truth = np.zeros((8, 8, 8))
    xrecon, x2ct = (published_metrics(truth + 250.0, truth, code) for code in ("xrecon", "x2ct"))
    assert xrecon["psnr_3d"] == pytest.approx(20.0) and xrecon["psnr_avg"] == pytest.approx(20.0)
    assert x2ct["psnr_avg"] == pytest.approx(24.28628, abs=1e-5)
    assert published_metrics(truth + 254.3, truth, "xrecon")["psnr_3d"] == pytest.approx(19.85, abs=0.01)


def test_what_lies_beyond_the_window_does_not_count():
    truth = np.full((7, 7, 7), -2000.0)
    for code in ("xrecon", "x2ct"):
        found = published_metrics(np.full((7, 7, 7), -1024.0), truth, code)
        assert found["psnr_3d"] == found["psnr_avg"] == 100.0 and found["ssim_avg"] == 1.0


def test_an_unknown_code_is_refused():
    with pytest.raises(InputError, match=r"out of \('x2ct', 'xrecon'\), got 'liftxr'"):
        published_metrics(np.zeros((7, 7, 7)), np.zeros((7, 7, 7)), "liftxr")
