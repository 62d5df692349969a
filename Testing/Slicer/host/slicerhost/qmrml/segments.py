"""Segmentation widgets: qMRMLSegmentsTableView, qMRMLSegmentationShow3DButton."""

from __future__ import annotations

import qt
import slicer
import vtk
from ctk import ctkMenuButton
from qt._standins import StandIn, standIn, stored

from .observers import Observers
from .panels import qMRMLWidget

_VISIBLE, _COLOR, _NAME = range(3)
_EVENTS = (
    vtk.vtkCommand.ModifiedEvent,
    slicer.vtkMRMLDisplayableNode.DisplayModifiedEvent,
    slicer.vtkSegmentation.SegmentAdded,
    slicer.vtkSegmentation.SegmentRemoved,
    slicer.vtkSegmentation.SegmentModified,
    slicer.vtkSegmentation.ContainedRepresentationNamesModified,
)


class _SegmentationObserver(StandIn):
    """Observes one segmentation node; `_refresh` is called on every change."""

    _node: slicer.vtkMRMLSegmentationNode | None = None
    _observers: Observers | None = None

    def segmentationNode(self) -> slicer.vtkMRMLSegmentationNode | None:
        return self._node

    def setSegmentationNode(self, node: slicer.vtkMRMLNode | None) -> None:
        if node is not None and not node.IsA("vtkMRMLSegmentationNode"):
            raise TypeError(f"setSegmentationNode takes a segmentation node, not {node.GetClassName()}")
        self._observers = self._observers or Observers(self)
        self._observers.clear()
        self._node = node
        if node is not None:
            for event in _EVENTS:
                self._observers.add(node, event, "_refresh")
        self._refresh()

    def _segments(self) -> list[tuple[str, object]]:
        if self._node is None:
            return []
        segmentation = self._node.GetSegmentation()
        return [(name, segmentation.GetSegment(name)) for name in segmentation.GetSegmentIDs()]

    def _refresh(self) -> None:
        """Show the node as it is now."""


@standIn
class qMRMLSegmentsTableView(_SegmentationObserver, qMRMLWidget):
    """Table of segments: visibility, colour, name."""

    SIGNALS = ("selectionChanged(QItemSelection,QItemSelection)", "segmentAboutToBeModified(QString)")
    visibilityColumnVisible = stored("visibilityColumnVisible", True, bool)
    colorColumnVisible = stored("colorColumnVisible", True, bool)
    opacityColumnVisible = stored("opacityColumnVisible", True, bool)
    statusColumnVisible = stored("statusColumnVisible", False, bool)
    layerColumnVisible = stored("layerColumnVisible", False, bool)
    readOnly = stored("readOnly", False, bool)
    filterBarVisible = stored("filterBarVisible", False, bool)
    textFilter = stored("textFilter", "", str)
    jumpToSelectedSegmentEnabled = stored("jumpToSelectedSegmentEnabled", False, bool)
    useTerminologySelector = stored("useTerminologySelector", True, bool)
    useTerminologySelectorSettingsKey = stored("useTerminologySelectorSettingsKey", "", str)
    terminologySelectorOptionVisible = stored("terminologySelectorOptionVisible", False, bool)
    terminologySelectorAutoDisable = stored("terminologySelectorAutoDisable", True, bool)

    def __init__(self, parent: qt.QWidget | None = None) -> None:
        super().__init__(parent)
        self._hidden: tuple[str, ...] = ()
        column = qt.QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        self._table = qt.QTableWidget(0, 3)
        self._table.setHorizontalHeaderLabels(["", "Color", "Name"])
        self._table.horizontalHeader().setStretchLastSection(True)
        self._table.verticalHeader().hide()
        self._table.setSelectionBehavior(qt.QAbstractItemView.SelectRows)
        self._table.setColumnWidth(_VISIBLE, 26)
        self._table.setColumnWidth(_COLOR, 48)
        self._table.setMinimumHeight(120)
        self._table.itemChanged.connect(self._edited)
        self._table.itemSelectionChanged.connect(self._selected)
        column.addWidget(self._table)

    @property
    def headerVisible(self) -> bool:
        return not self._table.horizontalHeader().isHidden()

    @headerVisible.setter
    def headerVisible(self, value: bool) -> None:
        self._table.horizontalHeader().setVisible(value)

    @property
    def selectionMode(self) -> int:
        return self._table.selectionMode

    @selectionMode.setter
    def selectionMode(self, value: int) -> None:
        self._table.setSelectionMode(value)

    @property
    def segmentCount(self) -> int:
        return len(self._segments())

    def _refresh(self) -> None:
        segments = self._shownSegments()
        display = self._node.GetDisplayNode() if self._node is not None else None
        blocked = self._table.blockSignals(True)
        self._table.setRowCount(len(segments))
        for row, (segmentID, segment) in enumerate(segments):
            visible = qt.QTableWidgetItem()
            visible.setFlags(qt.Qt.ItemIsUserCheckable | qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable)
            shown = display is None or display.GetSegmentVisibility(segmentID)
            visible.setCheckState(qt.Qt.Checked if shown else qt.Qt.Unchecked)
            visible.setData(qt.Qt.UserRole, segmentID)
            color = qt.QTableWidgetItem()
            color.setBackground(qt.QColor.fromRgbF(*segment.GetColor()))
            for columnIndex, item in ((_VISIBLE, visible), (_COLOR, color)):
                self._table.setItem(row, columnIndex, item)
            self._table.setItem(row, _NAME, qt.QTableWidgetItem(segment.GetName()))
        self._table.blockSignals(blocked)

    def _idOfRow(self, row: int) -> str:
        return self._table.item(row, _VISIBLE).data(qt.Qt.UserRole)

    def _edited(self, item: qt.QTableWidgetItem) -> None:
        segmentID = self._idOfRow(item.row())
        self._emit("segmentAboutToBeModified(QString)", segmentID)
        if item.column() == _VISIBLE:
            self._node.GetDisplayNode().SetSegmentVisibility(segmentID, item.checkState() == qt.Qt.Checked)
        elif item.column() == _NAME:
            self._node.GetSegmentation().GetSegment(segmentID).SetName(item.text())

    def _selected(self) -> None:
        self._emit("selectionChanged(QItemSelection,QItemSelection)", None, None)

    def selectedSegmentIDs(self) -> tuple[str, ...]:
        return tuple(self._idOfRow(index.row()) for index in self._table.selectionModel().selectedRows())

    def setSelectedSegmentIDs(self, segmentIDs: list[str]) -> None:
        self._table.clearSelection()
        for row in range(self._table.rowCount):
            if self._idOfRow(row) in segmentIDs:
                self._table.selectRow(row)

    def displayedSegmentIDs(self) -> tuple[str, ...]:
        return tuple(segmentID for segmentID, _ in self._shownSegments())

    def hideSegments(self) -> tuple[str, ...]:
        return self._hidden

    def setHideSegments(self, segmentIDs: list[str]) -> None:
        self._hidden = tuple(segmentIDs)
        self._refresh()

    def _shownSegments(self) -> list[tuple[str, object]]:
        return [(name, segment) for name, segment in self._segments() if name not in self._hidden]

    def clearSelection(self) -> None:
        self._table.clearSelection()


@standIn
class qMRMLSegmentationShow3DButton(_SegmentationObserver, ctkMenuButton):
    """Button that creates and shows the closed surface of a segmentation."""

    SLOTS = ("setSegmentationNode(vtkMRMLSegmentationNode*)", "setLocked(bool)")
    locked = stored("locked", False, bool)

    def __init__(
        self, textOrParent: str | qt.QWidget | None = None, parent: qt.QWidget | None = None
    ) -> None:
        super().__init__(textOrParent, parent)
        self.setText(self.text or "Show 3D")
        self.setCheckable(True)
        self.setEnabled(False)
        self.clicked.connect(self._show)

    def _refresh(self) -> None:
        self.setEnabled(bool(self._segments()))
        segmentation = self._node.GetSegmentation() if self._node is not None else None
        blocked = self.blockSignals(True)
        self.setChecked(segmentation is not None and segmentation.ContainsRepresentation("Closed surface"))
        self.blockSignals(blocked)

    def _show(self, shown: bool) -> None:
        if shown:
            self._node.CreateClosedSurfaceRepresentation()
        else:
            self._node.RemoveClosedSurfaceRepresentation()
