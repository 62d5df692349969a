"""What a `.ui` file says, checked before Qt sees it.

Qt itself is lenient: an unknown property becomes a dynamic one, an unknown enum value the default, and the
C++ types in `<connections>` of Slicer panels mean nothing to PySide6.  Here each of these is an error or
handled by hand.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field

from PySide6 import QtCore, QtGui, QtWidgets

from ._standins import registry

_LINE_CLASSES = {"Line": "QFrame"}


@dataclass
class UiFile:
    """A checked `.ui` file: what Qt can load, and what the host applies afterwards."""

    xml: bytes
    properties: list[tuple[str, str, object]] = field(default_factory=list)  # (widget, property, value)
    connections: list[tuple[str, str, str, str]] = field(
        default_factory=list
    )  # (sender, signal, receiver, slot)
    classes: dict[str, str] = field(default_factory=dict)  # widget name -> class name


def _enumValue(text: str, widgetClass: type) -> object:
    value = 0
    for part in text.split("|"):
        path = part.split("::")
        if len(path) > 2:
            raise RuntimeError(f".ui: '{part}': Qt 5 does not read scoped enums, write {path[0]}::{path[-1]}")
        owner = widgetClass
        if len(path) == 2:
            owner = (
                getattr(QtCore, path[0], None) or getattr(QtWidgets, path[0], None) or registry.get(path[0])
            )
        if owner is None or not hasattr(owner, path[-1]):
            raise RuntimeError(f".ui: unknown enum value '{part}'")
        member = getattr(owner, path[-1])
        value = member if "|" not in text else value | member
    return value


def propertyValue(element: ElementTree.Element, widgetClass: type) -> object:
    """Value of a `<property>` element of a stand-in widget."""
    child = next(iter(element))
    text = child.text or ""
    if child.tag in ("string", "cstring"):
        return text
    if child.tag == "bool":
        return text.strip() == "true"
    if child.tag == "number":
        return int(text)
    if child.tag == "double":
        return float(text)
    if child.tag in ("enum", "set"):
        return _enumValue(text.strip(), widgetClass)
    if child.tag == "stringlist":
        return [item.text or "" for item in child.findall("string")]
    if child.tag == "color":
        return QtGui.QColor(*(int(child.findtext(name) or 0) for name in ("red", "green", "blue")))
    raise RuntimeError(f".ui: property type <{child.tag}> of a stand-in widget is not known to the host")


def _checkProperty(element: ElementTree.Element, widgetClass: type, widgetName: str) -> None:
    """An ordinary Qt property must exist in the class; its enum values must be readable by Qt 5."""
    name = element.get("name") or ""
    # two that Qt's loader itself takes care of
    handled = (widgetClass.__name__, name) in (("QFrame", "orientation"), ("QLabel", "buddy"))
    if widgetClass.staticMetaObject.indexOfProperty(name) < 0 and not handled:
        raise RuntimeError(
            f".ui: {widgetClass.__name__} '{widgetName}' has no property '{name}' (dynamic: stdset=\"0\")"
        )
    for tag in ("enum", "set"):
        child = element.find(tag)
        if child is not None and any(part.count("::") > 1 for part in (child.text or "").split("|")):
            raise RuntimeError(f".ui: '{child.text}' of '{widgetName}': Qt 5 does not read scoped enums")


def _widgetClass(name: str) -> type:
    name = _LINE_CLASSES.get(name, name)
    cls = registry.get(name) or getattr(QtWidgets, name, None)
    if cls is None:
        raise RuntimeError(f".ui uses the widget class {name}, which has no stand-in and is not part of Qt")
    return cls


def _takeWidget(element: ElementTree.Element, ui: UiFile) -> None:
    """Check one `<widget>`; move the properties only a stand-in knows out of the XML."""
    className, widgetName = element.get("class") or "", element.get("name") or ""
    cls = _widgetClass(className)
    if widgetName in ui.classes:
        raise RuntimeError(f".ui: two widgets are called '{widgetName}'")
    ui.classes[widgetName] = className
    for prop in element.findall("property"):
        name = prop.get("name") or ""
        if prop.get("stdset") == "0":
            continue
        if className in registry and isinstance(getattr(cls, name, None), property):
            ui.properties.append((widgetName, name, propertyValue(prop, cls)))
            element.remove(prop)
        else:
            _checkProperty(prop, cls, widgetName)


def read(content: bytes) -> UiFile:
    """Check the text of a `.ui` file.

    Raises
    ------
    RuntimeError
        for a widget class without stand-in, an unknown property or enum value, or a duplicate name
    """
    root = ElementTree.fromstring(content)
    ui = UiFile(b"")
    for element in root.iter("widget"):
        _takeWidget(element, ui)
    for element in root.iter("connection"):
        ui.connections.append(
            tuple(element.findtext(tag) or "" for tag in ("sender", "signal", "receiver", "slot"))
        )
    for tag in ("connections", "customwidgets"):
        for element in root.findall(tag):
            root.remove(element)
    ui.xml = ElementTree.tostring(root)
    return ui
