"""One parameter bound to one widget, both ways."""

from __future__ import annotations

import qt

from .connectors import connectorFor
from .kinds import Kind


class Binding:
    """Keeps a widget and a parameter equal until `disconnect`."""

    def __init__(self, wrapper: object, name: str, kind: Kind, widget: qt.QWidget) -> None:
        self._wrapper = wrapper
        self._name = name
        self._showing = False
        self._connector = connectorFor(kind, widget, name)
        self._connector.prepare()
        self._signals = [(signal, self._changed) for signal in self._connector.signals]
        for signal, slot in self._signals:
            widget.connect(signal, slot)
        self._widget = widget

    def _changed(self) -> None:
        if not self._showing:
            value = self._connector.read()
            if value != self._wrapper.getValue(self._name):
                self._wrapper.setValue(self._name, value)

    def showValue(self, *, always: bool = False) -> None:
        """Bring the widget up to the parameter's value; `always`: also when it seems to show it already."""
        self._showing = True
        try:
            value = self._wrapper.getValue(self._name)
            if always or self._connector.read() != value:
                self._connector.write(value)
        finally:
            self._showing = False

    def disconnect(self) -> None:
        """Stop following each other."""
        for signal, slot in self._signals:
            self._widget.disconnect(signal, slot)
