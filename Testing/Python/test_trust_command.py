"""How far a model can be trusted: measured for its card, then told with each of its results."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tiny_models
from cli_inputs import body, error_line, xrecon
from xrecon import cli, trust_measurement
from xrecon.drr.projection import DrrOptions
from xrecon.evaluation.lesion_preservation import KINDS, lesion_preservation
from xrecon.io.image import read_volume, write_volume
from xrecon.nets.card import TrainingData
from xrecon.nets.registry import load_card, record_quality
from xrecon.physics.drr import render_drrs
from xrecon.physics.geometry import ViewGeometry
from xrecon.physics.ray_support import ray_support
from xrecon.pipelines import reconstruct
from xrecon.preprocess.ct import lung_center, remove_table, resample
from xrecon.training.seen import record_validation
from xrecon.training.store import source_digest
from xrecon.training.subjects import Subject
from xrecon.trust import intervals, stages
from xrecon.trust.augmentation import changed_inputs
from xrecon.trust.refinement import Refined
from xrecon.trust.stages import (
    UNCALIBRATED,
    after_refinement,
    evidence,
    figures_of,
    of_refined,
    runs_for_uncertainty,
    with_fitted_poses,
)
from xrecon.trust.words import trust_lines
from xrecon.trust_measurement import check_trust, measure_trust
from xrecon.volume import InputError, Quantity, Radiograph, Volume

SIDE, SPACING = 24, 15.0


def mirrored(volume: Volume) -> Volume:
    """Another person: sides exchanged, wider."""
    spacing = (*volume.spacing[:2], 1.1 * volume.spacing[2])
    return Volume(volume.array[:, :, ::-1].copy(), spacing, volume.origin)


@pytest.fixture(scope="module")
def cts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cts")
    write_volume(body(), folder / "one.nrrd")
    write_volume(mirrored(body()), folder / "two.nrrd")
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Always answers with the first person, with an error of 60 HU."""
    prepared = remove_table(body())
    center = lung_center(prepared)
    truth = resample(prepared, (SIDE,) * 3, (SPACING,) * 3, center)
    noise = np.random.default_rng(0).normal(0.0, 60.0, truth.shape)
    return tiny_models.save_memory(tmp_path_factory.mktemp("model"), truth.with_array(truth.array + noise))


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    """Coarse radiographs, one kind of lesion and few draws: the full ones take minutes."""
    few = partial(lesion_preservation, kinds=KINDS[:1], diameters_mm=(24.0,))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trust_measurement, "_options", lambda _: DrrOptions(shape=(64, 64)))
        patch.setattr(trust_measurement, "lesion_preservation", few)
        patch.setattr(intervals, "DRAWS", 3)
        yield


def pictures(**options: object) -> list[Radiograph]:
    center = tuple(lung_center(body()))
    views = [ViewGeometry.preset(v, shape=(60, 56), isocenter=center, **options) for v in tiny_models.VIEWS]
    return render_drrs(body(), views)


@pytest.fixture(scope="module")
def recorded(cts: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """The command's `trust.json`; the figures are in the model's card from now on."""
    output = tmp_path_factory.mktemp("trust") / "out"
    run = ["trust", "--model", model, "--data", cts, "--output", output, "--calibrate", "one"]
    assert cli.run([str(a) for a in [*run, "--others", "two", "--record", "--progress", "none"]]) == 0
    return json.loads((output / "trust.json").read_text())


def test_a_result_without_figures_says_so(cts: Path, tmp_path: Path):
    plain = tiny_models.save_backprojection(tmp_path / "plain")
    result = reconstruct(pictures(), plain, "cpu")
    trust = result.to_dict()["trust"]
    assert trust["reprojection"]["score"] is None and trust["reprojection"]["distance"] > 0
    assert trust["uncertainty"] == {} and result.uncertainty is None
    assert trust["refinement"] == {"applied": False, "reason": "not asked for"}
    assert result.ray_support.views.same_grid(result.volume)
    assert trust["ray_support"]["share_of_voxels_by_views"]["2"] > 0.5
    lines = trust_lines(trust)
    assert "not calibrated" in lines[0] and "% of the volume's numbers are not determined by them" in lines[1]
    # it is true of the network's detector only: a radiograph has many more pixels than there are voxels
    assert f"The model is given {trust['ray_support']['rays']} rays" in lines[1]
    assert "Not measured for this model" in lines[-1]
    spread = reconstruct(pictures(), plain, "cpu", uncertainty_samples=3)
    assert spread.uncertainty.array.max() > 1.0 and spread.uncertainty.same_grid(spread.volume)
    told = spread.trust["uncertainty"]
    assert (told["source"], told["calibrated"], told["samples"]) == ("augmentation", False, 3)
    assert told["meaning"] == UNCALIBRATED
    np.testing.assert_array_equal(spread.volume.array, result.volume.array)


def test_changed_inputs_are_nearly_the_inputs(rng: np.random.Generator):
    given = pictures()
    changed = changed_inputs(given, rng)
    for before, after in zip(given, changed, strict=True):
        assert np.corrcoef(before.array.ravel(), after.array.ravel())[0, 1] > 0.98
        moved = np.linalg.norm(np.array(after.geometry.isocenter) - before.geometry.isocenter)
        assert 0.0 < moved < 20.0 and not after.geometry.is_close(before.geometry)


def test_the_card_gets_what_results_then_tell(recorded: dict, model: Path):
    figures = load_card(model).quality["trust"]
    assert figures == recorded["trust"]
    assert figures["subjects"] == ["one"] and figures["others"] == ["two"]
    (one,) = figures["data"]
    assert one["subject"] == "one" and len(one["sha256"]) == 64 and one["patient"] == "one"
    assert figures["views"] == list(tiny_models.VIEWS)
    # of another number of views it holds neither scale nor intervals
    assert figures_of(load_card(model), 2) == figures
    assert set(figures) - set(figures_of(load_card(model), 3)) == {
        "reprojection",
        "uncertainty",
        "refinement",
    }
    # so with 3 views nothing is to be run again
    runs = [runs_for_uncertainty(load_card(model), None, views) for views in (2, 3)]
    assert runs == [figures["uncertainty"]["samples"], 0] and runs[0] > 0
    assert runs_for_uncertainty(load_card(model), 5, 3) == 5
    assert figures["reprojection"]["own"] < 0.05 < figures["reprojection"]["other"]
    assert figures["reprojection"]["separation"] == 1.0
    held = figures["uncertainty"]
    assert "coverage" not in held and len(held["curve"]) > 5  # it would hold by construction
    assert held["floor_hu"] == pytest.approx(60.0, rel=0.25) or held["factor"] > 0
    assert [k["name"] for k in figures["lesions"]["classes"]] == ["solid nodule in the lung"]
    # whatever is planted, it gives the same volume
    assert all(kind["smallest_preserved_mm"] is None for kind in figures["lesions"]["classes"])

    result = reconstruct(pictures(), model, "cpu")
    trust = result.trust
    assert abs(trust["reprojection"]["score"]) < 0.1
    assert trust["uncertainty"]["calibrated"] and trust["uncertainty"]["samples"] == held["samples"]
    assert result.uncertainty.meta["error_correlation_mm"] == f"{held['correlation_mm']:.1f}"
    lines = "\n".join(trust_lines(trust))
    assert "about as well" in lines and "Likely missing: solid nodule in the lung" in lines


def test_the_figures_are_checked_on_someone_else(recorded: dict, model: Path):
    checked = check_trust(model, [("two", mirrored(body()))], "cpu", lesions=False)
    assert checked["scores"]["own"]["two"] > 0.5  # the model gives another patient
    assert set(checked["uncertainty"]["coverage"]) == {"50", "80", "95"}
    assert checked["uncertainty"]["coverage"]["95"] < 0.9
    assert "lesions" not in checked and len(checked["refinement"]["subjects"]) == 1


def test_poses_are_refined_within_a_refinement_only(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    run = ["reconstruct", "--pa", tmp_path / "pa.nrrd", "--output", tmp_path / "out", "--refine-poses"]
    code, _, err = xrecon(capfd, *run)
    assert code == cli.USAGE and "--refine" in error_line(err) and not (tmp_path / "out").exists()


def test_a_card_is_written_once_and_only_when_all_is_measured(
    cts: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """New constants once replaced the card's, and dropped its test, before the test that then failed."""
    figures = {"subjects": ["one"], "uncertainty": {}, "refinement": {"psnr_gain_db": 0.1}}
    written, given = [], []

    def check(*_args, constants: object = None, **_options):
        given.append(constants)
        if len(given) == 1:
            raise InputError("expected luck")
        return {**figures, "subjects": ["two"]}

    monkeypatch.setattr(trust_measurement, "measure_trust", lambda *_a, **_o: figures)
    monkeypatch.setattr(trust_measurement, "check_trust", check)
    monkeypatch.setattr(trust_measurement, "record_quality", lambda *args: written.append(args))
    run = (str(model), cts, tmp_path / "o", ["one"], [], ["two"], "cpu", lambda *_: None, True)
    with pytest.raises(InputError, match="luck"):
        trust_measurement.measure_files(*run)
    assert written == [] and not (tmp_path / "o").exists()
    trust_measurement.measure_files(*run)
    ((name, entry, told),) = written
    (one,) = told.pop("data")
    assert one["subject"] == "one" and one["sha256"] == source_digest(cts / "one.nrrd")
    assert given == [{**figures, "data": [one]}] * 2
    assert (name, entry) == (str(model), "trust")
    assert told == {**figures, "test": {**figures, "subjects": ["two"]}}


def test_what_was_fitted_to_the_radiographs_is_no_check_of_them():
    trust = {"reprojection": {"score": 0.1, "independent": True, "meaning": "It fits."}}
    told = with_fitted_poses(trust)
    assert not told["reprojection"]["independent"] and trust["reprojection"]["independent"]
    assert "no independent check here: the views' poses were fitted" in trust_lines(told)[0]
    assert with_fitted_poses({}) == {}
    refined = of_refined({"is": "predicted by the network", "calibrated": True})
    (line,) = trust_lines({"uncertainty": refined})
    assert "predicted by the network, before refinement; calibrated" in line
    assert of_refined({}) == {}


@pytest.mark.parametrize("posed", [False, True])
def test_after_a_refinement_the_score_says_that_it_is_no_check(posed: bool):
    """In JSON it once was "independent" of a volume that had been fitted to the radiographs."""
    trust = {
        "reprojection": {"score": 0.1, "independent": True, "meaning": "It fits."},
        "uncertainty": {"is": "predicted by the network", "calibrated": True},
    }
    left = {"applied": False, "reason": "not asked for"}
    assert after_refinement(trust, left) == {**trust, "refinement": left}
    moved = {
        "applied": True, "iterations": 3, "rms_change_hu": 50.0,
        "held_out_residual": {"before": 0.2, "after": 0.1},
        **({"poses": {"applied": True, "text": ["x"], "held_out_residual": {"without": 0.2, "with": 0.1}}}
           if posed else {}),
    }  # fmt: skip
    told = after_refinement(trust, moved)
    assert told["reprojection"]["independent"] is False and trust["reprojection"]["independent"]
    assert told["refinement"] == moved and told["uncertainty"]["is"].endswith("before refinement")
    lines = trust_lines(told)
    what = "the volume and the views' poses were" if posed else "the volume was"
    assert lines[0].endswith(
        f"It fits. The score is no independent check here: {what} fitted to the radiographs."
    )
    assert sum("no independent check" in line for line in lines) == 1


def test_a_refined_result_is_no_check_of_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    plain = tiny_models.save_backprojection(tmp_path / "plain")
    done = {"applied": True, "reason": "", "poses": {"applied": False}}
    monkeypatch.setattr(stages, "refine", lambda volume, inputs, **_: Refined(volume, list(inputs), done))
    told = reconstruct(pictures(), plain, "cpu", refine=True).to_dict()["trust"]
    assert told["refinement"] == done and told["reprojection"]["independent"] is False
    assert told["reprojection"]["meaning"].endswith(stages.VOLUME_WAS_FITTED)
    untouched = reconstruct(pictures(), plain, "cpu").trust["reprojection"]
    assert untouched["independent"] and "no independent check" not in untouched["meaning"]


def test_what_was_measured_with_another_number_of_views_says_so():
    """any-view-64 was measured with two; of one, three and four it told the same as of two."""
    card = load_card("any-view-64")
    beams = ray_support(body(), [[r.geometry] for r in pictures()])
    scores = {f"view {n}": {"structure_correlation": 0.9} for n in range(3)}
    lesions = {n: evidence(dict(list(scores.items())[:n]), card, beams)["lesions"] for n in (1, 2, 3)}
    assert lesions[3] == [*lesions[2], "This was measured with 2 views; here there are 3."]
    assert lesions[1] == [*lesions[2], "This was measured with 2 views; here there is one."]
    assert "refinement" in figures_of(card, 2) and "refinement" not in figures_of(card, 3)
    moved = {
        "applied": True, "iterations": 3, "rms_change_hu": 50.0, "measured": False,
        "held_out_residual": {"before": 0.2, "after": 0.1},
    }  # fmt: skip
    assert "was not measured" in trust_lines({"refinement": moved})[0]
    assert "not measured" not in trust_lines({"refinement": {**moved, "measured": True}})[0]


def test_reconstruct_and_segment_carry_uncertainty(
    recorded: dict, model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    from xrecon.io.radiograph import write_radiograph

    for name, radiograph in zip(("pa", "lateral"), pictures(), strict=True):
        write_radiograph(radiograph, tmp_path / f"{name}.nrrd")
    output = tmp_path / "out"
    run = ["reconstruct", "--pa", tmp_path / "pa.nrrd", "--lateral", tmp_path / "lateral.nrrd"]
    code, out, err = xrecon(
        capfd, *run, "--model", model, "--output", output, "--refine", "--refine-poses", "--progress", "plain"
    )
    assert code == 0, err
    assert "Reprojection score: " in out and "Refine" in out and "Poses " in out
    numbers = json.loads((output / "reconstruction.json").read_text())
    moved = numbers["trust"]["refinement"]
    assert moved["reason"] and numbers["trust"]["ray_support"]["rays"] > 0
    assert moved["poses"] == {"applied": False, "reason": "the volume is not refined"}
    assert "How far it can be trusted" in (output / "report.html").read_text()
    beams = read_volume(output / "ray_support.nrrd", Quantity.LABEL)
    assert set(np.unique(beams.array)) <= {0, 1, 2}
    ct = read_volume(output / "reconstruction.nrrd")
    thresholds = ct.with_array(np.zeros(ct.shape, np.uint8), Quantity.LABEL)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in ct.shape], indexing="ij"), -1)[..., ::-1]
    x = ct.index_to_world(index)
    inside = (ct.array < -500) & (np.abs(x[..., 1] - ct.center[1]) < 60)
    thresholds.array[inside] = np.where(x[..., 0] < ct.center[0], 1, 2)[inside]
    write_volume(thresholds, tmp_path / "lungs.nrrd")
    segment = ["segment", "--ct", output / "reconstruction.nrrd", "--lungs", tmp_path / "lungs.nrrd"]
    code, _, err = xrecon(
        capfd, *segment, "--uncertainty", output / "uncertainty.nrrd", "--output", tmp_path / "s",
        "--progress", "none",
    )  # fmt: skip
    assert code == 0, err
    measures = json.loads((tmp_path / "s" / "segmentation.json").read_text())["measures"]
    whole = measures["right"]["hemithorax_volume"]
    assert "95 % interval from 3 volumes" in whole["note"]
    assert whole["low"] <= whole["value"] <= whole["high"]


def test_what_cannot_be_measured_is_refused(
    cts: Path, model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    with pytest.raises(InputError, match="at least two people"):
        measure_trust(model, [("one", body())], device="cpu", lesions=False, samples=1)
    with pytest.raises(InputError, match="CTs to measure on, got none"):
        measure_trust(model, [], device="cpu")
    plain = tiny_models.save_backprojection(tmp_path / "plain")
    with pytest.raises(InputError, match="given its trust figures"):
        check_trust(plain, [("one", body())], "cpu")
    with pytest.raises(InputError, match="makes a volume from radiographs"):
        measure_trust("lungs-unet", [("one", body())])
    run = ["trust", "--model", plain, "--data", cts, "--output", tmp_path / "o"]
    code, _, err = xrecon(capfd, *run, "--calibrate", "three")
    assert code == cli.BAD_INPUT and "three: unknown" in error_line(err)
    code, _, err = xrecon(capfd, *run)
    assert code == cli.BAD_INPUT and "to calibrate on or to test on" in error_line(err)
    assert not (tmp_path / "o").exists()


def test_nothing_is_tested_on_what_the_model_has_seen(
    cts: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    """Whatever a file is called: by its content, and by the patient of the table."""
    plain = tiny_models.save_backprojection(tmp_path / "plain")
    for name in ("one", "copy", "two"):
        source = "one" if name == "copy" else name
        (tmp_path / f"{name}.nrrd").write_bytes((cts / f"{source}.nrrd").read_bytes())
    run = ["trust", "--model", plain, "--data", tmp_path, "--output", tmp_path / "o"]

    def refusal(*options: str) -> str:
        code, _, err = xrecon(capfd, *run, *options)
        assert code == cli.BAD_INPUT and not (tmp_path / "o").exists()
        return error_line(err)

    assert "got copy" in refusal("--calibrate", "one", "--others", "two", "--test", "copy")
    validated = Subject("x", cts / "one.nrrd", "x", sha256=source_digest(cts / "one.nrrd"))
    record_validation(plain, {}, [validated])
    assert "neither validated nor measured on, got copy, one" in refusal("--test", "one", "--test", "copy")
    record_quality(plain, "trust", {"subjects": ["two"]})
    assert "neither validated nor measured on, got two" in refusal("--test", "two")
    # and one that was measured on under another name, or of whom another CT was
    told = {"subject": "z", "sha256": source_digest(cts / "two.nrrd"), "patient": "w"}
    record_quality(plain, "trust", {"subjects": ["z"], "data": [told]})
    assert "neither validated nor measured on, got two" in refusal("--test", "two")
    record_quality(plain, "trust", {"subjects": ["z"], "data": [{**told, "sha256": "", "patient": "two"}]})
    assert "neither validated nor measured on, got two" in refusal("--test", "two")
    (tmp_path / "subjects.csv").write_text("path,patient\none.nrrd,x\ntwo.nrrd,p\ncopy.nrrd,p\n")
    assert "got two" in refusal("--calibrate", "copy", "--others", "one", "--test", "two")
    card = load_card(plain)
    seen = [TrainingData(subject="y", attribution="", licence="", patient="p")]
    (plain / "card.json").write_text(card.model_copy(update={"training_data": seen}).model_dump_json())
    assert "got two: trained on" in refusal("--calibrate", "two", "--others", "one")
