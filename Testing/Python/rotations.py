"""Rotations for oblique grids and views in tests."""

from __future__ import annotations

import numpy as np


def rotation_matrix(axis: tuple[float, float, float], degrees: float) -> np.ndarray:
    """3x3 rotation about an axis (x, y, z) by Rodrigues' formula; orthonormal to about 1e-16."""
    x, y, z = np.asarray(axis, dtype=np.float64) / np.linalg.norm(axis)
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    angle = np.deg2rad(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * cross @ cross
