"""PTX-Seg on generated pneumothorax with exact truth, both modes side by side. See pneumothorax.md.

    python Testing/Benchmarks/pneumothorax.py --data DIR --subset development --jobs 2

Stops and continues: each case's row is kept as soon as it ends.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
THREADS = ("OMP_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "OPENBLAS_NUM_THREADS")
SUBSETS = ("development", "held-out", "quick", "all")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line as a namespace."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=REPOSITORY.parent / "shared" / "data",
                        help="folder of the CTs")
    parser.add_argument("--subset", choices=SUBSETS, default="development", help="which cases")
    parser.add_argument("--only", default="", help="only cases whose name holds this text")
    parser.add_argument("--modes", default="reference,robust", help="comma-separated")
    parser.add_argument("--jobs", type=int, default=1, help="processes, one thread each")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / ".pneumothorax",
                        help="folder of the rows and of the lungs of the clean CTs")
    parser.add_argument("--limit-s", type=float, default=float("inf"),
                        help="start no case after so many seconds; call again to go on")
    parser.add_argument("--list", action="store_true", help="print the cases and stop")
    parser.add_argument("--tables", action="store_true", help="measure nothing; print what is there")
    options = parser.parse_args(arguments)  # fmt: skip
    if options.jobs < 1:
        parser.error("expected --jobs from 1")
    return options


def report(line: str) -> None:
    """Progress, apart from the tables."""
    print(line, file=sys.stderr, flush=True)


def run(options: argparse.Namespace) -> None:
    """Measures what is missing and prints the tables."""
    from pneumothorax_benchmark import measuring
    from pneumothorax_benchmark.acceptance import verdicts
    from pneumothorax_benchmark.cases import chosen
    from pneumothorax_benchmark.store import Rows
    from pneumothorax_benchmark.tables import all_tables

    cases = [case for case in chosen(options.subset) if options.only in case.name]
    if options.list:
        print("\n".join(case.name for case in cases))
        return
    wanted = [name.strip() for name in options.modes.split(",")]
    modes = {name: p for name, p in measuring.mode_parameters().items() if name in wanted}
    rows = Rows(options.output / "rows.jsonl")
    todo = []
    for case in cases:
        missing = {
            name: p for name, p in modes.items()
            if not rows.has(case.name, name, measuring.settings_hash(case, name, p))
        }  # fmt: skip
        if missing:
            todo.append((case, missing))
    report(f"{len(cases)} cases, {len(todo)} to measure, modes {', '.join(modes)}")
    if todo and not options.tables:
        _measure(todo, rows, options)
    found = rows.of([case.name for case in cases])
    print(f"## {options.subset}: {len({r['case'] for r in found})} of {len(cases)} cases\n")
    print(all_tables(found))
    print(f"\n### Wanted of the robust mode\n\n{verdicts(found)}", flush=True)


def _measure(todo: list, rows: object, options: argparse.Namespace) -> None:
    """Every case in a process of the pool; a case that fails is told and leaves no row."""
    start, done = time.monotonic(), 0
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.jobs, mp_context=context, initializer=_one_thread) as pool:
        waiting = list(reversed(todo))
        running = {}
        while waiting or running:
            while waiting and len(running) < options.jobs:
                if time.monotonic() - start > options.limit_s:
                    report(f"stopped after {options.limit_s:g} s, {len(waiting)} cases are left")
                    waiting = []
                    break
                case, missing = waiting.pop()
                running[pool.submit(_one, case, missing, options.data, options.output)] = case
            if not running:
                break
            future = next(as_completed(running))
            case = running.pop(future)
            done += 1
            try:
                found, failures = future.result()
            except Exception as error:  # the table goes on without it
                report(f"[{done}/{len(todo)}] {case.name}: {type(error).__name__}: {error}")
                continue
            rows.add(found)
            if found:
                report(f"[{done}/{len(todo)}] {_told(found)}")
            for failure in failures:
                report(f"[{done}/{len(todo)}] {case.name}, {failure}")


def _told(rows: list[dict]) -> str:
    first = rows[0]
    modes = [f"{r['mode']} Dice {r['dice']}, {r['found_ml']:.0f} ml, {r['cpu_s']} s" for r in rows]
    made = f"{first['truth_ml']:.0f} ml, {first['cpu_make_s']} + {first['cpu_lungs_s']} s"
    return f"{first['case']}: {made}; {'; '.join(modes)}"


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _one(case: object, modes: dict, data: Path, output: Path) -> tuple[list, list]:
    from pneumothorax_benchmark.measuring import measure_case

    return measure_case(case, modes, data, output)


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status."""
    options = parse(arguments)
    # before any library counts the cores; children inherit it
    for name in THREADS:
        os.environ[name] = "1"
    backend = str(REPOSITORY / "XReconSlicer")
    os.environ["PYTHONPATH"] = os.pathsep.join([backend, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    sys.path.insert(0, backend)
    run(options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
