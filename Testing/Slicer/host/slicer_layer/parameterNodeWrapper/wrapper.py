"""`@parameterNodeWrapper`: the parameters a class declares, as attributes kept in a parameter node."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import qt
import slicer
import vtk

from .bindings import Binding
from .packs import Field, PackKind, fieldsOf


class _Wrapper:
    """What every wrapper class gets beside its parameters."""

    _fields: dict[str, Field]

    def __init__(self, parameterNode: slicer.vtkMRMLScriptedModuleNode, prefix: str | None = None) -> None:
        if not isinstance(parameterNode, slicer.vtkMRMLScriptedModuleNode):
            raise TypeError(
                f"a parameter node wrapper wraps a vtkMRMLScriptedModuleNode, not {parameterNode!r}"
            )
        self.__dict__["parameterNode"] = parameterNode
        self.__dict__["_prefix"] = prefix + "_" if prefix else ""
        self.__dict__["_bindings"] = {}
        for name, field in self._fields.items():
            if not field.kind.isStored(parameterNode, self._prefix + name):
                value = field.makeDefault()
                field.kind.validate(value)
                field.kind.write(parameterNode, self._prefix + name, value)

    def __setattr__(self, name: str, value: object) -> None:
        if name not in self._fields and not name.startswith("_") and not hasattr(type(self), name):
            raise AttributeError(f"{type(self).__name__} has no parameter '{name}'")
        object.__setattr__(self, name, value)

    def _resolve(self, path: str) -> tuple[object, str, Field]:
        """Owner, attribute and field of a parameter, "a" or "pack.a"."""
        owner: object = self
        fields = self._fields
        *packs, last = path.split(".")
        for pack in packs:
            if pack not in fields or not isinstance(fields[pack].kind, PackKind):
                raise ValueError(f"{type(self).__name__} has no parameter pack '{pack}' (in '{path}')")
            owner = getattr(owner, pack)
            fields = owner._parameterPackFields
        if last not in fields:
            raise ValueError(f"{type(self).__name__} has no parameter '{path}'")
        return owner, last, fields[last]

    def getValue(self, name: str) -> object:
        """Value of a parameter by name; "pack.field" reaches into packs."""
        owner, attribute, _ = self._resolve(name)
        return getattr(owner, attribute)

    def setValue(self, name: str, value: object) -> None:
        """Set a parameter by name; "pack.field" reaches into packs."""
        owner, attribute, _ = self._resolve(name)
        setattr(owner, attribute, value)

    def default(self, name: str) -> object:
        """Default of a parameter."""
        return self._resolve(name)[2].makeDefault()

    def dataType(self, name: str) -> object:
        """Declared type of a parameter, without annotations."""
        return self._resolve(name)[2].kind.hint

    def isCached(self, name: str) -> bool:
        """False: the stand-in reads the node each time."""
        self._resolve(name)
        return False

    def connectGui(self, gui: object) -> int:
        """Bind the widgets of `gui` (its attributes, or descendants) that carry SlicerParameterName."""
        widgets = slicer.util.findChildren(gui) if isinstance(gui, qt.QObject) else list(vars(gui).values())
        named = (
            (widget.property("SlicerParameterName"), widget)
            for widget in widgets
            if isinstance(widget, qt.QObject)
        )
        return self._bind([(name, widget) for name, widget in named if name])

    def connectParametersToGui(self, mapping: Mapping[str, qt.QWidget]) -> int:
        """Bind parameters to widgets by name."""
        return self._bind(list(mapping.items()))

    def _bind(self, pairs: list[tuple[str, qt.QWidget]]) -> int:
        bindings = [Binding(self, name, self._resolve(name)[2].kind, widget) for name, widget in pairs]

        def show(caller: object = None, event: str = "") -> None:
            for binding in bindings:
                binding.showValue()

        for binding in bindings:
            binding.showValue(always=True)
        tag = self.parameterNode.AddObserver(vtk.vtkCommand.ModifiedEvent, show)
        self._bindings[tag] = bindings
        return tag

    def disconnectGui(self, tag: int) -> None:
        """Undo `connectGui`."""
        self.parameterNode.RemoveObserver(tag)
        for binding in self._bindings.pop(tag):
            binding.disconnect()

    def AddObserver(self, event: object, callback: Callable, priority: float = 0.0) -> int:
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag: int) -> None:
        self.parameterNode.RemoveObserver(tag)

    def StartModify(self) -> int:
        return self.parameterNode.StartModify()

    def EndModify(self, wasModifying: int) -> int:
        return self.parameterNode.EndModify(wasModifying)

    def Modified(self) -> None:
        self.parameterNode.Modified()


def _parameter(name: str, field: Field) -> property:
    def read(self: _Wrapper) -> object:
        return field.kind.read(self.parameterNode, self._prefix + name)

    def write(self: _Wrapper, value: object) -> None:
        field.kind.validate(value)
        field.kind.write(self.parameterNode, self._prefix + name, value)

    return property(read, write)


def parameterNodeWrapper(cls: type) -> type:
    """Class decorator; the class is then constructed with a vtkMRMLScriptedModuleNode.

    Raises
    ------
    TypeError
        when an annotation is not a type parameter nodes can hold
    ValueError
        when the class declares `__init__` or no parameters, or a parameter has a reserved name or a bad
        default
    """
    fields = fieldsOf(cls)
    if not fields:
        raise ValueError(f"{cls.__name__} declares no parameters")
    if "__init__" in cls.__dict__:
        raise ValueError(f"{cls.__name__} declares __init__, which the wrapper provides")
    reserved = set(fields) & (set(vars(_Wrapper)) | {"parameterNode"})
    if reserved:
        raise ValueError(f"{cls.__name__}: reserved parameter names {sorted(reserved)}")
    attributes = {
        k: v for k, v in vars(cls).items() if k not in fields and k not in ("__dict__", "__weakref__")
    }
    attributes.update({name: _parameter(name, field) for name, field in fields.items()}, _fields=fields)
    return type(
        cls.__name__, (_Wrapper, *cls.__bases__) if cls.__bases__ != (object,) else (_Wrapper,), attributes
    )
