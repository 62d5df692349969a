"""`qt.QUiLoader`: loads `.ui` files with stand-ins for Slicer's and CTK's widgets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PySide6 import QtCore, QtUiTools, QtWidgets

from . import _ui
from ._connections import argumentTypes, normalized
from ._standins import StandIn, registry


class QUiLoader(QtUiTools.QUiLoader):
    """Qt's loader, which creates stand-ins by class name and refuses what it does not know."""

    def __init__(self, parent: QtCore.QObject | None = None) -> None:
        super().__init__(parent)
        self._created: list[QtCore.QObject] = []

    def createWidget(
        self, className: str, parent: QtWidgets.QWidget | None = None, name: str = ""
    ) -> QtWidgets.QWidget:
        if className in registry:
            widget = registry[className](parent)
            widget.objectName = name
        else:
            widget = super().createWidget(className, parent, name)
        self._created.append(widget)
        return widget

    def load(
        self, device: QtCore.QIODevice | str, parent: QtWidgets.QWidget | None = None
    ) -> QtWidgets.QWidget:
        content = Path(device).read_bytes() if isinstance(device, str) else device.readAll().data()
        ui = _ui.read(content)
        buffer = QtCore.QBuffer()
        buffer.setData(ui.xml)
        buffer.open(QtCore.QIODevice.ReadOnly)
        self._created = []
        top = super().load(buffer, parent)
        if top is None:
            raise RuntimeError(f"Qt cannot load the .ui file: {self.errorString()}")
        top.__dict__["_slicerhost_children"] = top.findChildren(QtCore.QObject) + self._created
        widgets = {widget.objectName: widget for widget in [top, *top.findChildren(QtWidgets.QWidget)]}
        for widgetName, name, value in ui.properties:
            setattr(widgets[widgetName], name, value)
        for connection in ui.connections:
            _connect(widgets, *connection)
        return top


def _slot(target: QtWidgets.QWidget, slot: str) -> Callable:
    """The slot with exactly this signature; RuntimeError when the widget has none."""
    name = slot.split("(")[0]
    known = type(target).staticMetaObject.indexOfSlot(slot) >= 0
    if not known and isinstance(target, StandIn):  # its slots are Python methods, some with declared types
        declared = [each for each in target.SLOTS if each.startswith(name + "(")]
        known = slot in declared if declared else hasattr(target, name)
    if not known:
        raise RuntimeError(f".ui: {type(target).__name__} '{target.objectName}' has no slot {slot}")
    return getattr(target, name)


def _connect(
    widgets: dict[str, QtWidgets.QWidget], sender: str, signal: str, receiver: str, slot: str
) -> None:
    """Make a connection of the file if Qt would make it."""
    for name in (sender, receiver):
        if name not in widgets:
            raise RuntimeError(f".ui: a connection names the unknown widget '{name}'")
    signal, slot = normalized(signal), normalized(slot)
    taken = argumentTypes(slot)
    if argumentTypes(signal)[: len(taken)] != taken:
        raise RuntimeError(f".ui: {signal} of '{sender}' does not fit the slot {slot} of '{receiver}'")
    widgets[sender].connect(signal, _slot(widgets[receiver], slot))
