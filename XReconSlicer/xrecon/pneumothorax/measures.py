"""What is measured in a segmented CT: named quantities with units, where the method gives one an interval.

Names, structures and units are stable; a change of meaning raises `SCHEMA_VERSION`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field

SCHEMA = "xrecon.pneumothorax.measures"
SCHEMA_VERSION = "1.0"
BOTH = "both"
# Lung below this is low-attenuation area, as emphysema is; LAA-950 is its share.
LAA_HU = -950.0
SIDE_ORDER = ("right", "left", BOTH)
# Columns of the table; low and high are empty where the method gives no interval, or none that can be used:
# then `interval` says so.
COLUMNS = ("structure", "side", "quantity", "value", "unit", "low", "high", "interval")
NO_USABLE_INTERVAL = "no usable interval"


@dataclass(frozen=True)
class Measure:
    """One quantity of one side ("right", "left", "both").

    value: in `unit`; None when it is not applicable (no lung on that side, no air to estimate from).
    low, high: the interval of the value, or None. note: what the reader must know of it. no_interval: why
    no usable interval can be given, "" where there is one or the method has none.
    """

    structure: str
    side: str
    quantity: str
    value: float | None
    unit: str
    low: float | None = None
    high: float | None = None
    note: str = ""
    no_interval: str = ""

    @property
    def interval(self) -> str:
        """What to say in place of an interval that cannot be used; else ""."""
        return NO_USABLE_INTERVAL if self.no_interval else ""

    def row(self) -> dict[str, object]:
        """The quantity as a row of the table, by the names of `COLUMNS`."""
        return {name: getattr(self, name) for name in COLUMNS}

    def to_dict(self) -> dict[str, object]:
        """The quantity for JSON, without what its place there says."""
        kept = ("structure", "value", "unit", "low", "high")
        told = {name: getattr(self, name) for name in ("note", "no_interval") if getattr(self, name)}
        return {name: getattr(self, name) for name in kept} | told


@dataclass(frozen=True)
class InterpleuralDistance:
    """The largest distance between the pleurae of a side.

    wall, lung: LPS mm (x, y, z) on the parietal and the visceral pleura. level: "apical", "middle" or
    "basal" third of the hemithorax's height, in which the middle of the two points lies.
    """

    side: str
    mm: float
    wall: tuple[float, float, float]
    lung: tuple[float, float, float]
    level: str

    def to_dict(self) -> dict[str, object]:
        """Plain numbers for JSON."""
        return {"mm": self.mm, "level": self.level, "wall_lps_mm": self.wall, "lung_lps_mm": self.lung}


@dataclass(frozen=True)
class FrontalLine:
    """A distance as it is measured in frontal projection, between LPS (x, z) in mm on lung and wall.

    name: "apex", "hilum" (the rim), "upper_half" or "lower_half" (of the lung).
    """

    side: str
    name: str
    lung: tuple[float, float]
    wall: tuple[float, float]

    @property
    def mm(self) -> float:
        """Its length."""
        return math.hypot(self.wall[0] - self.lung[0], self.wall[1] - self.lung[1])


@dataclass(frozen=True)
class PtxMeasures:
    """All quantities of a CT, in the order of the table.

    places: for each side with pleural air where the largest interpleural distance lies.
    lines: what was measured in frontal projection, for pictures.
    hint: a sentence on signs that go with tension, "" without; no diagnosis.
    """

    measures: tuple[Measure, ...]
    places: Mapping[str, InterpleuralDistance] = field(default_factory=dict)
    lines: tuple[FrontalLine, ...] = ()
    hint: str = ""

    def get(self, quantity: str, side: str = BOTH) -> Measure:
        """One of them. Raises KeyError when there is none of that name and side."""
        for measure in self.measures:
            if (measure.quantity, measure.side) == (quantity, side):
                return measure
        raise KeyError(f"no quantity {quantity!r} of the side {side!r}")

    def of_side(self, side: str) -> Iterator[Measure]:
        """Those of one side, or of both together."""
        return (m for m in self.measures if m.side == side)

    def rows(self) -> list[dict[str, object]]:
        """Rows of a table or CSV file, columns as `COLUMNS`."""
        return [m.row() for m in self.measures]

    def to_dict(self) -> dict[str, object]:
        """For JSON: quantities by side and name, with the version of the schema."""
        by_side = {s: {m.quantity: m.to_dict() for m in self.of_side(s)} for s in SIDE_ORDER}
        for side, place in self.places.items():
            by_side[side]["largest_interpleural_distance"]["place"] = place.to_dict()
        return {
            "schema": SCHEMA,
            "schema_version": SCHEMA_VERSION,
            **by_side,
            "frontal_lines": [asdict(line) for line in self.lines],
            "tension_hint": self.hint,
        }
