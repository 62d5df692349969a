"""What a run says of itself while it lasts, whether it lasts, and how it is asked to stop.

In the folder of the run:
    status.json   state, stage, fraction, message, process id, times; at the end the result or the error
    run.lock      held by the run's process; the system lets go of it when that ends, however it ends
    stop          made by whoever wants the run to stop; it then saves a checkpoint and ends

A process id alone does not tell whether a run lasts: after a crash or a restart of the computer it may
be another program's. Only while the lock is held is the id in `status.json` that of the run.

Imports no torch, since panels read runs, too.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from xrecon.io.atomic import atomic_write_text
from xrecon.volume import InputError

STATUS, LOCK, STOP = "status.json", "run.lock", "stop"
RUNNING, FINISHED, STOPPED, FAILED, KILLED = "running", "finished", "stopped", "failed", "killed"
# `status.json` is written no more often than this, unless the stage changes.
WRITE_SECONDS = 1.0
# Others look at the lock for an instant; a new run waits that out.
LOCK_SECONDS = 5.0


class StopRequested(Exception):
    """The run was asked to stop and has saved what it had; the message says how far it came."""


@dataclass(frozen=True)
class RunState:
    """What `status.json` says; `killed` when it says running but nobody holds the lock.

    started, updated: seconds since the epoch. numbers: metrics and warnings of a run that has finished.
    """

    state: str
    pid: int
    started: float
    updated: float
    stage: str = ""
    fraction: float = 0.0
    message: str = ""
    numbers: dict[str, Any] = field(default_factory=dict)

    @property
    def is_running(self) -> bool:
        """Whether the run lasts."""
        return self.state == RUNNING


def read_state(folder: Path) -> RunState | None:
    """The state of the run in a folder; None when there is none, or its file cannot be read."""
    lasts = is_locked(folder)
    state = _told(folder)  # after the look at the lock: who lets go of it has said how it ended
    if lasts:
        return state
    return replace(state, state=KILLED) if state is not None and state.is_running else state


def _told(folder: Path) -> RunState | None:
    try:
        return RunState(**json.loads((Path(folder) / STATUS).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def is_locked(folder: Path) -> bool:
    """Whether a run lasts in the folder."""
    path = Path(folder) / LOCK
    if not path.is_file():
        return False
    try:
        from filelock import FileLock, Timeout
    except ImportError:  # no run without it, but one of another Python
        return False
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    except OSError:  # a folder that cannot be written holds no run of ours
        return False
    lock.release()
    return False


def request_stop(folder: Path) -> None:
    """Asks the run in the folder to save a checkpoint and end. Raises OSError when that cannot be written."""
    (Path(folder) / STOP).touch()


class RunStatus:
    """Held by the process of a run, as a context manager; says how far it is and how it ended.

    Raises InputError on entering when another run lasts in the folder. A run that fails before it has
    left anything takes its own files, and the folder if it was new, with it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._state = RunState(RUNNING, os.getpid(), time.time(), time.time())
        self._written = 0.0
        self._lock: Any = None

    def __enter__(self) -> RunStatus:
        from filelock import FileLock, Timeout

        self._new = not self.folder.exists()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._before = self._own_files()
        self._lock = FileLock(self.folder / LOCK)
        try:
            self._lock.acquire(timeout=LOCK_SECONDS)
        except Timeout:
            raise InputError(
                f"expected a folder in which nothing runs, found a training at work in {self.folder}: wait "
                "for it, stop it, or choose another folder"
            ) from None
        (self.folder / STOP).unlink(missing_ok=True)  # meant for an earlier run
        self._write()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            stopped = issubclass(kind, (StopRequested, KeyboardInterrupt))
            told = str(error) or ("interrupted" if stopped else kind.__name__)
            self._state = replace(self._state, state=STOPPED if stopped else FAILED, message=told)
        try:
            # why the run ended is worth more than that this cannot be told
            with contextlib.suppress(OSError):
                self._leave(failed=self._state.state == FAILED)
        finally:
            self._lock.release()

    def tell(self, stage: str, fraction: float, message: str = "") -> None:
        """How far the run is, as a progress callback."""
        is_new = stage != self._state.stage
        self._state = replace(self._state, stage=stage, fraction=round(fraction, 5), message=message)
        if is_new or time.monotonic() - self._written >= WRITE_SECONDS:
            # no reason to end a run: the next checkpoint tells a full disk
            with contextlib.suppress(OSError):
                self._write()

    def finish(self, numbers: dict[str, Any]) -> None:
        """The run has its result."""
        self._state = replace(self._state, state=FINISHED, fraction=1.0, message="", numbers=numbers)

    @property
    def is_stop_requested(self) -> bool:
        """Whether somebody wants the run to stop."""
        return (self.folder / STOP).exists()

    def _own_files(self) -> set[str]:
        return {name for name in (STATUS, LOCK, STOP) if (self.folder / name).exists()}

    def _leave(self, failed: bool) -> None:
        """The last words; nothing at all when a refused run would leave nothing else."""
        (self.folder / STOP).unlink(missing_ok=True)
        others = {path.name for path in self.folder.iterdir()} - {STATUS, LOCK}
        if failed and not others and not self._before:
            for name in (STATUS, LOCK):
                (self.folder / name).unlink(missing_ok=True)
            if self._new:
                self.folder.rmdir()
        else:
            self._write()

    def _write(self) -> None:
        self._written = time.monotonic()
        self._state = replace(self._state, updated=time.time())
        atomic_write_text(self.folder / STATUS, json.dumps(asdict(self._state), indent=2) + "\n")
