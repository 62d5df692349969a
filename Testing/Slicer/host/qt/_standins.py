"""Base of the widgets that exist only in Slicer and CTK (`ctk*`, `qMRML*`), written here in Python.

A stand-in class declares its C++ signals as text in `SIGNALS` and its Qt properties as Python properties;
everything public it has must exist in Slicer under the same name.  Helpers start with an underscore.
"""

from __future__ import annotations

from collections.abc import Callable

from PySide6 import QtCore

from ._connections import argumentTypes
from ._errors import guarded

registry: dict[str, type] = {}
"""Stand-in classes by name: what `.ui` files may use besides Qt's own widgets."""


class SignalAttribute:
    """`widget.valueChanged`: one declared signal of one widget."""

    def __init__(self, owner: StandIn, signature: str) -> None:
        self._owner = owner
        self._signature = signature

    def connect(self, slot: Callable) -> bool:
        return self._owner.connect(self._signature, slot)

    def disconnect(self, slot: Callable | None = None) -> bool:
        return self._owner.disconnect(self._signature, slot)

    def emit(self, *arguments: object) -> None:
        self._owner._emit(self._signature, *arguments)


class StandIn:
    """Mix-in before the Qt base class: `class ctkX(StandIn, QWidget)`."""

    SIGNALS: tuple[str, ...] = ()
    SLOTS: tuple[str, ...] = ()  # only where the argument types of a slot are not the usual ones

    @classmethod
    def _standInSignals(cls) -> set[str]:
        """Normalized signatures declared by the class and its bases."""
        return {signature for base in cls.__mro__ for signature in base.__dict__.get("SIGNALS", ())}

    def _addSlot(self, signature: str, slot: Callable) -> Callable[[], None]:
        entry = guarded(slot, len(argumentTypes(signature)))
        slots = self.__dict__.setdefault("_slots", {}).setdefault(signature, [])
        slots.append(entry)
        return lambda: slots.remove(entry)

    def _emit(self, signature: str, *arguments: object) -> None:
        if signature not in self._standInSignals():
            raise ValueError(f"{type(self).__name__} declares no signal '{signature}'")
        if not self.signalsBlocked():
            for entry in list(self.__dict__.get("_slots", {}).get(signature, ())):
                entry(*arguments)

    def __getattr__(self, name: str) -> SignalAttribute:
        found = [s for s in type(self)._standInSignals() if s.startswith(name + "(")]
        if len(found) == 1:
            return SignalAttribute(self, found[0])
        if found:
            raise AttributeError(
                f"signal '{name}' of {type(self).__name__} has overloads: use connect('{found[0]}', ...)"
            )
        raise AttributeError(f"'{type(self).__name__}' has no attribute '{name}'")

    def property(self, name: str) -> object:
        """Value of a declared, a Qt or a dynamic property; None when there is none."""
        if isinstance(getattr(type(self), name, None), property):
            return getattr(self, name)
        return QtCore.QObject.property(self, name)

    def setProperty(self, name: str, value: object) -> bool:
        """Set a declared or a dynamic property."""
        if isinstance(getattr(type(self), name, None), property):
            setattr(self, name, value)
            return True
        return QtCore.QObject.setProperty(self, name, value)

    def className(self) -> str:
        """Name of the C++ class this stands for."""
        return next(base.__name__ for base in type(self).__mro__ if "_isStandIn" in base.__dict__)


def stored(
    name: str, default: object, convert: Callable = lambda value: value, signal: str | None = None
) -> property:
    """A Qt property that only keeps its value; `signal` is emitted with it when it changes."""
    key = "_property_" + name

    def read(self: StandIn) -> object:
        return self.__dict__.get(key, default)

    def write(self: StandIn, value: object) -> None:
        value = convert(value)
        if value != read(self):
            self.__dict__[key] = value
            if signal is not None:
                self._emit(signal, value)

    return property(read, write)


def _setter(prop: property) -> Callable:
    def setValue(self: StandIn, value: object) -> None:
        prop.fset(self, value)

    return setValue


def standIn(cls: type) -> type:
    """Class decorator: refuse unknown attributes on instances and make the class known to `.ui` files.

    Each writable property gets the `setX` method Qt classes have beside it.
    """
    for name, value in list(cls.__dict__.items()):
        method = "set" + name[0].upper() + name[1:]
        if isinstance(value, property) and value.fset is not None and method not in cls.__dict__:
            setattr(cls, method, _setter(value))
    cls._isStandIn = True
    registry[cls.__name__] = cls
    return cls
