"""Figures a radiologist can read: slices, comparisons, radiograph panels, pneumothorax overlays.

Slices are hung as usual: axial ones are seen from the feet with the front up, so that the patient's
right is on the left of the picture; coronal ones from the front; sagittal ones from the left, front
on the left. Every tile keeps its physical aspect ratio. Functions give Pillow RGB images and raise
InputError when volumes that are laid over each other have different grids.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import numpy as np
from PIL import Image

from xrecon.evaluation import panels
from xrecon.evaluation.panels import Letters
from xrecon.io.segmentation import PTX_SEGMENTS, SegmentDescription
from xrecon.provenance import is_reconstructed
from xrecon.volume import InputError, Quantity, Radiograph, Volume

# Name -> (low, high) HU.
WINDOWS = {
    "lung": (-1350.0, 150.0),
    "pleura": (-1040.0, 160.0),  # air black, lung dark: shows the edge of a collapsed lung
    "mediastinum": (-160.0, 240.0),
    "bone": (-500.0, 1300.0),
    "whole": (-1024.0, 476.0),
}
PLANES = ("axial", "coronal", "sagittal")
AXIS = {"axial": 0, "coronal": 1, "sagittal": 2}
LETTERS = {
    "axial": Letters("R", "L", "A", "P"),
    "coronal": Letters("R", "L", "S", "I"),
    "sagittal": Letters("A", "P", "S", "I"),
}
ERROR_LIMIT_HU = 500.0
TILE_PIXELS = 360
PNEUMOTHORAX_LABELS = (3, 4)
OVERLAY_OPACITY = 0.55


# -- slices --------------------------------------------------------------------------------------
def axis_aligned(volume: Volume) -> Volume:
    """The same voxels with the index axes in the order and sense nearest to LPS; nothing resampled.

    An oblique volume stays as oblique as it is: its slices are cut along its own voxels.
    """
    direction = np.asarray(volume.direction)
    order = max(permutations(range(3)), key=lambda p: sum(abs(direction[w, p[w]]) for w in range(3)))
    # order[w] is the index axis (x, y, z) that runs along world axis w; arrays are (z, y, x)
    array = volume.array.transpose([2 - order[w] for w in (2, 1, 0)])
    spacing = tuple(volume.spacing[2 - order[w]] for w in (2, 1, 0))
    columns = direction[:, list(order)].copy()
    first = np.zeros(3)
    for world in range(3):
        if columns[world, world] < 0:
            first[order[world]] = volume.shape[::-1][order[world]] - 1
            columns[:, world] *= -1
            array = np.flip(array, axis=2 - world)
    origin = tuple(volume.index_to_world(first))
    return Volume(np.ascontiguousarray(array), spacing, origin, columns, volume.quantity, volume.meta)


def plane_pixels(volume: Volume, plane: str, index: int) -> tuple[np.ndarray, tuple[float, float]]:
    """Voxels (row, column) of a slice of an `axis_aligned` volume as hung, and their mm."""
    if plane not in PLANES:
        raise InputError(f"expected a plane out of {PLANES}, got {plane!r}")
    axis = AXIS[plane]
    if not 0 <= index < volume.shape[axis]:
        raise InputError(f"expected a {plane} slice from 0 to {volume.shape[axis] - 1}, got {index}")
    pixels = np.take(volume.array, index, axis=axis)
    spacing = tuple(s for a, s in enumerate(volume.spacing) if a != axis)
    return (pixels if plane == "axial" else pixels[::-1]), spacing


def slice_tile(
    volume: Volume,
    plane: str,
    index: int,
    window: str | tuple[float, float] = "lung",
    pixels_per_mm: float = 1.0,
) -> Image.Image:
    """One windowed slice of an `axis_aligned` volume with the letters of its sides."""
    pixels, spacing = plane_pixels(volume, plane, index)
    shown = panels.tile(panels.grey(pixels, *window_of(window)), spacing, pixels_per_mm)
    return panels.lettered(shown, LETTERS[plane])


def window_of(window: str | tuple[float, float]) -> tuple[float, float]:
    """(low, high) HU of a window's name, or of the pair itself."""
    if isinstance(window, str):
        if window not in WINDOWS:
            raise InputError(f"expected a window out of {tuple(WINDOWS)}, got {window!r}")
        return WINDOWS[window]
    low, high = (float(v) for v in window)
    if not low < high:
        raise InputError(f"expected a window (low, high) HU with low below high, got {window}")
    return low, high


def three_planes(
    volume: Volume,
    window: str | tuple[float, float] = "lung",
    center: Sequence[float] | None = None,
    tile_pixels: int = TILE_PIXELS,
) -> Image.Image:
    """Axial, coronal and sagittal slice through `center` (LPS mm; None is the volume's middle)."""
    volume = axis_aligned(volume)
    indices = indices_at(volume, center)
    scale = tile_scale(volume, tile_pixels)
    tiles = [slice_tile(volume, p, indices[AXIS[p]], window, scale) for p in PLANES]
    return panels.panel([tiles], slice_titles(volume, indices))


def compare_volumes(
    reference: Volume,
    reconstruction: Volume,
    window: str | tuple[float, float] = "whole",
    center: Sequence[float] | None = None,
    limit_hu: float = ERROR_LIMIT_HU,
    tile_pixels: int = TILE_PIXELS,
) -> Image.Image:
    """Truth | reconstruction | signed error (reconstruction - truth), one row for each plane."""
    require_same_grid(reference, reconstruction, "truth and reconstruction")
    reference, reconstruction = axis_aligned(reference), axis_aligned(reconstruction)
    difference = reconstruction.array.astype(np.float64) - reference.array
    error = reference.with_array(difference)
    indices = indices_at(reference, center)
    scale = tile_scale(reference, tile_pixels)
    rows = []
    for plane in PLANES:
        index = indices[AXIS[plane]]
        pair = [slice_tile(v, plane, index, window, scale) for v in (reference, reconstruction)]
        pixels, spacing = plane_pixels(error, plane, index)
        rows.append([*pair, _error_tile(pixels, spacing, limit_hu, scale), None])
    height = rows[0][0].height
    rows[0][3] = panels.color_bar(height, lambda v: panels.diverging(v, limit_hu), -limit_hu, limit_hu, "HU")
    titles = ["truth", "reconstruction (synthetic)", "reconstruction - truth", ""]
    return panels.panel(rows, titles, [t.split("  ")[0] for t in slice_titles(reference, indices)])


# -- radiographs ---------------------------------------------------------------------------------
def radiograph_letters(radiograph: Radiograph) -> Letters:
    """Letters of the picture's edges from its geometry, or from its view when it has none."""
    geometry = radiograph.geometry
    if geometry is None:
        known = {"PA": "RL", "AP": "RL", "LEFT LATERAL": "AP", "RIGHT LATERAL": "PA"}
        return Letters(*known[radiograph.view]) if radiograph.view in known else Letters()
    ends = {0: "RL", 1: "AP", 2: "IS"}
    named = []
    for direction in (geometry.column_direction, geometry.row_direction):
        axis = int(np.argmax(np.abs(direction)))
        named.extend(ends[axis] if direction[axis] > 0 else ends[axis][::-1])
    return Letters(*named)


def radiograph_panel(
    inputs: Sequence[Radiograph], reprojections: Sequence[Radiograph], tile_pixels: int = TILE_PIXELS
) -> Image.Image:
    """Input | reprojection | difference (reprojection - input), one row for each view.

    Between line integrals the difference is in line integrals. A radiograph for display has no
    absolute scale: there gain and offset of the reprojection are fitted to the input where rays
    meet the volume, and the difference is in percent of the input's grey range. Where the input is
    covered there is no difference.
    """
    if len(inputs) != len(reprojections) or not inputs:
        raise InputError(
            f"expected as many inputs as reprojections, got {len(inputs)} and {len(reprojections)}"
        )
    pairs = list(zip(inputs, reprojections, strict=True))
    limit = max(_line_integral_limit(a) for a in inputs)
    rows = [_radiograph_row(a, b, limit, tile_pixels) for a, b in pairs]
    titles = ["input", "reprojection of the reconstruction", "reprojection - input", ""]
    names = [r.view.lower().replace("pa", "PA").replace("ap", "AP") or "view" for r in inputs]
    return panels.panel(rows, titles, names)


def _line_integral_limit(radiograph: Radiograph) -> float:
    """End of the colour bar for differences: a fifth of the input's range, one digit."""
    low, high = _grey_range(radiograph)
    return float(f"{max(0.2 * (high - low), 1e-12):.1g}")


def _grey_range(radiograph: Radiograph) -> tuple[float, float]:
    """Of what is seen, not covered, unless nothing is."""
    seen = radiograph.seen if radiograph.seen.any() else np.s_[:]
    low, high = np.percentile(radiograph.array[seen], (0.5, 99.8))
    return float(low), float(high)


def _radiograph_row(
    radiograph: Radiograph, reprojection: Radiograph, limit: float, tile_pixels: int
) -> list[Image.Image]:
    if radiograph.array.shape != reprojection.array.shape:
        raise InputError(
            f"expected input and reprojection of one shape, got {radiograph.array.shape} "
            f"and {reprojection.array.shape}"
        )
    y, p = radiograph.array.astype(np.float64), reprojection.array.astype(np.float64)
    low, high = _grey_range(radiograph)
    shown = y
    absolute = radiograph.quantity is reprojection.quantity is Quantity.LINE_INTEGRAL
    if not absolute:
        gain, offset = _fit(p, y, radiograph.seen)
        p = gain * p + offset
    width = max(high - low, 1e-12)
    y = np.where(radiograph.seen, y, p)
    difference, limit, unit = (p - y, limit, "") if absolute else ((p - y) / width * 100, 20.0, "%")
    spacing = radiograph.geometry.pixel_spacing if radiograph.geometry else (1.0, 1.0)
    scale = tile_pixels / (y.shape[1] * spacing[1])
    letters = radiograph_letters(radiograph)
    pictures = [panels.tile(panels.grey(v, low, high), spacing, scale) for v in (shown, p)]
    pictures.append(panels.tile(panels.diverging(difference, limit), spacing, scale))
    tiles = [panels.lettered(t, letters) for t in pictures]
    bar = panels.color_bar(tiles[0].height, lambda v: panels.diverging(v, limit), -limit, limit, unit)
    return [*tiles, bar]


def _fit(p: np.ndarray, y: np.ndarray, seen: np.ndarray) -> tuple[float, float]:
    """Gain and offset that bring p nearest to y by least squares where p is not 0 and y is seen."""
    hit = (p > 0) & seen
    if np.count_nonzero(hit) < 2 or np.ptp(p[hit]) == 0:
        return 1.0, 0.0
    gain, offset = np.polyfit(p[hit], y[hit], 1)
    return float(gain), float(offset)


# -- pneumothorax --------------------------------------------------------------------------------
def pneumothorax_picture(
    volume: Volume,
    labels: Volume,
    segments: Sequence[SegmentDescription] = PTX_SEGMENTS,
    window: str | tuple[float, float] = "pleura",
    tile_pixels: int = TILE_PIXELS,
) -> Image.Image:
    """CT slices through the largest pneumothorax, above plain, below with the labels, and a legend.

    Each plane cuts the larger side's pneumothorax where its area is greatest. Air is filled in its
    segment's colour, lungs are outlined. Without pneumothorax the slices cut the lungs likewise.
    """
    require_same_grid(volume, labels, "CT and labels")
    name = "CT (synthetic)" if is_reconstructed(volume.meta) else "CT"
    volume, labels = axis_aligned(volume), axis_aligned(labels)
    indices = largest_slices(labels.array)
    scale = tile_scale(volume, tile_pixels)
    plain = [slice_tile(volume, p, indices[AXIS[p]], window, scale) for p in PLANES]
    marked = [
        overlay_tile(volume, labels, plane, indices[AXIS[plane]], segments, window, scale) for plane in PLANES
    ]
    counts = np.bincount(labels.array.astype(np.int64).ravel(), minlength=max(s.label for s in segments) + 1)
    entries = [
        (f"{s.name}: {counts[s.label] * labels.voxel_ml:.0f} ml", s.color, s.label in PNEUMOTHORAX_LABELS)
        for s in segments
    ]
    width = sum(t.width for t in plain) + 2 * panels.GAP
    return panels.panel(
        [plain, marked], slice_titles(volume, indices), [name, "segments"], panels.legend(entries, width)
    )


def largest_slices(labels: np.ndarray) -> tuple[int, int, int]:
    """Index (z, y, x) of the slices where the larger pneumothorax, or else the lungs, have most voxels."""
    sizes = [np.count_nonzero(labels == label) for label in PNEUMOTHORAX_LABELS]
    if max(sizes):
        mask = labels == PNEUMOTHORAX_LABELS[int(np.argmax(sizes))]
    else:
        mask = labels > 0
    if not mask.any():
        return tuple(n // 2 for n in labels.shape)
    return tuple(int(np.argmax(mask.sum(axis=tuple(a for a in range(3) if a != k)))) for k in range(3))


def overlay_tile(
    volume: Volume,
    labels: Volume,
    plane: str,
    index: int,
    segments: Sequence[SegmentDescription],
    window: str | tuple[float, float],
    scale: float,
) -> Image.Image:
    pixels, spacing = plane_pixels(volume, plane, index)
    image = panels.tile(panels.grey(pixels, *window_of(window)), spacing, scale)
    named, _ = plane_pixels(labels, plane, index)
    for segment in segments:
        mask = panels.fit(named == segment.label, image.size)
        if segment.label in PNEUMOTHORAX_LABELS:
            image = panels.shade(image, mask, segment.color, OVERLAY_OPACITY)
        image = panels.outline(image, mask, segment.color)
    return panels.lettered(image, LETTERS[plane])


# -- shared --------------------------------------------------------------------------------------
def _error_tile(pixels: np.ndarray, spacing: tuple[float, float], limit: float, scale: float) -> Image.Image:
    return panels.tile(panels.diverging(pixels, limit), spacing, scale)


def require_same_grid(first: Volume, second: Volume, names: str) -> None:
    if not first.same_grid(second):
        raise InputError(f"expected {names} on one grid, got shapes {first.shape} and {second.shape}")


def indices_at(volume: Volume, center: Sequence[float] | None) -> tuple[int, int, int]:
    point = volume.center if center is None else np.asarray(center, dtype=np.float64)
    nearest = np.rint(volume.world_to_index(point))[::-1]
    return tuple(int(np.clip(i, 0, n - 1)) for i, n in zip(nearest, volume.shape, strict=True))


def tile_scale(volume: Volume, tile_pixels: int) -> float:
    """Pixels per mm that make the widest of the three slices `tile_pixels` wide."""
    extent = [n * s for n, s in zip(volume.shape, volume.spacing, strict=True)]
    return tile_pixels / max(extent[1], extent[2])


def slice_titles(volume: Volume, indices: tuple[int, int, int]) -> list[str]:
    world = volume.index_to_world(np.array(indices[::-1], dtype=np.float64))
    ends = {"axial": ("z", 2), "coronal": ("y", 1), "sagittal": ("x", 0)}
    return [f"{plane}  {ends[plane][0]} = {world[ends[plane][1]]:.0f} mm" for plane in PLANES]
