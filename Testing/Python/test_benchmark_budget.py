"""How many steps a benchmark's budget gives a recipe."""

from __future__ import annotations

from pathlib import Path

import pytest
from trunk import trunk
from xrecon.benchmark import trained
from xrecon.benchmark.plan import Plan, make_plan
from xrecon.benchmark.trained import train_within, write_data
from xrecon.io.image import write_volume
from xrecon.nets.registry import load_card
from xrecon.training.subjects import find_subjects
from xrecon.volume import InputError

SETTINGS = {
    "pneumothorax_variants": 0,
    "options": {"view_widths": [4, 4, 8], "grid_widths": [4, 8, 8, 8]},
    "precision": "float32",
}


def silent(*_: object) -> None:
    """Progress for nobody."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two CTs of trunks."""
    folder = tmp_path_factory.mktemp("cts")
    for seed in range(2):
        write_volume(trunk(seed), folder / f"person{seed}.nrrd")
    return folder


def budgeted(data: Path, folder: Path) -> Plan:
    """A plan of a minute for each method, whose training CT lies in place."""
    plan = make_plan(
        methods=("lifting",), train=("person0",), test=("person1",), minutes=1.0, side=16,
        device="cpu", lungs="classical", settings=SETTINGS,
    )  # fmt: skip
    write_data(find_subjects(data), plan, folder)
    return plan


def test_the_number_of_steps_follows_from_the_minutes_and_stays(data: Path, tmp_path: Path, monkeypatch):
    plan, stages = budgeted(data, tmp_path), []
    ticks = iter(range(0, 10_000, 10))  # each look at the clock 10 s after the last one
    monkeypatch.setattr(trained.time, "process_time", lambda: float(next(ticks)))
    model, steps, minutes = train_within("lifting", plan, tmp_path, lambda *what: stages.append(what[0]))
    assert steps == 6 and minutes == pytest.approx(10.0 / 60.0)
    assert load_card(model).training["steps"] == 6
    # two steps after the first took more than a fifth of the minute: no third one was timed
    assert stages.count("pilot") == 2 and stages.count("train") == 6
    assert not (tmp_path / "runs" / "lifting.pilot").exists()
    stages.clear()
    assert train_within("lifting", plan, tmp_path, silent) == (model, steps, minutes) and not stages


def test_a_budget_of_less_than_two_steps_is_refused(data: Path, tmp_path: Path, monkeypatch):
    plan = budgeted(data, tmp_path)
    ticks = iter(range(0, 10_000, 40))
    monkeypatch.setattr(trained.time, "process_time", lambda: float(next(ticks)))
    with pytest.raises(InputError, match="lifting: one step takes 40 s, 1 minutes are too few"):
        train_within("lifting", plan, tmp_path, silent)
