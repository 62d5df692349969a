"""`xrecon drr` on a folder: each CT whole or not at all, a stopped run goes on, failures are told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from cli_inputs import BACKEND, body, error_line, xrecon
from dicom_inputs import write_ct_series
from xrecon import cli
from xrecon.drr.command import list_cts
from xrecon.io.image import write_volume
from xrecon.io.radiograph import read_radiograph
from xrecon.training.store import CASES, open_store
from xrecon.volume import InputError, Volume

NAMES = ("a", "b", "c", "d")
SMALL = ("--detector-pixels", "16", "--formats", "dcm,png,store")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Four CTs that differ."""
    folder = tmp_path / "cts"
    folder.mkdir()
    for number, name in enumerate(NAMES):
        write_volume(body().moved((number, 0.0, 0.0)), folder / f"{name}.nrrd")
    return folder


def run(capfd: pytest.CaptureFixture[str], data: Path, output: Path, *more: object) -> dict:
    """Numbers of a run that must succeed."""
    arguments = ("drr", "--data", data, "--output", output, *(more or SMALL), "--progress", "json")
    code, out, err = xrecon(capfd, *arguments)
    assert code == 0, err
    return json.loads(out.splitlines()[-1])["numbers"]


def files_of(output: Path, name: str) -> dict[Path, tuple[int, bytes]]:
    """Inode and content of a CT's files: a file that was written again has another inode."""
    paths = [*(output / name).iterdir(), output / "store" / CASES / f"{name}.npz"]
    return {path: (path.stat().st_ino, path.read_bytes()) for path in paths}


def assert_whole(output: Path) -> None:
    """Every CT has every file, undamaged, and nothing is left over."""
    store = open_store(output / "store")
    assert list(store.cases) == list(NAMES) and store.verify() == {} and not store.failed
    for name in NAMES:
        made = {path.name for path in (output / name).iterdir()}
        views = [f"{name}_{view}.{s}" for view in ("pa", "left_lateral") for s in ("dcm", "png", "json")]
        assert made == {"drr.json", *views}
        picture = read_radiograph(output / name / f"{name}_pa.dcm")
        assert picture.geometry == store.load(name).radiographs[0].geometry
    assert not [path for path in output.rglob(".*")]


# -- going on ----------------------------------------------------------------------------------
# Stops in the third CT: while it is projected, before its pictures are in place, half-way in its case.
KILLED_AT = {
    "projecting": "command.project_source = third(command.project_source)",
    "writing pictures": "files.atomic_write_text = third(files.atomic_write_text)",
    "writing the case": "np.savez_compressed = third(lambda path, **_: open(path, 'wb').write(b'half'))",
}
SCRIPT = """
import sys, time
import numpy as np
from pathlib import Path
from xrecon import cli
from xrecon.drr import command, files

calls = []
def third(function):
    def called(*arguments, **options):
        calls.append(1)
        if len(calls) < 3:
            return original(*arguments, **options)
        if function is not original:
            function(*arguments, **options)
        Path(sys.argv[1]).touch()
        time.sleep(600)
    original = {original}
    return called
{patch}
sys.exit(cli.run(sys.argv[2:]))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs a signal that cannot be caught")
@pytest.mark.parametrize("moment", KILLED_AT)
def test_a_killed_run_goes_on(
    data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], moment: str
) -> None:
    output, reached = tmp_path / "out", tmp_path / "reached"
    original = "np_savez" if moment == "writing the case" else "function"
    script = SCRIPT.format(original=original, patch=KILLED_AT[moment])
    script = script.replace("calls = []", "calls, np_savez = [], np.savez_compressed")
    command = [sys.executable, "-c", script, reached, "drr", "--data", data, "--output", output, *SMALL]
    environment = {**os.environ, "PYTHONPATH": str(BACKEND), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen([str(c) for c in command], env=environment, stderr=subprocess.DEVNULL) as child:
        deadline = time.monotonic() + 120
        while not reached.exists() and child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        child.send_signal(signal.SIGKILL)
    assert reached.exists() and child.returncode == -signal.SIGKILL
    finished = {name: files_of(output, name) for name in ("a", "b")}
    assert open_store(output / "store").verify() == {}
    numbers = run(capfd, data, output)
    assert numbers["skipped"] == ["a", "b"] and list(numbers["subjects"]) == list(NAMES)
    assert {name: files_of(output, name) for name in ("a", "b")} == finished
    assert_whole(output)


def test_what_is_done_is_not_done_again(
    data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    assert run(capfd, data, output)["skipped"] == []
    before = {name: files_of(output, name) for name in NAMES}
    assert run(capfd, data, output)["skipped"] == list(NAMES)
    assert {name: files_of(output, name) for name in NAMES} == before
    # a damaged picture, a damaged case, a missing file, another CT under the same name
    (output / "a" / "a_pa.png").write_bytes(b"damaged")
    case = output / "store" / CASES / "b.npz"
    case.write_bytes(case.read_bytes()[:-1])
    (output / "c" / "c_left_lateral.json").unlink()
    write_volume(body().moved((9.0, 0.0, 0.0)), data / "d.nrrd")
    assert run(capfd, data, output)["skipped"] == []
    assert_whole(output)
    assert files_of(output, "a")[output / "a" / "a_pa.png"] != before["a"][output / "a" / "a_pa.png"]
    assert {p: v for p, v in files_of(output, "b").items() if p != case} == {
        p: v for p, v in before["b"].items() if p != case
    }  # its pictures were whole
    assert read_radiograph(output / "d" / "d_pa.png").geometry.isocenter[0] == pytest.approx(
        read_radiograph(output / "a" / "a_pa.png").geometry.isocenter[0] + 9.0
    )
    # other settings make other pictures
    more = (*SMALL, "--seed", 3, "--look", "chest")
    assert run(capfd, data, output, *more)["skipped"] == []
    assert run(capfd, data, output, *more)["skipped"] == list(NAMES)
    assert open_store(output / "store").cases["a"].settings["seed"] == 3
    # fewer formats of the same pictures are there already
    less = ("--detector-pixels", "16", "--formats", "png", "--seed", 3, "--look", "chest")
    assert run(capfd, data, output, *less)["skipped"] == list(NAMES)


# -- failures ----------------------------------------------------------------------------------
def test_one_bad_ct_does_not_stop_the_others(
    data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (data / "b.nrrd").write_bytes((data / "b.nrrd").read_bytes()[:2000])  # cut short
    empty = Volume(np.full((5, 6, 7), -1000, np.int16), (5.0, 5.0, 5.0))
    write_volume(empty, data / "c.nrrd")  # nobody in it
    (data / "dense.seg.nrrd").write_bytes(b"segmentation")
    output = tmp_path / "out"
    numbers = run(capfd, data, output)
    assert list(numbers["subjects"]) == ["a", "d"] and list(numbers["failed"]) == ["c"]
    assert "no tissue" in numbers["failed"]["c"]
    told = " ".join(numbers["warnings"])
    assert "b.nrrd" in told and "dense.seg.nrrd is a segmentation" in told and "c was not projected" in told
    assert open_store(output / "store").failed == numbers["failed"]
    kept = json.loads((output / "drr.json").read_text())
    assert kept["subjects"] == ["a", "d"] and kept["failed"] == numbers["failed"]
    assert len(kept["not_used"]) == 2
    write_volume(body(), data / "c.nrrd")
    assert not run(capfd, data, output)["failed"] and not open_store(output / "store").failed


def test_a_bug_in_one_ct_does_not_stop_the_others(
    data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from xrecon.drr import command

    project, seen = command.project_source, []

    def second_fails(*arguments: object):
        seen.append(1)
        if len(seen) == 2:
            raise MemoryError("too large")
        return project(*arguments)

    monkeypatch.setattr(command, "project_source", second_fails)
    numbers = run(capfd, data, tmp_path / "out")
    assert numbers["failed"] == {"b": "MemoryError: too large"} and len(numbers["subjects"]) == 3


def test_a_full_disk_stops_the_run_and_keeps_what_is_done(
    data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from xrecon.drr import command

    write, seen = command.write_projected, []

    def third_is_full(*arguments: object):
        seen.append(1)
        if len(seen) == 3:
            raise OSError(28, "No space left on device", "c")
        return write(*arguments)

    output = tmp_path / "out"
    monkeypatch.setattr(command, "write_projected", third_is_full)
    code, _, err = xrecon(capfd, "drr", "--data", data, "--output", output, *SMALL)
    assert code == cli.CANNOT_WRITE and "No space left" in error_line(err)
    assert list(open_store(output / "store").cases) == ["a", "b"]
    monkeypatch.undo()
    assert run(capfd, data, output)["skipped"] == ["a", "b"]
    assert_whole(output)


def test_nothing_to_project(data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for path in data.iterdir():
        path.write_bytes(path.read_bytes()[:1000])
    output = tmp_path / "out"
    code, _, err = xrecon(capfd, "drr", "--data", data, "--output", output, "--formats", "png")
    assert code == cli.BAD_INPUT and "found none" in error_line(err) and "a.nrrd" in error_line(err)
    assert not output.exists()
    code, _, err = xrecon(capfd, "drr", "--data", data, "--output", output, "--isocenter", "1,2,3")
    assert code == cli.BAD_INPUT and "one CT" in error_line(err)
    (tmp_path / "file").write_text("")
    code, _, err = xrecon(capfd, "drr", "--data", data, "--output", tmp_path / "file")
    assert code == cli.CANNOT_WRITE


# -- what is a CT ------------------------------------------------------------------------------
def test_files_and_series_are_listed_without_reading(tmp_path: Path) -> None:
    write_ct_series(tmp_path / "1.2.840.77", body())
    for name in ("a.nii.gz", "b.MHA", "c.seg.nrrd", "notes.txt"):
        (tmp_path / name).write_bytes(b"not read")
    (tmp_path / "empty").mkdir()
    notes: list[str] = []
    subjects = list_cts(tmp_path, notes)
    assert [s.name for s in subjects] == ["1.2.840.77", "a", "b"] and len(notes) == 1
    (tmp_path / "a.nrrd").write_bytes(b"")
    with pytest.raises(InputError, match="name of its own .* 'a'"):
        list_cts(tmp_path, [])


def test_the_manifest_of_the_ct_folder_is_kept(
    data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = [
        "path,name,patient,split,attribution,licence",
        'a.nrrd,first,p1,train,"Someone, 2020",CC BY 4.0',
        "b.nrrd,second,p1,train,,",
        "c.nrrd,third,p2,exclude,,",
    ]
    (data / "subjects.csv").write_text("\n".join(rows), encoding="utf-8")
    run(capfd, data, tmp_path / "out", "--formats", "store", "--detector-pixels", "16")
    cases = open_store(tmp_path / "out" / "store").cases
    assert list(cases) == ["first", "second"]
    entry = cases["first"]
    assert (entry.source, entry.patient, entry.split) == ("a.nrrd", "p1", "train")
    assert (entry.attribution, entry.licence) == ("Someone, 2020", "CC BY 4.0")
    assert not (tmp_path / "out" / "first").exists()  # no pictures were asked for


def test_one_ct_does_not_take_the_place_of_a_folder(
    data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run(capfd, data, tmp_path / "o")
    before = (tmp_path / "o" / "drr.json").read_bytes()
    ct = sorted(data.iterdir())[0]
    code, _, err = xrecon(capfd, "drr", "--ct", ct, "--output", tmp_path / "o")
    assert code == cli.BAD_INPUT
    assert "expected another output folder for one CT" in err
    assert (tmp_path / "o" / "drr.json").read_bytes() == before
