"""Panels for figures: tiles at true aspect ratio, letters, captions, colour bars. Pillow only.

Panels are dark because radiographs are read on dark ground; the report around them is light.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

GROUND = (13, 17, 22)
INK = (232, 236, 240)
DIM = (150, 160, 172)
MARK = (255, 209, 102)  # letters of the sides
GAP = 10
MARGIN = 14
TITLE_SIZE, TEXT_SIZE, LETTER_SIZE = 17, 14, 18


@dataclass(frozen=True)
class Letters:
    """Which way the patient lies in a picture; "" where nothing is to be drawn."""

    left: str = ""
    right: str = ""
    top: str = ""
    bottom: str = ""


@lru_cache(maxsize=8)
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font, so that figures look the same everywhere. It has Latin letters only."""
    return ImageFont.load_default(size)


def text_width(text: str, size: int) -> int:
    """Width in pixels of one line."""
    return int(np.ceil(font(size).getlength(text)))


# -- colours -------------------------------------------------------------------------------------
def grey(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """uint8 (row, column): `low` is black, `high` white, beyond them clipped."""
    scaled = (np.asarray(values, dtype=np.float64) - low) / max(high - low, 1e-12)
    return np.round(np.clip(scaled, 0.0, 1.0) * 255.0).astype(np.uint8)


# Blue for too low, white for right, red for too high (after ColorBrewer's RdBu).
_DIVERGING = np.array(
    [
        (5, 48, 97), (67, 147, 195), (209, 229, 240), (248, 248, 248), (253, 219, 199), (214, 96, 77),
        (103, 0, 31),
    ],
    dtype=np.float64,
)  # fmt: skip


def diverging(values: np.ndarray, limit: float) -> np.ndarray:
    """uint8 (row, column, 3): -limit blue, 0 white, +limit red, beyond them clipped."""
    place = (np.clip(np.asarray(values, dtype=np.float64) / limit, -1, 1) + 1) / 2
    stops = np.linspace(0, 1, len(_DIVERGING))
    return np.stack([np.interp(place, stops, c) for c in _DIVERGING.T], axis=-1).round().astype(np.uint8)


# -- tiles ---------------------------------------------------------------------------------------
def tile(pixels: np.ndarray, spacing: tuple[float, float], pixels_per_mm: float) -> Image.Image:
    """An RGB picture of uint8 pixels (row, column[, 3]) of `spacing` mm at its physical aspect ratio."""
    image = Image.fromarray(np.ascontiguousarray(pixels)).convert("RGB")
    rows, columns = pixels.shape[:2]
    size = (
        max(1, round(columns * spacing[1] * pixels_per_mm)),
        max(1, round(rows * spacing[0] * pixels_per_mm)),
    )
    return image.resize(size, Image.Resampling.BICUBIC)


def fit(masks: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A boolean mask (row, column) at another size (width, height), its outline smoothed."""
    image = Image.fromarray(np.where(masks, 255, 0).astype(np.uint8))
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR)) >= 128


def shade(image: Image.Image, mask: np.ndarray, color: Sequence[float], opacity: float) -> Image.Image:
    """The picture with `color` (0..1) laid over a mask (row, column) of its size."""
    pixels = np.asarray(image, dtype=np.float64).copy()
    pixels[mask] += opacity * (255.0 * np.array(color) - pixels[mask])
    return Image.fromarray(pixels.round().astype(np.uint8))


def outline(image: Image.Image, mask: np.ndarray, color: Sequence[float]) -> Image.Image:
    """The picture with the inner rim, two pixels wide, of a mask (row, column) of its size drawn."""
    core = mask.copy()
    for _ in range(2):
        padded = np.pad(core, 1)
        core = core & padded[2:, 1:-1] & padded[:-2, 1:-1] & padded[1:-1, 2:] & padded[1:-1, :-2]
    return shade(image, mask & ~core, color, 1.0)


def lettered(image: Image.Image, letters: Letters) -> Image.Image:
    """The picture with the letters of the patient's sides at its edges."""
    image = image.copy()
    draw = ImageDraw.Draw(image)
    width, height = image.size
    for text, place, anchor in (
        (letters.left, (5, height // 2), "lm"),
        (letters.right, (width - 5, height // 2), "rm"),
        (letters.top, (width // 2, 4), "mt"),
        (letters.bottom, (width // 2, height - 4), "mb"),
    ):
        if text:
            style = {"font": font(LETTER_SIZE), "anchor": anchor, "stroke_width": 2, "stroke_fill": (0, 0, 0)}
            draw.text(place, text, fill=MARK, **style)
    return image


def color_bar(
    height: int, colors: Callable[[np.ndarray], np.ndarray], low: float, high: float, unit: str
) -> Image.Image:
    """A vertical bar with its ends and middle labelled; `colors` maps values to uint8 colours."""
    values = np.linspace(high, low, max(height, 2))[:, None] * np.ones((1, 14))
    labels = [(high, "lt", 0), ((low + high) / 2, "lm", height // 2), (low, "lb", height - 1)]
    texts = [f"{value:+g}" if value else "0" for value, _, _ in labels]
    width = 20 + max(text_width(t, TEXT_SIZE) for t in (*texts, unit))
    image = Image.new("RGB", (width, height), GROUND)
    image.paste(Image.fromarray(colors(values)).convert("RGB"), (0, 0))
    draw = ImageDraw.Draw(image)
    for (_, anchor, y), text in zip(labels, texts, strict=True):
        draw.text((19, y), text, fill=INK, font=font(TEXT_SIZE), anchor=anchor)
    draw.text((19, height // 4), unit, fill=DIM, font=font(TEXT_SIZE), anchor="lm")
    return image


# -- composition ---------------------------------------------------------------------------------
def panel(
    rows: Sequence[Sequence[Image.Image | None]],
    column_titles: Sequence[str] = (),
    row_titles: Sequence[str] = (),
    footer: Image.Image | None = None,
) -> Image.Image:
    """Tiles in a grid, each centred in its cell, titles above the columns and left of the rows."""
    columns = max(len(row) for row in rows)
    widths = [max((r[c].width for r in rows if c < len(r) and r[c]), default=0) for c in range(columns)]
    for c, title in enumerate(column_titles):
        widths[c] = max(widths[c], text_width(title, TITLE_SIZE))
    heights = [max((t.height for t in row if t), default=0) for row in rows]
    left = MARGIN + (TITLE_SIZE + GAP if row_titles else 0)
    top = MARGIN + (TITLE_SIZE + GAP if column_titles else 0)
    total_width = left + sum(widths) + GAP * (columns - 1) + MARGIN
    total_height = top + sum(heights) + GAP * (len(rows) - 1) + MARGIN
    if footer is not None:
        total_width = max(total_width, footer.width + 2 * MARGIN)
        total_height += footer.height + GAP
    sheet = Image.new("RGB", (total_width, total_height), GROUND)
    draw = ImageDraw.Draw(sheet)
    x_of = [left + sum(widths[:c]) + GAP * c for c in range(columns)]
    y_of = [top + sum(heights[:r]) + GAP * r for r in range(len(rows))]
    for c, title in enumerate(column_titles):
        draw.text((x_of[c] + widths[c] // 2, MARGIN), title, fill=INK, font=font(TITLE_SIZE), anchor="mt")
    for r, title in enumerate(row_titles):
        _write_upwards(sheet, title, (MARGIN, y_of[r]), heights[r])
    for r, row in enumerate(rows):
        for c, part in enumerate(row):
            if part is not None:
                place = (x_of[c] + (widths[c] - part.width) // 2, y_of[r] + (heights[r] - part.height) // 2)
                sheet.paste(part, place)
    if footer is not None:
        sheet.paste(footer, (MARGIN, total_height - MARGIN - footer.height))
    return sheet


def legend(entries: Sequence[tuple[str, Sequence[float], bool]], width: int) -> Image.Image:
    """Swatches with their texts, wrapped at `width`: (text, colour 0..1, filled or outline only)."""
    line, swatch = TEXT_SIZE + 10, TEXT_SIZE
    places, x, y = [], 0, 0
    for text, _, _ in entries:
        needed = swatch + 8 + text_width(text, TEXT_SIZE) + 24
        if x and x + needed > width:
            x, y = 0, y + line
        places.append((x, y))
        x += needed
    image = Image.new("RGB", (max(width, 1), y + line), GROUND)
    draw = ImageDraw.Draw(image)
    for (text, color, filled), (x, y) in zip(entries, places, strict=True):
        rgb = tuple(round(255 * c) for c in color)
        box = (x, y + 5, x + swatch, y + 5 + swatch)
        draw.rectangle(box, fill=rgb if filled else None, outline=rgb, width=2)
        draw.text((x + swatch + 8, y + 5 + swatch // 2), text, fill=INK, font=font(TEXT_SIZE), anchor="lm")
    return image


def _write_upwards(sheet: Image.Image, text: str, place: tuple[int, int], height: int) -> None:
    strip = Image.new("RGB", (max(height, 1), TITLE_SIZE + 6), GROUND)
    style = {"fill": INK, "font": font(TITLE_SIZE), "anchor": "mm"}
    ImageDraw.Draw(strip).text((strip.width // 2, strip.height // 2), text, **style)
    sheet.paste(strip.rotate(90, expand=True), (place[0] - 4, place[1]))
