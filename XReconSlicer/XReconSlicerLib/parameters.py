"""Connects a panel's widgets with its parameter node."""

from __future__ import annotations

from typing import Any


def connectToGui(parameterNode: Any, ui: Any) -> Any:
    """Makes widgets and parameters follow each other; gives the tag that `disconnectGui` wants.

    The widgets are those of `ui` with a property SlicerParameterName. `parameterNode.connectGui` finds them
    too, but gives no tag in some versions of Slicer (its issue 7547): the connection could not be undone.
    """
    widgets = [widget for widget in vars(ui).values() if hasattr(widget, "property")]
    named = {widget.property("SlicerParameterName"): widget for widget in widgets}
    return parameterNode.connectParametersToGui({name: widget for name, widget in named.items() if name})
