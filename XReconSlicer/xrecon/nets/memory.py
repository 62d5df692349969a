"""What there is to compute on, how much memory it has free, and how much a model needs."""

from __future__ import annotations

import ctypes
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from xrecon.nets.card import ModelCard
from xrecon.nets.cost import count_call
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

    Counted by `xrecon.nets.cost` on fake tensors, which have shapes and no numbers. Workspaces of
    libraries come on top, see `needed_bytes`. Raises InputError as `create_model` does, and RuntimeError
    when the network needs numbers to go on.
    """
    with FakeTensorMode():
        network = create_model(card.architecture, **card.options)
        needed = card.input
        if needed.kind == "radiographs":
            views = max(len(needed.views), *(needed.view_count or (0, 0)))
            inputs = (torch.empty(1, views, *needed.shape), torch.empty(1, views, 3, 4))
        elif needed.kind == "cube":
            inputs = (torch.empty(1, 1, *(needed.side,) * 3),)
        else:
            inputs = (torch.empty(1, 1, *needed.shape),)
        return count_call(network, inputs)[1]


def needed_bytes(card: ModelCard, place: str = "cpu") -> int:
    """`peak_bytes` with what libraries take on top."""
    context = CUDA_CONTEXT_BYTES if place.startswith("cuda") else 0
    return int(peak_bytes(card) * OVERHEAD) + context


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
