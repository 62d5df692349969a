"""`object.connect("signal(Types)", slot)` and `object.disconnect(...)`, the way PythonQt spells them.

A signal that the class does not have raises ValueError (real PythonQt prints the mistake and returns False).
"""

from __future__ import annotations

import types
from collections.abc import Callable

from PySide6 import QtCore

from ._errors import guarded

_CONNECTIONS = "_slicerhost_connections"  # [(normalized signature, slot as given, function that undoes it)]


def normalized(signature: str) -> str:
    """`signature` as Qt's meta objects spell it, without blanks and const references."""
    return bytes(QtCore.QMetaObject.normalizedSignature(signature)).decode()


def argumentTypes(signature: str) -> list[str]:
    """Types between the parentheses of a normalized signature."""
    return [name for name in signature[:-1].split("(", 1)[1].split(",") if name]


def _connectQtSignal(sender: QtCore.QObject, signature: str, slot: Callable) -> Callable[[], object]:
    # Of the class: PySide6 forgets the meta object of a class when an object it was asked of is deleted.
    if type(sender).staticMetaObject.indexOfSignal(signature) < 0:
        raise ValueError(f"{type(sender).__name__} has no signal '{signature}'")
    signal = getattr(sender, signature.split("(")[0])
    arguments = argumentTypes(signature)
    try:
        signal = signal[",".join(arguments)] if arguments else signal
    except (KeyError, IndexError, TypeError):
        pass  # the only overload, or the default one
    call = guarded(slot, len(arguments))
    signal.connect(call)
    return lambda: signal.disconnect(call)


def _connect(self: QtCore.QObject, signal: str, slot: object, member: str | None = None) -> bool:
    if isinstance(
        signal, QtCore.QObject
    ):  # PySide6 itself, in QTimer.singleShot: connect(sender, "2timeout()", f)
        return _connect(signal, slot[1:], member)
    if member is not None:  # connect(signal, receiver, "slot(Types)")
        slot = getattr(slot, member.split("(")[0])
    if not callable(slot):
        raise ValueError(f"{type(self).__name__}.connect('{signal}'): {slot!r} cannot be called")
    signature = normalized(signal)
    declared = getattr(self, "_standInSignals", None)
    if declared is not None and signature in declared():
        undo = self._addSlot(signature, slot)
    else:
        undo = _connectQtSignal(self, signature, slot)
    self.__dict__.setdefault(_CONNECTIONS, []).append((signature, slot, undo))
    return True


def _disconnect(
    self: QtCore.QObject, signal: str | None = None, slot: object = None, member: str | None = None
) -> bool:
    if member is not None:
        slot = getattr(slot, member.split("(")[0])
    wanted = normalized(signal) if signal else None
    connections = self.__dict__.get(_CONNECTIONS, [])
    matching = [c for c in connections if wanted in (None, c[0]) and (slot is None or c[1] == slot)]
    for connection in matching:
        connections.remove(connection)
        connection[2]()
    return bool(matching)


def install() -> None:
    """PySide6 answers `connect` before Python's attribute rules, so the look-up itself is replaced."""
    _installLookUp(QtCore.QObject)


def _installLookUp(cls: type[QtCore.QObject]) -> None:
    for derived in cls.__subclasses__():  # some, such as QProcess, have a look-up of their own
        _installLookUp(derived)
    if "__getattribute__" not in cls.__dict__:
        return
    original = cls.__getattribute__

    def lookUp(self: QtCore.QObject, name: str) -> object:
        if name == "connect":
            return types.MethodType(_connect, self)
        if name == "disconnect":
            return types.MethodType(_disconnect, self)
        return original(self, name)

    cls.__getattribute__ = lookUp
