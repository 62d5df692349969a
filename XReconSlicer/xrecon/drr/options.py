"""The options of `xrecon drr` from the command line's text to a `DrrOptions`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xrecon.drr.projection import DEFAULT_VIEWS, DrrOptions
from xrecon.drr.views import LARGEST_DETECTOR, views_about, views_from_file
from xrecon.physics.radiography_settings import RadiographySettings, unused
from xrecon.volume import InputError

# What a drr.json says besides the radiography settings.
_KEPT = (("seed", int), ("keep_table", bool), ("complete", bool))


def detector_shape(text: str) -> tuple[int, int]:
    """(rows, columns) of "512" or "480x640". Raises InputError."""
    match = re.fullmatch(r"(\d+)(?:\s*[xX]\s*(\d+))?", text.strip())
    shape = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not all(8 <= count <= LARGEST_DETECTOR for count in shape):
        limits = f"each from 8 to {LARGEST_DETECTOR}"
        raise InputError(f"expected detector pixels as 512 or ROWSxCOLUMNS, {limits}, got {text!r}")
    return shape


def pixel_spacing(text: str) -> tuple[float, float]:
    """(row, column) spacing in mm of "0.84" or "0.8x0.9". Raises InputError."""
    try:
        values = [float(part) for part in re.split(r"[xX]", text)]
    except ValueError:
        values = []
    if len(values) not in (1, 2) or not all(0.01 <= value <= 100.0 for value in values):
        raise InputError(f"expected a pixel spacing in mm as 0.84 or ROWxCOLUMN, got {text!r}")
    return values[0], values[-1]


def point(text: str) -> tuple[float, float, float]:
    """LPS mm (x, y, z) of "1.5,-20,310". Raises InputError."""
    try:
        x, y, z = (float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"expected a point in LPS mm as x,y,z, got {text!r}") from None
    if not all(math.isfinite(value) for value in (x, y, z)):
        raise InputError(f"expected a finite point in LPS mm as x,y,z, got {text!r}")
    return x, y, z


def radiography(
    look: str | None, file: Path | None, changes: Mapping[str, Any], energy_kev: float | None
) -> tuple[RadiographySettings, dict[str, Any]]:
    """The settings of a look, changed by a JSON file, changed by single values; and what else the file says.

    look: "ideal" (the default) or "chest". file: radiography settings, or a drr.json, which has them
    and seed, keep_table and complete. Raises InputError naming what cannot be used.
    """
    told, more = _from_file(file) if file else ({}, {})
    base = RadiographySettings.chest() if look == "chest" else RadiographySettings.ideal()
    settings = base.changed(**{**told, **changes})
    if energy_kev is not None:
        if settings.spectrum != "mono":
            raise InputError("expected an energy for a beam of one energy only: use --set tube_kvp=...")
        settings = settings.changed(energy_kev=energy_kev)
    # A whole set of settings, such as a drr.json's, names everything, in use or not.
    partly = set(told) if len(told) < len(settings.to_dict()) else set()
    idle = unused(settings, sorted(partly | set(changes)))
    if idle:
        listed = ", ".join(f"{name} (by {why})" for name, why in idle.items())
        raise InputError(f"expected settings that act on the picture, got some that are off: {listed}")
    return settings, more


def _from_file(file: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        data = json.loads(Path(file).read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"expected radiography settings as JSON in {file}: {error}") from error
    if not isinstance(data, dict):
        raise InputError(f"expected radiography settings as a JSON object in {file}, got {data!r:.50}")
    if not isinstance(data.get("radiography"), dict):
        return data, {}
    options = data.get("options")
    if not isinstance(options, dict) or not all(isinstance(options.get(name), kind) for name, kind in _KEPT):
        raise InputError(f"expected {file} as `xrecon drr` writes it: its options are missing or damaged")
    return data["radiography"], {name: options[name] for name, _ in _KEPT}


def make_options(
    *,
    views: Sequence[str] | None,
    geometry: Path | None,
    formats: str,
    detector_pixels: str | None,
    pixel_spacing_mm: str | None,
    isocenter: str | None,
    look: str | None,
    settings_file: Path | None,
    settings: Mapping[str, Any],
    energy_kev: float | None,
    seed: int | None,
    films: Sequence[Path] | None,
    compare: bool,
    keep_table: bool,
    complete: bool,
    **rest: Any,
) -> DrrOptions:
    """The options as `drr_command` wants them; `rest` are fields of `DrrOptions`.

    Raises InputError for text that cannot be read and for options that exclude each other.
    """
    placing = {
        "--views": views,
        "--detector-pixels": detector_pixels,
        "--pixel-spacing-mm": pixel_spacing_mm,
        "--isocenter": isocenter,
        "--source-to-detector-mm": rest.get("source_to_detector_mm"),
        "--source-to-isocenter-mm": rest.get("source_to_isocenter_mm"),
    }
    given = [name for name, value in placing.items() if value]
    if geometry is not None and given:
        raise InputError(f"expected --geometry alone, since it says where all stands, got {given[0]}, too")
    chosen, of_file = radiography(look, settings_file, settings, energy_kev)
    seed = of_file.get("seed", 0) if seed is None else seed
    options = DrrOptions(
        views=tuple(views or DEFAULT_VIEWS),
        geometries=views_from_file(geometry) if geometry else None,
        formats=tuple(name.strip() for name in formats.split(",") if name.strip()),
        shape=detector_shape(detector_pixels or "512"),
        pixel_spacing_mm=pixel_spacing(pixel_spacing_mm) if pixel_spacing_mm else None,
        isocenter=point(isocenter) if isocenter else None,
        radiography=chosen,
        seed=seed,
        keep_table=keep_table or of_file.get("keep_table", False),
        complete=complete and of_file.get("complete", True),
        compare=compare or bool(films),
        films=tuple(films or ()),
        **rest,
    )
    if options.geometries is None:  # told before a CT is read: a view twice, distances that cannot be
        views_about(
            options.isocenter or (0.0, 0.0, 0.0),
            options.views,
            options.shape,
            options.pixel_spacing_mm,
            options.source_to_detector_mm,
            options.source_to_isocenter_mm,
        )
    return options
