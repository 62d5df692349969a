"""Times methods in turn, round after round, so that a busy machine slows all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from projector_benchmark.methods import Runner


@dataclass
class Timing:
    """Seconds of one method; `rounds` holds one entry per round, None where it sat out."""

    first_call: float
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


def clock(run: Runner, device: str) -> tuple[object, float]:
    """(result, seconds): CUDA events on a GPU, a method's own count where it gives one."""
    if device.startswith("cuda"):
        import torch

        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        start.record()
        result, seconds = run()
        end.record()
        torch.cuda.synchronize()
        return result, start.elapsed_time(end) / 1000.0 if seconds is None else seconds
    begin = time.perf_counter()
    result, seconds = run()
    return result, time.perf_counter() - begin if seconds is None else seconds


def interleave(
    runs: Mapping[str, Runner],
    rounds: int,
    device: str,
    limited: Mapping[str, int] | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, Timing]:
    """Each method once per round, after one call to warm up; `limited` gives fewer rounds to some."""
    limited = limited or {}
    timings = {}
    for name, run in runs.items():
        report(f"warming up {name}")
        timings[name] = Timing(clock(run, device)[1])
    for number in range(rounds):
        report(f"round {number + 1} of {rounds}")
        for name, run in runs.items():
            takes_part = number < limited.get(name, rounds)
            timings[name].rounds.append(clock(run, device)[1] if takes_part else None)
    return timings


def as_array(result: object) -> np.ndarray:
    """A numpy copy of a tensor on any device, or of an array."""
    if hasattr(result, "detach"):
        result = result.detach().cpu().numpy()
    return np.array(result)


def names_with(parts: Sequence[str], names: Sequence[str]) -> list[str]:
    """The names that start with one of the parts, in their order."""
    return [name for name in names if name.startswith(tuple(parts))]
