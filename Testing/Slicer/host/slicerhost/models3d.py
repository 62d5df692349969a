"""Model nodes drawn off-screen as Slicer's 3D view shows them: their colours and opacities, its background.

>>> save(nodes, "arrangement")
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import slicer
import vtk
import vtkmodules.vtkRenderingOpenGL2  # noqa: F401  (registers VTK's off-screen OpenGL)

from .windows import saveWindow

# Slicer's own gradient, from the bottom to the top.
_BOTTOM, _TOP = (0.7568, 0.7647, 0.9098), (0.4549, 0.4706, 0.7451)


def save(nodes: Sequence[slicer.vtkMRMLModelNode], name: str, size: tuple[int, int] = (560, 420)) -> Path:
    """Write the models, seen from the front, left and above of the patient, as `<name>.png`."""
    renderer = vtk.vtkRenderer()
    renderer.SetBackground(*_BOTTOM)
    renderer.SetBackground2(*_TOP)
    renderer.GradientBackgroundOn()
    for node in nodes:
        renderer.AddActor(_actor(node))
    camera = renderer.GetActiveCamera()
    camera.SetPosition(-0.6, 1.0, 0.5)  # RAS: from the patient's left, front, above
    camera.SetFocalPoint(0.0, 0.0, 0.0)
    camera.SetViewUp(0.0, 0.0, 1.0)
    renderer.ResetCamera()
    camera.Zoom(1.25)
    window = vtk.vtkRenderWindow()
    window.AddRenderer(renderer)
    return saveWindow(window, name, size)


def _actor(node: slicer.vtkMRMLModelNode) -> vtk.vtkActor:
    mapper, actor, display = vtk.vtkPolyDataMapper(), vtk.vtkActor(), node.GetDisplayNode()
    mapper.SetInputData(node.GetPolyData())
    mapper.ScalarVisibilityOff()
    actor.SetMapper(mapper)
    actor.GetProperty().SetColor(*display.GetColor())
    actor.GetProperty().SetOpacity(display.GetOpacity())
    actor.GetProperty().SetLighting(bool(display.GetLighting()))
    return actor
