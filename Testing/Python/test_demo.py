"""The demonstration on a coarse phantom with an untrained model: every part is made, nothing more."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_models
from xrecon import cli, demo
from xrecon.checked import Checked
from xrecon.io.image import read_volume, write_volume
from xrecon.io.radiograph import read_radiograph
from xrecon.io.segmentation import read_segmentation
from xrecon.physics.chest_phantom import chest_phantom
from xrecon.volume import InputError, Quantity, Volume

pytestmark = pytest.mark.slow

SPACING_MM = (5.0, 5.0, 5.0)


def silent(*_: object) -> None:
    """No progress."""


@pytest.fixture(scope="module")
def remembering_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that knows the demonstration's phantom by heart, about the middle of its lungs."""
    from xrecon.preprocess.ct import lung_center, remove_table, resample

    phantom = chest_phantom(
        SPACING_MM, pneumothorax_ml=demo.PHANTOM_PNEUMOTHORAX_ML, side=demo.PHANTOM_SIDE, table=True
    )
    clean = remove_table(phantom.volume)
    center = lung_center(clean)
    cube = resample(clean, (64,) * 3, (5.6,) * 3, center).moved(-center)
    return tiny_models.save_memory(tmp_path_factory.mktemp("model") / "memory", cube)


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory, remembering_model: Path) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "out"
    outcome = demo.demo(
        None, folder, str(remembering_model), "cpu", silent,
        lung_models=("classical",), phantom_spacing=SPACING_MM, detector_pixels=96,
    )  # fmt: skip
    assert all(path.is_file() for path in outcome.files.values())
    return folder


@pytest.fixture(scope="module")
def numbers(output: Path) -> dict:
    return json.loads((output / "demo.json").read_text())


def test_all_files_are_there_and_no_others(output: Path):
    names = {p.name for p in output.iterdir()}
    pictures = {f"radiograph_{v}.{s}" for v in ("pa", "left_lateral") for s in ("dcm", "png", "json")}
    roles = ("input", "reprojection")
    seen = {f"{r}_{v}.{s}" for r in roles for v in ("pa", "lateral") for s in ("nrrd", "json")}
    segmentations = {
        f"{n}_segmentation.{s}" for n in ("source", "reconstruction") for s in ("seg.nrrd", "json", "csv")
    }
    assert names == pictures | seen | segmentations | {
        "source.nrrd", "reconstruction.nrrd", "truth.seg.nrrd", "demo.json", "drr.json", "metrics.csv",
        "volumes.csv", "report.html",
    }  # fmt: skip


def test_reconstruction_and_truth_share_a_frame(output: Path, numbers: dict):
    """The model remembers the phantom about the isocentre: only in the right place does it agree."""
    reconstruction, source = read_volume(output / "reconstruction.nrrd"), read_volume(output / "source.nrrd")
    np.testing.assert_allclose(reconstruction.center, numbers["isocenter_lps_mm"], atol=1e-3)
    assert np.linalg.norm(numbers["isocenter_lps_mm"]) > 1.0  # the frames do differ
    assert numbers["placement_error_mm"] == pytest.approx(0.0, abs=1e-3)
    assert numbers["metrics"]["mae_hu"] < 15.0
    from xrecon.pipelines import evaluate

    beside = reconstruction.moved((20.0, 0.0, 0.0))
    assert evaluate(beside, source)["mae_hu"] > 4 * numbers["metrics"]["mae_hu"]
    # the radiographs were made from the same body, so that its reprojection agrees with them
    for scores in numbers["reconstruction"]["scores"].values():
        assert scores["structure_correlation"] > 0.98
        assert scores["structure_correlation"] > scores["structure_correlation_outline"] + 0.2


def test_metrics_inside_the_body_stand_beside_those_of_the_cube(output: Path, numbers: dict):
    metrics = numbers["metrics"]
    for name in ("psnr", "mae_hu", "ssim", "cosine_similarity"):
        assert {name, f"{name}_body", f"{name}_mean_volume", f"{name}_body_mean_volume"} <= set(metrics)
    assert {"psnr_slices", "ssim_slices", "psnr_slices_mean_volume"} <= set(metrics)
    with (output / "metrics.csv").open() as stream:
        rows = {row["metric"]: row for row in csv.DictReader(stream)}
    assert float(rows["mae_hu_body"]["reconstruction"]) == metrics["mae_hu_body"]
    text = (output / "report.html").read_text()
    assert "inside the body" in text and "whole cube" in text


def test_the_radiographs_read_back_with_their_views(output: Path):
    for name, view in (("pa", "PA"), ("left_lateral", "LEFT LATERAL")):
        for suffix in ("dcm", "png"):
            radiograph = read_radiograph(output / f"radiograph_{name}.{suffix}")
            assert radiograph.view == view and radiograph.quantity is Quantity.LINE_INTEGRAL


def test_a_wrong_place_shows(
    tmp_path: Path, remembering_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing moves the reconstruction onto the CT: 20 mm aside, it is 20 mm aside and worse."""
    right = demo.reconstruct_checked

    def aside(*arguments: object, **options: object) -> Checked:
        done = right(*arguments, **options)
        moved = done.result.volume.moved((20.0, 0.0, 0.0))
        return replace(done, result=replace(done.result, volume=moved))

    monkeypatch.setattr(demo, "reconstruct_checked", aside)
    outcome = demo.demo(
        None, tmp_path / "out", str(remembering_model), "cpu", silent,
        lung_models=("classical",), phantom_spacing=SPACING_MM, detector_pixels=64,
    )  # fmt: skip
    assert outcome.numbers["placement_error_mm"] == pytest.approx(20.0, abs=1e-3)
    assert outcome.numbers["metrics"]["mae_hu"] > 40.0
    assert any("20.0 mm from where the CT was projected" in note for note in outcome.warnings)


def test_pneumothorax_is_measured_on_its_side(output: Path, numbers: dict):
    measured = numbers["pneumothorax"]
    assert measured["truth"]["left_pneumothorax_ml"] == pytest.approx(demo.PHANTOM_PNEUMOTHORAX_ML, abs=1.0)
    assert measured["truth"]["right_pneumothorax_ml"] == 0
    assert measured["source CT"]["left_pneumothorax_ml"] > 0.5 * demo.PHANTOM_PNEUMOTHORAX_ML
    assert measured["source CT"]["right_pneumothorax_ml"] < 0.1 * demo.PHANTOM_PNEUMOTHORAX_ML
    with (output / "volumes.csv").open() as stream:
        rows = {row["measured_on"]: row for row in csv.DictReader(stream)}
    assert float(rows["truth"]["left_pneumothorax_ml"]) == measured["truth"]["left_pneumothorax_ml"]


def test_doubts_of_ptx_seg_stand_beside_its_figures(output: Path, numbers: dict):
    """A reconstruction is no CT: wherever its pneumothorax is told, so is what makes it doubtful."""
    doubts = numbers["pneumothorax"]["reconstruction"]["warnings"]
    assert any("reconstructed from radiographs" in text for text in doubts)
    with (output / "volumes.csv").open() as stream:
        rows = {row["measured_on"]: row for row in csv.DictReader(stream)}
    assert "reconstructed from radiographs" in rows["reconstruction"]["warnings"]
    assert rows["truth"]["warnings"] == ""
    text = (output / "report.html").read_text()
    table = text[text.index("Lungs and pneumothorax") : text.index("Lung masks")]
    assert "reconstruction (doubtful, see below)" in table and "reconstructed from radiographs" in table
    assert "truth (doubtful" not in table


def test_segmentations_lie_on_their_volumes(output: Path):
    for name, volume in (("source", "source"), ("reconstruction", "reconstruction"), ("truth", "source")):
        stem = "truth" if name == "truth" else f"{name}_segmentation"
        labels, segments = read_segmentation(output / f"{stem}.seg.nrrd")
        assert labels.same_grid(read_volume(output / f"{volume}.nrrd"), tolerance_mm=0.01)
        assert [s.label for s in segments] == [1, 2, 3, 4]


def test_the_report_stands_alone(output: Path):
    text = (output / "report.html").read_text()
    assert text.count("data:image/png") >= 5
    assert "http://" not in text and "https://" not in text and "<script" not in text
    for words in ("Research software", "mean training volume", "Lungs and pneumothorax", "Warnings"):
        assert words in text


def test_the_report_says_how_far_the_reconstruction_can_be_trusted(output: Path, numbers: dict):
    """Score and residual, beams, familiarity, lesions: in the numbers, and each in words on the page."""
    trust, page = numbers["reconstruction"]["trust"], (output / "report.html").read_text(encoding="utf-8")
    assert trust["reprojection"]["distance"] < 0.02  # a model that remembers the phantom explains it
    assert trust["ray_support"]["share_well_crossed"] > 0.5 and "lesions" in trust
    table = page[page.index("How far it can be trusted") :]
    assert "Reprojection score" in table and "Beams: " in table
    assert trust["reprojection"]["cannot_see"][:60] in table
    seen = numbers["reconstruction"]["recognition"]
    assert [each["said"] for each in seen] == ["PA", "LEFT LATERAL"]
    assert all(each["unfamiliarity"] > 0 for each in seen) and "What the radiographs look like" in page
    assert "How many radiographs" in page and "relative residual" in page  # the map, and the residual


def test_a_ct_of_the_user(tmp_path: Path, remembering_model: Path, capfd: pytest.CaptureFixture[str]):
    """A CT stored in another order, far from the scanner's zero, without known labels."""
    phantom = chest_phantom((8.0, 8.0, 8.0), noise_hu=0.0).volume
    corner = phantom.index_to_world(np.array([phantom.shape[2] - 1, phantom.shape[1] - 1, 0]))
    turned = Volume(
        phantom.array[:, ::-1, ::-1], phantom.spacing, tuple(corner + 300.0), np.diag([-1.0, -1.0, 1.0])
    )
    write_volume(turned, tmp_path / "someone.nii.gz")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("of the user")
    (tmp_path / "outside.txt").write_text("of the user")
    (tmp_path / "out" / "truth.seg.nrrd").write_text("of another patient")
    earlier = {"files": ["truth.seg.nrrd", "../outside.txt", "gone.nrrd", 3]}
    (tmp_path / "out" / "demo.json").write_text(json.dumps(earlier))
    outcome = demo.demo(
        tmp_path / "someone.nii.gz", tmp_path / "out", str(remembering_model), "cpu", silent,
        lung_models=("classical",), detector_pixels=64,
    )  # fmt: skip
    assert outcome.numbers["source"] == "someone.nii.gz"
    np.testing.assert_allclose(outcome.numbers["isocenter_lps_mm"], 300.0, atol=40.0)
    assert outcome.numbers["metrics"]["mae_hu"] < 100.0  # the other phantom has no pneumothorax
    assert "truth" not in outcome.numbers["pneumothorax"]
    assert not (tmp_path / "out" / "truth.seg.nrrd").exists()  # of the run before
    assert (tmp_path / "out" / "notes.txt").is_file() and (tmp_path / "outside.txt").is_file()
    listed = json.loads((tmp_path / "out" / "demo.json").read_text())["files"]
    assert set(listed) == {p.name for p in (tmp_path / "out").iterdir()} - {"notes.txt"}
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert f"xrecon demo --ct someone.nii.gz --model {remembering_model.name}" in page
    assert str(tmp_path) not in page and str(remembering_model.parent) not in page  # pages are shared
    code = cli.run(["demo", "--ct", str(tmp_path / "nobody.nii"), "--output", str(tmp_path / "none")])
    assert code == cli.BAD_INPUT and not (tmp_path / "none").exists()


def test_nothing_is_left_when_the_model_is_missing(tmp_path: Path):
    with pytest.raises(InputError, match="no-such-model"):
        demo.demo(
            None, tmp_path / "out", "no-such-model", "cpu", silent,
            phantom_spacing=(10.0, 10.0, 10.0), detector_pixels=32,
        )  # fmt: skip
    assert not (tmp_path / "out").exists()
