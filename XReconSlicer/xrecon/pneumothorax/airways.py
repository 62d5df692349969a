"""Trachea and main bronchi by classical image processing, for taking them out of the lungs."""

from __future__ import annotations

import cc3d
import numpy as np

from xrecon.pneumothorax import morphology

# A tracheal cross-section in mm2; adults have 150 to 400, main bronchi 80 to 250.
SECTION_MM2 = (30.0, 900.0)
MIN_TRACHEA_LENGTH_MM = 20.0
MIDLINE_MM = 45.0
LUMEN_HU = range(-960, -700, 20)
MAX_TREE_ML = 150.0
MAX_STEP_ML = 15.0
MAX_STEP_SHARE = 0.4


def _flat_components(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """4-connected components of every axial slice, numbered through the volume, and their sizes."""
    from scipy import ndimage

    flat = np.zeros((3, 3, 3), bool)
    flat[1] = ndimage.generate_binary_structure(2, 1)
    labels, _ = ndimage.label(mask, structure=flat)
    return labels, np.bincount(labels.reshape(-1))


def trachea_chain(
    hu: np.ndarray, air: np.ndarray, spacing: tuple[float, float, float], middle_x: float
) -> np.ndarray:
    """The stack of small round air sections most like a trachea: long, dark, near the midline.

    hu, air: (z superior, y posterior, x left); middle_x: index of the body's middle plane.
    Returns a mask, empty when nothing qualifies (a scan that starts below the carina).
    """
    labels, sizes = _flat_components(air)
    area = sizes * spacing[1] * spacing[2]
    small = (area >= SECTION_MM2[0]) & (area <= SECTION_MM2[1])
    small[0] = False
    chains, count = cc3d.connected_components(
        small[labels].astype(np.uint8), connectivity=6, return_N=True
    )
    if count == 0:
        return np.zeros(air.shape, bool)
    stats = cc3d.statistics(chains)
    voxels, boxes, centers = (stats[k][1:] for k in ("voxel_counts", "bounding_boxes", "centroids"))
    total = np.bincount(chains.reshape(-1), weights=np.clip(hu, -1024, 0).reshape(-1))[1:]
    length = np.array([(box[0].stop - box[0].start) * spacing[0] for box in boxes])
    reach = np.flatnonzero(air.any(axis=(1, 2)))
    in_upper_half = np.array([box[0].stop for box in boxes]) > reach.mean()
    off = np.abs(centers[:, 2] - middle_x) * spacing[2]
    darkness = np.clip((-total / voxels - 600.0) / 400.0, 0.0, 1.0)
    score = length * darkness * np.exp(-0.5 * (off / (MIDLINE_MM / 2)) ** 2)
    score[(length < MIN_TRACHEA_LENGTH_MM) | ~in_upper_half | (off > MIDLINE_MM)] = 0.0
    best = int(np.argmax(score))
    return (chains == best + 1) if score[best] > 0 else np.zeros(air.shape, bool)


def airway_tree(hu: np.ndarray, chain: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    """The air that a trachea chain reaches below a lumen threshold, raised until it would leak.

    The threshold climbs from -960 HU in steps of 20; growth stops before the step in which the tree
    exceeds 150 ml or, after the first, gains more than 15 ml and 40 % at once (a leak into the lungs):
    region growing with explosion control.
    """
    if not chain.any():
        return chain
    voxel_ml = float(np.prod(spacing)) / 1000.0
    seeds = chain & (hu < np.percentile(hu[chain], 30.0))
    tree = seeds
    for lumen in LUMEN_HU:
        labels = cc3d.connected_components(((hu < lumen) | seeds).astype(np.uint8), connectivity=6)
        keep = np.zeros(int(labels.max()) + 1, bool)
        keep[labels[seeds]] = True
        keep[0] = False
        grown = keep[labels]
        before, after = (float(m.sum()) * voxel_ml for m in (tree, grown))
        leaks = after - before > max(MAX_STEP_ML, MAX_STEP_SHARE * before) and lumen != LUMEN_HU[0]
        if after > MAX_TREE_ML or leaks:
            break
        tree = grown
    return tree | chain


def central_airways(
    tree: np.ndarray, spacing: tuple[float, float, float], radius_mm: float = 2.0
) -> np.ndarray:
    """The wide part of the tree (trachea, main bronchi) with about one voxel of wall around it."""
    wide = morphology.open_(tree, radius_mm, spacing)
    return morphology.dilate(morphology.largest(wide, connectivity=26), 1.5, spacing)
