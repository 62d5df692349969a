"""`qt` as Slicer's Python sees it (PythonQt semantics), over PySide6.

Emulated: properties are attributes; `connect("signal(Types)", slot)`; no new attributes on C++ objects; enums
are integers; `exec_`, `className`, `name`, `delete`; slots get only the arguments they take.  Names that only
PySide6 has (`Signal`, `Slot`, `Property`) are absent.  Modal dialogs are scripted (`_dialogs`), exceptions in
slots recorded (`_errors`).
"""

from __future__ import annotations

import inspect
import os

os.environ.setdefault(
    "PYSIDE6_OPTION_PYTHON_ENUM", "2"
)  # enums as IntEnum; must precede the first PySide6 import
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import shiboken6
from PySide6 import QtCore, QtGui, QtNetwork, QtSvg, QtUiTools, QtWidgets

from . import _connections, _dialogs, _errors, _properties

_PYSIDE_ONLY = {
    "Signal",
    "SignalInstance",
    "Slot",
    "Property",
    "ClassInfo",
    "QEnum",
    "QFlag",
    "QtMsgType",
    "Shiboken",
    "Connection",
}


def _export() -> list[type]:
    """Put Qt's public names into this module and return its classes."""
    classes = []
    for module in (QtCore, QtGui, QtWidgets, QtUiTools, QtSvg, QtNetwork):
        for name in dir(module):
            if name.startswith("_") or name in _PYSIDE_ONLY:
                continue
            value = getattr(module, name)
            globals().setdefault(name, value)
            if inspect.isclass(value):
                classes.append(value)
    return classes


def _singleShot(milliseconds: int, slot: object, *rest: object) -> None:
    """QTimer.singleShot; an exception in the slot is recorded, not handed to whoever runs the event loop."""
    _originalSingleShot(milliseconds, _errors.guarded(slot, 0))


_originalSingleShot = QtCore.QTimer.singleShot
_properties.install(_export())
QtCore.QTimer.__dict__["singleShot"].static = _singleShot
_connections.install()
_dialogs.install()
_errors.install()

QtCore.QObject.name = QtCore.QObject.__dict__["objectName"]
QtCore.QObject.className = lambda self: type(self).staticMetaObject.className()
QtCore.QObject.delete = lambda self: shiboken6.delete(self)
for _class in (QtWidgets.QMenu, QtCore.QEventLoop, QtWidgets.QApplication, QtCore.QCoreApplication):
    _class.exec_ = _class.exec

from ._loader import QUiLoader as QUiLoader  # noqa: E402  (after the patches; replaces Qt's own)

_bytesOf = QtCore.QByteArray.data
QtCore.QByteArray.data = lambda self: _bytesOf(self) or None  # PythonQt gives None for an empty array


def SIGNAL(signature: str) -> str:
    """Old spelling of a signal in `connect`."""
    return signature


SLOT = SIGNAL
