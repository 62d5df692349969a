"""What a command leaves, and how that is told."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xrecon.progress import Reporter

ProgressCallback = Callable[[str, float, str], None]


@dataclass(frozen=True)
class Outcome:
    """What a command leaves: files by role, numbers for programs, text and warnings for people."""

    files: dict[str, Path]
    numbers: dict[str, Any]
    text: str = ""
    warnings: list[str] = field(default_factory=list)


def tell(report: Reporter, outcome: Outcome) -> None:
    """Warnings and result of a command that succeeded."""
    for warning in outcome.warnings:
        report.warn(warning)
    numbers = {**outcome.numbers, "warnings": outcome.warnings}
    report.result(outcome.files, numbers, outcome.text)


def table_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """CSV text; columns in the order of their first appearance."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()
