"""The same work on many CTs by several processes, on this machine or on many: Dask.

Dask is optional (`pip install "xrecon[cluster]"`) and loaded only here. Any scheduler can be used by its
address. On a SLURM cluster, dask-jobqueue starts one:

    from dask_jobqueue import SLURMCluster
    cluster = SLURMCluster(cores=1, memory="8GB", walltime="04:00:00")
    cluster.scale(jobs=32)
    print(cluster.scheduler_address)

and in another shell `xrecon drr --data cts --output drrs --formats store --scheduler tcp://...:port`. All
machines must see the data and the output under the same paths and have the same xrecon.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, TypeVar

from xrecon.volume import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")
CONNECT_SECONDS = 20


@dataclass(frozen=True)
class Cluster:
    """Where work is done: `workers` processes of this machine, or those of the scheduler at an address."""

    workers: int = 1
    scheduler: str = ""

    def __str__(self) -> str:
        return f"the scheduler {self.scheduler}" if self.scheduler else f"{self.workers} processes"


def run_on_cluster(
    work: Callable[[Item], Result], items: Sequence[Item], cluster: Cluster
) -> Iterator[tuple[Item, Result | Exception]]:
    """Each item with the result of `work`, or with the exception it ended in, as they get ready.

    Whoever stops iterating cancels the rest. Each worker computes with one thread. A worker that is lost
    (killed for its memory, a machine that fails) is replaced; an item that costs several ends in
    distributed's KilledWorker. Raises InputError when Dask is not installed or the scheduler does not
    answer.
    """
    try:
        from distributed import Client, as_completed
    except ImportError as error:
        raise InputError(
            f'expected the package distributed for several processes ({error}): pip install "xrecon[cluster]"'
        ) from error
    with ExitStack() as stack:
        address = cluster.scheduler or stack.enter_context(_local(cluster.workers))
        try:
            client = stack.enter_context(Client(address, timeout=CONNECT_SECONDS))
        except OSError as error:
            raise InputError(f"expected a Dask scheduler at {address}, got no answer: {error}") from error
        item_of = {client.submit(work, item, pure=False): item for item in items}
        for future in as_completed(list(item_of)):
            error = future.exception()
            item = item_of.pop(future)
            yield item, (future.result() if error is None else error)


def _local(workers: int) -> Any:
    from distributed import LocalCluster

    return LocalCluster(n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None)
