"""What a display shutter or the collimator covers of a DICOM radiograph (PS3.3 C.7.6.11, C.8.7.3).

Covered pixels are set to one value, their median, so that whoever looks for the exposed field sees its
edge. A shutter hides what is not to be seen, and is believed; a collimator's edges are often left over
from before a picture was cut or resampled, and count only where the picture is flat behind them.
"""

from __future__ import annotations

import numpy as np

from xrecon.io.dicom_tags import Tags

# A smaller field is a mistake in the tags, or no chest.
SMALLEST_FIELD = 0.1
# Behind lead there is scatter and noise: steps between neighbours are this much smaller than in the field.
FLAT = 0.5
_EDGES = ("LeftVerticalEdge", "RightVerticalEdge", "UpperHorizontalEdge", "LowerHorizontalEdge")


def without_covered(tags: Tags, array: np.ndarray, notes: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """The picture (row, column) with what shutter and collimator cover set to one value each, and where."""
    behind = np.zeros(array.shape, dtype=bool)
    for what in ("Shutter", "Collimator"):
        covered = _covered(tags, what, array.shape, notes)
        if covered is None:
            continue
        if what == "Collimator" and not _is_flat(array, covered):
            notes.append("the edges of CollimatorShape do not fit the picture: not used")
            continue
        array, behind = np.where(covered, np.median(array[covered]), array), behind | covered
        notes.append(f"{covered.mean():.1%} of the picture are behind the {what.lower()}: set to one value")
    return array, behind


def _covered(tags: Tags, what: str, shape: tuple[int, int], notes: list[str]) -> np.ndarray | None:
    """Boolean (row, column) of what is covered; None when nothing is, or too much."""
    shapes = {text.upper() for text in tags.texts(f"{what}Shape")}
    row, column = (np.arange(1, n + 1) for n in shape)
    row, column = row[:, None], column[None]
    opened = np.ones(shape, dtype=bool)
    if "RECTANGULAR" in shapes:
        left, right, upper, lower = (tags.number(f"{what}{edge}") for edge in _EDGES)
        if None in (left, right, upper, lower):
            notes.append(f"{what}Shape RECTANGULAR lacks an edge: not used")
        else:
            opened &= (column >= left) & (column <= right) & (row >= upper) & (row <= lower)
    if "CIRCULAR" in shapes:
        center, radius = tags.numbers(f"CenterOfCircular{what}"), tags.number(f"RadiusOfCircular{what}")
        if len(center) != 2 or radius is None:
            notes.append(f"{what}Shape CIRCULAR lacks centre or radius: not used")
        else:
            opened &= np.hypot(row - center[0], column - center[1]) <= radius
    if "POLYGONAL" in shapes:
        corners = tags.numbers(f"VerticesOfThePolygonal{what}")
        if len(corners) < 6 or len(corners) % 2:
            notes.append(f"{what}Shape POLYGONAL lacks corners: not used")
        else:
            opened &= _inside(corners, shape)
    if opened.all():
        return None
    if opened.mean() < SMALLEST_FIELD:
        notes.append(f"{what}Shape leaves {opened.mean():.1%} of the picture open: not used")
        return None
    return ~opened


def _inside(corners: tuple[float, ...], shape: tuple[int, int]) -> np.ndarray:
    """Boolean (row, column) inside a polygon of corners row, column, row, column, ... counted from 1."""
    from PIL import Image, ImageDraw

    limits = 4.0 * np.array(shape[::-1])  # far beyond the picture is far enough
    points = np.clip(np.reshape(corners, (-1, 2))[:, ::-1] - 1.0, -limits, limits)
    mask = Image.new("1", shape[::-1])
    ImageDraw.Draw(mask).polygon([tuple(point) for point in points], fill=1)
    return np.array(mask, dtype=bool)


def _is_flat(array: np.ndarray, covered: np.ndarray) -> bool:
    steps = np.abs(np.diff(array, axis=1))
    outside = covered[:, 1:] & covered[:, :-1]
    inside = ~covered[:, 1:] & ~covered[:, :-1]
    if not outside.any() or not inside.any():
        return False
    return float(steps[outside].mean()) <= FLAT * float(steps[inside].mean())
