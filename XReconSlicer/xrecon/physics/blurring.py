"""Convolution of pictures with round kernels that are given by their frequency response, in mm.

So a picture comes out the same on whatever pixels it is sampled, as far as they resolve the kernel.
Beyond its edges a picture is continued by reflection, which keeps a flat field flat.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

Response = Callable[[torch.Tensor], torch.Tensor]  # of the frequency in 1/mm


def gaussian(sigma_mm: float) -> Response:
    """Of a normal distribution with that standard deviation."""
    return lambda frequency: torch.exp(-2.0 * (math.pi * sigma_mm * frequency) ** 2)


def exponential(radius_mm: float) -> Response:
    """Of exp(-r / radius) / (2 pi radius^2)."""
    return lambda frequency: (1.0 + (2.0 * math.pi * radius_mm * frequency) ** 2) ** -1.5


def lorentzian(at_1_per_mm: float) -> Response:
    """1 / (1 + h f^2), with h such that the response at 1 line pair per mm is `at_1_per_mm`."""
    return lambda frequency: 1.0 / (1.0 + (1.0 / at_1_per_mm - 1.0) * frequency**2)


def convolve(
    pictures: torch.Tensor, response: Response, spacing: tuple[float, float], reach_mm: float
) -> torch.Tensor:
    """Pictures (..., row, column) with pixels of `spacing` (row, column) mm, convolved.

    response: frequency response, 1 at frequency 0. reach_mm: how far the kernel reaches; so much is
        added at each side.
    """
    rows, columns = pictures.shape[-2:]
    pads = [math.ceil(reach_mm / s) for s in spacing]
    device = pictures.device
    inner = [_reflected(n, p, device) for n, p in zip((rows, columns), pads, strict=True)]
    padded = pictures[..., inner[0], :][..., inner[1]]
    down = torch.fft.fftfreq(padded.shape[-2], spacing[0], dtype=pictures.dtype, device=device)
    across = torch.fft.rfftfreq(padded.shape[-1], spacing[1], dtype=pictures.dtype, device=device)
    frequency = torch.sqrt(down[:, None] ** 2 + across**2)
    spread = torch.fft.irfft2(torch.fft.rfft2(padded) * response(frequency), s=padded.shape[-2:])
    return spread[..., pads[0] : pads[0] + rows, pads[1] : pads[1] + columns]


def _reflected(count: int, pad: int, device: torch.device) -> torch.Tensor:
    """Indices of a row of pixels continued by reflection at the edges of its outer pixels.

    The length is one that Fourier transforms are fast for.
    """
    from scipy.fft import next_fast_len

    length = next_fast_len(count + 2 * pad, real=True)
    index = torch.arange(-pad, length - pad, device=device) % (2 * count)
    return torch.minimum(index, 2 * count - 1 - index)
