"""What there is to compute on, how much memory it has free, and how much a model needs."""

from __future__ import annotations

import ctypes
import os
import sys
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from xrecon.nets.card import ModelCard
from xrecon.nets.device import cuda_fault
from xrecon.nets.registry import create_model

# What libraries keep beside tensors: workspaces of convolutions, cached blocks of an allocator.
OVERHEAD = 1.5  # lifting-64 on a CPU: 146 MiB of tensors, 216 MiB taken
CUDA_CONTEXT_BYTES = 500 * 2**20


@dataclass(frozen=True)
class Place:
    """A device. free_bytes and total_bytes are None when the system does not tell; fault is "" when a
    small convolution there gave the right numbers."""

    name: str
    title: str
    free_bytes: int | None
    total_bytes: int | None
    fault: str = ""


def places() -> list[Place]:
    """The CPU and every CUDA device, each GPU tried with a small convolution."""
    found = [Place("cpu", f"CPU, {os.cpu_count()} threads", *_main_memory())]
    for index in range(torch.cuda.device_count()):
        name = f"cuda:{index}"
        fault, free, total = cuda_fault(name), None, None
        if not fault:
            free, total = torch.cuda.mem_get_info(index)
        found.append(Place(name, torch.cuda.get_device_name(index), free, total, fault))
    return found


def peak_bytes(card: ModelCard) -> int:
    """Memory of the model's tensors at the fullest moment of one run, in bytes.

    The network is run on torch's fake tensors, which have shapes and no numbers. Workspaces of
    libraries come on top, see `needed_bytes`. Raises InputError as `create_model` does, and RuntimeError
    when the network needs numbers to go on.
    """
    with FakeTensorMode(), torch.inference_mode(False):
        network = create_model(card.architecture, **card.options).eval().requires_grad_(False)
        weights = sum(tensor.nbytes for tensor in (*network.parameters(), *network.buffers()))
        if card.input.kind == "radiographs":
            views = len(card.input.views)
            arguments = [torch.empty((1, views, *card.input.shape)), torch.empty((1, views, 3, 4))]
        else:
            arguments = [torch.empty((1, 1, *card.input.shape))]
        with _Tally() as tally:
            network(*arguments)
    return weights + sum(each.nbytes for each in arguments) + tally.peak


def needed_bytes(card: ModelCard, place: str = "cpu") -> int:
    """`peak_bytes` with what libraries take on top."""
    context = CUDA_CONTEXT_BYTES if place.startswith("cuda") else 0
    return int(peak_bytes(card) * OVERHEAD) + context


class _Tally(TorchDispatchMode):
    """Adds up the storages that operations make, and takes each off when it is freed."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        result = function(*arguments, **(options or {}))
        for tensor in torch.utils._pytree.tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self._count(tensor.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._known:
            return
        self._known.add(key)
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._free, key, storage.nbytes())

    def _free(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


# -- main memory -------------------------------------------------------------------------------
def _main_memory() -> tuple[int | None, int | None]:
    """Bytes that programs can still have, and all there is."""
    if Path("/proc/meminfo").is_file():
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
        return kilobytes["MemAvailable"] * 1024, kilobytes["MemTotal"] * 1024
    if sys.platform == "win32":
        status = _MemoryStatus(length=ctypes.sizeof(_MemoryStatus))
        if ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
            return status.free, status.total
    try:
        return None, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None, None


class _MemoryStatus(ctypes.Structure):
    """MEMORYSTATUSEX of the Windows API."""

    _fields_ = [
        ("length", ctypes.c_ulong),
        ("load", ctypes.c_ulong),
        ("total", ctypes.c_ulonglong),
        ("free", ctypes.c_ulonglong),
        *((f"rest{i}", ctypes.c_ulonglong) for i in range(5)),
    ]
