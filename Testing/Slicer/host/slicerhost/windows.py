"""Pictures of VTK's own windows, drawn off-screen."""

from __future__ import annotations

from pathlib import Path

import vtk

from .screens import outputFolder


def saveWindow(window: vtk.vtkRenderWindow, name: str, size: tuple[int, int]) -> Path:
    """Draw the window with this (width, height), write `<name>.png` into the folder of pictures, end it."""
    window.SetOffScreenRendering(True)
    window.SetMultiSamples(0)
    window.SetSize(*size)
    window.Render()
    grab = vtk.vtkWindowToImageFilter()
    grab.SetInput(window)
    grab.ReadFrontBufferOff()
    writer, path = vtk.vtkPNGWriter(), outputFolder() / f"{name}.png"
    writer.SetFileName(str(path))
    writer.SetInputConnection(grab.GetOutputPort())
    writer.Write()
    window.Finalize()
    return path
