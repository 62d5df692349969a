"""What is known of a synthetic pneumothorax, on the benchmark's grid: no segmentation decides what is air."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xrecon.io.atomic import atomic_path
from xrecon.preprocess.ct import resample_like
from xrecon.volume import Quantity, Volume

if TYPE_CHECKING:
    from xrecon.pneumothorax.synthesize import SyntheticPneumothorax

SUFFIX = ".npz"


@dataclass(frozen=True, eq=False)
class ExactAir:
    """Shares of each voxel, 0..1, float32 (z, y, x), on the grid of a case's truth.

    air: the air that was put in. right_lung, left_lung: the lung that is left of what it was put into;
    where that ends at the chest wall was found in the CT.
    """

    air: np.ndarray
    right_lung: np.ndarray
    left_lung: np.ndarray

    @property
    def mask(self) -> np.ndarray:
        """Where at least half of a voxel is air, boolean (z, y, x)."""
        return self.air >= 0.5

    @property
    def occupancy_percent(self) -> float:
        """Air / (air + lung) of both sides."""
        air, lung = float(self.air.sum()), float(self.right_lung.sum() + self.left_lung.sum())
        return 100.0 * air / (air + lung)


def exact_air(made: SyntheticPneumothorax, truth: Volume) -> ExactAir:
    """The shares on the grid of `truth`, averaged over the CT's smaller voxels."""

    def on_grid(share: np.ndarray) -> np.ndarray:
        fine = made.labels.with_array(share.astype(np.float32), Quantity.LABEL)
        return np.clip(resample_like(fine, truth, fill=0.0).array, 0.0, 1.0)

    return ExactAir(on_grid(made.air_share), *(on_grid(made.labels.array == label) for label in (1, 2)))


def write_exact(exact: ExactAir, path: Path) -> None:
    """Stores the shares in an archive."""
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, **vars(exact))


def read_exact(path: Path) -> ExactAir:
    """The stored shares. Raises OSError when there are none."""
    with np.load(path, allow_pickle=False) as stored:
        return ExactAir(**{name: stored[name] for name in stored.files})
