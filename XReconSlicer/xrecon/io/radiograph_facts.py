"""What a file says about a radiograph: the picture, and facts about its view and geometry.

Facts have an origin and a rank: an argument of the user counts more than a sidecar, that more
than the tags of the file, and those more than assumptions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from xrecon.physics.geometry import VIEWS, is_chest_detector
from xrecon.volume import InputError, Quantity

RANKS = {"assumed": 0, "file header": 1, "DICOM": 1, "sidecar": 2, "argument": 3}

_VIEW_NAMES = {
    "LL": "LEFT LATERAL",
    "RL": "RIGHT LATERAL",
    "LLAT": "LEFT LATERAL",
    "RLAT": "RIGHT LATERAL",
    **{view: view for view in VIEWS},
}


class NotARadiographError(InputError):
    """The file can be read, and what it holds is no radiograph: another modality, or colours."""


@dataclass(frozen=True)
class Fact:
    """A value, where it comes from (a key of `RANKS`), and which DICOM attribute tells it."""

    value: Any
    origin: str
    tag: str = ""


class Facts(dict[str, Fact]):
    """Facts of one origin by name.

    Names: view, geometry (a ViewGeometry), geometry_view (the view it was named),
    source_to_detector_mm, source_to_isocenter_mm, pixel_spacing_mm (row, column; on the
    detector), patient_spacing_mm (row, column; at the patient), magnification, isocenter_lps_mm,
    positioner_angles_deg and detector_angles_deg (primary, secondary; DICOM's).
    """

    def __init__(self, origin: str) -> None:
        super().__init__()
        self.origin = origin

    def put(self, name: str, value: Any, tag: str = "") -> None:
        """Note a value unless it is None, and the DICOM attribute that told it.

        Raises InputError for lengths that are not positive.
        """
        if value is None:
            return
        if name in ("pixel_spacing_mm", "patient_spacing_mm"):
            value = (value, value) if np.ndim(value) == 0 else tuple(value)
            if len(value) != 2:
                raise InputError(f"expected {name} as a number or (row, column), got {value} ({self.origin})")
            value = tuple(_positive(name, v, self.origin) for v in value)
        elif name.endswith("_mm") and name != "isocenter_lps_mm" or name == "magnification":
            value = _positive(name, value, self.origin)
        self[name] = Fact(value, self.origin, tag)


def _positive(name: str, value: Any, origin: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = np.nan
    if not (np.isfinite(number) and number > 0):
        raise InputError(f"expected {name} as a positive number of mm, got {value!r} ({origin})")
    return number


@dataclass(frozen=True)
class Picture:
    """What a file holds, before it is inverted, laid out and given a geometry.

    array: (row, column), float64 or integer, as the file shows it.
    bright_is_dense: whether it need not be inverted; `polarity` says how that is known.
    value_range: smallest and largest value the file could store; inversion mirrors within it.
    orientation: DICOM PatientOrientation, or () when unknown.
    facts: what is known of view and geometry, strongest origin already chosen.
    covered: boolean (row, column), what the file says shows no patient (padding, shutter, collimator).
    """

    array: np.ndarray
    value_range: tuple[float, float]
    bright_is_dense: bool = True
    polarity: str = ""
    quantity: Quantity = Quantity.DISPLAY
    orientation: tuple[str, ...] = ()
    facts: Mapping[str, Fact] = field(default_factory=dict)
    history: tuple[str, ...] = ()
    meta: Mapping[str, str] = field(default_factory=dict)
    covered: np.ndarray | None = None

    def with_array(self, array: np.ndarray) -> Picture:
        """The same with other numbers."""
        return replace(self, array=array)

    def with_facts(self, facts: Facts) -> Picture:
        """The same with facts of a stronger origin added."""
        return replace(self, facts={**self.facts, **facts})

    def fact(self, name: str) -> Any:
        """The value of a fact, None when unknown."""
        found = self.facts.get(name)
        return None if found is None else found.value


def implausible_spacing(shape: tuple[int, int], spacing: tuple[float, float], source: str) -> str:
    """The note that a file's pixel spacing (row, column; mm) is not used, "" when it may be."""
    if is_chest_detector(shape, spacing):
        return ""
    height, width = (n * s for n, s in zip(shape, spacing, strict=True))
    return f"{source} makes a picture of {height:.0f} x {width:.0f} mm, no chest detector: not used"


def standard_view(name: str) -> str:
    """The name in `geometry.VIEWS` of a view in any spelling. Raises InputError when unknown."""
    view = _VIEW_NAMES.get(name.strip().upper().replace("_", " "))
    if view is None:
        raise InputError(f"expected a view out of {VIEWS}, got {name!r}")
    return view
