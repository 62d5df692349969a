"""A chart of means with their intervals, one line for each name, drawn with Pillow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from xrecon.evaluation import panels
from xrecon.evaluation.charts import COLORS, round_ticks
from xrecon.evaluation.intervals import Interval
from xrecon.volume import InputError

_ROW, _TOP, _BOTTOM, _WIDTH = 26, 40, 34, 640


@dataclass(frozen=True)
class Dots:
    """A line of the chart: several means with the colours' numbers of the series they belong to."""

    name: str
    values: Sequence[tuple[int, Interval | None]]


def dot_chart(rows: Sequence[Dots], series: Sequence[str], title: str, unit: str) -> Image.Image:
    """Dots at the means, bars over the intervals, one row for each name; `series` name the colours.

    Raises InputError when there is nothing to draw.
    """
    known = [i for row in rows for _, i in row.values if i is not None]
    if not known:
        raise InputError("expected one or more figures to draw, got none")
    low, high = _limits(known)
    left = panels.MARGIN + max(panels.text_width(row.name, panels.TEXT_SIZE) for row in rows) + panels.GAP
    entries = [(name, tuple(v / 255 for v in COLORS[k]), True) for k, name in enumerate(series)]
    key = panels.legend(entries, _WIDTH)
    height = _TOP + _ROW * len(rows) + _BOTTOM
    size = (left + _WIDTH + panels.MARGIN, height + key.height + panels.MARGIN)
    sheet = Image.new("RGB", size, panels.GROUND)
    draw = ImageDraw.Draw(sheet)
    small = panels.font(panels.TEXT_SIZE)
    draw.text((panels.MARGIN, 10), f"{title} [{unit}]" if unit else title, fill=panels.INK,
              font=panels.font(panels.TITLE_SIZE))  # fmt: skip

    def place(value: float) -> float:
        return left + (min(max(value, low), high) - low) / (high - low) * _WIDTH

    for value in round_ticks(low, high):
        draw.line([(place(value), _TOP), (place(value), height - _BOTTOM)], fill=(52, 58, 66))
        draw.text(
            (place(value), height - _BOTTOM + 8), f"{value:g}", fill=panels.DIM, font=small, anchor="mt"
        )
    for number, row in enumerate(rows):
        y = _TOP + _ROW * number + _ROW // 2
        draw.text((left - panels.GAP, y), row.name, fill=panels.INK, font=small, anchor="rm")
        for color, interval in row.values:
            if interval is not None:
                _draw(draw, place, y, interval, COLORS[color])
    sheet.paste(key, (left, height))
    return sheet


def _draw(draw: ImageDraw.ImageDraw, place: object, y: int, interval: Interval, color: tuple) -> None:
    if interval.low is not None and interval.high is not None:
        draw.line([(place(interval.low), y), (place(interval.high), y)], fill=color, width=2)
    x = place(interval.mean)
    draw.ellipse([x - 5, y - 5, x + 5, y + 5], fill=color)


def _limits(intervals: Sequence[Interval]) -> tuple[float, float]:
    """About the means: intervals of few patients may reach far beyond and are cut at the chart's edge."""
    low, high = min(i.mean for i in intervals), max(i.mean for i in intervals)
    margin = 0.15 * (high - low) or 0.5
    return low - margin, high + margin
