"""The command line when something is wrong: one sentence, the right exit code, nothing half-written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from cli_inputs import BACKEND, body, error_line, reconstruct_arguments, write_inputs, xrecon
from PIL import Image
from xrecon import cli, commands
from xrecon.export import DicomTarget, results
from xrecon.io.folder import OutputError, output_folder
from xrecon.io.image import to_sitk
from xrecon.volume import InputError


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the inputs of `write_inputs`."""
    return write_inputs(tmp_path_factory.mktemp("files"))


# -- bad input -----------------------------------------------------------------------------------
def bad_inputs(files: Path, scratch: Path) -> dict[str, tuple[dict[str, object], str]]:
    """Name of the case -> (changed options of `reconstruct`, a word its message must have)."""
    rng = np.random.default_rng(1)
    grey = rng.integers(0, 255, (40, 36), dtype=np.uint8)
    Image.fromarray(np.stack([grey, 255 - grey, grey // 2], -1)).save(scratch / "colour.png")
    (scratch / "empty.dcm").write_bytes(b"")
    (scratch / "noise.dcm").write_bytes(rng.bytes(4000))
    magnetic = pydicom.dcmread(files / "pa.dcm")
    magnetic.Modality = "MR"
    magnetic.save_as(scratch / "magnetic.dcm")
    nan = rng.normal(size=(40, 36)).astype(np.float32)
    nan[3, 3] = np.nan
    _write_2d(nan, scratch / "nan.nrrd")
    _write_2d(np.full((40, 36), 7.0, np.float32), scratch / "constant.nrrd")
    damaged = scratch / "damaged"
    damaged.mkdir()
    card = json.loads((files / "model" / "card.json").read_text())
    (damaged / "card.json").write_text(json.dumps({**card, "sha256": "0" * 64}))
    (damaged / "weights.safetensors").write_bytes((files / "model" / "weights.safetensors").read_bytes())
    return {
        "colour PNG": ({"pa": scratch / "colour.png"}, "colour"),
        "CT as radiograph": ({"pa": files / "ct.nrrd"}, "radiograph"),
        "missing file": ({"lateral": scratch / "nowhere.dcm"}, "nowhere.dcm"),
        "NaN": ({"pa": scratch / "nan.nrrd"}, "NaN"),
        "constant picture": ({"pa": scratch / "constant.nrrd"}, "equal"),
        "zero bytes": ({"pa": scratch / "empty.dcm"}, "empty"),
        "no DICOM": ({"pa": scratch / "noise.dcm"}, "noise.dcm"),
        "wrong modality": ({"pa": scratch / "magnetic.dcm"}, "MR"),
        "same file twice": ({"lateral": files / "pa.dcm"}, "two different"),
        "lateral as PA": ({"pa": files / "lateral.dcm", "lateral": files / "pa.dcm"}, "LEFT LATERAL"),
        "wrong checksum": ({"model": damaged}, "sha256"),
        "unknown model": ({"model": "no-such-model"}, "no-such-model"),
    }


def _write_2d(array: np.ndarray, path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path))


CASES = (
    "colour PNG",
    "CT as radiograph",
    "missing file",
    "NaN",
    "constant picture",
    "zero bytes",
    "no DICOM",
    "wrong modality",
    "same file twice",
    "lateral as PA",
    "wrong checksum",
    "unknown model",
)


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_one_sentence_and_leaves_nothing(
    case: str, files: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    changes, word = bad_inputs(files, tmp_path)[case]
    output = tmp_path / "made" / "output"
    code, out, err = xrecon(capfd, *reconstruct_arguments(files, output, **changes), "--progress", "json")
    assert code == cli.BAD_INPUT
    message = error_line(err)
    assert word.lower() in message.lower()
    assert not (tmp_path / "made").exists()
    assert json.loads(out.splitlines()[-1]) == {"event": "error", "message": message}


def test_the_same_picture_under_two_names_is_refused(
    files: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    first = tmp_path / "first.png"
    second = tmp_path / "second.png"
    for path in (first, second):
        path.write_bytes((files / "pa.png").read_bytes())
    code, _, err = xrecon(capfd, *reconstruct_arguments(files, tmp_path / "o", pa=first, lateral=second))
    assert code == cli.BAD_INPUT and "one picture twice" in error_line(err)


@pytest.mark.parametrize("wrong", ["pa.dcm", "pa.png", "nothing.nrrd"])
def test_segment_refuses_what_is_no_ct(
    wrong: str, files: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    code, _, err = xrecon(capfd, "segment", "--ct", files / wrong, "--output", tmp_path / "o")
    assert code == cli.BAD_INPUT
    assert wrong in error_line(err)
    assert not (tmp_path / "o").exists()


def test_ct_with_nan_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    array = body().array.astype(np.float32)
    array[0, 0, 0] = np.nan
    sitk.WriteImage(to_sitk(body().with_array(array)), str(tmp_path / "nan.nrrd"))
    for command in ("drr", "segment"):
        code, _, err = xrecon(capfd, command, "--ct", tmp_path / "nan.nrrd", "--output", tmp_path / "o")
        assert code == cli.BAD_INPUT and "NaN" in error_line(err)
        assert not (tmp_path / "o").exists()


def test_two_empty_label_maps_have_no_score(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    empty, full = (np.full((4, 5, 6), value, np.uint8) for value in (0, 1))
    for name, array in (("mine", empty), ("theirs", empty), ("full", full)):
        sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / f"{name}.nrrd"))
    run = ["evaluate", "--labels", "--prediction", tmp_path / "mine.nrrd", "--output", tmp_path / "o"]
    code, _, err = xrecon(capfd, *run, "--reference", tmp_path / "theirs.nrrd")
    assert code == cli.BAD_INPUT and "mine.nrrd or theirs.nrrd" in error_line(err)
    assert "both hold no labels" in err and not (tmp_path / "o").exists()
    code, _, err = xrecon(capfd, *run, "--reference", tmp_path / "full.nrrd")
    assert code == 0, err  # nothing found is a score


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (("--set", "t_p=many"), "t_p"),
        (("--set", "speed=3"), "speed"),
        (("--mode", "robust", "--set", "t_p=-950"), "t_p"),
        (("--lung-model", "no-such-model"), "no-such-model"),
        (("--lung-model", "classical", "gone.pth"), "gone.pth"),
        (("--lung-model", "model"), "lung"),
    ],
)
def test_segment_refuses_settings_before_it_reads_the_ct(
    change: tuple[str, ...], word: str, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
):  # fmt: skip
    monkeypatch.chdir(files)
    # that the CT is not there would be told as soon as it is read
    code, _, err = xrecon(capfd, "segment", "--ct", "nobody.nrrd", "--output", tmp_path / "o", *change)
    assert code == cli.BAD_INPUT and word in error_line(err) and "nobody" not in err
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--data", "nowhere"), "nowhere"),
        (("--data", "empty"), "found none"),
        (("--data", "cts", "--recipe", "magic"), "magic"),
        (("--data", "cts", "--set", "steps=many"), "steps"),
        (("--data", "cts", "--set", "speed=3"), "speed"),
        (("--data", "cts", "--config", "settings.json"), "settings.json"),
    ],
)
def test_train_refuses_before_it_starts(
    arguments: tuple[str, ...], word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
):  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "cts").mkdir()
    (tmp_path / "settings.json").write_text("[1, 2")
    code, _, err = xrecon(capfd, "train", *arguments, "--output", "run")
    assert code == cli.BAD_INPUT and word in error_line(err)
    assert not (tmp_path / "run").exists()


# -- output --------------------------------------------------------------------------------------
def test_an_output_that_cannot_be_is_told_before_the_work(
    files: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    (tmp_path / "file").write_text("in the way")
    for output in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/nowhere")):
        if output.parts[1] == "proc" and not Path("/proc").is_dir():
            continue
        code, out, err = xrecon(capfd, *reconstruct_arguments(files, output), "--progress", "json")
        assert code == cli.CANNOT_WRITE
        assert str(output) in error_line(err)
        assert len(out.splitlines()) == 1  # no work was done first
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.skipif(sys.platform == "win32", reason="limits of file size are POSIX")
def test_a_full_disk_leaves_nothing(files: Path, tmp_path: Path):
    """The operating system cuts files at 4 KiB, as a full disk would."""
    arguments = [str(a) for a in reconstruct_arguments(files, tmp_path / "o")]
    code = (
        "import resource, sys\nresource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        f"from xrecon import cli\nsys.exit(cli.run({arguments!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(BACKEND)},
    )
    assert done.returncode == cli.CANNOT_WRITE, done.stderr
    assert str(tmp_path / "o") in error_line(done.stderr)
    assert not (tmp_path / "o").exists()


def test_earlier_results_survive_a_failure(files: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    output = tmp_path / "o"
    assert xrecon(capfd, *reconstruct_arguments(files, output))[0] == 0
    before = {p.name: p.read_bytes() for p in output.iterdir()}
    assert xrecon(capfd, *reconstruct_arguments(files, output, model="none"))[0] == cli.BAD_INPUT
    assert {p.name: p.read_bytes() for p in output.iterdir()} == before


def test_output_folder_keeps_what_is_there_and_replaces_by_name(tmp_path: Path):
    (tmp_path / "old.txt").write_text("old")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "kept.txt").write_text("kept")
    with output_folder(tmp_path) as staging:
        (staging / "old.txt").write_text("new")
        (staging / "sub").mkdir()
        (staging / "sub" / "more.txt").write_text("more")
    found = {str(p.relative_to(tmp_path)): p.read_text() for p in tmp_path.rglob("*.txt")}
    assert found == {"old.txt": "new", "sub/kept.txt": "kept", "sub/more.txt": "more"}
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]
    with pytest.raises(FileNotFoundError), output_folder(tmp_path):
        raise FileNotFoundError(2, "an input", "elsewhere")
    with pytest.raises(OutputError, match="a file stands"), output_folder(tmp_path / "old.txt"):
        pass


def test_a_folder_in_the_way_is_told_before_anything_moves(tmp_path: Path):
    (tmp_path / "a.txt").write_text("old")
    (tmp_path / "b.txt").mkdir()
    (tmp_path / "sub").write_text("a file")
    for name, word in (("b.txt", "a folder of that name"), ("sub", "a file stands")):
        with pytest.raises(OutputError, match=word) as error, output_folder(tmp_path) as staging:
            (staging / "a.txt").write_text("new")
            (staging / name).mkdir() if name == "sub" else (staging / name).write_text("new")
        assert str(tmp_path / name) in str(error.value)
        assert (tmp_path / "a.txt").read_text() == "old"
        assert sorted(p.name for p in tmp_path.iterdir()) == ["a.txt", "b.txt", "sub"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("at", range(1, 7))
def test_a_move_that_fails_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, at: int
):
    """Whichever rename fails, or is interrupted before or after it: the folder is as it was."""
    (tmp_path / "a.txt").write_text("old a")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "c.txt").write_text("old c")

    def contents() -> dict[str, str]:
        return {str(p.relative_to(tmp_path)): p.read_text() for p in tmp_path.rglob("*") if p.is_file()}

    before, count, rename = contents(), 0, Path.replace

    def failing(self: Path, target: Path) -> Path:
        nonlocal count
        count += 1
        if count == at and isinstance(error, KeyboardInterrupt):
            rename(self, target)
        if count == at:
            raise error
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises((OSError, KeyboardInterrupt)), output_folder(tmp_path) as staging:
        for name in ("a.txt", "b.txt", "new/d.txt", "sub/c.txt"):
            (staging / name).parent.mkdir(exist_ok=True)
            (staging / name).write_text("new")
    assert count >= at
    assert contents() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.txt", "sub"]


@pytest.mark.parametrize("existed", [False, True])
def test_dicom_and_the_other_files_appear_together_or_not_at_all(tmp_path: Path, existed: bool):
    dicom, output = DicomTarget(tmp_path / "dicom"), tmp_path / "out"
    if existed:
        dicom.folder.mkdir()
    with pytest.raises(OutputError), results(output, dicom, []) as (folder, exported):
        (folder / "a.txt").write_text("new")
        (exported.staging / "b.dcm").write_text("new")
        (output / "a.txt").mkdir()  # in the way when the files move, after the DICOM folder is in its place
    assert [p.name for p in output.iterdir()] == ["a.txt"] and dicom.folder.exists() == existed
    assert not existed or not list(dicom.folder.iterdir())
    (output / "a.txt").rmdir()
    with pytest.raises(InputError, match="a new or an empty folder"), results(output, dicom, []) as made:
        (made[0] / "a.txt").write_text("new")
        (made[1].staging / "b.dcm").write_text("new")
        dicom.folder.mkdir(exist_ok=True)
        (dicom.folder / "theirs.dcm").write_text("somebody else's, meanwhile")
        raise InputError("expected a new or an empty folder, as a late check would say")
    assert [p.name for p in dicom.folder.iterdir()] == ["theirs.dcm"] and not list(output.iterdir())
    (dicom.folder / "theirs.dcm").unlink()
    with results(output, dicom, []) as (folder, exported):
        (folder / "a.txt").write_text("new")
        (exported.staging / "b.dcm").write_text("new")
    assert (output / "a.txt").is_file() and (dicom.folder / "b.dcm").is_file()


# -- the process ---------------------------------------------------------------------------------
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_with_130_and_leaves_nothing(
    which: signal.Signals, files: Path, tmp_path: Path
):
    arguments = [str(a) for a in reconstruct_arguments(files, tmp_path / "o")]
    code = (
        "import sys, time\nfrom xrecon import cli, commands\n"
        "def wait(*_):\n    print('waiting', flush=True)\n    time.sleep(100)\n"
        f"commands.read_views = wait\nsys.exit(cli.run({arguments + ['--progress', 'json']!r}))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(BACKEND)},
    )
    try:
        while "waiting" not in process.stdout.readline():
            assert process.poll() is None
        assert (tmp_path / "o").is_dir()
        time.sleep(0.1)
        process.send_signal(which)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == cli.INTERRUPTED, err
    assert json.loads(out.splitlines()[-1]) == {"event": "error", "message": "interrupted"}
    assert not (tmp_path / "o").exists()


def test_unexpected_errors_have_their_own_codes(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    def fail(error: BaseException):
        def raising(*_: object) -> None:
            raise error

        monkeypatch.setattr(commands, "read_views", raising)
        code, _, err = xrecon(capfd, *reconstruct_arguments(files, tmp_path / "o"))
        assert not (tmp_path / "o").exists()
        return code, err

    assert fail(MemoryError("not enough memory"))[0] == cli.NO_MEMORY
    allocation = RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried")
    assert fail(allocation)[0] == fail(type("OutOfMemoryError", (RuntimeError,), {})())[0] == cli.NO_MEMORY
    assert fail(KeyboardInterrupt())[0] == cli.INTERRUPTED
    code, err = fail(ZeroDivisionError("division by zero"))
    assert code == cli.BUG
    assert "Traceback" in err and err.rstrip().endswith("(a bug in xrecon)")
