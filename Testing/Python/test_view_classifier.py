"""The view classifier: layouts, its invariance by construction, familiarity, and how it is trained."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from training_inputs import tiny, write_cts
from xrecon.evaluation import familiarity
from xrecon.evaluation.familiarity import PROPERTIES, calibrate, judge, picture_statistics
from xrecon.nets.registry import create_model, load_card, load_model
from xrecon.nets.view_classifier import HYPOTHESES, LAYOUTS, UPRIGHT, hypothesis
from xrecon.preprocess.standard_picture import standard_picture
from xrecon.training import view_task
from xrecon.training.run import train
from xrecon.training.view_bank import coloured_noise, foreign_pattern
from xrecon.training.view_looks import seen

SIDE = 32
OPTIONS = {"widths": [4, 6], "side": SIDE}


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(3)
    return create_model("view-classifier", **OPTIONS).eval()


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    return torch.rand(3, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


# -- layouts ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_every_layout_is_undone(layout, pictures: torch.Tensor) -> None:
    there = layout.of(pictures)
    torch.testing.assert_close(layout.undone(there), pictures, rtol=0, atol=1e-6)
    assert layout == UPRIGHT or not torch.allclose(there, pictures)


def test_the_layouts_are_all_different(pictures: torch.Tensor) -> None:
    seen_as = [layout.of(pictures) for layout in LAYOUTS]
    assert len(LAYOUTS) == 16 and len(set(HYPOTHESES)) == 33
    for i, first in enumerate(seen_as):
        assert not any(torch.allclose(first, second) for second in seen_as[i + 1 :])


def test_a_quarter_turns_counter_clockwise() -> None:
    corner = torch.zeros(1, 1, 4, 4)
    corner[..., 0, 0] = 1.0  # upper left
    quarter = next(each for each in LAYOUTS if each.quarters == 1 and not each.mirrored and not each.inverted)
    assert quarter.of(corner)[..., 3, 0].item() == 1.0  # lower left


def test_another_layout_gets_the_same_answer_moved_along(network, pictures: torch.Tensor) -> None:
    """By construction, whatever the weights: what is said of upright pictures holds for all 16 layouts."""
    with torch.no_grad():
        upright = network(pictures).softmax(1)
        for layout in LAYOUTS:
            moved = network(layout.of(pictures)).softmax(1)
            for kind in ("frontal", "lateral", "neither"):
                torch.testing.assert_close(
                    moved[:, hypothesis(kind, layout)], upright[:, hypothesis(kind)], rtol=1e-4, atol=1e-5
                )


# -- pictures --------------------------------------------------------------------------------------
def test_a_standard_picture_has_no_shutters_and_runs_from_0_to_1(rng: np.random.Generator) -> None:
    field = np.linspace(5.0, 9.0, 90)[:, None] + rng.normal(0, 0.1, (90, 70))
    framed = np.pad(field, ((7, 3), (0, 11)), constant_values=12.0)
    picture = standard_picture(framed, SIDE)
    assert picture.shape == (SIDE, SIDE) and picture.dtype == np.float32
    assert picture.min() == 0.0 and picture.max() == 1.0
    assert np.array_equal(picture, standard_picture(field, SIDE))
    assert all(a < b for a, b in pairwise(picture.reshape(4, -1).mean(axis=1)))


@pytest.mark.parametrize("part", [False, True])
def test_looks_are_pictures_whatever_is_drawn(part: bool) -> None:
    y, x = np.mgrid[:40, :40] / 40.0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        picture = seen(np.sin(5 * x) + y, rng, part=part, side=SIDE)
        again = seen(np.sin(5 * x) + y, np.random.default_rng(seed), part=part, side=SIDE)
        assert picture.shape == (SIDE, SIDE) and np.isfinite(picture).all()
        assert picture.min() >= 0.0 and picture.max() <= 1.0 and np.array_equal(picture, again)


def test_foreign_patterns_are_finite_and_differ() -> None:
    patterns = [foreign_pattern(SIDE, np.random.default_rng(seed)) for seed in range(24)]
    assert all(p.shape == (SIDE, SIDE) and np.isfinite(p).all() and p.std() > 0 for p in patterns)
    assert not any(np.array_equal(a, b) for a, b in pairwise(patterns))


def test_the_colour_of_noise_is_its_exponent(rng: np.random.Generator) -> None:
    def slope(exponent: float) -> float:
        power = np.abs(np.fft.rfft2(coloured_noise(128, exponent, rng))) ** 2
        frequency = np.hypot(np.fft.fftfreq(128)[:, None], np.fft.rfftfreq(128)[None])
        inside = (frequency > 0.02) & (frequency < 0.4)
        return float(np.polyfit(np.log(frequency[inside]), np.log(power[inside]), 1)[0])

    assert abs(slope(0.0)) < 0.2 and abs(slope(2.0) + 2.0) < 0.2


# -- familiarity -----------------------------------------------------------------------------------
def test_statistics_tell_what_they_are_named_after(rng: np.random.Generator) -> None:
    y, x = np.mgrid[:64, :64] / 64.0
    smooth = 0.5 + 0.25 * np.sin(6 * x) * np.cos(4 * y)
    names = list(PROPERTIES)[:-1]

    def change(picture: np.ndarray) -> dict[str, float]:
        return dict(zip(names, picture_statistics(picture) - picture_statistics(smooth), strict=True))

    assert change(smooth + 0.2)["brightness"] == pytest.approx(0.2)
    assert change(0.5 + 2 * (smooth - 0.5))["contrast"] > 0.1
    assert change(np.round(smooth * 2) / 2)["grey levels"] < -1.0
    noisy = change(smooth + rng.normal(0, 0.05, smooth.shape))
    assert noisy["noise"] > 1.0 and noisy["fine structure"] > 0.5 and noisy["edges"] > 0.3
    assert change(np.where(smooth > 0.5, 1.0, 0.0))["saturation"] > 3.0
    assert change(smooth + smooth[:, ::-1])["symmetry"] > 0.1


def test_a_far_picture_is_far_and_says_why(network) -> None:
    rng = np.random.default_rng(0)
    statistics = rng.normal(0.0, 1.0, (600, len(PROPERTIES) - 1))
    embeddings = rng.normal(0.0, 1.0, (600, 6)) @ np.diag([1, 2, 3, 4, 5, 6.0])
    calibrate(network, 0, statistics, embeddings)
    usual = [judge(network, 0, s, e) for s, e in zip(statistics[300:], embeddings[300:], strict=True)]
    # measured on the very pictures that the limit is the quantile of
    assert sum(not each.is_usual for each in usual) <= 3 and not any(each.far for each in usual)
    noisy = statistics[0].copy()
    noisy[4] = 30.0
    found = judge(network, 0, noisy, embeddings[0])
    assert found.far and found.reasons == (PROPERTIES["noise"][1],) and found.distance > 1.5
    foreign = judge(network, 0, statistics[0], np.full(6, 500.0))
    assert foreign.far and foreign.reasons[0] == PROPERTIES["anatomy"][1]


def test_shrinkage_makes_few_samples_invertible(rng: np.random.Generator) -> None:
    values = rng.normal(size=(5, 9))
    assert np.linalg.matrix_rank(np.cov(values, rowvar=False)) < 9
    assert np.linalg.eigvalsh(familiarity.shrunk_precision(values)).min() > 0


# -- training --------------------------------------------------------------------------------------
def test_a_run_exports_a_classifier_that_knows_usual_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two steps through the common engine: card, weights, filled-in familiarity, the same bits again."""
    monkeypatch.setattr(view_task, "CALIBRATION_PICTURES", 24)
    monkeypatch.setattr(view_task, "VALIDATION_PICTURES", 9)
    monkeypatch.setattr(view_task, "DEFORMATIONS", 1)
    monkeypatch.setattr(view_task, "PIXELS", 40)
    data = write_cts(tmp_path)
    config = tiny(
        "view-classifier",
        options=json.dumps(OPTIONS),
        steps="2",
        batch="4",
        complete_bodies="false",
        pneumothorax_variants="0",
    )
    metrics = train(data, tmp_path / "run", config)
    network, card = load_model(tmp_path / "run" / "model")
    assert card.input.kind == "picture" and card.output.labels == ["frontal", "lateral", "neither"]
    assert 0.0 <= metrics["accuracy"] <= 1.0 and card.quality["validation"] == metrics
    assert (network.distance_limits > 0).all() and (network.statistic_scale > 0).all()
    trained = {each.subject for each in card.training_data}
    assert trained and trained.isdisjoint(card.quality["validation_subjects"])
    train(data, tmp_path / "again", config, prepared=tmp_path / "run" / "prepared")
    assert load_card(tmp_path / "again" / "model").sha256 == card.sha256
