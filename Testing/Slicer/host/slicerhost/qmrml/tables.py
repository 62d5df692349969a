"""qMRMLTableView: the cells of a table node."""

from __future__ import annotations

import qt
import slicer
import vtk
from qt._standins import standIn, stored

from .observers import Observers
from .panels import SceneHolder


@standIn
class qMRMLTableView(SceneHolder, qt.QTableView):
    """Table view of a vtkMRMLTableNode; it shows, it does not edit."""

    SIGNALS = ("selectionChanged()", "mrmlSceneChanged(vtkMRMLScene*)")
    transposed = stored("transposed", False, bool)
    firstRowLocked = stored("firstRowLocked", False, bool)
    firstColumnLocked = stored("firstColumnLocked", False, bool)

    def __init__(self, parent: qt.QWidget | None = None) -> None:
        super().__init__(parent)
        self._node: slicer.vtkMRMLTableNode | None = None
        self._observers = Observers(self)
        self._model = qt.QStandardItemModel()
        self.setModel(self._model)

    def mrmlTableNode(self) -> slicer.vtkMRMLTableNode | None:
        return self._node

    def setMRMLTableNode(self, node: slicer.vtkMRMLNode | None) -> None:
        if node is not None and not node.IsA("vtkMRMLTableNode"):
            raise TypeError(f"setMRMLTableNode takes a table node, not {node.GetClassName()}")
        self._observers.clear()
        self._node = node
        if node is not None:
            self._observers.add(node, vtk.vtkCommand.ModifiedEvent, "_refresh")
        self._refresh()

    def _refresh(self) -> None:
        self._model.clear()
        if self._node is None:
            return
        rows, columns = self._node.GetNumberOfRows(), self._node.GetNumberOfColumns()
        self._model.setHorizontalHeaderLabels([self._node.GetColumnName(c) or "" for c in range(columns)])
        for row in range(rows):
            texts = [self._node.GetCellText(row, column) for column in range(columns)]
            self._model.appendRow([qt.QStandardItem(text) for text in texts])
        self.resizeColumnsToContents()
