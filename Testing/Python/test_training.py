"""Training: settings, whole runs, what they leave behind, what they learn."""

import json
import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from training_inputs import (
    TINY,
    TINY_X_RECON,
    OnePair,
    log_rows,
    prepared,
    require_same_state,
    state,
    tiny,
    write_cts,
)
from trunk import trunk
from xrecon.io.image import write_volume
from xrecon.nets.registry import load_card, load_model
from xrecon.training.config import RECIPES, OptimizerConfig, TrainConfig, make_config
from xrecon.training.datasets import ProjectedPairs
from xrecon.training.engine import Trainer
from xrecon.training.optimization import learning_rate_factor, moving_average
from xrecon.training.reconstruction import ReconstructionTask
from xrecon.training.run import train
from xrecon.training.runlog import duration_text
from xrecon.volume import InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_cts(tmp_path_factory.mktemp("cts"))


def test_paper_defaults_and_errors_that_name_the_field():
    paper = make_config("x-recon")
    assert paper == TrainConfig() and paper.epochs == 200
    assert (paper.optimizer.learning_rate, paper.optimizer.betas) == (5e-5, (0.5, 0.99))
    assert paper.optimizer.weight_decay == 5e-4
    assert (paper.loss.reconstruction, paper.loss.projection, paper.loss.adversarial) == (10.0, 0.1, 1.0)
    for name in RECIPES:
        make_config(name)
    for key, value, message in [
        ("optimizer.learning_rate", "-1", "optimizer.learning_rate"),
        ("steps", "many", "steps"),
        ("losses", "1", "losses"),
        ("grid.side", "300", "grid"),
    ]:
        with pytest.raises(InputError, match=message):
            make_config("lifting", None, {key: value})
    with pytest.raises(InputError, match="x-recon"):
        make_config("unet")


def test_a_settings_file_changes_only_what_it_names(tmp_path):
    path = tmp_path / "settings.json"
    path.write_text('{"loss": {"projection": 0.5}, "steps": 7}')
    config = make_config("lifting", path, {"steps": "9"})
    assert config.loss.projection == 0.5 and config.loss.reconstruction == 10.0 and config.steps == 9
    path.write_text("[1, 2")
    with pytest.raises(InputError, match="settings"):
        make_config("lifting", path)


def test_learning_rate_schedules():
    linear = OptimizerConfig(schedule="linear", warm_fraction=0.5)
    factors = [learning_rate_factor(linear, s, 200) for s in (0, 100, 150, 200)]
    assert factors == pytest.approx([1, 1, 0.5, 0]) and min(factors) >= 0
    cosine = OptimizerConfig(schedule="cosine")
    assert [learning_rate_factor(cosine, s, 10) for s in (0, 5, 10)] == pytest.approx([1, 0.5, 0])


def test_a_run_leaves_split_log_checkpoint_and_a_model_that_loads(folder, tmp_path):
    seen = []
    quality = train(folder, tmp_path, tiny(), progress=lambda *event: seen.append(event))
    assert {"psnr", "ssim", "mae_hu", "psnr_mean_volume"} <= set(quality)
    splits = json.loads((tmp_path / "splits.json").read_text())
    assert len(splits["train"]) == 2 and len(splits["validation"]) == 1
    rows = log_rows(tmp_path)
    assert rows[-1]["step"] == "6"
    # the run ends in single precision, the stored weights have half
    assert abs(float(rows[-1]["validation_psnr"]) - quality["psnr"]) < 0.01
    network, card = load_model(tmp_path / "model")
    assert card.name == "tiny" and [d.subject for d in card.training_data] == sorted(splits["train"])
    assert card.training["steps"] == 6 and card.quality["validation_subjects"] == splits["validation"]
    kept = [*(data.model_dump() for data in card.training_data), *card.quality["validation_data"]]
    known = json.loads((tmp_path / "subjects.json").read_text())["subjects"]
    assert {row["subject"] for row in kept} == set(splits["train"]) | set(splits["validation"])
    assert all(len(row["sha256"]) == 64 for row in kept)
    for row in kept:
        assert {key: known[row["subject"]][key] for key in ("sha256", "patient")}.items() <= row.items()
    assert {stage for stage, _, _ in seen} >= {"prepare", "train"}
    messages = [text for stage, _, text in seen if stage == "train"]
    assert re.search(r"step 1/6: loss [\d.e-]+, about \d+ s left", messages[0]) and "left" not in messages[-1]
    (sample,) = (tmp_path / "samples").glob("*.png")
    assert sample.name == "step_00000006.png" and min(Image.open(sample).size) > 300


def test_x_recon_trains_with_all_its_losses(folder, tmp_path):
    config = make_config("x-recon", None, {**TINY_X_RECON, "steps": "2"})
    train(folder, tmp_path, config)
    row = log_rows(tmp_path)[-1]
    assert all(np.isfinite(float(row[k])) for k in ("reconstruction", "projection", "adversarial", "critic"))
    network, card = load_model(tmp_path / "model")
    assert card.architecture == "x-recon"
    out = network(torch.rand(1, 2, 32, 32), None)
    assert out.shape == (1, 1, 32, 32, 32)


WIDER = {**TINY_X_RECON, "options": '{"base_channels": 8, "dropout": 0.0}'}


@pytest.mark.parametrize(
    ("base", "steps", "rate"), [(TINY, 160, "1e-2"), (WIDER, 100, "5e-3")], ids=["lifting", "x-recon"]
)
def test_one_pair_is_learnt_by_heart(base, steps, rate, tmp_path):
    """Above 30 dB on the one pair that is shown, from nothing."""
    write_volume(trunk(seed=0), tmp_path / "ct.nrrd")
    changes = {"loss.adversarial": "0", "loss.projection": "0", "optimizer.learning_rate": rate}
    more = {"optimizer.weight_decay": "0", "optimizer.schedule": "cosine", "pneumothorax_variants": "0"}
    rest = {"validate_every": "1000", "checkpoint_every": "1000"}
    config = make_config("lifting" if base is TINY else "x-recon", None, {**base, **changes, **more, **rest})
    pair = OnePair(ProjectedPairs(prepared(tmp_path, config, tmp_path / "prepared"), config))
    task = ReconstructionTask(pair, pair, config, "cpu")
    if base is TINY:
        task.network.mean_volume.zero_()  # which is the truth here
    before = task.validate(task.network.eval())["psnr"]
    quality = Trainer(task, config, steps, tmp_path / "run").run()
    assert before < 20 and quality["psnr"] > 30


def test_the_moving_average_follows_the_weights_and_is_what_is_exported(folder, tmp_path):
    module = torch.nn.Linear(1, 1, bias=False)
    average = moving_average(module, 0.5)
    values = []
    for value in (0.0, 1.0, 1.0):
        module.weight.data.fill_(value)
        average.update_parameters(module)
        values.append(average.module.weight.item())
    # copied first, then with the decay (1 + n) / (10 + n) for n = 1, 2
    assert values == pytest.approx([0.0, 9 / 11, 1 - 2 / 11 * 3 / 12])
    assert moving_average(module, 0.0) is None

    train(folder, tmp_path, tiny(ema_decay="0.9"))
    stored, left = load_model(tmp_path / "model")[0].state_dict(), state(tmp_path)
    name = "head.weight"
    averaged, last = left["average"][f"module.{name}"], left["network"][name]
    assert not torch.allclose(averaged, last, rtol=1e-2)
    torch.testing.assert_close(stored[name], averaged, rtol=1e-3, atol=1e-6)


def test_bfloat16_learns_what_float32_learns(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("xrecon.training.precision._has_bfloat16", lambda device: True)
    losses = []
    for precision in ("float32", "bfloat16"):
        run = tmp_path / precision
        train(folder, run, tiny(precision=precision, steps="8", validate_every="100"))
        losses.append(float(log_rows(run)[-1]["loss"]))
        assert load_card(run / "model").training["precision"] == precision
    assert losses[1] == pytest.approx(losses[0], rel=0.05) and losses[0] != losses[1]


def test_without_fast_bfloat16_float32_is_used_and_told(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("xrecon.training.precision._has_bfloat16", lambda device: False)
    warnings = []
    train(folder, tmp_path, tiny(precision="bfloat16", steps="2"), warnings=warnings)
    assert any("float32 is used" in warning for warning in warnings)
    training = load_card(tmp_path / "model").training
    assert (training["precision"], training["config"]["precision"]) == ("float32", "bfloat16")
    train(folder, tmp_path, tiny(precision="bfloat16", steps="2"), resume=True)


def test_activation_checkpointing_changes_no_weight(folder, tmp_path):
    for wanted in ("false", "true"):
        settings = {"precision": "float64", "steps": "3", "checkpointing": wanted}
        settings["options"] = '{"base_channels": 4}'  # with dropout, whose draws are repeated
        train(folder, tmp_path / wanted, make_config("x-recon", None, {**TINY_X_RECON, **settings}))
    states = [state(tmp_path / wanted) for wanted in ("false", "true")]
    require_same_state(*states, rtol=1e-9, atol=1e-12)


def test_checkpointing_is_refused_where_there_is_none(folder, tmp_path):
    with pytest.raises(InputError, match="checkpointing.*'lifting'"):
        train(folder, tmp_path, tiny(checkpointing="true"))
    with pytest.raises(InputError, match="checkpointing.*'lungs-unet'"):
        train(folder, tmp_path / "lungs", tiny("lungs", checkpointing="true", options="{}"))


def test_tensorboard_gets_the_numbers_when_it_is_installed(folder, tmp_path, monkeypatch):
    scalars = {}

    class Writer:
        def __init__(self, folder, purge_step):
            assert folder == tmp_path / "tensorboard"

        def add_scalar(self, name, value, step):
            scalars[name, step] = value

        def flush(self):
            scalars["flushed"] = True

        def close(self):
            scalars["closed"] = True

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=Writer))
    train(folder, tmp_path, tiny(steps="2"))
    assert scalars["loss", 2] == float(log_rows(tmp_path)[-1]["loss"])
    assert ("validation_psnr", 2) in scalars and scalars["flushed"] and scalars["closed"]


def test_time_left_is_told_in_words():
    words = [duration_text(s) for s in (4.4, 600, 12_000, 190_000)]
    assert words == ["4 s", "10 min", "3 h 20 min", "2 d 4 h"]


def test_the_lung_network_learns_the_trunk(folder, tmp_path):
    config = make_config(
        "lungs",
        None,
        {
            **{k: v for k, v in TINY.items() if k != "options"},
            "steps": "150",
            "batch": "4",
            "validate_every": "150",
            "optimizer.learning_rate": "5e-3",
            "options": '{"widths": [8, 8, 16, 16, 16, 8]}',
            "grid.source_side": "64",
            "augmentation.pneumothorax_probability": "0.3",
        },
    )
    quality = train(folder, tmp_path, config)
    assert quality["dice_right"] > 0.7 and quality["dice_left"] > 0.7
    network, card = load_model(tmp_path / "model")
    assert card.output.labels == ["background", "right lung", "left lung"]
