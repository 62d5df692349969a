"""Masks of voxels, for measuring and for comparing."""

from __future__ import annotations

import numpy as np


def surface(mask: np.ndarray) -> np.ndarray:
    """The voxels of a mask (any shape; not zero is inside) with a face neighbour outside it, boolean.

    Beyond the array is outside.
    """
    inside = np.asarray(mask) != 0
    core = np.zeros(inside.shape, bool)
    if min(inside.shape) > 2:
        middle = (slice(1, -1),) * inside.ndim
        core[middle] = inside[middle]
        for axis in range(inside.ndim):
            for shifted in (slice(None, -2), slice(2, None)):
                core[middle] &= inside[(*middle[:axis], shifted, *middle[axis + 1 :])]
    return inside & ~core
