"""Files every data node in the subject hierarchy.

In Slicer a Qt class (qSlicerSubjectHierarchyPluginLogic) does this; slicer-core has the hierarchy node but
not the class.
"""

from __future__ import annotations

import slicer
import vtk

_FILED = (
    "vtkMRMLVolumeNode",
    "vtkMRMLSegmentationNode",
    "vtkMRMLModelNode",
    "vtkMRMLMarkupsNode",
    "vtkMRMLTransformNode",
    "vtkMRMLTableNode",
    "vtkMRMLTextNode",
)


def _fileNode(scene: slicer.vtkMRMLScene, node: slicer.vtkMRMLNode) -> None:
    if node.GetHideFromEditors() or not any(node.IsA(kind) for kind in _FILED):
        return
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.ResolveSubjectHierarchy(scene)
    if hierarchy and not hierarchy.GetItemByDataNode(node):
        hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)


def observe(scene: slicer.vtkMRMLScene) -> None:
    """Keep the subject hierarchy of `scene` in step with its nodes."""

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def nodeAdded(caller: vtk.vtkObject, event: str, node: slicer.vtkMRMLNode) -> None:
        if not scene.IsImporting():
            _fileNode(scene, node)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def nodeRemoved(caller: vtk.vtkObject, event: str, node: slicer.vtkMRMLNode) -> None:
        hierarchy = None if scene.IsClosing() else scene.GetSubjectHierarchyNode()
        if hierarchy and hierarchy.GetItemByDataNode(node):
            hierarchy.RemoveItem(hierarchy.GetItemByDataNode(node), False, False)

    def imported(caller: vtk.vtkObject, event: str) -> None:
        for index in range(scene.GetNumberOfNodes()):
            _fileNode(scene, scene.GetNthNode(index))

    scene.AddObserver(scene.NodeAddedEvent, nodeAdded)
    scene.AddObserver(scene.NodeAboutToBeRemovedEvent, nodeRemoved)
    scene.AddObserver(scene.EndImportEvent, imported)
