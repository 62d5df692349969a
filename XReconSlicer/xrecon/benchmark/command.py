"""`xrecon benchmark`: plan, cases, methods one after the other, table, plots and pictures."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xrecon import __version__
from xrecon.benchmark.cases import make_cases
from xrecon.benchmark.methods import CONTROLS, kind_of
from xrecon.benchmark.plan import Plan, choose_split, fix_plan, make_plan
from xrecon.benchmark.run import read_result, run_in_process, run_safely
from xrecon.benchmark.table import flat_rows, markdown
from xrecon.benchmark.trained import write_data
from xrecon.io.atomic import atomic_write_text
from xrecon.outcome import Outcome, ProgressCallback, table_text
from xrecon.progress import json_text
from xrecon.training.manifest import identify
from xrecon.training.subjects import find_subjects
from xrecon.volume import InputError

TABLE, ROWS, SUMMARY, REPORT = "benchmark.md", "benchmark.csv", "benchmark.json", "benchmark.html"


def benchmark(
    data: Path,
    output: Path,
    methods: Sequence[str],
    test: Sequence[str] | None,
    progress: ProgressCallback,
    isolated: bool = True,
    **settings: Any,
) -> Outcome:
    """Trains or loads each method, measures all on the same cases, writes one table.

    CTs of one content count as one patient under whatever names, so that none is trained and tested on.

    methods: names as `benchmark.methods` reads them; the controls are added. isolated: each method in a
    process of its own. settings: fields of `Plan`.
    Raises InputError for an unknown method, test CTs that do not exist, or a folder with another plan,
    before anything is computed. A method that fails is told in the table and stops no other.
    """
    notes: list[str] = []
    names = tuple(dict.fromkeys([*CONTROLS, *methods]))
    for name in names:
        kind_of(name)
    subjects = identify(find_subjects(data, notes), output, notes)
    train, chosen = choose_split(subjects, test)
    contents = {s.name: s.sha256 for s in subjects if s.name in train + chosen}
    plan = make_plan(methods=names, train=train, test=chosen, contents=contents, **settings)
    output.mkdir(parents=True, exist_ok=True)
    fix_plan(plan, output)
    write_data(subjects, plan, output)
    notes += [f"left out {n}: {why}" for n, why in make_cases(plan, subjects, output, progress).items()]
    notes += _seen(plan)
    results, run = [], run_in_process if isolated else run_safely
    for number, name in enumerate(names):
        progress("benchmark", number / len(names), name)
        before = read_result(output, name)
        # a method that failed gets another chance
        done = before if before is not None and "error" not in before else None
        results.append(done or run(output, name, progress))
    if all("error" in result for result in results):
        raise InputError(f"expected a method that works, got none: {results[0]['error']}")
    return _written(output, plan, results, notes)


def _seen(plan: Plan) -> list[str]:
    """A sentence for each model that was trained on a test CT."""
    from xrecon.nets.registry import load_card

    notes = []
    for name in plan.methods:
        if kind_of(name) == "model":
            seen = {d.subject for d in load_card(name).training_data} & set(plan.test)
            if seen:
                notes.append(f"{name} was trained on {', '.join(sorted(seen))}: its figures are no test")
    return notes


def _written(output: Path, plan: Plan, results: Sequence[Mapping[str, Any]], notes: list[str]) -> Outcome:
    from xrecon.benchmark.page import write_page

    rows, text = flat_rows(results), markdown(results)
    heading = f"{_described(plan)}\n\n"
    atomic_write_text(output / TABLE, heading + text)
    atomic_write_text(output / ROWS, table_text(rows))
    numbers = {"plan": plan.model_dump(mode="json"), "machine": machine(), "methods": list(results)}
    atomic_write_text(output / SUMMARY, json_text({**numbers, "warnings": notes}))
    write_page(output, output / REPORT, plan, results, notes)
    files = {"table": TABLE, "rows": ROWS, "summary": SUMMARY, "report": REPORT}
    failed = [f"{r['name']}: {r['error']}" for r in results if "error" in r]
    return Outcome({k: output / v for k, v in files.items()}, {"rows": rows}, text, [*notes, *failed])


def _described(plan: Plan) -> str:
    budget = f"{plan.steps} steps" if plan.steps else f"{plan.minutes:g} minutes of processor time"
    air = f", each also with a synthetic pneumothorax of {plan.pneumothorax:.0%}" if plan.pneumothorax else ""
    return (
        f"{budget} of training for each method; {plan.side}^3 voxels of {plan.spacing_mm:g} mm; trained on "
        f"{', '.join(plan.train)}; tested on {', '.join(plan.test)}{air}. Means over patients with their "
        "range or, from three on, a 95 % t interval; PSNR and SSIM in 3D over the whole grid, range 2500 "
        "HU. Lungs: PTX-Seg on the reconstruction against PTX-Seg on the truth; air: against the air that "
        f"was put in. {machine()}"
    )


def machine() -> str:
    """What the figures of time were measured on."""
    import platform

    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return (
        f"Measured with xrecon {__version__}, torch {torch.__version__}, {os.cpu_count()} processors "
        f"({platform.machine()}), {gpu}."
    )
