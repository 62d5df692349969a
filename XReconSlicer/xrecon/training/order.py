"""Which sample is which: the data order of a run, whatever the number of processes.

The samples of a run are numbered 0, 1, 2, ... Step s takes the numbers from s * n on, n being the
batch times the accumulated batches times the processes. A sample depends on the seed and its number
alone. So a resumed run sees what an uninterrupted one would have seen, and two processes see together
what one process with a batch of twice the size sees.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

# First words of the seeds, so that no two uses draw the same numbers.
ORDER, SAMPLE, POSE, POINTS = 0, 1, 2, 3


@dataclass(frozen=True)
class Share:
    """What one process does of each step.

    batch: samples at once; accumulation: batches of one step; rank: of this process, out of
    `processes`.
    """

    batch: int = 1
    accumulation: int = 1
    rank: int = 0
    processes: int = 1

    @property
    def step_samples(self) -> int:
        """Samples of one step, over all processes."""
        return self.batch * self.accumulation * self.processes

    def items(self, step: int) -> list[range]:
        """Sample numbers of each of this process's batches of a step."""
        first = step * self.step_samples
        starts = [
            first + (part * self.processes + self.rank) * self.batch for part in range(self.accumulation)
        ]
        return [range(start, start + self.batch) for start in starts]


def sample_generator(seed: int, item: int) -> np.random.Generator:
    """The random numbers of a sample."""
    return np.random.default_rng([seed, SAMPLE, item])


def pose_generator(seed: int, step: int) -> np.random.Generator:
    """The random numbers of a step's projection loss, the same for all of its samples."""
    return np.random.default_rng([seed, POSE, step])


def point_generator(seed: int, step: int) -> np.random.Generator:
    """The random numbers of the points that a step compares, the same for all of its samples."""
    return np.random.default_rng([seed, POINTS, step])


class Shuffle:
    """Every subject once per epoch, in an order of its own in each."""

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed = count, seed

    def subject(self, item: int) -> int:
        """Index of the subject that a sample shows."""
        epoch, place = divmod(item, self.count)
        return int(_permutation(self.count, self.seed, epoch)[place])


@lru_cache(maxsize=4)
def _permutation(count: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, ORDER, epoch]).permutation(count)
