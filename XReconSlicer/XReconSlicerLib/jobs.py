"""Runs the `xrecon` command line as a background process of Slicer.

    >>> job = CliJob(["segment", "--ct", ct, "--output", job.folder / "out"])
    >>> job.progress.connect(lambda stage, fraction, message: ...)
    >>> job.finished.connect(lambda result: load(result["files"]))
    >>> job.start()

The panel and a terminal run the same code, so that a result can be repeated outside Slicer, the
application stays usable, and all memory is given back when the process ends.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import qt
import slicer
import xrecon
from slicer.i18n import tr as _

from XReconSlicerLib import processes
from XReconSlicerLib.events import LineReader, Signal, parseEvent

ERROR_PREFIX = "xrecon: error: "
# The folder that holds the `xrecon` and `XReconSlicerLib` packages.
PACKAGE_PARENT = Path(__file__).resolve().parent.parent
CANCEL_POLL_MS = 50
CALLER_VARIABLE = "XRECON_PARENT_PID"  # see `xrecon.lifeline`


class CliJob:
    """One run of `xrecon <arguments> --progress json`.

    Signals, all emitted in the main thread; exactly one of the last three ends a job:
      progress(stage: str, fraction: float, message: str), log(line: str),
      finished(result: dict with "files" and "numbers"), failed(message: str), cancelled().

    `folder` is a temporary directory for input and output. It is removed after the last signal,
    so `finished` must load what it needs; files for the user belong elsewhere.
    """

    def __init__(self, arguments: Sequence[object] = (), command: Sequence[str] | None = None) -> None:
        """
        :param arguments: subcommand and options; everything is passed as text.
        :param command: program and first arguments; default: Slicer's Python with `-m xrecon`.
        """
        self.arguments = [str(argument) for argument in arguments]
        self.command = list(command) if command is not None else [pythonExecutable(), "-m", "xrecon"]
        # Short name: the paths below it must stay short enough for Windows.
        self.folder = Path(tempfile.mkdtemp(prefix="xr", dir=slicer.app.temporaryPath or None))
        self.progress, self.log = Signal(), Signal()
        self.finished, self.failed, self.cancelled = Signal(), Signal(), Signal()
        self._result: dict[str, Any] | None = None
        self._error = ""
        self._lastLine = ""
        self._cancelling = False
        self._remaining: list[int] = []  # processes that were asked to end
        self._deadline = 0.0
        self._ended = False
        self._process = qt.QProcess()
        self._output, self._errors = LineReader(), LineReader()

    @classmethod
    def prepare(cls, arguments: Callable[[Path], Sequence[object]]) -> CliJob:
        """A job whose arguments need its folder, e.g. to write nodes there; leaves no folder on error."""
        job = cls()
        try:
            job.arguments = [str(argument) for argument in arguments(job.folder)]
        except BaseException:
            job.discard()
            raise
        return job

    # -- control -------------------------------------------------------------------------------
    @property
    def isRunning(self) -> bool:
        return not self._ended and (bool(self._remaining) or self._process.state() != qt.QProcess.NotRunning)

    def start(self) -> None:
        """Starts the process and returns; what happens next is told by the signals."""
        process = self._process
        environment = _environment()
        environment.insert(CALLER_VARIABLE, str(os.getpid()))  # the job ends when Slicer is killed
        process.setProcessEnvironment(environment)
        process.connect("readyReadStandardOutput()", self._onOutput)
        process.connect("readyReadStandardError()", self._onErrors)
        process.connect("finished(int,QProcess::ExitStatus)", self._onProcessFinished)
        process.connect("errorOccurred(QProcess::ProcessError)", self._onProcessError)
        program, *first = self.command
        logging.info("XRecon %s at %s", xrecon.__version__, xrecon.__file__)
        logging.info("XRecon runs: %s", " ".join([*self.command, *self.arguments]))
        process.start(program, [*first, *self.arguments, "--progress", "json"])

    def cancel(self, graceMs: int = 0) -> None:
        """Ends the process and all its children.

        :param graceMs: time to remove what is half-written before it is killed. Jobs that write only
            into their own folder need none. Windows has no way to ask, so there is none either.
        """
        if self._cancelling or not self.isRunning:
            return
        self._cancelling = True
        if graceMs and sys.platform != "win32":
            self._remaining = processes.tree(self._process.processId())
            processes.terminate(self._remaining)
            self._deadline = time.monotonic() + graceMs / 1000.0
            self._awaitCancelled()
        else:
            processes.kill(self._process.processId())

    def waitForFinished(self, timeoutMs: int = -1) -> bool:
        """Blocks, with signals delivered, until the job has ended; False after the timeout."""
        deadline = time.monotonic() + timeoutMs / 1000.0
        while not self._ended:
            if 0 <= timeoutMs and time.monotonic() > deadline:
                return False
            self._process.waitForFinished(50)
            slicer.app.processEvents()
        return True

    def run(self) -> dict[str, Any]:
        """Starts the job and blocks until it has ended; for scripts, which have no panel to keep usable.

        Files of the result that lie in `folder` are gone afterwards.
        :raises RuntimeError: with the job's message when it failed or was cancelled.
        """
        results, failures = [], []
        self.finished.connect(results.append)
        self.failed.connect(failures.append)
        self.cancelled.connect(lambda: failures.append(_("Cancelled.")))
        self.start()
        self.waitForFinished()
        if failures:
            raise RuntimeError(failures[0])
        return results[0]

    def discard(self) -> None:
        """Removes the folder of a job that was never started."""
        shutil.rmtree(self.folder, ignore_errors=True)

    # -- what the process says -----------------------------------------------------------------
    def _onOutput(self) -> None:
        for line in self._output.feed(_bytes(self._process.readAllStandardOutput())):
            self._onOutputLine(line)

    def _onErrors(self) -> None:
        for line in self._errors.feed(_bytes(self._process.readAllStandardError())):
            self._onErrorLine(line)

    def _onOutputLine(self, line: str) -> None:
        event = parseEvent(line)
        if event is None:
            self.log.emit(line)
        elif event["event"] == "progress":
            fraction = min(max(float(event.get("fraction") or 0.0), 0.0), 1.0)
            self.progress.emit(str(event.get("stage", "")), fraction, str(event.get("message", "")))
        elif event["event"] == "result":
            self._result = {"files": event.get("files", {}), "numbers": event.get("numbers", {})}
        else:
            self._error = str(event.get("message", ""))

    def _onErrorLine(self, line: str) -> None:
        if line.startswith(ERROR_PREFIX):
            self._error = self._error or line.removeprefix(ERROR_PREFIX)
        elif line.strip():
            self._lastLine = line.strip()
        self.log.emit(line)

    # -- end -----------------------------------------------------------------------------------
    def _awaitCancelled(self) -> None:
        """Ends the job when all its processes are gone; the launcher may go before the one that works."""
        self._remaining = [pid for pid in self._remaining if processes.isAlive(pid)]
        if not self._remaining:
            self._end(self.cancelled.emit)
            return
        if time.monotonic() > self._deadline:
            for pid in self._remaining:
                processes.kill(pid)
        qt.QTimer.singleShot(CANCEL_POLL_MS, self._awaitCancelled)

    def _onProcessError(self, error: int) -> None:
        if error == qt.QProcess.FailedToStart:  # the only error after which `finished` does not come
            message = _("Could not start {program}: {reason}").format(
                program=self.command[0], reason=self._process.errorString()
            )
            self._end(lambda: self.failed.emit(message))

    def _onProcessFinished(self, exitCode: int, exitStatus: int) -> None:
        self._onOutput()
        self._onErrors()
        for line in self._output.close():
            self._onOutputLine(line)
        for line in self._errors.close():
            self._onErrorLine(line)
        if self._cancelling:
            if not self._remaining:
                self._end(self.cancelled.emit)
        elif exitCode == 0 and self._result is not None:
            self._end(lambda: self.finished.emit(self._result))
        else:
            self._end(lambda: self.failed.emit(self._reason(exitCode, exitStatus)))

    def _reason(self, exitCode: int, exitStatus: int) -> str:
        if self._error:
            return self._error
        if exitStatus == qt.QProcess.CrashExit:
            message = _("The computation was killed, perhaps because memory ran out.")
        else:
            message = _("The computation ended without a result (exit code {code}).").format(code=exitCode)
        return f"{message} {self._lastLine}".strip()

    def _end(self, emit: Callable[[], None]) -> None:
        if self._ended:
            return
        self._ended = True
        # A QProcess must not be destroyed inside its own signal: this reference outlives the signal.
        qt.QTimer.singleShot(0, self._release)
        try:
            emit()
        finally:
            self.discard()

    def _release(self) -> None:
        """Called after the last signal, when nothing needs the process any more."""


def pythonExecutable() -> str:
    """The Python that has Slicer's packages."""
    return shutil.which("PythonSlicer") or sys.executable


def _environment() -> qt.QProcessEnvironment:
    environment = qt.QProcessEnvironment.systemEnvironment()
    # Modules are on sys.path of the application but not of its children.
    paths = [str(PACKAGE_PARENT), environment.value("PYTHONPATH")]
    environment.insert("PYTHONPATH", os.pathsep.join(path for path in paths if path))
    environment.insert("PYTHONUNBUFFERED", "1")
    environment.insert("PYTHONIOENCODING", "utf-8")
    return environment


def _bytes(array: qt.QByteArray) -> bytes:
    # PythonQt gives None for an empty array.
    return bytes(array.data() or b"")
