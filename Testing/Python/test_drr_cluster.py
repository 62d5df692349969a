"""`xrecon drr` on a folder by several processes: the same files, failures told, killed runs go on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli_inputs import BACKEND, body, error_line, xrecon
from xrecon import cli
from xrecon.drr.cluster import Cluster, run_on_cluster
from xrecon.io.image import write_volume
from xrecon.training.store import CASES, open_store
from xrecon.volume import InputError

dask = pytest.importorskip("dask", reason="needs dask[distributed], the extra 'cluster'")
distributed = pytest.importorskip("distributed", reason="needs dask[distributed], the extra 'cluster'")

NAMES = ("a", "b", "c", "d")
SMALL = ("--detector-pixels", "16", "--formats", "store,png")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four CTs that differ, and one that is cut short."""
    folder = tmp_path_factory.mktemp("cts")
    for number, name in enumerate(NAMES):
        write_volume(body().moved((number, 0.0, 0.0)), folder / f"{name}.nrrd")
    (folder / "damaged.nrrd").write_bytes((folder / "a.nrrd").read_bytes()[:2000])
    return folder


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The workers' processes find this checkout and the tests."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(BACKEND), str(Path(__file__).parent)]))


def run(capfd: pytest.CaptureFixture[str], data: Path, output: Path, *more: object) -> dict:
    """Numbers of a run that must succeed."""
    arguments = ("drr", "--data", data, "--output", output, *SMALL, *more, "--progress", "json")
    code, out, err = xrecon(capfd, *arguments)
    assert code == 0, err
    return json.loads(out.splitlines()[-1])["numbers"]


def cases(output: Path) -> dict[str, str]:
    """SHA-256 of every case by its name."""
    store = open_store(output / "store")
    assert store.verify() == {}
    return {name: entry.sha256 for name, entry in store.cases.items()}


def test_two_processes_make_what_one_makes(
    data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    alone, two = tmp_path / "alone", tmp_path / "two"
    numbers = [run(capfd, data, alone), run(capfd, data, two, "--workers", 2)]
    assert list(numbers[0]["subjects"]) == list(numbers[1]["subjects"]) == list(NAMES)
    assert cases(alone) == cases(two) and list(cases(two)) == list(NAMES)
    for name in NAMES:
        pictures = [(folder / name / f"{name}_pa.png").read_bytes() for folder in (alone, two)]
        assert pictures[0] == pictures[1]
    assert any("damaged.nrrd" in warning for warning in numbers[1]["warnings"])
    again = run(capfd, data, two, "--workers", 2)
    assert again["skipped"] == list(NAMES) and cases(two) == cases(alone)
    assert not [path for path in two.rglob(".*")]


def test_a_scheduler_is_used_by_its_address(
    data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        numbers = run(capfd, data, tmp_path / "out", "--scheduler", cluster.scheduler_address)
    assert list(numbers["subjects"]) == list(NAMES) and list(cases(tmp_path / "out")) == list(NAMES)


def test_a_killed_run_goes_on(data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out"
    command = [sys.executable, "-m", "xrecon", "drr", "--data", data, "--output", output, *SMALL]
    with subprocess.Popen(
        [str(part) for part in (*command, "--workers", 2)], stderr=subprocess.DEVNULL
    ) as child:
        deadline = time.monotonic() + 120
        while not (output / "store" / "manifest.json").exists() and time.monotonic() < deadline:
            assert child.poll() is None
            time.sleep(0.005)
        child.send_signal(signal.SIGKILL)
    before = cases(output)
    assert 0 < len(before) < len(NAMES)
    numbers = run(capfd, data, output)
    assert list(numbers["subjects"]) == list(cases(output)) == list(NAMES)
    assert {name: cases(output)[name] for name in before} == before
    assert set(before) <= set(numbers["skipped"])
    assert sorted(p.stem for p in (output / "store" / CASES).glob("*.npz")) == list(NAMES)


def half(number: int) -> int:
    """A piece of work that fails, is lost with its process, or succeeds."""
    if number == 1:
        raise ValueError("odd")
    if number == 3:
        time.sleep(1.0)  # what the process has done before is to be fetched first
        os.kill(os.getpid(), signal.SIGKILL)
    return number // 2


def test_failures_and_lost_processes_do_not_stop_the_others() -> None:
    with dask.config.set({"distributed.scheduler.allowed-failures": 1}):
        results = dict(run_on_cluster(half, [1, 4, 3], Cluster(workers=1)))
    assert isinstance(results[1], ValueError) and results[4] == 2
    assert isinstance(results[3], distributed.KilledWorker)


def test_what_cannot_be_used_is_told(
    data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for more, message in (
        (("--workers", "2", "--scheduler", "tcp://x:1"), "either --workers or --scheduler"),
        (("--workers", "0"), "workers"),
    ):
        code, _, err = xrecon(capfd, "drr", "--data", data, "--output", tmp_path / "o", *more)
        assert code == cli.USAGE and message in error_line(err)
    code, _, err = xrecon(capfd, "drr", "--ct", data / "a.nrrd", "--output", tmp_path / "o", "--workers", 2)
    assert code == cli.USAGE and "folder of CTs" in error_line(err)
    monkeypatch.setattr("xrecon.drr.cluster.CONNECT_SECONDS", 1)
    with pytest.raises(InputError, match="no answer"):
        list(run_on_cluster(half, [0], Cluster(scheduler="tcp://127.0.0.1:9")))
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match="cluster"):
        list(run_on_cluster(half, [0], Cluster(workers=2)))
