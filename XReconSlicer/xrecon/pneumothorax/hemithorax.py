"""The space a lung fills, to the half of a voxel, and the chest wall's share in the voxels at its face."""

from __future__ import annotations

from dataclasses import dataclass

import edt
import numpy as np

from xrecon.pneumothorax import morphology
from xrecon.pneumothorax.grids import SIDES

CLOSING_MM = 4.0
# The wall counts as this dense where it meets the lung: between fat and muscle.
WALL_HU = 0.0
# The face reaches so many standard deviations of the scanner's blur: whole up to the first, none from the
# second.
FACE_REACH = (2.0, 3.5)
LEAST_BLUR = 0.4


@dataclass(frozen=True)
class Face:
    """One side as the scanner shows it, arrays (z, y, x).

    inside: the side. wall: share of chest wall, about 0 deep in the lung, 1 in the wall, noise of the CT
    included; texture of the lung that is not at its face does not count. taken: share 0..1 of the CT's noise
    that `wall` carries. lung: the CT with the wall's share replaced by the lung nearby, also beyond the side.
    """

    inside: np.ndarray
    wall: np.ndarray
    taken: np.ndarray
    lung: np.ndarray


def whole_sides(labels: np.ndarray, hu: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    """Labels 1, 2 closed by 4 mm with their cavities filled, so that vessels belong to the lung, and their
    faces moved by at most one voxel to where the CT lies half between lung and wall.

    No voxel changes sides. Masks that end early or run into the wall would else put the truth off by a voxel.
    """
    from scipy import ndimage

    out = labels.copy()
    for label in SIDES.values():
        side = morphology.fill_cavities(morphology.close(labels == label, CLOSING_MM, spacing))
        out[side & (out == 0)] = label
    for label in SIDES.values():
        side = out == label
        if not side.any():
            continue
        box = morphology.grown_box(side, (2, 2, 2))
        here, values = side[box], hu[box]
        half = (float(np.median(values[here])) + WALL_HU) / 2.0
        ring = here & ~ndimage.binary_erosion(here)
        near = ndimage.binary_dilation(here) & ~here & (out[box] == 0)
        out[box][ring & (values >= half)] = 0
        out[box][near & (values < half)] = label
    return out


def find_face(
    hu: np.ndarray, inside: np.ndarray, blur_mm: tuple[float, ...], spacing: tuple[float, ...]
) -> Face:
    """The face of one side `inside` in its box; blur_mm as `scanner.measure_blur` gives it."""
    from scipy import ndimage

    sigma = [max(b, LEAST_BLUR * s) for b, s in zip(blur_mm, spacing, strict=True)]
    scaled = tuple(s / b for s, b in zip(spacing, sigma, strict=True))
    within = edt.edt(np.ascontiguousarray(inside), anisotropy=scaled, black_border=False)
    beyond = edt.edt(np.ascontiguousarray(~inside), anisotropy=scaled, black_border=False)
    low, high = FACE_REACH
    taken = np.clip((high - within) / (high - low), 0.0, 1.0)
    # Lung nearby: the mean over the parenchyma within some millimetres, weighted, wherever there is any.
    core = inside & (within > low) & (hu < -500.0)
    if not core.any():
        core = inside
    local = _spread(hu, core, spacing)
    wall = (hu - local) / np.maximum(WALL_HU - local, 100.0) * taken
    # Not of this face: the wall itself, what lies far out, dark voxels of the other lung or an airway.
    next_to = ndimage.binary_dilation(inside, np.ones((3, 3, 3), bool))
    foreign = (beyond > high) | (~next_to & (hu < (WALL_HU + local) / 2.0))
    wall = np.where(foreign | ((hu >= WALL_HU) & (taken >= 1.0)), 1.0, np.clip(wall, -0.15, 1.0))
    lung = taken * local + (1.0 - taken) * hu
    return Face(inside, wall.astype(np.float32), taken.astype(np.float32), lung.astype(np.float32))


def _spread(hu: np.ndarray, core: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    """HU of `core` averaged over 4 mm, farther on where none lies so near, the median where none at all."""
    from scipy import ndimage

    out = np.full(hu.shape, float(np.median(hu[core])), np.float32)
    for reach_mm in (16.0, 4.0):
        sigma = [reach_mm / s for s in spacing]
        share = ndimage.gaussian_filter(core.astype(np.float32), sigma, truncate=2.5)
        total = ndimage.gaussian_filter(np.where(core, hu, 0.0).astype(np.float32), sigma, truncate=2.5)
        enough = share > 0.02
        out[enough] = total[enough] / share[enough]
    return out
