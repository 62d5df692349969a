"""Scattered radiation and the antiscatter grid, as a simple model of few numbers.

Behind a wide slab of T mm of water the ratio of scattered to primary radiation is taken as
r(T) = r200 (T / 200)^p. A patient is no slab: each ray gives off scatter as the slab of its own
thickness would, and the scatter is spread by a wide normal distribution:
S = G * (P r(T)) (kernel models: Love and Kruger, Med Phys 1987;14:178-185; Seibert and Boone, Med
Phys 1988;15:567-575). So scatter from the lungs falls on the mediastinum, where little primary
radiation arrives: without grid about 90 % of what is measured there is scatter (Niklason et al., Med
Phys 1981;8:677-681), which `r200`, `p` and the spread of `RadiographySettings` are chosen to give.

A grid lets through a share of the primary and a small share of the scattered radiation (IEC 60627).
Scatter is taken to have the spectrum of the primary radiation it comes from.
"""

from __future__ import annotations

import torch

from xrecon.physics.blurring import convolve, gaussian
from xrecon.physics.radiography_settings import RadiographySettings

_REFERENCE_MM = 200.0
_REACH = 4.0  # standard deviations


def scatter_to_primary(thickness_mm: torch.Tensor, settings: RadiographySettings) -> torch.Tensor:
    """Ratio behind a wide slab of water of that thickness, without grid."""
    relative = thickness_mm.clip(0.0, None) / _REFERENCE_MM
    return settings.scatter_to_primary * relative**settings.scatter_exponent


def scattered(
    primary: torch.Tensor,
    thickness_mm: torch.Tensor,
    spacing: tuple[float, float],
    settings: RadiographySettings,
) -> torch.Tensor:
    """Scattered radiation before the grid, of the shape of `primary` (..., row, column).

    thickness_mm: water-equivalent thickness of the patient (row, column). spacing: mm of the pixels.
    """
    source = primary * scatter_to_primary(thickness_mm, settings)
    sigma = settings.scatter_spread_mm
    return convolve(source, gaussian(sigma), spacing, _REACH * sigma).clip(0.0, None)


def grid_transmission(settings: RadiographySettings) -> tuple[float, float]:
    """Share of primary and of scattered radiation that reaches the detector."""
    if not settings.grid:
        return 1.0, 1.0
    return settings.grid_primary_transmission, settings.grid_scatter_transmission
