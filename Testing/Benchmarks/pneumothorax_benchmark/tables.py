"""The rows as Markdown: figures by group, both modes side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Row = dict[str, Any]
Groups = dict[str, Callable[[Row], bool]]

COLUMNS = (
    "group", "mode", "cases", "Dice", "least", "ml error %", "worst", "false ml", "most", "HD95 mm", "ASD mm",
    "occupancy error", "worst",
)  # fmt: skip


def _air(row: Row) -> bool:
    return row["kind"] == "pneumothorax"


def _plain(row: Row) -> bool:
    special = row["loculated"] or row["effusion"] or row["emphysema"] or row["slice_mm"]
    return _air(row) and not special


SECTIONS: dict[str, Groups] = {
    "Without pneumothorax": {
        "the CT as it is": lambda r: r["kind"] == "real",
        **{f"healthy, {n} HU": lambda r, n=n: r["kind"] == "healthy" and r["noise_hu"] == n
           for n in (10, 20, 40, 60)},
        **{f"emphysema {s:g}": lambda r, s=s: r["kind"] == "emphysema" and r["emphysema"] == s
           for s in (0.05, 0.15, 0.3, 0.5)},
    },
    "Size, share of the hemithorax": {
        f"{100 * f:g} %": lambda r, f=f: _plain(r) and r["fraction"] == f
        for f in (0.02, 0.05, 0.08, 0.15, 0.25, 0.4, 0.6, 0.85)
    },
    "Kind": {
        "plain, 8 % or more": lambda r: _plain(r) and r["fraction"] >= 0.08,
        "plain, 25 % or more": lambda r: _plain(r) and r["fraction"] >= 0.25,
        "loculated": lambda r: _air(r) and r["loculated"],
        "with effusion": lambda r: _air(r) and r["effusion"] > 0,
        "in emphysema": lambda r: _air(r) and r["emphysema"] > 0,
    },
    "Side, position, place (plain, 8 % or more)": {
        word: lambda r, k=k, word=word: _plain(r) and r["fraction"] >= 0.08 and r[k] == word
        for k, words in (("side", ("right", "left")), ("position", ("supine", "erect")),
                         ("place", ("general", "apical", "basal")))
        for word in words
    },
    "Noise and kernel (plain, 8 % or more)": {
        **{f"{n} HU": lambda r, n=n: _plain(r) and r["fraction"] >= 0.08 and r["noise_hu"] == n
           for n in (0, 10, 20, 30, 40, 60)},
        **{f"{k or 'own'} kernel": lambda r, k=k: _plain(r) and r["fraction"] >= 0.08 and r["kernel"] == k
           for k in ("", "soft", "sharp")},
    },
    "Slices": {
        f"{s:g} mm": lambda r, s=s: _air(r) and r["slice_mm"] == s for s in (0.7, 3.0, 5.0)
    },
}  # fmt: skip


def all_tables(rows: Sequence[Row]) -> str:
    """Every section that has rows, and one by subject."""
    names = dict.fromkeys(r["subject"] for r in rows)
    subjects = {s: lambda r, s=s: _air(r) and r["subject"] == s for s in names}
    parts = [
        f"### {title}\n\n{table(rows, groups)}"
        for title, groups in {**SECTIONS, "Subject (with pneumothorax)": subjects}.items()
        if any(test(row) for test in groups.values() for row in rows)
    ]
    return "\n\n".join(parts)


def table(rows: Sequence[Row], groups: Groups) -> str:
    """One line per group and mode: medians, and the worst of each."""
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{' --- |' * len(COLUMNS)}"]
    for name, test in groups.items():
        for mode in dict.fromkeys(row["mode"] for row in rows):
            group = [row for row in rows if row["mode"] == mode and test(row)]
            if group:
                lines.append(f"| {' | '.join([name, mode, str(len(group)), *_cells(group)])} |")
    return "\n".join(lines)


def relative_error(row: Row) -> float | None:
    """Error of the volume in percent of the true one."""
    return 100.0 * row["ml_error"] / row["truth_ml"] if row["truth_ml"] else None


def _cells(group: Sequence[Row]) -> list[str]:
    relative = [relative_error(row) for row in group]
    return [
        *_pair([r["dice"] if r["truth_ml"] else None for r in group], min, "{:.3f}"),
        *_pair(relative, lambda v: max(v, key=abs), "{:+.1f}"),
        *_pair([r["false_ml"] for r in group], max, "{:.1f}"),
        *_pair([r["hd95_mm"] for r in group], None, "{:.1f}"),
        *_pair([r["asd_mm"] for r in group], None, "{:.2f}"),
        *_pair([r["occupancy_error"] for r in group], lambda v: max(v, key=abs), "{:+.1f}"),
    ]


def _pair(values: Sequence[float | None], worst: Callable | None, form: str) -> list[str]:
    """Median and, where asked for, the worst; a dash where no case has the measure."""
    some = [v for v in values if v is not None]
    if not some:
        return ["-"] * (1 if worst is None else 2)
    return [form.format(np.median(some))] + ([] if worst is None else [form.format(worst(some))])
