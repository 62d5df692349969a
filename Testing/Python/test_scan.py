"""What `xrecon scan` says of a folder: what is there, what is wrong with it, what is worth a look."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from cli_inputs import xrecon
from dicom_inputs import write_ct_series
from trunk import trunk
from xrecon.io.image import write_volume
from xrecon.training.scan import Study, grid_notes, scan
from xrecon.training.subjects import find_subjects
from xrecon.volume import InputError, Quantity, Volume


def silent(stage: str, fraction: float, message: str) -> None:
    """Progress for nobody."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two CTs, one of them twice, and what is none."""
    folder = tmp_path_factory.mktemp("cts")
    ct = trunk(seed=0)
    write_volume(ct, folder / "good.nrrd")
    shutil.copy(folder / "good.nrrd", folder / "good_again.nrrd")
    write_volume(ct.with_array((ct.array < -500).astype(np.uint8), Quantity.LABEL), folder / "labels.nrrd")
    write_volume(ct.with_array((ct.array + 1024).clip(0).astype(np.uint16)), folder / "offset.nrrd")
    nobody = np.full((9, 10, 11), -1000, np.int16)
    nobody[4, 5, 6] = 40
    write_volume(Volume(nobody, (5.0, 5.0, 5.0)), folder / "nobody.nrrd")
    (folder / "damaged.nii.gz").write_bytes((folder / "good.nrrd").read_bytes()[:400])
    (folder / "readme.txt").write_text("no CT")
    (folder / "figures").mkdir()
    return folder


def test_each_study_is_named_with_what_is_wrong(folder: Path) -> None:
    studies = {study.name: study for study in scan(folder, silent)}
    assert sorted(studies) == ["damaged", "good", "good_again", "labels", "nobody", "offset"]
    ct, good = trunk(seed=0), studies["good"]
    assert good.size == ct.shape[::-1] and good.spacing_mm == ct.spacing[::-1]
    assert good.problem == "" and "same CT" not in " ".join(good.notes)
    assert studies["good_again"].notes[-1] == "the same CT as good"
    assert "no chest CT in HU: CT numbers with an offset?" in studies["offset"].problem
    assert "'label'" in studies["labels"].problem
    assert "no tissue" in studies["nobody"].problem
    assert "damaged.nii.gz" in studies["damaged"].problem and studies["damaged"].size == (0, 0, 0)


def test_what_has_no_problem_is_what_a_training_finds(folder: Path) -> None:
    usable = {study.name for study in scan(folder, silent) if not study.problem}
    found = {subject.name for subject in find_subjects(folder)}
    assert usable == found - {"nobody"}  # that one shows only when it is prepared


def test_thick_and_short_scans_are_noted(tmp_path: Path) -> None:
    ct = trunk(seed=0)
    thick = Volume(ct.array[::3], (3 * ct.spacing[0], *ct.spacing[1:]), ct.origin, quantity=ct.quantity)
    write_volume(thick, tmp_path / "thick.nrrd")
    half = ct.shape[0] // 2
    write_volume(Volume(ct.array[:half], ct.spacing, ct.origin, quantity=ct.quantity), tmp_path / "half.nrrd")
    notes = {study.name: " ".join(study.notes) for study in scan(tmp_path, silent)}
    assert f"slices are {thick.spacing[0]:.1f} mm apart" in notes["thick"]
    assert f"only {half * ct.spacing[0]:.0f} mm from head to foot" in notes["half"]
    assert "head to foot" not in notes["thick"]


def test_height_is_measured_along_the_patient_not_along_the_array() -> None:
    """A coronal stack: its slices lie behind each other, its rows from head to foot."""
    direction = np.array([[1.0, 0, 0], [0, 0, 1.0], [0, 1.0, 0]])  # x, rows up, slices to posterior
    coronal = Volume(np.zeros((7, 30, 40), np.int16), (4.0, 6.0, 1.0), direction=direction)
    assert grid_notes(coronal) == [
        "slices are 6.0 mm apart, more than 5 mm",
        "only 180 mm from head to foot: lungs may be cut off",
    ]


def test_dicom_exports_are_found_at_any_depth_and_without_suffix(tmp_path: Path) -> None:
    series = tmp_path / "cts" / "patient" / "study" / "series"
    write_ct_series(series, trunk(seed=0))
    for file in list(series.iterdir()):
        file.rename(file.with_suffix(""))
    (study,) = scan(tmp_path / "cts", silent)
    assert study.name == "patient" and study.problem == "" and study.size == trunk(seed=0).shape[::-1]
    assert [subject.name for subject in find_subjects(tmp_path / "cts")] == ["patient"]


def test_the_manifest_decides(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "good.nrrd", tmp_path)
    rows = ["path,name,patient,split", "good.nrrd,first,A,test", "good.nrrd,second,A,exclude"]
    (tmp_path / "subjects.csv").write_text("\n".join(rows))
    (study,) = scan(tmp_path, silent)
    assert (study.name, study.patient, study.split) == ("first", "A", "test")


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found none"):
        scan(tmp_path, silent)
    with pytest.raises(InputError, match="folder of CTs"):
        scan(tmp_path / "nothing", silent)


def test_the_command_tells_the_same(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, out, _ = xrecon(capfd, "scan", "--data", str(folder), "--progress", "json")
    events = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and events[-1]["event"] == "result"
    numbers = events[-1]["numbers"]
    assert numbers["usable"] == 2 and [Study(**row).name for row in numbers["studies"]][:1] == ["damaged"]
    assert [each["message"] for each in events[:2]] == ["1/6: damaged", "2/6: good"]
    code, out, _ = xrecon(capfd, "scan", "--data", str(folder))
    assert code == 0 and out.splitlines()[-1] == "2 of 6 can be trained on"
    assert "not usable" in out
