"""XRecon's projector beside its peers: accuracy and speed in one table. See README.md.

    python Testing/Benchmarks/projector.py --cases A,B --rounds 5 --threads 2

Installs the peers into an environment of its own at the first call.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

from projector_benchmark import environment

CASES = ("A", "A-frontal", "A-random", "P", "B")
PARTS = ("forward", "gradient", "pose", "views")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line as a namespace."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--cases", default="A,A-frontal,A-random,P", help=f"comma-separated, out of {CASES}")
    parser.add_argument(
        "--parts", default=",".join(PARTS), help="comma-separated; gradient, pose, views use A"
    )
    parser.add_argument(
        "--methods", default=None, help="only those whose name holds one of these, comma-separated"
    )
    parser.add_argument("--rounds", type=int, default=5, help="timed calls of every method, in turn")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of every method")
    parser.add_argument("--views", type=int, default=8, help="views in one call, in the part of that name")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where torch methods run")
    parser.add_argument("--environment", type=Path, default=environment.DEFAULT, help="folder of the peers")
    parser.add_argument("--here", action="store_true", help="use this Python as it is; install nothing")
    parser.add_argument("--json", type=Path, default=None, help="write all figures to this file")
    # A child process of the benchmark itself, which measures the memory of one method.
    parser.add_argument("--memory-of", default=None, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.cases = _names(parser, "--cases", options.cases, CASES)
    options.parts = _names(parser, "--parts", options.parts, PARTS)
    if min(options.rounds, options.threads, options.views) < 1:
        parser.error("expected --rounds, --threads and --views from 1")
    return options


def _names(parser: argparse.ArgumentParser, option: str, text: str, known: Sequence[str]) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        parser.error(f"expected {option} out of {', '.join(known)}, got {text!r}")
    return names


def report(line: str) -> None:
    """Progress, apart from the tables."""
    print(f"[{line}]", file=sys.stderr, flush=True)


def run(options: argparse.Namespace) -> dict:
    """Measures, prints the tables as they come, returns all figures."""
    import torch
    from projector_benchmark import forward, gradients
    from projector_benchmark.cases import Scene, around, make_cases
    from projector_benchmark.methods import Setting, chosen

    if options.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("--device cuda: torch finds no CUDA device here")
    torch.set_num_threads(options.threads)
    figures: dict = {"machine": describe(options), "forward": {}}
    show("Machine", "\n".join(f"{key}: {value}" for key, value in figures["machine"].items()))
    setting = Setting(options.device, options.threads, options.rounds, report)
    cases, methods = make_cases(), chosen(options.methods, options.device)
    for name in options.cases if "forward" in options.parts else ():
        rows = figures["forward"][name] = forward.measure(Scene(cases[name]), methods, setting)
        show(f"Forward, {name}", forward.table(rows, options.device, cases[name].timed))
    scene = Scene(cases["A"])
    differentiable = [method for method in methods if method.torch]
    if "gradient" in options.parts:
        rows = figures["gradient"] = gradients.measure_volume(scene, differentiable, setting)
        show("Forward + backward for the volume, A", gradients.volume_table(rows, options.device))
    if "pose" in options.parts:
        rows = figures["pose"] = gradients.measure_pose(scene, differentiable, setting)
        show("Forward + backward for the pose, A", gradients.pose_table(rows, options.device))
    if "views" in options.parts:
        scene = Scene(cases["A"].with_views(around(cases["A"].views[0], options.views)))
        quick = [method for method in differentiable if options.device == "cuda" or not method.slow]
        rows = figures["views"] = forward.measure_views(scene, quick, setting)
        show("Several views of one volume, A", forward.views_table(rows, options.views, options.device))
    return figures


def show(title: str, text: str) -> None:
    """One section of the result, at once."""
    print(f"\n## {title}\n\n{text}", flush=True)


def measure_memory(options: argparse.Namespace) -> None:
    """Prints the memory of one method as a line of JSON."""
    import torch
    from projector_benchmark import memory
    from projector_benchmark.cases import make_cases

    torch.set_num_threads(options.threads)
    print(json.dumps(memory.measure_here(options.memory_of, make_cases()["A"], options.device)))


def describe(options: argparse.Namespace) -> dict[str, str]:
    """What the figures were measured on."""
    import torch

    processor = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        found = [line for line in information.read_text().splitlines() if line.startswith("model name")]
        processor = found[0].split(":", 1)[1].strip() if found else processor
    return {
        "processor": processor,
        "threads": str(options.threads),
        "device": torch.cuda.get_device_name() if options.device == "cuda" else "cpu",
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Installs where needed, enters the environment, measures; the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = parse(given)
    if not options.here and not environment.is_inside():
        python = environment.install(options.environment, report)
        return environment.enter(python, Path(__file__).resolve(), given, options.threads)
    sys.path.insert(0, str(environment.BACKEND))
    if options.memory_of:
        measure_memory(options)
        return 0
    figures = run(options)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
