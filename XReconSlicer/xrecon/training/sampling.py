"""Batches made ahead of the training: by a thread beside it, or by processes of their own.

One sample takes the processor longer than a step takes a GPU. Samples depend on their numbers alone
(`training.order`), so that it does not matter who makes them.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from xrecon.training.datasets import Batch, PairSource

# Batches that each process makes ahead.
AHEAD = 2


class Prefetched:
    """A source that makes the batches asked for next while the present one is trained on.

    processes: that make them; 0: one thread, which makes the next batch.
    """

    def __init__(self, source: PairSource, processes: int = 0) -> None:
        self.source, self.processes = source, processes
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="pairs")
        self._items: Sequence[int] = ()
        self._next: Future[Batch] | None = None
        self._batches: Iterator[Batch] | None = None

    def sample(self, items: Sequence[int], following: Sequence[int] | None) -> Batch:
        """The samples of these numbers; `following` is what will be asked for next."""
        if self.processes:
            return self._from_processes(items, following)
        waiting, self._next = self._next, None
        ready = waiting is not None and list(self._items) == list(items)
        batch = waiting.result() if ready else self.source.sample(items)
        if following is not None:
            self._items = following
            self._next = self._worker.submit(self.source.sample, following)
        return batch

    def _from_processes(self, items: Sequence[int], following: Sequence[int] | None) -> Batch:
        # what a run asks for has equal steps, so that the processes know it beforehand
        if self._batches is None or list(self._items) != list(items):
            self.close()
            if following is None:
                return self.source.sample(items)
            self._batches = _from(self.source, items, following[0] - items[0], self.processes)
        batch = next(self._batches)
        if following is None:
            self.close()
        else:
            self._items = following
        return batch

    def close(self) -> None:
        """Ends the processes; the next batch that is asked for starts them anew."""
        self._batches = None  # the loader's iterator ends its workers when nothing holds it


def _from(source: PairSource, items: Sequence[int], step: int, processes: int) -> Iterator[Batch]:
    loader = DataLoader(
        _Batches(source),
        batch_size=None,
        sampler=_Endless(items, step),
        num_workers=processes,
        prefetch_factor=AHEAD,
        multiprocessing_context="spawn",  # torch's threads and a GPU do not survive a fork
        collate_fn=_unchanged,
        worker_init_fn=_started,
        # of its own: a number drawn from torch's would shift what the network draws in this step
        generator=torch.Generator(),
    )
    return iter(loader)


class _Endless:
    """The numbers of a batch, of the next one, and so on."""

    def __init__(self, items: Sequence[int], step: int) -> None:
        self.items, self.step = list(items), step

    def __iter__(self) -> Iterator[list[int]]:
        items = self.items
        while True:
            yield items
            items = [item + self.step for item in items]


class _Batches(Dataset):
    """A source's batches by their samples' numbers, on the CPU, so that they can be sent."""

    def __init__(self, source: PairSource) -> None:
        self.source = source

    def __getitem__(self, items: Sequence[int]) -> Batch:
        batch = self.source.sample(items)
        if batch.labels is not None:
            batch = replace(batch, labels=batch.labels.to(torch.uint8))  # an eighth of what is sent
        return batch.to("cpu")


def _unchanged(batch: Batch) -> Batch:
    return batch


def _started(_: int) -> None:
    # Ctrl+C reaches the training, which ends its helpers
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    device = getattr(get_worker_info().dataset.source, "device", None)
    if isinstance(device, torch.device) and device.type == "cuda":
        torch.cuda.set_device(device)
