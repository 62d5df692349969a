"""Where things are in the chest phantom: tables and curves in LPS mm, no voxels.

The origin lies in the midline, midway between sternum and spine, at the height of the seventh
thoracic vertebra. Proportions are those of an adult with arms raised, in inspiration. Right is
negative x. Numbers of one side are mirrored where the body is symmetric; heart, arch, domes of the
diaphragm, liver, stomach and spleen are not.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

RIGHT, LEFT = -1, 1
CAGE_POWER = 2.3

# Height z -> half width, front y, back y of the inner surface of the rib cage.
_CAGE = np.array(
    [
        (182, 26, -30, 34), (150, 34, -32, 40), (132, 50, -38, 50), (112, 78, -50, 62),
        (90, 97, -62, 74), (60, 110, -76, 86), (20, 120, -89, 93), (-20, 125, -96, 93),
        (-60, 128, -99, 88), (-100, 128, -98, 76), (-140, 123, -97, 62), (-182, 118, -98, 56),
    ],
    dtype=float,
)  # fmt: skip
# Height z -> y of the middle of the vertebral bodies (the kyphosis).
_SPINE = np.array(
    [
        (182, 4), (146, 6), (128, 14), (100, 30), (70, 46), (40, 56), (5, 61), (-30, 59),
        (-65, 52), (-100, 41), (-140, 30), (-182, 24),
    ],
    dtype=float,
)  # fmt: skip
# Height z -> half width, front y, back y of the skin of trunk and neck.
_SKIN = np.array(
    [
        (182, 60, -58, 62), (162, 66, -62, 74), (146, 96, -70, 92), (130, 136, -80, 106),
        (110, 154, -92, 116), (70, 160, -110, 124), (20, 160, -121, 126), (-30, 159, -126, 123),
        (-80, 156, -127, 114), (-130, 150, -128, 104), (-182, 146, -130, 98),
    ],
    dtype=float,
)  # fmt: skip
# Middles of C5 C6 C7, T1..T12, L1 L2 from above.
VERTEBRAE_Z = (
    177.0, 161.5, 145.5, 128.0, 109.5, 90.5, 71.0, 51.0, 30.0, 8.5, -13.5, -36.5, -60.0, -85.0,
    -111.0, -139.0, -168.5,
)  # fmt: skip
FIRST_THORACIC = 3
# Per rib 1..12: how far its front end lies below its back end (mm), and the angle about the cage
# at which bone ends (degrees from the back over the flank to the front).
RIB_DROP = (38, 54, 72, 90, 102, 110, 114, 114, 108, 98, 78, 48)
RIB_END = (158, 153, 150, 148, 145, 141, 134, 123, 110, 97, 74, 42)
# Where the cartilages of ribs 1..7 meet the sternum.
STERNAL_Z = (92.0, 68.0, 44.0, 22.0, 2.0, -14.0, -24.0)


def _table(table: np.ndarray, z: np.ndarray | float) -> list[np.ndarray]:
    from scipy.interpolate import PchipInterpolator

    order = table[::-1]
    heights = np.clip(z, order[0, 0], order[-1, 0])
    return [PchipInterpolator(order[:, 0], order[:, k])(heights) for k in range(1, table.shape[1])]


def cage(z: np.ndarray | float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Half width, middle y and half depth (mm) of the inner rib cage at height z."""
    width, front, back = _table(_CAGE, z)
    return width, (front + back) / 2, (back - front) / 2


def skin(z: np.ndarray | float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Half width, middle y and half depth (mm) of trunk and neck at height z."""
    width, front, back = _table(_SKIN, z)
    return width, (front + back) / 2, (back - front) / 2


def spine_y(z: np.ndarray | float) -> np.ndarray:
    """y (mm) of the middle of the vertebral bodies at height z."""
    return _table(_SPINE, z)[0]


def diaphragm(x: np.ndarray, y: np.ndarray, right_dome: float, left_dome: float) -> np.ndarray:
    """Height z (mm) of the diaphragm; the domes' tops are given. Falls to the costal angles."""
    share = np.clip((x + 12.0) / 24.0, 0.0, 1.0)
    share = share * share * (3 - 2 * share)
    top = right_dome + (left_dome - right_dome) * share
    lateral = np.maximum(np.abs(x) - 48.0, 0.0) / 76.0
    medial = np.maximum(60.0 - np.abs(x), 0.0) / 60.0
    front = np.maximum(-12.0 - y, 0.0) / 82.0
    back = np.maximum(y + 12.0, 0.0) / 95.0
    return top - 62.0 * lateral**2.4 - 6.0 * medial**2 - 42.0 * front**2 - 72.0 * back**1.8


def cage_point(side: int, degrees: np.ndarray, z: np.ndarray, outside: float = 0.0) -> np.ndarray:
    """Points (n, 3) on the cage, `outside` mm beyond it; 0 degrees is the back, 180 the front."""
    width, middle, depth = cage(z)
    sine, cosine = np.sin(np.radians(degrees)), np.cos(np.radians(degrees))
    exponent = 2.0 / CAGE_POWER
    x = side * (width + outside) * np.abs(sine) ** exponent
    y = middle + (depth + outside) * np.sign(cosine) * np.abs(cosine) ** exponent
    return np.column_stack([x, y, np.broadcast_to(z, np.shape(x))])


def cage_front(x: np.ndarray, z: np.ndarray, outside: float = 0.0) -> np.ndarray:
    """y (mm) of the front of the cage at x and z, `outside` mm before it."""
    width, middle, depth = cage(z)
    ratio = np.clip(np.abs(x) / (width + outside), 0.0, 0.999)
    return middle - (depth + outside) * (1.0 - ratio**CAGE_POWER) ** (1.0 / CAGE_POWER)


def outward(points: np.ndarray) -> np.ndarray:
    """Unit vectors (n, 3), horizontal, out of the cage at points on it."""
    width, middle, depth = cage(points[:, 2])
    u, v = points[:, 0] / width, (points[:, 1] - middle) / depth
    x = np.sign(u) * np.abs(u) ** (CAGE_POWER - 1) / width
    y = np.sign(v) * np.abs(v) ** (CAGE_POWER - 1) / depth
    vectors = np.column_stack([x, y, np.zeros_like(x)])
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@lru_cache(maxsize=32)
def rib(number: int, side: int) -> np.ndarray:
    """Middle line (n, 3) of the bony rib 1..12 from the vertebral joint to the cartilage."""
    top = VERTEBRAE_Z[FIRST_THORACIC + number - 1] + 4.0
    start = 24.0 if number > 1 else 40.0
    degrees = np.linspace(start, RIB_END[number - 1], 26)
    progress = (degrees - start) / (RIB_END[number - 1] - start)
    around = cage_point(side, degrees, top - 4.0 - RIB_DROP[number - 1] * progress**1.15, 4.5)
    spine = float(spine_y(top))
    joint = np.array([[side * 17.0, spine + 10.0, top], [side * 31.0, spine + 25.0, top - 1.0]])
    return np.vstack([joint, around])


def cartilage(number: int, side: int) -> np.ndarray:
    """Middle line (n, 3) of the costal cartilage of rib 1..10, from the bone to the sternum.

    Cartilages 8 to 10 end on the one above, as the costal arch does.
    """
    start = rib(number, side)[-1]
    if number <= 7:
        z = STERNAL_Z[number - 1]
        end = np.array([side * 15.0, 0.0, z])
    else:
        end = cartilage(number - 1, side)[6]
    t = np.linspace(0.0, 1.0, 14)[:, None]
    sag = 4.0 if number > 4 else 0.0
    control = np.array([(2 * start[0] + end[0]) / 3, 0.0, min(start[2], end[2]) - sag])
    line = (1 - t) ** 2 * start + 2 * t * (1 - t) * control + t**2 * end
    fronts = cage_front(line[:, 0], line[:, 2], 4.5)
    blend = np.clip(t[:, 0] * 6.0, 0.0, 1.0)
    line[:, 1] = (1 - blend) * start[1] + blend * fronts
    return line


@dataclass(frozen=True)
class Build:
    """What differs from one seed to the next. Scales are relative, the rest mm or HU."""

    width: float = 1.0
    depth: float = 1.0
    height: float = 1.0
    fat_mm: float = 10.0
    heart: float = 1.0
    right_dome: float = -44.0
    left_dome: float = -60.0
    lung_hu: float = -862.0
    bone: float = 1.0

    @classmethod
    def random(cls, random: np.random.Generator) -> Build:
        """A plausible build; the right dome stays at least 9 mm above the left."""
        right = -44.0 + random.uniform(-8.0, 8.0)
        return cls(
            width=random.uniform(0.94, 1.05),
            depth=random.uniform(0.94, 1.06),
            height=random.uniform(0.95, 1.04),
            fat_mm=random.uniform(6.0, 14.0),
            heart=random.uniform(0.93, 1.06),
            right_dome=right,
            left_dome=right - random.uniform(9.0, 20.0),
            lung_hu=random.uniform(-880.0, -840.0),
            bone=random.uniform(0.85, 1.1),
        )
