"""Training for any views and on points: what samples show, what losses see, what a run leaves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from training_inputs import TINY, OnePair, log_rows, prepared, write_cts
from trunk import trunk
from xrecon.io.image import write_volume
from xrecon.nets.lifting import voxel_centers
from xrecon.nets.registry import load_card, load_model
from xrecon.physics.geometry import ViewGeometry
from xrecon.training.config import make_config
from xrecon.training.datasets import ProjectedPairs
from xrecon.training.engine import Trainer
from xrecon.training.optimization import learning_rate_factor
from xrecon.training.points import choose
from xrecon.training.reconstruction import ReconstructionTask
from xrecon.training.run import train
from xrecon.training.segmentation_loss import SegmentationLoss
from xrecon.training.uncertainty import uncertainty_loss
from xrecon.training.views import APART_DEG, make_view, random_views
from xrecon.volume import InputError

ANY_VIEW = '{"view_widths": [4, 8, 8], "grid_widths": [4, 8, 8, 8], "embedding": 8}'
INR = '{"widths": [4, 8], "kernel": 3, "features": 8, "width": 32, "frequencies": 16, "sigma": 1.0}'
SMALL = {**TINY, "pneumothorax_variants": "0"}


def config(recipe: str, **changes: str):
    options = ANY_VIEW if recipe == "any-view" else INR
    return make_config(recipe, None, {**SMALL, "options": options, **changes})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_cts(tmp_path_factory.mktemp("cts"))


# -- views ---------------------------------------------------------------------------------------
def test_number_and_kind_of_views_are_drawn_anew_for_each_sample():
    wanted = config("any-view", **{"geometry.any_angle_probability": "0"})
    named = {n: make_view(wanted, n, 1800.0, 300.0).normal for n in wanted.geometry.views}
    counts, firsts = [], set()
    for item in range(60):
        told, real = random_views(wanted, np.random.default_rng([1, item]))
        assert len(told) == len(real) and 1 <= len(told) <= 4
        counts.append(len(told))
        kinds = [max(named, key=lambda n: abs(named[n] @ view.normal)) for view in told]
        assert len(set(kinds)) == len(kinds)
        assert all(abs(named[k] @ v.normal) > 0.999 for k, v in zip(kinds, told, strict=True))
        firsts.add(kinds[0])
    assert set(counts) == {1, 2, 3, 4} and firsts == set(named)


def test_views_come_from_any_direction_apart_from_each_other_in_one_layout():
    changes = {"geometry.any_angle_probability": "1", "geometry.views_per_sample": "[2, 3]"}
    wanted = config("any-view", **changes)
    normals = []
    for item in range(40):
        told, _ = random_views(wanted, np.random.default_rng([2, item]))
        for i, view in enumerate(told):
            assert view.row_direction[2] < 0  # rows grow downwards
            column = np.array(view.column_direction)
            assert column[np.argmax(np.abs(column[:2]))] > 0
            for other in told[:i]:
                assert abs(view.normal @ other.normal) < np.cos(np.radians(APART_DEG))
        normals += [v.normal for v in told]
    spread = np.abs(np.array(normals))
    assert (spread[:, 0] > 0.9).any() and (spread[:, 1] > 0.9).any() and (spread[:, 2] > 0.3).any()


def test_named_views_stand_where_the_presets_stand():
    wanted = config("any-view")
    view = make_view(wanted, "RIGHT LATERAL", 1800.0, 300.0)
    preset = ViewGeometry.lateral("right", shape=(32, 32), pixel_spacing=(13.0, 13.0))
    np.testing.assert_allclose(view.source, preset.source, atol=1e-9)
    lao = make_view(wanted, "LAO 45", 1800.0, 300.0)
    np.testing.assert_allclose(lao.normal, [np.sqrt(0.5), -np.sqrt(0.5), 0.0], atol=1e-9)


def test_samples_with_unlike_numbers_of_views_make_one_batch(folder, tmp_path):
    wanted = config("any-view")
    pairs = ProjectedPairs(prepared(folder, wanted, tmp_path), wanted)
    items = list(range(8))
    batch = pairs.sample(items)
    present = batch.matrices.abs().sum(dim=(2, 3)) > 0
    assert len({int(n) for n in present.sum(dim=1)}) > 1
    assert not batch.pictures[~present].any() and batch.pictures[present].any()
    for item in items[:3]:  # a sample is the same in whatever batch
        alone, count = pairs.sample([item]), int(present[item].sum())
        assert torch.equal(alone.matrices[0], batch.matrices[item, :count])
        assert torch.equal(alone.pictures[0], batch.pictures[item, :count])


# -- settings ------------------------------------------------------------------------------------
def test_settings_that_cannot_be_are_refused_by_name(folder, tmp_path):
    for changes, message in [
        ({"geometry.views": '["PA", "SIDEWAYS"]'}, "SIDEWAYS"),
        ({"geometry.views": '["PA", "LAO 200"]'}, "up to 180"),
        ({"geometry.views_per_sample": "[3, 5]"}, "views_per_sample"),
        ({"geometry.views_per_sample": "[3, 2]"}, "views_per_sample"),
        ({"loss.adversarial": "1"}, "two views"),
        ({"points_per_step": "64", "loss.projection": "0.1"}, "points_per_step.*projection"),
    ]:
        with pytest.raises(InputError, match=message):
            config("any-view", **changes)
    lifting = make_config("lifting", None, {**SMALL, "geometry.views_per_sample": "[1, 2]"})
    with pytest.raises(InputError, match="views_per_sample: the architecture 'lifting'"):
        train(folder, tmp_path, lifting)
    with pytest.raises(InputError, match="points_per_step: the architecture 'any-view'"):
        train(folder, tmp_path, config("any-view", points_per_step="64"))


def test_the_step_schedule_falls_to_a_tenth():
    settings = config("pixel-inr", **{"optimizer.schedule": "step"}).optimizer
    assert [learning_rate_factor(settings, s, 100) for s in (0, 49, 50, 99)] == [1.0, 1.0, 0.1, 0.1]


# -- losses --------------------------------------------------------------------------------------
def test_uncertainty_is_least_at_the_squared_error_and_leaves_the_value_alone():
    error = torch.tensor([0.02, 0.1, 0.3]).reshape(1, 1, 3)
    prediction = torch.cat([error, torch.zeros(1, 1, 3)], dim=1).requires_grad_()
    target = torch.zeros(1, 1, 3)
    uncertainty_loss(prediction, target).backward()
    assert not prediction.grad[:, 0].any() and prediction.grad[:, 1].all()
    best = torch.cat([error, 2 * error.log()], dim=1).requires_grad_()
    loss = uncertainty_loss(best, target)
    loss.backward()
    assert best.grad.abs().max() < 1e-6
    for d in (-1.0, 1.0):
        assert loss < uncertainty_loss(best + torch.tensor([0.0, d]).reshape(1, 2, 1), target)
    with pytest.raises(InputError, match="log variance"):
        uncertainty_loss(error, target)


def test_points_are_voxels_of_the_target_and_slices_are_slices():
    wanted = config("pixel-inr", points_per_step="50", **{"loss.segmentation": "0.1"})
    chosen = choose(wanted, 3, torch.device("cpu"))
    z, y, x = voxel_centers(16, 320.0, torch.device("cpu")).movedim(-1, 0)
    # answers that are the points' own coordinates, as a volume would hold them
    volume = torch.stack([z, y, x])[None]
    answers = chosen.points().T[None]
    some, planes = chosen.part(answers)
    true_some, true_planes = chosen.of_volume(volume)
    assert some.shape == (1, 3, 50) and planes.shape == (8, 3, 16, 16)
    torch.testing.assert_close(some, true_some)
    torch.testing.assert_close(planes, true_planes)
    assert torch.equal(choose(wanted, 3, torch.device("cpu")).voxels, chosen.voxels)
    assert not torch.equal(choose(wanted, 4, torch.device("cpu")).voxels, chosen.voxels)


def test_the_segmenter_is_frozen_and_judges_where_the_lungs_are(folder):
    loss = SegmentationLoss("lungs-unet", 5.6, "cpu")
    chest = torch.full((2, 1, 48, 48), 0.41)
    rows, columns = torch.meshgrid(torch.arange(48), torch.arange(48), indexing="ij")
    outline = ((rows - 24) / 17) ** 2 + ((columns - 24) / 22) ** 2
    lungs = (((rows - 23) / 11) ** 2 + ((abs(columns - 24) - 10) / 7) ** 2) < 1
    chest[:, 0, outline > 1] = 0.01
    chest[:, 0, lungs] = 0.08
    empty = torch.where(chest < 0.1, torch.full_like(chest, 0.41), chest).requires_grad_()
    same, without = loss(chest, chest), loss(empty, chest)
    assert same < 0.1 and without > same + 0.3
    without.backward()
    assert empty.grad.any() and all(p.grad is None for p in loss.parameters())
    with pytest.raises(InputError, match="segments axial slices"):
        SegmentationLoss("lifting-64", 5.6, "cpu")


# -- runs ----------------------------------------------------------------------------------------
def test_a_run_of_any_view_leaves_a_card_for_one_to_four_views(folder, tmp_path):
    quality = train(folder, tmp_path, config("any-view", batch="2", steps="3"))
    assert {f"psnr_views_{n}" for n in (1, 2, 3, 4)} <= set(quality)
    assert quality["psnr_views_4"] == pytest.approx(quality["psnr"])
    row = log_rows(tmp_path)[-1]
    assert np.isfinite(float(row["uncertainty"]))
    card = load_card(tmp_path / "model")
    assert card.input.view_count == (1, 4) and card.input.directions == "any"
    assert card.input.views == ["PA", "LEFT LATERAL", "LAO", "RAO"]
    out = load_model(tmp_path / "model")[0](torch.rand(1, 1, 32, 32), torch.rand(1, 1, 3, 4))
    assert out.shape == (1, 2, 16, 16, 16)


def test_a_run_on_points_with_a_segmenter(folder, tmp_path):
    changes = {"loss.segmentation": "0.1", "loss.segmentation_slices": "2", "steps": "2"}
    train(folder, tmp_path, config("pixel-inr", points_per_step="200", **changes))
    row = log_rows(tmp_path)[-1]
    assert 0 <= float(row["segmentation"]) <= 1 and float(row["reconstruction"]) > 0
    assert load_card(tmp_path / "model").input.view_count is None


BY_HEART = [("any-view", "0", "1e-2"), ("pixel-inr", "1024", "3e-4")]


@pytest.mark.parametrize(("recipe", "points", "rate"), BY_HEART)
def test_one_pair_is_learnt_by_heart(recipe, points, rate, tmp_path):
    """Above 25 dB on the one pair that is shown, from nothing; and the error is known about right."""
    write_volume(trunk(seed=0), tmp_path / "ct.nrrd")
    changes = {
        "optimizer.learning_rate": rate,
        "optimizer.schedule": "cosine",
        "optimizer.weight_decay": "0",
        "validate_every": "1000",
        "checkpoint_every": "1000",
        "points_per_step": points,
        "loss.uncertainty": "1" if recipe == "any-view" else "0",
    }
    wanted = config(recipe, **changes)
    pair = OnePair(ProjectedPairs(prepared(tmp_path, wanted, tmp_path / "prepared"), wanted))
    task = ReconstructionTask(pair, pair, wanted, "cpu")
    task.network.mean_volume.zero_()  # which is the truth here
    before = task.validate(task.network.eval())["psnr"]
    quality = Trainer(task, wanted, 120, tmp_path / "run").run()
    assert before < 20 and quality["psnr"] > 25
    if recipe == "any-view":
        batch = pair.reference(0)
        with torch.no_grad():
            value, log_variance = task.network(batch.pictures, batch.matrices).split(1, dim=1)
        squared = (value - batch.target).square()
        assert log_variance.exp().mean().sqrt() == pytest.approx(float(squared.mean().sqrt()), rel=0.4)
        # and where it is larger than elsewhere
        doubtful = log_variance > log_variance.median()
        assert squared[doubtful].mean() > 2 * squared[~doubtful].mean()
