"""Which widget can show which kind of parameter, and how.

As in Slicer the check is for the exact class: a subclass of a supported widget is refused.
"""

from __future__ import annotations

import enum
import math

import ctk
import qt
import slicer

from .annotations import Choice, Decimals, SingleStep, limits
from .kinds import EnumKind, Kind, NodeKind, PathKind, Scalar

_INT_LIMIT = 2**31 - 1


class Connector:
    """Reads and writes one widget; `signals` tell that the user changed it."""

    signals: tuple[str, ...] = ()

    def __init__(self, kind: Kind, widget: qt.QWidget) -> None:
        self.kind = kind
        self.widget = widget

    def prepare(self) -> None:
        """Adapt the widget to the parameter's annotations."""

    def read(self) -> object:
        return None

    def write(self, value: object) -> None:
        """Show `value`."""


class CheckedConnector(Connector):
    """bool in a check box or checkable button."""

    signals = ("toggled(bool)",)

    def prepare(self) -> None:
        if not self.widget.checkable:
            raise RuntimeError(f"the button '{self.widget.objectName}' must be checkable to show a bool")

    def read(self) -> bool:
        return self.widget.checked

    def write(self, value: bool) -> None:
        self.widget.checked = value


class NumberConnector(Connector):
    """int or float in a spin box or slider; its range comes from the validators."""

    def __init__(self, kind: Kind, widget: qt.QWidget) -> None:
        super().__init__(kind, widget)
        self.isInt = type(widget) in (qt.QSpinBox, qt.QSlider)
        self.signals = ("valueChanged(int)" if self.isInt else "valueChanged(double)",)

    def prepare(self) -> None:
        low, high = limits(self.kind.annotations)
        bounded = low is not None and high is not None
        if type(self.widget) in _BOUNDED and not bounded:
            raise RuntimeError(
                f"the slider '{self.widget.objectName}' needs WithinRange, or Minimum and Maximum"
            )
        limit = _INT_LIMIT if self.isInt else math.inf
        self.widget.setRange(-limit if low is None else low, limit if high is None else high)
        for annotation in self.kind.annotations:
            if isinstance(annotation, SingleStep):
                self.widget.singleStep = annotation.value
            if isinstance(annotation, Decimals) and not self.isInt:
                self.widget.decimals = annotation.value

    def read(self) -> float:
        return self.kind.hint(self.widget.value)

    def write(self, value: float) -> None:
        self.widget.value = value


class ChoiceConnector(Connector):
    """A combo box filled with the choices, shown as `str(choice)`."""

    signals = ("currentIndexChanged(int)",)

    def prepare(self) -> None:
        self.values = next((a.choices for a in self.kind.annotations if isinstance(a, Choice)), None)
        if self.values is None:
            raise RuntimeError(f"the combo box '{self.widget.objectName}' needs the annotation Choice")
        self._fill([str(value) for value in self.values])

    def _fill(self, texts: list[str]) -> None:
        blocked = self.widget.blockSignals(True)
        self.widget.clear()
        self.widget.addItems(texts)
        self.widget.blockSignals(blocked)

    def read(self) -> object:
        return self.values[self.widget.currentIndex] if self.widget.currentIndex >= 0 else None

    def write(self, value: object) -> None:
        self.widget.currentIndex = self.values.index(value)


class EnumConnector(ChoiceConnector):
    """A combo box filled with an Enum's members, shown by `label()` if the Enum has it, else by name."""

    def prepare(self) -> None:
        self.values = list(self.kind.hint)
        self._fill([self._text(member) for member in self.values])

    @staticmethod
    def _text(member: enum.Enum) -> str:
        return member.label() if hasattr(member, "label") else member.name


class LineConnector(Connector):
    """str in a line edit."""

    signals = ("textChanged(QString)",)

    def read(self) -> str:
        return self.widget.text

    def write(self, value: str) -> None:
        self.widget.text = value


class TextConnector(Connector):
    """str in a text edit, as plain text."""

    signals = ("textChanged()",)

    def read(self) -> str:
        return self.widget.plainText

    def write(self, value: str) -> None:
        self.widget.plainText = value


class LabelConnector(LineConnector):
    """str shown in a label; one way."""

    signals = ()


class PathConnector(Connector):
    """A path in ctkPathLineEdit or ctkDirectoryButton."""

    def __init__(self, kind: Kind, widget: qt.QWidget) -> None:
        super().__init__(kind, widget)
        isLine = type(widget) is ctk.ctkPathLineEdit
        self.signals = ("currentPathChanged(QString)" if isLine else "directoryChanged(QString)",)
        self.attribute = "currentPath" if isLine else "directory"

    def read(self) -> object:
        return self.kind.hint(getattr(self.widget, self.attribute))

    def write(self, value: object) -> None:
        setattr(self.widget, self.attribute, str(value))


class NodeConnector(Connector):
    """A node in a selector, whose node types become those of the annotation."""

    def __init__(self, kind: Kind, widget: qt.QWidget) -> None:
        super().__init__(kind, widget)
        isCombo = type(widget) is slicer.qMRMLSubjectHierarchyComboBox
        self.signals = ("currentItemChanged(vtkIdType)" if isCombo else "currentNodeChanged(vtkMRMLNode*)",)

    def prepare(self) -> None:
        self.widget.nodeTypes = [cls.__name__ for cls in self.kind.classes]

    def read(self) -> object:
        return self.widget.currentNode()

    def write(self, value: object) -> None:
        self.widget.setCurrentNode(value)


_BOUNDED = (qt.QSlider, ctk.ctkSliderWidget, ctk.ctkDoubleSlider, slicer.qMRMLSliderWidget)
_CHECKED = (qt.QCheckBox, ctk.ctkCheckBox, qt.QPushButton, ctk.ctkCheckablePushButton)
_REAL = (
    qt.QDoubleSpinBox,
    ctk.ctkSliderWidget,
    slicer.qMRMLSliderWidget,
    ctk.ctkDoubleSlider,
    ctk.ctkDoubleSpinBox,
    slicer.qMRMLSpinBox,
)
_COMBO = (qt.QComboBox, ctk.ctkComboBox)
_NODES = (
    slicer.qMRMLNodeComboBox,
    slicer.qMRMLSubjectHierarchyTreeView,
    slicer.qMRMLSubjectHierarchyComboBox,
)


def _connectorClass(kind: Kind, widgetClass: type) -> type[Connector] | None:
    table: list[tuple[bool, tuple[type, ...], type[Connector]]] = [
        (isinstance(kind, Scalar), _COMBO, ChoiceConnector),
        (kind.hint is bool, _CHECKED, CheckedConnector),
        (kind.hint is int, (qt.QSlider, qt.QSpinBox), NumberConnector),
        (kind.hint in (int, float), _REAL, NumberConnector),
        (isinstance(kind, EnumKind), _COMBO, EnumConnector),
        (kind.hint is str, (qt.QLineEdit,), LineConnector),
        (kind.hint is str, (qt.QTextEdit,), TextConnector),
        (kind.hint is str, (qt.QLabel,), LabelConnector),
        (isinstance(kind, PathKind), (ctk.ctkPathLineEdit, ctk.ctkDirectoryButton), PathConnector),
        (isinstance(kind, NodeKind), _NODES, NodeConnector),
    ]
    return next((cls for matches, classes, cls in table if matches and widgetClass in classes), None)


def connectorFor(kind: Kind, widget: qt.QWidget, name: str) -> Connector:
    """The connector for a parameter and a widget.

    Raises
    ------
    RuntimeError
        when the widget's exact class cannot show the parameter
    """
    cls = _connectorClass(kind, type(widget))
    if cls is None:
        raise RuntimeError(
            f"parameter '{name}' ({kind.hint}) cannot be connected to a {type(widget).__name__}"
        )
    return cls(kind, widget)
