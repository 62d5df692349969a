"""What a radiograph's file does not say is assumed, marked as assumed, and told with the result."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pydicom
import pytest
from cli_inputs import body, reconstruct_arguments, write_inputs, xrecon
from xrecon.commands import RadiographOptions, read_views
from xrecon.io.image import write_volume
from xrecon.io.radiograph import read_radiograph, write_radiograph

SIDE = "LEFT LATERAL: the side of the lateral is not recorded, LEFT was assumed (--lateral-side)"
FRONTAL = "PA: whether the frontal radiograph is PA or AP is not recorded, PA was assumed"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the inputs of `write_inputs`."""
    return write_inputs(tmp_path_factory.mktemp("files"))


def stripped(source: Path, target: Path, **tags: object) -> Path:
    """A copy without this package's private block; tags set, or removed when None."""
    dataset = pydicom.dcmread(source)
    dataset.remove_private_tags()
    for keyword, value in tags.items():
        if value is None:
            dataset.pop(keyword, None)
        else:
            setattr(dataset, keyword, value)
    dataset.save_as(target)
    return target


def warnings_of(capfd: pytest.CaptureFixture[str], *arguments: object) -> list[str]:
    """The warnings in the last JSON line of a run."""
    code, out, err = xrecon(capfd, *arguments, "--progress", "json")
    assert code == 0, err
    return json.loads(out.splitlines()[-1])["numbers"]["warnings"]


NO_SIDE = {"ViewPosition": "LATERAL"} | dict.fromkeys(
    ("PatientOrientation", "ViewCodeSequence", "PositionerType")
)


@pytest.mark.parametrize("tags", [NO_SIDE, {**NO_SIDE, "ViewPosition": None}])
def test_a_lateral_without_a_side_is_told(
    files: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], tags: dict
) -> None:
    lateral = stripped(files / "lateral.dcm", tmp_path / "lateral.dcm", **tags)
    run = reconstruct_arguments(files, tmp_path / "o", pa=stripped(files / "pa.dcm", tmp_path / "pa.dcm"))
    run[run.index("--lateral") + 1] = lateral
    assert [w for w in warnings_of(capfd, *run) if "side" in w or "PA or AP" in w] == [SIDE]
    said = warnings_of(capfd, *run, "--lateral-side", "left")
    assert SIDE not in said


def test_pictures_that_say_no_view_are_told(
    files: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("pa", "lateral"):
        (tmp_path / f"{name}.png").write_bytes((files / f"{name}.png").read_bytes())
    run = reconstruct_arguments(
        files, tmp_path / "o", pa=tmp_path / "pa.png", lateral=tmp_path / "lateral.png"
    )
    assert {SIDE, FRONTAL} <= set(warnings_of(capfd, *run))
    recorded = warnings_of(capfd, *reconstruct_arguments(files, tmp_path / "o"))
    # the classifier may take so plain a phantom for no chest
    assert [w for w in recorded if "looks like no frontal or lateral chest" not in w] == []


@pytest.mark.parametrize("suffix", [".dcm", ".png", ".nrrd"])
def test_an_assumed_view_stays_assumed_when_written(files: Path, tmp_path: Path, suffix: str) -> None:
    (tmp_path / "bare.png").write_bytes((files / "lateral.png").read_bytes())
    assumed = read_radiograph(tmp_path / "bare.png", usual_view="LEFT LATERAL")
    assert (assumed.view, assumed.meta["view.origin"]) == ("LEFT LATERAL", "assumed")
    write_radiograph(assumed, tmp_path / f"copy{suffix}")
    again = read_views(files / "pa.dcm", tmp_path / f"copy{suffix}", RadiographOptions())[1]
    assert again.meta["view.origin"] == "assumed"
    said = read_views(files / "pa.dcm", tmp_path / f"copy{suffix}", RadiographOptions(lateral_side="right"))
    assert (said[1].view, said[1].meta["view.origin"]) == ("RIGHT LATERAL", "argument")


def test_warnings_of_projections_reach_programs_and_files(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A body without lungs: the views turn about the middle of the volume, which must be said."""
    solid = body().with_array(np.where(body().array == -850, 40, body().array).astype(np.int16))
    (tmp_path / "cts").mkdir()
    write_volume(solid, tmp_path / "cts" / "solid.nrrd")
    small = ["--detector-pixels", 16, "--formats", "nrrd"]
    said = warnings_of(
        capfd, "drr", "--ct", tmp_path / "cts" / "solid.nrrd", "--output", tmp_path / "one", *small
    )
    assert len(said) == 1 and "middle of the volume" in said[0]
    assert json.loads((tmp_path / "one" / "drr.json").read_text())["warnings"] == said
    of_folder = warnings_of(capfd, "drr", "--data", tmp_path / "cts", "--output", tmp_path / "many", *small)
    assert of_folder == [f"solid: {said[0]}"]


def test_every_result_has_warnings(capfd: pytest.CaptureFixture[str]) -> None:
    assert warnings_of(capfd, "models") == []


def test_a_view_of_the_file_counts_more_than_the_usual_one(files: Path) -> None:
    read = read_radiograph(files / "pa.dcm", usual_view="LEFT LATERAL")
    assert (read.view, read.meta["view.origin"]) == ("PA", "DICOM")
