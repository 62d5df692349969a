"""A radiograph as the view classifier sees it: a small square of grey values, without shutters."""

from __future__ import annotations

import numpy as np

from xrecon.preprocess.appearance import exposed_field
from xrecon.preprocess.radiograph import PERCENTILES

SIDE = 128


def standard_picture(array: np.ndarray, side: int = SIDE) -> np.ndarray:
    """Grey values (row, column) as a square of `side` pixels in [0, 1], float32.

    Constant borders are cut off, the sides are stretched to one length, the 1st and 99th percentiles become
    0 and 1. The layout is left as it is.
    """
    from PIL import Image

    array = np.asarray(array, dtype=np.float32)
    (top, left), (rows, columns) = exposed_field(array)
    field = array[top : top + rows, left : left + columns]
    shrinks = min(field.shape) >= side
    method = Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR
    return to_unit(np.asarray(Image.fromarray(field).resize((side, side), method)))


def to_unit(picture: np.ndarray) -> np.ndarray:
    """The 1st and 99th percentiles as 0 and 1, what lies beyond clipped, float32."""
    low, high = np.percentile(picture, PERCENTILES)
    if high <= low:
        low, high = float(picture.min()), float(picture.max())
    return np.clip((picture - low) / max(high - low, 1e-12), 0.0, 1.0).astype(np.float32)
