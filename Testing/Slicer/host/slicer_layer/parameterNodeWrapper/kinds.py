"""Kinds of parameters: how a value of an annotated type is checked, written to the node and read back."""

from __future__ import annotations

import enum
import json
import pathlib
import types
import typing

import slicer
import vtk

from .annotations import IsInstance, NotNone, Validator

_PATHS = (
    pathlib.Path,
    pathlib.PosixPath,
    pathlib.WindowsPath,
    pathlib.PurePath,
    pathlib.PurePosixPath,
    pathlib.PureWindowsPath,
)


class Kind:
    """A type with its annotations; values are encoded as JSON-compatible objects."""

    def __init__(self, hint: object, annotations: tuple[object, ...]) -> None:
        self.hint = hint
        self.annotations = annotations

    def implicitValidators(self) -> list[Validator]:
        return []

    def default(self) -> object:
        return None

    def encode(self, value: object) -> object:
        return value

    def decode(self, data: object) -> object:
        return data

    def validate(self, value: object) -> None:
        for validator in self.implicitValidators():
            validator.validate(value)
        for annotation in self.annotations:
            if isinstance(annotation, Validator):
                annotation.validate(value)

    def toText(self, value: object) -> str:
        return json.dumps(self.encode(value))

    def fromText(self, text: str) -> object:
        return self.decode(json.loads(text))

    def isStored(self, node: slicer.vtkMRMLScriptedModuleNode, name: str) -> bool:
        return name in node.GetParameterNames()

    def write(self, node: slicer.vtkMRMLScriptedModuleNode, name: str, value: object) -> None:
        node.SetParameter(name, self.toText(value))

    def read(self, node: slicer.vtkMRMLScriptedModuleNode, name: str) -> object:
        return self.fromText(node.GetParameter(name))


class _Plain(Kind):
    """A kind whose text in the node is what a person would write, not JSON."""

    def toText(self, value: object) -> str:
        return str(self.encode(value))

    def fromText(self, text: str) -> object:
        return self.decode(text)


class Scalar(_Plain):
    """int, float, str, bool."""

    def implicitValidators(self) -> list[Validator]:
        return [NotNone(), IsInstance((float, int) if self.hint is float else self.hint)]

    def default(self) -> object:
        return self.hint()

    def encode(self, value: object) -> object:
        return self.hint(value)

    def decode(self, data: object) -> object:
        return data in (True, "True") if self.hint is bool else self.hint(data)


class PathKind(_Plain):
    """A pathlib path; its default is the current folder, "."."""

    def implicitValidators(self) -> list[Validator]:
        return [NotNone(), IsInstance(self.hint)]

    def default(self) -> object:
        return self.hint()

    def encode(self, value: object) -> object:
        return str(value)

    def decode(self, data: object) -> object:
        return self.hint(data)


class EnumKind(_Plain):
    """An Enum, stored by the name of its member."""

    def implicitValidators(self) -> list[Validator]:
        return [NotNone(), IsInstance(self.hint)]

    def default(self) -> object:
        return next(iter(self.hint))

    def encode(self, value: enum.Enum) -> object:
        return value.name

    def decode(self, data: object) -> object:
        return self.hint[data]


class NodeKind(Kind):
    """A MRML node (or None), stored as node reference; several classes come from a Union."""

    def __init__(self, hint: object, annotations: tuple[object, ...], classes: tuple[type, ...]) -> None:
        super().__init__(hint, annotations)
        self.classes = classes

    def implicitValidators(self) -> list[Validator]:
        return [IsInstance(self.classes)]

    def isStored(self, node: slicer.vtkMRMLScriptedModuleNode, name: str) -> bool:
        return node.GetNodeReferenceID(name) is not None

    def write(
        self, node: slicer.vtkMRMLScriptedModuleNode, name: str, value: slicer.vtkMRMLNode | None
    ) -> None:
        modifying = node.StartModify()
        before = node.GetNodeReferenceID(name)
        after = value.GetID() if value is not None else None
        if before != after:
            node.SetNodeReferenceID(name, after)
            node.Modified()
        node.EndModify(modifying)

    def read(self, node: slicer.vtkMRMLScriptedModuleNode, name: str) -> slicer.vtkMRMLNode | None:
        return node.GetNodeReference(name)

    def encode(self, value: slicer.vtkMRMLNode | None) -> object:
        return value.GetID() if value is not None else None

    def decode(self, data: object) -> slicer.vtkMRMLNode | None:
        return slicer.mrmlScene.GetNodeByID(data) if data else None


class NodeListKind(Kind):
    """list of MRML nodes, stored as numbered node references."""

    def implicitValidators(self) -> list[Validator]:
        return [NotNone(), IsInstance(list)]

    def default(self) -> list:
        return []

    def isStored(self, node: slicer.vtkMRMLScriptedModuleNode, name: str) -> bool:
        return node.GetNumberOfNodeReferences(name) > 0

    def write(
        self, node: slicer.vtkMRMLScriptedModuleNode, name: str, value: list[slicer.vtkMRMLNode]
    ) -> None:
        modifying = node.StartModify()
        node.RemoveNodeReferenceIDs(name)
        for item in value:
            node.AddNodeReferenceID(name, item.GetID())
        node.Modified()
        node.EndModify(modifying)

    def read(self, node: slicer.vtkMRMLScriptedModuleNode, name: str) -> list[slicer.vtkMRMLNode]:
        return [
            node.GetNthNodeReference(name, index) for index in range(node.GetNumberOfNodeReferences(name))
        ]


class ContainerKind(Kind):
    """list, tuple or dict of other kinds."""

    def __init__(
        self, hint: object, annotations: tuple[object, ...], origin: type, parts: list[Kind]
    ) -> None:
        super().__init__(hint, annotations)
        self.origin = origin
        self.parts = parts

    def implicitValidators(self) -> list[Validator]:
        return [NotNone(), IsInstance(self.origin)]

    def default(self) -> object:
        return tuple(part.default() for part in self.parts) if self.origin is tuple else self.origin()

    def _partOf(self, index: int) -> Kind:
        return self.parts[index] if self.origin is tuple else self.parts[0]

    def validate(self, value: object) -> None:
        super().validate(value)
        if self.origin is tuple and len(value) != len(self.parts):
            raise ValueError(f"the tuple must have {len(self.parts)} items, it has {len(value)}")
        for index, item in enumerate(value.values() if self.origin is dict else value):
            (self.parts[1] if self.origin is dict else self._partOf(index)).validate(item)

    def encode(self, value: object) -> object:
        if self.origin is dict:
            return [[self.parts[0].encode(k), self.parts[1].encode(v)] for k, v in value.items()]
        return [self._partOf(index).encode(item) for index, item in enumerate(value)]

    def decode(self, data: object) -> object:
        if self.origin is dict:
            return {self.parts[0].decode(k): self.parts[1].decode(v) for k, v in data}
        return self.origin(self._partOf(index).decode(item) for index, item in enumerate(data))


class UnionKind(Kind):
    """Union or Optional of kinds that are not all nodes; stored with the number of the alternative."""

    def __init__(self, hint: object, annotations: tuple[object, ...], parts: list[Kind | None]) -> None:
        super().__init__(hint, annotations)
        self.parts = parts

    def default(self) -> object:
        optional = len(self.parts) == 2 and self.parts[1] is None
        return None if optional or self.parts[0] is None else self.parts[0].default()

    def _numberOf(self, value: object) -> int:
        for number, part in enumerate(self.parts):
            try:
                if part is None and value is None:
                    return number
                if part is not None and value is not None:
                    part.validate(value)
                    return number
            except (ValueError, TypeError):
                continue
        raise ValueError(f"{value!r} is none of {self.hint}")

    def validate(self, value: object) -> None:
        self._numberOf(value)
        super().validate(value)

    def encode(self, value: object) -> object:
        number = self._numberOf(value)
        return [number, None if value is None else self.parts[number].encode(value)]

    def decode(self, data: object) -> object:
        number, content = data
        return None if self.parts[number] is None else self.parts[number].decode(content)


def _isNode(hint: object) -> bool:
    return isinstance(hint, type) and issubclass(hint, vtk.vtkObject)


def kindOf(hint: object, annotations: tuple[object, ...] = ()) -> Kind:
    """Kind of an annotated type; TypeError when parameter nodes cannot hold it."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return kindOf(arguments[0], tuple(arguments[1:]) + annotations)
    if origin in (typing.Union, types.UnionType):
        nodes = tuple(argument for argument in arguments if argument is not type(None))
        if all(_isNode(argument) for argument in nodes):
            return NodeKind(hint, annotations, nodes)
        return UnionKind(hint, annotations, [None if a is type(None) else kindOf(a) for a in arguments])
    if origin is list and _isNode(arguments[0]):
        return NodeListKind(hint, annotations)
    if origin in (list, tuple, dict):
        return ContainerKind(hint, annotations, origin, [kindOf(argument) for argument in arguments])
    if hint in (int, float, str, bool):
        return Scalar(hint, annotations)
    if hint in _PATHS:
        return PathKind(hint, annotations)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return EnumKind(hint, annotations)
    if _isNode(hint):
        return NodeKind(hint, annotations, (hint,))
    if hasattr(hint, "_parameterPackFields"):
        from .packs import PackKind

        return PackKind(hint, annotations)
    raise TypeError(f"a parameter node cannot hold {hint!r}")
