"""A chest of ellipsoids on any grid, for the tests of lungs and pneumothorax: every volume is a formula."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from conftest import rotation_matrix
from xrecon.volume import Quantity, Volume

BODY_HU, LUNG_HU, AIR_HU = 40.0, -850.0, -1000.0
# (centre x, y, z), (semi-axes x, y, z) in LPS mm; the right lung (lower x) is the larger one.
RIGHT_LUNG = ((-76.0, 0.0, 6.0), (52.0, 74.0, 100.0))
LEFT_LUNG = ((72.0, 4.0, 0.0), (46.0, 66.0, 86.0))
BODY = (170.0, 118.0)
RIGHT_POCKET = ((-76.0, -36.0, 20.0), (30.0, 25.0, 50.0))
LEFT_POCKET = ((72.0, -30.0, 10.0), (26.0, 24.0, 40.0))


def ellipsoid_ml(semi: tuple[float, float, float]) -> float:
    return 4.0 / 3.0 * np.pi * float(np.prod(semi)) / 1000.0


@dataclass
class Grid:
    """Where the chest is sampled; the defaults hold it whole at 5 mm."""

    shape: tuple[int, int, int] = (47, 53, 75)
    spacing: tuple[float, float, float] = (5.0, 5.0, 5.0)
    direction: np.ndarray = field(default_factory=lambda: np.eye(3))

    def volume(self) -> Volume:
        blank = np.zeros(self.shape, np.float32)
        volume = Volume(blank, self.spacing, (0.0, 0.0, 0.0), self.direction)
        return volume.moved(-volume.center)


OBLIQUE = Grid((53, 69, 87), (4.95, 4.0, 4.6), rotation_matrix((0.3, -1.0, 2.0), 17.0))


def points(volume: Volume) -> np.ndarray:
    """LPS mm (z, y, x, 3) of all voxel centres."""
    z, y, x = np.indices(volume.shape)
    return volume.index_to_world(np.stack([x, y, z], -1))


def inside(where: np.ndarray, shape: tuple) -> np.ndarray:
    center, semi = shape
    return (((where - np.array(center)) / np.array(semi)) ** 2).sum(-1) < 1.0


def chest(
    grid: Grid | None = None, pockets: str = "", noise: float = 0.0, table: bool = False, airway: bool = False
) -> tuple[Volume, Volume, Volume]:
    """(HU, lungs with air 1/2, truth 1..4). pockets: any of "r", "l". airway: a trachea with two main
    bronchi that runs up to the top of the scan. table: a slab behind the body."""
    volume = (grid or Grid()).volume()
    where = points(volume)
    hu = np.full(volume.shape, AIR_HU, np.float32)
    hu[((where[..., :2] / np.array(BODY)) ** 2).sum(-1) < 1.0] = BODY_HU
    if table:
        hu[(np.abs(where[..., 1] - 135.0) < 6.0) & (np.abs(where[..., 0]) < 150.0)] = 0.0
    lungs = np.zeros(volume.shape, np.uint8)
    lungs[inside(where, RIGHT_LUNG)] = 1
    lungs[inside(where, LEFT_LUNG)] = 2
    hu[lungs > 0] = LUNG_HU
    truth = lungs.copy()
    for letter, pocket, lung in (("r", RIGHT_POCKET, 1), ("l", LEFT_POCKET, 2)):
        if letter in pockets:
            air = inside(where, pocket) & (lungs == lung)
            hu[air], truth[air] = AIR_HU, lung + 2
    if airway:
        x, y, z = np.moveaxis(where, -1, 0)
        pipe = (x**2 + (y - 10.0) ** 2 < 9.0**2) & (z > 0.0)
        pipe |= ((z + np.abs(x) * 0.5) ** 2 + (y - 10.0) ** 2 < 8.0**2) & (np.abs(x) < 45.0) & (lungs == 0)
        hu[pipe] = AIR_HU
    hu = hu + np.random.default_rng(3).normal(0.0, noise, hu.shape) if noise else hu
    return (
        volume.with_array(hu.astype(np.float32)),
        volume.with_array(lungs, Quantity.LABEL),
        volume.with_array(truth, Quantity.LABEL),
    )


def reordered(volume: Volume, axes: tuple[int, int, int], flips: tuple[int, ...]) -> Volume:
    """The same image stored with array axes permuted, then flipped: every voxel stays where it is."""
    array = np.flip(np.transpose(volume.array, axes), flips)
    columns = [2 - a for a in axes][::-1]
    direction = volume.direction[:, columns].copy()
    last = np.zeros(3)
    for axis in flips:
        direction[:, 2 - axis] *= -1.0
        last[axes[axis]] = volume.shape[axes[axis]] - 1
    origin = volume.index_to_world(last[::-1])
    spacing = tuple(volume.spacing[a] for a in axes)
    return Volume(array, spacing, tuple(origin), direction, volume.quantity, volume.meta)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / max(1, a.sum() + b.sum()))
