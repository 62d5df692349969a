"""Where to compute: a tested GPU or the CPU, and what happens when it fails half-way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from xrecon.volume import InputError


def run_on_device(compute: Callable[[str], Any], device: str = "auto") -> tuple[Any, str, list[str]]:
    """`compute(device)` on the wished device, or on the CPU when that fails for want of it or of memory.

    Returns the result, the device used ("cpu" or "cuda") and notes on a fallback. Raises
    InputError for an unknown device, MemoryError when the CPU's memory does not suffice either.
    """
    place, notes = choose_device(device)
    if place == "cuda":
        try:
            return compute(place), place, notes
        except torch.cuda.OutOfMemoryError:
            torch.cuda.empty_cache()
            notes = [*notes, "the GPU's memory did not suffice; computed on the CPU"]
    try:
        return compute("cpu"), "cpu", notes
    except RuntimeError as error:
        if "not enough memory" in str(error) or "can't allocate memory" in str(error):
            raise MemoryError(f"not enough memory: {error}") from error
        raise


def choose_device(device: str = "auto") -> tuple[str, list[str]]:
    """"cpu" or "cuda" for a wish of "auto", "cpu" or "cuda", and a note when it is not what was wished.

    A GPU is used only after a small convolution on it gave the CPU's answer.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise InputError(f"expected a device 'auto', 'cpu' or 'cuda', got {device!r}")
    if device == "cpu":
        return "cpu", []
    if not torch.cuda.is_available():
        return "cpu", [] if device == "auto" else ["no usable CUDA device was found; computed on the CPU"]
    fault = _cuda_fault()
    if fault:
        return "cpu", [f"the GPU failed a test computation ({fault}); computed on the CPU"]
    return "cuda", []


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
