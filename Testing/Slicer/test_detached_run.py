"""Trainings that go on without Slicer: followed again, stopped, never taken for another process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import slicerhost
from panel_inputs import misbehave
from xrecon.training.status import read_state
from XReconSlicerLib import detached_run
from XReconSlicerLib.detached_run import OUTPUT, DetachedRun, runsIn

# A run without a network: it holds the lock, tells how far it is, and stops when asked to.
RUN = """
from pathlib import Path
from xrecon.training.status import RunStatus, StopRequested
folder = Path(sys.argv[sys.argv.index("--output") + 1])
with RunStatus(folder) as run:
    print("a line of the log", flush=True)
    (folder / "checkpoint.pt").touch()
    for step in range(int(sys.argv[sys.argv.index("train") + 1])):
        run.tell("train", step / 1000, f"step {step}: loss 0.5")
        time.sleep(0.05)
        if run.is_stop_requested and "--deaf" not in sys.argv:
            raise StopRequested(f"stopped at step {step}")
    run.finish({"metrics": {"psnr": 20.0}, "warnings": []})
"""


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    monkeypatch.setattr(detached_run, "POLL_MS", 20)
    return []


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Path]:
    """The folder of a run; who is still at work in it when the test ends is ended."""
    folder = tmp_path / "run"
    yield folder
    state = read_state(folder)
    if state is not None and state.is_running:
        with contextlib.suppress(ProcessLookupError):
            os.kill(state.pid, signal.SIGKILL)


def listen(job: DetachedRun, heard: list[tuple]) -> DetachedRun:
    for name in ("progress", "log", "finished", "failed", "cancelled"):
        getattr(job, name).connect(lambda *arguments, name=name: heard.append((name, *arguments)))
    return job


def named(heard: list[tuple], name: str) -> list[tuple]:
    return [each[1:] for each in heard if each[0] == name]


def start(folder: Path, heard: list[tuple], steps: int, *more: str) -> DetachedRun:
    job = listen(DetachedRun(folder, ["train", steps, "--output", folder, *more]), heard)
    job.start()
    return job


def test_a_run_is_started_shown_and_ended(
    run: Path, heard: list[tuple], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    misbehave(monkeypatch, tmp_path, RUN)
    job = start(run, heard, 8)
    assert job.isRunning and job.waitForFinished(60000) and not job.isRunning
    assert named(heard, "finished") == [
        ({"files": {}, "numbers": {"metrics": {"psnr": 20.0}, "warnings": []}},)
    ]
    assert named(heard, "log") == [("a line of the log",)]
    assert named(heard, "progress")[0][0] == "train" and "loss 0.5" in named(heard, "progress")[-1][2]
    assert (run / OUTPUT).read_text() == "a line of the log\n"


def test_a_run_goes_on_when_slicer_dies_and_is_followed_again(
    run: Path, heard: list[tuple], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Slicer that started it ends without a word, as when it is killed; its session is gone."""
    misbehave(monkeypatch, tmp_path, RUN)
    here = Path(__file__).resolve().parent
    folders = [here / "host", here.parents[1] / "XReconSlicer"]
    code = (
        "import os, sys, slicerhost; slicerhost.create()\n"
        "from XReconSlicerLib import jobs; jobs.pythonExecutable = lambda: sys.argv[1]\n"
        "from XReconSlicerLib.detached_run import DetachedRun, runsIn\n"
        "DetachedRun(sys.argv[2], ['train', 900, '--output', sys.argv[2]]).start()\n"
        "slicerhost.wait_until(lambda: runsIn(sys.argv[2]), 60); os._exit(9)"
    )
    other = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "fake-xrecon"), str(run)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))},
        capture_output=True,
        timeout=120,
    )
    assert other.returncode == 9, other.stderr
    assert runsIn(run)
    assert os.getsid(read_state(run).pid) != os.getsid(0)
    job = listen(DetachedRun(run), heard)
    job.start()
    slicerhost.wait_until(lambda: named(heard, "progress"), 20)
    job.cancel(60000)
    assert job.waitForFinished(60000)
    ((result,),) = named(heard, "finished")
    assert "stopped at step" in result["numbers"]["stopped"]
    assert named(heard, "log")[0] == ("a line of the log",), "what it printed before is shown, too"
    assert not runsIn(run)


def test_who_leaves_hears_nothing_more_and_the_run_goes_on(
    run: Path, heard: list[tuple], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    misbehave(monkeypatch, tmp_path, RUN)
    job = start(run, heard, 30)
    slicerhost.wait_until(lambda: named(heard, "progress"), 60)
    job.leave()
    count = len(heard)
    slicerhost.wait_until(lambda: read_state(run).state == "finished", 60)
    slicerhost.wait_until(lambda: True)
    assert len(heard) == count and not job.isRunning


def test_a_run_that_does_not_listen_is_ended_after_its_time(
    run: Path, heard: list[tuple], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    misbehave(monkeypatch, tmp_path, RUN)
    job = start(run, heard, 2000, "--deaf")
    slicerhost.wait_until(lambda: named(heard, "progress"), 60)
    job.cancel(100)
    assert job.waitForFinished(60000)
    assert named(heard, "cancelled") == [()] and not runsIn(run)
    assert read_state(run).state in ("stopped", "killed")


def test_a_killed_run_is_told_and_its_checkpoint_stays(
    run: Path, heard: list[tuple], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    misbehave(monkeypatch, tmp_path, RUN)
    job = start(run, heard, 2000)
    slicerhost.wait_until(lambda: named(heard, "progress"), 60)
    os.kill(read_state(run).pid, signal.SIGKILL)
    assert job.waitForFinished(20000)
    ((message,),) = named(heard, "failed")
    assert "killed" in message and "Resume" in message and (run / "checkpoint.pt").exists()


def test_another_process_of_the_same_number_is_left_alone(run: Path, heard: list[tuple]) -> None:
    """A status left by a crash names a process id that belongs to another program by now: this one."""
    run.mkdir()
    now = time.time()
    told = {"state": "running", "pid": os.getpid(), "started": now, "updated": now}
    (run / "status.json").write_text(json.dumps(told))
    (run / "run.lock").touch()
    assert not runsIn(run)
    signals = []
    before = signal.signal(signal.SIGTERM, lambda *_: signals.append("terminated"))
    try:
        job = listen(DetachedRun(run), heard)
        job.start()
        job.cancel(0)
        assert job.waitForFinished(5000)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert signals == [] and named(heard, "cancelled") == [()]


def test_a_refused_run_leaves_no_folder_and_says_why(
    run: Path, heard: list[tuple], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    misbehave(monkeypatch, tmp_path, "print('xrecon: error: no CTs', file=sys.stderr); sys.exit(3)")
    assert start(run, heard, 1).waitForFinished(20000)
    assert named(heard, "failed") == [("no CTs",)] and not run.exists()
    run.mkdir()
    (run / "mine.txt").touch()
    assert start(run, heard, 1).waitForFinished(20000)
    assert (run / "mine.txt").exists() and (run / OUTPUT).exists()


def test_a_result_of_an_earlier_run_is_not_taken_for_this_ones(
    run: Path, heard: list[tuple], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    misbehave(monkeypatch, tmp_path, RUN)
    assert start(run, heard, 1).waitForFinished(60000) and named(heard, "finished")
    heard.clear()
    misbehave(monkeypatch, tmp_path, "sys.exit(7)")
    assert start(run, heard, 1).waitForFinished(20000)
    assert "exit code 7" in named(heard, "failed")[0][0]


def test_a_program_that_is_not_there_is_named(run: Path, heard: list[tuple]) -> None:
    job = listen(DetachedRun(run, ["train"], ["/nowhere/python"]), heard)
    job.start()
    assert not job.isRunning and "/nowhere/python" in named(heard, "failed")[0][0]
