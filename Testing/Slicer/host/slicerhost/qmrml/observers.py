"""VTK observers that end with their widget.

A VTK object would otherwise keep calling a widget whose C++ part Qt has deleted.
"""

from __future__ import annotations

import weakref

import qt
import shiboken6
import vtk


class Observers:
    """Observations of one widget, whose methods are called by name."""

    def __init__(self, widget: qt.QWidget) -> None:
        self._widget = weakref.ref(widget)
        self._tags: list[tuple[vtk.vtkObject, int]] = []

    def add(self, observed: vtk.vtkObject, event: int, method: str) -> None:
        """Call the widget's `method()` on `event`."""

        def call(caller: vtk.vtkObject, name: str) -> None:
            self._call(method)

        self._tags.append((observed, observed.AddObserver(event, call)))

    def addWithNode(self, observed: vtk.vtkObject, event: int, method: str) -> None:
        """Call the widget's `method(node)` on an event that carries a node (any other would crash)."""

        @vtk.calldata_type(vtk.VTK_OBJECT)
        def call(caller: vtk.vtkObject, name: str, node: vtk.vtkObject) -> None:
            self._call(method, node)

        self._tags.append((observed, observed.AddObserver(event, call)))

    def _call(self, method: str, *arguments: vtk.vtkObject) -> None:
        widget = self._widget()
        if widget is not None and shiboken6.isValid(widget):
            getattr(widget, method)(*arguments)
        else:
            self.clear()

    def clear(self) -> None:
        """End all observations."""
        for observed, tag in self._tags:
            observed.RemoveObserver(tag)
        self._tags.clear()
