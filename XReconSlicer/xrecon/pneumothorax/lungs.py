"""Lungs: union of masks, right and left, and a classical fallback when no network is at hand."""

from __future__ import annotations

import numpy as np

from xrecon.pneumothorax import airways, morphology
from xrecon.pneumothorax.grids import LEFT_LUNG, RIGHT_LUNG, anatomical_view, require_hu
from xrecon.volume import InputError, Quantity, Volume

LUNG_AIR_HU = -400.0
WORKING_SPACING_MM = 2.0
CLOSING_MM = 7.0
MIN_LUNG_ML = 30.0
MAX_OPENING_SHARE = 0.02


def classical_lungs(volume: Volume, threshold_hu: float = LUNG_AIR_HU) -> Volume:
    """Lungs by thresholds and morphology: labels 1 right, 2 left on the grid of `volume`.

    Air below `threshold_hu` inside the body, minus the central airways, split into two sides, each
    closed by 7 mm and its cavities filled so that vessels belong to the lung. A fallback: `meta`
    says so. Dense lung (consolidation, effusion, collapse) that the closing does not reach is missed;
    trachea and main bronchi go, lobar bronchi stay. Pneumothorax air counts as lung, as PTX-Seg needs.
    Works on means over blocks of up to 2 mm and is refined on the CT's own grid.
    Raises InputError when the volume is not finite HU or holds no lung-like air.
    """
    require_hu(volume)
    view = anatomical_view(volume)
    hu = view.apply(volume.array)
    factors = tuple(
        min(max(1, int(WORKING_SPACING_MM / s)), n) for s, n in zip(view.spacing, hu.shape, strict=True)
    )
    coarse = _block_mean(hu, factors)
    spacing = tuple(s * f for s, f in zip(view.spacing, factors, strict=True))
    labels = _coarse_lungs(coarse, spacing, threshold_hu)
    fine = _refine(labels, hu, factors, threshold_hu)
    return volume.with_array(
        view.restore(fine), Quantity.LABEL,
        lungs="classical", lungs_note="threshold and morphology, a fallback for a lung network",
    )


def _block_mean(hu: np.ndarray, factors: tuple[int, int, int]) -> np.ndarray:
    """Means over blocks (float32); the last blocks repeat the edge."""
    if factors == (1, 1, 1):
        return hu.astype(np.float32)
    pad = [(0, -n % f) for n, f in zip(hu.shape, factors, strict=True)]
    padded = np.pad(hu, pad, mode="edge").astype(np.float32)
    z, y, x = (n // f for n, f in zip(padded.shape, factors, strict=True))
    fz, fy, fx = factors
    return padded.reshape(z, fz, y, fy, x, fx).mean(axis=(1, 3, 5))


def _refine(
    labels: np.ndarray, hu: np.ndarray, factors: tuple[int, int, int], threshold_hu: float
) -> np.ndarray:
    """Block labels on the fine grid; in blocks at a label's edge only what is darker than the threshold."""
    if factors == (1, 1, 1):
        return labels
    from scipy import ndimage

    high = ndimage.maximum_filter(labels, 3)
    low = ndimage.minimum_filter(np.where(labels == 0, 9, labels), 3)
    pure = high == ndimage.minimum_filter(labels, 3)  # all 27 blocks alike
    near = np.where(labels > 0, labels, np.where(low == high, high, 0))  # a rim around one lung only
    def spread(a: np.ndarray) -> np.ndarray:
        for axis, f in enumerate(factors):
            a = np.repeat(a, f, axis=axis)
        return a[tuple(slice(n) for n in hu.shape)]

    return np.where(spread(pure) | (hu < threshold_hu), spread(near), 0).astype(np.uint8)


def _coarse_lungs(hu: np.ndarray, spacing: tuple[float, float, float], threshold_hu: float) -> np.ndarray:
    air, middle_x = _inner_air(hu, spacing, threshold_hu)
    chain = airways.trachea_chain(hu, air, spacing, middle_x)
    tree = airways.airway_tree(hu, chain, spacing)
    central = airways.central_airways(tree, spacing)
    wall = morphology.dilate(tree, 1.0, spacing)
    raw = _two_sides(air & ~wall, spacing, middle_x)
    return _closed_sides(raw, central, spacing)


def _inner_air(
    hu: np.ndarray, spacing: tuple[float, float, float], threshold_hu: float
) -> tuple[np.ndarray, float]:
    """Air inside the body and the x index of the body's middle plane.

    The body is the largest piece of tissue after an opening that cuts the table and tubes off, filled
    slice by slice. Enclosed air that is wide open to the air outside (between arm and trunk) goes: a piece
    with more than 2 % of its voxels at that opening. Raises InputError when there is no body.
    """
    from scipy import ndimage

    dark = hu < threshold_hu
    body = morphology.largest(morphology.open_(~dark, 4.0, spacing))
    inside = morphology.fill_slices(body)
    if not inside.any():
        raise InputError(f"expected a body in the CT, found no tissue above {threshold_hu:g} HU")
    air = dark & inside
    labels, sizes = morphology.label_components(air, connectivity=6)
    openings = air & ndimage.binary_dilation(dark & ~inside)
    touching = np.bincount(labels[openings], minlength=sizes.size)
    closed = touching <= MAX_OPENING_SHARE * sizes
    closed[0] = False
    air = closed[labels]
    middle_x = float(np.average(np.arange(hu.shape[2]), weights=inside.sum(axis=(0, 1))))
    return air, middle_x


def _two_sides(air: np.ndarray, spacing: tuple[float, float, float], middle_x: float) -> np.ndarray:
    """Labels 1 right, 2 left: the two largest pieces on opposite sides, or one piece cut in two."""
    voxel_ml = float(np.prod(spacing)) / 1000.0
    labels, sizes = morphology.label_components(air, connectivity=6)
    sizes[0] = 0
    if sizes.size < 2 or sizes.max() * voxel_ml < MIN_LUNG_ML:
        raise InputError(f"expected lungs in the CT, found no {MIN_LUNG_ML:g} ml of air inside the body")
    order = np.argsort(sizes)[::-1][:6]
    first = labels == order[0]
    weight = first.sum(axis=(0, 1)) / sizes[order[0]]
    left_share = float(weight[int(np.ceil(middle_x)):].sum())
    out = np.zeros(air.shape, np.uint8)
    if 0.2 < left_share < 0.8:
        return _split(first, spacing)
    is_left = left_share >= 0.5
    out[first] = LEFT_LUNG if is_left else RIGHT_LUNG
    rows = np.flatnonzero(first.any(axis=(1, 2)))
    for other in order[1:]:
        piece = labels == other
        share = float(piece[:, :, int(np.ceil(middle_x)):].sum()) / max(int(sizes[other]), 1)
        inside = float(piece[rows[0]: rows[-1] + 1].sum()) / max(int(sizes[other]), 1)
        if sizes[other] * voxel_ml >= MIN_LUNG_ML and (share > 0.6) != is_left and inside > 0.8:
            out[piece] = RIGHT_LUNG if is_left else LEFT_LUNG
            break
    return out


def _split(mask: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    """One piece cut into right (lower x) and left where it is thinnest: erosion until it falls apart,
    then a watershed of the distance transform from the two cores."""
    import edt
    from skimage.segmentation import watershed

    box = morphology.grown_box(mask, (1, 1, 1))
    piece = np.ascontiguousarray(mask[box])
    depth = edt.edt(piece, anisotropy=spacing, black_border=False)
    markers = np.zeros(piece.shape, np.int32)
    for cut in np.arange(min(spacing) * 0.9, depth.max(), min(spacing) / 2):
        labels, sizes = morphology.label_components(depth > cut, connectivity=6)
        sizes[0] = 0
        a, b = (np.argsort(sizes)[::-1].tolist() + [0])[:2]
        if b and sizes[b] > 0.2 * sizes[a] and sizes[b] > 0.02 * mask.sum():
            xs = [np.flatnonzero((labels == k).any(axis=(0, 1))).mean() for k in (a, b)]
            right, left = (a, b) if xs[0] < xs[1] else (b, a)
            markers[labels == right], markers[labels == left] = RIGHT_LUNG, LEFT_LUNG
            break
    out = np.zeros(mask.shape, np.uint8)
    if not markers.any():  # no neck anywhere: a plane through the middle
        middle = int(round(np.average(np.arange(piece.shape[2]), weights=piece.sum(axis=(0, 1)))))
        markers[:, :, :middle], markers[:, :, middle:] = RIGHT_LUNG, LEFT_LUNG
        out[box] = np.where(piece, markers, 0)
        return out
    out[box] = watershed(-depth, markers, mask=piece)
    return out


def _closed_sides(raw: np.ndarray, central: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    """Each side closed and filled, never over the other side or the central airways."""
    out = np.zeros(raw.shape, np.uint8)
    for label, other in ((RIGHT_LUNG, LEFT_LUNG), (LEFT_LUNG, RIGHT_LUNG)):
        side = morphology.close(raw == label, CLOSING_MM, spacing)
        side = morphology.fill_cavities(side) & ~central & (raw != other) & (out == 0)
        out[morphology.largest(side)] = label
    return out
