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
from xrecon.volume import InputError

GIVEN_TABLE = "subjects.csv"  # the user's, in a folder of CTs: only ever read
# In the folder of a run, which may be that of the CTs; the second is of an evaluation, perhaps of others.
RUN_TABLE, EVALUATION_TABLE = "chosen-subjects.csv", "evaluated-subjects.csv"
# A column that tells the tables written here, which may be replaced and deleted, from everybody else's.
WRITTEN_BY, WRITER = "written_by", "XReconTrainer"
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
        lines[-1][WRITTEN_BY] = WRITER
    others = [c for c in (rows[0] if rows else ()) if c and c not in (*COLUMNS, WRITTEN_BY)]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, [*COLUMNS, *others, WRITTEN_BY], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return stream.getvalue()


def isOurs(table: Path) -> bool:
    """Whether the file is a table that was written here, every row of it."""
    try:
        rows = read_rows(table)
    except (InputError, OSError):  # no table, or none that can be read
        return False
    return bool(rows) and all(row.get(WRITTEN_BY) == WRITER for row in rows)


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

        A resumed run keeps the table that it began with. A file that was not written here is neither
        replaced nor deleted, whatever its name.
        :raises InputError: when the folder's own table cannot be read, or such a file is in the way.
        :raises OSError: when ours cannot be written.
        """
        table = output / RUN_TABLE
        if resume:
            return table if isOurs(table) else None
        return self._write(data, table)

    def evaluationTable(self, data: Path, output: Path) -> Path | None:
        """The same for an evaluation, which takes the CTs chosen for tests, all that are left if none is."""
        return self._write(data, output / EVALUATION_TABLE)

    def _write(self, data: Path, table: Path) -> Path | None:
        ours = isOurs(table)
        if not self.isChanged(data):
            if ours:
                table.unlink()  # of an earlier try
            return None
        if table.exists() and not ours:
            raise InputError(
                f"expected to write what the CTs are used for to {table}, found a file there that "
                "XReconTrainer did not write: choose another run folder or rename the file"
            )
        table.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_text(table, tableText(self.studies, self.uses, data))
        return table
