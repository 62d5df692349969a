"""Synthetic emphysema: clusters of low density and bullae in a healthy lung, for tests and training."""

from __future__ import annotations

import numpy as np

from xrecon.pneumothorax import morphology
from xrecon.pneumothorax.collapse_rays import positions
from xrecon.pneumothorax.grids import SIDES, require_hu, require_lungs
from xrecon.pneumothorax.scanner import make_noise, measure_grain
from xrecon.volume import InputError, Quantity, Volume

# What destroyed lung is: nearly air, some septa and vessels left.
LOW_HU = -975.0
BULLA_HU = -992.0
SEPTUM_HU = -900.0
# Radii of the centrilobular spots as standard deviation of the field they are cut from, mm: fine and coarse.
CLUSTER_MM = (1.8, 5.0)
BULLA_RADII_MM = (6.0, 28.0)
LAA_RANGE = (0.01, 0.7)


def add_emphysema(
    volume: Volume, lungs: Volume, share: float = 0.2, bullae: int = 4, seed: int = 0
) -> tuple[Volume, Volume]:
    """(CT with emphysema in both lungs, labels 1 low-density cluster, 2 bulla).

    volume: HU on any grid; lungs: labels 1 right, 2 left on the same grid. share: of the lungs that becomes
    low-density clusters, 0.01 to 0.7, apical more than basal: spots of some mm that join at higher shares,
    vessels spared. bullae: number per lung of thin-walled round spaces of 6 to 28 mm radius, mostly at the
    pleura, cut off at the lung's face. The clusters lie near -975 HU, bullae near -992 HU without vessels,
    both with the noise of the CT; -950 HU splits them from the lung (LAA950).
    Returns float32 HU, clipped below at the CT's own minimum or -1024, and uint8 labels.
    Raises InputError for a wrong option, other grids or labels, or empty lungs.
    """
    require_hu(volume)
    label_array = require_lungs(lungs, volume)
    if not LAA_RANGE[0] <= share <= LAA_RANGE[1]:
        raise InputError(f"expected a share of emphysema from {LAA_RANGE[0]} to {LAA_RANGE[1]}, got {share}")
    if bullae < 0:
        raise InputError(f"expected 0 bullae or more, got {bullae}")
    if not label_array.any():
        raise InputError("expected lungs in the lung mask, got an empty mask")
    generator = np.random.default_rng([seed, 77])
    box = morphology.grown_box(label_array > 0, (2, 2, 2))
    sides = label_array[box]
    hu = volume.array[box].astype(np.float32)
    noise = make_noise(measure_grain(hu), hu.shape, generator)
    where = positions(volume, box)
    lost = _clusters(hu, sides > 0, where[..., 2], share, volume.spacing, generator)
    blebs, walls = _bullae(sides, where, bullae, min(volume.spacing), generator)
    new = hu + lost * (np.minimum(LOW_HU + 0.6 * noise, hu) - hu)
    new = np.where(walls > 0, np.maximum(new, SEPTUM_HU * walls + new * (1.0 - walls)), new)
    new = new + blebs * (BULLA_HU + noise - new)
    # At the face the wall's share of a voxel stays what it was.
    kept = np.clip((hu + 700.0) / 400.0, 0.0, 1.0)
    new = kept * hu + (1.0 - kept) * new
    marks = np.zeros(volume.shape, np.uint8)
    marks[box] = np.where(blebs >= 0.5, 2, np.where(lost >= 0.5, 1, 0))
    marks[box][(sides == 0) | (kept >= 0.5)] = 0
    array = volume.array.astype(np.float32)
    floor = min(float(volume.array.min()), -1024.0)
    array[box] = np.where(sides > 0, np.maximum(new, floor), hu)
    meta = {"emphysema": f"{share:g}", "bullae": str(bullae), "emphysema_seed": str(seed)}
    return volume.with_array(array, **meta), volume.with_array(marks, Quantity.LABEL, **meta)


def _clusters(
    hu: np.ndarray, inside: np.ndarray, height: np.ndarray, share: float, spacing: tuple[float, ...],
    generator: np.random.Generator,
) -> np.ndarray:
    """How much of each voxel is destroyed, 0..1: a random field cut where the wanted share lies above."""
    from scipy import ndimage

    field = np.zeros(hu.shape, np.float32)
    for reach_mm, weight in zip(CLUSTER_MM, (1.0, 0.8), strict=True):
        raw = generator.standard_normal(hu.shape, dtype=np.float32)
        smooth = ndimage.gaussian_filter(raw, [reach_mm / s for s in spacing], mode="wrap")
        field += weight * smooth / max(float(smooth.std()), 1e-6)
    low, high = np.percentile(height[inside], [2.0, 98.0])
    field += 1.2 * (height - low) / max(high - low, 1.0)
    # Vessels and walls resist: what is denser than the lung around is spared.
    field -= np.clip((ndimage.gaussian_filter(hu, 0.7) + 780.0) / 60.0, 0.0, 6.0)
    level = np.quantile(field[inside], 1.0 - share)
    return np.clip((field - level) / 0.5 + 0.5, 0.0, 1.0)


def _bullae(
    sides: np.ndarray, where: np.ndarray, number: int, step: float, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(Share of bulla, share of its wall) per voxel: round spaces at the pleura, mostly apical."""
    from scipy import ndimage

    blebs, walls = np.zeros(sides.shape, np.float32), np.zeros(sides.shape, np.float32)
    for label in SIDES.values():
        side = sides == label
        if number == 0 or not side.any():
            continue
        face = np.argwhere(side & ~ndimage.binary_erosion(side))
        height = where[tuple(face.T)][:, 2]
        chance = np.exp(2.0 * (height - height.min()) / max(float(np.ptp(height)), 1.0))
        centers = face[generator.choice(len(face), number, p=chance / chance.sum())]
        for center in where[tuple(centers.T)]:
            radius = float(np.exp(generator.uniform(*np.log(BULLA_RADII_MM))))
            stretch = np.exp(generator.normal(0.0, 0.2, 3)).astype(np.float32)
            reach = radius / float(stretch.min()) + 3.0 * step
            near = np.nonzero(side & (np.abs(where - center) <= reach).all(axis=-1))
            distance = np.linalg.norm((where[near] - center) * stretch, axis=-1) - radius
            blebs[near] = np.maximum(blebs[near], np.clip(0.5 - distance / step, 0.0, 1.0))
            wall = np.exp(-0.5 * ((distance - 0.3 * step) / (0.5 * step)) ** 2)
            walls[near] = np.maximum(walls[near], wall)
    return blebs, walls * (blebs < 0.5)
