"""Where free pleural air can be: the lungs, and enclosed air beside them that the lung mask left out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xrecon.pneumothorax import airways, morphology

# Half-way between air and soft tissue: what is darker is mostly air.
DARK_HU = -480.0
# Balls that may seal openings of the body, tried one after the other, mm.
SEALS_MM = (0.0, 4.0, 8.0, 12.0, 16.0)
# A flood of the outside air that reaches this share of the lungs went through the chest wall or a cut edge.
MAX_LEAK_SHARE = 0.02
LUNG_CLOSING_MM = 4.0
AIRWAY_ML = (3.0, 200.0)
# Air outside the lung mask belongs to the pleural space when this share of its surface lies on the lungs.
TOUCHING_SHARE = 0.10


@dataclass(frozen=True)
class Surroundings:
    """Masks on the coarse grid. outside: air around the patient. airway: trachea and main bronchi.
    enclosed: dark and neither. leak: share of the lungs that the flood took before sealing.
    seal_mm: ball that stopped it; None when none did."""

    outside: np.ndarray
    airway: np.ndarray
    enclosed: np.ndarray
    leak: float
    seal_mm: float | None


def surroundings(
    hu: np.ndarray, lungs: np.ndarray, spacing: tuple[float, float, float], with_airways: bool = True
) -> Surroundings:
    """Outside air, large airways and enclosed air of a coarse CT; `lungs` is never outside air."""
    dark = hu < DARK_HU
    first_leak, outside, seal = 0.0, np.zeros(hu.shape, bool), None
    for number, ball in enumerate(SEALS_MM):
        open_air = dark if ball == 0 else ~morphology.close(~dark, ball, spacing)
        outside = _from_the_sides(open_air)
        leak = float((outside & lungs & dark).sum()) / max(float(lungs.sum()), 1.0)
        first_leak = leak if number == 0 else first_leak
        if leak <= MAX_LEAK_SHARE:
            seal = ball
            break
    if seal:  # the closing kept the flood away from the skin's hollows: they are outside air too
        reach = morphology.dilate(outside, seal + 2.0 * max(spacing), spacing)
        outside = outside | (dark & reach & ~morphology.dilate(lungs, 2.0 * max(spacing), spacing))
    outside &= ~lungs
    inner = dark & ~outside
    airway = _airway(hu, inner, spacing) if with_airways else np.zeros(hu.shape, bool)
    return Surroundings(outside, airway, inner & ~airway, first_leak, seal)


def _from_the_sides(air: np.ndarray) -> np.ndarray:
    """Air that reaches a lateral face of the scan (x or y); top and bottom are cuts through the body."""
    labels, sizes = morphology.label_components(air, connectivity=6)
    keep = np.zeros(sizes.size, bool)
    for face in (labels[:, 0], labels[:, -1], labels[:, :, 0], labels[:, :, -1]):
        keep[np.unique(face)] = True
    keep[0] = False
    return keep[labels]


def _airway(hu: np.ndarray, inner: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    """Trachea and main bronchi with their walls, or an empty mask."""
    middle = float(np.average(np.arange(hu.shape[2]), weights=inner.sum(axis=(0, 1)) + 1e-9))
    chain = airways.trachea_chain(hu, inner, spacing, middle)
    if not chain.any():
        return chain
    tree = airways.airway_tree(hu, chain, spacing)
    central = airways.central_airways(tree, spacing)
    ml = float(central.sum() * np.prod(spacing)) / 1000.0
    return central if AIRWAY_ML[0] <= ml <= AIRWAY_ML[1] else np.zeros(hu.shape, bool)


def missed_air(
    enclosed: np.ndarray, lungs: np.ndarray, spacing: tuple[float, float, float], minimum_ml: float
) -> np.ndarray:
    """Enclosed air outside the lung mask whose surface lies on the lungs over a large part.

    Air of the bowel or under the skin is separated from the lungs by diaphragm or chest wall.
    """
    free = enclosed & ~lungs
    # What is left is a shell of partial volume around the lungs, and airways: opened away.
    cores = morphology.open_(free, max(spacing), spacing)
    labels, sizes = morphology.label_components(cores, connectivity=6)
    voxel_ml = float(np.prod(spacing)) / 1000.0
    out = np.zeros(free.shape, bool)
    near = morphology.dilate(lungs, 1.5 * max(spacing), spacing)
    for number in np.flatnonzero(sizes[1:] * voxel_ml > minimum_ml) + 1:
        piece = labels == number
        shell = morphology.dilate(piece, 1.0 * max(spacing), spacing) & ~piece
        if (shell & near).sum() >= TOUCHING_SHARE * shell.sum():
            out |= piece
    if not out.any():
        return out
    return morphology.dilate(out, 2.0 * max(spacing), spacing) & free


def room_of(lungs: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    """The lung mask closed by 4 mm, so that vessels at its edge belong to it."""
    return morphology.close(lungs, LUNG_CLOSING_MM, spacing)
