"""`xrecon evaluate` on models and CTs: figures, controls, what is stored, and the cards."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_models
import torch
from PIL import Image
from torch import nn
from trunk import trunk
from xrecon.assessment import run as run_module
from xrecon.assessment.card_page import render_card
from xrecon.assessment.cases import Grid, Wanted
from xrecon.assessment.command import _models, evaluate_models
from xrecon.assessment.page import MOST_BYTES
from xrecon.assessment.record import CARD_PAGE, PICTURE
from xrecon.benchmark.exact import read_exact
from xrecon.evaluation.metrics import psnr
from xrecon.io.image import read_volume, write_volume
from xrecon.nets.card import LabelOutput, PictureInput, TrainingData, VolumeInput
from xrecon.nets.registry import (
    CARD_NAME,
    load_card,
    record_quality,
    register_model,
    save_model,
)
from xrecon.outcome import Outcome
from xrecon.pipelines import mean_training_volume
from xrecon.pneumothorax.lungs import classical_lungs
from xrecon.preprocess.ct import lung_center, remove_table, resample
from xrecon.training.seen import record_validation
from xrecon.training.store import source_digest
from xrecon.training.subjects import Subject
from xrecon.volume import InputError

TABLE = (
    ("path", "name", "patient", "split", "attribution", "licence"),
    ("a.nrrd", "a", "a", "test", "Nobody, A Phantom", "CC0"),
    ("b.nrrd", "b", "b", "test", "Nobody, B Phantom", "CC0"),
    ("c.nrrd", "c", "c", "train", "Nobody, C Phantom", "CC0"),
    ("d.nrrd", "d", "d", "train", "Nobody, D Phantom", "CC0"),
)
SIZES = (0.4,)


@register_model("test-halves")
class Halves(nn.Module):
    """The half of a cube on the patient's right is right lung, the first voxel left lung."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(1))

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        scores = torch.zeros(volume.shape[0], 3, *volume.shape[2:])
        scores[:, 0] = 0.5
        scores[:, 1, :, :, : volume.shape[-1] // 2] = 1.0
        scores[:, 2, 0, 0, 0] = 2.0
        return scores * self.scale


def save_halves(folder: Path) -> Path:
    """A model folder of that network."""
    card = tiny_models.card("test-halves", {}).model_copy(
        update={
            "input": VolumeInput(side=16, spacing_mm=22.4, hu_window=(-1024.0, 1476.0)),
            "output": LabelOutput(labels=["background", "right lung", "left lung"]),
        }
    )
    save_model(folder, Halves(), card)
    return folder


def silent(*_: object) -> None:
    """Progress for nobody."""


@pytest.fixture(scope="module")
def cts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two CTs to test on and two that the models were trained on."""
    folder = tmp_path_factory.mktemp("cts")
    for seed, name in enumerate("abcd"):
        write_volume(trunk(seed), folder / f"{name}.nrrd")
    with (folder / "subjects.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(TABLE)
    return folder


def trained_on(folder: Path, *names: str, **training: object) -> Path:
    """The model's card says that these CTs trained it."""
    card = load_card(folder)
    data = [TrainingData(subject=n, attribution=f"Nobody, {n}", licence="CC0") for n in names]
    changed = card.model_copy(update={"training_data": data, "training": training})
    (folder / CARD_NAME).write_text(json.dumps(changed.model_dump(mode="json")))
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One that looks at its radiographs, and one that says its mean volume."""
    folder = tmp_path_factory.mktemp("models")
    looks = trained_on(tiny_models.save_backprojection(folder / "looks"), "c", "d")
    return [looks, trained_on(tiny_models.save_untrained(folder / "untrained"))]


def evaluated(models: list[Path], cts: Path, output: Path, **changes: object) -> Outcome:
    options = {"lungs": "classical", "fractions": SIZES, **changes}
    names = [str(m) for m in models]
    return evaluate_models(names, cts, output, options.pop("subjects", ()), "cpu", silent, **options)


@pytest.fixture(scope="module")
def ran(models: list[Path], cts: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """Both models evaluated and recorded."""
    output = tmp_path_factory.mktemp("scores")
    return output, evaluated(models, cts, output, recorded=True)


def rows_of(outcome: Outcome, number: int) -> dict[str, dict]:
    """The rows of a model by case."""
    return {row["case"]: row for row in outcome.numbers["models"][number]["cases"]}


# -- figures and controls ------------------------------------------------------------------------
def test_the_split_says_who_is_tested_and_each_ct_gives_its_cases(ran: tuple[Path, Outcome]):
    output, outcome = ran
    cases = [f"{name}{air}" for name in "ab" for air in ("", "+air40")]
    assert list(rows_of(outcome, 0)) == list(rows_of(outcome, 1)) == cases
    for name in ("evaluation.csv", "evaluation.md", "evaluation.json", "evaluation.html", "plot-1.png"):
        assert (output / name).stat().st_size > 100, name
    assert len(list(csv.DictReader((output / "evaluation.csv").open()))) == 8


def test_figures_are_those_of_the_stored_volumes_against_the_ct(
    ran: tuple[Path, Outcome], models: list[Path]
):
    """PSNR of model, mean volume and exchanged radiographs, each made again by hand."""
    output, outcome = ran
    row, other = rows_of(outcome, 0)["a"], rows_of(outcome, 1)["a"]
    place = f"{load_card(models[0]).name}-{load_card(models[0]).sha256[:12]}"
    own, exchanged = (read_volume(output / "results" / place / f"{n}.nrrd") for n in "ab")
    truth = resample(trunk(0), own.shape, own.spacing, own.center)

    def unit(array: np.ndarray) -> np.ndarray:
        return np.clip(array.astype(np.float64), -1024, 1476)

    for name, array in (("psnr", own.array), ("psnr_exchanged", exchanged.array)):
        wanted = psnr(unit(array), unit(truth.array), data_range=2500)
        assert row[name] == pytest.approx(wanted, abs=0.02), name  # the truth is stored as whole HU
    mean = mean_training_volume(models[1])
    wanted = psnr(unit(mean.array), unit(truth.array), data_range=2500)
    assert other["psnr_mean_volume"] == pytest.approx(wanted, abs=0.02)
    # says the same whatever it is shown
    assert other["psnr"] == pytest.approx(other["psnr_exchanged"], abs=1e-6)


def test_the_nearest_subject_is_out_of_the_training_cts_alone(ran: tuple[Path, Outcome]):
    _, outcome = ran
    looks, untrained = outcome.numbers["models"]
    assert looks["nearest_subject_of"] == ["c", "d"] and untrained["nearest_subject_of"] == []
    assert np.isfinite(rows_of(outcome, 0)["a"]["psnr_nearest_subject"])
    assert "psnr_nearest_subject" not in rows_of(outcome, 1)["a"]


def test_a_stored_case_with_air_is_known_by_the_seed_of_its_air():
    """One CT as the first and as the third of a list: the sides are the same, the air is not."""
    subject, grid = Subject("a", Path("a.nrrd"), "a"), Grid(16, 22.4, ("PA", "LEFT LATERAL"))
    first, third = (Wanted(subject, number, SIZES) for number in (0, 2))
    assert first.side("a+air40") == third.side("a+air40")
    assert first.settings("a+air40", grid) != third.settings("a+air40", grid)
    assert first.settings("a", grid) == third.settings("a", grid)


def test_air_is_compared_with_what_was_put_in(ran: tuple[Path, Outcome]):
    _, outcome = ran
    rows = rows_of(outcome, 0)
    true = rows["a+air40"]["occupancy_true_percent"]
    assert 0.35 * 40 < true < 0.65 * 40  # of both lungs, of which one has the air
    assert rows["a"]["occupancy_true_percent"] is None
    assert outcome.numbers["models"][0]["summary"]["patients"] == 2


def test_what_the_air_changes_is_that_of_the_stored_volumes(ran: tuple[Path, Outcome], models: list[Path]):
    """Made again by hand from the files; the mean volume is the same with and without air."""
    output, outcome = ran
    row, other = (rows_of(outcome, k)["a+air40"] for k in (0, 1))
    assert "air_change_hu" not in rows_of(outcome, 0)["a"]
    place = f"{load_card(models[0]).name}-{load_card(models[0]).sha256[:12]}"
    plain, made = (read_volume(output / "results" / place / f"{n}.nrrd") for n in ("a", "a+air40"))
    air = read_exact(next(output.glob("cases/*/a+air40.npz"))).air >= 0.5
    assert made.same_grid(plain) and 5 < air.sum() < air.size / 4
    wanted = float((made.array - plain.array.astype(np.float64))[air].mean())
    assert row["air_change_hu"] == pytest.approx(wanted, abs=0.5) and wanted != 0.0
    assert row["air_change_true_hu"] < -50 and other["air_change_hu"] == 0.0
    share = load_card(models[1]).quality["test"]["pneumothorax"]["shown_percent"]
    assert share == 0.0 and " HU (0 %" in (models[1] / CARD_PAGE).read_text()


def test_what_was_measured_is_not_measured_again(
    ran: tuple[Path, Outcome], models: list[Path], cts: Path, monkeypatch: pytest.MonkeyPatch
):
    output, outcome = ran
    place = next(iter((output / "results").iterdir()))
    assert evaluated(models[:1], cts, output).numbers["models"][0] == outcome.numbers["models"][0]
    asked = []

    def assess(model: str, case: object, *_: object) -> None:
        asked.append(case.name)
        raise KeyboardInterrupt

    monkeypatch.setattr(run_module, "assess", assess)
    evaluated(models[:1], cts, output)  # all is there
    damaged = output / "results" / place.name / "b.json"
    stored = damaged.read_text()
    damaged.write_text(stored[: len(stored) // 2])
    try:
        with pytest.raises(KeyboardInterrupt):
            evaluated([next(m for m in models if load_card(m).name in place.name)], cts, output)
    finally:
        damaged.write_text(stored)
    assert asked == ["b"]


def test_lung_models_stand_beside_reconstruction_models(
    cts: Path, models: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """What a lung network is measured by takes long; here only what becomes of its figures."""
    figures = {"dice_right": 0.97, "dice_left": 0.5, "right_30_air_kept": 0.9}
    monkeypatch.setattr("xrecon.scoring_lungs.score_lungs", lambda *_: figures)
    outcome = evaluated([models[1], Path("lungs-unet")], cts, tmp_path, subjects=["a"], fractions=())
    assert {**rows_of(outcome, 1)["a"], **figures} == rows_of(outcome, 1)["a"]
    assert "| segmentation | lungs-unet |" in outcome.text and "| reconstruction |" in outcome.text
    assert "| dice left | 0.500 |" in outcome.text


def test_networks_on_whole_cts_are_compared_with_the_classical_lungs(cts: Path, tmp_path: Path):
    """A network that calls every voxel of the right half right lung: its Dice is known from the CT."""
    ct = remove_table(trunk(0))
    lungs, cube = classical_lungs(ct), ((16,) * 3, (22.4,) * 3, lung_center(ct))
    truth = resample(lungs, *cube, fill=0, order=0).array
    right = np.zeros(truth.shape, bool)
    right[:, :, :8], right[0, 0, 0] = True, False
    wanted = 2 * (right & (truth == 1)).sum() / (right.sum() + (truth == 1).sum())
    row = rows_of(evaluated([save_halves(tmp_path / "m")], cts, tmp_path / "o", subjects=["a"]), 0)["a"]
    assert row["dice_right_lung"] == pytest.approx(wanted) and row["dice_left_lung"] < 0.1


def test_runs_of_one_recipe_are_told_apart_by_their_folders(tmp_path: Path):
    for run, side in (("one", 16), ("two", 24)):
        tiny_models.save_backprojection(tmp_path / run / "model", side)
    card = json.loads((tmp_path / "two" / "model" / CARD_NAME).read_text())
    weights = hashlib.sha256(b"others").hexdigest()
    (tmp_path / "two" / "model" / CARD_NAME).write_text(json.dumps({**card, "sha256": weights}))
    names = [str(tmp_path / run / "model") for run in ("one", "two")]
    assert [m.label for m in _models(names)] == ["one/model", "two/model"]
    assert [m.label for m in _models([*names[:1], *names[:1]])] == ["tiny-test-backprojection"]
    (tmp_path / "one" / "model" / CARD_NAME).write_text(
        load_card(names[0])
        .model_copy(update={"input": PictureInput(shape=(8, 8)), "output": LabelOutput(labels=["PA"])})
        .model_dump_json()
    )
    assert "a radiograph of any kind" in render_card(load_card(names[0]))
    with pytest.raises(InputError, match="reconstruct or segment"):
        _models(names)
    tiny_models.save_backprojection(tmp_path / "one" / "model")
    shutil.copytree(tmp_path / "one", tmp_path / "copy")
    with pytest.raises(InputError, match="of one content"):
        _models([names[0], str(tmp_path / "copy" / "model")])


# -- what is refused -----------------------------------------------------------------------------
def test_a_card_gets_no_figures_of_cts_that_the_model_has_seen(
    cts: Path, models: list[Path], tmp_path: Path
):
    before = load_card(models[0])
    with pytest.raises(InputError, match="got c, on which"):
        evaluated(models[:1], cts, tmp_path, subjects=["c"], recorded=True)
    copied = trained_on(tiny_models.save_backprojection(tmp_path / "model"), "renamed")
    card = load_card(copied)
    known = [card.training_data[0].model_copy(update={"sha256": source_digest(cts / "a.nrrd")})]
    content = card.model_copy(update={"training_data": known}).model_dump(mode="json")
    (copied / CARD_NAME).write_text(json.dumps(content))
    with pytest.raises(InputError, match="got a, on which"):  # by content, whatever it was called
        evaluated([copied], cts, tmp_path / "o", recorded=True)
    validated = [Subject("v", cts / "b.nrrd", "v", sha256=source_digest(cts / "b.nrrd"))]
    for seen, wrong in ((validated, "b"), ([replace(validated[0], sha256="", patient="a")], "a")):
        other = trained_on(tiny_models.save_backprojection(tmp_path / f"validated {wrong}"), "renamed")
        record_validation(other, {"psnr": 20.0}, seen)
        assert load_card(other).quality["validation_subjects"] == ["v"]
        with pytest.raises(InputError, match=f"got {wrong}, on which"):  # by content, and by patient
            evaluated([other], cts, tmp_path / "o", recorded=True)
    assert load_card(models[0]) == before
    told = evaluated(models[:1], cts, tmp_path / "p", subjects=["c"], fractions=()).warnings
    assert any("no test of" in line and "has seen c" in line for line in told)


def test_a_ct_that_cannot_be_used_stops_no_other(cts: Path, models: list[Path], tmp_path: Path):
    folder = tmp_path / "cts"
    folder.mkdir()
    write_volume(trunk(0), folder / "good.nrrd")
    empty = trunk(1).with_array(np.full(trunk(1).shape, -1000, np.int16))
    empty.array[0, 0, 0] = 50
    write_volume(empty, folder / "empty.nrrd")
    outcome = evaluated(models[1:], folder, tmp_path / "o", fractions=(0.4,))
    assert set(rows_of(outcome, 0)) == {"good", "good+air40"}
    assert any("left out empty: " in line and "lung" in line for line in outcome.warnings)


# -- cards ---------------------------------------------------------------------------------------
def test_the_card_holds_figures_data_and_conditions(ran: tuple[Path, Outcome], models: list[Path]):
    _, outcome = ran
    test = load_card(models[0]).quality["test"]
    rows = rows_of(outcome, 0)
    assert [row["subject"] for row in test["subjects"]] == ["a", "b"]
    assert test["mean"]["psnr"] == pytest.approx((rows["a"]["psnr"] + rows["b"]["psnr"]) / 2, rel=1e-5)
    assert test["intervals"] == {}, "of two patients"
    assert [(d["subject"], d["licence"]) for d in test["data"]] == [("a", "CC0"), ("b", "CC0")]
    assert test["controls"] == {"nearest_subject_of": ["c", "d"]}
    assert [c["case"] for c in test["pneumothorax"]["cases"]] == ["a+air40", "b+air40"]
    worst = min(rows[name]["psnr"] for name in "ab")
    assert test["worst_case"]["value"] == pytest.approx(worst, rel=1e-5)
    assert test["made_with"]["packages"]["torch"] and test["made_with"]["device"] == "cpu"


def test_the_page_of_a_card_is_made_from_the_card(ran: tuple[Path, Outcome], models: list[Path]):
    for folder in models:
        page = (folder / CARD_PAGE).read_text()
        assert page == render_card(load_card(folder))
        assert f"![What the model made of it]({PICTURE})" in page
        assert (folder / PICTURE).stat().st_size < MOST_BYTES < 150_000
        assert min(Image.open(folder / PICTURE).size) > 200
    page = (models[0] / CARD_PAGE).read_text()
    mean = load_card(models[0]).quality["test"]["mean"]
    low, high = sorted(row["psnr"] for row in load_card(models[0]).quality["test"]["subjects"])
    assert f"| PSNR (dB) | {mean['psnr']:.2f} | {low:.2f} to {high:.2f} |" in page and "| range |" in page
    for text in ("Nobody, c", "CC0", "Intended use", "tests", "radiographs exchanged", "a+air40"):
        assert text in page, text


def test_a_card_keeps_what_others_wrote(models: list[Path], ran: tuple[Path, Outcome]):
    card = record_quality(models[1], "trust", {"subjects": ["v"]})
    assert card.quality["test"]["mean"] and card.quality["trust"] == {"subjects": ["v"]}
