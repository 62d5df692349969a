"""The figures of models beside each other: rows for CSV and JSON, and Markdown.

Means are over patients, with 95 % t intervals, of two patients with the range (`evaluation.intervals`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xrecon.assessment.figures import CONTROLS_OF, IMAGE_TITLES, LUNG_TITLES, air_markdown, markdown_line
from xrecon.assessment.run import Result
from xrecon.benchmark.measure import correlations
from xrecon.evaluation.intervals import Interval, figure_interval, limits_are

# Name -> title of the figures of a reconstruction, the controls' beside what they control.
RECONSTRUCTION = {
    **IMAGE_TITLES,
    **{
        f"{name}{end}": f"{IMAGE_TITLES[name]}, {title}"
        for name in ("psnr", "ssim")
        for end, title in CONTROLS_OF.items()
    },
    **LUNG_TITLES,
}


def figures_of(result: Result) -> dict[str, str]:
    """Title -> name of the figures that a model has."""
    if result.model.makes_volumes:
        present = {name for row in result.plain for name in row}
        return {title: name for name, title in RECONSTRUCTION.items() if name in present}
    names = [name for name in numbers_of(result.rows) if name != "seconds"]
    return {name.replace("_", " "): name for name in names}


def numbers_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the figures that any of the rows has a number for, in their order."""
    return list(dict.fromkeys(n for row in rows for n, v in row.items() if isinstance(v, (int, float))))


def intervals(result: Result) -> dict[str, Interval]:
    """Mean and interval of each figure over the patients, as scanned."""
    found = {name: figure_interval(result.plain, name) for name in figures_of(result).values()}
    return {name: interval for name, interval in found.items() if interval is not None}


def air_correlations(result: Result) -> dict[str, float]:
    """Pearson's r of volumes and occupancy over all cases; see `benchmark.measure.correlations`."""
    if not result.model.makes_volumes:
        return {}
    return {name: r for name, r in correlations(result.rows).items() if r is not None}


def summary_row(result: Result) -> dict[str, Any]:
    """One flat row of a model."""
    row: dict[str, Any] = {
        "model": result.model.label,
        "patients": len({r["patient"] for r in result.rows}),
    }
    row |= {"low_and_high_are": limits_are(intervals(result).values())}
    for name, interval in intervals(result).items():
        row |= {name: interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}
    return row | air_correlations(result)


def markdown(results: Sequence[Result]) -> str:
    """Models of a kind share tables, a line for each figure; then each case with pneumothorax."""
    parts = []
    for title, group in groups(results):
        titles = {t: name for result in group for t, name in figures_of(result).items()}
        found = [intervals(result) for result in group]
        lines = [
            markdown_line([title, *(r.model.label for r in group)]),
            markdown_line(["---"] * (len(group) + 1)),
        ]
        for text, name in titles.items():
            lines.append(markdown_line([text, *(str(f[name]) if name in f else "-" for f in found)]))
        r = [air_correlations(result) for result in group]
        for name in dict.fromkeys(name for values in r for name in values):
            cells = [f"{values[name]:.2f}" if name in values else "-" for values in r]
            lines.append(markdown_line([name.removesuffix("_r").replace("_", " ") + ", r", *cells]))
        parts.append("\n".join(lines))
        parts += [table for result in group if (table := air_table(result))]
    return "\n\n".join(parts) + "\n"


def groups(results: Sequence[Result]) -> list[tuple[str, list[Result]]]:
    """Models that reconstruct, and models that segment, as far as there are any."""
    kinds = (("reconstruction", True), ("segmentation", False))
    found = [(title, [r for r in results if r.model.makes_volumes == makes]) for title, makes in kinds]
    return [(title, group) for title, group in found if group]


def air_table(result: Result) -> str:
    """The cases with a synthetic pneumothorax as a Markdown table; "" without any."""
    rows = [row for row in result.rows if row.get("fraction")]
    return air_markdown(rows, result.model.label) if rows else ""
