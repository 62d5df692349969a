"""The sidecar of a radiograph: `<name>.json` beside the picture, written by this package or by hand.

Keys, all optional: "view" (PA, AP, LEFT LATERAL, RIGHT LATERAL), "bright_is_dense" (false for a
picture that shows bone dark), "patient_orientation" (as DICOM's: the directions in which columns and
rows run, ["L", "F"] for an upright PA; a NIfTI written upside down has ["L", "H"]), "quantity" ("line
integral", "log signal" or "display"), "scale" and "offset" (value = stored * scale + offset),
"source_to_detector_mm", "source_to_isocenter_mm", "pixel_spacing_mm" [row, column] on the detector,
"isocenter_lps_mm" [x, y, z], and "geometry", a whole `ViewGeometry.to_dict()`, which wins over the
single values. This package adds "file", "history" and "meta".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from xrecon.io.radiograph_facts import Facts, Picture, standard_view
from xrecon.io.sidecar import json_text, read_json, sidecar_path
from xrecon.physics.geometry import ViewGeometry
from xrecon.provenance import for_files
from xrecon.volume import InputError, Quantity, Radiograph

_LENGTHS = ("source_to_detector_mm", "source_to_isocenter_mm", "pixel_spacing_mm", "isocenter_lps_mm")
_SHOWN = {"view", "bright_is_dense", "patient_orientation", "quantity", "scale", "offset"}
_KEYS = {*_SHOWN, "geometry", *_LENGTHS}
_OWN_KEYS = {"file", "history", "meta"}
_LARGEST_STORED = 65535
# Grey values of a film have one scale, so that two films look as different in a viewer as they are.
_FILM_WHITE, _FILM_STEP = 4095, 1 / 16


def apply_sidecar(picture: Picture, path: Path) -> Picture:
    """The picture with what its sidecar says; the same when there is none.

    A JSON file without any of the keys belongs to another program (or another picture) and is passed
    over, with a note in the history. Raises InputError, naming file and key, for a key that is
    misspelt or a value that is unusable.
    """
    data, name = read_json(path), sidecar_path(path)
    if not _KEYS & set(data):
        note = (f"{name.name} is no sidecar of this picture: passed over",) if _is_stray(name) else ()
        return replace(picture, history=(*picture.history, *note))
    unknown = sorted(set(data) - _KEYS - _OWN_KEYS)
    if unknown:
        raise InputError(f"expected the keys {sorted(_KEYS)} in {name}, got {', '.join(unknown)}")
    try:
        return apply_description(picture, data, "sidecar")
    except (InputError, TypeError, ValueError) as error:
        raise InputError(f"{error} in {name}") from error


def _is_stray(name: Path) -> bool:
    """Whether a JSON file of a picture's name is neither its sidecar nor that of a picture beside it."""
    try:
        about = json.loads(name.read_text(encoding="utf-8"))
        return not (name.parent / about["file"]).is_file()
    except FileNotFoundError:
        return False
    except (OSError, ValueError, KeyError, TypeError):
        return True


def apply_description(picture: Picture, data: Mapping[str, Any], origin: str) -> Picture:
    """The picture with the entries of a sidecar, or of the same text inside a DICOM file.

    Raises InputError for unusable values.
    """
    facts = Facts(origin)
    for name in _LENGTHS:
        facts.put(name, data.get(name))
    facts.put("view", standard_view(data["view"]) if data.get("view") else None)
    if data.get("geometry"):
        facts.put("geometry", ViewGeometry.from_dict(data["geometry"]))
        facts.put("geometry_view", facts["view"].value if "view" in facts else None)
    scale, offset = float(data.get("scale", 1.0)), float(data.get("offset", 0.0))
    if not (np.isfinite(offset) and np.isfinite(scale) and scale > 0):
        raise InputError(f"expected a positive scale and a finite offset, got {scale} and {offset}")
    bright = data.get("bright_is_dense", picture.bright_is_dense)
    if not isinstance(bright, bool):
        raise InputError(f"expected bright_is_dense to be true or false, got {bright!r}")
    orientation = data.get("patient_orientation", picture.orientation)
    if isinstance(orientation, str) or not all(isinstance(text, str) and text for text in orientation):
        example = '["L", "F"]'
        raise InputError(f"expected patient_orientation as two letters, {example}, got {orientation!r}")
    low, high = picture.value_range
    return replace(
        picture.with_facts(facts),
        array=picture.array * scale + offset,
        value_range=(low * scale + offset, high * scale + offset),
        bright_is_dense=bright,
        orientation=tuple(orientation),
        polarity=f"{origin} says so" if "bright_is_dense" in data else picture.polarity,
        quantity=_quantity(data.get("quantity", picture.quantity)),
        history=tuple(str(note) for note in data.get("history", picture.history)),
        # What the file itself says (its own UIDs) counts more than what was copied along.
        meta={**{str(k): str(v) for k, v in data.get("meta", {}).items()}, **picture.meta},
    )


def _quantity(value: object) -> Quantity:
    allowed = (Quantity.LINE_INTEGRAL, Quantity.LOG_SIGNAL, Quantity.DISPLAY)
    if value not in allowed:
        raise InputError(f"expected quantity to be one of {[q.value for q in allowed]}, got {value!r}")
    return Quantity(value)


# -- writing -----------------------------------------------------------------------------------
def describe(radiograph: Radiograph, scale: float, offset: float) -> dict[str, Any]:
    """The entries that `apply_description` reads. Raises InputError for a view of another name."""
    data: dict[str, Any] = {
        "view": standard_view(radiograph.view) if radiograph.view else "",
        "bright_is_dense": True,
        "quantity": radiograph.quantity.value,
        "scale": scale,
        "offset": offset,
    }
    geometry = radiograph.geometry
    if geometry is not None:
        data |= {
            "source_to_detector_mm": geometry.source_to_detector_mm,
            "source_to_isocenter_mm": geometry.source_to_isocenter_mm,
            "pixel_spacing_mm": list(geometry.pixel_spacing),
            "isocenter_lps_mm": list(geometry.isocenter),
            "geometry": geometry.to_dict(),
        }
    return {**data, "history": list(radiograph.history), "meta": for_files(radiograph.meta)}


def sidecar_text(radiograph: Radiograph, path: Path, scale: float, offset: float) -> str:
    """The sidecar of a picture that stores value = stored * scale + offset."""
    return json_text({"file": Path(path).name, **describe(radiograph, scale, offset)})


def quantized(radiograph: Radiograph) -> tuple[np.ndarray, float, float]:
    """uint16 values, scale and offset with radiograph = stored * scale + offset to half a step.

    The step is the smallest power of two that fits the range into 16 bits, and the offset a
    multiple of it: so rounded values are exact in binary and survive any further round trip, and
    pictures of whole numbers below 65536 are stored without any loss. Whole grey values from 0 to
    4095, those of a film, are always stored as 16 times their value.

    Raises InputError when a pixel is not finite.
    """
    array = radiograph.require_finite().array.astype(np.float64)
    low, high = float(array.min()), float(array.max())
    of_film = radiograph.quantity is Quantity.DISPLAY and 0 <= low and high <= _FILM_WHITE
    if of_film and np.array_equal(array, np.rint(array)):
        return np.rint(array / _FILM_STEP).astype(np.uint16), _FILM_STEP, 0.0
    scale = 2.0 ** np.ceil(np.log2((high - low) / _LARGEST_STORED))
    if np.rint(high / scale - np.floor(low / scale)) > _LARGEST_STORED:  # by rounding the offset down
        scale *= 2
    offset = np.floor(low / scale) * scale
    return np.rint((array - offset) / scale).astype(np.uint16), float(scale), float(offset)
