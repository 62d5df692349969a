"""Qt properties as plain attributes, and no silent new attributes: PythonQt's two rules that differ most from
PySide6.

* `widget.text` is the text, `widget.text()` an error, `widget.enabled = True` an assignment.
* Setting an attribute that a C++ object does not have raises AttributeError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from PySide6 import QtCore

OWN_PREFIX = "_slicerhost"  # attributes this host keeps on C++ objects


class PropertyAttribute:
    """One Qt property of one class, read and written through the class's own getter and setter."""

    def __init__(
        self,
        name: str,
        getter: Callable | None,
        setter: Callable | None,
        *,
        writable: bool,
        static: object = None,
    ) -> None:
        self.name = name
        self.getter = getter
        self.setter = setter
        self.writable = writable
        self.static = static  # a static method of the same name, e.g. QTimer.singleShot

    def __get__(self, instance: QtCore.QObject | None, owner: type | None = None) -> object:
        if instance is None:
            return self.static if self.static is not None else self
        if self.getter is not None:
            return self.getter(instance)
        return QtCore.QObject.property(instance, self.name)

    def __set__(self, instance: QtCore.QObject, value: object) -> None:
        if not self.writable:
            raise AttributeError(f"property '{self.name}' of {type(instance).__name__} cannot be written")
        if self.setter is not None:
            self.setter(instance, value)
        elif not QtCore.QObject.setProperty(instance, self.name, value):
            raise AttributeError(f"{type(instance).__name__}.{self.name} does not take {value!r}")


def _propertyAttribute(cls: type, name: str, writable: bool) -> PropertyAttribute | None:
    capital = name[0].upper() + name[1:]
    current = getattr(cls, name, None)
    if type(current).__name__ == "Signal":
        return None
    if isinstance(current, PropertyAttribute):
        return current
    static = None
    if (
        type(current).__name__ == "builtin_function_or_method"
    ):  # static: takes no instance, so it is no getter
        current, static = None, current
    getter = current if callable(current) else getattr(cls, "is" + capital, None)
    return PropertyAttribute(
        name, getter, getattr(cls, "set" + capital, None), writable=writable, static=static
    )


def addProperties(cls: type[QtCore.QObject]) -> None:
    """Give `cls` an attribute for each of its own Qt properties, and for inherited ones it redefines."""
    meta = cls.staticMetaObject
    for index in range(meta.propertyCount()):
        prop = meta.property(index)
        name = prop.name()
        if index < meta.propertyOffset() and not callable(cls.__dict__.get(name)):
            continue
        attribute = _propertyAttribute(cls, name, prop.isWritable())
        if attribute is not None:
            setattr(cls, name, attribute)


def _isStrict(cls: type) -> bool:
    """Whether instances of exactly this class take no new attributes (a Python subclass of a user does)."""
    return cls.__module__.startswith("PySide6") or "_isStandIn" in cls.__dict__


def _setAttribute(self: QtCore.QObject, name: str, value: object) -> None:
    cls = type(self)
    for base in cls.__mro__:
        if name in base.__dict__:
            descriptor = base.__dict__[name]
            if hasattr(type(descriptor), "__set__"):
                type(descriptor).__set__(descriptor, self, value)
                return
            break
    private = name.startswith("_" if "_isStandIn" in cls.__dict__ else OWN_PREFIX)
    fromPySide = type(value).__name__ == "SignalInstance"  # PySide6 keeps a looked-up signal on the object
    if _isStrict(cls) and not private and not fromPySide:
        raise AttributeError(
            f"'{cls.__name__}' has no attribute '{name}' that can be set, and C++ objects take no new ones"
        )
    self.__dict__[name] = value


def install(classes: Iterable[type]) -> None:
    """Patch the given PySide6 classes, base classes first so that inherited attributes are found."""
    for cls in sorted(set(classes), key=lambda c: len(c.__mro__)):
        if issubclass(cls, QtCore.QObject):
            addProperties(cls)
            if "__setattr__" in cls.__dict__:
                cls.__setattr__ = _setAttribute
