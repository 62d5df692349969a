"""Where to compute: a tested GPU or the CPU, and what happens when it fails half-way."""

from __future__ import annotations

import gc
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from xrecon.volume import InputError


@dataclass(frozen=True)
class Device:
    """What is computed on ("cpu", "cuda" or "cuda:1"), and notes when it is not what was wished."""

    name: str
    notes: tuple[str, ...] = ()


def run_on_device(
    compute: Callable[[str], Any],
    device: str = "auto",
    low_memory: Callable[[str], Any] | None = None,
) -> tuple[Any, Device]:
    """`compute(device)` on the wished device, or on the CPU when that fails for want of it or of memory.

    low_memory: gives the same result with less memory and more time; tried on each device where
    `compute` ran out of memory, before the next device. It may raise MemoryError when there is no such way.

    Returns the result and the device used, with a note on every fallback. Raises InputError for
    an unknown device, MemoryError when the CPU's memory does not suffice either.
    """
    chosen = choose_device(device)
    ways = (compute,) if low_memory is None else (compute, low_memory)
    notes, errors = list(chosen.notes), []
    for place in dict.fromkeys((chosen.name, "cpu")):
        owner = _OWNERS[place.partition(":")[0]]
        for way in ways:
            result, error = _attempt(way, place)
            if error is None:
                if way is low_memory:
                    notes.append(f"{owner} did not suffice at once; computed in a slower way")
                return result, Device(place, tuple(notes))
            errors.append(error)
        notes.append(f"{owner} did not suffice; computed on the CPU")
    raise MemoryError(f"not enough memory: {errors[-len(ways)]}")


_OWNERS = {"cuda": "the GPU's memory", "cpu": "the computer's memory"}


def _attempt(compute: Callable[[str], Any], place: str) -> tuple[Any, str | None]:
    """The result and None, or None and what was said when memory ran out.

    When this returns, the error is gone and with it the frames that held what had been computed.
    """
    try:
        return compute(place), None
    except (RuntimeError, MemoryError) as error:
        if not _tells_of_memory(error):
            raise
        message = str(error)
    gc.collect()
    if place.startswith("cuda") and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    return None, message


def _tells_of_memory(error: Exception) -> bool:
    told = ("not enough memory", "can't allocate memory", "CUDNN_STATUS_ALLOC_FAILED")
    return isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)) or any(t in str(error) for t in told)


def save_memory(network: torch.nn.Module) -> None:
    """Makes a network compute in its way that takes less memory.

    Raises MemoryError when none of its modules has one (an attribute `low_memory`).
    """
    able = [module for module in network.modules() if hasattr(module, "low_memory")]
    if not able:
        raise MemoryError(f"{type(network).__name__} has no way that takes less memory")
    for module in able:
        module.low_memory = True


def choose_device(device: str = "auto") -> Device:
    """The device for a wish of "auto", "cpu", "cuda", or "cuda:1" for one of several GPUs.

    A GPU is used only after a small convolution on it gave the CPU's answer. Raises InputError
    for another wish.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise InputError(f"expected a device 'auto', 'cpu', 'cuda' or, of several, 'cuda:1', got {device!r}")
    if device == "cpu":
        return Device("cpu")
    wished = "cuda" if device == "auto" else device
    if not torch.cuda.is_available():
        missing = ("no usable CUDA device was found; computed on the CPU",)
        return Device("cpu", () if device == "auto" else missing)
    fault = cuda_fault(wished)
    if fault:
        return Device("cpu", (f"the GPU failed a test computation ({fault}); computed on the CPU",))
    return Device(wished)


def cuda_fault(device: str = "cuda") -> str:
    """What is wrong with a GPU, "" when a small convolution on it agrees with the CPU."""
    x = torch.linspace(-1.0, 1.0, 2 * 5**3).reshape(1, 2, 5, 5, 5)
    weight = torch.linspace(-1.0, 1.0, 3 * 2 * 3**3).reshape(3, 2, 3, 3, 3)
    expected = torch.nn.functional.conv3d(x, weight)
    try:
        got = torch.nn.functional.conv3d(x.to(device), weight.to(device)).cpu()
    except (RuntimeError, AssertionError) as error:  # a driver or build that does not fit, or no such GPU
        return str(error).splitlines()[0]
    return "" if torch.allclose(got, expected, rtol=1e-2, atol=1e-2) else "wrong numbers"
