"""Where results go in the scene and how they look there."""

from __future__ import annotations

from collections.abc import Sequence

import slicer
import vtk

from XReconSlicerLib.mrml import SYNTHETIC_ATTRIBUTE

# Slicer's own "CT-Lung" preset: wide enough to see lung and chest wall together.
CHEST_WINDOW_HU, CHEST_LEVEL_HU = 1400.0, -500.0


def placeBeside(node: slicer.vtkMRMLNode, reference: slicer.vtkMRMLNode | None) -> None:
    """Puts `node` into the patient's study that holds `reference`, so that both are exported together."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    if hierarchy is None or reference is None:
        return
    item, sibling = hierarchy.GetItemByDataNode(node), hierarchy.GetItemByDataNode(reference)
    if item and sibling:
        hierarchy.SetItemParent(item, hierarchy.GetItemParent(sibling))


def markSynthetic(node: slicer.vtkMRMLNode, description: str) -> None:
    """Says in attributes and description, both saved with the scene, that nothing was measured here."""
    node.SetAttribute(SYNTHETIC_ATTRIBUTE, "yes")
    node.SetDescription(description)


def setChestWindow(node: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Window and level of a chest CT, in HU."""
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.AutoWindowLevelOff()
    display.SetWindowLevel(CHEST_WINDOW_HU, CHEST_LEVEL_HU)


def showInSliceViews(node: slicer.vtkMRMLVolumeNode) -> None:
    """Makes `node` the background of all slice views; does nothing where there are no views."""
    if slicer.app.layoutManager() is not None:
        slicer.util.setSliceViewerLayers(background=node, fit=True)


def tableToNode(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    name: str = "",
    node: slicer.vtkMRMLTableNode | None = None,
) -> slicer.vtkMRMLTableNode:
    """A table node with one text or number column per header entry; `node` is overwritten when given.

    A column becomes a number column when every entry reads as a number; one with gaps becomes text with six
    digits, since a number column would show the gaps as "nan".
    """
    if node is None:
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", name)
    elif name:
        node.SetName(name)
    table = vtk.vtkTable()
    for title, *entries in zip(header, *rows, strict=True):
        table.AddColumn(_column(title, entries))
    node.SetAndObserveTable(table)
    return node


def _column(title: str, entries: Sequence[str]) -> vtk.vtkAbstractArray:
    try:
        column, values = vtk.vtkDoubleArray(), [float(entry) for entry in entries]
    except ValueError:
        column, values = vtk.vtkStringArray(), [_short(entry) for entry in entries]
    column.SetName(title)
    for value in values:
        column.InsertNextValue(value)
    return column


def _short(entry: str) -> str:
    try:
        return f"{float(entry):.6g}"
    except ValueError:
        return entry
