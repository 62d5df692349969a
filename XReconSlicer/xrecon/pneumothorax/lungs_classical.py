"""Lungs by thresholds and morphology: a fallback when no network is at hand."""

from __future__ import annotations

import numpy as np

from xrecon.pneumothorax import airways, morphology, sides
from xrecon.pneumothorax.grids import LEFT_LUNG, RIGHT_LUNG, anatomical_view, require_hu
from xrecon.volume import InputError, Quantity, Volume

NOTE = "Lungs by thresholds and morphology, a fallback for a lung network: dense lung can be missed."
LUNG_AIR_HU = -400.0
WORKING_SPACING_MM = 2.0
CLOSING_MM = 7.0
BODY_OPENING_MM = 4.0
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
    factors, spacing = _blocks(view.spacing, hu.shape)
    labels = _coarse_lungs(_block_mean(hu, factors), spacing, threshold_hu)
    fine = _refine(labels, hu, factors, threshold_hu)
    return volume.with_array(
        view.restore(fine), Quantity.LABEL,
        lungs="classical", lungs_note=NOTE,
    )


def trachea_and_main_bronchi(volume: Volume) -> np.ndarray:
    """Where trachea and main bronchi lie with about one voxel of wall (bool), on the grid of `volume`.

    Found on means over blocks of up to 2 mm, as in `classical_lungs`. Empty when no trachea is found.
    """
    view = anatomical_view(volume)
    hu = view.apply(volume.array)
    factors, spacing = _blocks(view.spacing, hu.shape)
    coarse = _block_mean(hu, factors)
    try:
        air, middle_x = _inner_air(coarse, spacing, LUNG_AIR_HU)
    except InputError:  # no body
        return np.zeros(volume.shape, bool)
    _, central = _airways(coarse, air, spacing, middle_x)
    return view.restore(_spread(central, factors, hu.shape))


def _blocks(
    spacing: tuple[float, float, float], shape: tuple[int, ...]
) -> tuple[tuple[int, int, int], tuple[float, float, float]]:
    """Voxels per block along each axis, and the blocks' spacing in mm."""
    factors = tuple(min(max(1, int(WORKING_SPACING_MM / s)), n) for s, n in zip(spacing, shape, strict=True))
    return factors, tuple(s * f for s, f in zip(spacing, factors, strict=True))


def _spread(blocks: np.ndarray, factors: tuple[int, int, int], shape: tuple[int, ...]) -> np.ndarray:
    """Every block's value at its voxels."""
    for axis, factor in enumerate(factors):
        blocks = np.repeat(blocks, factor, axis=axis)
    return blocks[tuple(slice(n) for n in shape)]


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
    kept = _spread(pure, factors, hu.shape) | (hu < threshold_hu)
    return np.where(kept, _spread(near, factors, hu.shape), 0).astype(np.uint8)


def _coarse_lungs(hu: np.ndarray, spacing: tuple[float, float, float], threshold_hu: float) -> np.ndarray:
    air, middle_x = _inner_air(hu, spacing, threshold_hu)
    tree, central = _airways(hu, air, spacing, middle_x)
    wall = morphology.dilate(tree, 1.0, spacing)
    raw = sides.two_sides(air & ~wall, spacing, middle_x)
    return _closed_sides(raw, central, spacing)


def _airways(
    hu: np.ndarray, air: np.ndarray, spacing: tuple[float, float, float], middle_x: float
) -> tuple[np.ndarray, np.ndarray]:
    """The airway tree, and its wide part with the wall."""
    chain = airways.trachea_chain(hu, air, spacing, middle_x)
    tree = airways.airway_tree(hu, chain, spacing)
    return tree, airways.central_airways(tree, spacing)


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
    # Voxels wider than the ball would make it cut through chest walls: then nothing is opened.
    opening = BODY_OPENING_MM if max(spacing) <= 2.0 * BODY_OPENING_MM else 0.0
    body = morphology.largest(morphology.open_(~dark, opening, spacing))
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


def _closed_sides(raw: np.ndarray, central: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    """Each side closed and filled, never over the other side or the central airways."""
    out = np.zeros(raw.shape, np.uint8)
    for label, other in ((RIGHT_LUNG, LEFT_LUNG), (LEFT_LUNG, RIGHT_LUNG)):
        side = morphology.close(raw == label, CLOSING_MM, spacing)
        side = morphology.fill_cavities(side) & ~central & (raw != other) & (out == 0)
        out[morphology.largest(side)] = label
    return out
