"""Who is held out, and how a run is made again: the split, the table beside the data, the environment."""

from __future__ import annotations

import csv
import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from training_inputs import tiny
from trunk import trunk
from xrecon.io.image import write_volume
from xrecon.nets.registry import load_card
from xrecon.training.augment import change_kernel, random_warp
from xrecon.training.config import AugmentationConfig, make_config
from xrecon.training.environment import environment, note_environment, read_environment, source_state
from xrecon.training.manifest import Manifest
from xrecon.training.prepared import prepare_subject
from xrecon.training.recipes_default import DEFAULT_RECIPES
from xrecon.training.run import _check_all, require_network, train
from xrecon.training.subjects import Subject, find_subjects, hold_out
from xrecon.training.variants import planned
from xrecon.volume import InputError

RUN = {"steps": "2", "checkpoint_every": "1", "pneumothorax_variants": "1"}


@pytest.fixture(scope="module")
def cts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four CTs, and a copy of the last under another name, of a patient of its own."""
    folder = tmp_path_factory.mktemp("cts")
    for seed in range(4):
        write_volume(trunk(seed), folder / f"person{seed}.nrrd")
    shutil.copy(folder / "person3.nrrd", folder / "twin.nrrd")
    return folder


@pytest.fixture(scope="module")
def held_out(cts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on those CTs without person3; the split has to be there before the first step."""
    folder = tmp_path_factory.mktemp("run")

    def progress(stage: str, fraction: float, message: str) -> None:
        assert stage != "train" or (folder / "splits.json").is_file()

    train(cts, folder, tiny(**RUN), progress=progress, test=["person3"])
    return folder


def test_a_held_out_ct_has_no_influence_on_the_weights(cts: Path, held_out: Path, tmp_path: Path):
    """The same weights, bit for bit, as when it had never been in the folder."""
    without = tmp_path / "cts"
    without.mkdir()
    for number in range(3):
        shutil.copy(cts / f"person{number}.nrrd", without)
    train(without, tmp_path / "run", tiny(**RUN))
    one, other = load_card(held_out / "model"), load_card(tmp_path / "run" / "model")
    assert one.sha256 == other.sha256
    assert one.training_data == other.training_data
    assert one.quality == other.quality  # validated on the same, too


def test_cts_prepared_at_once_are_those_prepared_one_by_one(cts: Path, held_out: Path, tmp_path: Path):
    """And a CT that cannot be used stops no other there, either."""
    (tmp_path / "broken.nrrd").write_text("no CT")
    subjects = [*find_subjects(cts)[:2], Subject("broken", tmp_path / "broken.nrrd", "broken")]
    manifest = Manifest(subjects, {"train": [s.name for s in subjects], "validation": [], "test": []})
    check = partial(prepare_subject, config=tiny(**RUN), folder=tmp_path / "prepared")
    _check_all(manifest, check, lambda *_: None, lambda: False, processes=2)
    assert list(manifest.left_out) == ["broken"]
    assert sorted(path.stem for path in (tmp_path / "prepared").iterdir()) == ["person0", "person1"]
    for path in (tmp_path / "prepared").iterdir():
        one, other = np.load(path), np.load(held_out / "prepared" / path.name)
        assert all(np.array_equal(one[key], other[key]) for key in ("hu", "labels"))


def test_a_held_out_ct_is_in_the_split_and_never_prepared(held_out: Path):
    splits = json.loads((held_out / "splits.json").read_text())
    # its copy is the same patient's
    assert splits["test"] == ["person3", "twin"]
    assert len(splits["train"]) == 2 and len(splits["validation"]) == 1
    prepared = {path.stem for path in (held_out / "prepared").iterdir()}
    assert prepared == {"person0", "person1", "person2"}


def test_a_run_is_not_resumed_with_another_split(cts: Path, held_out: Path):
    with pytest.raises(InputError, match="another split: .*person2"):
        train(cts, held_out, tiny(**RUN), resume=True, test=["person2"])


def test_unknown_names_are_refused_with_the_known(cts: Path, tmp_path: Path):
    with pytest.raises(InputError, match=r"person0.*got \['nobody'\]"):
        train(cts, tmp_path, tiny(**RUN), test=["nobody"])
    assert not (tmp_path / "splits.json").exists()


def test_all_cts_of_a_patient_are_held_out(cts: Path, tmp_path: Path):
    table = tmp_path / "split.csv"
    with table.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerows([["path", "patient", "split", "licence"], ["person0.nrrd", "a", "train", "CC0"]])
        writer.writerows([["person1.nrrd", "a", "train", ""], ["person2.nrrd", "b", "", ""]])
    found = find_subjects(cts, table=table)
    assert [(s.name, s.path.parent, s.licence) for s in found[:1]] == [("person0", cts, "CC0")]
    assert [s.split for s in hold_out(found, ["person1"])] == ["test", "test", ""]
    assert hold_out(found, []) == found
    with pytest.raises(InputError, match=r"found no file .*none\.csv"):
        find_subjects(cts, table=tmp_path / "none.csv")


def test_the_split_of_the_open_cts(repository: Path):
    """The split that the bundled models are trained with: who is held out; the rights of each CT."""
    rows = list(csv.DictReader((repository / "Testing" / "Benchmarks" / "open_cts.csv").open()))
    split = {row["name"]: row["split"] for row in rows}
    assert split["lidc_0002"] == split["lidc_0023"] == "test"
    for name in ("acrinflt_013", "cip_ct64", "fda_phantom_nl2"):
        assert split[name] != "train"
    assert sum(value == "train" for value in split.values()) == 8
    assert all(row["attribution"] and row["licence"] for row in rows)


# -- the environment -----------------------------------------------------------------------------
def test_the_card_tells_seed_and_environment(held_out: Path):
    training = load_card(held_out / "model").training
    (session,) = training["environment"]
    assert training["seed"] == 0 and session["from_step"] == 0 and session["device"] == "cpu"
    assert session["packages"]["torch"] == torch.__version__.partition("+")[0] or session["packages"]["torch"]
    assert len(session["source"]["sha256"]) == 64
    assert read_environment(held_out) == training["environment"]
    assert str(Path.home()) not in (held_out / "environment.json").read_text()


def test_a_run_that_goes_on_elsewhere_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    now = environment()
    monkeypatch.setattr("xrecon.training.environment.environment", lambda device: {**now, "device": device})
    note_environment(tmp_path, "cpu", 0)
    assert len(note_environment(tmp_path, "cpu", 5)) == 1  # nothing new
    assert [s["from_step"] for s in note_environment(tmp_path, "a GPU", 7)] == [0, 7]
    (tmp_path / "environment.json").write_text("{")
    assert [s["device"] for s in note_environment(tmp_path, "cpu", 9)] == ["cpu"]
    assert [s["from_step"] for s in note_environment(tmp_path, "a GPU", 0)] == [0]  # a new run


def test_the_source_is_told_by_its_content(tmp_path: Path):
    (tmp_path / "volume.py").write_text("a = 1\n")
    before = source_state(tmp_path)
    assert set(before) == {"sha256"}  # no checkout
    (tmp_path / "volume.py").write_text("a = 2\n")
    assert source_state(tmp_path) != before


# -- the recipes ---------------------------------------------------------------------------------
@pytest.mark.parametrize("name", DEFAULT_RECIPES)
def test_the_recipes_of_the_bundled_models_fit_their_networks(name: str):
    config = make_config(name)
    require_network(config)
    assert config.pneumothorax_range == (0.05, 0.7) and config.pneumothorax_effusion > 0
    assert config.grid.side * config.grid.spacing_mm == pytest.approx(358.4)


def test_variants_with_fluid_and_other_sizes(cts: Path, tmp_path: Path):
    subject = find_subjects(cts)[0]
    plain = tiny(pneumothorax_variants="4", **{"pneumothorax_range": "[0.2, 0.6]"})
    wet = tiny(pneumothorax_variants="4", pneumothorax_range="[0.2, 0.6]", pneumothorax_effusion="0.15")
    dry, fluid = (prepare_subject(subject, c, tmp_path / str(i)).variants for i, c in enumerate((plain, wet)))
    sides = [labels[labels > 0] for _, labels in dry[1:]]
    shares = [max((s == 3).sum() / np.isin(s, (1, 3)).sum(), (s == 4).sum() / np.isin(s, (2, 4)).sum())
              for s in sides]  # fmt: skip
    plans = planned(subject.name, ["right", "left"], 4, (0.2, 0.6), 0.15)
    assert shares == pytest.approx([plan["fraction"] for plan in plans], abs=0.01)
    free = [p["fraction"] for p in plans if not p.get("loculated")]
    assert min(free) >= 0.25 and max(free) == pytest.approx(0.55)
    with_fluid = [number for number, plan in enumerate(plans, 1) if "effusion" in plan]
    assert len(with_fluid) == 1
    for number in set(range(5)) - set(with_fluid):
        assert np.array_equal(dry[number][0], fluid[number][0])
    for number in with_fluid:  # water where there was lung
        more = (fluid[number][0] > -100).sum() - (dry[number][0] > -100).sum()
        assert more > 100 and (fluid[number][1] > 0).sum() < (dry[number][1] > 0).sum()


def test_a_kernel_changes_detail_and_keeps_means(rng: np.random.Generator):
    cube = torch.as_tensor(rng.normal(0, 100, (9, 9, 9)), dtype=torch.float32)
    soft, sharp = change_kernel(cube, 0.5), change_kernel(cube, -0.5)
    assert soft.std() < cube.std() < sharp.std()
    torch.testing.assert_close(soft + sharp, 2 * cube)
    flat = torch.full((5, 5, 5), 7.0)
    torch.testing.assert_close(change_kernel(flat, -0.5), flat)


def test_the_warp_is_the_same_wherever_it_is_made(rng: np.random.Generator):
    made = [random_warp(16, 10.0, AugmentationConfig(), np.random.default_rng(3), d) for d in ("cpu", "meta")]
    assert made[0].shape == made[1].shape == (16, 16, 16, 3) and made[1].device.type == "meta"
