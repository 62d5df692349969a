"""`@parameterPack`: a group of parameters that is one parameter."""

from __future__ import annotations

import typing
from collections.abc import Callable

import slicer

from .annotations import Default, IsInstance, NotNone, Validator
from .kinds import Kind, kindOf

_WRITE = "_packWrite"  # called with (field, value) when the pack is the view of a parameter node


class Field:
    """One parameter: name, kind and how its default is made."""

    def __init__(self, name: str, hint: object, classDefault: object, hasDefault: bool) -> None:
        self.name = name
        self.kind = kindOf(hint)
        annotated = [a for a in self.kind.annotations if isinstance(a, Default)]
        if len(annotated) + hasDefault > 1:
            raise ValueError(f"parameter '{name}' has more than one default")
        if hasDefault:
            self.makeDefault: Callable[[], object] = lambda: classDefault
        else:
            self.makeDefault = annotated[0].generator if annotated else self.kind.default


def fieldsOf(cls: type) -> dict[str, Field]:
    """Parameters a class declares by annotation, in order."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return {
        name: Field(name, hint, getattr(cls, name, None), hasattr(cls, name)) for name, hint in hints.items()
    }


def _initialize(self: object, *values: object, **named: object) -> None:
    names = list(self._parameterPackFields)
    if len(values) > len(names) or set(named) - set(names) or set(named) & set(names[: len(values)]):
        raise ValueError(f"{type(self).__name__} takes {names}, got {values} and {named}")
    given = dict(zip(names, values, strict=False)) | named
    for name in names:
        if name in given:
            setattr(self, name, given[name])


def _setAttribute(self: object, name: str, value: object) -> None:
    field = self._parameterPackFields.get(name)
    if field is not None:
        field.kind.validate(value)
        if _WRITE in self.__dict__:
            self.__dict__[_WRITE](field, value)
    elif not name.startswith("_") and not hasattr(type(self), name):
        raise AttributeError(f"{type(self).__name__} has no parameter '{name}'")
    object.__setattr__(self, name, value)


def _values(self: object) -> dict[str, object]:
    return {name: getattr(self, name) for name in self._parameterPackFields}


def parameterPack(cls: type) -> type:
    """Class decorator: typed, validated attributes with defaults, comparable and printable."""
    fields = fieldsOf(cls)
    if not fields:
        raise ValueError(f"{cls.__name__} declares no parameters")
    for name in fields:
        if name in cls.__dict__:
            delattr(cls, name)
    cls._parameterPackFields = fields
    original = cls.__dict__.get("__init__", _initialize)

    def __init__(self: object, *values: object, **named: object) -> None:
        for name, field in fields.items():
            object.__setattr__(self, name, field.makeDefault())
        original(self, *values, **named)

    cls.__init__ = __init__
    cls.__setattr__ = _setAttribute
    if "__eq__" not in cls.__dict__:
        cls.__eq__ = lambda self, other: type(self) is type(other) and _values(self) == _values(other)
    if "__repr__" not in cls.__dict__:
        cls.__repr__ = lambda self: (
            f"{cls.__name__}({', '.join(f'{k}={v!r}' for k, v in _values(self).items())})"
        )
    return cls


class PackKind(Kind):
    """A pack in a parameter node: each field is stored as `<pack>.<field>`."""

    def implicitValidators(self) -> list[Validator]:
        return [NotNone(), IsInstance(self.hint)]

    def default(self) -> object:
        return self.hint()

    def isStored(self, node: slicer.vtkMRMLScriptedModuleNode, name: str) -> bool:
        first = next(iter(self.hint._parameterPackFields.values()))  # Slicer, too, asks for no other
        return first.kind.isStored(node, f"{name}.{first.name}")

    def write(self, node: slicer.vtkMRMLScriptedModuleNode, name: str, value: object) -> None:
        modifying = node.StartModify()
        for field in self.hint._parameterPackFields.values():
            field.kind.write(node, f"{name}.{field.name}", getattr(value, field.name))
        node.EndModify(modifying)

    def read(self, node: slicer.vtkMRMLScriptedModuleNode, name: str) -> object:
        """A pack whose attributes write through to the node."""
        pack = self.hint.__new__(self.hint)
        for field in self.hint._parameterPackFields.values():
            path = f"{name}.{field.name}"
            stored = field.kind.isStored(node, path) or not isinstance(field.makeDefault(), (int, float, str))
            value = field.kind.read(node, path) if stored else field.makeDefault()
            object.__setattr__(pack, field.name, value)
        pack.__dict__[_WRITE] = lambda field, value: field.kind.write(node, f"{name}.{field.name}", value)
        return pack
