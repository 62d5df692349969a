"""Line charts drawn with Pillow, in the style of the other figures: few curves, labelled axes, a legend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from xrecon.evaluation import panels
from xrecon.volume import InputError

# After Okabe and Ito, told apart with any colour vision, lightened for a dark ground.
COLORS = (
    (86, 180, 233), (230, 159, 0), (0, 190, 140), (240, 228, 66), (213, 94, 0), (204, 121, 167),
    (190, 190, 200), (0, 140, 220), (150, 220, 110), (255, 255, 255),
)  # fmt: skip
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 34, 46
_FINER = 3  # curves are drawn larger and reduced, which smooths them


@dataclass(frozen=True, eq=False)
class Curve:
    """A line of points (x, y) with its name; the colour is a number of `COLORS`."""

    name: str
    x: np.ndarray
    y: np.ndarray
    color: int = 0


def line_chart(
    curves: Sequence[Curve], title: str, x_label: str, y_label: str, size: tuple[int, int] = (1000, 360)
) -> Image.Image:
    """The curves on common axes, a legend below. size: (width, height) of the chart without its legend.

    Raises InputError when there is no curve, or a curve has no finite point.
    """
    if not curves or not all(np.isfinite(c.y).any() and len(c.x) == len(c.y) for c in curves):
        raise InputError("expected one or more curves with finite points and as many x as y")
    x_range = _range([c.x for c in curves])
    y_range = _range([c.y for c in curves])
    image = _plot(curves, x_range, y_range, size)
    draw = ImageDraw.Draw(image)
    small = panels.font(panels.TEXT_SIZE)
    draw.text((_LEFT, 8), title, fill=panels.INK, font=panels.font(panels.TITLE_SIZE))
    draw.text((size[0] - _RIGHT, size[1] - 6), x_label, fill=panels.DIM, font=small, anchor="rb")
    draw.text((size[0] - _RIGHT, 10), y_label, fill=panels.DIM, font=small, anchor="rt")
    for value in round_ticks(*x_range):
        x = _place(value, x_range, (_LEFT, size[0] - _RIGHT))
        draw.text((x, size[1] - _BOTTOM + 6), f"{value:g}", fill=panels.DIM, font=small, anchor="mt")
    for value in round_ticks(*y_range):
        y = _place(value, y_range, (size[1] - _BOTTOM, _TOP))
        draw.text((_LEFT - 8, y), f"{value:g}", fill=panels.DIM, font=small, anchor="rm")
    entries = [(c.name, tuple(v / 255 for v in COLORS[c.color % len(COLORS)]), True) for c in curves]
    legend = panels.legend(entries, size[0] - _LEFT - _RIGHT)
    sheet = Image.new("RGB", (size[0], size[1] + legend.height + panels.GAP), panels.GROUND)
    sheet.paste(image, (0, 0))
    sheet.paste(legend, (_LEFT, size[1]))
    return sheet


def histogram(
    values: np.ndarray, limits: tuple[float, float], bins: int = 64
) -> tuple[np.ndarray, np.ndarray]:
    """Middles of the bins and the share of the values in each; values beyond the limits are left out."""
    counts, edges = np.histogram(np.asarray(values, dtype=np.float64).ravel(), bins, limits)
    return (edges[1:] + edges[:-1]) / 2.0, counts / max(counts.sum(), 1)


def _plot(
    curves: Sequence[Curve],
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    size: tuple[int, int],
) -> Image.Image:
    """Grid and curves, without any text."""
    large = Image.new("RGB", tuple(n * _FINER for n in size), panels.GROUND)
    draw = ImageDraw.Draw(large)
    across, down = (_LEFT, size[0] - _RIGHT), (size[1] - _BOTTOM, _TOP)
    for value in round_ticks(*x_range):
        x = _place(value, x_range, across) * _FINER
        draw.line([(x, down[0] * _FINER), (x, down[1] * _FINER)], fill=(52, 58, 66), width=_FINER)
    for value in round_ticks(*y_range):
        y = _place(value, y_range, down) * _FINER
        draw.line([(across[0] * _FINER, y), (across[1] * _FINER, y)], fill=(52, 58, 66), width=_FINER)
    for curve in curves:
        known = np.isfinite(curve.y)
        x = _place(np.asarray(curve.x)[known], x_range, across) * _FINER
        y = _place(np.asarray(curve.y)[known], y_range, down) * _FINER
        points = list(zip(x.tolist(), y.tolist(), strict=True))
        draw.line(points, fill=COLORS[curve.color % len(COLORS)], width=2 * _FINER - 2, joint="curve")
    return large.resize(size, Image.Resampling.LANCZOS)


def _range(values: Sequence[np.ndarray]) -> tuple[float, float]:
    low = min(float(np.nanmin(v)) for v in values)
    high = max(float(np.nanmax(v)) for v in values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _place(value: np.ndarray | float, limits: tuple[float, float], pixels: tuple[int, int]) -> np.ndarray:
    share = (np.asarray(value, dtype=np.float64) - limits[0]) / (limits[1] - limits[0])
    return pixels[0] + share * (pixels[1] - pixels[0])


def round_ticks(low: float, high: float) -> np.ndarray:
    """Four to ten round numbers within the range."""
    step = 10.0 ** np.floor(np.log10((high - low) / 4.0))
    step *= max(m for m in (1, 2, 5) if m * step <= (high - low) / 4.0)
    return np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step
