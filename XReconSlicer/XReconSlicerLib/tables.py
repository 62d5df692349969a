"""Table nodes that a panel finds again by their role, and their export as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _
from xrecon.io.atomic import atomic_write_text

from XReconSlicerLib.mrml import ATTRIBUTE_PREFIX
from XReconSlicerLib.scene import tableToNode

ROLE = ATTRIBUTE_PREFIX + "role"


def findByRole(role: str) -> slicer.vtkMRMLTableNode | None:
    """The scene's table of a role; also after the scene was saved and loaded."""
    tables = slicer.util.getNodesByClass("vtkMRMLTableNode")
    return next((node for node in tables if node.GetAttribute(ROLE) == role), None)


def fillByRole(
    role: str, name: str, header: Sequence[str], rows: Sequence[Sequence[str]]
) -> slicer.vtkMRMLTableNode:
    """Fills the scene's table of a role, which is made when there is none."""
    node = tableToNode(header, rows, name, findByRole(role))
    node.SetAttribute(ROLE, role)
    return node


def csvOf(node: slicer.vtkMRMLTableNode) -> str:
    """A table as comma-separated text, numbers in full."""
    table, stream = node.GetTable(), io.StringIO()
    columns = [table.GetColumn(index) for index in range(table.GetNumberOfColumns())]
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([column.GetName() for column in columns])
    writer.writerows([column.GetValue(row) for column in columns] for row in range(table.GetNumberOfRows()))
    return stream.getvalue()


def exportCsv(parent: qt.QWidget, node: slicer.vtkMRMLTableNode) -> str:
    """Asks for a file and writes the table; gives a line for the status, "" when nothing was chosen."""
    name = f"{node.GetName()}.csv"
    path = qt.QFileDialog.getSaveFileName(parent, _("Export the table"), name, "CSV (*.csv)")
    if not path:
        return ""
    file = Path(path) if Path(path).suffix else Path(f"{path}.csv")
    try:
        atomic_write_text(file, csvOf(node))
    except OSError as error:
        slicer.util.errorDisplay(str(error), windowTitle="XRecon")
        return str(error)
    return _("Exported: {file}").format(file=file)
