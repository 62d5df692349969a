"""Right and left: telling two lungs apart, cutting joined ones, labels by nearness.

Arrays run in anatomical order (z superior, y posterior, x left), so the right lung has the lower x.
"""

from __future__ import annotations

import edt
import numpy as np

from xrecon.pneumothorax import ellipsoid_bits, morphology
from xrecon.pneumothorax.grids import LEFT_LUNG, RIGHT_LUNG
from xrecon.volume import InputError

MIN_LUNG_ML = 30.0
# A piece with at least this share on both sides of the middle plane is two lungs in one.
JOINED_SHARE = 0.2
# ... unless a second piece has this share of its volume, and pieces are two lungs this far apart.
SEPARATE_SHARE = 0.25
APART_MM = 50.0
# A connected piece of air is on one side unless each side holds this share of it. Air in front of the heart
# often reaches beyond the middle; two pneumothoraces that touch are about as large as each other or larger.
BOTH_SIDES_SHARE = 0.25


def nearest_side(
    labels: np.ndarray, where: np.ndarray, spacing: tuple[float, float, float], reach_mm: float = 6.0
) -> np.ndarray:
    """1 or 2 (uint8) at the voxels of `where`, 0 elsewhere: the label that lies nearer in mm.

    labels: 0, 1, 2. A voxel with a label keeps it; at equal distance right wins. reach_mm: changes the
    time only; voxels with one side within this distance and the other beyond need no distances.
    Raises InputError when `where` has voxels and `labels` has none.
    """
    out = np.where(where, labels, 0).astype(np.uint8)
    open_voxels = where & (labels == 0)
    if not open_voxels.any():
        return out
    present = [k for k in (RIGHT_LUNG, LEFT_LUNG) if (labels == k).any()]
    if not present:
        raise InputError("expected a lung to take the side from, got empty lung labels")
    if len(present) == 1:
        out[open_voxels] = present[0]
        return out
    doubtful, local = _settle_plain(labels, open_voxels, out, spacing, reach_mm)
    if not doubtful.any():
        return out
    margin = [int(np.ceil(reach_mm / s)) for s in spacing]
    around = doubtful if local else doubtful | (labels > 0)
    box = morphology.grown_box(around, margin if local else (0, 0, 0))
    right, left = (
        edt.edtsq(np.ascontiguousarray(labels[box] != k), anisotropy=spacing, black_border=False)
        for k in present
    )
    side = np.where(right <= left, RIGHT_LUNG, LEFT_LUNG).astype(np.uint8)
    np.copyto(out[box], side, where=doubtful[box])
    return out


def one_side_a_piece(labels: np.ndarray, air: np.ndarray) -> None:
    """Gives each connected piece (26 neighbours) of `air` one side in `labels`, the one most of it has.

    labels: 1 right, 2 left at every voxel of `air`; changed in place. A piece of which each side has
    `BOTH_SIDES_SHARE` keeps both: it may be two pneumothoraces that touch.
    """
    box = morphology.grown_box(air, (0, 0, 0))
    if box is None:
        return
    pieces, sizes = morphology.label_components(air[box])
    on_left = air[box] & (labels[box] == LEFT_LUNG)
    left = np.bincount(pieces.reshape(-1), weights=on_left.reshape(-1), minlength=sizes.size)
    share = left / np.maximum(sizes, 1)
    for label, whole in (
        (RIGHT_LUNG, share < BOTH_SIDES_SHARE),
        (LEFT_LUNG, share > 1.0 - BOTH_SIDES_SHARE),
    ):
        np.copyto(labels[box], np.uint8(label), where=air[box] & whole[pieces])


def _settle_plain(
    labels: np.ndarray,
    open_voxels: np.ndarray,
    out: np.ndarray,
    spacing: tuple[float, float, float],
    reach_mm: float,
) -> tuple[np.ndarray, bool]:
    """Writes into `out` the open voxels with one side within reach only.

    Returns those left, and whether all of them have both sides within reach.
    """
    widths = ellipsoid_bits.metric_half_widths(reach_mm, spacing)
    if widths.size > morphology.MAX_BALL_ROWS:
        return open_voxels, False
    asked = ellipsoid_bits.pack(open_voxels)
    right, left = (
        ellipsoid_bits.dilate_words(ellipsoid_bits.pack(labels == k), widths) & asked
        for k in (RIGHT_LUNG, LEFT_LUNG)
    )
    columns = labels.shape[2]
    for label, words in ((RIGHT_LUNG, right & ~left), (LEFT_LUNG, left & ~right)):
        np.copyto(out, np.uint8(label), where=ellipsoid_bits.unpack(words, columns))
    left_over = asked & ~(right ^ left)
    return ellipsoid_bits.unpack(left_over, columns), not (left_over & ~right).any()


def two_sides(air: np.ndarray, spacing: tuple[float, float, float], middle_x: float) -> np.ndarray:
    """Labels 1 right, 2 left of a lung mask: two separate pieces, or one piece cut in two.

    Two pieces are told apart by their own positions, so a shifted mediastinum does not matter; the
    body's middle plane (x index `middle_x`) decides only whether one piece is both lungs or which side a
    single lung is. Raises InputError when the largest piece has less than 30 ml.
    """
    voxel_ml = float(np.prod(spacing)) / 1000.0
    labels, sizes = morphology.label_components(air, connectivity=6)
    sizes[0] = 0
    if sizes.size < 2 or sizes.max() * voxel_ml < MIN_LUNG_ML:
        raise InputError(f"expected lungs, found no piece of {MIN_LUNG_ML:g} ml or more")
    order = np.argsort(sizes)[::-1][:6]
    first = labels == order[0]
    across = first.sum(axis=(0, 1)) / sizes[order[0]]
    left_share = float(across[int(np.ceil(middle_x)) :].sum())
    joined = JOINED_SHARE < left_share < 1.0 - JOINED_SHARE
    rows = np.flatnonzero(first.any(axis=(1, 2)))
    center = float(across @ np.arange(across.size))
    for other in order[1:]:
        enough = max(MIN_LUNG_ML / voxel_ml, SEPARATE_SHARE * sizes[order[0]] if joined else 0.0)
        if sizes[other] == 0 or sizes[other] < enough:
            break
        piece = labels == other
        beside = piece[rows[0] : rows[-1] + 1].sum() / sizes[other] > 0.8
        apart = piece.sum(axis=(0, 1)) @ np.arange(across.size) / sizes[other] - center
        if beside and abs(apart) * spacing[2] > APART_MM:
            right, left = (piece, first) if apart < 0 else (first, piece)
            return (RIGHT_LUNG * right + LEFT_LUNG * left).astype(np.uint8)
    if joined:
        return _split(first, spacing)
    return first.astype(np.uint8) * (LEFT_LUNG if left_share >= 0.5 else RIGHT_LUNG)


def _split(mask: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    """One piece cut into right (lower x) and left where it is thinnest: erosion until it falls apart,
    then a watershed of the distance transform from the two cores."""
    from skimage.segmentation import watershed

    box = morphology.grown_box(mask, (1, 1, 1))
    piece = np.ascontiguousarray(mask[box])
    depth = edt.edt(piece, anisotropy=spacing, black_border=False)
    markers = _cores(depth, spacing)
    out = np.zeros(mask.shape, np.uint8)
    out[box] = watershed(-depth, markers, mask=piece) if markers.any() else _halves(piece)
    return out


def _cores(depth: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    """Markers 1 right, 2 left (int32): the first two sizeable pieces deeper erosion leaves; or zeros."""
    markers = np.zeros(depth.shape, np.int32)
    whole = int((depth > 0).sum())
    for cut in np.arange(min(spacing) * 0.9, depth.max(), min(spacing) / 2):
        labels, sizes = morphology.label_components(depth > cut, connectivity=6)
        if sizes.size < 3:
            continue
        a, b = 1 + np.argsort(sizes[1:])[::-1][:2]
        if sizes[b] > 0.2 * sizes[a] and sizes[b] > 0.02 * whole:
            across = np.arange(depth.shape[2])
            centers = [np.average(across, weights=(labels == k).sum(axis=(0, 1))) for k in (a, b)]
            right, left = (a, b) if centers[0] < centers[1] else (b, a)
            markers[labels == right], markers[labels == left] = RIGHT_LUNG, LEFT_LUNG
            break
    return markers


def _halves(piece: np.ndarray) -> np.ndarray:
    """A piece without a neck, cut by the sagittal plane through its centre."""
    middle = int(round(np.average(np.arange(piece.shape[2]), weights=piece.sum(axis=(0, 1)))))
    out = np.where(piece, RIGHT_LUNG, 0).astype(np.uint8)
    out[:, :, middle:][piece[:, :, middle:]] = LEFT_LUNG
    return out
