"""Organs of the chest phantom, painted from outside to inside: wall, belly, mediastinum, bones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xrecon.physics import chest_anatomy as anatomy
from xrecon.physics.chest_anatomy import LEFT, RIGHT, Build
from xrecon.physics.chest_canvas import Canvas, ellipsoid_distance, oval_distance, smooth_line

FAT_HU, MUSCLE_HU, SKIN_HU, BLOOD_HU, LIVER_HU, CARTILAGE_HU = -100.0, 52.0, 15.0, 42.0, 58.0, 115.0
GAS_HU = -985.0


@dataclass(frozen=True)
class Tube:
    """A round tube through smooth points (x, y, z) with its radius in mm at each."""

    points: tuple[tuple[float, float, float], ...]
    radii: tuple[float, ...]
    hu: float

    def draw(self, canvas: Canvas, hu: float | None = None, extra: float = 0.0) -> None:
        """Paints it, `extra` mm thicker."""
        count = 6 * len(self.points)
        line = smooth_line([(*p, r) for p, r in zip(self.points, self.radii, strict=True)], count)
        canvas.tube(line[:, :3], np.maximum(line[:, 3] + extra, 0.1), self.hu if hu is None else hu)


@dataclass(frozen=True)
class Ball:
    """An ellipsoid; `long_axis` turns its first axis there (LPS)."""

    center: tuple[float, float, float]
    semi_axes: tuple[float, float, float]
    hu: float
    long_axis: tuple[float, float, float] | None = None

    def draw(self, canvas: Canvas, hu: float | None = None, extra: float = 0.0) -> None:
        """Paints it, `extra` mm thicker."""
        rotation = None if self.long_axis is None else frame(self.long_axis)
        axes = tuple(s + extra for s in self.semi_axes)
        canvas.ellipsoid(self.center, axes, self.hu if hu is None else hu, rotation)


def frame(axis: tuple[float, float, float]) -> np.ndarray:
    """A rotation whose first column points along `axis` and whose third is as upright as can be."""
    first = np.array(axis) / np.linalg.norm(axis)
    second = np.cross([0.0, 0.0, 1.0], first)
    second /= np.linalg.norm(second)
    return np.column_stack([first, second, np.cross(first, second)])


_HEART_AXIS = (0.74, -0.46, -0.49)  # base to apex: to the left, forward and down


def heart(scale: float) -> list[Ball]:
    """Ventricles about an axis that points left, forward and down; both atria."""
    parts = [
        ((25, -37, -35), (63, 43, 45), _HEART_AXIS),
        ((-17, -30, -30), (30, 38, 44), None),
        ((4, 2, -4), (36, 25, 24), None),
    ]
    return [Ball(center, tuple(a * scale for a in axes), BLOOD_HU, axis) for center, axes, axis in parts]


GREAT_VESSELS = (
    # aorta: root, ascending, arch to the left and back, descending left of the spine
    Tube(
        ((4, -22, -14), (-13, -28, 12), (-14, -24, 40), (-4, -12, 60), (12, 8, 66), (25, 27, 58),
         (29, 38, 40), (28, 42, 5), (24, 38, -50), (14, 24, -105), (6, 10, -182)),
        (15, 16, 15.5, 15, 14, 13.5, 13, 12.5, 12, 11.5, 10), BLOOD_HU),
    # pulmonary trunk, its right and left branches
    Tube(((18, -46, -8), (20, -30, 16), (14, -6, 26)), (14, 14, 12), BLOOD_HU),
    Tube(((14, -6, 26), (-14, 2, 22), (-34, 8, 16)), (12, 11, 9), BLOOD_HU),
    Tube(((14, -8, 26), (28, 6, 32), (42, 20, 26)), (12, 11, 9), BLOOD_HU),
    # superior vena cava from the brachiocephalic veins; inferior vena cava
    Tube(((-40, -24, 110), (-29, -22, 80), (-27, -16, 40), (-25, -12, 0)), (7, 9, 10, 10), BLOOD_HU),
    Tube(((38, -26, 108), (10, -36, 88), (-27, -22, 78)), (6, 7, 8), BLOOD_HU),
    Tube(((-18, 0, -40), (-18, 6, -90), (-17, 8, -182)), (12, 12, 11), BLOOD_HU),
    # arteries from the arch
    Tube(((-8, -16, 58), (-20, -18, 90), (-24, -14, 130), (-24, -12, 182)), (7, 6.5, 4.5, 4), BLOOD_HU),
    Tube(((4, -6, 64), (12, -10, 100), (22, -10, 182)), (5, 4.5, 4), BLOOD_HU),
    Tube(((16, 8, 64), (26, 4, 100), (60, -8, 128)), (6, 5.5, 5), BLOOD_HU),
    # pulmonary veins
    Tube(((-12, 4, 0), (-30, 4, 2), (-44, 4, 0)), (8, 7, 6), BLOOD_HU),
    Tube(((18, 4, 2), (34, 8, 6), (46, 8, 4)), (8, 7, 6), BLOOD_HU),
    # oesophagus
    Tube(((2, 18, 182), (4, 24, 100), (4, 36, 50), (6, 36, 0), (14, 20, -70), (26, 0, -96)),
         (7, 7, 7, 7, 7, 8), 35.0),
)  # fmt: skip

_TRACHEA = ((0, -16, 182), (0, -8, 130), (-1, 2, 95), (-2, 16, 52))
AIRWAYS = (
    Tube(_TRACHEA, (8.5, 8.5, 8.5, 8.5), GAS_HU),
    # the right main bronchus is steeper, wider and shorter than the left
    Tube(((-2, 16, 54), (-16, 19, 36), (-28, 21, 22), (-34, 22, 2), (-40, 30, -22)),
         (7, 7.2, 6.5, 5, 3.6), GAS_HU),
    Tube(((-22, 20, 30), (-38, 18, 36), (-50, 16, 46)), (5.2, 4.2, 3), GAS_HU),
    Tube(((-2, 16, 54), (18, 22, 38), (38, 26, 22), (46, 34, 0), (52, 42, -20)),
         (6.6, 6, 5.6, 4.4, 3.2), GAS_HU),
    Tube(((38, 26, 23), (48, 18, 30), (56, 8, 44)), (5, 4, 2.8), GAS_HU),
)  # fmt: skip
AIRWAY_WALL_MM = 1.4


def mediastinum(build: Build) -> list[Tube | Ball]:
    """What keeps the lungs apart, in painting order (airways come last, elsewhere)."""
    spine = tuple((0.0, float(anatomy.spine_y(z)), z) for z in np.linspace(182, -182, 12))
    column = Tube(spine, (17.0,) * len(spine), 60.0)
    return [column, *heart(build.heart), *GREAT_VESSELS]


def skin_distance(canvas: Canvas) -> np.ndarray:
    """Signed distance (mm, in plane) to the skin of trunk, neck, shoulders and raised arms."""
    width, middle, depth = (v.astype(np.float32) for v in anatomy.skin(canvas.z))
    distance = oval_distance(canvas.x, canvas.y - middle, width, depth, 2.5)
    for side in (RIGHT, LEFT):
        for start, end, first, last in (
            ((60, 18, 112), (136, 14, 118), 44.0, 46.0),
            ((136, 14, 118), (190, -12, 190), 46.0, 36.0),
        ):
            distance = _round_union(distance, _cone(canvas, side, start, end, first, last), 18.0)
    return distance


def _cone(canvas: Canvas, side: int, start: tuple, end: tuple, first: float, last: float) -> np.ndarray:
    """Signed distance to a cone segment with round ends, its x mirrored to `side`."""
    origin, step = np.array(start, float), np.array(end, float) - start
    relative = (side * canvas.x - origin[0], canvas.y - origin[1], canvas.z - origin[2])
    along = sum(r * np.float32(s) for r, s in zip(relative, step / (step @ step), strict=True))
    along = np.clip(along, 0.0, 1.0)
    squared = sum((r - along * np.float32(s)) ** 2 for r, s in zip(relative, step, strict=True))
    return np.sqrt(squared) - (first + (last - first) * along)


def _round_union(a: np.ndarray, b: np.ndarray, rounding: float) -> np.ndarray:
    blend = np.maximum(rounding - np.abs(a - b), 0.0) / rounding
    return (np.minimum(a, b) - blend * blend * (rounding / 4)).astype(np.float32)


def paint_wall(canvas: Canvas, build: Build, texture: np.ndarray) -> None:
    """Skin, fat of uneven thickness, muscle with fat between its layers. `texture` is smooth N(0, 1)."""
    distance = skin_distance(canvas)
    canvas.fill(distance, SKIN_HU)
    fat = build.fat_mm * (1.0 + 0.35 * np.clip(-canvas.z / 120.0, -0.6, 1.0)) + 1.0 * texture
    canvas.fill(distance + 2.0, FAT_HU)
    canvas.fill(distance + 2.0 + fat, MUSCLE_HU)
    # a plane of fat between the outer and the inner muscles
    layer = np.abs(distance + 2.0 + fat + 14.0 + 1.5 * texture) - 0.8 - 0.9 * texture
    canvas.fill(layer, FAT_HU)


def paint_belly(canvas: Canvas, build: Build, cage: np.ndarray, dome: np.ndarray) -> None:
    """Below the diaphragm: liver right, stomach with its gas bubble and spleen left, kidneys."""
    below = np.maximum((canvas.z - dome) * 0.8, cage)
    canvas.fill(below, MUSCLE_HU)
    canvas.fill(below + 3.0, FAT_HU)
    inside = canvas.coverage(below + 3.0)
    edge = canvas.x - (38.0 - 0.35 * np.maximum(-90.0 - canvas.z, 0.0) - 0.5 * (canvas.y + 40.0))
    canvas.paint(inside * canvas.coverage(np.maximum(edge * 0.85, below + 4.0)), LIVER_HU)
    for center, axes, hu in (
        ((84, 34, -112), (32, 34, 44), 48.0),  # spleen
        ((56, 26, -160), (24, 22, 44), 34.0),  # kidneys
        ((-56, 26, -172), (24, 22, 44), 34.0),
        ((64, -28, -112), (42, 44, 46), 40.0),  # stomach
    ):
        canvas.ellipsoid(center, axes, hu, where=inside)
    bubble = ellipsoid_distance((canvas.x, canvas.y, canvas.z), (62, -34, -96), (28, 27, 20))
    level = canvas.y + 24.0 - 3.0 * np.sin(canvas.x / 9.0)  # supine: gas lies before the fluid
    canvas.paint(inside * canvas.coverage(np.maximum(bubble, level)), GAS_HU)
    for number, (x, y, z) in enumerate(((100, -38, -128), (92, -62, -150), (78, -74, -172))):
        canvas.ellipsoid((x, y, z), (16.0, 15.0, 17.0 - number), 30.0, where=inside)
        canvas.ellipsoid((x, y - 3.0, z), (12.0, 11.0, 12.0), GAS_HU, where=inside)


def paint_airways(canvas: Canvas) -> None:
    """Trachea, main and lobar bronchi with their walls."""
    for tube in AIRWAYS:
        tube.draw(canvas, 25.0, AIRWAY_WALL_MM)
    for tube in AIRWAYS:
        tube.draw(canvas)
