"""Odd views and volumes for the tests of the projector's modes."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation
from xrecon.physics.geometry import ViewGeometry
from xrecon.physics.phantom import Ellipsoid

SHAPE, SPACING = (19, 23, 17), (5.0, 3.0, 4.0)


def rotation(*angles: float) -> np.ndarray:
    """3x3 rotation of Euler angles in degrees about x, y, z."""
    return Rotation.from_euler("xyz", angles, degrees=True).as_matrix()


DIRECTION = rotation(5, 40, 10)


def two_views(beam: str = "cone", shape: tuple[int, int] = (13, 11)) -> list[ViewGeometry]:
    """A PA and a lateral view, both tilted, with rectangular pixels; the volume reaches beyond them."""
    base = [
        ViewGeometry.pa(shape=shape, pixel_spacing=(9.0, 8.0), beam=beam),
        ViewGeometry.lateral("left", shape=shape, pixel_spacing=(9.0, 8.0), beam=beam),
    ]
    return [v.moved(rotation(7, 3 + 20 * i, 20), (4.0, -6.0, 9.0)) for i, v in enumerate(base)]


def view_from_within() -> ViewGeometry:
    """The detector cuts through the volume."""
    near = ViewGeometry.pa(
        shape=(5, 7), pixel_spacing=(9.0, 8.0), source_to_detector_mm=400.0, source_to_isocenter_mm=395.0
    )
    return near.moved(rotation(3, 4, 5), (0.0, 2.0, 0.0))


def chest_bodies() -> list[Ellipsoid]:
    """Body, lungs, heart, spine and nodules with sharp edges."""
    bodies = [
        Ellipsoid((0, 0, 0), (120, 85, 110), 0.02, rotation(0, 0, 10)),
        Ellipsoid((-55, -5, 5), (38, 52, 80), -0.015, rotation(5, -8, 0)),
        Ellipsoid((55, 0, 0), (34, 50, 76), -0.015, rotation(-5, 6, 0)),
        Ellipsoid((20, -20, -25), (32, 28, 38), 0.014, rotation(20, 10, 30)),
        Ellipsoid((0, 60, 0), (13, 13, 100), 0.02),
    ]
    random = np.random.default_rng(0)
    for _ in range(6):
        center, axes = random.uniform(-60, 60, 3), random.uniform(6, 12, 3)
        bodies.append(Ellipsoid(tuple(center), tuple(axes), 0.016, rotation(*random.uniform(0, 90, 3))))
    return bodies
