"""Outputs appear whole or not at all: write to a temporary name in the same folder, then rename.

A rename within one folder is atomic (POSIX rename(2), MoveFileEx on Windows), so a reader sees
either the old file or the complete new one, also when the program is stopped half-way.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from xrecon.io.checks import file_stem, file_suffix
from xrecon.volume import InputError

# A panel or a virus scanner holds a file for milliseconds.
RENAME_TRIES, RENAME_PAUSE_SECONDS = 20, 0.05
_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file is larger than the system allows",
    errno.EACCES: "no permission to write there",
    errno.EPERM: "no permission to write there",
    errno.EROFS: "the disk is read-only",
    errno.ENOTDIR: "a file stands where a folder should be",
    errno.EEXIST: "a file stands where a folder should be",
    errno.EISDIR: "a folder of that name is in the way",
    errno.ENAMETOOLONG: "the name is too long",
}


def _explained(error: OSError, target: Path) -> OSError:
    """The same kind of error with a sentence that names the file, the folder and the reason."""
    reason = _REASONS.get(error.errno, error.strerror or str(error))
    told = OSError(error.errno, f"cannot write {target.name} into the folder {target.parent}: {reason}")
    told.xrecon_target = target  # not `filename`, which would change the sentence
    return told


def _sync(path: Path) -> None:
    """Ask the system to put the file on the disk; late errors (full disk, network) come up here."""
    handle = os.open(path, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _rename(temporary: Path, target: Path) -> None:
    """The rename; on Windows it waits for whoever reads the old file at this moment."""
    for _ in range(RENAME_TRIES - 1):
        try:
            os.replace(temporary, target)
            return
        except PermissionError:
            if sys.platform != "win32":
                raise
            time.sleep(RENAME_PAUSE_SECONDS)
    os.replace(temporary, target)


@contextmanager
def _explaining(target: Path, temporary: Path) -> Iterator[None]:
    """Gives errors of writing to the target a sentence; what the block raises for other reasons goes through,
    above all errors of reading an input, whose path lies elsewhere."""
    try:
        yield
    except OSError as error:
        if error.errno not in _REASONS or not _is_about(error, (target, temporary)):
            raise
        raise _explained(error, target) from error


def _is_about(error: OSError, places: Sequence[Path]) -> bool:
    """Whether the error names one of the places, or something in it, or nothing at all: a full disk does not
    say where."""
    names = (error.filename, error.filename2, getattr(error, "xrecon_target", None))
    paths = [Path(os.fsdecode(name)) for name in names if isinstance(name, str | bytes | os.PathLike)]
    return not paths or any(path.is_relative_to(place) for path in paths for place in places)


@contextmanager
def atomic_path(target: str | Path, suffix: str | None = None) -> Iterator[Path]:
    """A temporary path beside `target`, renamed to it on success and deleted on any error.

    The temporary file exists (empty) when the block starts, so an unwritable folder is found
    before any work is done. Missing parent folders are made. `suffix` is the extension of the
    temporary name, by default the full one of `target` (".nii.gz"), so that writers that choose
    the format by name recognise it.

    Raises OSError, with the original errno and a sentence naming the folder, when the folder
    cannot be made or written, or the disk is full.
    """
    target = Path(target)
    suffix = file_suffix(target) if suffix is None else suffix
    temporary = target.with_name(f".{file_stem(target)}.{secrets.token_hex(4)}.part{suffix}")
    try:
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, "is a folder", str(target))
        target.parent.mkdir(parents=True, exist_ok=True)
        # Not mkstemp: the result should have the permissions the user's umask gives.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except OSError as error:
        raise _explained(error, target) from error
    try:
        with _explaining(target, temporary):
            yield temporary
            _sync(temporary)
            _rename(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(target: str | Path) -> Iterator[Path]:
    """A temporary folder beside `target`, renamed to it on success and removed on any error.

    For results that only make sense together, as the slices of a DICOM series: whatever happens, `target`
    holds all of them or does not exist. It must not exist before, or be empty: old files among new ones
    would be taken for theirs. Missing parent folders are made.

    Raises InputError when `target` holds something, OSError as `atomic_path` does.
    """
    target = Path(target)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        if target.exists() and any(target.iterdir()):
            raise InputError(f"expected a new or an empty folder for DICOM files, got {target}")
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
    except OSError as error:
        raise _explained(error, target) from error
    try:
        with _explaining(target, temporary):
            yield temporary
            for path in temporary.rglob("*"):
                if path.is_file():
                    _sync(path)
            if target.exists():  # empty; Windows renames onto no folder
                target.rmdir()
            _rename(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def atomic_write_bytes(path: str | Path, data: bytes) -> None:
    """Write `data` to `path`, whole or not at all. Raises OSError as `atomic_path` does."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def atomic_write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8 with the line ends it has. Raises OSError as `atomic_path` does."""
    atomic_write_bytes(path, text.encode("utf-8"))
