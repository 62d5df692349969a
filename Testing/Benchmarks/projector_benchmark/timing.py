"""Times methods in turn, round after round, so that a busy machine slows all of them alike."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from projector_benchmark.methods import Runner

# A call of over ten seconds is timed in this many rounds only.
ROUNDS_IF_VERY_SLOW, VERY_SLOW_SECONDS = 2, 10.0
# A GPU's events are too coarse for one short call: calls are repeated until they take this long.
GPU_SECONDS, GPU_CALLS = 0.02, 200


@dataclass
class Timing:
    """Seconds per call of one method; `rounds` holds one entry per round, None where it sat out."""

    rounds: list[float | None] = field(default_factory=list)

    @property
    def measured(self) -> list[float]:
        return [seconds for seconds in self.rounds if seconds is not None]

    @property
    def median(self) -> float:
        return float(np.median(self.measured))

    @property
    def minimum(self) -> float:
        return min(self.measured)


def ratio(peer: Timing, ours: Timing) -> float:
    """Median over the rounds both took part in of peer seconds / our seconds; nan without any."""
    both = [p / o for p, o in zip(peer.rounds, ours.rounds, strict=True) if p is not None and o is not None]
    return float(np.median(both)) if both else float("nan")


def clock(run: Runner, device: str, calls: int = 1) -> tuple[object, float]:
    """(result, seconds per call): CUDA events on a GPU, a method's own count where it gives one."""
    if device == "cuda":
        return _clock_cuda(run, calls)
    begin = time.perf_counter()
    result, seconds = run()
    return result, time.perf_counter() - begin if seconds is None else seconds


def _clock_cuda(run: Runner, calls: int) -> tuple[object, float]:
    import torch

    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    for _ in range(calls):
        result, _ = run()
    end.record()
    torch.cuda.synchronize()
    return result, start.elapsed_time(end) / 1000.0 / calls


def interleave(
    runs: Mapping[str, Runner], rounds: int, device: str, report: Callable[[str], None]
) -> dict[str, Timing]:
    """Each method once per round, after one call to warm up.

    On a GPU a method's turn is as many calls as fill `GPU_SECONDS`.
    """
    calls, takes_part = {}, {}
    for name, run in runs.items():
        report(f"warming up {name}")
        _, seconds = clock(run, device)
        calls[name] = min(GPU_CALLS, max(1, math.ceil(GPU_SECONDS / seconds))) if device == "cuda" else 1
        takes_part[name] = min(rounds, ROUNDS_IF_VERY_SLOW) if seconds > VERY_SLOW_SECONDS else rounds
    timings = {name: Timing() for name in runs}
    for number in range(rounds):
        report(f"round {number + 1} of {rounds}")
        for name, run in runs.items():
            seconds = clock(run, device, calls[name])[1] if number < takes_part[name] else None
            timings[name].rounds.append(seconds)
    return timings


def as_rows(timings: Mapping[str, Timing]) -> dict[str, dict]:
    """Plain figures per method, with the ratio to every other: how many times faster it is."""
    return {
        name: {
            "rounds_s": timing.rounds,
            "median_s": timing.median,
            "minimum_s": timing.minimum,
            "faster_than": {peer: ratio(timings[peer], timing) for peer in timings if peer != name},
        }
        for name, timing in timings.items()
    }


def as_array(result: object) -> np.ndarray:
    """A numpy copy of a tensor on any device, or of an array."""
    if hasattr(result, "detach"):
        result = result.detach().cpu().numpy()
    return np.array(result)
