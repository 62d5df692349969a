"""What a chest radiograph looks like: frontal or lateral, inverted, mirrored, cut off.

Judged from mean grey values of a few places of the picture on a detector centred on the patient, bright
= dense. Lungs are darker than the mediastinum; the heart lies more on the patient's left, and in front
of the spine. The limits were set on projections of nine CTs and checked on four others, a phantom and
two radiographs (Testing/Python/test_appearance.py); between two limits nothing is said. These are
hints for the person who looks, not measurements: a patient may have a shifted heart, or the organs
on the other side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xrecon.preprocess.radiograph import network_input, normalize
from xrecon.preprocess.views import FRONTAL, LATERAL, view_kind
from xrecon.volume import Quantity, Radiograph

# Mediastinum minus lungs, in grey values from 0 to 1; what an inverted frontal view gives is negative.
SURELY_FRONTAL, SURELY_LATERAL = 0.22, (-0.18, 0.08)
INVERTED_FRONTAL = -0.1
# Body minus the picture's upper corners.
INVERTED_LATERAL = -0.2
# Heart minus the same place on the other side of the middle.
MIRRORED = -0.06
LEAST_COVERED = 0.75
# Lines at the border that vary less than this share of the picture are shutters, not patient.
SHUTTER_VARIATION = 0.01


@dataclass(frozen=True, eq=False)
class Look:
    """A radiograph as a network sees it.

    picture: grey values (row, column), float32, as `normalize` makes them. plane: "frontal", "lateral"
    or "" as guessed from the picture alone. warnings: one sentence each, for the user. mirrored: whether the
    heart seems to lie on the other side.
    """

    picture: np.ndarray
    plane: str
    warnings: tuple[str, ...]
    mirrored: bool = False


def look_at(radiograph: Radiograph, shape: tuple[int, int], pixel_spacing: tuple[float, float]) -> Look:
    """The radiograph on a network's detector of `shape` and `pixel_spacing` (row, column) mm, judged.

    Raises InputError as `network_input` does.
    """
    seen = network_input(radiograph, shape, pixel_spacing)
    picture = normalize(seen.array)
    grey = _Grey(np.clip(picture, 0.0, 1.0), pixel_spacing)
    contrast = _mediastinum(grey)
    plane = guessed_plane(contrast)
    kind = view_kind(radiograph.view)
    inverted = _is_inverted(radiograph, contrast, kind)
    warnings = []
    if inverted:
        warnings.append(f"{radiograph.view}: dense tissue looks dark, so the picture seems inverted")
    elif plane and kind in (FRONTAL, LATERAL) and plane != kind:
        warnings.append(f"{radiograph.view}: the picture looks like a {plane} view")
    elif _is_mirrored(grey, radiograph.view):
        side = "right" if kind == FRONTAL else "back"
        warnings.append(
            f"{radiograph.view}: the heart seems to lie at the patient's {side}; compare the side marker, "
            "the picture may be mirrored"
        )
    covered = covered_share(radiograph, seen)
    if covered < LEAST_COVERED:
        warnings.append(
            f"{radiograph.view}: the picture covers {covered:.0%} of the field that the model looks at; what "
            "lies outside is filled with background"
        )
    return Look(picture, plane, tuple(warnings), _is_mirrored(grey, radiograph.view))


# -- judging -----------------------------------------------------------------------------------
class _Grey:
    """Mean grey value of rectangles given in mm from the middle of the detector."""

    def __init__(self, picture: np.ndarray, pixel_spacing: Sequence[float]) -> None:
        self.picture = picture
        self.y, self.x = (
            (np.arange(n) - (n - 1) / 2.0) * s for n, s in zip(picture.shape, pixel_spacing, strict=True)
        )

    def mean(self, rows: tuple[float, float], columns: tuple[float, float]) -> float:
        y = (self.y >= rows[0]) & (self.y <= rows[1])
        x = (self.x >= columns[0]) & (self.x <= columns[1])
        place = self.picture[np.ix_(y, x)]
        return float(place.mean()) if place.size else float(self.picture.mean())


def _mediastinum(grey: _Grey) -> float:
    """How much brighter the middle of the picture is than both sides of it, at the height of the lungs."""
    rows = (-87.0, 109.0)
    sides = [grey.mean(rows, columns) for columns in ((-121.0, -60.0), (60.0, 121.0))]
    return grey.mean(rows, (-27.0, 27.0)) - sum(sides) / 2.0


def guessed_plane(contrast: float) -> str:
    """ "frontal", "lateral" or "" of the brightness of the mediastinum; an inverted picture counts, too."""
    if abs(contrast) > SURELY_FRONTAL:
        return FRONTAL
    return LATERAL if SURELY_LATERAL[0] < contrast < SURELY_LATERAL[1] else ""


def _is_inverted(radiograph: Radiograph, contrast: float, kind: str) -> bool:
    if radiograph.quantity is not Quantity.DISPLAY:
        return False  # measured values are bright where dense
    if kind == FRONTAL:
        return contrast < INVERTED_FRONTAL
    picture = np.clip(normalize(radiograph.array), 0.0, 1.0)
    rows, columns = picture.shape
    corner, body = picture[: rows // 12 + 1], picture[rows // 4 : rows - rows // 4]
    corners = np.concatenate([corner[:, : columns // 12 + 1], corner[:, -(columns // 12 + 1) :]], axis=1)
    body = body[:, columns // 4 : columns - columns // 4]
    return float(body.mean() - corners.mean()) < INVERTED_LATERAL


def _is_mirrored(grey: _Grey, view: str) -> bool:
    """Whether the heart lies on the other side; `grey` has columns towards the left or posterior."""
    if view_kind(view) == FRONTAL:
        rows, near, far, sign = (22.0, 57.0), 27.0, 49.0, 1.0
    elif view_kind(view) == LATERAL:
        rows, near, far, sign = (54.0, 126.0), 15.0, 53.0, -1.0
    else:
        return False
    return sign * (grey.mean(rows, (near, far)) - grey.mean(rows, (-far, -near))) < MIRRORED


def covered_share(radiograph: Radiograph, seen: Radiograph) -> float:
    """Share of the network's detector (of `seen`) that lies inside the radiograph."""
    pixels = radiograph.geometry.project(seen.geometry.pixel_positions())
    inside = (pixels >= -0.5) & (pixels <= np.array(radiograph.array.shape) - 0.5)
    return float(inside.all(axis=-1).mean())


# -- collimation -------------------------------------------------------------------------------
def exposed_field(array: np.ndarray) -> tuple[tuple[int, int], tuple[int, int]]:
    """First pixel and shape (rows, columns) of what shutters left open in a picture.

    Shutters show as lines along the border that are all of one grey value; rows and columns are taken off
    in turn, so that frames of any width go. A picture without a frame, or nothing else, is left whole.
    """
    limit = SHUTTER_VARIATION * float(array.std())
    top, left, (bottom, right) = 0, 0, array.shape
    while True:
        part = array[top:bottom, left:right]
        rows, columns = (np.flatnonzero(part.std(axis=axis) > limit) for axis in (1, 0))
        if not rows.size or not columns.size:
            return (0, 0), array.shape
        before = (top, bottom, left, right)
        top, bottom = top + int(rows[0]), top + int(rows[-1]) + 1
        left, right = left + int(columns[0]), left + int(columns[-1]) + 1
        if (top, bottom, left, right) == before:
            return (top, left), (bottom - top, right - left)


def cropped_to_field(radiograph: Radiograph) -> Radiograph:
    """The radiograph without shutters; its geometry, if it has one, says the same rays."""
    first, shape = exposed_field(radiograph.array)
    if shape == radiograph.array.shape:
        return radiograph
    rows, columns = (slice(start, start + size) for start, size in zip(first, shape, strict=True))
    array = radiograph.array[rows, columns]
    geometry = radiograph.geometry
    return radiograph.with_array(
        np.ascontiguousarray(array),
        f"cropped to {shape[0]}x{shape[1]} pixels inside the collimation",
        geometry=None if geometry is None else geometry.cropped(first, shape),
        covered=None if radiograph.covered is None else radiograph.covered[rows, columns],
    )
