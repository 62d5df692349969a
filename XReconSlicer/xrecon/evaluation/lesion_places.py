"""Where lesions can be planted in a CT: lung, the front wall of the lung, soft tissue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from xrecon.volume import InputError, Volume

TISSUES = ("lung", "pleura", "soft tissue")
MASK_SPACING_MM = 4.0
# Vessels up to twice this thick count as lung.
CLOSING_MM = 6.0
ROOM_MM = 3.0
# From the edge of the reconstruction's field to the sphere, at least.
FIELD_MARGIN_MM = 8.0
# Centres nearer to the front wall than the radius and this: the sphere touches it.
PLEURA_MM = 6.0


@dataclass(frozen=True, eq=False)
class TissueMaps:
    """On a coarse grid: mm from each voxel to where the tissue ends, and to the edge of the field."""

    grid: Volume
    depth_mm: Mapping[str, np.ndarray]
    field_mm: np.ndarray


def tissue_maps(volume: Volume, field: Volume) -> TissueMaps:
    """The tissues of a CT in HU, its table removed. field: the volume in which lesions are looked for.

    Raises InputError when there is no body.
    """
    import edt
    from scipy import ndimage

    from xrecon.preprocess.ct import LUNG_HU, body_mask

    steps = [max(1, round(MASK_SPACING_MM / s)) for s in volume.spacing]
    coarse = Volume(
        np.ascontiguousarray(volume.array[tuple(slice(None, None, k) for k in steps)], dtype=np.float32),
        tuple(s * k for s, k in zip(volume.spacing, steps, strict=True)),
        volume.origin,
        volume.direction,
    )
    body = body_mask(coarse)
    far = edt.edt(~(body & (coarse.array < LUNG_HU)), anisotropy=coarse.spacing, black_border=False)
    grown = far <= CLOSING_MM
    lung = (edt.edt(grown, anisotropy=coarse.spacing, black_border=False) > CLOSING_MM) & body
    soft = body & ~ndimage.binary_dilation(lung)
    depth = {
        "lung": edt.edt(lung, anisotropy=coarse.spacing, black_border=True),
        "soft tissue": edt.edt(soft, anisotropy=coarse.spacing, black_border=True),
    }
    index = np.stack(np.meshgrid(*[np.arange(n) for n in coarse.shape], indexing="ij"), -1)[..., ::-1]
    place = field.world_to_index(coarse.index_to_world(index))  # x, y, z
    size = np.array(field.spacing[::-1])
    inside = np.minimum(place + 0.5, np.array(field.shape[::-1]) - 0.5 - place) * size
    return TissueMaps(coarse, depth, inside.min(axis=-1))


def _candidates(maps: TissueMaps, tissue: str, radius_mm: float) -> np.ndarray:
    """Voxels (n, 3) as (z, y, x) whose sphere lies in the tissue and in the field."""
    if tissue not in TISSUES:
        raise InputError(f"expected a tissue out of {TISSUES}, got {tissue!r}")
    depth = maps.depth_mm["lung" if tissue == "pleura" else tissue]
    fits = (depth >= radius_mm + ROOM_MM) & (maps.field_mm >= radius_mm + FIELD_MARGIN_MM)
    if tissue == "pleura":
        fits &= depth <= radius_mm + ROOM_MM + PLEURA_MM
        # the wall is before it: one sphere on, towards anterior, there is no lung
        fits &= _ahead(depth <= 0, maps.grid, radius_mm + 2.0 * ROOM_MM + PLEURA_MM)
    return np.argwhere(fits)


def _ahead(mask: np.ndarray, grid: Volume, distance_mm: float) -> np.ndarray:
    """Whether the mask (z, y, x) holds so far towards anterior of each voxel, along the grid's axis that lies
    nearest to that direction; False where that is outside the grid."""
    to_anterior = -grid.direction[1]  # of the axes x, y, z: the share of each that runs to anterior
    along = int(np.abs(to_anterior).argmax())
    step = round(float(np.sign(to_anterior[along])) * distance_mm / grid.spacing[2 - along])
    found, there = np.zeros_like(mask), np.moveaxis(mask, 2 - along, 0)
    here = np.moveaxis(found, 2 - along, 0)
    if step > 0:
        here[:-step] = there[step:]
    elif step < 0:
        here[-step:] = there[:step]
    else:
        here[:] = there
    return found


def choose_places(maps: TissueMaps, tissue: str, radius_mm: float, seed: int = 0) -> np.ndarray:
    """Up to four centres (n, 3), LPS mm: one each to the right and left, above and below the middle.

    They lie at least three radii apart, so that no sphere is in another's shell.
    """
    candidates = _candidates(maps, tissue, radius_mm)
    if not len(candidates):
        return np.zeros((0, 3))
    world = maps.grid.index_to_world(candidates[:, ::-1])
    lungs = maps.grid.index_to_world(np.argwhere(maps.depth_mm["lung"] > 0)[:, ::-1])
    middle = np.median(lungs, axis=0)
    generator = np.random.default_rng(seed)
    chosen: list[np.ndarray] = []
    for left in (False, True):
        for upper in (False, True):
            quarter = world[((world[:, 0] > middle[0]) == left) & ((world[:, 2] > middle[2]) == upper)]
            for known in chosen:
                quarter = quarter[np.linalg.norm(quarter - known, axis=1) >= 3.0 * radius_mm]
            if len(quarter):
                chosen.append(generator.choice(quarter))
    return np.array(chosen).reshape(-1, 3)


def places_of_tissue(
    maps: TissueMaps, tissue: str, radius_mm: float, count: int, seed: int = 0
) -> np.ndarray:
    """`count` centres (n, 3) of spheres in the tissue, LPS mm; all there are when there are fewer."""
    candidates = _candidates(maps, tissue, radius_mm)
    if len(candidates) > count:
        candidates = np.random.default_rng(seed).choice(candidates, count, replace=False)
    return maps.grid.index_to_world(candidates[:, ::-1].astype(np.float64)).reshape(-1, 3)
