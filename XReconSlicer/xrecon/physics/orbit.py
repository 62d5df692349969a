"""The orbit that some views lie on: its axis, and how much each view counts in an analytic inversion.

Filtered back-projection integrates over the angle of the source about an axis. So the views must
stand about one axis with their central rays across it, and one axis of each detector must run
across it too, since the pictures are filtered along that one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xrecon.physics.geometry import ViewGeometry
from xrecon.volume import InputError

# Up to this many views are no orbit: each counts alike.
FEW_VIEWS = 4
# How far central rays and detector axes may lean out of the plane of the orbit.
LEAN_TOLERANCE_DEG = 5.0
# Of the distances between source and axis about their mean, and of the isocentres.
RADIUS_TOLERANCE = 0.1
CENTER_TOLERANCE = 0.01
# A gap in the orbit counts as an end of a short scan above both of these.
LARGEST_GAP_DEG, LARGEST_GAP_MEANS = 20.0, 3.0


@dataclass(frozen=True)
class Orbit:
    """Views about an axis.

    axis: LPS unit vector. center: LPS mm, a point of the axis.
    weights: (views,) radians; half of the angle that each view stands for. Their sum is pi, as
        every line through the volume is met twice in a full turn (of a parallel beam, once in half).
    central_rays: (views, 3) unit vectors from each source to the axis, across it.
    radii_mm: (views,) distances from source to axis.
    filter_axes: (views,) 1 where pictures are filtered along their columns' index, 0 along the rows'.
    """

    axis: np.ndarray
    center: np.ndarray
    weights: np.ndarray
    central_rays: np.ndarray
    radii_mm: np.ndarray
    filter_axes: tuple[int, ...]


def orbit_of(views: Sequence[ViewGeometry]) -> Orbit:
    """The orbit of some views, all cone or all parallel.

    The axis is the direction to which all central rays stand across; where they are one line (a
    single view, or two from opposite sides), the pictures' row direction.

    One to four views count alike, pi over their number. More views count by the angle between
    their neighbours, which needs a full turn (half a turn of a parallel beam).

    Raises InputError for mixed beams, isocentres that differ, an orbit that leans or is not round,
    detectors turned about the beam, and orbits with a gap: short scans need weights (Parker 1982)
    that are not implemented.
    """
    beams = {view.beam for view in views}
    if len(beams) != 1:
        raise InputError(f"expected one or more views of one kind of beam, got {sorted(beams)}")
    (beam,) = beams
    center, rays = _central_rays(views)
    axis = _axis(views, rays)
    lean = np.rad2deg(np.arcsin(np.abs(rays @ axis).clip(0, 1)))
    if lean.max() > LEAN_TOLERANCE_DEG:
        raise InputError(
            f"expected central rays within {LEAN_TOLERANCE_DEG:g} degrees of a plane, "
            f"got one that leans by {lean.max():.1f} degrees"
        )
    offsets = center - np.array([view.source for view in views])
    across = offsets - (offsets @ axis)[:, None] * axis
    radii = np.linalg.norm(across, axis=1)
    flat = across / radii[:, None] if beam == "cone" else rays
    if len(views) > FEW_VIEWS and beam == "cone" and np.ptp(radii) > 2 * RADIUS_TOLERANCE * radii.mean():
        raise InputError(
            f"expected sources about as far from the axis, got {radii.min():.0f} to {radii.max():.0f} mm"
        )
    return Orbit(
        axis=axis,
        center=center,
        weights=_weights(axis, flat, turn=2 * np.pi if beam == "cone" else np.pi),
        central_rays=flat,
        radii_mm=radii,
        filter_axes=tuple(_filter_axis(view, axis) for view in views),
    )


def _central_rays(views: Sequence[ViewGeometry]) -> tuple[np.ndarray, np.ndarray]:
    """The common isocentre, and unit vectors (views, 3) towards it (of a parallel beam, its rays)."""
    isocenters, sources = (np.array([getattr(v, name) for v in views]) for name in ("isocenter", "source"))
    center = isocenters.mean(axis=0)
    detectors = np.array([view.detector_center for view in views])
    rays = detectors - sources if views[0].beam == "parallel" else center - sources
    lengths = np.linalg.norm(rays, axis=1)
    spread = np.linalg.norm(isocenters - center, axis=1).max()
    if spread > CENTER_TOLERANCE * lengths.mean():
        raise InputError(
            f"expected views about one isocentre, got isocentres {spread:.1f} mm from their mean"
        )
    if views[0].beam == "cone":
        depths = np.array([ray @ view.normal for ray, view in zip(rays, views, strict=True)])
        limits = np.array([view.source_to_detector_mm for view in views])
        if np.any(depths <= 0) or np.any(depths >= limits):
            raise InputError("expected the isocentre between source and detector in every view")
    return center, rays / lengths[:, None]


def _axis(views: Sequence[ViewGeometry], rays: np.ndarray) -> np.ndarray:
    _, values, directions = np.linalg.svd(rays, full_matrices=True)
    if len(views) > 1 and values[1] > 1e-3 * values[0]:
        return directions[2]
    row = np.array(views[0].row_direction)
    axis = row - (row @ rays[0]) * rays[0]
    return axis / np.linalg.norm(axis)


def _weights(axis: np.ndarray, rays: np.ndarray, turn: float) -> np.ndarray:
    count = len(rays)
    if count <= FEW_VIEWS:
        return np.full(count, np.pi / count)
    first = rays[0] - (rays[0] @ axis) * axis
    first /= np.linalg.norm(first)
    angles = np.arctan2(rays @ np.cross(axis, first), rays @ first) % turn
    order = np.argsort(angles)
    gaps = np.diff(angles[order], append=angles[order[0]] + turn)  # from each view to the next
    largest, mean = np.rad2deg(gaps.max()), np.rad2deg(turn / count)
    if largest > max(LARGEST_GAP_DEG, LARGEST_GAP_MEANS * mean):
        raise InputError(
            f"expected views all around (a full turn, or half a turn of a parallel beam), got a gap of "
            f"{largest:.0f} degrees: short scans need weights that are not implemented"
        )
    weights = np.empty(count)
    weights[order] = (gaps + np.roll(gaps, 1)) / 2.0
    return weights * (np.pi / turn)


def _filter_axis(view: ViewGeometry, axis: np.ndarray) -> int:
    """The array axis (0 rows, 1 columns) of a picture along which the orbit's plane is cut."""
    along = np.abs([np.array(view.row_direction) @ axis, np.array(view.column_direction) @ axis])
    if np.rad2deg(np.arcsin(along.min())) > LEAN_TOLERANCE_DEG:
        raise InputError(
            f"expected detectors with rows or columns within {LEAN_TOLERANCE_DEG:g} degrees of the plane of "
            f"the orbit, got one turned by {np.rad2deg(np.arcsin(along.min())):.1f} degrees"
        )
    return int(along.argmin())
