"""Which names of Qt, CTK and Slicer the modules use: read from the sources and the `.ui` files.

Names are found where they can be told from the text alone: `qt.X.Y`, `ctk.X.Y`, `slicer.X.Y` and what is
imported from them; members of widgets of a `.ui` file (`ui.name.member`); signals in `connect("...")`.
"""

from __future__ import annotations

import ast
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
MODULES = ("XReconSlicer", "PTXSeg", "XReconTrainer")
ROOTS = ("qt", "ctk", "slicer")


def sources() -> list[Path]:
    """The Python files that run inside Slicer."""
    patterns = (*(f"{m}/{m}.py" for m in MODULES), *(f"{m}/{m}Lib/**/*.py" for m in MODULES))
    return sorted(path for pattern in patterns for path in REPOSITORY.glob(pattern))


def uiFiles() -> list[Path]:
    """The `.ui` files of all modules."""
    return sorted(path for module in MODULES for path in REPOSITORY.glob(f"{module}/Resources/UI/*.ui"))


@dataclass
class Used:
    """dotted: "slicer.util.loadUI"; members: (class, member); signals: (class or "", signature); each with
    the files that use it."""

    dotted: dict[str, set[str]] = field(default_factory=dict)
    members: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    signals: dict[tuple[str, str], set[str]] = field(default_factory=dict)

    def add(self, where: str, name: object, file: Path) -> None:
        getattr(self, where).setdefault(name, set()).add(file.name)


def usedNames() -> Used:
    """Everything the modules use."""
    used, widgets = Used(), {}
    for path in uiFiles():
        widgets |= _scanUi(path, used)
    for path in sources():
        _scanSource(path, widgets, used)
    return used


# ---- .ui files ----------------------------------------------------------------------------------
def _scanUi(path: Path, used: Used) -> dict[str, str]:
    root, classes = ElementTree.parse(path).getroot(), {}
    for element in [*root.iter("widget"), *root.iter("layout")]:
        name, cls = element.get("name") or "", element.get("class") or ""
        classes[name] = cls
        used.add("members", (cls, ""), path)
        for prop in element.findall("property"):
            if prop.get("stdset") != "0":
                used.add("members", (cls, prop.get("name") or ""), path)
    for connection in root.iter("connection"):
        sender, signal, receiver, slot = (
            connection.findtext(tag) or "" for tag in ("sender", "signal", "receiver", "slot")
        )
        used.add("signals", (classes[sender], signal), path)
        used.add("members", (classes[receiver], slot.split("(")[0]), path)
    return classes


# ---- Python -------------------------------------------------------------------------------------
def _scanSource(path: Path, widgets: dict[str, str], used: Used) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ROOTS:
            for alias in node.names:
                used.add("dotted", f"{node.module}.{alias.name}", path)
        elif isinstance(node, ast.Call):
            _scanCall(node, widgets, used, path)
    for chain in _chains(tree):
        if chain[0] in ROOTS and len(chain) > 1:
            used.add("dotted", ".".join(chain), path)
        member = _memberOf(chain, widgets)
        if member:
            used.add("members", member, path)
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            aliases = _aliases(function, widgets)
            for chain in _chains(function):
                if chain[0] in aliases and len(chain) > 1:
                    used.add("members", (aliases[chain[0]], chain[1]), path)


def _memberOf(chain: list[str], widgets: dict[str, str]) -> tuple[str, str] | None:
    """(class, member) of a chain such as self.ui.applyButton.enabled."""
    for position, part in enumerate(chain[:-2]):
        if part == "ui" and chain[position + 1] in widgets:
            return widgets[chain[position + 1]], chain[position + 2]
    return None


def _aliases(function: ast.FunctionDef, widgets: dict[str, str]) -> dict[str, str]:
    """Classes of a function's variables that stand for a widget: `combo = self.ui.deviceComboBox`, or an
    argument annotated `qt.QComboBox`."""
    aliases = {}
    for argument in function.args.args:
        if isinstance(argument.annotation, ast.Attribute):
            root, _dot, cls = ast.unparse(argument.annotation).rpartition(".")
            if root in ("qt", "ctk"):
                aliases[argument.arg] = cls
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            root, _dot, name = ast.unparse(node.value).rpartition(".")
            if (root == "ui" or root.endswith(".ui")) and name in widgets:
                aliases[node.targets[0].id] = widgets[name]
    return aliases


def _scanCall(node: ast.Call, widgets: dict[str, str], used: Used, path: Path) -> None:
    function = node.func
    if not (isinstance(function, ast.Attribute) and function.attr in ("connect", "disconnect")):
        return
    if node.args and isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str):
        owner = function.value
        name = owner.attr if isinstance(owner, ast.Attribute) else ""
        used.add("signals", (widgets.get(name, ""), node.args[0].value), path)


def _chains(tree: ast.AST) -> Iterator[list[str]]:
    """Each longest chain `a.b.c` of names, as a list."""
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and id(node) not in inner:
            chain, current = [], node
            while isinstance(current, ast.Attribute):
                chain.append(current.attr)
                current = current.value
            if isinstance(current, ast.Name):
                yield [current.id, *reversed(chain)]
