"""The oblique, anisotropic, odd-sized volume of the MRML tests."""

from __future__ import annotations

import numpy as np
from xrecon.volume import Volume


def rotation(axis: tuple[float, float, float], degrees: float) -> np.ndarray:
    """3x3 rotation by Rodrigues' formula."""
    x, y, z = np.array(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.deg2rad(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def obliqueVolume() -> Volume:
    """Random int16 HU on an oblique, anisotropic grid with odd sizes."""
    return Volume(
        np.random.default_rng(5).integers(-1024, 3071, size=(9, 11, 13), dtype=np.int16),
        spacing=(2.5, 0.703125, 1.3),
        origin=(-123.4375, 57.21, 1034.875),
        direction=rotation((1.0, -2.0, 0.5), 25.0),
        meta={"model": "none"},
    )
