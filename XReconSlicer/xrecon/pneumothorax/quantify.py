"""Volumes in ml and occupancy in percent from the labels of PTX-Seg."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from xrecon.pneumothorax.grids import LEFT_AIR, LEFT_LUNG, RIGHT_AIR, RIGHT_LUNG
from xrecon.volume import InputError, Volume

# Outside these a segmentation is more likely wrong than the patient unusual: one adult lung at inspiration
# has about 1500 to 4000 ml; a collapsed one keeps a few hundred.
LUNG_ML_RANGE = (100.0, 5500.0)
MAX_SIDE_RATIO = 4.0
MAX_OCCUPANCY_PERCENT = 95.0


@dataclass(frozen=True)
class PtxQuantities:
    """Lung (without air) and pneumothorax volumes, ml, and occupancy, percent.

    Occupancy of a side: air / (air + lung) of that side; `occupancy_percent`: of both sides together, the
    figure of the paper (which gives no formula). None where there is neither lung nor air.
    warnings: one sentence each, those of the segmentation first.
    """

    right_lung_ml: float
    left_lung_ml: float
    right_pneumothorax_ml: float
    left_pneumothorax_ml: float
    right_occupancy_percent: float | None
    left_occupancy_percent: float | None
    occupancy_percent: float | None
    warnings: tuple[str, ...] = ()

    @property
    def pneumothorax_ml(self) -> float:
        """Air of both sides."""
        return self.right_pneumothorax_ml + self.left_pneumothorax_ml

    @property
    def lung_ml(self) -> float:
        """Lung of both sides without the air."""
        return self.right_lung_ml + self.left_lung_ml

    def to_dict(self) -> dict[str, object]:
        """Plain numbers, None and a list of warnings, for JSON."""
        sums = {"lung_ml": self.lung_ml, "pneumothorax_ml": self.pneumothorax_ml}
        return {**asdict(self), **sums, "warnings": list(self.warnings)}

    def rows(self) -> list[dict[str, object]]:
        """Table rows: structure, side, volume_ml, occupancy_percent (None for lungs and where undefined)."""
        values = (
            ("lung", "right", self.right_lung_ml, None),
            ("lung", "left", self.left_lung_ml, None),
            ("lung", "both", self.lung_ml, None),
            ("pneumothorax", "right", self.right_pneumothorax_ml, self.right_occupancy_percent),
            ("pneumothorax", "left", self.left_pneumothorax_ml, self.left_occupancy_percent),
            ("pneumothorax", "both", self.pneumothorax_ml, self.occupancy_percent),
        )
        names = ("structure", "side", "volume_ml", "occupancy_percent")
        return [dict(zip(names, row, strict=True)) for row in values]


def quantify(labels: Volume) -> PtxQuantities:
    """Count the voxels of labels 1 right lung, 2 left lung, 3 right air, 4 left air.

    Warnings are those in `labels.meta["warnings"]` and, where a figure is implausible, this function's own.
    Raises InputError for another label or labels that are not whole numbers.
    """
    array = require_labels(labels)
    ml = {
        k: float(np.count_nonzero(array == k)) * labels.voxel_ml
        for k in (RIGHT_LUNG, LEFT_LUNG, RIGHT_AIR, LEFT_AIR)
    }
    noted = tuple(line for line in labels.meta.get("warnings", "").split("\n") if line)
    return PtxQuantities(
        ml[RIGHT_LUNG], ml[LEFT_LUNG], ml[RIGHT_AIR], ml[LEFT_AIR],
        _percent(ml[RIGHT_AIR], ml[RIGHT_LUNG]), _percent(ml[LEFT_AIR], ml[LEFT_LUNG]),
        _percent(ml[RIGHT_AIR] + ml[LEFT_AIR], ml[RIGHT_LUNG] + ml[LEFT_LUNG]),
        noted + _implausible(ml),
    )


def require_labels(labels: Volume) -> np.ndarray:
    """The labels as uint8 (z, y, x). Raises InputError unless all are 0 to 4 and whole numbers."""
    array = labels.array
    whole = array.dtype.kind in "iub"  # then the ends are enough, and no array is sorted
    if not (array.min() >= 0 and array.max() <= 4 and (whole or np.isin(array, range(5)).all())):
        raise InputError(f"expected labels 0 to 4, got {np.unique(array)[:8].tolist()}")
    return array.astype(np.uint8, copy=False)


def _percent(air: float, lung: float) -> float | None:
    return 100.0 * air / (air + lung) if air + lung > 0 else None


def _implausible(ml: dict[int, float]) -> tuple[str, ...]:
    """Sentences on volumes outside what an adult chest can have."""
    out = []
    room = {"right": ml[RIGHT_LUNG] + ml[RIGHT_AIR], "left": ml[LEFT_LUNG] + ml[LEFT_AIR]}
    low, high = LUNG_ML_RANGE
    for side, value in room.items():
        if not low <= value <= high:
            out.append(f"The {side} lung and its air have {value:.0f} ml, not {low:.0f} to {high:.0f} ml.")
    small, large = sorted(room.values())
    if small > 0 and large > MAX_SIDE_RATIO * small:
        out.append(f"One lung with its air is {large / small:.1f} times the other; check the lung masks.")
    for side, lung, air in (("right", RIGHT_LUNG, RIGHT_AIR), ("left", LEFT_LUNG, LEFT_AIR)):
        share = _percent(ml[air], ml[lung])
        if share is not None and share > MAX_OCCUPANCY_PERCENT:
            out.append(f"Air fills {share:.0f} % of the {side} side; check that the lung mask is a lung's.")
    if ml[RIGHT_AIR] > 0 and ml[LEFT_AIR] > 0:
        out.append("Air on both sides: seldom two pneumothoraces, often noise, emphysema or airways.")
    return tuple(out)
