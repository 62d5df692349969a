"""`xrecon reconstruct` from files that say their own view, `xrecon devices`, `xrecon phantom`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tiny_models
from cli_inputs import body, error_line, xrecon
from xrecon import cli, tools
from xrecon.io.image import read_volume
from xrecon.io.radiograph import read_radiograph, write_radiograph
from xrecon.nets.registry import create_model, save_model
from xrecon.physics.drr import render_drrs
from xrecon.physics.geometry import ViewGeometry
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
    changes = {"views": ["PA", "LEFT LATERAL", "LAO 45"], "view_count": (3, 3), "directions": "any"}
    views = card.input.model_copy(update=changes)
    network = create_model("test-backprojection", **options)
    save_model(folder / "model", network, card.model_copy(update={"input": views}))
    return folder


def test_three_views_of_any_angle_give_a_ct_with_a_report(
    files: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    paths = [files / f"{name}.nrrd" for name in ("lao_45", "lateral", "pa")]
    options = ["--model", files / "model", "--output", tmp_path / "out", "--progress", "json"]
    code, out, err = xrecon(capfd, "reconstruct", "--force", "--radiographs", *paths, *options)
    assert code == cli.OK, err
    result = json.loads(out.splitlines()[-1])
    (oblique,) = [role for role in result["files"] if role.startswith("reprojection_lao")]
    geometry = read_radiograph(result["files"][oblique]).geometry
    assert np.allclose(geometry.positioner_angles, ANGLES["lao_45"], atol=1e-6)
    report = Path(result["files"]["report"]).read_text(encoding="utf-8")
    assert "not a medical device" in report and "lao_45.nrrd" in report and "test-backprojection" in report


def test_devices_tell_free_memory_and_need(capfd: pytest.CaptureFixture[str]) -> None:
    code, out, _err = xrecon(capfd, "devices", "--model", "lifting-64", "--progress", "json")
    assert code == cli.OK
    cpu = json.loads(out.splitlines()[-1])["numbers"]["devices"][0]
    assert cpu["name"] == "cpu" and cpu["fault"] == ""
    needed = cpu["needed_bytes"]
    assert 150 * 2**20 < needed < 400 * 2**20  # 216 MiB were taken by a run on a CPU


def test_an_unknown_device_is_wrong_usage(capfd: pytest.CaptureFixture[str]) -> None:
    code, _out, err = xrecon(capfd, "reconstruct", "--device", "tpu", "--output", "out")
    assert code == cli.USAGE and "cuda:N" in error_line(err)


def test_the_phantom_is_written_whole(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tools, "PHANTOM_SPACING_MM", (6.0, 6.0, 6.0))
    monkeypatch.setattr(tools, "PHANTOM_DETECTOR", (32, 32))
    code, out, err = xrecon(capfd, "phantom", "--output", tmp_path / "phantom", "--progress", "json")
    assert code == cli.OK, err
    files = json.loads(out.splitlines()[-1])["files"]
    labels = read_volume(files["labels"], Quantity.LABEL)
    assert abs(np.count_nonzero(labels.array == 4) * labels.voxel_ml - 700.0) < 70.0
    views = [read_radiograph(files[name]).view for name in ("pa", "lateral")]
    assert views == ["PA", "LEFT LATERAL"]
