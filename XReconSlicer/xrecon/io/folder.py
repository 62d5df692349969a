"""A folder of results that appears as a whole: every file or none."""

from __future__ import annotations

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

    Files of the same name are replaced, others stay. Folders made on the way are removed again
    when nothing came to lie in them.
    Raises OutputError: at once when `folder` cannot be made or written, so that nobody waits for
    a result that has no place to go, and later when the disk is full.
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
    for path in sorted(staging.rglob("*")):
        target = folder / path.relative_to(staging)
        if path.is_dir():
            target.mkdir(exist_ok=True)
        else:
            path.replace(target)


def _remove_empty(folders: Sequence[Path]) -> None:
    for path in folders:
        try:
            path.rmdir()
        except OSError:  # not empty, or never made
            return
