"""Binary dilation by an ellipsoid on packed bits: exact, and fast for the balls of PTX-Seg.

Sixty-four voxels of a row lie in one word. An ellipsoid is a stack of rows: for every offset (dz, dy) a
span of 2 w + 1 voxels along x. So a dilation is a union of shifted copies of the mask, of which there are
only as many along x as there are different w. A slice of 512 x 512 takes 32 KiB, so the copies stay in
the processor's cache. What is done grows with the ball's cross-section over (z, y), not with its volume.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt

import numpy as np

WORD = 64
# Words of one step: 64 KiB, so that some twenty copies fit a second-level cache.
STEP_WORDS = 8192


def half_widths(radius: Sequence[int]) -> np.ndarray:
    """Half spans along x, by |dz| and |dy|, of the ellipsoid of semi-axes radius + 0.5 voxels (z, y, x).

    -1 where the ellipsoid has no voxel. In whole numbers: (2 d)^2 summed over squared odd diameters is
    compared with one, and no voxel lies on the surface.
    """
    az, ay, ax = ((2 * int(r) + 1) ** 2 for r in radius)
    out = np.full((int(radius[0]) + 1, int(radius[1]) + 1), -1)
    for dz, dy in np.ndindex(out.shape):
        rest = az * ay * ax - 4 * (dz * dz * ay * ax + dy * dy * az * ax)
        if rest >= 0:
            out[dz, dy] = isqrt(rest // (4 * az * ay))
    return out


def metric_half_widths(distance_mm: float, spacing: Sequence[float]) -> np.ndarray:
    """As `half_widths`, for the voxels not farther than `distance_mm`; spacing in mm (z, y, x)."""
    reach = [int(distance_mm / s) for s in spacing]
    dz, dy = np.ogrid[: reach[0] + 1, : reach[1] + 1]
    rest = distance_mm**2 - (dz * spacing[0]) ** 2 - (dy * spacing[1]) ** 2
    return np.where(rest >= 0.0, np.sqrt(np.maximum(rest, 0.0)) / spacing[2], -1.0).astype(int)


def pack(mask: np.ndarray) -> np.ndarray:
    """A boolean array (z, y, x) as words (z, y, ceil(x / 64)), voxel 64 k + i in bit i of word k."""
    words = -(-mask.shape[2] // WORD)
    packed = np.zeros((*mask.shape[:2], 8 * words), np.uint8)
    bits = np.packbits(mask, axis=2, bitorder="little")
    packed[:, :, : bits.shape[2]] = bits
    return packed.view("<u8")


def unpack(words: np.ndarray, columns: int) -> np.ndarray:
    """The inverse of `pack` for `columns` voxels along x."""
    return np.unpackbits(words.view(np.uint8), axis=2, count=columns, bitorder="little").view(bool)


def dilate_words(words: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """The union of the mask shifted by every offset of the ellipsoid `widths`; what leaves is cut off.

    words: of `pack`. Bits beyond the last column take part like all others.
    """
    out = np.zeros_like(words)
    step = max(1, STEP_WORDS // max(1, words[0].size))
    for start in range(0, len(words), step):
        piece = words[start : start + step]
        if piece.any():
            _spread(piece, start, widths, out)
    return out


def _spread(piece: np.ndarray, start: int, widths: np.ndarray, out: np.ndarray) -> None:
    """Adds to `out` what a few slices, the first of them `start`, grow to."""
    spans = _spans(piece, int(widths.max()))
    rows = piece.shape[1]
    for dz, row_widths in enumerate(widths):
        if row_widths[0] < 0:
            break
        grown = spans[row_widths[0]].copy()
        for dy in range(1, min(len(row_widths), rows)):
            if row_widths[dy] < 0:
                break
            span = spans[row_widths[dy]]
            grown[:, dy:] |= span[:, :-dy]
            grown[:, :-dy] |= span[:, dy:]
        for shift in {dz, -dz}:
            first, last = max(0, start + shift), min(len(out), start + shift + len(piece))
            if first < last:
                out[first:last] |= grown[first - start - shift : last - start - shift]


def _spans(piece: np.ndarray, widest: int) -> list[np.ndarray]:
    """The mask dilated by 0, 1, ... `widest` voxels along x in both directions."""
    spans = [piece]
    one, carry = np.uint64(1), np.uint64(WORD - 1)
    for width in range(1, widest + 1):
        last = spans[-1]
        grown = (last << one) | (last >> one)
        grown[:, :, 1:] |= last[:, :, :-1] >> carry
        grown[:, :, :-1] |= last[:, :, 1:] << carry
        if width == 1:  # later spans hold their middle already
            grown |= last
        spans.append(grown)
    return spans
