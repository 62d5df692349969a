"""Connects a panel's widgets with its parameter node."""

from __future__ import annotations

from typing import Any

import vtk


def follow(panel: Any, parameterNode: Any | None) -> None:
    """Makes a module's panel and a parameter node always show the same; None: it follows none any more.

    The panel calls its `_update` at each change; `_parameterNode` and `_parameterNodeGuiTag` are kept in it,
    where Slicer's module template has them.
    """
    if panel._parameterNode:
        panel._parameterNode.disconnectGui(panel._parameterNodeGuiTag)
        panel.removeObserver(panel._parameterNode, vtk.vtkCommand.ModifiedEvent, panel._update)
    panel._parameterNode = parameterNode
    if parameterNode:
        panel._parameterNodeGuiTag = connectToGui(parameterNode, panel.ui)
        panel.addObserver(parameterNode, vtk.vtkCommand.ModifiedEvent, panel._update)
        panel._update()


def connectToGui(parameterNode: Any, ui: Any) -> Any:
    """Binds the parameters to widgets of `ui`; gives the tag that `disconnectGui` wants.

    The widgets are those with a property SlicerParameterName. `parameterNode.connectGui` finds them too, but
    gives no tag in some versions of Slicer (its issue 7547): the connection could not be undone.
    """
    widgets = [widget for widget in vars(ui).values() if hasattr(widget, "property")]
    named = {widget.property("SlicerParameterName"): widget for widget in widgets}
    return parameterNode.connectParametersToGui({name: widget for name, widget in named.items() if name})
