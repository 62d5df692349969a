"""What a run tells while it lasts, that it can be stopped from outside, and that the dead are not taken
for the living."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from training_inputs import log_rows, state, tiny, write_cts
from xrecon.commands import train as train_command
from xrecon.training import status
from xrecon.training.run import train
from xrecon.training.status import RunStatus, StopRequested, is_locked, read_state, request_stop
from xrecon.volume import InputError

HOLD = """
import sys, time
from pathlib import Path
from xrecon.training.status import RunStatus
with RunStatus(Path(sys.argv[1])) as run:
    run.tell("train", 0.25, "step 1/4")
    print("running", flush=True)
    time.sleep(60)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cts(tmp_path_factory.mktemp("cts"))


def hold(run: Path) -> subprocess.Popen:
    """Another process that is at work in the folder."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, "-c", HOLD, str(run)]
    child = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "running\n"
    return child


def test_a_finished_run_says_what_it_found(folder: Path, tmp_path: Path) -> None:
    run, seen = tmp_path / "run", []

    def watch(stage: str, fraction: float, _message: str) -> None:
        seen.append((stage, fraction, read_state(run).state, is_locked(run)))

    metrics = train(folder, run, tiny(steps="3"), progress=watch)
    assert {each[2:] for each in seen} == {("running", True)}
    ended = read_state(run)
    assert ended.state == "finished" and ended.fraction == 1.0 and not is_locked(run)
    assert ended.numbers["metrics"] == pytest.approx(metrics) and ended.pid == os.getpid()
    assert ended.started <= ended.updated <= time.time()


def test_the_log_can_be_watched_before_the_first_checkpoint(folder: Path, tmp_path: Path) -> None:
    rows = []

    def watch(stage: str, fraction: float, _message: str) -> None:
        if stage == "train" and fraction < 1:
            rows.append(len(log_rows(tmp_path / "run")) if (tmp_path / "run" / "log.csv").exists() else 0)

    config = tiny(steps="3", validate_every="1", checkpoint_every="99")
    train(folder, tmp_path / "run", config, progress=watch)
    assert rows == [1, 1]  # the first row at once, the others when some seconds have passed
    assert len(log_rows(tmp_path / "run")) == 3


def test_a_run_that_is_asked_to_stop_goes_on_later_as_if_it_had_not(folder: Path, tmp_path: Path) -> None:
    settings = {"steps": "4", "checkpoint_every": "99", "deterministic": "true"}
    train(folder, tmp_path / "whole", tiny(**settings))

    def ask(stage: str, fraction: float, _message: str) -> None:
        if stage == "train" and fraction == 0.5:
            request_stop(tmp_path / "run")

    with pytest.raises(StopRequested, match="stopped at step 3 of 4"):
        train(folder, tmp_path / "run", tiny(**settings), progress=ask)
    assert state(tmp_path / "run")["step"] == 3 and not (tmp_path / "run" / "model").exists()
    assert read_state(tmp_path / "run").state == "stopped" and not (tmp_path / "run" / "stop").exists()
    train(folder, tmp_path / "run", tiny(**settings), resume=True)
    weights = [(tmp_path / r / "model" / "weights.safetensors").read_bytes() for r in ("whole", "run")]
    assert weights[0] == weights[1]
    assert read_state(tmp_path / "run").state == "finished"


def test_the_command_takes_a_stop_for_no_failure(folder: Path, tmp_path: Path) -> None:
    """Asked while CTs are prepared."""

    def ask(stage: str, _fraction: float, message: str) -> None:
        if message.startswith("preparing"):
            request_stop(tmp_path / "run")

    overrides = tiny().model_dump(mode="json")
    outcome = train_command(folder, tmp_path / "run", "lifting", None, overrides, False, ask)
    assert "stopped while CTs were prepared, 1 of 3" in outcome.numbers["stopped"]
    assert all(path.exists() for path in outcome.files.values()) and "model" not in outcome.files


def test_a_refused_run_leaves_nothing_and_a_failed_one_says_why(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="found none"):
        train(tmp_path / "empty", tmp_path / "run", tiny())
    assert not (tmp_path / "run").exists()
    (tmp_path / "mine").mkdir()
    with pytest.raises(InputError, match="found none"):
        train(tmp_path / "empty", tmp_path / "mine", tiny())
    assert list((tmp_path / "mine").iterdir()) == []
    with pytest.raises(InputError, match="lower the learning rate"):
        train(folder, tmp_path / "run", tiny(**{"optimizer.learning_rate": "1e30", "steps": "60"}))
    failed = read_state(tmp_path / "run")
    assert failed.state == "failed" and "lower the learning rate" in failed.message


def test_two_runs_do_not_share_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "LOCK_SECONDS", 0.1)
    child = hold(tmp_path / "run")
    try:
        with pytest.raises(InputError, match="a training at work"):
            RunStatus(tmp_path / "run").__enter__()
        told = read_state(tmp_path / "run")
        assert told.is_running and told.pid == child.pid and told.message == "step 1/4"
    finally:
        child.kill()
        child.wait()


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_killed_run_is_not_taken_for_a_living_one(tmp_path: Path) -> None:
    """Not even when its process id belongs to another program by now."""
    run = tmp_path / "run"
    child = hold(run)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert read_state(run).state == "killed" and not is_locked(run)
    told = json.loads((run / "status.json").read_text())
    (run / "status.json").write_text(json.dumps({**told, "pid": os.getpid()}))
    assert read_state(run).state == "killed"
    with RunStatus(run):
        assert read_state(run).is_running
    assert read_state(run).state == "killed"  # it ended without having said how


def test_what_is_no_status_is_none(tmp_path: Path) -> None:
    assert read_state(tmp_path) is None and not is_locked(tmp_path)
    for text in ("", "[]", '{"state": "running"}', '{"unknown": 1}'):
        (tmp_path / "status.json").write_text(text)
        assert read_state(tmp_path) is None
