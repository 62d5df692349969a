"""Lungs of the chest phantom: their space, a pneumothorax of known volume, parenchyma, vessels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xrecon.physics import chest_anatomy as anatomy
from xrecon.physics.chest_anatomy import LEFT, RIGHT, Build
from xrecon.physics.chest_canvas import AIR_HU, Canvas, ellipsoid_distance, oval_distance
from xrecon.physics.chest_parts import BLOOD_HU, MUSCLE_HU, mediastinum
from xrecon.physics.chest_vessels import paint_tree
from xrecon.volume import InputError

# Where arteries and veins enter, (x, y, z) in mm.
_HILA = {
    RIGHT: ((-36.0, 10.0, 14.0), (-44.0, 4.0, -2.0)),
    LEFT: ((42.0, 20.0, 24.0), (46.0, 8.0, 4.0)),
}
_TWIGS = (430, 330)  # ends of the arterial and of the venous tree of one lung
# A collapsed lung keeps at least this share of its space.
SMALLEST_LUNG = 0.25
PLEURA_MM = 1.0


@dataclass(frozen=True, eq=False)
class Pleura:
    """The space of one lung on the grid.

    distance: signed distance (mm) to its surface, negative inside.
    depth: mm from the chest wall (flank, front, back, apex), not from heart or diaphragm.
    """

    distance: np.ndarray
    depth: np.ndarray


def cage_distance(canvas: Canvas) -> np.ndarray:
    """Signed in-plane distance (mm) to the inner surface of the rib cage, negative inside."""
    width, middle, depth = (v.astype(np.float32) for v in anatomy.cage(canvas.z))
    return oval_distance(canvas.x, canvas.y - middle, width, depth, anatomy.CAGE_POWER)


def mediastinum_distance(canvas: Canvas, build: Build, margin: float = 4.0) -> np.ndarray:
    """Signed distance (mm, negative inside) to the organs between the lungs with their fat."""
    import edt
    from scipy.ndimage import gaussian_filter

    copy = canvas.blank()
    for part in mediastinum(build):
        part.draw(copy, -AIR_HU, margin)
    solid = np.ascontiguousarray(copy.hu > 0)
    distance = edt.edt(~solid, anisotropy=canvas.spacing) - edt.edt(solid, anisotropy=canvas.spacing)
    return gaussian_filter(distance, 1.0)


def pleural_space(
    canvas: Canvas, cage: np.ndarray, dome: np.ndarray, between: np.ndarray, bone: np.ndarray, side: int
) -> Pleura:
    """The space of the lung of one side: inside the cage, above the diaphragm, beside the mediastinum.

    bone: mask of the skeleton, which may bulge into the cage; it is left out.
    """
    leaning = canvas.y - 0.10 * (canvas.z - 30.0)  # the apex lies further back than the lung below it
    apex = ellipsoid_distance((canvas.x, leaning, canvas.z), (side * 50.0, 0.0, 30.0), (78.0, 100.0, 102.0))
    apex = np.where(canvas.z > 30.0, apex, -1e3)
    wall = np.maximum(cage + PLEURA_MM, apex).astype(np.float32)
    distance = np.maximum(wall, (dome - canvas.z) * 0.75)
    distance = np.maximum(distance, -between)
    # the lungs meet behind the sternum without touching; fat keeps them further apart below and behind
    apart = 1.6 + 12.0 * np.clip(canvas.y / 50.0, 0.0, 1.0) ** 2
    apart = apart + 9.0 * np.clip(-(canvas.z + 20.0) / 50.0, 0.0, 1.0) ** 2
    # the anterior junction runs down to the left, and is nowhere plane
    junction = -0.07 * canvas.z + 9.0 * np.sin(canvas.y / 15.0 + canvas.z / 60.0)
    distance = np.maximum(distance, apart - side * (canvas.x - junction))
    distance = np.where(bone, np.maximum(distance, canvas.voxel / 2), distance)
    return Pleura(distance.astype(np.float32), -wall)


def pneumothorax_mask(canvas: Canvas, pleura: Pleura, voxels: int) -> np.ndarray:
    """The `voxels` voxels of the pleural space that air fills first: before and above the lung.

    The air lies against the chest wall; the cleft is widest at front and apex and tapers to nothing
    at the back and base. Choosing voxels by rank makes the volume exact to one voxel.
    """
    inside = pleura.distance < 0
    available = int(np.count_nonzero(inside))
    if voxels > (1.0 - SMALLEST_LUNG) * available:
        raise InputError(
            f"expected a pneumothorax of at most {(1.0 - SMALLEST_LUNG) * 100:.0f} % of the pleural space, "
            f"got {voxels / max(available, 1) * 100:.0f} %"
        )
    if voxels == 0:
        return np.zeros_like(inside)
    front = np.clip(-canvas.y / 80.0, -1.0, 1.0)
    upper = np.clip((canvas.z - 10.0) / 110.0, -1.0, 1.0)
    reach = np.clip(0.22 + 0.55 * front + 0.60 * upper, 0.015, None)
    # 1 mm more depth everywhere keeps single voxels that graze the wall out of the back
    order = np.where(inside, (pleura.depth + 1.0) / reach, np.inf).astype(np.float32)
    chosen = np.argpartition(order.ravel(), voxels - 1)[:voxels]
    mask = np.zeros(inside.size, dtype=bool)
    mask[chosen] = True
    return mask.reshape(inside.shape)


def paint_lung(
    canvas: Canvas,
    pleura: Pleura,
    air: np.ndarray,
    side: int,
    build: Build,
    random: np.random.Generator,
    texture: np.ndarray,
) -> None:
    """Parenchyma, fissures and vessels of one lung, its pleural air and the visceral pleura.

    air: mask of the pneumothorax. A collapsed lung keeps its mass, so it is denser. `texture`
    is N(0, 1) noise on the grid.
    """
    import edt

    inside = pleura.distance < 0
    lung = inside & ~air
    kept = np.count_nonzero(lung) / max(np.count_nonzero(inside), 1)
    aerated = build.lung_hu + 0.32 * canvas.y + 17.0 * texture
    collapsed = AIR_HU + (aerated - AIR_HU) / kept
    canvas.fill(pleura.distance, np.minimum(collapsed, 0.0))
    cover = canvas.coverage(pleura.distance)
    if air.any():
        canvas.paint(np.where(inside, air, 0.0) * cover, AIR_HU)
        # the visceral pleura: a line of 1 mm between lung and air
        gap = edt.edt(np.ascontiguousarray(~air), anisotropy=canvas.spacing) - canvas.voxel / 2
        canvas.paint(lung * canvas.coverage(np.abs(gap - 0.4) - 0.5) * 0.8, MUSCLE_HU)
    where = (lung * cover).astype(np.float32)
    _paint_fissures(canvas, side, where)
    for root, count, hu in zip(_HILA[side], _TWIGS, (BLOOD_HU, BLOOD_HU), strict=True):
        targets = _random_points(canvas, lung, count, random)
        if len(targets):
            paint_tree(canvas, np.array(root), targets, hu, random, where)


def _paint_fissures(canvas: Canvas, side: int, where: np.ndarray) -> None:
    slope = np.array([0.0, 0.72, 0.69])  # normal of the oblique fissure: high behind, low in front
    oblique = canvas.y * slope[1] - canvas.z * -slope[2] - 6.0
    bulge = 0.003 * (side * canvas.x - 50.0) ** 2
    canvas.paint(where * canvas.coverage(np.abs(oblique - bulge) - 0.3) * 0.15, 0.0)
    if side == RIGHT:
        minor = np.abs(canvas.z - 8.0 + 0.003 * (canvas.x + 60.0) ** 2) - 0.3
        canvas.paint(where * canvas.coverage(minor) * (oblique < 0) * 0.15, 0.0)


def _random_points(canvas: Canvas, mask: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """Up to `count` random LPS points (n, 3) in the mask, the same ones whatever the grid's fineness."""
    axes = [a.ravel() for a in (canvas.x, canvas.y, canvas.z)]
    lows, highs = np.array([-130.0, -100.0, -150.0]), np.array([130.0, 100.0, 135.0])
    points = random.uniform(lows, highs, size=(count * 12, 3))
    index = [np.round((points[:, k] - axes[k][0]) / canvas.spacing[::-1][k]).astype(int) for k in range(3)]
    valid = np.all([(i >= 0) & (i < len(a)) for i, a in zip(index, axes, strict=True)], axis=0)
    points, index = points[valid], [i[valid] for i in index]
    return points[mask[index[2], index[1], index[0]]][:count]
