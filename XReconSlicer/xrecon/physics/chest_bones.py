"""Bones and cartilage of the chest phantom: cortex outside, spongy bone inside."""

from __future__ import annotations

import numpy as np

from xrecon.physics import chest_anatomy as anatomy
from xrecon.physics.chest_anatomy import LEFT, RIGHT
from xrecon.physics.chest_canvas import Canvas, oval_distance, smooth_line

CORTEX_HU, SPONGY_HU, ARCH_HU, DISC_HU, CANAL_HU, CARTILAGE_HU = 1050.0, 230.0, 300.0, 95.0, 25.0, 115.0


def paint_bones(canvas: Canvas, density: float) -> None:
    """Everything; `density` scales the CT numbers of bone."""
    paint_spine(canvas, density)
    for side in (RIGHT, LEFT):
        for number in range(1, 13):
            if number <= 10:
                line = anatomy.cartilage(number, side)
                radii = np.full(len(line), 6.0)
                canvas.tube(line, radii, CARTILAGE_HU, flat=anatomy.outward(line), flat_radius=4.0)
            paint_rib(canvas, number, side, density)
        paint_scapula(canvas, side, density)
        paint_shoulder(canvas, side, density)
    paint_sternum(canvas, density)


def paint_rib(canvas: Canvas, number: int, side: int, density: float) -> None:
    """A flat rib, higher than thick; the first lies flat, broad side up."""
    line = anatomy.rib(number, side)
    flat = anatomy.outward(line)
    if number == 1:
        flat = np.tile([0.0, -0.5, 1.0], (len(line), 1))
    high = np.full(len(line), 6.6 if number < 11 else 5.2)
    high[:3] = 4.6  # the neck of the rib
    for inset, hu in ((0.0, CORTEX_HU), (1.8, SPONGY_HU)):
        canvas.tube(line, high - inset, hu * density, flat=flat, flat_radius=3.6 - inset)


def paint_spine(canvas: Canvas, density: float) -> None:
    """Bodies, discs, canal, arches, transverse and spinous processes."""
    heights = np.linspace(181.0, -181.0, 60)
    middle = anatomy.spine_y(heights)
    canvas.tube(np.column_stack([0 * heights, middle, heights]), 13.0, DISC_HU)
    for index, z in enumerate(anatomy.VERTEBRAE_Z):
        above = anatomy.VERTEBRAE_Z[index - 1] if index else z + 15.0
        _paint_vertebra(canvas, z, index, (above - z) * 0.78, density)
    canal = np.column_stack([0 * heights, middle + _half_depth(heights) + 7.5, heights])
    canvas.tube(canal, 7.0, CANAL_HU)


def _half_depth(z: np.ndarray | float) -> np.ndarray:
    return np.interp(z, (-182.0, 182.0), (15.0, 8.0))


def _paint_vertebra(canvas: Canvas, z: float, index: int, height: float, density: float) -> None:
    y, deep = float(anatomy.spine_y(z)), float(_half_depth(z))
    wide = float(np.interp(z, (-182.0, 120.0, 182.0), (22.0, 14.5, 12.0)))
    window = canvas.window((-wide - 3, y - deep - 3, z - height), (wide + 3, y + deep + 3, z + height))
    xs, ys, zs = canvas.coordinates(window)
    # the waist of the body between its end plates
    waist = 1.0 - 0.10 * np.clip(1.0 - (2 * (zs - z) / height) ** 2, 0.0, 1.0)
    around = oval_distance(xs, ys - y, wide * waist, deep * waist, 2.6)
    body = np.maximum(around, np.abs(zs - z) - height / 2)
    canvas.fill(body, 800.0 * density, window)
    canvas.fill(body + 1.6, SPONGY_HU * density, window)
    arch, back = ARCH_HU * density, y + deep
    thoracic = anatomy.FIRST_THORACIC <= index < anatomy.FIRST_THORACIC + 12
    for side in (RIGHT, LEFT):
        pedicle, lamina = (side * wide * 0.62, back - 2, z + 2), (side * 11.5, back + 9, z + 1)
        canvas.tube(smooth_line([pedicle, lamina, (0.0, back + 19, z - 5)], 9), 3.2, arch)
        reach = 31.0 if thoracic else 36.0
        tip = (side * reach, back + (16.0 if thoracic else 8.0), z + 3)
        canvas.tube(np.array([(side * 11.0, back + 9, z + 1), tip]), 3.4, arch)
    slope = 17.0 if thoracic else 7.0
    spinous = np.array([(0.0, back + 18 + 21 * t, z - 5 - slope * t) for t in (0.0, 0.5, 1.0)])
    canvas.tube(spinous, 4.2, arch * 0.8, flat=np.tile([1.0, 0.0, 0.0], (3, 1)), flat_radius=2.0)


def paint_sternum(canvas: Canvas, density: float) -> None:
    """Manubrium, body and xiphoid as a flat plate before the cage."""
    z = np.linspace(104.0, -44.0, 30)
    line = np.column_stack([0 * z, anatomy.cage_front(0 * z, z, 5.5), z])
    width = np.interp(z, (-44, -30, -22, 40, 62, 70, 96, 104), (5, 7, 18, 15, 12, 20, 24, 17))
    front = np.tile([0.0, 1.0, 0.0], (len(z), 1))
    canvas.tube(line, width, 420.0 * density, flat=front, flat_radius=5.5)
    canvas.tube(line, width - 1.4, 160.0 * density, flat=front, flat_radius=4.2)


def paint_shoulder(canvas: Canvas, side: int, density: float) -> None:
    """Clavicle, acromion, head and shaft of the raised humerus."""
    clavicle = [(20, -54, 103), (46, -62, 112), (78, -48, 124), (108, -20, 134), (132, 8, 141)]
    line = smooth_line([(side * x, y, z) for x, y, z in clavicle], 24)
    thickness = np.interp(np.arange(24), (0, 5, 16, 23), (8.5, 6.0, 5.6, 6.6))
    canvas.tube(line, thickness, CORTEX_HU * 1.15 * density)
    canvas.tube(line, thickness - 2.4, SPONGY_HU * density)
    canvas.ellipsoid((side * 150.0, 12.0, 124.0), (23.0, 22.0, 23.0), 600.0 * density)
    canvas.ellipsoid((side * 150.0, 12.0, 124.0), (21.0, 20.0, 21.0), 210.0 * density)
    shaft = np.array([(side * 156.0, 8.0, 136.0), (side * 198.0, -14.0, 200.0)])
    canvas.tube(shaft, np.array([15.0, 11.0]), CORTEX_HU * 1.2 * density)
    canvas.tube(shaft, np.array([11.5, 6.0]), 60.0)


def paint_scapula(canvas: Canvas, side: int, density: float) -> None:
    """A thin curved triangle over ribs 2 to 8 with thick borders, its spine and glenoid."""
    low, high = sorted((side * 20.0, side * 175.0))
    window = canvas.window((low, -60.0, -50.0), (high, 130.0, 135.0))
    xs, ys, zs = canvas.coordinates(window)
    width = np.interp(zs, (-40, 60, 100, 140), (139.0, 141.0, 138.0, 132.0)).astype(np.float32)
    middle = np.interp(zs, (-40, 60, 140), (0.0, 4.0, 8.0)).astype(np.float32)
    depth = np.interp(zs, (-40, 0, 60, 140), (108.0, 108.0, 98.0, 84.0)).astype(np.float32)
    sheet = oval_distance(xs, ys - middle, width, depth, 2.3)
    arc = np.arctan2(side * xs / width, (ys - middle) / depth) * 112.0
    corners = np.array([(74.0, 112.0), (122.0, -22.0), (182.0, 112.0)])  # (arc, z) in mm
    inside = np.full(np.broadcast_shapes(arc.shape, zs.shape), -np.inf, dtype=np.float32)
    for first, second in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        edge = (second - first) / np.linalg.norm(second - first)
        inside = np.maximum(inside, edge[0] * (first[1] - zs) - edge[1] * (first[0] - arc))
    thick = 1.7 + 2.6 * np.exp(-((inside / 5.0) ** 2))
    canvas.fill(np.maximum(np.abs(sheet) - thick, inside), 640.0 * density, window)
    ridge = [(70, 92, 88), (100, 84, 104), (128, 62, 124), (146, 36, 146), (140, 14, 148)]
    line = smooth_line([(side * x, y, z) for x, y, z in ridge], 20)
    canvas.tube(line, np.linspace(3.5, 6.5, 20), 600.0 * density)
    canvas.ellipsoid((side * 128.0, 28.0, 116.0), (9.0, 16.0, 18.0), 450.0 * density)
