"""`slicer.app.coreIOManager()`: loading and saving nodes through the storage nodes of slicer-core."""

from __future__ import annotations

import os
from collections.abc import Sequence

import slicer
import vtk

from . import file_types

_LABELMAP, _CENTER, _SINGLE_FILE, _AUTO_WINDOW, _DISCARD_ORIENTATION = 1, 2, 4, 8, 16


class CoreIOManager:
    """The members of qSlicerCoreIOManager that `slicer.util` calls."""

    def fileType(self, filename: str) -> str:
        return file_types.ofFile(filename)

    def fileWriterFileType(self, node: slicer.vtkMRMLNode) -> str:
        return next(
            (t.name for t in file_types.FILE_TYPES if t.nodeClass and node.IsA(t.nodeClass)), "NoFile"
        )

    def registeredFileReaderCount(self, fileType: str) -> int:
        return sum(t.name == fileType for t in file_types.FILE_TYPES)

    def fileWriterExtensions(self, node: slicer.vtkMRMLNode) -> list[str]:
        """Descriptions "Name (.ext)"; the archetype storage node of slicer-core lists none itself."""
        extensions = file_types.byName(self.fileWriterFileType(node)).extensions
        return [f"{extension[1:].upper()} ({extension})" for extension in extensions]

    def extractKnownExtension(self, filename: str, node: slicer.vtkMRMLNode) -> str:
        return file_types.extensionOf(filename)

    def loadNodes(
        self,
        fileType: str,
        properties: dict,
        nodes: vtk.vtkCollection,
        messages: slicer.vtkMRMLMessageCollection,
    ) -> bool:
        """Load one file; the node is added to `nodes`, what went wrong to `messages`."""
        filename = str(properties["fileName"])
        if fileType == "SceneFile":
            return _loadScene(filename, properties, messages)
        if not os.path.exists(filename):
            messages.AddMessage(vtk.vtkCommand.ErrorEvent, f"file not found: {filename}")
            return False
        if fileType == "NoFile":
            messages.AddMessage(vtk.vtkCommand.ErrorEvent, f"no reader for this file: {filename}")
            return False
        name = properties.get("name") or file_types.stem(filename)
        if fileType == "VolumeFile":
            node = _loadVolume(filename, name, properties)
        else:
            node = _loadThroughStorage(filename, name, file_types.byName(fileType), messages)
        if node is None:
            return False
        nodes.AddItem(node)
        return True

    def saveNodes(self, fileType: str, properties: dict, messages: slicer.vtkMRMLMessageCollection) -> bool:
        """Save a node (its storage node keeps the file name) or the scene."""
        filename = str(properties["fileName"])
        scene = slicer.mrmlScene
        if fileType == "SceneFile":
            if filename.endswith(".mrb"):
                return bool(scene.WriteToMRB(filename, None, messages))
            scene.SetURL(filename)
            return bool(scene.Commit(filename, messages))
        node = scene.GetNodeByID(properties["nodeID"])
        if not node.GetStorageNode():
            node.AddDefaultStorageNode(filename)
        storage = node.GetStorageNode()
        storage.SetFileName(filename)
        if "useCompression" in properties:
            storage.SetUseCompression(int(properties["useCompression"]))
        return _write(storage, node, messages)

    def exportNodes(
        self,
        nodeIDs: Sequence[str],
        fileNames: Sequence[str],
        properties: dict,
        hardenTransform: bool,
        messages: slicer.vtkMRMLMessageCollection,
    ) -> bool:
        """Write nodes without changing their storage nodes."""
        success = True
        for nodeID, filename in zip(nodeIDs, fileNames, strict=True):
            node = slicer.mrmlScene.GetNodeByID(nodeID)
            storage = node.CreateDefaultStorageNode()
            storage.SetScene(slicer.mrmlScene)
            storage.SetFileName(str(filename))
            success = _write(storage, node, messages) and success
        return success


def _write(storage: vtk.vtkObject, node: vtk.vtkObject, messages: slicer.vtkMRMLMessageCollection) -> bool:
    success = bool(storage.WriteData(node))
    if not success:
        messages.AddMessages(storage.GetUserMessages())
    return success


def _loadScene(filename: str, properties: dict, messages: slicer.vtkMRMLMessageCollection) -> bool:
    scene = slicer.mrmlScene
    if properties.get("clear", False):
        scene.Clear(False)
    if filename.endswith(".mrb"):
        return bool(scene.ReadFromMRB(filename, False, messages))
    scene.SetURL(filename)
    return bool(scene.Import(messages))


def _loadVolume(filename: str, name: str, properties: dict) -> slicer.vtkMRMLVolumeNode | None:
    options = (
        _LABELMAP * bool(properties.get("labelmap"))
        | _CENTER * bool(properties.get("center"))
        | _SINGLE_FILE * bool(properties.get("singleFile"))
        | _AUTO_WINDOW * bool(properties.get("autoWindowLevel", True))
        | _DISCARD_ORIENTATION * bool(properties.get("discardOrientation"))
    )
    fileNames = None
    if properties.get("fileNames"):
        fileNames = vtk.vtkStringArray()
        for part in properties["fileNames"]:
            fileNames.InsertNextValue(str(part))
    node = slicer.modules.volumes.logic().AddArchetypeVolume(filename, name, options, fileNames)
    if node and properties.get("show", True) and not node.IsA("vtkMRMLLabelMapVolumeNode"):
        slicer.app.applicationLogic().GetSelectionNode().SetActiveVolumeID(node.GetID())
        slicer.app.applicationLogic().PropagateVolumeSelection()
    return node


def _loadThroughStorage(
    filename: str, name: str, fileType: file_types.FileType, messages: slicer.vtkMRMLMessageCollection
) -> slicer.vtkMRMLStorableNode | None:
    scene = slicer.mrmlScene
    node = scene.AddNewNodeByClass(
        fileType.createdClass or fileType.nodeClass, scene.GenerateUniqueName(name)
    )
    storage = scene.AddNewNodeByClass(fileType.storageClass)
    storage.SetFileName(filename)
    if not storage.ReadData(node):
        messages.AddMessages(storage.GetUserMessages())
        scene.RemoveNode(storage)
        scene.RemoveNode(node)
        return None
    node.SetAndObserveStorageNodeID(storage.GetID())
    if hasattr(node, "CreateDefaultDisplayNodes"):
        node.CreateDefaultDisplayNodes()
    return node
