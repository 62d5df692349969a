"""CT to training target and projection source: table removed, lungs found, resampled, scaled."""

from __future__ import annotations

import numpy as np

from xrecon.volume import InputError, Volume

AIR_HU = -1000.0
# X-Recon's window (x-recon section III.A; published code): 0 is -1024 HU, 1 is 1476 HU.
HU_WINDOW = (-1024.0, 1476.0)
BODY_HU = -400.0  # between air and skin; tables' foam and blankets lie below
LUNG_HU = -400.0
# Structures thinner than twice this are cut from the body: table sheets, tubes, clothing.
TABLE_OPENING_MM = 6.0
SKIN_MARGIN_MM = 4.0
# Masks are found on a grid no finer than this, since a body outline needs no more.
MASK_SPACING_MM = 3.0


def hu_to_unit(hu: np.ndarray, window: tuple[float, float] = HU_WINDOW) -> np.ndarray:
    """HU clipped to the window and scaled to [0, 1], float32."""
    low, high = window
    return ((np.clip(hu, low, high) - low) / (high - low)).astype(np.float32)


def unit_to_hu(unit: np.ndarray, window: tuple[float, float] = HU_WINDOW) -> np.ndarray:
    """Network values, clipped to [0, 1], as HU, float32."""
    low, high = window
    return (np.clip(unit, 0.0, 1.0) * (high - low) + low).astype(np.float32)


def resample(
    volume: Volume,
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    center: np.ndarray | tuple[float, float, float],
    fill: float = AIR_HU,
    order: int = 1,
) -> Volume:
    """The volume on a grid along the LPS axes, antialiased where the new voxels are larger.

    shape, spacing: (z, y, x), mm. center: LPS mm (x, y, z) of the middle of the new grid.
    fill: value outside the old grid. order: 1 linear, 0 nearest neighbour (labels; no smoothing).
    """
    from scipy import ndimage

    array = volume.array
    if order:
        array = array.astype(np.float32)
        # direction columns are in the order x, y, z: reverse both to speak of array axes
        along = np.abs(volume.direction.T[::-1, ::-1]) @ np.array(spacing)
        ratio = np.maximum(along / np.array(volume.spacing), 1.0)
        # the width of a box of `ratio` voxels, less that of the voxel itself
        sigma = np.sqrt((ratio**2 - 1.0) / 12.0)
        if sigma.max() > 0.1:
            array = ndimage.gaussian_filter(array, sigma, mode="nearest", truncate=3.0)
    origin = np.asarray(center, dtype=np.float64) - (np.array(shape[::-1]) - 1) / 2.0 * np.array(
        spacing[::-1]
    )
    target = Volume(np.broadcast_to(np.uint8(0), shape), spacing, tuple(origin), quantity=volume.quantity)
    to_old = np.linalg.inv(volume.affine) @ target.affine  # (x, y, z) indices
    resampled = ndimage.affine_transform(
        array,
        to_old[:3, :3][::-1, ::-1],
        offset=to_old[:3, 3][::-1],
        output_shape=shape,
        order=order,
        mode="constant",
        cval=fill,
        prefilter=False,
    )
    return Volume(resampled, spacing, tuple(origin), quantity=volume.quantity, meta=volume.meta)


def resample_like(volume: Volume, reference: Volume, fill: float = AIR_HU, order: int = 1) -> Volume:
    """The volume on the grid of another that lies along the LPS axes.

    Raises InputError when the reference grid is oblique.
    """
    if not np.allclose(reference.direction, np.eye(3), atol=1e-6):
        raise InputError("expected a reference grid along the LPS axes, got an oblique one")
    return resample(volume, reference.shape, reference.spacing, reference.center, fill, order)


def _coarse(volume: Volume) -> tuple[Volume, tuple[int, int, int]]:
    """Means over blocks of voxels, placed at the blocks' middles, and the blocks' sizes."""
    steps = tuple(max(1, int(MASK_SPACING_MM / s)) for s in volume.spacing)
    array = volume.array
    for axis, step in enumerate(steps):
        starts = np.arange(0, array.shape[axis], step)
        counts = np.diff(np.append(starts, array.shape[axis]))
        along = [-1 if a == axis else 1 for a in range(3)]
        array = np.add.reduceat(array, starts, axis=axis, dtype=np.float32) / counts.reshape(along)
    spacing = tuple(s * k for s, k in zip(volume.spacing, steps, strict=True))
    # the last block may be smaller; its middle is taken where a whole block's would be
    origin = volume.index_to_world((np.array(steps[::-1]) - 1) / 2.0)
    return Volume(array, spacing, tuple(origin), volume.direction), steps


def _body(volume: Volume) -> np.ndarray:
    """Body with lungs filled, on the grid given: the largest soft part once thin parts are cut."""
    import cc3d
    import edt
    from scipy import ndimage

    tissue = np.ascontiguousarray(volume.array > BODY_HU)
    filled = np.stack([ndimage.binary_fill_holes(s) for s in tissue])
    inner = edt.edt(filled, anisotropy=volume.spacing, black_border=False) > TABLE_OPENING_MM
    if not inner.any():
        raise InputError(
            f"expected a CT of a body in HU, found no tissue above {BODY_HU:g} HU thicker than "
            f"{2 * TABLE_OPENING_MM:g} mm"
        )
    largest = cc3d.largest_k(inner, k=1, connectivity=6) > 0
    grown = edt.edt(~largest, anisotropy=volume.spacing, black_border=False) <= TABLE_OPENING_MM
    return np.stack([ndimage.binary_fill_holes(s) for s in filled & grown])


def body_mask(volume: Volume) -> np.ndarray:
    """Boolean (z, y, x): patient with lungs, without table and clothing.

    Raises InputError when there is no body (not in HU, or an empty scan).
    """
    from scipy import ndimage

    coarse, steps = _coarse(volume)
    mask = _body(coarse)
    for axis, step in enumerate(steps):
        mask = np.repeat(mask, step, axis=axis)
    mask = mask[tuple(slice(n) for n in volume.shape)]
    missing = [(0, n - m) for n, m in zip(volume.shape, mask.shape, strict=True)]
    mask = np.pad(mask, missing, mode="edge")
    return ndimage.binary_closing(mask, iterations=1) | mask


def remove_table(volume: Volume, body: np.ndarray | None = None) -> Volume:
    """The CT with everything outside the body and a skin margin set to air.

    body: the `body_mask`, when it is known. Raises InputError as `body_mask`.
    """
    import edt

    outside = ~(body_mask(volume.require_hounsfield()) if body is None else body)
    far = edt.edt(outside, anisotropy=volume.spacing, black_border=False) > SKIN_MARGIN_MM
    array = volume.array.copy()
    array[far] = AIR_HU
    return volume.with_array(array, table="removed")


def lung_center(volume: Volume) -> np.ndarray:
    """LPS mm (x, y, z) of the middle of the box around both lungs.

    The box leaves out the outermost 0.5 % of lung voxels on each side, so that a bowel gas bubble
    or a stretch of trachea does not move it. Raises InputError when less than 200 ml of air lies
    inside the body.
    """
    import cc3d

    coarse, _ = _coarse(volume)
    air = _body(coarse) & (coarse.array < LUNG_HU)
    air = cc3d.dust(air, threshold=max(1, int(30.0 / coarse.voxel_ml)), connectivity=6)
    if air.sum() * coarse.voxel_ml < 200.0:
        raise InputError(
            f"expected lungs in the CT, found {air.sum() * coarse.voxel_ml:.0f} ml of air inside the body"
        )
    points = coarse.index_to_world(np.argwhere(air)[:, ::-1])
    return np.percentile(points, [0.5, 99.5], axis=0).mean(axis=0)
