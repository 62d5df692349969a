"""Figures of what was measured in a pneumothorax: the largest interpleural distance, the frontal outline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from xrecon.evaluation import panels, pictures
from xrecon.io.segmentation import PTX_SEGMENTS, SegmentDescription
from xrecon.volume import Volume

LINE = (80, 220, 255)
LINE_TEXT_SIZE = 15
FRONTAL_WINDOW = (-900.0, 100.0)
FRONTAL_PIXELS = 620
TICK = 5


@dataclass(frozen=True)
class DrawnLine:
    """A measured distance between two LPS points (x, y, z) with its text; y is free in a frontal picture."""

    text: str
    start: Sequence[float]
    end: Sequence[float]


def distance_picture(
    volume: Volume,
    labels: Volume,
    line: DrawnLine,
    segments: Sequence[SegmentDescription] = PTX_SEGMENTS,
    window: str | tuple[float, float] = "pleura",
    tile_pixels: int = pictures.TILE_PIXELS,
) -> Image.Image:
    """Three planes through the middle of a distance, segments laid over, the distance projected onto each.

    Where it leaves a plane it looks shorter than it is: the text is its true length.
    Raises InputError when CT and labels have different grids.
    """
    pictures.require_same_grid(volume, labels, "CT and labels")
    volume, labels = pictures.axis_aligned(volume), pictures.axis_aligned(labels)
    start, end = np.asarray(line.start, np.float64), np.asarray(line.end, np.float64)
    indices = pictures.indices_at(volume, (start + end) / 2.0)
    scale = pictures.tile_scale(volume, tile_pixels)
    tiles = []
    for plane in pictures.PLANES:
        index = indices[pictures.AXIS[plane]]
        tile = pictures.overlay_tile(volume, labels, plane, index, segments, window, scale)
        places = [place_in_plane(volume, plane, point, scale) for point in (start, end)]
        tiles.append(draw_line(tile, places[0], places[1], line.text))
    return panels.panel([tiles], pictures.slice_titles(volume, indices))


def frontal_picture(
    volume: Volume, labels: Volume, lines: Sequence[DrawnLine], tile_pixels: int = FRONTAL_PIXELS
) -> Image.Image:
    """The chest from the front: mean HU along the rays from front to back, the depth of the pleural air
    shaded on it, the sides outlined, distances drawn as they were measured in frontal projection.

    Raises InputError when CT and labels have different grids.
    """
    pictures.require_same_grid(volume, labels, "CT and labels")
    volume, labels = pictures.axis_aligned(volume), pictures.axis_aligned(labels)
    scale = tile_pixels / (volume.shape[2] * volume.spacing[2])
    spacing = (volume.spacing[0], volume.spacing[2])
    held = np.clip(volume.array, -1000, 500).mean(axis=1)[::-1]
    image = panels.tile(panels.grey(held, *FRONTAL_WINDOW), spacing, scale)
    entries = []
    for segment in PTX_SEGMENTS:
        if segment.label in pictures.PNEUMOTHORAX_LABELS:
            depth = np.count_nonzero(labels.array == segment.label, axis=1)[::-1] * volume.spacing[1]
            if depth.any():
                image = _shade_by_depth(image, depth, segment.color)
                text = f"{segment.name}, up to {depth.max():.0f} mm deep from front to back"
                entries.append((text, segment.color, True))
    for side_labels, color in (((1, 3), PTX_SEGMENTS[0].color), ((2, 4), PTX_SEGMENTS[1].color)):
        seen = np.isin(labels.array, side_labels).any(axis=1)[::-1]
        image = panels.outline(image, panels.fit(seen, image.size), color)
    for line in lines:
        places = [place_in_plane(volume, "coronal", point, scale) for point in (line.start, line.end)]
        image = draw_line(image, places[0], places[1], line.text)
    image = panels.lettered(image, pictures.LETTERS["coronal"])
    entries += [(line, tuple(c / 255 for c in LINE), False) for line in ("distance, mm",) if lines]
    return panels.panel([[image]], footer=panels.legend(entries, image.width) if entries else None)


def place_in_plane(
    volume: Volume, plane: str, point: Sequence[float], pixels_per_mm: float
) -> tuple[float, float]:
    """Pixel (x, y) of an LPS point (x, y, z) projected onto a slice of an `axis_aligned` volume as hung."""
    index = volume.world_to_index(np.asarray(point, np.float64))[::-1]
    mm = (index + 0.5) * np.array(volume.spacing)
    height = volume.shape[0] * volume.spacing[0]
    z, y, x = mm * pixels_per_mm
    up = height * pixels_per_mm - z
    return {"axial": (x, y), "coronal": (x, up), "sagittal": (y, up)}[plane]


def draw_line(
    image: Image.Image, start: tuple[float, float], end: tuple[float, float], text: str
) -> Image.Image:
    """The picture with a line with ticks at its ends and a text beside its middle."""
    image = image.copy()
    draw = ImageDraw.Draw(image)
    along = np.subtract(end, start)
    length = float(np.hypot(*along))
    across = np.array([-along[1], along[0]]) / length * TICK if length > 1e-6 else np.array([0.0, TICK])
    for color, width in (((0, 0, 0), 4), (LINE, 2)):
        draw.line([tuple(start), tuple(end)], fill=color, width=width)
        for place in (start, end):
            draw.line([tuple(place - across), tuple(place + across)], fill=color, width=width)
    middle = np.add(start, end) / 2.0
    wide = panels.text_width(text, LINE_TEXT_SIZE)
    # beside the line on the side with more room, and never over the edge of the picture
    right = middle[0] < image.width / 2
    x = max(start[0], end[0]) + 8 if right else min(start[0], end[0]) - 8 - wide
    x = float(np.clip(x, 2, max(2, image.width - wide - 2)))
    style = {"font": panels.font(LINE_TEXT_SIZE), "anchor": "lm", "stroke_width": 2, "stroke_fill": (0, 0, 0)}
    draw.text((x, float(middle[1])), text, fill=LINE, **style)
    return image


def _shade_by_depth(image: Image.Image, depth: np.ndarray, color: Sequence[float]) -> Image.Image:
    """The picture with a colour the stronger the deeper (mm, row by column) the air is."""
    share = Image.fromarray((depth / depth.max() * 255.0).astype(np.uint8))
    strength = np.asarray(share.resize(image.size, Image.Resampling.BILINEAR), np.float64)[..., None] / 255.0
    pixels = np.asarray(image, np.float64)
    mixed = pixels + 0.75 * strength * (255.0 * np.array(color) - pixels)
    return Image.fromarray(mixed.round().astype(np.uint8))
