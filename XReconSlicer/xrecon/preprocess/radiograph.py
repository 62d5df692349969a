"""Radiograph to network input: one standard picture orientation, detector grid and grey scale."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from xrecon.volume import InputError, Quantity, Radiograph

if TYPE_CHECKING:
    from xrecon.physics.geometry import ViewGeometry

# Grey values of the network input beyond these are clipped: markers, collimation, metal.
UNIT_RANGE = (-0.25, 1.25)
PERCENTILES = (1.0, 99.0)
# Of a pixel: so far outside a picture lies only rounding.
EDGE_PIXELS = 1e-6
# Where a geometry comes from that was fitted to the pictures, in `Radiograph.meta`.
FROM_PICTURES = "pictures"


def canonical(radiograph: Radiograph) -> Radiograph:
    """The picture turned over, when needed, so that rows grow downwards and columns to the patient's
    left or posterior.

    Only the layout of the picture changes; the geometry says the same rays. After this a right
    lateral looks like a left one taken from the other side.
    """
    geometry = radiograph.geometry
    if geometry is None:
        raise InputError("expected a radiograph with a view geometry, got none: name its view (PA, lateral)")
    notes, changes = [], canonical_axes(geometry)
    turns = [slice(None), slice(None)]
    if "row_direction" in changes:
        turns[0] = slice(None, None, -1)
        notes.append("turned upside down")
    if "column_direction" in changes:
        turns[1] = slice(None, None, -1)
        notes.append("mirrored")
    if not changes:
        return radiograph
    note = f"{' and '.join(notes)} to the standard layout"
    covered = None if radiograph.covered is None else radiograph.covered[tuple(turns)]
    return radiograph.with_array(
        radiograph.array[tuple(turns)], note, geometry=replace(geometry, **changes), covered=covered
    )


def canonical_axes(geometry: ViewGeometry) -> dict[str, tuple[float, ...]]:
    """The row and column directions of a view that the standard layout turns round, by field name."""
    row, column = np.array(geometry.row_direction), np.array(geometry.column_direction)
    changes = {}
    if row[2] > 0:
        changes["row_direction"] = tuple(-row)
    if column[:2][np.argmax(np.abs(column[:2]))] < 0:
        changes["column_direction"] = tuple(-column)
    return changes


def with_geometry_of_pictures(radiograph: Radiograph, geometry: ViewGeometry, note: str) -> Radiograph:
    """The radiograph in a pose that was fitted to the pictures; its `meta` tells the new numbers and origin.

    note: for the history.
    """
    posed = radiograph.with_array(radiograph.array, note, geometry=geometry)
    meta = dict(posed.meta)
    for name in ("source_to_detector_mm", "source_to_isocenter_mm"):
        value = getattr(geometry, name)
        if name in meta and not np.isclose(value, getattr(radiograph.geometry, name), atol=0.05):
            meta |= {name: f"{value:.10g}", f"{name}.origin": FROM_PICTURES}
            meta.pop(f"{name}.tag", None)
    if "isocenter.origin" in meta:
        meta["isocenter.origin"] = FROM_PICTURES
    return replace(posed, meta=meta)


def network_input(
    radiograph: Radiograph, shape: tuple[int, int], pixel_spacing: tuple[float, float]
) -> Radiograph:
    """The radiograph on a network's detector, in its own units, antialiased.

    shape: (rows, columns); pixel_spacing: (row, column) mm on the detector. The new detector is
    centred where the isocentre projects to. Outside the old picture: 0 for line integrals and log
    signals, else the darkest percentile; such pixels are `covered`. Raises InputError for a picture
    without geometry, with NaN, or whose pixels are all equal.
    """
    from scipy import ndimage

    radiograph = canonical(radiograph.require_finite("the radiograph"))
    geometry = radiograph.geometry
    center = geometry.project(np.array(geometry.isocenter))
    spacing = np.array(pixel_spacing) / np.array(geometry.pixel_spacing)
    first = center - spacing * (np.array(shape) - 1) / 2.0
    array = radiograph.array.astype(np.float32)
    sigma = _antialiasing(spacing)
    if sigma.max() > 0.1:
        array = ndimage.gaussian_filter(array, sigma, mode="nearest", truncate=3.0)
    is_integral = radiograph.quantity in (Quantity.LINE_INTEGRAL, Quantity.LOG_SIGNAL)
    fill = 0.0 if is_integral else float(np.percentile(array, PERCENTILES[0]))
    resampled = ndimage.affine_transform(
        array, spacing, offset=first, output_shape=shape, order=1, mode="constant", cval=fill
    )
    # the pixel (0, 0) of the new detector lies at `first` of the old one
    offset = (
        first + (np.array(shape) - 1) / 2.0 * spacing - (np.array(geometry.shape) - 1) / 2.0
    ) * np.array(geometry.pixel_spacing)
    detector_center = (
        np.array(geometry.detector_center)
        + offset[0] * np.array(geometry.row_direction)
        + offset[1] * np.array(geometry.column_direction)
    )
    moved = replace(
        geometry, detector_center=tuple(detector_center), shape=shape, pixel_spacing=tuple(pixel_spacing)
    )
    note = f"resampled to {shape[0]}x{shape[1]} pixels of {pixel_spacing[0]:g}x{pixel_spacing[1]:g} mm"
    covered = _covered(radiograph, first, spacing, shape)
    return radiograph.with_array(resampled, note, geometry=moved, covered=covered)


def _antialiasing(spacing: np.ndarray) -> np.ndarray:
    """Standard deviations of the blur before steps of `spacing`, all in pixels of the old picture."""
    return np.sqrt((np.maximum(spacing, 1.0) ** 2 - 1.0) / 12.0)


def _covered(
    radiograph: Radiograph, first: np.ndarray, spacing: np.ndarray, shape: tuple[int, int]
) -> np.ndarray | None:
    """Which pixels of a new detector show nothing: outside the old picture, or covered in it.

    first, spacing: the new pixel (0, 0) and the step, in pixels of the old picture.
    """
    from scipy import ndimage

    inside = [
        (at >= -EDGE_PIXELS) & (at <= n - 1 + EDGE_PIXELS)
        for at, n in (
            (first[axis] + spacing[axis] * np.arange(shape[axis]), radiograph.array.shape[axis])
            for axis in (0, 1)
        )
    ]
    covered = ~(inside[0][:, None] & inside[1][None])
    if radiograph.covered is not None:
        # as wide as what a new pixel takes in: its neighbours, blurred
        sizes = tuple(2 * int(np.ceil(1.0 + 2.0 * s)) + 1 for s in _antialiasing(spacing))
        wide = ndimage.maximum_filter(radiograph.covered.astype(np.uint8), sizes, mode="nearest")
        covered |= (
            ndimage.affine_transform(wide, spacing, offset=first, output_shape=shape, order=0, mode="nearest")
            > 0
        )
    return covered if covered.any() else None


def normalize(picture: np.ndarray) -> np.ndarray:
    """Grey values (row, column) scaled so that their 1st and 99th percentiles are 0 and 1, float32.

    The unknown gain and offset of a real radiograph drop out; what is lost is the absolute
    attenuation, which a display-processed radiograph has lost already.
    """
    low, high = np.percentile(picture, PERCENTILES)
    if high <= low:
        low, high = float(picture.min()), float(picture.max())
    scaled = (picture - low) / max(high - low, 1e-12)
    return np.clip(scaled, *UNIT_RANGE).astype(np.float32)
