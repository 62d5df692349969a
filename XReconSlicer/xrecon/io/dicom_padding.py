"""Pixels that only fill an image up to a rectangle (PS3.3 C.7.5.1.1.2): PixelPaddingValue and its range."""

from __future__ import annotations

import numpy as np

from xrecon.io.dicom_tags import Tags

# With less of a radiograph left, the tags are a mistake.
SMALLEST_PICTURE = 0.1


def padding_range(tags: Tags, stored: np.ndarray) -> tuple[float, float] | None:
    """The least and largest stored value that stands for padding; None where the file names none.

    The two attributes are often written with the other sign than the pixels have, -2000 as 63536.
    """
    value, limit = tags.number("PixelPaddingValue"), tags.number("PixelPaddingRangeLimit")
    if value is None:
        return None
    ends = [value] if limit is None else [value, limit]
    bits = 8 * stored.dtype.itemsize
    if stored.dtype.kind == "i":
        ends = [end - 2.0**bits if end >= 2.0 ** (bits - 1) else end for end in ends]
    elif stored.dtype.kind == "u":
        ends = [end + 2.0**bits if end < 0 else end for end in ends]
    return min(ends), max(ends)


def padding_at_the_edge(stored: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Boolean (row, column) of values within the limits that reach the edge of the picture through others.

    Padding surrounds a picture. The same value inside it is a measured one, of files that name a value
    which the picture has, too.
    """
    from scipy import ndimage

    mask = (stored >= limits[0]) & (stored <= limits[1])
    if not mask.any():
        return mask
    parts, _ = ndimage.label(mask)
    edge = np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])
    return mask & np.isin(parts, np.unique(edge))


def without_padding(tags: Tags, stored: np.ndarray, notes: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """The stored values (row, column) of a radiograph, padding set to one value, the nearest that the picture
    has, so that neither contrast nor range of the picture depend on what was filled in; and where that is."""
    none = np.zeros(stored.shape, dtype=bool)
    limits = padding_range(tags, stored)
    if limits is None:
        return stored, none
    mask = padding_at_the_edge(stored, limits)
    if not mask.any():
        return stored, none
    if mask.mean() > 1.0 - SMALLEST_PICTURE:
        notes.append(f"PixelPaddingValue leaves {1 - mask.mean():.1%} of the picture: not used")
        return stored, none
    rest = stored[~mask]
    filled = np.clip(np.median(stored[mask]), rest.min(), rest.max())
    notes.append(f"{mask.mean():.1%} of the picture are padding: set to one value")
    return np.where(mask, stored.dtype.type(filled), stored), mask
