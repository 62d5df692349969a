"""The page with the benchmark's table: written from the folder's figures, with a command that gives them."""

from __future__ import annotations

import json
from pathlib import Path

import methods_page
from xrecon.benchmark.methods import all_methods
from xrecon.benchmark.plan import make_plan


def written(tmp_path: Path, **settings: object) -> str:
    """The page of a benchmark of two methods, one of which failed."""
    plan = make_plan(train=("a", "b"), test=("c",), device="cpu", **settings)
    case = {"case": "c", "subject": "c", "patient": "c", "air": False, "seconds": 2.0, "psnr": 21.25}
    good = {"name": "mean-volume", "kind": "untrained", "cases": [case], "correlations": {}, "steps": 7}
    numbers = {
        "plan": plan.model_dump(mode="json"),
        "machine": "Measured with xrecon 0.",
        "methods": [good, {"name": "psr", "error": "one step takes 90 s"}],
        "warnings": ["left out d: no lungs"],
    }
    (tmp_path / "benchmark.json").write_text(json.dumps(numbers))
    page = tmp_path / "page.md"
    methods_page.main(["--results", str(tmp_path), "--machine", "A small one.", "--page", str(page)])
    return page.read_text(encoding="utf-8")


def test_the_page_has_table_machine_and_what_failed(tmp_path: Path):
    text = written(tmp_path, methods=("mean-volume", "psr"), minutes=2.0)
    assert "| mean-volume | 21.25" in text and "- psr: one step takes 90 s" in text
    assert "Measured with xrecon 0. A small one." in text and "- left out d: no lungs" in text
    assert "synthetic pneumothorax of 35%" in text
    assert "--minutes 2 --side 64 --seed 0 --device cpu --test c --methods psr" in text


def test_the_command_names_no_methods_when_all_ran(tmp_path: Path):
    text = written(tmp_path, methods=tuple(all_methods()), steps=3, settings={"batch": 2}, pneumothorax=0.0)
    assert "`xrecon benchmark --data CTS --output FOLDER --steps 3 " in text
    assert "--methods" not in text and "--set batch=2" in text and "pneumothorax of" not in text
