"""qMRMLSubjectHierarchyComboBox and TreeView, as far as selecting an item goes."""

from __future__ import annotations

import qt
import slicer
from qt._standins import standIn, stored

from .panels import SceneHolder


class _ItemList(SceneHolder, qt.QWidget):
    """Holds a current item; nothing of the tree is drawn."""

    nodeTypes = stored("nodeTypes", (), tuple)
    noneEnabled = stored("noneEnabled", False, bool)
    noneDisplay = stored("noneDisplay", "None", str)
    showRootItem = stored("showRootItem", False, bool)
    _item = 0

    def _hierarchy(self) -> slicer.vtkMRMLSubjectHierarchyNode:
        return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self._scene)

    def currentItem(self) -> int:
        return self._item

    def setCurrentItem(self, item: int) -> None:
        if item != self._item:
            self._item = item
            self._emit("currentItemChanged(vtkIdType)", item)

    def currentNode(self) -> slicer.vtkMRMLNode | None:
        return self._hierarchy().GetItemDataNode(self._item) if self._item and self._scene else None


@standIn
class qMRMLSubjectHierarchyComboBox(_ItemList):
    """Combo box of items."""

    SIGNALS = ("currentItemChanged(vtkIdType)", "currentItemModified(vtkIdType)")


@standIn
class qMRMLSubjectHierarchyTreeView(_ItemList):
    """Tree of items."""

    SIGNALS = (
        "currentItemChanged(vtkIdType)",
        "currentItemsChanged(QList<vtkIdType>)",
        "currentNodeChanged(vtkMRMLNode*)",
    )
    multiSelection = stored("multiSelection", False, bool)
    levelFilter = stored("levelFilter", (), tuple)
    idColumnVisible = stored("idColumnVisible", True, bool)
    visibilityColumnVisible = stored("visibilityColumnVisible", True, bool)
    colorColumnVisible = stored("colorColumnVisible", True, bool)
    transformColumnVisible = stored("transformColumnVisible", True, bool)
    descriptionColumnVisible = stored("descriptionColumnVisible", False, bool)

    def setCurrentNode(self, node: slicer.vtkMRMLNode | None) -> None:
        self.setCurrentItem(self._hierarchy().GetItemByDataNode(node) if node is not None else 0)

    def setCurrentItem(self, item: int) -> None:
        changed = item != self._item
        super().setCurrentItem(item)
        if changed:
            self._emit("currentNodeChanged(vtkMRMLNode*)", self.currentNode())
