"""What `xrecon evaluate` and the demonstration report of a volume: inside the body, and slice by slice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny_models
from xrecon.evaluation.comparison import image_metrics
from xrecon.evaluation.metrics import psnr, ssim
from xrecon.scoring import compare_with_control, evaluate_with_body
from xrecon.volume import Volume

SIDE, SPACING_MM = 16, 22.4


@pytest.fixture
def truth() -> Volume:
    """A box of water of 8 x 6 x 10 voxels in air, about LPS zero."""
    hu = np.full((SIDE,) * 3, -1000.0, dtype=np.float32)
    hu[4:12, 5:11, 3:13] = 0.0
    first = -(SIDE - 1) / 2.0 * SPACING_MM
    return Volume(hu, (SPACING_MM,) * 3, (first,) * 3)


def test_air_about_the_body_does_not_flatter_the_figures_of_the_body(truth: Volume):
    body = truth.array > -500.0
    wrong = truth.with_array(np.where(body, 100.0, truth.array).astype(np.float32))
    metrics = evaluate_with_body(wrong, truth)
    assert metrics["mae_hu"] == pytest.approx(100.0 * body.mean())
    assert metrics["mae_hu_body"] == pytest.approx(100.0)
    assert metrics["psnr_body"] == pytest.approx(20 * np.log10(2500 / 100.0))
    assert metrics["psnr"] == pytest.approx(metrics["psnr_body"] - 10 * np.log10(body.mean()))
    # and errors in the air do not count inside
    noisy = truth.with_array(np.where(body, 0.0, -900.0).astype(np.float32))
    metrics = evaluate_with_body(noisy, truth)
    assert metrics["mae_hu_body"] == 0.0 and metrics["mae_hu"] > 80.0


def test_without_a_body_there_are_no_figures_of_it(truth: Volume):
    air = truth.with_array(np.full(truth.shape, -1000.0, dtype=np.float32))
    assert not any(name.endswith("_body") for name in evaluate_with_body(truth, air))


def test_the_control_has_the_same_figures(truth: Volume, tmp_path: Path):
    model = tiny_models.save_memory(tmp_path / "model", truth.with_array(truth.array + 50.0))
    metrics = compare_with_control(truth, truth, model)
    own = {name for name in metrics if not name.endswith("_mean_volume")}
    assert {f"{name}_mean_volume" for name in own} == set(metrics) - own
    assert metrics["mae_hu_body"] == 0.0
    assert metrics["mae_hu_body_mean_volume"] == pytest.approx(50.0, abs=0.5)


def test_means_over_slices_of_a_box(rng: np.random.Generator):
    reference = rng.uniform(-1000, 1000, (9, 11, 13))
    prediction = reference + rng.normal(0, 100, reference.shape)
    whole = image_metrics(prediction, reference, None)
    clipped = [np.clip(a, -1024, 1476) + 1024 for a in (prediction, reference)]
    assert whole["psnr_slices"] == pytest.approx(psnr(*clipped, data_range=2500, axis="mean"))
    assert whole["ssim_slices"] == pytest.approx(ssim(*clipped, data_range=2500, axis="mean"))
    # what lies outside a box does not enter, as with volumes that reach differently far
    inside = np.zeros(reference.shape, dtype=bool)
    inside[1:8, 2:10, 3:12] = True
    elsewhere = np.where(inside, prediction, 0.0)
    box = (slice(1, 8), slice(2, 10), slice(3, 12))
    expected = image_metrics(prediction[box], reference[box], None)
    found = image_metrics(elsewhere, reference, inside)
    for name in ("psnr_slices", "ssim_slices", "psnr", "mae_hu"):
        assert found[name] == pytest.approx(expected[name])
    inside[1, 2, 3] = False  # slices of another shape: no mean over slices
    assert "psnr_slices" not in image_metrics(prediction, reference, inside)
