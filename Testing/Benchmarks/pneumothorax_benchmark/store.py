"""Rows on disk, one line of JSON each, so that a table can be continued where it was stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class Rows:
    """The rows of a file. A later row of the same case and mode replaces an earlier one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows: dict[tuple[str, str], dict[str, Any]] = {}
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                self._keep(_row(line))

    def _keep(self, row: dict[str, Any] | None) -> None:
        if row is not None:
            self._rows[row["case"], row["mode"]] = row

    def add(self, rows: list[dict[str, Any]]) -> None:
        """Appends rows to the file at once."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
        for row in rows:
            self._keep(row)

    def has(self, case: str, mode: str, settings: str) -> bool:
        """Whether the row of these settings is there."""
        row = self._rows.get((case, mode))
        return row is not None and row["hash"] == settings

    def of(self, cases: list[str]) -> list[dict[str, Any]]:
        """The rows of these cases, in their order."""
        return [row for name in cases for (case, _), row in self._rows.items() if case == name]


def _row(line: str) -> dict[str, Any] | None:
    """A line's row; None for one cut off by an end of the process."""
    try:
        row = json.loads(line)
    except json.JSONDecodeError:
        return None
    return row if {"case", "mode", "hash"} <= row.keys() else None
