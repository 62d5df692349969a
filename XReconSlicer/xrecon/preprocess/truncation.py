"""Tissue that the CT's field of view cuts off: found, measured, and continued outwards.

With arms up, shoulders, arms and the flanks of large patients often reach beyond the reconstructed
circle, or beyond the picture. Projections across the cut then lack tissue: the lateral view most.

In each slice the outline is taken in polar coordinates about the middle of the body. Where it runs
along the edge of the field it is not the skin; there it is continued by the cubic in log r that meets
the skin at both ends of the gap with the skin's own slope, limited to what a limb cut there could be.
What lies between the field and this outline is filled with the tissue found at the edge. This is the
image domain's kin of what scanners do with truncated projections (Hsieh et al., Med Phys
2004;31:2385-2391). It gives plausible mass, not anatomy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xrecon.preprocess.ct import AIR_HU, BODY_HU, body_mask
from xrecon.volume import Volume

ANGLES = 360
# The outline lies on the edge of the field when it comes this near: resampling blurs the edge.
EDGE_MM = 4.0
# A shorter touch is the skin grazing the edge, or noise of the mask.
SHORTEST_GAP_DEGREES = 3
# Skin this far to both sides of a gap tells which way it goes on.
SKIN_DEGREES = 8
# Gaps nearer to each other are one.
JOINED_DEGREES = 7
LARGEST_EXTENSION_MM = 40.0
# The tissue this deep inside the edge is continued.
RIM_MM = 10.0
# A padded column has this one value in every slice, the padding of scanners, or less.
PADDING_HU = -990.0


@dataclass(frozen=True, eq=False)
class Truncation:
    """Where the field of view cuts the body.

    gap: boolean (slice, angle); radius_mm: outline (slice, angle), 0 where there is no body;
    field_mm: edge of the field (angle). center: (y, x) voxel index of the pole. angle 0 points along
    x, 90 degrees along y.
    """

    gap: np.ndarray
    radius_mm: np.ndarray
    field_mm: np.ndarray
    center: tuple[float, float]

    @property
    def slices(self) -> int:
        """Number of slices that are cut."""
        return int(self.gap.any(axis=1).sum())

    @property
    def slices_without_skin(self) -> int:
        """Number of slices that are cut all around: nothing tells how they go on, and they are left so."""
        return int(self.gap.all(axis=1).sum())

    @property
    def fraction(self) -> float:
        """Share of the body's outline that is the edge of the field instead of skin."""
        outline = self.radius_mm > 0
        return float(self.radius_mm[self.gap].sum() / max(self.radius_mm[outline].sum(), 1e-9))


def find_truncation(volume: Volume, body: np.ndarray | None = None) -> Truncation:
    """Where the field of view of a CT in HU cuts the body; slices are taken along the first axis.

    body: its mask, when it is known. The padding must still be there: look before the table is
    removed. Raises InputError as `body_mask` does.
    """
    body = body_mask(volume) if body is None else body
    field = field_of_view(volume)
    rows, columns = (np.flatnonzero(body.any(axis=(0, other))) for other in (2, 1))
    center = (float(rows[[0, -1]].mean()), float(columns[[0, -1]].mean()))
    iy, ix, step_mm = _polar_indices(volume, center)
    inside = (iy >= 0) & (iy < volume.shape[1]) & (ix >= 0) & (ix < volume.shape[2])
    iy, ix = np.where(inside, iy, 0), np.where(inside, ix, 0)
    field_mm = _outermost(field[iy, ix] & inside) * step_mm
    radius_mm = np.stack([_outermost(layer[iy, ix] & inside) for layer in body]) * step_mm
    gap = (radius_mm > 0) & (radius_mm >= field_mm - EDGE_MM)
    return Truncation(_without_short_runs(gap) & (radius_mm > 0), radius_mm, field_mm, center)


def field_of_view(volume: Volume) -> np.ndarray:
    """Boolean (y, x): the reconstructed circle, or everything when no padding shows one.

    Padding is what has one low value in all slices; it counts only when it leaves a full circle
    about the middle of the picture, as air around a phantom does not.
    """
    array = volume.array
    padded = (array.min(axis=0) == array.max(axis=0)) & (array[0] <= PADDING_HU)
    everything = np.ones(padded.shape, dtype=bool)
    if padded.all() or not padded.any():
        return everything
    y, x = ((np.arange(n) - (n - 1) / 2.0) * s for n, s in zip(padded.shape, volume.spacing[1:], strict=True))
    distance = np.hypot(y[:, None], x)
    radius, band = float(distance[~padded].max()), 2.0 * max(volume.spacing[1:])
    rim = (distance <= radius - band) & (distance > radius - 2.0 * band)
    outside = distance > radius
    if not outside.any() or not rim.any() or padded[rim].mean() > 0.1:
        return everything
    return ~outside


def complete(volume: Volume, truncation: Truncation) -> Volume:
    """The CT with tissue continued beyond the field of view; the grid grows in its slices' planes.

    Voxels inside the field keep their values, but for the blurred rim at the cut, which is never
    lowered. `meta` has "completed" with the volume added.
    """
    if not truncation.gap.any():
        return volume
    radius_mm = _continued(truncation)
    grown, shift = _grown(volume, float((radius_mm - truncation.field_mm)[truncation.gap].max()))
    y, x = (
        (np.arange(n) - c - k) * s
        for n, c, k, s in zip(grown.shape[1:], truncation.center, shift, grown.spacing[1:], strict=True)
    )
    distance = np.hypot(y[:, None], x)
    angle = np.rint(np.degrees(np.arctan2(y[:, None], x))).astype(int) % ANGLES
    beyond = distance > (truncation.field_mm - EDGE_MM)[angle]
    array, added = grown.array, 0
    for k in np.flatnonzero(truncation.gap.any(axis=1)):
        fill = beyond & truncation.gap[k][angle] & (distance <= radius_mm[k][angle])
        rim = (
            (array[k] > BODY_HU)
            & truncation.gap[k][angle]
            & (distance > (truncation.field_mm - EDGE_MM - RIM_MM)[angle])
            & (distance <= (truncation.field_mm - EDGE_MM)[angle])
        )
        tissue = float(np.median(array[k][rim])) if rim.any() else 0.0
        added += int(np.count_nonzero(fill & (array[k] <= BODY_HU)))
        array[k][fill] = np.maximum(array[k][fill], tissue)
    return grown.with_array(array, completed=f"{added * volume.voxel_ml:.0f} ml")


# -- outline -----------------------------------------------------------------------------------
def _polar_indices(volume: Volume, center: tuple[float, float]) -> tuple[np.ndarray, np.ndarray, float]:
    """Voxel indices y and x (angle, step) of rays from the pole, and the mm of a step."""
    step = min(volume.spacing[1:]) / 2.0
    reach = np.hypot(*(n * s for n, s in zip(volume.shape[1:], volume.spacing[1:], strict=True)))
    radii = np.arange(int(reach / step) + 1) * step
    angles = np.radians(np.arange(ANGLES) * 360.0 / ANGLES)[:, None]
    y = np.rint(center[0] + np.sin(angles) * radii / volume.spacing[1]).astype(int)
    x = np.rint(center[1] + np.cos(angles) * radii / volume.spacing[2]).astype(int)
    return y, x, step


def _outermost(along_rays: np.ndarray) -> np.ndarray:
    """For each ray (ray, step) the number of its last step that is true; 0 for none."""
    last = along_rays.shape[1] - 1 - np.argmax(along_rays[:, ::-1], axis=1)
    return np.where(along_rays.any(axis=1), last, 0)


def _without_short_runs(gap: np.ndarray) -> np.ndarray:
    """Gaps (slice, angle; periodic) joined where they nearly touch, and short ones taken out."""
    from scipy import ndimage

    around = np.pad(gap, ((0, 0), (ANGLES // 2, ANGLES // 2)), mode="wrap")
    joined = ndimage.binary_closing(around, np.ones((1, JOINED_DEGREES), dtype=bool))
    opened = ndimage.binary_opening(joined, np.ones((1, SHORTEST_GAP_DEGREES), dtype=bool))
    return opened[:, ANGLES // 2 : -(ANGLES // 2)]


def _continued(truncation: Truncation) -> np.ndarray:
    """Outline in mm (slice, angle), continued through the gaps and smoothed over slices there."""
    from scipy import ndimage

    radius_mm = truncation.radius_mm.copy()
    for k in np.flatnonzero(truncation.gap.any(axis=1)):
        for run in _runs(truncation.gap[k]):
            bridge = _bridge(radius_mm[k], truncation.gap[k], run)
            radius_mm[k, run] = np.minimum(bridge, truncation.field_mm[run] + _cap(radius_mm[k, run]))
    extra = np.where(truncation.gap, radius_mm - truncation.field_mm, 0.0).clip(0.0, None)
    extra = LARGEST_EXTENSION_MM * np.tanh(extra / LARGEST_EXTENSION_MM)  # a limit without a corner
    weight = ndimage.gaussian_filter1d(truncation.gap.astype(float), 2.0, axis=0)
    smooth = ndimage.gaussian_filter1d(extra, 2.0, axis=0) / np.maximum(weight, 1e-6)
    return np.where(truncation.gap, truncation.field_mm + smooth, truncation.radius_mm)


def _runs(gap: np.ndarray) -> list[np.ndarray]:
    """The angles of each gap of one slice, in order, across angle 0 where need be."""
    if gap.all():
        return []
    start = int(np.flatnonzero(~gap)[0])
    order = (np.arange(ANGLES) + start) % ANGLES
    edges = np.flatnonzero(np.diff(gap[order].astype(int)))
    return [order[a + 1 : b + 1] for a, b in zip(edges[::2], [*edges[1::2], ANGLES - 1], strict=False)]


def _bridge(radius_mm: np.ndarray, gap: np.ndarray, run: np.ndarray) -> np.ndarray:
    """Radii through one gap: the cubic in log r that meets the skin at both ends with its slopes."""
    ends = [_skin_end(radius_mm, gap, run[0], -1), _skin_end(radius_mm, gap, run[-1], +1)]
    if ends[0] is None or ends[1] is None:
        return radius_mm[run]
    (start, down), (end, up) = ends
    length = len(run) + 1.0  # degrees from skin to skin
    t = (np.arange(len(run)) + 1.0) / length
    bridge = start * (1 + 2 * t) * (1 - t) ** 2 + end * t**2 * (3 - 2 * t)
    bridge += length * (down * t * (1 - t) ** 2 - up * t**2 * (1 - t))
    return np.exp(bridge)


def _skin_end(radius_mm: np.ndarray, gap: np.ndarray, edge: int, step: int) -> tuple[float, float] | None:
    """log r of the skin beside a gap's outermost angle `edge`, and its slope per angle; None if none is."""
    angles = (edge + step * np.arange(1, SKIN_DEGREES + 1)) % ANGLES
    known = ~gap[angles] & (radius_mm[angles] > 0)
    count = SKIN_DEGREES if known.all() else int(np.argmin(known))
    if count < SKIN_DEGREES // 2:
        return None
    slope, value = np.polyfit(np.arange(count), np.log(radius_mm[angles[:count]]), 1)
    return float(value), float(slope) * step


def _cap(radius_mm: np.ndarray) -> np.ndarray:
    """Height in mm, along a gap, of a half disc over it: no limb that ends at a cut is longer."""
    half = np.radians(len(radius_mm) * 360.0 / ANGLES) * float(radius_mm.mean()) / 2.0
    along = (np.arange(len(radius_mm)) + 0.5) / len(radius_mm)
    return half * np.sqrt(1.0 - (2.0 * along - 1.0) ** 2)


def _grown(volume: Volume, extension_mm: float) -> tuple[Volume, tuple[int, int]]:
    """A copy with air around its slices, so much wider, and how many voxels were put before y and x."""
    margin = min(max(extension_mm, 0.0), LARGEST_EXTENSION_MM) + EDGE_MM
    pad = tuple(int(np.ceil(margin / s)) for s in volume.spacing[1:])
    array = np.pad(volume.array, ((0, 0), (pad[0],) * 2, (pad[1],) * 2), constant_values=AIR_HU)
    origin = volume.index_to_world(np.array([-pad[1], -pad[0], 0.0]))
    grown = Volume(array, volume.spacing, tuple(origin), volume.direction, volume.quantity, volume.meta)
    return grown, pad
