"""A run that was stopped, refused or damaged, and one that several processes share."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from training_inputs import TINY, TINY_X_RECON, log_rows, require_same_state, state, tiny, write_cts
from trunk import trunk
from xrecon.io.image import write_volume
from xrecon.nets.registry import load_card
from xrecon.training.checkpoint import CHECKPOINT
from xrecon.training.config import make_config
from xrecon.training.run import train
from xrecon.volume import InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_cts(tmp_path_factory.mktemp("cts"))


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_refused_start_leaves_the_run_as_it_was(folder, tmp_path):
    train(folder, tmp_path, tiny(steps="2"))
    before = contents(tmp_path)
    for options, resume, message in [
        ({}, False, "without a run"),
        ({"augmentation.gamma": "0.3"}, True, "augmentation"),
        ({"seed": "5"}, True, "seed"),
        ({"architecture": "nope"}, True, "architecture"),
    ]:
        with pytest.raises(InputError, match=message):
            train(folder, tmp_path, tiny(**{"steps": "2", **options}), resume=resume)
        assert contents(tmp_path) == before, message
    train(folder, tmp_path, tiny(steps="2"), resume=True)


def test_a_run_may_go_on_on_another_device(folder, tmp_path):
    train(folder, tmp_path, tiny(steps="2", device="auto"))
    train(folder, tmp_path, tiny(steps="2", device="cpu"), resume=True)


def test_wrong_networks_and_damaged_runs_are_told_in_one_sentence(folder, tmp_path):
    with pytest.raises(InputError, match="'nope'"):
        train(folder, tmp_path / "new", tiny(architecture="nope"))
    with pytest.raises(InputError, match="does not take"):
        train(folder, tmp_path / "new", tiny(options='{"depth": 3}'))
    with pytest.raises(InputError, match="discriminator.* does not take"):
        train(folder, tmp_path / "new", tiny(discriminator='{"depth": 3}'))
    assert not (tmp_path / "new").exists(), "nothing is prepared for a network that does not exist"
    train(folder, tmp_path / "run", tiny(steps="2"))
    splits = (tmp_path / "run" / "splits.json").read_text()
    (tmp_path / "run" / "splits.json").write_text(splits[:20])
    with pytest.raises(InputError, match="splits.json cannot be read"):
        train(folder, tmp_path / "run", tiny(steps="2"), resume=True)
    (tmp_path / "run" / "splits.json").write_text(splits)
    (tmp_path / "run" / CHECKPOINT).write_bytes(b"no checkpoint")
    with pytest.raises(InputError, match="damaged"):
        train(folder, tmp_path / "run", tiny(steps="2"), resume=True)


def test_a_run_may_go_on_with_other_shares_of_the_same_step(folder, tmp_path):
    """Two batches of one are one batch of two: neither data nor weights can tell."""
    settings = {"steps": "4", "precision": "float64", "checkpoint_every": "2"}
    for name, batch, accumulation in (("whole", "2", "1"), ("parts", "1", "2")):
        config = make_config(
            "x-recon",
            None,
            {**TINY_X_RECON, **settings, "batch": batch, "accumulation": accumulation, "ema_decay": "0.9"},
        )
        train(folder, tmp_path / name, config)
    require_same_state(state(tmp_path / "whole"), state(tmp_path / "parts"), rtol=1e-6, atol=1e-7)
    with pytest.raises(InputError, match="accumulation x processes .2 before, 4 now"):
        train(folder, tmp_path / "parts", config.model_copy(update={"batch": 2}), resume=True)
    train(folder, tmp_path / "parts", config.model_copy(update={"batch": 2, "accumulation": 1}), resume=True)


def test_a_run_of_other_cts_or_another_version_is_not_resumed(folder, tmp_path):
    data = write_cts(tmp_path)
    train(data, tmp_path / "run", tiny(steps="2"))
    (data / "person2.mha").write_bytes((folder / "person2.mha").read_bytes())
    train(data, tmp_path / "run", tiny(steps="2"), resume=True)  # the same content, written again
    write_volume(trunk(seed=9), data / "person2.mha")
    with pytest.raises(InputError, match="other content for .'person2'"):
        train(data, tmp_path / "run", tiny(steps="2"), resume=True)
    write_volume(trunk(seed=2), data / "person2.mha")
    content = state(tmp_path / "run")
    torch.save({**content, "version": 1}, tmp_path / "run" / CHECKPOINT)
    with pytest.raises(InputError, match="another version"):
        train(data, tmp_path / "run", tiny(steps="2"), resume=True)


# -- in processes of their own -------------------------------------------------------------------
def start(arguments, launcher=("-m", "xrecon")):
    """A child process that computes with one thread, so that sums have one order."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)
    return subprocess.Popen(
        [sys.executable, *launcher, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def finish(child):
    """Waits for success."""
    out, err = child.communicate(timeout=300)
    assert child.returncode == 0, err.decode()
    return out.decode()


def train_arguments(data, run, recipe, settings, *more):
    return [
        *("train", "--data", str(data), "--output", str(run), "--recipe", recipe, "--progress", "json"),
        *(f"--set={name}={value}" for name, value in settings.items()),
        *more,
    ]


KILLED = {
    # random numbers of the data, accumulated batches and a moving average
    "lifting": {**TINY, "accumulation": "2", "ema_decay": "0.9", "steps": "12", "augmentation.noise": "0.1"},
    # and of dropout and of the projections' poses, with a discriminator and its optimiser
    "x-recon": {**TINY_X_RECON, "options": '{"base_channels": 4}', "steps": "10"},
}


@pytest.mark.parametrize(
    ("recipe", "signal_name"), [("lifting", "SIGKILL"), ("x-recon", "SIGTERM")], ids=["SIGKILL", "SIGTERM"]
)
def test_a_killed_run_ends_with_the_weights_of_an_uninterrupted_one(folder, tmp_path, recipe, signal_name):
    """Bit for bit: weights, optimisers, moving average, and the log."""
    settings = {**KILLED[recipe], "deterministic": "true", "validate_every": "100", "checkpoint_every": "3"}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(start(train_arguments(folder, whole, recipe, settings)))
    child = start(train_arguments(folder, killed, recipe, settings))
    deadline = time.monotonic() + 240
    while not (killed / CHECKPOINT).exists():
        assert child.poll() is None and time.monotonic() < deadline, "the child must reach a checkpoint"
        time.sleep(0.005)
    child.send_signal(getattr(signal, signal_name))
    child.communicate(timeout=60)
    assert child.returncode == (130 if signal_name == "SIGTERM" else -signal.SIGKILL)
    reached = state(killed)["step"]
    assert 0 < reached < int(settings["steps"]) and not (killed / "model").exists()
    finish(start(train_arguments(folder, killed, recipe, settings, "--resume")))
    require_same_state(state(whole), state(killed))
    times = ("seconds",)
    rows = [
        [{k: v for k, v in row.items() if k not in times} for row in log_rows(r)] for r in (whole, killed)
    ]
    assert rows[0] == rows[1]
    weights = [(run / "model" / "weights.safetensors").read_bytes() for run in (whole, killed)]
    assert weights[0] == weights[1]


def test_two_processes_are_one_with_twice_the_batch(folder, tmp_path):
    """`torchrun` on the CPU (gloo): the same weights, discriminator and moving average in float64."""
    settings = {**TINY_X_RECON, "precision": "float64", "steps": "4", "ema_decay": "0.9", "accumulation": "2"}
    one, two = tmp_path / "one", tmp_path / "two"
    finish(start(train_arguments(folder, one, "x-recon", {**settings, "batch": "2"})))
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "xrecon")
    out = finish(start(train_arguments(folder, two, "x-recon", settings), torchrun))
    assert out.count('"event": "result"') == 1, "one process speaks"
    require_same_state(state(one), state(two), rtol=1e-6, atol=1e-7)
    for a, b in zip(log_rows(one), log_rows(two), strict=True):
        assert float(a["loss"]) == pytest.approx(float(b["loss"]), rel=1e-6)
    assert load_card(two / "model").training["processes"] == 2


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import torch
from xrecon.training.checkpoint import save_checkpoint
path = Path(sys.argv[1])
save_checkpoint(path, {"step": 1, "weights": torch.ones(10)})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    save_checkpoint(path, {"step": 2, "weights": torch.ones(100_000)})
except OSError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits on the size of files")
def test_a_full_disk_leaves_the_last_checkpoint(tmp_path):
    path = tmp_path / CHECKPOINT
    told = finish(start([FULL_DISK, str(path)], ("-c",)))
    assert f"cannot write {CHECKPOINT} into the folder {tmp_path}" in told
    assert state(tmp_path)["step"] == 1 and [p.name for p in tmp_path.iterdir()] == [CHECKPOINT]
