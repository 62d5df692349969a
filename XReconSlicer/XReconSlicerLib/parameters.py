"""Connects a panel's widgets with its parameter node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import slicer
import vtk


def follow(panel: Any, parameterNode: Any | None) -> None:
    """Makes a module's panel and a parameter node always show the same; None: it follows none any more.

    The panel calls its `_update` at each change; `_parameterNode` and `_parameterNodeGuiTag` are kept in it,
    where Slicer's module template has them. `packUis`, if it has them, are the widgets of parameter packs, by
    the packs' names.
    """
    if panel._parameterNode:
        panel._parameterNode.disconnectGui(panel._parameterNodeGuiTag)
        panel.removeObserver(panel._parameterNode, vtk.vtkCommand.ModifiedEvent, panel._update)
    panel._parameterNode = parameterNode
    if parameterNode:
        panel._parameterNodeGuiTag = connectToGui(parameterNode, panel.ui, getattr(panel, "packUis", {}))
        panel.addObserver(parameterNode, vtk.vtkCommand.ModifiedEvent, panel._update)
        panel._update()


def observeScene(panel: Any) -> None:
    """Makes a module's panel hear when the scene closes (`onSceneStartClose`, `onSceneEndClose`), and look
    anew at a scene that was loaded while it is open: its nodes came after the parameters that name them."""

    def onEndImport(_caller: object, _event: str) -> None:
        if panel.parent.isEntered:
            panel.initializeParameterNode()

    scene = slicer.mrmlScene
    panel.addObserver(scene, scene.StartCloseEvent, panel.onSceneStartClose)
    panel.addObserver(scene, scene.EndCloseEvent, panel.onSceneEndClose)
    panel.addObserver(scene, scene.EndImportEvent, onEndImport)


def connectToGui(parameterNode: Any, ui: Any, packUis: Mapping[str, Any]) -> Any:
    """Binds the parameters to widgets of `ui`; gives the tag that `disconnectGui` wants.

    The widgets are those with a property SlicerParameterName. `parameterNode.connectGui` finds them too, but
    gives no tag in some versions of Slicer (its issue 7547): the connection could not be undone.
    """
    named = _named(ui, "")
    for pack, widgets in packUis.items():
        named |= _named(widgets, f"{pack}.")
    return parameterNode.connectParametersToGui(named)


def _named(ui: Any, prefix: str) -> dict[str, Any]:
    """Widgets by the name of their parameter."""
    widgets = [widget for widget in vars(ui).values() if hasattr(widget, "property")]
    named = {widget.property("SlicerParameterName"): widget for widget in widgets}
    return {prefix + name: widget for name, widget in named.items() if name}
