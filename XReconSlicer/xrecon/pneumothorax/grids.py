"""Array views in anatomical order: the closest axis-aligned LPS view of a volume, without resampling."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xrecon.volume import InputError, Quantity, Volume

RIGHT_LUNG, LEFT_LUNG, RIGHT_AIR, LEFT_AIR = 1, 2, 3, 4
SIDES = {"right": RIGHT_LUNG, "left": LEFT_LUNG}


@dataclass(frozen=True)
class AnatomicalView:
    """How the axes of an array were permuted and flipped to run as close to z superior, y posterior,
    x left as the grid allows. `spacing` is in that order; `flips` are axes of the permuted array."""

    axes: tuple[int, int, int]
    flips: tuple[int, ...]
    spacing: tuple[float, float, float]

    def apply(self, array: np.ndarray) -> np.ndarray:
        """The array (z, y, x) of the volume as a view in anatomical order."""
        return np.flip(np.transpose(array, self.axes), self.flips)

    def restore(self, array: np.ndarray) -> np.ndarray:
        """The inverse of `apply`."""
        return np.ascontiguousarray(np.transpose(np.flip(array, self.flips), np.argsort(self.axes)))


def anatomical_view(volume: Volume) -> AnatomicalView:
    """The signed permutation of the array axes that lies closest to LPS (largest trace)."""
    from itertools import permutations

    # Column j of the direction belongs to array axis 2 - j; rows are L, P, S.
    toward = np.abs(volume.direction)
    columns = max(permutations(range(3)), key=lambda p: sum(toward[row, p[row]] for row in range(3)))
    axes = tuple(2 - columns[row] for row in (2, 1, 0))
    flips = tuple(i for i, row in enumerate((2, 1, 0)) if volume.direction[row, columns[row]] < 0)
    return AnatomicalView(axes, flips, tuple(volume.spacing[a] for a in axes))


def require_hu(volume: Volume, name: str = "the CT") -> Volume:
    """Itself; raises InputError when it does not hold finite HU."""
    if volume.quantity is not Quantity.HU:
        raise InputError(f"expected {name} in HU, got {volume.quantity.value}")
    return volume.require_finite(name)


def require_lungs(lungs: Volume, volume: Volume) -> np.ndarray:
    """The label array (uint8) of `lungs`: 0 background, 1 right, 2 left, on the grid of `volume`.

    Raises InputError when the grid differs or another label appears.
    """
    if not lungs.same_grid(volume):
        raise InputError(
            f"expected lungs on the grid of the CT (shape {volume.shape}, spacing {volume.spacing} mm, "
            f"origin {volume.origin}), got shape {lungs.shape}, spacing {lungs.spacing} mm, "
            f"origin {lungs.origin}"
        )
    labels = lungs.array.astype(np.uint8, copy=False)
    changed = labels is not lungs.array and (labels != lungs.array).any()
    if changed or labels.max(initial=0) > LEFT_LUNG:
        found = np.unique(lungs.array)
        raise InputError(f"expected lung labels 0, 1 (right), 2 (left), got {found[:8].tolist()}")
    return labels
