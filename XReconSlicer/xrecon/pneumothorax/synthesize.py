"""Synthetic pneumothorax with exact truth: the lung of one side collapses towards its hilum.

The shape of the collapse is described in `xrecon.pneumothorax.collapse`: air collects anteriorly when
supine, apically when erect, with a thin rim around the lung; the lung is compressed along rays towards
the hilum and sampled back linearly. The fraction is exact to one voxel.

Density follows mass: (HU + 1000) times the root of the local volume ratio (air moves between neighbouring
lobules, so density evens out), times one factor that restores the side's total mass. No voxel is pushed
beyond soft tissue (40 HU), so mass conservation ends where the whole lung is tissue-dense;
`meta["mass_ratio"]` (lung after / before) reports what was reached.

Not modelled: mediastinal shift, diaphragm depression, adhesions, effusion, pleural fluid levels.
"""

from __future__ import annotations

import numpy as np

from xrecon.pneumothorax import morphology
from xrecon.pneumothorax.collapse import RISES_TO, Collapse, collapse
from xrecon.pneumothorax.grids import LEFT_AIR, RIGHT_AIR, SIDES, require_hu, require_lungs
from xrecon.volume import InputError, Quantity, Volume

AIR_HU = -1000.0
TISSUE_HU = 40.0
FRACTION_RANGE = (0.01, 0.9)
FRACTION_TOLERANCE = 0.02
CLOSING_MM = 4.0
PLEURA_MM = 0.4


def add_pneumothorax(
    volume: Volume, lungs: Volume, side: str = "right", fraction: float = 0.3,
    position: str = "supine", seed: int = 0,
) -> tuple[Volume, Volume]:
    """(CT with a pneumothorax, labels 1 right lung, 2 left lung, 3 right air, 4 left air).

    volume: HU on any grid. lungs: labels 1 right, 2 left on the same grid; both sides are closed by 4 mm
    first so that vessels move with the lung, hence labels 1 to 4 cover slightly more than `lungs`.
    side: "right" or "left". fraction: air / (air + lung) of that side, 0.01 to 0.9, met within one voxel
    (tolerance stated for users: 0.02). position: "supine" or "erect". seed: varies the hilum by some mm,
    the air's shape and the noise; the same seed gives the same arrays.
    Returns float32 HU, clipped below at the CT's own minimum or -1024, and uint8 labels; `meta` of both
    tells side, fraction, position, seed and mass_ratio (lung mass after / before).
    Raises InputError for a wrong option, other grids or labels, or a side of less than 30 ml.
    """
    require_hu(volume)
    label_array = require_lungs(lungs, volume)
    if side not in SIDES:
        raise InputError(f"expected side 'right' or 'left', got {side!r}")
    if position not in RISES_TO:
        raise InputError(f"expected position 'supine' or 'erect', got {position!r}")
    if not FRACTION_RANGE[0] <= fraction <= FRACTION_RANGE[1]:
        raise InputError(f"expected a fraction from 0.01 to 0.9, got {fraction}")
    generator = np.random.default_rng(seed)
    labels = _with_vessels(label_array, volume.spacing)
    inside = labels == SIDES[side]
    room_ml = float(inside.sum()) * volume.voxel_ml
    if room_ml < 30.0:
        raise InputError(f"expected a {side} lung of at least 30 ml, got {room_ml:.0f} ml")
    box = morphology.grown_box(inside, (2, 2, 2))
    state = collapse(volume, inside, box, side, position, fraction, generator)
    hu, mass_ratio = _filled(volume, inside[box], box, state, generator)
    array = volume.array.astype(np.float32)
    array[box] = hu
    labels[box][state.air] = RIGHT_AIR if side == "right" else LEFT_AIR
    meta = {
        "synthetic": "pneumothorax", "side": side, "position": position, "seed": str(seed),
        "fraction": f"{state.air.sum() / inside.sum():.4f}", "mass_ratio": f"{mass_ratio:.3f}",
    }
    return volume.with_array(array, **meta), volume.with_array(labels, Quantity.LABEL, **meta)


def _with_vessels(labels: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    """Both sides closed by 4 mm with their cavities filled; no voxel changes sides."""
    out = labels.copy()
    for label in SIDES.values():
        side = morphology.fill_cavities(morphology.close(labels == label, CLOSING_MM, spacing))
        out[side & (out == 0)] = label
    return out


def _filled(
    volume: Volume, mask: np.ndarray, box: tuple[slice, slice, slice], state: Collapse,
    generator: np.random.Generator,
) -> tuple[np.ndarray, float]:
    """New HU of the box and the ratio of the lung's mass after to before."""
    from scipy import ndimage

    old = volume.array[box].astype(np.float32)
    parenchyma = float(np.median(old[mask]))
    cube = np.ones((3, 3, 3), bool)
    # Voxels at the outer face hold chest wall: as lung they count as parenchyma, as wall by their share.
    outer = mask & ~ndimage.binary_erosion(mask, cube) & (state.depth > 0.5)
    lung_only = np.where(mask & ~outer, old, parenchyma)
    start = np.array([s.start for s in box])[:, None]
    index = volume.world_to_index(state.source).T[::-1] - start
    sampled = ndimage.map_coordinates(lung_only, index, order=1, mode="constant", cval=parenchyma)
    share = state.edge[state.kept]
    mass = float((lung_only[mask] - AIR_HU).sum())
    density = _compressed(sampled - AIR_HU, state.ratio, share, mass)
    # Across the pleura: partial volume, and the line itself, 0.4 mm of tissue seen through one voxel.
    line = PLEURA_MM / min(volume.spacing) * (TISSUE_HU - AIR_HU) * 4.0 * share * (1.0 - share)
    thin = np.minimum(share * density + line, np.maximum(density, TISSUE_HU - AIR_HU))
    new = old.copy()
    noise = _noise(old, generator)
    new[state.air] = AIR_HU + noise[state.air]
    new[state.kept] = AIR_HU + thin + np.where(state.air[state.kept], noise[state.kept] * (1 - share), 0.0)
    wall = np.clip((old - parenchyma) / (TISSUE_HU - parenchyma), 0.0, 1.0)
    rim = ndimage.binary_dilation(state.air, cube) & (~mask | (outer & state.air))
    new[rim] = (wall * np.maximum(old, TISSUE_HU) + (1.0 - wall) * (AIR_HU + noise))[rim]
    new[rim] = np.minimum(new[rim], np.maximum(old[rim], AIR_HU))
    floor = min(float(volume.array.min()), -1024.0)
    return np.maximum(new, floor), float((share * density).sum()) / max(mass, 1e-6)


def _compressed(density: np.ndarray, ratio: np.ndarray, share: np.ndarray, mass: float) -> np.ndarray:
    """HU + 1000 after compression: density x sqrt(ratio) x k, at most tissue; k keeps the mass.

    What was denser than tissue before (contrast, calcification) stays as it was.
    """
    cap = TISSUE_HU - AIR_HU
    base = np.maximum(density, 0.0) * np.sqrt(ratio)

    def at(k: float) -> np.ndarray:
        return np.where(density > cap, density, np.minimum(base * k, cap))

    low, high = 0.01, 100.0
    for _ in range(24):
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if float((share * at(middle)).sum()) < mass else (low, middle)
    return at(high)


def _noise(hu: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Noise of the CT's own size: neighbouring voxels differ as they do in its soft tissue (0 to 80 HU)."""
    from scipy import ndimage

    raw = ndimage.gaussian_filter(generator.standard_normal(hu.shape, dtype=np.float32), 0.5)
    pairs = (hu[:, :, 1:] > 0) & (hu[:, :, 1:] < 80) & (hu[:, :, :-1] > 0) & (hu[:, :, :-1] < 80)
    steps = np.abs(np.diff(hu, axis=2)[pairs])
    wanted = float(np.median(steps)) if steps.size > 100 else 0.0
    return raw * (wanted / float(np.median(np.abs(np.diff(raw, axis=2)))))
