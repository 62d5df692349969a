"""Background jobs with real child processes: events, logs, errors, cancelling a whole process tree."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import slicerhost
from XReconSlicerLib import processes
from XReconSlicerLib.events import LineReader, Signal, parseEvent
from XReconSlicerLib.jobs import PACKAGE_PARENT, CliJob

# What each child does before it ends; {folder} is the job's folder.
PRELUDE = """
import json, os, subprocess, sys, time
def say(**event): print(json.dumps(event), flush=True)
"""


class Recorder:
    """Everything a job says, in order."""

    def __init__(self, job: CliJob) -> None:
        self.progress, self.log, self.end = [], [], []
        job.progress.connect(lambda *values: self.progress.append(values))
        job.log.connect(self.log.append)
        job.finished.connect(lambda result: self.end.append(("finished", result)))
        job.failed.connect(lambda message: self.end.append(("failed", message)))
        job.cancelled.connect(lambda: self.end.append(("cancelled",)))


def makeJob(tmp_path: Path, code: str) -> tuple[CliJob, Recorder]:
    script = tmp_path / "child.py"
    script.write_text(PRELUDE + code, encoding="utf-8")
    job = CliJob(["work"], command=[sys.executable, str(script)])
    return job, Recorder(job)


def finish(job: CliJob) -> None:
    job.start()
    assert job.waitForFinished(20000)


def test_result_files_are_there_while_the_result_is_told_and_gone_afterwards(tmp_path: Path) -> None:
    job, said = makeJob(
        tmp_path,
        "folder = sys.argv[1]\nopen(folder + '/a.txt', 'w').write('42')\n"
        "say(event='progress', stage='run', fraction=0.25, message='a quarter')\n"
        "say(event='result', files={'a': folder + '/a.txt'}, numbers={'n': 1.5})\n",
    )
    job.arguments = [str(job.folder)]
    seen = []
    job.finished.connect(lambda result: seen.append(Path(result["files"]["a"]).read_text()))
    finish(job)
    assert said.progress == [("run", 0.25, "a quarter")]
    assert said.end == [("finished", {"files": {"a": f"{job.folder}/a.txt"}, "numbers": {"n": 1.5}})]
    assert seen == ["42"]
    assert not job.folder.exists()
    assert not job.isRunning


def test_the_command_gets_arguments_progress_option_and_environment(tmp_path: Path) -> None:
    job, said = makeJob(
        tmp_path,
        "import xrecon\n"
        "say(event='result', files={}, numbers={'argv': sys.argv[1:], 'from': xrecon.__file__,"
        " 'unbuffered': os.environ['PYTHONUNBUFFERED'], 'coding': sys.stdout.encoding})\n",
    )
    job.arguments = ["segment", "--set", "t_p=-950"]
    finish(job)
    numbers = said.end[0][1]["numbers"]
    assert numbers["argv"] == ["segment", "--set", "t_p=-950", "--progress", "json"]
    assert Path(numbers["from"]).parents[1].name == "XReconSlicer"
    assert (numbers["unbuffered"], numbers["coding"].lower()) == ("1", "utf-8")


def test_lines_that_are_no_events_go_to_the_log(tmp_path: Path) -> None:
    job, said = makeJob(
        tmp_path,
        "print('a warning of a library')\nprint('{not json')\nprint('[1, 2]')\n"
        "say(event='unknown')\nprint('bad \\u2713 bytes', flush=True)\n"
        "sys.stdout.buffer.write(b'\\xff\\xfe\\n'); sys.stdout.flush()\n"
        "print('to stderr', file=sys.stderr)\nsay(event='result', files={}, numbers={})\n",
    )
    finish(job)
    assert said.end[0][0] == "finished"
    out = [line for line in said.log if line != "to stderr"]
    expected = ["a warning of a library", "{not json", "[1, 2]", '{"event": "unknown"}', "bad \u2713 bytes"]
    assert out == [*expected, "\ufffd\ufffd"]
    assert "to stderr" in said.log


def test_events_cut_in_the_middle_of_a_line_and_of_a_character_arrive_whole(tmp_path: Path) -> None:
    job, said = makeJob(
        tmp_path,
        "event = {'event': 'progress', 'stage': 's', 'fraction': 0.5, 'message': 'M\\u00fcller \\u2713'}\n"
        "line = json.dumps(event, ensure_ascii=False).encode() + b'\\n'\n"
        "for i in range(0, len(line)):\n"
        "    sys.stdout.buffer.write(line[i:i + 1]); sys.stdout.buffer.flush(); time.sleep(0.002)\n"
        "sys.stdout.buffer.write(json.dumps({'event': 'result', 'files': {}, 'numbers': {}}).encode())\n",
    )
    finish(job)
    assert said.progress == [("s", 0.5, "Müller ✓")]
    assert said.end[0][0] == "finished"  # though the last line has no end


def test_an_error_event_is_the_message(tmp_path: Path) -> None:
    job, said = makeJob(
        tmp_path,
        "say(event='error', message='expected a CT, got a picture')\n"
        "print('xrecon: error: the same again', file=sys.stderr)\nsys.exit(3)\n",
    )
    finish(job)
    assert said.end == [("failed", "expected a CT, got a picture")]
    assert not job.folder.exists()


def test_without_an_error_event_the_error_line_of_stderr_is_the_message(tmp_path: Path) -> None:
    job, said = makeJob(tmp_path, "print('xrecon: error: no such model', file=sys.stderr); sys.exit(3)\n")
    finish(job)
    assert said.end == [("failed", "no such model")]


def test_a_crash_tells_the_last_line(tmp_path: Path) -> None:
    job, said = makeJob(tmp_path, "raise ZeroDivisionError('by zero')\n")
    finish(job)
    ((kind, message),) = said.end
    assert kind == "failed"
    assert "exit code 1" in message and message.endswith("ZeroDivisionError: by zero")


def test_a_killed_child_is_told_as_such(tmp_path: Path) -> None:
    job, said = makeJob(tmp_path, "import signal; os.kill(os.getpid(), signal.SIGKILL)\n")
    finish(job)
    assert said.end[0][0] == "failed" and "memory" in said.end[0][1]


def test_success_without_a_result_is_a_failure(tmp_path: Path) -> None:
    job, said = makeJob(tmp_path, "pass\n")
    finish(job)
    assert said.end[0][0] == "failed"


def test_a_program_that_does_not_exist_fails_with_its_name(tmp_path: Path) -> None:
    job = CliJob(["x"], command=[str(tmp_path / "no-such-program")])
    said = Recorder(job)
    finish(job)
    ((kind, message),) = said.end
    assert kind == "failed" and "no-such-program" in message
    assert not job.folder.exists()


GRANDCHILD = (
    "grandchild = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
    "say(event='progress', stage='go', fraction=0, message=str(grandchild.pid))\n"
)


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX process ids")
@pytest.mark.parametrize("graceMs", [0, 4000])
def test_cancel_ends_children_and_grandchildren_and_removes_the_folder(tmp_path: Path, graceMs: int) -> None:
    job, said = makeJob(tmp_path, GRANDCHILD + "time.sleep(60)\n")
    job.start()
    slicerhost.wait_until(lambda: said.progress)
    child, grandchild = job._process.processId(), int(said.progress[0][2])
    assert processes.tree(child) == [child, grandchild]
    job.cancel(graceMs)
    assert job.waitForFinished(10000)
    assert said.end == [("cancelled",)]
    slicerhost.wait_until(lambda: not isRunning(grandchild) and not isRunning(child))
    assert not job.folder.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no way to ask on Windows")
def test_a_job_with_grace_cleans_up_before_it_ends(tmp_path: Path) -> None:
    trace = tmp_path / "cleaned"
    job, said = makeJob(
        tmp_path,
        "import signal\ndef stop(*_): raise KeyboardInterrupt\nsignal.signal(signal.SIGTERM, stop)\n"
        "say(event='progress', stage='go', fraction=0, message='')\n"
        f"try:\n    time.sleep(60)\nfinally:\n    time.sleep(0.3); open({str(trace)!r}, 'w').close()\n",
    )
    job.start()
    slicerhost.wait_until(lambda: said.progress)
    job.cancel(graceMs=8000)
    assert job.waitForFinished(10000)
    assert said.end == [("cancelled",)]
    assert trace.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no way to ask on Windows")
def test_a_child_that_does_not_listen_is_killed_after_the_grace(tmp_path: Path) -> None:
    job, said = makeJob(
        tmp_path,
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "say(event='progress', stage='go', fraction=0, message='')\ntime.sleep(60)\n",
    )
    job.start()
    slicerhost.wait_until(lambda: said.progress)
    started = time.monotonic()
    job.cancel(graceMs=200)
    assert job.waitForFinished(10000)
    assert said.end == [("cancelled",)]
    assert time.monotonic() - started < 9


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX process ids")
@pytest.mark.parametrize("pid", [0, -1])
def test_a_number_of_no_process_signals_no_group(pid: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = []
    monkeypatch.setattr(processes.os, "kill", lambda *arguments: sent.append(arguments))
    processes.kill(pid)
    processes.terminate([pid])
    assert sent == [] and processes.tree(pid) == [] and not processes.isAlive(pid)
    assert sent == []


def test_prepare_leaves_no_folder_when_writing_the_input_fails() -> None:
    folders = []

    def fail(folder: Path) -> list[object]:
        folders.append(folder)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        CliJob.prepare(fail)
    assert not folders[0].exists()


def test_run_gives_the_result_or_raises_the_message(tmp_path: Path) -> None:
    job, _said = makeJob(tmp_path, "say(event='result', files={}, numbers={'n': 2})\n")
    assert job.run()["numbers"] == {"n": 2}
    job, _said = makeJob(tmp_path, "say(event='error', message='wrong input'); sys.exit(3)\n")
    with pytest.raises(RuntimeError, match="wrong input"):
        job.run()


def test_line_reader_splits_before_it_decodes() -> None:
    reader = LineReader()
    data = "é1\nü2\r\nzz".encode()
    lines = [line for i in range(len(data)) for line in reader.feed(data[i : i + 1])]
    assert lines == ["é1", "ü2"]
    assert list(reader.close()) == ["zz"] and list(reader.close()) == []
    assert list(LineReader().feed(b"10%\r20%\r30%\n")) == ["30%"]


@pytest.mark.parametrize("line", ["", "{}", '{"event": 3}', '{"event": "progress"', "progress", '["event"]'])
def test_only_known_events_are_events(line: str) -> None:
    assert parseEvent(line) is None


def test_a_slot_may_disconnect_itself_while_called() -> None:
    signal, seen = Signal(), []

    def once(value: int) -> None:
        seen.append(value)
        signal.disconnect(once)

    signal.connect(once)
    signal.connect(seen.append)
    signal.emit(1)
    signal.emit(2)
    assert seen == [1, 1, 2]


def isRunning(pid: int) -> bool:
    """Whether a process exists and is no zombie waiting for its parent."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        if Path("/proc/self").exists():
            return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_job_ends_by_itself_when_slicer_is_killed(tmp_path: Path) -> None:
    """The caller is a process that starts the real command line and is killed without warning."""
    ready = tmp_path / "ready"
    work = (
        "import sys, time, pathlib\nfrom xrecon import cli, commands\n"
        f"def wait(*_):\n    pathlib.Path({str(ready)!r}).write_text(str(__import__('os').getpid()))\n"
        "    time.sleep(60)\ncommands.models = wait\nsys.exit(cli.run(['models']))"
    )
    caller = (
        "import os, subprocess, sys, time\n"
        "environment = {**os.environ, 'XRECON_PARENT_PID': str(os.getpid())}\n"
        f"subprocess.Popen([sys.executable, '-c', {work!r}], env=environment)\ntime.sleep(60)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(PACKAGE_PARENT), *sys.path])}
    process = subprocess.Popen([sys.executable, "-c", caller], env=environment)
    slicerhost.wait_until(ready.exists, timeout=60)
    slicerhost.wait_until(lambda: ready.read_text() != "", timeout=5)
    pid = int(ready.read_text())
    assert processes.isAlive(pid)
    process.kill()
    process.wait()
    slicerhost.wait_until(lambda: not isRunning(pid), timeout=20)
