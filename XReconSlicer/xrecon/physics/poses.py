"""Views by angles, and the angles of views: Euler angles, C-arm positioner angles, circular orbits.

Everything turns about the view's isocentre. Angles are in degrees, right-handed about the LPS axes
(x to the patient's left, y to posterior, z to superior) unless a docstring says otherwise.

Euler angles (a, b, c) with axes "xyz" mean the rotation Rx(a) @ Ry(b) @ Rz(c). That is an intrinsic
rotation about x, then the turned y, then the twice turned z; or, the same, an extrinsic one about
the fixed z, then y, then x. The axes may come in any order without repetition.

Positioner angles are DICOM's (PS3.3 C.8.7.5.1.2; C.8.19.6.10 for enhanced images): they tell where
the detector stands about the patient. Primary: 0 before the chest, +90 at the patient's left (LAO),
-90 at the right (RAO), about the patient's long axis. Secondary: +90 at the head (cranial), -90 at
the feet (caudal), about the axis in the axial plane that has turned with the primary angle. In
Euler angles of the PA view with axes "zxy" they are (primary, -secondary, -detector angle).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from xrecon.physics.geometry import (
    DETECTOR_WIDTH_MM,
    SOURCE_TO_DETECTOR_MM,
    SOURCE_TO_ISOCENTER_MM,
    ViewGeometry,
)
from xrecon.volume import InputError

# Nearer than this to +-90 degrees of the middle angle, the first and last turn about one axis.
_GIMBAL = 1e-9
# Angles from files have few decimals: a primary angle of 90 to within this is a lateral view.
_ANGLE_TOLERANCE_DEG = 1e-6
SIDES = ("detector", "source")


# -- rotations ---------------------------------------------------------------------------------
def rotation_from_angles(angles_deg: tuple[float, float, float], axes: str = "xyz") -> np.ndarray:
    """3x3 rotation R(axes[0]) @ R(axes[1]) @ R(axes[2]); exact for multiples of 90 degrees."""
    angles = np.asarray(angles_deg, dtype=np.float64)
    if angles.shape != (3,) or not np.all(np.isfinite(angles)):
        raise InputError(f"expected three finite angles in degrees, got {angles_deg}")
    rotation = np.eye(3)
    for axis, angle in zip(_axes(axes), angles, strict=True):
        first, second = (axis + 1) % 3, (axis + 2) % 3
        turn, (cosine, sine) = np.eye(3), _cosine_and_sine(angle)
        turn[first, first] = turn[second, second] = cosine
        turn[second, first], turn[first, second] = sine, -sine
        rotation = rotation @ turn
    return rotation


def angles_from_rotation(rotation: np.ndarray, axes: str = "xyz") -> tuple[float, float, float]:
    """The angles in degrees of `rotation_from_angles`: the middle one from -90 to 90, the others
    from -180 to 180. With a middle angle of 90 or -90 only their sum or difference is defined, and
    the first is 0.
    """
    rotation = np.asarray(rotation, dtype=np.float64)
    if rotation.shape != (3, 3) or not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-6):
        raise InputError(f"expected an orthonormal 3x3 rotation, got {rotation}")
    if np.linalg.det(rotation) < 0:
        raise InputError("expected a rotation, got a reflection")
    i, j, k = _axes(axes)
    sign = 1.0 if (j - i) % 3 == 1 else -1.0  # even or odd order of the axes
    cosine = np.hypot(rotation[j, k], rotation[k, k])
    middle = np.arctan2(sign * rotation[i, k], cosine)
    if cosine < _GIMBAL:
        first, last = 0.0, np.arctan2(sign * rotation[j, i], rotation[j, j])
    else:
        first = np.arctan2(-sign * rotation[j, k], rotation[k, k])
        last = np.arctan2(-sign * rotation[i, j], rotation[i, i])
    first, middle, last = (float(np.rad2deg(angle)) + 0.0 for angle in (first, middle, last))
    return tuple(180.0 if angle == -180.0 else angle for angle in (first, middle, last))


def _axes(axes: str) -> tuple[int, int, int]:
    if sorted(axes) != ["x", "y", "z"]:
        raise InputError(f"expected the axes x, y and z in some order, such as 'xyz', got {axes!r}")
    return tuple("xyz".index(axis) for axis in axes)


def _cosine_and_sine(degrees: float) -> tuple[float, float]:
    """Of an angle in degrees; whole quarters of a turn are exact, so that presets come out exactly."""
    quarters = np.round(degrees / 90.0)
    rest = np.deg2rad(degrees - 90.0 * quarters)
    cosine, sine = np.cos(rest), np.sin(rest)
    for _ in range(int(quarters % 4)):
        cosine, sine = -sine, cosine
    return float(cosine), float(sine)


# -- Euler angles ------------------------------------------------------------------------------
def turned(view: ViewGeometry, angles_deg: tuple[float, float, float], axes: str = "xyz") -> ViewGeometry:
    """Source and detector turned about the view's isocentre by Euler angles (see the module)."""
    rotation, center = rotation_from_angles(angles_deg, axes), np.array(view.isocenter)
    return replace(view.moved(rotation, center - rotation @ center), isocenter=view.isocenter)


def view_from_euler_angles(
    angles_deg: tuple[float, float, float], base: str = "PA", axes: str = "xyz", **options: Any
) -> ViewGeometry:
    """The preset `base` turned about its isocentre by Euler angles; options as in `ViewGeometry.preset`."""
    return turned(ViewGeometry.preset(base, **options), angles_deg, axes)


def euler_angles(
    view: ViewGeometry, base: ViewGeometry | str = "PA", axes: str = "xyz"
) -> tuple[float, float, float]:
    """The Euler angles in degrees that turn the detector axes of `base` into those of `view`.

    Positions do not matter. Raises InputError when one of the two is a mirror image of the other.
    """
    if isinstance(base, str):
        base = ViewGeometry.preset(base)
    if seen_from(view) != seen_from(base):
        raise InputError(
            f"expected a view seen from the {seen_from(base)} as its base is, got one seen from the "
            f"{seen_from(view)}: no rotation makes a mirror image"
        )
    frames = [np.column_stack([v.column_direction, v.row_direction, v.normal]) for v in (view, base)]
    return angles_from_rotation(frames[0] @ frames[1].T, axes)


# -- positioner angles -------------------------------------------------------------------------
def view_from_positioner_angles(
    primary_deg: float,
    secondary_deg: float = 0.0,
    *,
    source_to_detector_mm: float = SOURCE_TO_DETECTOR_MM,
    source_to_isocenter_mm: float = SOURCE_TO_ISOCENTER_MM,
    shape: tuple[int, int] = (512, 512),
    pixel_spacing: tuple[float, float] | None = None,
    isocenter: tuple[float, float, float] = (0.0, 0.0, 0.0),
    detector_angle_deg: float = 0.0,
    seen_from: str | None = None,
    principal_point: tuple[float, float] | None = None,
    beam: str = "cone",
) -> ViewGeometry:
    """A C-arm's view from DICOM's positioner angles (see the module), central ray through `isocenter`.

    Angles 0, 180, 90 and -90 are exactly the presets PA, AP, LEFT LATERAL and RIGHT LATERAL.

    primary_deg: -180 to 180. secondary_deg: -90 to 90.
    detector_angle_deg: turns the detector about the beam, right-handed about the direction from
        source to detector (clockwise as seen from the source). At 0 rows lie in the axial plane.
    seen_from: "detector" (what C-arms show) or "source" (its mirror image); None hangs the picture
        as radiologists do, the patient's right on the left: from the source beyond 90 degrees.
    principal_point: pixel (row, column) that the central ray meets; the middle unless given.
    Others as in `ViewGeometry.preset`. Raises InputError for angles or distances out of range.
    """
    for name, angle, limit in (
        ("primary_deg", primary_deg, 180.0),
        ("secondary_deg", secondary_deg, 90.0),
        ("detector_angle_deg", detector_angle_deg, 360.0),
    ):
        if not abs(angle) <= limit + _ANGLE_TOLERANCE_DEG:
            raise InputError(f"expected {name} from {-limit:.0f} to {limit:.0f} degrees, got {angle}")
    if seen_from is None:
        seen_from = "source" if abs(primary_deg) > 90.0 + _ANGLE_TOLERANCE_DEG else "detector"
    if seen_from not in SIDES:
        raise InputError(f"expected seen_from to be one of {SIDES}, got {seen_from!r}")
    view = ViewGeometry.pa(
        source_to_detector_mm=source_to_detector_mm,
        source_to_isocenter_mm=source_to_isocenter_mm,
        shape=shape,
        pixel_spacing=(DETECTOR_WIDTH_MM / shape[1],) * 2 if pixel_spacing is None else pixel_spacing,
        isocenter=isocenter,
        beam=beam,
    )
    rotation = rotation_from_angles((primary_deg, -secondary_deg, -detector_angle_deg), "zxy")
    direction, center = rotation @ view.normal, np.array(view.isocenter)
    source = center - source_to_isocenter_mm * direction
    mirror = 1.0 if seen_from == "detector" else -1.0
    view = replace(
        view,
        source=tuple(source),
        detector_center=tuple(source + source_to_detector_mm * direction),
        row_direction=tuple(rotation @ view.row_direction),
        column_direction=tuple(mirror * rotation @ view.column_direction),
    )
    return view if principal_point is None else with_principal_point(view, principal_point)


def positioner_angles(view: ViewGeometry) -> tuple[float, float]:
    """DICOM's primary and secondary angle of the detector about the patient, degrees.

    They are those of the central ray: the ray at a right angle to the detector in a cone beam,
    wherever the middle of the detector lies; the beam itself in a parallel one. Straight from the
    head or feet the primary angle is 0.
    """
    primary, secondary, _ = _angles(view)
    return primary, secondary


def detector_angle(view: ViewGeometry) -> float:
    """The turn of the detector about the beam in degrees, as in `view_from_positioner_angles`."""
    return _angles(view)[2]


def seen_from(view: ViewGeometry) -> str:
    """The side from which one sees the picture as it is: "detector", or "source" when mirrored."""
    towards = np.cross(view.row_direction, view.column_direction) @ view.normal
    return SIDES[0] if towards > 0 else SIDES[1]


def _angles(view: ViewGeometry) -> tuple[float, float, float]:
    ray = view.normal
    if view.beam == "parallel":
        ray = np.array(view.detector_center) - np.array(view.source)
        ray = ray / np.linalg.norm(ray)
    row = np.array(view.row_direction) - (np.array(view.row_direction) @ ray) * ray
    row = row / np.linalg.norm(row)
    pa = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, -1.0, 0.0]])  # column, row, ray
    turn = np.column_stack([np.cross(ray, row), row, ray]) @ pa
    primary, tilt, roll = angles_from_rotation(turn, "zxy")
    return primary, -tilt + 0.0, 180.0 if roll == 180.0 else -roll + 0.0


# -- detectors off the central ray -------------------------------------------------------------
def principal_point(view: ViewGeometry) -> tuple[float, float]:
    """Pixel (row, column) where the ray at a right angle to the detector meets it.

    Of a parallel beam, where its ray through the isocentre meets it.
    """
    if view.beam == "parallel":
        row, column = view.project(np.array(view.isocenter))
    else:
        row, column = view.project(np.array(view.source) + view.normal)
    return float(row), float(column)


def with_principal_point(view: ViewGeometry, pixel: tuple[float, float]) -> ViewGeometry:
    """The view with its detector shifted in its plane so that `principal_point` is this pixel."""
    pixel = np.asarray(pixel, dtype=np.float64)
    if pixel.shape != (2,) or not np.all(np.isfinite(pixel)):
        raise InputError(f"expected a principal point as a finite (row, column), got {pixel}")
    steps = (np.array(principal_point(view)) - pixel) * view.pixel_spacing
    shift = steps[0] * np.array(view.row_direction) + steps[1] * np.array(view.column_direction)
    return view.shifted(shift)


# -- orbits ------------------------------------------------------------------------------------
def circular_orbit(
    count: int, *, start_deg: float = 0.0, arc_deg: float = 360.0, secondary_deg: float = 0.0, **options: Any
) -> tuple[ViewGeometry, ...]:
    """Views at equal steps of the primary angle, all seen from the detector.

    A full turn leaves out the end, which is the start again; a shorter arc has both its ends.
    Options as in `view_from_positioner_angles`.
    """
    if count < 1 or not 0 < abs(arc_deg) <= 360:
        raise InputError(
            f"expected one or more views on an arc of up to 360 degrees, got {count} on {arc_deg}"
        )
    angles = start_deg + np.linspace(0.0, arc_deg, count, endpoint=abs(arc_deg) < 360)
    return tuple(
        view_from_positioner_angles(
            float((angle + 180.0) % 360.0 - 180.0), secondary_deg, seen_from="detector", **options
        )
        for angle in angles
    )
