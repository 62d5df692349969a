"""The views `xrecon drr` is asked for: by name, by C-arm angles, or as whole geometries from a file.

A view is written as a preset ("PA", "LEFT LATERAL", "LL"), an oblique one ("RAO", 45 degrees),
angles as a cardiologist says them ("LAO 30 CRA 10"), or DICOM's positioner angles in degrees
("30,10": primary, secondary).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xrecon.io.radiograph_facts import standard_view
from xrecon.io.radiograph_positioner import nearest_preset
from xrecon.physics.geometry import (
    SOURCE_TO_DETECTOR_MM,
    SOURCE_TO_ISOCENTER_MM,
    VIEWS,
    ViewGeometry,
)
from xrecon.physics.poses import positioner_angles, view_from_positioner_angles
from xrecon.physics.view_names import EXPECTED, NAMED_ANGLES, angle_name, named_angles
from xrecon.volume import InputError

LARGEST_DETECTOR = 8192  # pixels along one edge


@dataclass(frozen=True)
class NamedView:
    """A view to project: what it is called, the preset it counts as ("" for none), where it stands."""

    name: str
    preset: str
    geometry: ViewGeometry

    @property
    def slug(self) -> str:
        """The part of a file name that says the view: "left_lateral", "lao_30_cra_10", "lao_12p5"."""
        name = self.name.lower().replace(".", "p")
        return re.sub(r"[^a-z0-9-]+", "_", name).strip("_") or "view"


def view_angles(text: str) -> tuple[float, float]:
    """Primary and secondary positioner angle of a view's name or angles.

    Raises InputError for text of no such form, or angles out of range.
    """
    angles = named_angles(text)
    if angles is not None:
        return angles
    try:
        return NAMED_ANGLES[standard_view(" ".join(text.upper().replace("_", " ").split()))]
    except InputError:
        raise InputError(f"expected a view as {EXPECTED}, got {text!r}") from None


def views_about(
    isocenter: Sequence[float],
    names: Sequence[str],
    shape: tuple[int, int],
    pixel_spacing: tuple[float, float] | None = None,
    source_to_detector_mm: float | None = None,
    source_to_isocenter_mm: float | None = None,
) -> list[NamedView]:
    """The views about a point (LPS mm), all on the same detector of shape (rows, columns).

    Raises InputError as `view_angles` does, and when a view comes twice.
    """
    views = []
    for text in names:
        primary, secondary = view_angles(text)
        geometry = view_from_positioner_angles(
            primary,
            secondary,
            source_to_detector_mm=source_to_detector_mm or SOURCE_TO_DETECTOR_MM,
            source_to_isocenter_mm=source_to_isocenter_mm or SOURCE_TO_ISOCENTER_MM,
            shape=shape,
            pixel_spacing=pixel_spacing,
            isocenter=tuple(isocenter),
        )
        known = text.upper() if text.upper() in NAMED_ANGLES else angle_name(primary, secondary)
        views.append(NamedView(known, nearest_preset((primary, secondary)), geometry))
    return require_distinct(views)


def views_from_file(path: Path) -> list[NamedView]:
    """The views in a JSON file: the "views" of a drr.json, names with geometries, or a list of those.

    Raises InputError when the file holds no such thing.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"expected view geometries as JSON in {path}: {error}") from error
    if isinstance(data, Mapping):
        data = data.get("views", data)
    if isinstance(data, list):
        data = {f"view {number}": item for number, item in enumerate(data, 1)}
    if not isinstance(data, Mapping) or not data:
        raise InputError(f"expected view geometries in {path}, found none")
    return require_distinct([_from_data(str(name), item, path) for name, item in data.items()])


def _from_data(name: str, item: Any, path: Path) -> NamedView:
    if not isinstance(item, Mapping):
        raise InputError(f"expected a geometry for {name!r} in {path}, got {item!r}")
    try:
        geometry = ViewGeometry.from_dict(item)
    except (InputError, TypeError, ValueError) as error:
        raise InputError(f"{error} for {name!r} in {path}") from error
    if max(geometry.shape) > LARGEST_DETECTOR:
        most = f"expected at most {LARGEST_DETECTOR} pixels along an edge"
        raise InputError(f"{most}, got {geometry.shape} for {name!r} in {path}")
    preset = nearest_preset(positioner_angles(geometry))
    if name in VIEWS and name != preset:
        stands = f"one of {preset}" if preset else "an oblique one"
        raise InputError(f"expected a geometry of the view {name!r} in {path}, got {stands}")
    return NamedView(name, preset, geometry)


def require_distinct(views: list[NamedView]) -> list[NamedView]:
    """The views; raises InputError when there is none, or two would have one file name."""
    if not views:
        raise InputError("expected one view or more, got none")
    slugs = [view.slug for view in views]
    twice = sorted({view.name for view in views if slugs.count(view.slug) > 1})
    if twice:
        raise InputError(f"expected different views, got {', '.join(twice)} more than once")
    return views
