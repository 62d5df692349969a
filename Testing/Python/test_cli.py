"""The command line when all goes well: help, results, progress."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
import typer
from cli_inputs import BACKEND, body, error_line, reconstruct_arguments, write_inputs, xrecon
from xrecon import cli
from xrecon.io.image import read_volume, write_volume
from xrecon.io.radiograph import read_radiograph
from xrecon.io.segmentation import SegmentDescription, write_segmentation
from xrecon.options import parse_settings, spread_lists
from xrecon.progress import Reporter, plain_data
from xrecon.volume import InputError, Quantity, Volume

COMMANDS = (
    "drr", "reconstruct", "segment", "train", "scan", "evaluate", "benchmark", "models", "devices", "phantom",
    "demo", "export", "trust", "recognise",
)  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the inputs of `write_inputs`."""
    return write_inputs(tmp_path_factory.mktemp("files"))


# -- help ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_is_complete_and_light(command: str):
    code = (
        "import sys\nfrom xrecon import cli\n"
        f"code = cli.run([*{[command] if command else []!r}, '--help'])\n"
        "heavy = {'torch', 'monai', 'skimage', 'SimpleITK', 'pydicom', 'scipy'} & set(sys.modules)\n"
        "sys.exit(code or (sorted(heavy) if heavy else 0))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(BACKEND), "COLUMNS": "120"},
    )
    assert done.returncode == 0, done.stderr
    if command:
        assert "Example: xrecon " + command in done.stdout
    else:
        assert all(name in done.stdout for name in COMMANDS)
        assert "not a medical" in done.stdout


def test_the_readme_lists_every_command():
    readme = (BACKEND.parent / "README.md").read_text(encoding="utf-8")
    examples = readme.split("## On the command line")[1].split("```")[1]
    listed = {line.split()[1] for line in examples.splitlines() if line.startswith("xrecon ")}
    assert listed == set(typer.main.get_command(cli.app).commands)


def test_the_example_of_segment_stays_in_the_default_mode(
    files: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    """A parameter of Algorithm 1 switches to the reference mode; the result tells the mode."""
    _, out, _ = xrecon(capfd, "segment", "--help")
    example = out.split("Example: ")[1]
    assert "xrecon segment --ct" in example and "--set" not in example and "--mode" not in example
    run = ["segment", "--ct", files / "ct.nrrd", "--lung-model", "classical", "--progress", "plain"]
    for mode, settings in (("robust", []), ("reference", ["--set", "t_p=-950"])):
        code, out, err = xrecon(capfd, *run, "--output", tmp_path / mode, *settings)
        assert code == 0, err
        assert f"PTX-Seg in {mode} mode" in out


def test_version_and_usage(capfd: pytest.CaptureFixture[str]):
    assert xrecon(capfd, "--version")[:2] == (0, "xrecon 0.1.0\n")
    oblique = ["drr", "--ct", "a", "--output", "b", "--views", "oblique"]
    for wrong in (["paint"], ["drr"], oblique, ["models", "--x"]):
        code, _, err = xrecon(capfd, *wrong)
        assert code == cli.USAGE
        assert error_line(err)
    code, _, err = xrecon(capfd, "evaluate", "--model", "m", "--output", "o")
    assert code == cli.USAGE and "--data" in error_line(err)


def test_list_options_take_several_values():
    assert spread_lists(["drr", "--views", "PA", "LEFT LATERAL", "--ct", "x"]) == [
        "drr", "--views", "PA", "--views", "LEFT LATERAL", "--ct", "x",
    ]  # fmt: skip
    assert spread_lists(["--set", "a=1", "--set", "b=2"]) == ["--set", "a=1", "--set", "b=2"]
    assert spread_lists(["--ct", "a", "b"]) == ["--ct", "a", "b"]


def test_settings_are_read_as_json_or_text():
    assert parse_settings(["t_p=-950", "device=cpu", "loss.projection=0.1", "x=[1, 2]"]) == {
        "t_p": -950,
        "device": "cpu",
        "loss.projection": 0.1,
        "x": [1, 2],
    }
    with pytest.raises(InputError, match="NAME=VALUE, got 'steps'"):
        parse_settings(["steps"])


# -- what goes right -----------------------------------------------------------------------------
def test_drr_then_reconstruct(files: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    pictures = tmp_path / "pictures"
    code, out, _ = xrecon(
        capfd, "drr", "--ct", files / "ct.nrrd", "--output", pictures, "--views", "PA", "LEFT LATERAL",
        "--detector-pixels", 40, "--progress", "json",
    )  # fmt: skip
    assert code == 0
    events = [json.loads(line) for line in out.splitlines()]
    assert {e["event"] for e in events[:-1]} == {"progress"} and events[-1]["event"] == "result"
    assert all(0 <= e["fraction"] <= 1 and e["stage"] for e in events[:-1])
    made = {p.name for p in pictures.iterdir()}
    assert made == {"ct_pa.dcm", "ct_pa.png", "ct_pa.json", "ct_left_lateral.dcm", "ct_left_lateral.png",
                    "ct_left_lateral.json", "drr.json"}  # fmt: skip
    isocenter = np.array(json.loads((pictures / "drr.json").read_text())["isocenter_lps_mm"])
    assert np.linalg.norm(isocenter) > 10.0
    studies = {pydicom.dcmread(pictures / f"ct_{v}.dcm").StudyInstanceUID for v in ("pa", "left_lateral")}
    assert len(studies) == 1

    for suffix in ("dcm", "png"):
        output = tmp_path / suffix
        arguments = reconstruct_arguments(
            files, output, pa=pictures / f"ct_pa.{suffix}", lateral=pictures / f"ct_left_lateral.{suffix}"
        )
        code, out, err = xrecon(capfd, *arguments, "--progress", "json")
        assert code == 0, err
        result = json.loads(out.splitlines()[-1])
        assert set(result["files"]) == {"reconstruction", "input_pa", "input_lateral", "reprojection_pa",
                                        "reprojection_lateral", "ray_support", "crossing_angle",
                                        "summary", "report"}  # fmt: skip
        volume = read_volume(output / "reconstruction.nrrd")
        np.testing.assert_allclose(volume.center, isocenter, atol=1e-3)  # in the place of the CT
        assert "synthetic" in volume.meta and volume.meta["model"] == "tiny-lifting"
        pair = [read_radiograph(output / f"{role}_pa.nrrd") for role in ("input", "reprojection")]
        assert pair[0].geometry.is_close(pair[1].geometry, 1e-3)
        numbers = json.loads((output / "reconstruction.json").read_text())
        assert set(numbers["scores"]) == {"PA", "LEFT LATERAL"}
        assert "not for diagnosis" in numbers["notice"]


def test_drr_of_a_folder_leaves_label_maps_out(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    data = tmp_path / "cts"
    data.mkdir()
    write_volume(body(), data / "one.nrrd")
    write_volume(body(), data / "two.nii.gz")
    labels = body().with_array((body().array < -500).astype(np.uint8), "label")
    write_volume(labels, data / "one_lungs.nrrd")
    run = ["drr", "--data", data, "--output", tmp_path / "out"]
    run += ["--formats", "nrrd", "--detector-pixels", "16"]
    code, out, err = xrecon(capfd, *run, "--progress", "json")
    assert code == 0, err
    result = json.loads(out.splitlines()[-1])
    assert sorted(result["files"]) == sorted(result["numbers"]["subjects"]) == ["one", "two"]
    assert any("one_lungs.nrrd" in warning for warning in result["numbers"]["warnings"])
    for name in ("one", "two"):
        assert read_radiograph(tmp_path / "out" / name / f"{name}_pa.nrrd").view == "PA"
        assert (tmp_path / "out" / name / "drr.json").is_file()
    code, _, err = xrecon(capfd, *run, "--ct", data / "one.nrrd")
    assert code == cli.USAGE and "either --ct or --data" in error_line(err)
    code, _, err = xrecon(capfd, "drr", "--data", tmp_path, "--output", tmp_path / "none")
    assert code == cli.BAD_INPUT and "found none" in error_line(err)
    assert not (tmp_path / "none").exists()


def test_plain_output_is_for_people(files: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    code, out, err = xrecon(capfd, *reconstruct_arguments(files, tmp_path / "o"), "--progress", "plain")
    assert code == 0
    assert "PA: structure correlation" in out and "reconstruction.nrrd" in out and "[reconstruct]" in err
    code, out, _ = xrecon(capfd, *reconstruct_arguments(files, tmp_path / "o"), "--progress", "none")
    assert code == 0 and out == ""


def test_lungs_that_slicer_has_cropped_are_put_back(
    files: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    """Slicer stores the box around the segments; anything else that is not on the CT's grid is refused."""
    side = np.where(np.arange(43) < 20, 1, 2)
    whole = body().with_array(np.where(body().array == -850, side, 0).astype(np.uint8), Quantity.LABEL)
    corner = whole.index_to_world(np.array([3, 4, 2]))

    def cut(moved: float = 0.0, spacing: float = 8.0) -> Path:
        box = Volume(whole.array[2:-2, 4:-4, 3:-3], (8.0, 8.0, spacing), tuple(corner + moved))
        labels = Volume(box.array, box.spacing, box.origin, quantity=Quantity.LABEL)
        write_segmentation(labels, tmp_path / "lungs.seg.nrrd")
        return tmp_path / "lungs.seg.nrrd"

    def run(lungs: Path, output: Path) -> tuple[int, str]:
        code, _, err = xrecon(
            capfd, "segment", "--ct", files / "ct.nrrd", "--output", output, "--lungs", lungs
        )
        return code, err

    write_segmentation(whole, tmp_path / "whole.seg.nrrd")
    for lungs, name in ((tmp_path / "whole.seg.nrrd", "a"), (cut(), "b")):
        code, err = run(lungs, tmp_path / name)
        assert code == 0, err
    one, other = (read_volume(tmp_path / n / "segmentation.seg.nrrd", Quantity.LABEL) for n in "ab")
    assert one.array.any() and np.array_equal(one.array, other.array)
    for wrong in ({"moved": 4.0}, {"spacing": 7.0}, {"moved": 80.0}):
        code, err = run(cut(**wrong), tmp_path / "c")
        assert code == cli.BAD_INPUT and "grid of the CT" in error_line(err)


def test_evaluate_two_files(files: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    write_volume(body().with_array(body().array + np.int16(10)), tmp_path / "other.nrrd")
    code, _, err = xrecon(
        capfd, "evaluate", "--prediction", tmp_path / "other.nrrd", "--reference", files / "ct.nrrd",
        "--output", tmp_path / "scores",
    )  # fmt: skip
    assert code == 0, err
    row = json.loads((tmp_path / "scores" / "evaluation.json").read_text())["subjects"][0]
    assert row["mae_hu"] == pytest.approx(10.0)


def test_segmentations_are_compared_by_name(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    """Programs number segments as they like: what is called the same is compared."""
    right = (slice(5, 20), slice(5, 20), slice(5, 15))
    left = (slice(5, 20), slice(5, 20), slice(25, 40))

    def write(name: str, **labels: int) -> Path:
        array = np.zeros(body().shape, np.uint8)
        array[right], array[left] = labels["right"], labels["left"]
        segments = [SegmentDescription(labels[s], f"{s} lung", (1.0, 0.0, 0.0)) for s in ("right", "left")]
        segments += [SegmentDescription(9, name, (0.0, 1.0, 0.0))]
        write_segmentation(body().with_array(array, Quantity.LABEL), tmp_path / f"{name}.seg.nrrd", segments)
        return tmp_path / f"{name}.seg.nrrd"

    run = ["evaluate", "--prediction", write("mine", right=2, left=1)]
    run += ["--reference", write("theirs", right=1, left=4)]
    code, _, err = xrecon(capfd, *run, "--output", tmp_path / "o")
    assert code == 0, err
    numbers = json.loads((tmp_path / "o" / "evaluation.json").read_text())
    assert numbers["subjects"][0]["dice_1"] == numbers["subjects"][0]["dice_4"] == 1.0
    assert numbers["segments"] == {"1": "right lung", "4": "left lung", "9": "theirs", "10": "mine"}
    strange = [SegmentDescription(1, "something", (1.0, 0.0, 0.0))]
    one = body().with_array((body().array > 0).astype(np.uint8), Quantity.LABEL)
    write_segmentation(one, tmp_path / "strange.seg.nrrd", strange)
    run[2] = tmp_path / "strange.seg.nrrd"
    code, _, err = xrecon(capfd, *run, "--output", tmp_path / "o2")
    assert code == cli.BAD_INPUT and "same names" in error_line(err) and "something" in error_line(err)


def test_evaluate_a_model_with_its_control(files: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    data = tmp_path / "data"
    data.mkdir()
    (data / "someone.nrrd").write_bytes((files / "ct.nrrd").read_bytes())
    run = ["evaluate", "--model", files / "model", "--data", data, "--output", tmp_path / "scores"]
    run += ["--lung-model", "classical"]
    code, out, err = xrecon(capfd, *run, "--pneumothorax", "0")
    assert code == 0, err
    assert "| PSNR (dB), mean training volume |" in out
    (model,) = json.loads((tmp_path / "scores" / "evaluation.json").read_text())["models"]
    (row,) = model["cases"]
    # untrained: the model says its mean volume, so it cannot be better than the control
    assert row["psnr"] == pytest.approx(row["psnr_mean_volume"], abs=1e-6)
    assert {"pa_structure_correlation_outline", "left_lateral_relative_residual"} <= set(row)
    for wrong, message in (
        (["--subjects", "nobody"], "nobody"), (["--pneumothorax", "1.5"], "0.01 to 0.9"),
        (["--split", tmp_path / "none.csv"], "none.csv"),
    ):  # fmt: skip
        code, _, err = xrecon(capfd, *run, *wrong)
        assert code == cli.BAD_INPUT and message in error_line(err)
    code, _, err = xrecon(capfd, *run, "--trust")
    assert code == cli.USAGE and "--record" in error_line(err)


def test_models_lists_architectures(capfd: pytest.CaptureFixture[str]):
    code, out, _ = xrecon(capfd, "models", "--progress", "json")
    assert code == 0 and "x-recon" in json.loads(out)["numbers"]["architectures"]


# -- progress ------------------------------------------------------------------------------------
def test_json_progress_is_thinned_and_finite(capfd: pytest.CaptureFixture[str]):
    with Reporter("json") as report:
        for i in range(1001):
            report("work", i / 1000, "working")
        numbers = {"x": np.float32(1.5), "bad": float("nan"), "n": np.arange(2)}
        report.result({"volume": Path("a.nrrd")}, numbers)
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert 90 <= len(lines) <= 120
    assert lines[-2]["fraction"] == 1.0
    assert lines[-1]["files"] == {"volume": "a.nrrd"}
    assert lines[-1]["numbers"] == {"x": 1.5, "bad": None, "n": [0, 1]}


def test_bars_do_not_touch_stdout(capfd: pytest.CaptureFixture[str]):
    with Reporter("rich") as report:
        report("one", 0.5, "half")
        report("two", 1.0, "done")
        report.result({}, {}, "the text")
    out, err = capfd.readouterr()
    assert out == "the text\n" and "one" in err


def test_plain_data_makes_strict_json():
    data = plain_data({"p": Path("x"), "t": (1, 2), "i": np.int64(3), "inf": np.inf, "v": [np.array([1.0])]})
    expected = {"p": "x", "t": [1, 2], "i": 3, "inf": None, "v": [[1.0]]}
    assert json.loads(json.dumps(data, allow_nan=False)) == expected
