"""Where to compute: a tested GPU or the CPU, and what happens when it fails half-way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from xrecon.volume import InputError


@dataclass(frozen=True)
class Device:
    """What is computed on ("cpu" or "cuda"), and notes when it is not what was wished."""

    name: str
    notes: tuple[str, ...] = ()


def run_on_device(compute: Callable[[str], Any], device: str = "auto") -> tuple[Any, Device]:
    """`compute(device)` on the wished device, or on the CPU when that fails for want of it or of memory.

    Returns the result and the device used, with a note on every fallback. Raises InputError for
    an unknown device, MemoryError when the CPU's memory does not suffice either.
    """
    chosen = choose_device(device)
    if chosen.name == "cuda":
        try:
            return compute("cuda"), chosen
        except torch.cuda.OutOfMemoryError:
            torch.cuda.empty_cache()
            chosen = Device("cpu", ("the GPU's memory did not suffice; computed on the CPU",))
    try:
        return compute("cpu"), chosen
    except RuntimeError as error:
        if "not enough memory" in str(error) or "can't allocate memory" in str(error):
            raise MemoryError(f"not enough memory: {error}") from error
        raise


def choose_device(device: str = "auto") -> Device:
    """The device for a wish of "auto", "cpu" or "cuda".

    A GPU is used only after a small convolution on it gave the CPU's answer. Raises InputError
    for another wish.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise InputError(f"expected a device 'auto', 'cpu' or 'cuda', got {device!r}")
    if device == "cpu":
        return Device("cpu")
    if not torch.cuda.is_available():
        missing = ("no usable CUDA device was found; computed on the CPU",)
        return Device("cpu", () if device == "auto" else missing)
    fault = _cuda_fault()
    if fault:
        return Device("cpu", (f"the GPU failed a test computation ({fault}); computed on the CPU",))
    return Device("cuda")


def _cuda_fault() -> str:
    """What is wrong with the GPU, "" when a small convolution on it agrees with the CPU."""
    x = torch.linspace(-1.0, 1.0, 2 * 5**3).reshape(1, 2, 5, 5, 5)
    weight = torch.linspace(-1.0, 1.0, 3 * 2 * 3**3).reshape(3, 2, 3, 3, 3)
    expected = torch.nn.functional.conv3d(x, weight)
    try:
        got = torch.nn.functional.conv3d(x.cuda(), weight.cuda()).cpu()
    except RuntimeError as error:  # a driver or build that does not fit the card
        return str(error).splitlines()[0]
    return "" if torch.allclose(got, expected, rtol=1e-2, atol=1e-2) else "wrong numbers"
