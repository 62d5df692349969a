"""Writes methods.md: the table of all methods from the folder of an `xrecon benchmark`.

python Testing/Benchmarks/methods_page.py --results FOLDER [--machine "..."] [--page methods.md]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "XReconSlicer"))

from xrecon.benchmark.methods import CONTROLS, all_methods  # noqa: E402
from xrecon.benchmark.plan import Plan  # noqa: E402
from xrecon.benchmark.table import markdown  # noqa: E402

PAGE = Path(__file__).with_name("methods.md")
INTRODUCTION = """# All methods under one budget

Written by `python Testing/Benchmarks/methods_page.py --results FOLDER` from the folder of a benchmark.

Every recipe of `xrecon train` that reconstructs is trained from nothing on the same CTs with the same random
changes, and measured on the same patients, who are in no training. The budget is the same processor time for
each, not the same number of steps: a heavy network gets few, and the column says how many. Only steps are
timed; preparing the CTs, loading and storing come on top, alike for all. Minutes are far too few to train any
of these networks: the table says that everything works and what each makes of little, not how good a method
is at its best. It is no judgement of the papers, whose networks were trained for days on hundreds of people.

`any-view` and `any-view-pair` are ours: one network for one to four views of any pose (here given two), and
the same one trained for these two views alone. Controls: the mean of the training CTs; the training CT whose
radiographs are most alike; the columns "exchanged", where each reconstruction is compared with the next
patient's CT. Who is no better than the mean volume has learnt nothing yet; who is no worse with
exchanged radiographs does not look at them.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the folder's figures and writes the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, required=True, help="folder of the benchmark")
    parser.add_argument("--machine", default="", help="what it ran on, in words")
    parser.add_argument("--page", type=Path, default=PAGE)
    given = parser.parse_args(arguments)
    numbers = json.loads((given.results / "benchmark.json").read_text(encoding="utf-8"))
    given.page.write_text(page(numbers, given.machine), encoding="utf-8")


def page(numbers: Mapping[str, Any], machine: str = "") -> str:
    """The page's text. numbers: of `benchmark.json`; machine: what it ran on, in words."""
    plan, results = Plan.model_validate(numbers["plan"]), numbers["methods"]
    parts = [
        INTRODUCTION,
        f"`{command(plan)}`\n",
        f"{numbers['machine']} {machine}".strip() + "\n",
        f"Trained on {', '.join(plan.train)}. Tested on {', '.join(plan.test)}{_air(plan)}.",
        "Means over patients; in brackets the range of two patients, or from three on a 95 % t interval.\n",
        markdown(results),
    ]
    if numbers["warnings"]:
        parts.append(
            "Warnings of the run:\n\n" + "\n".join(f"- {told}" for told in numbers["warnings"]) + "\n"
        )
    return "\n".join(parts)


def _air(plan: Plan) -> str:
    share = plan.pneumothorax
    return f", each as scanned and with a synthetic pneumothorax of {share:.0%} of its side" if share else ""


def command(plan: Plan) -> str:
    """The command line that gives this plan, but for the folders."""
    budget = f"--steps {plan.steps}" if plan.steps else f"--minutes {plan.minutes:g}"
    tests = "".join(f" --test {name}" for name in plan.test)
    named = ""
    if set(plan.methods) != set(all_methods()):
        named = "".join(f" --methods {name}" for name in plan.methods if name not in CONTROLS)
    parts = (f"--side {plan.side}", f"--seed {plan.seed}", f"--device {plan.device}")
    changed = "".join(f" --set {name}={json.dumps(value)}" for name, value in plan.settings.items())
    return f"xrecon benchmark --data CTS --output FOLDER {budget} {' '.join(parts)}{tests}{named}{changed}"


if __name__ == "__main__":
    main()
