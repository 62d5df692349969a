"""A folder of results that appears as a whole: every file or none.

Results are made in a hidden folder inside the target. At the end they are moved, each by a rename,
after it was checked that nothing is in the way; what they replace is kept aside until all have
moved. When a move fails, or the user interrupts between two, what was moved is taken back and what
was replaced is put back. Only a process that is killed outright in that moment (or a power cut)
leaves some new and some old files, the old ones then lie in the hidden folder.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


class OutputError(OSError):
    """Results cannot be written; the message names the folder and the reason."""


@contextmanager
def output_folder(folder: str | Path) -> Iterator[Path]:
    """A temporary folder inside `folder`; its files move there on success and vanish on any error.

    Files of the same name are replaced, others stay. On an error, also while they are moved, the
    folder holds what it held before. Folders made on the way are removed again when nothing came
    to lie in them.
    Raises OutputError: at once when `folder` cannot be made or written, so that nobody waits for
    a result that has no place to go, and later when a folder stands where a file should be (or the
    other way round) or the disk is full.
    """
    folder = Path(folder)
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".xrecon-", suffix=".part", dir=folder))
    except OSError as error:
        _remove_empty(missing)
        raise OutputError(f"cannot write into the folder {folder}: {_reason(error)}") from error
    try:
        yield staging
        _move_files(staging, folder)
    except OSError as error:
        if str(staging) not in str(error):
            raise  # about an input, not about this folder
        raise OutputError(str(error).replace(str(staging), str(folder))) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        _remove_empty(missing)


def _reason(error: OSError) -> str:
    if isinstance(error, (FileExistsError, NotADirectoryError)):
        return "a file stands where a folder should be"
    return error.strerror or str(error)


def _move_files(staging: Path, folder: Path) -> None:
    """Moves all files into the folder, or none: on any exception every step made is undone."""
    names = [path.relative_to(staging) for path in sorted(staging.rglob("*"))]
    _require_free(staging, folder, names)
    aside = Path(tempfile.mkdtemp(prefix=".xrecon-", suffix=".old", dir=folder))
    undo: list[tuple[Path, Path | None]] = []  # newest last: (made folder, None) or (from, to) of a rename
    try:
        for name in names:
            source, target = staging / name, folder / name
            if source.is_dir():
                if not target.exists():
                    undo.append((target, None))
                    target.mkdir()
                continue
            if os.path.lexists(target):
                kept = aside / str(len(undo))
                undo.append((kept, target))
                target.replace(kept)
            undo.append((target, source))
            source.replace(target)
    except BaseException:
        _undo(undo)
        _remove_empty([aside])  # never with an old file in it
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _undo(steps: Sequence[tuple[Path, Path | None]]) -> None:
    """Takes steps back, the last first. Each was noted before it was made, so it may not have happened."""
    for now, before in reversed(steps):
        if before is None:
            _remove_empty([now])
        elif os.path.lexists(now) and not os.path.lexists(before):
            now.replace(before)


def _require_free(staging: Path, folder: Path, names: Sequence[Path]) -> None:
    """Raises OutputError when a file would have to replace a folder, or a folder a file."""
    for name in names:
        target = folder / name
        if not os.path.lexists(target):
            continue
        if (staging / name).is_dir() and not target.is_dir():
            raise OutputError(f"cannot write into {target}: a file stands where a folder should be")
        if not (staging / name).is_dir() and target.is_dir():
            raise OutputError(f"cannot write {target}: a folder of that name is in the way")


def _remove_empty(folders: Sequence[Path]) -> None:
    for path in folders:
        try:
            path.rmdir()
        except OSError:  # not empty, or never made
            return
