"""Several processes on one run (`torchrun -m xrecon train ...`): each takes its share of every step.

Nothing else changes: the same command, the same files, written by the first process. Gradients are
averaged by torch's DistributedDataParallel, so that N processes with a batch of B take the steps of
one process with a batch of N x B (dropout draws differ, and losses that take Dice over a batch; see
`training.order` for the samples).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import distributed, nn

Value = TypeVar("Value")
# The others wait while the first process prepares CTs, validates or writes.
PATIENCE = timedelta(hours=24)


@dataclass(frozen=True)
class Processes:
    """Which of how many processes this one is."""

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files and speaks to the user."""
        return self.rank == 0

    def from_first(self, value: Value | None) -> Value:
        """The first process's value, in every process."""
        if self.count == 1:
            return value
        held = [value]
        distributed.broadcast_object_list(held, src=0)
        return held[0]

    def mean(self, terms: Mapping[str, float], device: torch.device) -> dict[str, float]:
        """Numbers of the same names, averaged over the processes."""
        if self.count == 1:
            return dict(terms)
        values = torch.tensor(list(terms.values()), dtype=torch.float64, device=device)
        distributed.all_reduce(values)
        return dict(zip(terms, (values / self.count).tolist(), strict=True))

    def parallel(self, module: nn.Module, device: torch.device, all_used: bool = True) -> nn.Module:
        """The module as it is called in training; gradients of all processes are averaged in backward.

        all_used: whether every parameter gets a gradient in every step.
        """
        if self.count == 1:
            return module
        return nn.parallel.DistributedDataParallel(
            module,
            device_ids=[device.index or torch.cuda.current_device()] if device.type == "cuda" else None,
            broadcast_buffers=False,
            find_unused_parameters=not all_used,
        )


@contextmanager
def join_processes(device: str) -> Iterator[Processes]:
    """This process's place among those that `torchrun` started; alone when it started none.

    device: "cpu" or "cuda"; each process of a machine takes the GPU of its number.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes()
        return
    if device == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    distributed.init_process_group("nccl" if device == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield Processes(distributed.get_rank(), count)
    finally:
        distributed.destroy_process_group()


def without_averaging(module: nn.Module, wanted: bool) -> Any:
    """A context in which gradients only add up in each process, when `wanted`."""
    if wanted and isinstance(module, nn.parallel.DistributedDataParallel):
        return module.no_sync()
    return nullcontext()
