"""Slice views drawn off-screen by Slicer's own displayable managers, to look at results.

>>> with views.layout() as layout:
...     slicer.util.setSliceViewerLayers(background=ct, fit=True)
...     layout.save("ct-with-segmentation")
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import qt
import slicer
import vtk
import vtkmodules.vtkRenderingContextOpenGL2
import vtkmodules.vtkRenderingFreeType
import vtkmodules.vtkRenderingOpenGL2  # noqa: F401  (the three register VTK's off-screen OpenGL)
from vtkmodules.util.numpy_support import vtk_to_numpy

from .screens import outputFolder

_MANAGERS = ("vtkMRMLSegmentationsDisplayableManager2D", "vtkMRMLModelSliceDisplayableManager")
_VIEWS = (
    ("Red", "Axial", (0.95, 0.29, 0.21)),
    ("Green", "Coronal", (0.43, 0.69, 0.29)),
    ("Yellow", "Sagittal", (0.93, 0.84, 0.30)),
)


class SliceView:
    """One slice view: Slicer's logic and managers, and a render window that no screen shows."""

    def __init__(self, name: str, orientation: str, color: tuple[float, float, float], size: int) -> None:
        self.size = size
        self.logic = slicer.vtkMRMLSliceLogic()
        self.logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        slicer.app.applicationLogic().GetSliceLogics().AddItem(self.logic)
        self.logic.SetMRMLScene(slicer.mrmlScene)
        self.node = self.logic.AddSliceNode(name)
        self.node.SetOrientation(orientation)
        self.node.SetLayoutColor(*color)
        self.node.SetMappedInLayout(1)
        self.node.SetDimensions(size, size, 1)
        self._window: vtk.vtkRenderWindow | None = None

    def close(self) -> None:
        """Take the view out of the application."""
        slicer.app.applicationLogic().GetSliceLogics().RemoveItem(self.logic)
        if self._window is not None:
            self._managers.SetMRMLDisplayableNode(None)
            self._window.Finalize()

    def _createWindow(self) -> None:
        renderer = vtk.vtkRenderer()
        renderer.GetActiveCamera().ParallelProjectionOn()
        self._window = vtk.vtkRenderWindow()
        self._window.SetMultiSamples(0)
        self._window.OffScreenRenderingOn()
        self._window.SetSize(self.size, self.size)
        self._window.AddRenderer(renderer)
        self._interactor = vtk.vtkGenericRenderWindowInteractor()
        self._interactor.SetRenderWindow(self._window)
        self._mapper = vtk.vtkImageMapper()  # shows the blended layers, as Slicer's light box does
        self._mapper.SetColorWindow(255)
        self._mapper.SetColorLevel(127.5)
        actor = vtk.vtkActor2D()
        actor.SetMapper(self._mapper)
        actor.GetProperty().SetDisplayLocationToBackground()
        renderer.AddViewProp(actor)
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        for name in _MANAGERS:
            if not factory.IsDisplayableManagerRegistered(name):
                factory.RegisterDisplayableManager(name)
        self._managers = factory.InstantiateDisplayableManagers(renderer)
        self._managers.SetMRMLDisplayableNode(self.node)

    def picture(self) -> np.ndarray:
        """The view as uint8 array (row, column, 3)."""
        if self._window is None:
            self._createWindow()
        self._mapper.SetInputConnection(self.logic.GetImageDataConnection())
        self._window.Render()
        grab = vtk.vtkWindowToImageFilter()
        grab.SetInput(self._window)
        grab.ReadFrontBufferOff()
        grab.Update()
        width, height, _ = grab.GetOutput().GetDimensions()
        pixels = vtk_to_numpy(grab.GetOutput().GetPointData().GetScalars())
        return pixels.reshape(height, width, -1)[::-1, :, :3].copy()


class _SliceWidget:
    """`layoutManager().sliceWidget(name)`."""

    def __init__(self, view: SliceView) -> None:
        self._view = view

    def sliceLogic(self) -> slicer.vtkMRMLSliceLogic:
        return self._view.logic

    def mrmlSliceNode(self) -> slicer.vtkMRMLSliceNode:
        return self._view.node


class LayoutManager:
    """The members of qSlicerLayoutManager that scripts use, for three slice views and no 3D view."""

    threeDViewCount = 0
    tableViewCount = 0
    plotViewCount = 0

    def __init__(self, size: int) -> None:
        self._views = {name: SliceView(name, orientation, color, size) for name, orientation, color in _VIEWS}
        self.layout = slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView

    def sliceViewNames(self) -> tuple[str, ...]:
        return tuple(self._views)

    def sliceWidget(self, name: str) -> _SliceWidget:
        return _SliceWidget(self._views[name])

    def mrmlSliceLogics(self) -> vtk.vtkCollection:
        return slicer.app.applicationLogic().GetSliceLogics()

    def setLayout(self, layout: int) -> None:
        self.layout = int(layout)

    def resetSliceViews(self) -> None:
        for view in self._views.values():
            view.logic.FitSliceToBackground()

    def resetThreeDViews(self) -> None:
        """There are none."""

    def save(self, name: str) -> Path:
        """Write the three views side by side as `<name>.png` into the folder of pictures."""
        pixels = np.ascontiguousarray(np.hstack([view.picture() for view in self._views.values()]))
        height, width, _ = pixels.shape
        image = qt.QImage(pixels.tobytes(), width, height, 3 * width, qt.QImage.Format_RGB888)
        path = outputFolder() / f"{name}.png"
        if not image.save(str(path)):
            raise OSError(f"cannot write the picture {path}")
        return path

    def _close(self) -> None:
        for view in self._views.values():
            view.close()


@contextlib.contextmanager
def layout(size: int = 300) -> Iterator[LayoutManager]:
    """Give `slicer.app` a layout manager with views of `size` pixels; without it there is no main window."""
    manager = LayoutManager(size)
    slicer.app._layoutManager = manager
    try:
        yield manager
    finally:
        slicer.app._layoutManager = None
        manager._close()
