"""Volumes, occupancy and density of each side, volumes with the interval of a half voxel.

The interval: a voxel belongs to a structure when at least half of it is that structure's. A voxel at the
boundary that counts as inside so holds half to all of it, one that counts as outside none to half. If the
labels are right in this sense, and voxels are mixed only where two faces of them carry different labels,
the true volume lies within volume - inner / 2 and volume + outer / 2, where inner and outer are the volumes
of the voxels on either side of the boundary. It is what the grid leaves open (a bound, not a standard
deviation), and says nothing of a boundary drawn in the wrong place.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xrecon.pneumothorax import morphology
from xrecon.pneumothorax.grids import LEFT_AIR, LEFT_LUNG, RIGHT_AIR, RIGHT_LUNG
from xrecon.pneumothorax.measures import BOTH, LAA_HU, Measure
from xrecon.volume import Volume

SIDE_LABELS = {"right": (RIGHT_LUNG, RIGHT_AIR), "left": (LEFT_LUNG, LEFT_AIR)}
LAA_NOTE = (
    "share of the lung below -950 HU; image noise raises it (noise of 50 HU puts 16 % of a healthy lung of "
    "-900 HU there), and so do sharp kernels and thin slices: compare only scans of one protocol"
)


@dataclass(frozen=True)
class Extent:
    """A volume in ml with the interval of a half voxel."""

    ml: float
    low: float
    high: float

    def __add__(self, other: Extent) -> Extent:
        return Extent(self.ml + other.ml, self.low + other.low, self.high + other.high)


def extent(mask: np.ndarray, voxel_ml: float) -> Extent:
    """Volume of a mask (z, y, x) and its interval."""
    box = morphology.grown_box(mask, (1, 1, 1))
    if box is None:
        return Extent(0.0, 0.0, 0.0)
    part = mask[box]
    whole = float(np.count_nonzero(part)) * voxel_ml
    inner = float(np.count_nonzero(beside(~part) & part)) * voxel_ml
    outer = float(np.count_nonzero(beside(part) & ~part)) * voxel_ml
    return Extent(whole, whole - inner / 2.0, whole + outer / 2.0)


def beside(mask: np.ndarray) -> np.ndarray:
    """Voxels with a face neighbour in the mask; beyond the array nothing is known and nothing counts."""
    out = np.zeros(mask.shape, bool)
    for axis in range(mask.ndim):
        lower = tuple(slice(None, -1) if a == axis else slice(None) for a in range(mask.ndim))
        upper = tuple(slice(1, None) if a == axis else slice(None) for a in range(mask.ndim))
        out[lower] |= mask[upper]
        out[upper] |= mask[lower]
    return out


def measure_volumes(volume: Volume, labels: np.ndarray) -> list[Measure]:
    """Lung, air and hemithorax in ml, occupancy in %, mean HU and LAA-950 of each side, then of both.

    volume: the CT in HU; labels: uint8 0 to 4 on its grid, as `ptx_seg` gives them.
    """
    found: list[Measure] = []
    sums: dict[str, list[Extent]] = {"lung": [], "air": [], "hemithorax": []}
    for side, (lung_label, air_label) in SIDE_LABELS.items():
        lung, air = labels == lung_label, labels == air_label
        extents = {
            "lung": extent(lung, volume.voxel_ml),
            "air": extent(air, volume.voxel_ml),
            "hemithorax": extent(lung | air, volume.voxel_ml),
        }
        for name, value in extents.items():
            sums[name].append(value)
        found += [*_volumes(side, extents), *_density(side, volume.array[lung])]
    return found + _volumes(BOTH, {name: right + left for name, (right, left) in sums.items()})


def _volumes(side: str, extents: dict[str, Extent]) -> list[Measure]:
    structures = {"lung": "lung", "air": "pneumothorax", "hemithorax": "hemithorax"}
    found = []
    for name, structure in structures.items():
        of = extents[name]
        found.append(Measure(structure, side, f"{name}_volume", of.ml, "ml", of.low, of.high))
    air, lung = extents["air"], extents["lung"]
    shares = (_percent(air.ml, lung.ml), _percent(air.low, lung.high), _percent(air.high, lung.low))
    found.append(Measure("pneumothorax", side, "occupancy", shares[0], "%", *shares[1:]))
    return found


def _percent(air: float, lung: float) -> float | None:
    return 100.0 * air / (air + lung) if air + lung > 0 else None


def _density(side: str, hu: np.ndarray) -> list[Measure]:
    mean = float(hu.mean(dtype=np.float64)) if hu.size else None
    dark = 100.0 * float(np.count_nonzero(hu < LAA_HU)) / hu.size if hu.size else None
    return [
        Measure("lung", side, "mean_lung_density", mean, "HU"),
        Measure("lung", side, "laa_950", dark, "%", note=LAA_NOTE),
    ]
