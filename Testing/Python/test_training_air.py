"""Networks that tell pleural air apart: the loss that teaches it, what it sees, and how it is judged."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from training_inputs import prepared, tiny, write_cts
from xrecon.nets.any_view import AIR_UNIT
from xrecon.nets.outputs import TrainingOutputs
from xrecon.nets.registry import create_model, load_card, load_model
from xrecon.preprocess.ct import AIR_HU, hu_to_unit
from xrecon.training.air import air_figures
from xrecon.training.datasets import Batch, ProjectedPairs
from xrecon.training.label_losses import SHADOW_MM, AirLoss
from xrecon.training.reconstruction import ReconstructionTask
from xrecon.training.run import require_network, train
from xrecon.training.status import StopRequested, request_stop
from xrecon.training.views import reference_views
from xrecon.volume import InputError

AIR = {
    "segmentation.source": "lungs and air",
    "loss.air": "0.2",
    "pneumothorax_variants": "2",
    "options": '{"view_widths": [4, 4, 8], "grid_widths": [4, 8, 8, 8], "embedding": 4, "air": true}',
}


def with_air(**changes):
    return tiny("any-view-pair", **{**AIR, **changes})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_cts(tmp_path_factory.mktemp("cts"))


@pytest.fixture(scope="module")
def pairs(folder, tmp_path_factory):
    config = with_air(**{"augmentation.pneumothorax_probability": "1.0", "options.finest": "0"})
    return ProjectedPairs(prepared(folder, config, tmp_path_factory.mktemp("prepared")), config)


# -- the network -----------------------------------------------------------------------------------
@pytest.mark.parametrize("finest", [0, 1])
def test_where_the_network_says_air_the_volume_is_air(finest):
    assert pytest.approx(float(hu_to_unit(np.float32(AIR_HU)))) == AIR_UNIT
    torch.manual_seed(0)
    options = {"view_widths": (4, 8, 8), "grid_widths": (4, 8, 8, 8), "embedding": 8, "finest": finest}
    network = create_model("any-view", side=16, air=True, uncertainty=False, **options).eval()
    pictures, matrices = torch.rand(2, 2, 24, 24), torch.rand(2, 2, 3, 4)
    with torch.no_grad():
        network.mean_volume.fill_(0.4)
        # at the start nothing is taken for air, and the volume is the mean
        assert torch.allclose(network(pictures, matrices), network.mean_volume, atol=2e-3)
        network.air.weight.normal_(std=8.0)
        network.air.bias.zero_()
        outputs = network(pictures, matrices, torch.zeros(1))
        assert outputs.air.shape == (2, 1, 16, 16, 16) and outputs.air_shadow.shape == (2, 2, 12, 12)
        share = outputs.air.sigmoid()
        assert share.min() < 0.01 and share.max() > 0.9
        expected = share * AIR_UNIT + (1 - share) * 0.4
        torch.testing.assert_close(outputs.volume, expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(network(pictures, matrices), outputs.volume)


def test_a_network_with_detail_sees_faint_edges_apart_from_what_is_smooth():
    torch.manual_seed(0)
    options = {"view_widths": (4, 8, 8), "grid_widths": (4, 8, 8, 8), "embedding": 8, "prior": False}
    network = create_model("any-view", side=16, detail=True, **options)
    edge = torch.zeros(1, 1, 24, 24)
    edge[..., 12:] = 0.02
    ramp = torch.linspace(0, 1, 24)[:, None].expand(24, 24)
    seen = network._channels(edge + ramp, torch.rand(1, 1, 3, 4))
    torch.testing.assert_close(seen[:, 0], (edge + ramp)[0])
    inner = seen[0, 1, 4:-4]
    # a slope is no detail; beside the edge half of its height stays, ten times as strong
    assert inner[:, :7].abs().max() < 1e-5 and inner[:, 17:-5].abs().max() < 1e-5
    assert inner[:, 12].mean() == pytest.approx(10 * 0.02 * 4 / 9, rel=1e-3)


def test_the_first_steps_learn_the_shadow_and_leave_the_volume_alone(pairs):
    task = ReconstructionTask(pairs, pairs, with_air(**{"loss.air_shadow_steps": "2"}), "cpu")
    optimizer = torch.optim.SGD(task.network.parameters(), 0.1)
    before = {name: p.detach().clone() for name, p in task.network.named_parameters()}
    changed = []
    for step in range(3):
        loss, terms = task.generator_loss(step, [step])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        changed.append({n for n, p in task.network.named_parameters() if not torch.equal(p, before[n])})
        assert set(terms) == ({"air"} if step < 2 else {"air", "reconstruction", "absolute", "uncertainty"})
        if step < 2:
            assert float(loss.detach()) == pytest.approx(0.2 * float(terms["air"]), rel=1e-5)
    assert changed[0] and all(n.startswith(("encoder.", "pose.", "shadow.")) for n in changed[0] | changed[1])
    assert any(n.startswith("head.") for n in changed[2])


def test_loss_and_network_belong_together():
    for changes, message in (
        ({"segmentation.source": "lungs"}, "need each other"),
        ({"loss.air": "0"}, "need each other"),
        ({"pneumothorax_variants": "0"}, "needs pneumothorax_variants"),
        ({"augmentation.pneumothorax_probability": "0"}, "needs pneumothorax_variants"),
        ({"loss.air_shadow_steps": "1", "loss.adversarial": "1"}, "nothing to judge"),
        ({"sampling_processes": "2", "task": "lungs"}, "for the task 'reconstruction'"),
        (
            {"loss.air": "0", "segmentation.source": "lungs", "loss.air_shadow_steps": "5"},
            "air_shadow_steps needs loss.air",
        ),
        ({"loss.air": "0", "segmentation.source": "lungs"}, "expected false without loss.air"),
        ({"options": "{}"}, "expected a network that tells pleural air apart"),
    ):
        with pytest.raises(InputError, match=message):
            require_network(with_air(**changes))


# -- the loss --------------------------------------------------------------------------------------
def test_the_loss_is_least_for_the_true_air_and_its_shadow():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 5, (2, 5, 6, 7), generator=generator)
    air_mm = torch.rand(2, 2, 8, 6, generator=generator) * 4 * SHADOW_MM
    loss = AirLoss()
    volume = 40.0 * (labels >= 3).float()[:, None] - 20.0
    path = torch.nn.functional.avg_pool2d(air_mm, 2)
    shadow = 40.0 * (path > SHADOW_MM).float() - 20.0
    assert float(loss(volume, labels, shadow, air_mm)) == pytest.approx(0.0, abs=1e-4)
    # Dice 0 and a cross-entropy of 20 for all that is wrong
    assert float(loss(-volume, labels)) == pytest.approx(21.0, abs=1e-3)
    assert float(loss(volume, labels, -shadow, air_mm)) == pytest.approx(21.0, abs=1e-3)
    # lung is no air
    assert float(loss(40.0 * (labels >= 1).float()[:, None] - 20.0, labels)) > 1.0


def test_a_sample_without_air_pays_for_air_that_is_not_there_and_for_nothing_else():
    labels = torch.ones(1, 4, 4, 4, dtype=torch.int64)
    loss, logits = AirLoss(), torch.full((1, 1, 4, 4, 4), -40.0, requires_grad=True)
    loss(logits, labels).backward()
    assert logits.grad.abs().max() < 1e-6
    wrong = torch.zeros(1, 1, 4, 4, 4, requires_grad=True)
    loss(wrong, labels).backward()
    assert (wrong.grad > 1e-3).all()


# -- the samples -----------------------------------------------------------------------------------
def test_the_shadow_is_the_path_through_the_air_that_the_labels_say(pairs):
    batch = pairs.sample([0, 1, 2])
    assert batch.air_mm.shape == batch.pictures.shape and set(batch.labels.unique().tolist()) <= set(range(5))
    for index in range(3):
        _, classes, _, _ = pairs._moved(index)
        volume_mm3 = float((classes >= 3).sum()) * 5.0**3
        assert volume_mm3 > 1e4
        view = reference_views(pairs.config)[0]
        # a cone from far away: the shadow is larger than the air by about the magnification, squared
        area = np.prod(view.pixel_spacing) / view.magnification**2
        shadows = batch.air_mm[index].sum(dim=(1, 2)).numpy() * area
        np.testing.assert_allclose(shadows, volume_mm3, rtol=0.3)
    without = ProjectedPairs(pairs.prepared, tiny("any-view-pair", pneumothorax_variants="2"))
    assert without.sample([0]).air_mm is None and without.sample([0]).labels is None


def test_copies_with_air_are_spread_from_the_first_to_the_last(pairs):
    plain, copies = pairs.reference(0), pairs.with_air(0, 6)
    assert len(copies) == 2 and len(pairs.with_air(0, 1)) == 1
    for copy in copies:
        air = copy.labels >= 3
        assert air.any() and not (plain.labels >= 3).any()
        assert (copy.target[:, 0] - plain.target[:, 0])[air].mean() < 0


# -- the figures -----------------------------------------------------------------------------------
def test_figures_say_how_much_of_the_air_a_network_finds_and_shows():
    def batch(air: bool) -> Batch:
        labels, target = torch.ones(1, 4, 4, 4, dtype=torch.int64), torch.full((1, 1, 4, 4, 4), 0.1)
        if air:
            labels[0, :2], target[0, 0, :2] = 3, 0.0
        return Batch(torch.zeros(1), torch.zeros(1), target, ("a",), labels)

    def run(given: Batch) -> TrainingOutputs:
        """Finds half of the air, and shows a quarter of its darkness in all of it."""
        volume, logits = torch.full((1, 1, 4, 4, 4), 0.1), torch.full((1, 1, 4, 4, 4), -1.0)
        if (given.labels >= 3).any():
            logits[0, 0, 0], volume[0, 0, :2] = 1.0, 0.075
        return TrainingOutputs(volume, air=logits)

    figures = air_figures(run, batch(False), [batch(True), batch(True)])
    assert figures["dice_air"] == pytest.approx(2 * 16 / (16 + 32))
    assert figures["air_shown_percent"] == pytest.approx(25.0, abs=1e-3)
    assert all(np.isnan(value) for value in air_figures(run, batch(False), []).values())


def test_the_loss_of_air_teaches_a_network_to_find_it(pairs):
    """One sample, learnt by heart."""
    config = with_air(**{"augmentation.pneumothorax_probability": "1.0", "optimizer.learning_rate": "0.01"})
    task = ReconstructionTask(pairs, pairs, config, "cpu")
    optimizer = torch.optim.AdamW(task.network.parameters(), 0.01)
    batch = pairs.sample([0])
    task.data = type("One", (), {"sample": staticmethod(lambda items, following: batch)})()
    for step in range(150):
        optimizer.zero_grad()
        loss, terms = task.generator_loss(step, [0])
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        outputs = task.network(batch.pictures, batch.matrices, batch.target)
    found, true = outputs.air[0, 0] > 0, batch.labels[0] >= 3
    assert 2.0 * (found & true).sum() / (found.sum() + true.sum()) > 0.8
    assert float(terms["air"]) < 0.8


def test_a_run_that_would_learn_shadows_alone_is_refused(folder, tmp_path):
    with pytest.raises(InputError, match="less than the 2 steps of the run, got 2"):
        train(folder, tmp_path / "run", with_air(steps="2", **{"loss.air_shadow_steps": "2"}))


@pytest.mark.parametrize("stop", [1, 2])
def test_a_run_goes_on_across_its_first_steps(folder, tmp_path, stop):
    """Stopped while it learns shadows, and after: the weights are those of a run that was not."""
    settings = with_air(steps="4", deterministic="true", **{"loss.air_shadow_steps": "2"})
    train(folder, tmp_path / "whole", settings)

    def progress(stage, fraction, message):
        if stage == "train" and f"step {stop}/" in message:
            request_stop(tmp_path / "cut")

    with pytest.raises(StopRequested, match=f"stopped at step {stop + 1} of 4"):
        train(folder, tmp_path / "cut", settings, progress=progress)
    train(folder, tmp_path / "cut", settings, resume=True)
    whole, cut = (
        (tmp_path / name / "model" / "weights.safetensors").read_bytes() for name in ("whole", "cut")
    )
    assert whole == cut


def test_a_run_tells_how_its_air_is_shown_and_exports_a_model_that_needs_no_labels(folder, tmp_path):
    metrics = train(folder, tmp_path / "run", with_air(steps="2"))
    assert 0.0 <= metrics["dice_air"] <= 1.0 and np.isfinite(metrics["air_shown_percent"])
    card = load_card(tmp_path / "run" / "model")
    assert card.options["air"] is True and card.output.labels == []
    assert {"dice_air", "air_shown_percent"} <= set(card.quality["validation"])
    network, _ = load_model(tmp_path / "run" / "model", "cpu")
    volume = network(torch.rand(1, 2, 32, 32), torch.rand(1, 2, 3, 4))
    assert volume.shape == (1, 2, 16, 16, 16)
    stored = json.loads((tmp_path / "run" / "config.json").read_text())
    assert stored["loss"]["air"] == 0.2
