"""`xrecon reconstruct` from files that say their own view, `xrecon devices`, `xrecon phantom`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tiny_models
from cli_inputs import body, error_line, xrecon
from xrecon import cli, commands
from xrecon.io.image import read_volume
from xrecon.io.radiograph import read_radiograph, write_radiograph
from xrecon.nets.registry import create_model, save_model
from xrecon.physics.drr import render_drrs
from xrecon.physics.geometry import ViewGeometry
from xrecon.physics.view_names import nearest_view
from xrecon.volume import Quantity

ANGLES = {"pa": (0.0, 0.0), "lateral": (90.0, 0.0), "lao_45": (47.0, 3.0)}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Radiographs by name of ANGLES with their geometry, and a model of three views, one of them oblique."""
    folder = tmp_path_factory.mktemp("views")
    center = tuple(body().center)
    for name, angles in ANGLES.items():
        view = ViewGeometry.from_positioner_angles(*angles, shape=(40, 36), isocenter=center)
        write_radiograph(render_drrs(body(), [view])[0], folder / f"{name}.nrrd")
    options = {"side": tiny_models.SIDE, "field_mm": tiny_models.SIDE * tiny_models.SPACING_MM}
    card = tiny_models.card("test-backprojection", options)
    views = card.input.model_copy(update={"views": ["PA", "LEFT LATERAL", "LAO 45"]})
    network = create_model("test-backprojection", **options)
    save_model(folder / "model", network, card.model_copy(update={"input": views}))
    return folder


def test_three_views_of_any_angle_are_found_by_their_geometry(
    files: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    paths = [files / f"{name}.nrrd" for name in ("lao_45", "lateral", "pa")]
    options = ["--model", files / "model", "--output", tmp_path / "out", "--progress", "json"]
    code, out, err = xrecon(capfd, "reconstruct", "--radiograph", *paths, *options)
    assert code == cli.OK, err
    result = json.loads(out.splitlines()[-1])
    assert [view["view"] for view in result["numbers"]["views"]] == ["PA", "LEFT LATERAL", "LAO 45"]
    assert result["numbers"]["inputs"] == {
        "view_1": "lao_45.nrrd", "view_2": "lateral.nrrd", "view_3": "pa.nrrd",
    }  # fmt: skip
    oblique = read_radiograph(result["files"]["reprojection_lao_45"])
    assert np.allclose(oblique.geometry.positioner_angles, ANGLES["lao_45"], atol=1e-6)


def test_missing_views_are_wrong_usage_or_named(
    files: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = ["--model", files / "model", "--output", tmp_path / "out"]
    for arguments in ([], ["--pa", files / "pa.nrrd"]):
        code, _out, err = xrecon(capfd, "reconstruct", *arguments, *model)
        assert code == cli.USAGE and "--radiograph" in error_line(err)
    pair = [files / "pa.nrrd", files / "lateral.nrrd"]
    code, _out, err = xrecon(capfd, "reconstruct", "--radiograph", *pair, *model)
    assert code == cli.BAD_INPUT
    assert error_line(err) == "expected 3 radiographs (PA, LEFT LATERAL, LAO 45), got 2"


def test_a_direction_between_two_names_has_no_name() -> None:
    view = ViewGeometry.from_positioner_angles(30.0, 0.0)
    assert nearest_view(view, ["LAO 45", "RAO"]) == ""
    assert nearest_view(view, ["LAO 45", "LAO 20"]) == "LAO 20"
    assert nearest_view(view, []) == ""


def test_devices_tell_free_memory_and_need(capfd: pytest.CaptureFixture[str]) -> None:
    code, out, _err = xrecon(capfd, "devices", "--progress", "json")
    assert code == cli.OK
    cpu = json.loads(out.splitlines()[-1])["numbers"]["devices"][0]
    assert cpu["name"] == "cpu" and cpu["fault"] == ""
    assert 150 * 2**20 < cpu["needed_bytes"] < 400 * 2**20  # 216 MiB were taken by a run on a CPU


def test_an_unknown_device_is_wrong_usage(capfd: pytest.CaptureFixture[str]) -> None:
    code, _out, err = xrecon(capfd, "reconstruct", "--device", "tpu", "--output", "out")
    assert code == cli.USAGE and "cuda:N" in error_line(err)


def test_the_phantom_is_written_whole(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "PHANTOM_SPACING_MM", (6.0, 6.0, 6.0))
    monkeypatch.setattr(commands, "PHANTOM_DETECTOR", (32, 32))
    code, out, err = xrecon(capfd, "phantom", "--output", tmp_path / "phantom", "--progress", "json")
    assert code == cli.OK, err
    files = json.loads(out.splitlines()[-1])["files"]
    labels = read_volume(files["labels"], Quantity.LABEL)
    assert abs(np.count_nonzero(labels.array == 4) * labels.voxel_ml - 700.0) < 70.0
    views = [read_radiograph(files[name]).view for name in ("pa", "lateral")]
    assert views == ["PA", "LEFT LATERAL"]
