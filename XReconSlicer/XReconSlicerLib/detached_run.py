"""A training in a process of its own, which goes on when Slicer is closed, and can be followed again.

    >>> run = DetachedRun(folder, ["train", "--data", cts, "--output", folder])
    >>> run.start()                           # or, in another Slicer: DetachedRun(folder).start()
    >>> run.leave()                           # the training goes on, nobody follows it

What is shown comes from the run's folder alone: `status.json` and `log.csv` of `xrecon`, and what the
process printed in `output.log`. Nothing goes through a pipe, which would break when Slicer ends.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _
from xrecon.training.status import (
    FAILED,
    FINISHED,
    LOCK,
    STATUS,
    STOPPED,
    RunState,
    is_locked,
    read_state,
    request_stop,
)

from XReconSlicerLib import jobs, processes
from XReconSlicerLib.events import LineReader, Signal

OUTPUT = "output.log"
POLL_MS = 500
# After a run did not stop in the time it was given, it gets this long to remove what is half-written.
TERMINATE_SECONDS = 10.0


class DetachedRun:
    """One training, started here or found running. Has the signals and methods of `jobs.CliJob`.

    `finished` is also emitted for a run that was stopped on request: its numbers say "stopped".
    """

    tellsTimeLeft = True  # in the messages of its progress

    def __init__(self, folder: Path, arguments: Sequence[object] = (), command: Sequence[str] = ()) -> None:
        """
        :param folder: of the run.
        :param arguments: of `xrecon`, to start it; none to follow the run that lasts in the folder.
        :param command: program and first arguments; default: Slicer's Python with `-m xrecon`.
        """
        self.folder = Path(folder)
        self.arguments = [str(argument) for argument in arguments]
        self.command = list(command) or [jobs.pythonExecutable(), "-m", "xrecon"]
        self.progress, self.log = Signal(), Signal()
        self.finished, self.failed, self.cancelled = Signal(), Signal(), Signal()
        self._process: subprocess.Popen | None = None
        self._started = 0.0
        self._output, self._offset, self._error, self._lastLine = LineReader(), 0, "", ""
        self._deadline, self._isTerminated = 0.0, False
        self._isFollowed = self._isNewFolder = False

    # -- control -------------------------------------------------------------------------------
    @property
    def isRunning(self) -> bool:
        return self._isFollowed

    def start(self) -> None:
        """Starts the process, or follows the run that lasts; what happens next is told by the signals."""
        self._isFollowed = True
        try:
            if self.arguments:
                self._launch()
        except OSError as error:
            message = _("Could not start {program}: {reason}").format(program=self.command[0], reason=error)
            self._end(lambda: self.failed.emit(message))
            return
        qt.QTimer.singleShot(0, self._poll)

    def leave(self) -> None:
        """Follows the run no longer; the run goes on and no signal comes any more."""
        self._isFollowed = False

    def cancel(self, graceMs: int = 0) -> None:
        """Asks the run to save a checkpoint and end; after `graceMs` it is ended with all its children."""
        if not self._isFollowed or self._deadline:
            return
        self._deadline = time.monotonic() + graceMs / 1000.0
        try:
            request_stop(self.folder)
        except OSError as error:  # a full disk: the last checkpoint has to do
            logging.warning("XRecon: %s", error)
            self._deadline = time.monotonic()

    def waitForFinished(self, timeoutMs: int = -1) -> bool:
        """Blocks, with signals delivered, until the run has ended; False after the timeout."""
        deadline = time.monotonic() + timeoutMs / 1000.0
        while self._isFollowed:
            if 0 <= timeoutMs and time.monotonic() > deadline:
                return False
            slicer.app.processEvents()
            time.sleep(0.02)
        return True

    # -- the process ---------------------------------------------------------------------------
    def _launch(self) -> None:
        self._isNewFolder = not self.folder.exists()
        self.folder.mkdir(parents=True, exist_ok=True)
        output = self.folder / OUTPUT
        self._offset = output.stat().st_size if output.exists() else 0
        self._started = time.time()
        # neither the end of Slicer's session nor Ctrl+C in its terminal reaches the process
        if sys.platform == "win32":
            flags = subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP
            detached = {"creationflags": flags}
        else:
            detached = {"start_new_session": True}
        command = [*self.command, *self.arguments, "--progress", "none"]
        logging.info("XRecon runs: %s", " ".join(command))
        with open(output, "ab") as stream:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env=_environment(),
                **detached,
            )

    def _poll(self) -> None:
        if not self._isFollowed:
            return
        self._readOutput()
        state = self._ownState()
        if self._lasts(state):
            if state is not None and state.is_running and state.stage:  # it has begun to work
                self.progress.emit(state.stage, state.fraction, state.message)
            self._hurry(state)
            qt.QTimer.singleShot(POLL_MS, self._poll)
            return
        self._readOutput()
        self._end(lambda: self._tellEnd(self._ownState()))

    def _ownState(self) -> RunState | None:
        """What the run says; None while there is only what an earlier run in the folder has said."""
        state = read_state(self.folder)
        return state if state is not None and state.started >= self._started else None

    def _lasts(self, state: RunState | None) -> bool:
        if self._process is not None and self._process.poll() is None:
            return True
        # PythonSlicer may end before the process that it has started and that does the work
        return state is not None and state.is_running

    def _hurry(self, state: RunState | None) -> None:
        """Ends what was asked to stop and has had its time."""
        if not self._deadline or time.monotonic() < self._deadline:
            return
        # the process id in the file is the run's only as long as its lock is held
        pids = {self._process.pid} if self._process is not None and self._process.poll() is None else set()
        if state is not None and state.is_running and is_locked(self.folder):
            pids.add(state.pid)
        if self._isTerminated or sys.platform == "win32":
            for pid in pids:
                processes.kill(pid)
        else:
            for pid in pids:
                processes.terminate(processes.tree(pid))
        self._isTerminated = True
        self._deadline = time.monotonic() + TERMINATE_SECONDS

    def _readOutput(self) -> None:
        try:
            with open(self.folder / OUTPUT, "rb") as stream:
                stream.seek(self._offset)
                data = stream.read()
        except OSError:
            return
        # what was printed before a run was followed may be of an earlier run in the folder
        isOwn = self._process is not None or self._offset > 0
        self._offset += len(data)
        for line in self._output.feed(data):
            if isOwn and line.startswith(jobs.ERROR_PREFIX):
                self._error = line.removeprefix(jobs.ERROR_PREFIX)
            elif line.strip():
                self._lastLine = line.strip()
            self.log.emit(line)

    # -- end -----------------------------------------------------------------------------------
    def _tellEnd(self, state: RunState | None) -> None:
        if state is not None and state.state == FINISHED:
            self.finished.emit({"files": {}, "numbers": state.numbers})
        elif state is not None and state.state == STOPPED:
            self.finished.emit({"files": {}, "numbers": {"stopped": state.message}})
        elif self._deadline:
            self.cancelled.emit()
        else:
            if self._process is not None:
                self._removeEmptyFolder()
            self.failed.emit(self._reason(state))

    def _reason(self, state: RunState | None) -> str:
        if self._error:
            return self._error
        if state is not None and state.state == FAILED:
            return state.message
        code = self._process.returncode if self._process is not None else None
        if state is not None or (code is not None and code < 0):
            message = _(
                "The training was killed, perhaps because memory ran out. "
                "Resume goes on from its last checkpoint."
            )
        else:
            message = _("The training ended without a result (exit code {code}).").format(code=code)
        return f"{message} {self._lastLine}".strip()

    def _removeEmptyFolder(self) -> None:
        """A run that was refused leaves no folder with nothing but the reason in it."""
        try:
            if {path.name for path in self.folder.iterdir()} <= {OUTPUT, STATUS, LOCK}:
                for path in list(self.folder.iterdir()):
                    path.unlink()
                if self._isNewFolder:
                    self.folder.rmdir()
        except OSError as error:
            logging.info("XRecon: %s stays: %s", self.folder, error)

    def _end(self, emit: Callable[[], None]) -> None:
        self._isFollowed = False
        emit()


def runsIn(folder: str | Path) -> bool:
    """Whether a training is at work in a folder."""
    state = read_state(Path(folder)) if folder else None
    return state is not None and state.is_running


def _environment() -> dict[str, str]:
    """Without the process id of Slicer, which other jobs do not outlive (`xrecon.lifeline`)."""
    paths = [str(jobs.PACKAGE_PARENT), os.environ.get("PYTHONPATH", "")]
    inherited = {name: value for name, value in os.environ.items() if name != "XRECON_PARENT_PID"}
    return {
        **inherited,
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8",
    }
