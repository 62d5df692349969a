"""Training: settings, splits by patient, samples, resume after a kill, export."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from trunk import trunk
from xrecon.io.image import write_volume
from xrecon.nets.registry import load_model
from xrecon.training.config import RECIPES, OptimizerConfig, TrainConfig, make_config
from xrecon.training.datasets import ReconstructionData
from xrecon.training.engine import CHECKPOINT, LOG, learning_rate_factor
from xrecon.training.prepared import prepare_subject
from xrecon.training.run import train
from xrecon.training.subjects import Subject, find_subjects, split_subjects
from xrecon.volume import InputError

TINY = {
    "steps": "6",
    "precision": "float32",
    "device": "cpu",
    "name": "tiny",
    "validate_every": "3",
    "checkpoint_every": "2",
    "pneumothorax_variants": "1",
    "grid.side": "16",
    "grid.spacing_mm": "20.0",
    "grid.source_side": "72",
    "grid.source_spacing_mm": "5.0",
    "grid.detector_pixels": "32",
    "grid.detector_spacing_mm": "13.0",
    "options": '{"view_widths": [4, 4, 8], "grid_widths": [4, 8, 8, 8]}',
}


def tiny(recipe="lifting", **overrides):
    return make_config(recipe, None, {**TINY, **overrides})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three CTs and a label map that must not be taken for one."""
    path = tmp_path_factory.mktemp("cts")
    for i, suffix in enumerate((".nii.gz", ".nrrd", ".mha")):
        write_volume(trunk(seed=i), path / f"person{i}{suffix}")
    labels = trunk().with_array((trunk().array < -500).astype(np.uint8), "label")
    write_volume(labels, path / "person0_lungs.nrrd")
    return path


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


def test_subjects_are_the_cts_and_patients_stay_together(folder, tmp_path):
    notes = []
    subjects = find_subjects(folder, notes)
    assert len(notes) == 1 and "person0_lungs.nrrd" in notes[0]
    assert [s.name for s in subjects] == ["person0", "person1", "person2"]
    splits = split_subjects(subjects, tiny())
    assert sorted(splits["train"] + splits["validation"]) == ["person0", "person1", "person2"]
    assert len(splits["validation"]) == 1 and not splits["test"]

    rows = [("person0.nii.gz", "A", ""), ("person1.nrrd", "A", ""), ("person2.mha", "B", "test")]
    manifest = folder / "subjects.csv"
    manifest.write_text("path,patient,split\n" + "\n".join(",".join(r) for r in rows))
    try:
        for seed in range(6):
            splits = split_subjects(find_subjects(folder), tiny(seed=str(seed)))
            assert splits["test"] == ["person2"]
            assert {len(splits["train"]), len(splits["validation"])} == {0, 2}
        manifest.write_text("path,patient,split\nnothing.nrrd,A,\n")
        with pytest.raises(InputError, match="line 2"):
            find_subjects(folder)
    finally:
        manifest.unlink()
    with pytest.raises(InputError, match="found none"):
        find_subjects(tmp_path)
    with pytest.raises(InputError, match="folder of CTs"):
        find_subjects(tmp_path / "missing")


def test_ct_numbers_with_an_offset_are_named_not_lost(tmp_path):
    write_volume(
        trunk().with_array((trunk().array + 1024).clip(0).astype(np.uint16)), tmp_path / "offset.nrrd"
    )
    notes = []
    with pytest.raises(InputError, match="found none"):
        find_subjects(tmp_path, notes)
    assert "offset.nrrd" in notes[0]
    subject = Subject("offset", tmp_path / "offset.nrrd", "offset")
    with pytest.raises(InputError, match="an offset"):
        prepare_subject(subject, tiny(), tmp_path / "prepared")


def test_two_cts_of_one_name_are_refused_and_named_rows_are_not(tmp_path):
    for person, seed in (("p1", 0), ("p2", 1)):
        (tmp_path / person).mkdir()
        write_volume(trunk(seed=seed), tmp_path / person / "ct.nrrd")
    manifest = tmp_path / "subjects.csv"
    manifest.write_text("path,patient,split\np1/ct.nrrd,A,train\np2/ct.nrrd,B,validation\n")
    with pytest.raises(InputError, match="p1.*p2"):
        find_subjects(tmp_path)
    manifest.write_text("name,path,split\none,p1/ct.nrrd,train\ntwo,p2/ct.nrrd,test\n", encoding="utf-8-sig")
    assert [(s.name, s.split) for s in find_subjects(tmp_path)] == [("one", "train"), ("two", "test")]
    manifest.write_text("path,name\np1/ct.nrrd,../one\n")
    with pytest.raises(InputError, match="without folders"):
        find_subjects(tmp_path)
    manifest.write_bytes("path,patient\np1/ct.nrrd,Müller\n".encode("latin-1"))
    with pytest.raises(InputError, match="UTF-8"):
        find_subjects(tmp_path)


def test_an_exchanged_ct_is_prepared_again(tmp_path):
    path = tmp_path / "ct.nrrd"
    write_volume(trunk(seed=0), path)
    config = tiny(pneumothorax_variants="0")
    first = prepare_subject(find_subjects(tmp_path)[0], config, tmp_path / "prepared")
    write_volume(trunk(seed=1), path)
    second = prepare_subject(find_subjects(tmp_path)[0], config, tmp_path / "prepared")
    assert not np.array_equal(first.variants[0][0], second.variants[0][0])


def test_samples_depend_on_seed_and_step_only(folder, tmp_path):
    config = tiny()
    prepared = [prepare_subject(s, config, tmp_path) for s in find_subjects(folder)]
    again = [prepare_subject(s, config, tmp_path) for s in find_subjects(folder)]
    for one, two in zip(prepared, again, strict=True):
        assert len(one.variants) == 2
        for (a, b), (c, d) in zip(one.variants, two.variants, strict=True):
            assert np.array_equal(a, c) and np.array_equal(b, d)
    data, other = ReconstructionData(prepared, config), ReconstructionData(again, config)
    one, two = data.sample(4), other.sample(4)
    assert torch.equal(one.pictures, two.pictures) and torch.equal(one.target, two.target)
    assert not torch.equal(one.target, data.sample(5).target)
    assert one.pictures.shape == (1, 2, 32, 32) and one.target.shape == (1, 1, 16, 16, 16)
    assert 0 <= one.target.min() and one.target.max() <= 1
    assert data.mean_volume().shape == (1, 1, 16, 16, 16)


def test_reference_pictures_agree_with_the_target_they_belong_to(folder, tmp_path):
    """Left-right: the heart stands out on the patient's left in the PA picture and in the target."""
    config = tiny(pneumothorax_variants="0")
    prepared = prepare_subject(find_subjects(folder)[0], config, tmp_path)
    batch = ReconstructionData([prepared], config).reference(prepared)
    picture, target = batch.pictures[0, 0].numpy(), batch.target[0, 0].numpy()
    summed = target.sum(axis=1)[::-1]  # rows downwards
    coarse = picture.reshape(16, 2, 16, 2).mean(axis=(1, 3))
    alike = np.corrcoef(coarse.ravel(), summed.ravel())[0, 1]
    mirrored = np.corrcoef(coarse[:, ::-1].ravel(), summed.ravel())[0, 1]
    upside_down = np.corrcoef(coarse[::-1].ravel(), summed.ravel())[0, 1]
    assert alike > 0.85 and alike > mirrored + 0.03 and alike > upside_down + 0.03


def test_a_run_leaves_split_log_checkpoint_and_a_model_that_loads(folder, tmp_path):
    seen = []
    quality = train(folder, tmp_path, tiny(), progress=lambda *event: seen.append(event))
    assert {"psnr", "ssim", "mae_hu", "psnr_mean_volume"} <= set(quality)
    splits = json.loads((tmp_path / "splits.json").read_text())
    assert len(splits["train"]) == 2 and len(splits["validation"]) == 1
    rows = list(csv.DictReader((tmp_path / LOG).open()))
    assert rows[-1]["step"] == "6"
    # the run ends in single precision, the stored weights have half
    assert abs(float(rows[-1]["validation_psnr"]) - quality["psnr"]) < 0.01
    network, card = load_model(tmp_path / "model")
    assert card.name == "tiny" and [d.subject for d in card.training_data] == sorted(splits["train"])
    assert card.training["steps"] == 6 and card.quality["validation_subjects"] == splits["validation"]
    assert {stage for stage, _, _ in seen} >= {"prepare", "train"}


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_refused_start_leaves_the_run_as_it_was(folder, tmp_path):
    train(folder, tmp_path, tiny(steps="2"))
    before = contents(tmp_path)
    for options, resume, message in [
        ({}, False, "without a run"),
        ({"augmentation.gamma": "0.3"}, True, "augmentation"),
        ({"seed": "5"}, True, "seed"),
        ({"architecture": "nope"}, True, "architecture"),
    ]:
        with pytest.raises(InputError, match=message):
            train(folder, tmp_path, tiny(**{"steps": "2", **options}), resume=resume)
        assert contents(tmp_path) == before, message
    train(folder, tmp_path, tiny(steps="2"), resume=True)


def test_a_run_may_go_on_on_another_device(folder, tmp_path):
    train(folder, tmp_path, tiny(steps="2", device="auto"))
    train(folder, tmp_path, tiny(steps="2", device="cpu"), resume=True)


def test_wrong_networks_and_damaged_runs_are_told_in_one_sentence(folder, tmp_path):
    with pytest.raises(InputError, match="'nope'"):
        train(folder, tmp_path / "new", tiny(architecture="nope"))
    with pytest.raises(InputError, match="does not take"):
        train(folder, tmp_path / "new", tiny(options='{"depth": 3}'))
    assert not (tmp_path / "new").exists(), "nothing is prepared for a network that does not exist"
    train(folder, tmp_path / "run", tiny(steps="2"))
    splits = (tmp_path / "run" / "splits.json").read_text()
    (tmp_path / "run" / "splits.json").write_text(splits[:20])
    with pytest.raises(InputError, match="splits.json cannot be read"):
        train(folder, tmp_path / "run", tiny(steps="2"), resume=True)
    (tmp_path / "run" / "splits.json").write_text(splits)
    (tmp_path / "run" / CHECKPOINT).write_bytes(b"no checkpoint")
    with pytest.raises(InputError, match="damaged"):
        train(folder, tmp_path / "run", tiny(steps="2"), resume=True)


def test_patients_with_one_lung_train_reconstructions_but_not_lung_networks(tmp_path):
    one = trunk(seed=3)
    hu = one.array.copy()
    hu[:, :, one.shape[2] // 2 :] = np.where(hu < -500, 30, hu)[:, :, one.shape[2] // 2 :]
    hu[one.array == -1000] = -1000
    write_volume(one.with_array(hu), tmp_path / "right-only.nrrd")
    (subject,) = find_subjects(tmp_path)
    prepared = prepare_subject(subject, tiny(pneumothorax_variants="2"), tmp_path / "prepared")
    assert [set(np.unique(labels)) for _, labels in prepared.variants] == [{0, 1}, {0, 1, 3}, {0, 1, 3}]
    with pytest.raises(InputError, match="both lungs.*exclude"):
        prepare_subject(subject, tiny("lungs", options="{}"), tmp_path / "lungs")


def weights(folder):
    return torch.load(folder / CHECKPOINT, weights_only=True)["network"]


def test_a_killed_run_continues_as_if_nothing_had_happened(folder, tmp_path):
    """SIGKILL in the middle, resume, and every weight is what an uninterrupted run gives."""
    steps = {"steps": "12", "validate_every": "50", "checkpoint_every": "3"}
    train(folder, tmp_path / "whole", tiny(**steps))
    code = (
        "import sys, json, torch; torch.set_num_threads(1)\n"
        "from pathlib import Path\n"
        "from xrecon.training.run import train\n"
        "from xrecon.training.config import make_config\n"
        "train(Path(sys.argv[1]), Path(sys.argv[2]), make_config('lifting', None, json.loads(sys.argv[3])))\n"
    )
    target = tmp_path / "killed"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(folder), str(target), json.dumps({**TINY, **steps})], env=environment
    )
    deadline = time.monotonic() + 240
    while not (target / CHECKPOINT).exists():
        assert child.poll() is None and time.monotonic() < deadline, "the child must reach a checkpoint"
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    reached = torch.load(target / CHECKPOINT, weights_only=True)["step"]
    assert not list(target.glob("*.part")) or reached
    train(folder, target, tiny(**steps), resume=True)
    whole, resumed = weights(tmp_path / "whole"), weights(target)
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, rtol=1e-4, atol=1e-5, msg=name)


def test_x_recon_trains_with_all_its_losses(folder, tmp_path):
    config = make_config(
        "x-recon",
        None,
        {
            **TINY,
            "options": '{"base_channels": 8}',
            "grid.side": "32",
            "grid.spacing_mm": "10.0",
            "steps": "2",
        },
    )
    train(folder, tmp_path, config)
    row = list(csv.DictReader((tmp_path / LOG).open()))[-1]
    assert all(np.isfinite(float(row[k])) for k in ("reconstruction", "projection", "adversarial", "critic"))
    network, card = load_model(tmp_path / "model")
    assert card.architecture == "x-recon"
    out = network(torch.rand(1, 2, 32, 32), None)
    assert out.shape == (1, 1, 32, 32, 32)


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
