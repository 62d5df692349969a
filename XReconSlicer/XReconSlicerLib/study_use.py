"""What each CT of the training panel is used for: a choice per row, written as a table of the run."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _
from xrecon.io.atomic import atomic_write_text
from xrecon.io.table import read_rows

# In the folder of a run; the second is of an evaluation, which may be of other CTs.
RUN_TABLE, EVALUATION_TABLE = "subjects.csv", "evaluated-subjects.csv"
GIVEN_TABLE = "subjects.csv"  # in a folder of CTs
COLUMNS = ("path", "name", "patient", "split")
EXCLUDED = "exclude"


def useCombo(study: Mapping[str, Any], changed: Callable[[], None]) -> qt.QComboBox:
    """The choice for one study; `changed` is called when the user makes another."""
    combo, problem = qt.QComboBox(), study["problem"]
    for text, use in (
        (_("automatic"), ""),
        (_("train"), "train"),
        (_("validate"), "validation"),
        (_("test"), "test"),
        (_("leave out"), EXCLUDED),
    ):
        combo.addItem(text, use)
    combo.currentIndex = combo.findData(EXCLUDED if problem else study["split"])
    combo.enabled = not problem
    explanation = _(
        "What the CT is used for. Automatic: trained or validated on, drawn by patient. Test: neither, "
        "with all CTs of its patient, but scored by Evaluate. A training store has no such choice."
    )
    combo.toolTip = problem or explanation
    combo.connect("currentIndexChanged(int)", lambda _index: changed())
    return combo


def tableText(studies: Sequence[Mapping[str, Any]], uses: Sequence[str], data: Path) -> str:
    """Lines of a table like `subjects.csv`; what the folder's own table says besides is kept."""
    given = data / GIVEN_TABLE
    rows = read_rows(given) if given.is_file() else []
    known = {str(data / (row.get("path") or "")): row for row in rows}
    lines = []
    for study, use in zip(studies, uses, strict=True):
        row = {column: value or "" for column, value in known.get(study["path"], {}).items() if column}
        lines.append(row | {name: study[name] for name in COLUMNS[:3]} | {"split": use})
    others = [column for column in (rows[0] if rows else ()) if column and column not in COLUMNS]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, [*COLUMNS, *others], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return stream.getvalue()


class StudyUse:
    """The choices of all rows of the table that were read from one folder."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """No studies are known."""
        self.data: Path | None = None
        self.studies: list[Mapping[str, Any]] = []
        self.combos: list[qt.QComboBox] = []

    @property
    def uses(self) -> list[str]:
        """What is chosen, a value of the column `split` for each study."""
        return [combo.currentData for combo in self.combos]

    def isChanged(self, data: Path) -> bool:
        """Whether something else is chosen for the CTs of the folder than their files say."""
        if self.data != data:
            return False
        rows = zip(self.studies, self.uses, strict=True)
        return any(study["split"] != use for study, use in rows if not study["problem"])

    def tableFor(self, data: Path, output: Path, resume: bool = False) -> Path | None:
        """The table for a training in `output`, written when something was chosen; None for none.

        A resumed run keeps the table that it began with.
        :raises InputError: when the folder's own table cannot be read. :raises OSError: when ours cannot
            be written.
        """
        table = output / RUN_TABLE
        if resume:
            return table if table.is_file() else None
        return self._write(data, table)

    def evaluationTable(self, data: Path, output: Path) -> Path | None:
        """The same for an evaluation, which takes the CTs chosen for tests, all that are left if none is."""
        return self._write(data, output / EVALUATION_TABLE)

    def _write(self, data: Path, table: Path) -> Path | None:
        if not self.isChanged(data):
            table.unlink(missing_ok=True)  # of an earlier try
            return None
        table.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_text(table, tableText(self.studies, self.uses, data))
        return table
