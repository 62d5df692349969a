"""Choosing nodes: qMRMLNodeComboBox, qMRMLCheckableNodeComboBox."""

from __future__ import annotations

import qt
import slicer
from qt._standins import standIn, stored

from .observers import Observers
from .panels import SceneHolder

_CREATE = "\n create"  # item data no node ID can have


def _listed(name: str, default: object, convert: type = bool) -> property:
    """A property whose change rebuilds the list."""
    plain = stored(name, default, convert)

    def write(self: _NodeList, value: object) -> None:
        plain.fset(self, value)
        self._rebuild()

    return property(plain.fget, write)


class _NodeList(SceneHolder, qt.QWidget):
    """A combo box of the scene's nodes of some types."""

    showHidden = _listed("showHidden", False)
    showChildNodeTypes = _listed("showChildNodeTypes", True)
    hideChildNodeTypes = _listed("hideChildNodeTypes", (), tuple)
    nodeTypes = _listed("nodeTypes", (), tuple)

    def __init__(self, parent: qt.QWidget | None = None) -> None:
        super().__init__(parent)
        row = qt.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._combo = qt.QComboBox()
        self._combo.setSizeAdjustPolicy(qt.QComboBox.AdjustToMinimumContentsLengthWithIcon)
        self._combo.setMinimumContentsLength(12)
        row.addWidget(self._combo)
        self.setEnabled(False)  # until a scene is set
        self._attributes: list[tuple[str, str, str | None]] = []
        self._observers = Observers(self)

    def _sceneChanged(self) -> None:
        self._observers.clear()
        scene = self._scene
        if scene is not None:
            for event in (scene.NodeRemovedEvent, scene.EndCloseEvent, scene.EndImportEvent):
                self._observers.add(scene, event, "_onScene")
            self._observers.addWithNode(scene, scene.NodeAddedEvent, "_onNodeAdded")
        self.setEnabled(scene is not None)
        self._rebuild()

    def _onScene(self) -> None:
        if not self._scene.IsBatchProcessing():
            self._rebuild()

    def _onNodeAdded(self, node: slicer.vtkMRMLNode) -> None:
        self._onScene()
        if self._accepts(node):
            self._listedNode(node)

    def _listedNode(self, node: slicer.vtkMRMLNode) -> None:
        """Called for each node of a listed type that is added to the scene."""

    def addAttribute(self, nodeType: str, attributeName: str, attributeValue: str | None = None) -> None:
        """List nodes of `nodeType` only when they have the attribute (with the value, if one is given)."""
        self._attributes.append((nodeType, attributeName, attributeValue))
        self._rebuild()

    def _accepts(self, node: slicer.vtkMRMLNode) -> bool:
        if node.GetHideFromEditors() and not self.showHidden:
            return False
        if any(node.IsA(hidden) for hidden in self.hideChildNodeTypes):
            return False
        matches = node.IsA if self.showChildNodeTypes else node.GetClassName().__eq__
        if not any(matches(nodeType) for nodeType in self.nodeTypes):
            return False
        return all(self._hasAttribute(node, *wanted) for wanted in self._attributes)

    @staticmethod
    def _hasAttribute(node: slicer.vtkMRMLNode, nodeType: str, name: str, value: str | None) -> bool:
        actual = node.GetAttribute(name)
        return not node.IsA(nodeType) or (actual is not None and value in (None, actual))

    def _nodes(self) -> list[slicer.vtkMRMLNode]:
        if self._scene is None:
            return []
        nodes = (self._scene.GetNthNode(index) for index in range(self._scene.GetNumberOfNodes()))
        return [node for node in nodes if self._accepts(node)]

    def nodeCount(self) -> int:
        return len(self._nodes())

    def nodeFromIndex(self, index: int) -> slicer.vtkMRMLNode:
        return self._nodes()[index]

    def _rebuild(self) -> None:
        """Fill the combo box again."""


@standIn
class qMRMLNodeComboBox(_NodeList):
    """Combo box for one node, with «none» and «create new» entries."""

    SIGNALS = (
        "currentNodeChanged(vtkMRMLNode*)",
        "currentNodeChanged(bool)",
        "currentNodeIDChanged(QString)",
        "currentNodeRenamed(QString)",
        "nodeActivated(vtkMRMLNode*)",
        "nodeAdded(vtkMRMLNode*)",
        "nodeAddedByUser(vtkMRMLNode*)",
        "nodeAddedByUserAction(vtkMRMLNode*)",
        "nodeAboutToBeRemoved(vtkMRMLNode*)",
        "nodeAboutToBeEdited(vtkMRMLNode*)",
    )
    noneEnabled = _listed("noneEnabled", False)
    addEnabled = _listed("addEnabled", True)
    removeEnabled = stored("removeEnabled", True, bool)
    editEnabled = stored("editEnabled", False, bool)
    renameEnabled = stored("renameEnabled", False, bool)
    selectNodeUponCreation = stored("selectNodeUponCreation", True, bool)
    baseName = stored("baseName", "", str)
    noneDisplay = _listed("noneDisplay", "None", str)
    interactionNodeSingletonTag = stored("interactionNodeSingletonTag", "", str)
    sizeAdjustPolicy = stored("sizeAdjustPolicy", qt.QComboBox.AdjustToMinimumContentsLengthWithIcon)

    def __init__(self, parent: qt.QWidget | None = None) -> None:
        super().__init__(parent)
        self._current = ""
        self._labels: dict[str, str] = {}
        self._combo.activated.connect(self._activated)

    def _rebuild(self) -> None:
        nodes = self._nodes()
        ids = [node.GetID() for node in nodes]
        blocked = self._combo.blockSignals(True)
        self._combo.clear()
        if self.noneEnabled:
            self._combo.addItem(self.noneDisplay, "")
        for node in nodes:
            self._combo.addItem(node.GetName(), node.GetID())
        if self.addEnabled and self.nodeTypes:
            self._combo.addItem(f"Create new {self._typeLabel()}", _CREATE)
        new = self._current if self._current in ids else ("" if self.noneEnabled or not ids else ids[0])
        self._combo.setCurrentIndex(self._combo.findData(new) if new or self.noneEnabled else -1)
        self._combo.blockSignals(blocked)
        self._become(new)

    def _listedNode(self, node: slicer.vtkMRMLNode) -> None:
        self._emit("nodeAdded(vtkMRMLNode*)", node)
        self._emit("nodeAddedByUser(vtkMRMLNode*)", node)  # deprecated name: sent for every added node

    def _typeLabel(self) -> str:
        nodeType = self.nodeTypes[0]
        return self._labels.get(nodeType) or nodeType.removeprefix("vtkMRML").removesuffix("Node")

    def _become(self, nodeID: str) -> None:
        if nodeID == self._current:
            return
        self._current = nodeID
        node = self.currentNode()
        self._emit("currentNodeChanged(vtkMRMLNode*)", node)
        self._emit("currentNodeChanged(bool)", node is not None)
        self._emit("currentNodeIDChanged(QString)", nodeID)

    def _activated(self, index: int) -> None:
        data = self._combo.itemData(index)
        if data == _CREATE:
            self._emit("nodeAddedByUserAction(vtkMRMLNode*)", self.addNode())
        else:
            self.setCurrentNodeID(data)
            self._emit("nodeActivated(vtkMRMLNode*)", self.currentNode())

    def currentNode(self) -> slicer.vtkMRMLNode | None:
        return self._scene.GetNodeByID(self._current) if self._scene is not None and self._current else None

    def setCurrentNode(self, node: slicer.vtkMRMLNode | str | None) -> None:
        self.setCurrentNodeID(node if isinstance(node, str) else node.GetID() if node is not None else "")

    @property
    def currentNodeID(self) -> str:
        return self._current

    @currentNodeID.setter
    def currentNodeID(self, nodeID: str | None) -> None:
        index = self._combo.findData(nodeID or "")
        self._combo.setCurrentIndex(index)
        self._become((nodeID or "") if index >= 0 else "")

    def setCurrentNodeIndex(self, index: int) -> None:
        self.setCurrentNode(self._nodes()[index])

    def setNodeTypeLabel(self, label: str, nodeType: str) -> None:
        self._labels[nodeType] = label
        self._rebuild()

    def nodeTypeLabel(self, nodeType: str) -> str:
        return self._labels.get(nodeType, "")

    def addMenuAction(self, action: qt.QAction) -> None:
        """Accepted; the menu is not drawn."""

    def addNode(self, nodeType: str | None = None) -> slicer.vtkMRMLNode:
        """Create a node of the first (or the given) type and select it."""
        nodeType = nodeType or self.nodeTypes[0]
        name = self.baseName or nodeType.removeprefix("vtkMRML").removesuffix("Node")
        node = self._scene.CreateNodeByClass(nodeType)
        node.UnRegister(None)
        node.SetName(self._scene.GenerateUniqueName(name))
        for attributeType, attribute, value in self._attributes:
            if node.IsA(attributeType):
                node.SetAttribute(attribute, value or "1")
        self._scene.AddNode(node)
        if self.selectNodeUponCreation:
            self.setCurrentNode(node)
        return node

    def removeCurrentNode(self) -> None:
        self._scene.RemoveNode(self.currentNode())


@standIn
class qMRMLCheckableNodeComboBox(_NodeList):
    """Combo box in which several nodes can be checked."""

    SIGNALS = ("checkedNodesChanged()",)
    # of its C++ base class; what they add to the list's menu is not drawn
    addEnabled = stored("addEnabled", True, bool)
    removeEnabled = stored("removeEnabled", True, bool)

    def __init__(self, parent: qt.QWidget | None = None) -> None:
        super().__init__(parent)
        self._checked: set[str] = set()

    def _rebuild(self) -> None:
        blocked = self._combo.blockSignals(True)
        self._combo.clear()
        for node in self._nodes():
            mark = "☑ " if node.GetID() in self._checked else "☐ "
            self._combo.addItem(mark + node.GetName(), node.GetID())
        self._combo.blockSignals(blocked)

    def checkedNodes(self) -> tuple[slicer.vtkMRMLNode, ...]:
        return tuple(node for node in self._nodes() if node.GetID() in self._checked)

    def checkState(self, node: slicer.vtkMRMLNode) -> int:
        return qt.Qt.Checked if node.GetID() in self._checked else qt.Qt.Unchecked

    def setCheckState(self, node: slicer.vtkMRMLNode, state: int) -> None:
        before = set(self._checked)
        (self._checked.add if state == qt.Qt.Checked else self._checked.discard)(node.GetID())
        if before != self._checked:
            self._rebuild()
            self._emit("checkedNodesChanged()")
