"""Plain text and Markdown at once: the tables are legible on a terminal and paste into README.md."""

from __future__ import annotations

from collections.abc import Sequence


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with aligned columns: the first to the left, the others to the right."""
    if any(len(row) != len(header) for row in rows):
        raise ValueError(f"expected rows of {len(header)} cells")
    widths = [max(3, *(len(line[i]) for line in [header, *rows])) for i in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        aligned = [c.rjust(w) if i else c.ljust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))]
        return f"| {' | '.join(aligned)} |"

    rule = [("-" * (w - 1) + ":") if i else "-" * w for i, w in enumerate(widths)]
    return "\n".join([line(header), f"| {' | '.join(rule)} |", *(line(row) for row in rows)])


def error(value: float | None) -> str:
    """A relative error, as in 8.24e-3."""
    if value is None:
        return "-"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def seconds(value: float | None, device: str = "cpu") -> str:
    """Seconds on the CPU, microseconds on a GPU."""
    if value is None:
        return "-"
    return f"{value * 1e6:.1f}" if device.startswith("cuda") else f"{value:.4f}"


def times(value: float | None) -> str:
    """A ratio, as in 12.3x; '-' where there is none."""
    if value is None or value != value:
        return "-"
    return f"{value:.2f}x" if value < 10 else f"{value:.1f}x"
