"""Slabs, views and settings for the tests of radiographs."""

from __future__ import annotations

import numpy as np
import torch
from xrecon.physics.geometry import ViewGeometry
from xrecon.physics.radiography_settings import RadiographySettings
from xrecon.volume import Volume

# The primary beam alone: nothing is scattered, spread or noisy.
BARE = {
    "scatter": False, "grid": False, "blur": False, "glare": False, "noise": False, "saturation": False,
    "output": "log",
}  # fmt: skip


def bare(**changes) -> RadiographySettings:
    """Settings without any effect but those named."""
    return RadiographySettings(**{**BARE, **changes})


def slab(hu: float, voxels: int = 20, size_mm: float = 10.0) -> Volume:
    """A block of one CT number about LPS zero, `voxels * size_mm` thick from front to back."""
    array = np.full((7, voxels, 9), hu, np.float32)
    return Volume(array, (30.0, size_mm, 30.0), (-120.0, -(voxels - 1) * size_mm / 2.0, -90.0))


def flat_view(shape=(5, 7), spacing=(3.0, 2.0)) -> ViewGeometry:
    """A parallel beam from the back: every ray crosses the whole slab."""
    return ViewGeometry.pa(shape=shape, pixel_spacing=spacing, beam="parallel")


def areal(soft, bone=0.0, shape=(64, 48)) -> torch.Tensor:
    """(2, row, column) g/cm2 of soft tissue and bone, broadcast to a picture."""
    return torch.stack([torch.as_tensor(v, dtype=torch.float64).expand(shape) for v in (soft, bone)])
