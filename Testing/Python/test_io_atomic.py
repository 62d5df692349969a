"""Outputs are whole or absent: xrecon.io.atomic."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from xrecon.io import atomic, checks
from xrecon.io.atomic import atomic_folder, atomic_path, atomic_write_bytes, atomic_write_text


@pytest.mark.parametrize(
    ("name", "suffix", "stem"),
    [
        ("ct.nii.gz", ".nii.gz", "ct"),
        ("ct.v1.2.NII.GZ", ".nii.gz", "ct.v1.2"),
        ("a.seg.nrrd", ".seg.nrrd", "a"),
        ("a.b.nrrd", ".nrrd", "a.b"),
        ("IM0001", "", "IM0001"),
        ("Thorax.DCM", ".dcm", "Thorax"),
    ],
)
def test_suffix_and_stem(name: str, suffix: str, stem: str) -> None:
    assert checks.file_suffix(name) == suffix
    assert checks.file_stem(name) == stem


def test_text_and_bytes_round_trip_and_make_folders(tmp_path: Path) -> None:
    target = tmp_path / "new" / "deeper" / "notes.txt"
    atomic_write_text(target, "Häüßer\r\n1 µm\n")
    assert target.read_bytes() == "Häüßer\r\n1 µm\n".encode()
    atomic_write_bytes(target, b"\x00\xff")
    assert target.read_bytes() == b"\x00\xff"
    assert os.listdir(target.parent) == ["notes.txt"]


def test_temporary_keeps_the_full_extension_in_the_same_folder(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "ct.nii.gz") as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.endswith(".nii.gz")
        assert not (tmp_path / "ct.nii.gz").exists()
        temporary.write_bytes(b"x")
    assert os.listdir(tmp_path) == ["ct.nii.gz"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_keeps_the_old_file_and_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "result.json"
    target.write_text("old")
    with pytest.raises(error), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise error
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["result.json"]


def test_full_disk_is_named_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(OSError, match="disk is full") as caught:
        atomic_write_text(tmp_path / "a.txt", "text")
    assert caught.value.errno == errno.ENOSPC
    assert str(tmp_path) in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_errors_of_the_block_that_are_not_about_writing_pass_unchanged(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="absent.txt"), atomic_path(tmp_path / "a.txt"):
        (tmp_path / "absent.txt").read_text()
    assert os.listdir(tmp_path) == []


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("I am a file")
    with pytest.raises(OSError, match=r"cannot write a.txt into the folder .*out: a file stands where"):
        atomic_write_text(tmp_path / "out" / "a.txt", "text")
    with pytest.raises(OSError, match="a file stands where"):
        atomic_write_text(tmp_path / "out" / "deeper" / "a.txt", "text")
    assert os.listdir(tmp_path) == ["out"]


def test_a_folder_in_place_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(IsADirectoryError, match="in the way"):
        atomic_write_text(tmp_path / "a.txt", "text")


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        atomic_write_text(tmp_path / "a.txt", "text")
    finally:
        os.umask(before)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("make", [atomic_path, atomic_folder])
def test_an_error_of_an_input_is_not_the_outputs(tmp_path: Path, make: Callable) -> None:
    """What is read while the output is open: the message must not send the user to the wrong place."""
    with pytest.raises(PermissionError) as raised, make(tmp_path / "out.dcm"):
        raise PermissionError(errno.EACCES, "Permission denied", "/data/model/weights.safetensors")
    assert "weights.safetensors" in str(raised.value) and "cannot write" not in str(raised.value)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("a file")
    with pytest.raises(OSError, match="cannot write a.txt into the folder .*elsewhere: a file"):
        with make(tmp_path / "out.dcm"):
            atomic_write_text(elsewhere / "a.txt", "another output that fails")
    assert os.listdir(tmp_path) == ["elsewhere"]


@pytest.mark.parametrize("make", [atomic_path, atomic_folder])
def test_an_error_of_the_output_names_it(tmp_path: Path, make: Callable) -> None:
    """A full disk that names nothing, a file in what is being made, and an output within it."""
    errors = (lambda _: OSError(errno.ENOSPC, "No space left on device"),
              lambda place: OSError(errno.ENOSPC, "No space left on device", str(place)))  # fmt: skip
    for error in errors:
        with pytest.raises(OSError, match=r"cannot write out\.dcm into the folder .*: the disk is full"):
            with make(tmp_path / "out.dcm") as place:
                raise error(place)
    with pytest.raises(OSError, match=r"cannot write out into the folder .*: a file stands"):
        with atomic_folder(tmp_path / "out") as place:
            (place / "sub").write_text("a file")
            atomic_write_text(place / "sub" / "a.txt", "text")
    assert os.listdir(tmp_path) == []


FULL_DISK = """
import os, resource, sys
import numpy as np
from pathlib import Path
from xrecon.io.image import write_volume
from xrecon.volume import Volume
noise = np.random.default_rng(0).integers(-1000, 1000, (20, 30, 40)).astype(np.int16)
resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))
try:
    write_volume(Volume(noise, (1, 1, 1)), Path(sys.argv[1]))
except OSError as error:
    print("OSError:", error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs setrlimit")
@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz", ".nii", ".mha"])
def test_a_writer_that_runs_out_of_room_is_noticed(tmp_path: Path, repository: Path, suffix: str) -> None:
    """A real failing write: the system refuses more than 9000 bytes (ITK's NIfTI writer keeps silent)."""
    result = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / f"ct{suffix}")],
        env={**os.environ, "PYTHONPATH": str(repository / "XReconSlicer")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "OSError: [Errno 5] cannot write" in result.stdout, result.stdout + result.stderr
    assert str(tmp_path) in result.stdout
    assert os.listdir(tmp_path) == []
