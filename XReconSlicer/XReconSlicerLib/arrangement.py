"""The views as they stand about the patient, as models of the scene: source, detector and beam of each.

>>> showArrangement([radiograph.geometry for radiograph in radiographs], ["PA", "LEFT LATERAL"])
>>> hideArrangement()

The models are not saved with the scene: the parameters are, and they make the models again.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _
from xrecon.physics.geometry import ViewGeometry

from XReconSlicerLib.mrml import RAS_LPS

ATTRIBUTE = "XRecon.arrangement"
COLORS = ((0.95, 0.76, 0.20), (0.25, 0.68, 0.88), (0.45, 0.75, 0.35), (0.80, 0.45, 0.80))
SOURCE_RADIUS_MM, BEAM_OPACITY, DETECTOR_OPACITY = 15.0, 0.12, 0.6


def showArrangement(
    geometries: Sequence[ViewGeometry], names: Sequence[str]
) -> list[slicer.vtkMRMLModelNode]:
    """Models of the views in place of those shown before; gives them, three of each view."""
    kept = {node.GetName(): node for node in arrangementNodes()}
    nodes = []
    for number, (geometry, name) in enumerate(zip(geometries, names, strict=True)):
        parts = {
            _("{view} source"): (_source(geometry), 1.0),
            _("{view} detector"): (_surface(_corners(geometry), [(0, 1, 2, 3)]), DETECTOR_OPACITY),
            _("{view} beam"): (_beam(geometry), BEAM_OPACITY),
        }
        for text, (surface, opacity) in parts.items():
            title = f"{number + 1}: {text.format(view=name)}"
            node = kept.pop(title, None) or _newNode(title)
            node.SetAndObservePolyData(surface)
            node.GetDisplayNode().SetColor(COLORS[number % len(COLORS)])
            node.GetDisplayNode().SetOpacity(opacity)
            nodes.append(node)
    for node in kept.values():
        slicer.mrmlScene.RemoveNode(node)
    return nodes


def hideArrangement() -> None:
    """Takes the models out of the scene."""
    for node in arrangementNodes():
        slicer.mrmlScene.RemoveNode(node)


def arrangementNodes() -> list[slicer.vtkMRMLModelNode]:
    """The models that are shown now."""
    nodes = slicer.util.getNodesByClass("vtkMRMLModelNode")
    return [node for node in nodes if node.GetAttribute(ATTRIBUTE)]


def _newNode(name: str) -> slicer.vtkMRMLModelNode:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode", name)
    node.SetAttribute(ATTRIBUTE, "yes")
    node.SetSaveWithScene(False)
    node.SetHideFromEditors(True)  # nor in the lists of other modules
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetSaveWithScene(False)
    display.SetBackfaceCulling(False)
    display.SetLighting(False)
    display.SetVisibility2D(False)
    return node


# ---- shapes -------------------------------------------------------------------------------------
def _corners(geometry: ViewGeometry) -> np.ndarray:
    """The detector's corners in RAS mm (4, 3), in order around its edge."""
    rows, columns = (n * s / 2.0 for n, s in zip(geometry.shape, geometry.pixel_spacing, strict=True))
    row, column = np.array(geometry.row_direction), np.array(geometry.column_direction)
    signs = ((-1, -1), (-1, 1), (1, 1), (1, -1))
    points = [np.array(geometry.detector_center) + a * rows * row + b * columns * column for a, b in signs]
    return np.array(points) * RAS_LPS


def _source(geometry: ViewGeometry) -> vtk.vtkPolyData:
    sphere = vtk.vtkSphereSource()
    sphere.SetCenter(*(RAS_LPS * np.array(geometry.source)))
    sphere.SetRadius(SOURCE_RADIUS_MM)
    sphere.Update()
    return sphere.GetOutput()


def _beam(geometry: ViewGeometry) -> vtk.vtkPolyData:
    """The pyramid from the source to the detector's edge; of a parallel beam, the box along it."""
    corners, source = _corners(geometry), RAS_LPS * np.array(geometry.source)
    edges = [(0, 1), (1, 2), (2, 3), (3, 0)]
    if geometry.beam == "parallel":
        along = source - RAS_LPS * np.array(geometry.detector_center)
        points = np.vstack([corners, corners + along])
        return _surface(points, [(a, b, b + 4, a + 4) for a, b in edges])
    return _surface(np.vstack([corners, source]), [(a, b, 4) for a, b in edges])


def _surface(points: np.ndarray, faces: Sequence[Sequence[int]]) -> vtk.vtkPolyData:
    surface, places, cells = vtk.vtkPolyData(), vtk.vtkPoints(), vtk.vtkCellArray()
    for point in points:
        places.InsertNextPoint(*point)
    for face in faces:
        cells.InsertNextCell(len(face), list(face))
    surface.SetPoints(places)
    surface.SetPolys(cells)
    return surface
