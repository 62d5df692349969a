"""Every name of Qt, CTK and Slicer that the modules use is one that real Slicer has."""

from __future__ import annotations

import ast
from pathlib import Path

import ctk
import names_table as table
import pytest
import qt
import slicer
import used_names
from qt._standins import registry

USED = used_names.usedNames()


def unknownDotted(name: str) -> bool:
    """Whether a dotted name is neither in the table nor, of MRML's own classes, in slicer-core."""
    root, first, *rest = name.split(".")
    if root == "qt":
        if first in table.CLASSES:
            return bool(rest) and rest[0] not in table.membersOf(first)
        return first not in table.QT or bool(rest) and rest[0] not in table.QT[first].split()
    if root == "ctk":
        return first not in table.CLASSES or bool(rest) and not hasattr(getattr(ctk, first), rest[0])
    if first == "util":
        return bool(rest) and rest[0] not in table.UTIL
    if first == "app":
        return bool(rest) and rest[0] not in table.APP
    if first in table.LAYER:
        return bool(rest) and rest[0] not in table.LAYER[first].split()
    if first == "modules":
        return bool(rest) and rest[0] not in ("plots", "terminologies") and not rest[0].startswith("XRecon")
    if first == "dicomDatabase":
        return bool(rest) and rest[0] not in ("fileForInstance", "fileValue")
    if first == "mrmlScene":
        return bool(rest) and not hasattr(slicer.vtkMRMLScene, rest[0])
    cls = getattr(slicer, first, None)
    return cls is None or bool(rest) and not hasattr(cls, rest[0])


def test_all_dotted_names_are_known() -> None:
    unknown = {name: files for name, files in USED.dotted.items() if unknownDotted(name)}
    assert not unknown, f"look these up in Slicer's, CTK's or Qt's headers and add them: {unknown}"
    assert len(USED.dotted) > 60  # the scan still finds something


def test_all_members_of_widgets_are_known() -> None:
    unknown = {
        (cls, member): files
        for (cls, member), files in USED.members.items()
        if cls not in table.CLASSES or member and member not in table.membersOf(cls)
    }
    assert not unknown, f"look these up in the headers and add them: {unknown}"
    assert len(USED.members) > 60


def test_all_signals_are_known() -> None:
    everywhere = {signal for cls in table.CLASSES for signal in table.signalsOf(cls)}
    everywhere |= table.QT_SIGNALS | table.APP_SIGNALS
    unknown = {
        (cls, signal): files
        for (cls, signal), files in USED.signals.items()
        if signal not in (table.signalsOf(cls) if cls else everywhere)
    }
    assert not unknown, f"look these up in the headers and add them: {unknown}"


# ---- the table itself ---------------------------------------------------------------------------
@pytest.mark.parametrize("cls", table.CLASSES)
def test_the_table_names_nothing_that_the_widgets_lack(cls: str) -> None:
    """Qt's own classes are asked themselves, the others their stand-ins."""
    names = table.CLASSES[cls]
    found = registry.get(cls) or getattr(qt, cls)
    special = {"leftMargin", "topMargin", "rightMargin", "bottomMargin", "buddy"}  # of Qt Designer's files
    special |= {"addRow"} if cls != "QFormLayout" else set()
    missing = [name for name in (names.properties | names.methods) - special if not hasattr(found, name)]
    assert not missing
    declared = found._standInSignals() if hasattr(found, "_standInSignals") else set()
    meta = getattr(found, "staticMetaObject", None)  # a value such as QByteArray has none, and no signals
    assert not [s for s in names.signals if s not in declared and meta.indexOfSignal(s) < 0]


def test_slicer_util_has_the_names_and_no_newer_ones() -> None:
    assert [name for name in table.UTIL if not hasattr(slicer.util, name)] == []
    assert [name for name in table.NEWER_UTIL if hasattr(slicer.util, name)] == []


# ---- the scan itself ----------------------------------------------------------------------------
def test_a_name_that_slicer_lacks_is_found(tmp_path: Path) -> None:
    path = tmp_path / "bad.py"
    path.write_text(
        "import qt, slicer\nfrom slicer.util import frobnicate\n"
        "def f(self, combo: qt.QComboBox):\n"
        "    box = self.ui.applyButton\n    box.colour = 1\n    combo.append('x')\n"
        "    self.ui.applyButton.connect('pressedTwice()', f)\n    slicer.app.fly()\n    qt.QMagic(3)\n"
    )
    used = used_names.Used()
    used_names._scanSource(path, {"applyButton": "QPushButton"}, used)
    unknown = {name for name in used.dotted if unknownDotted(name)}
    assert unknown == {"slicer.util.frobnicate", "slicer.app.fly", "qt.QMagic"}
    members = {m for m in used.members if m[1] not in table.membersOf(m[0])}
    assert members == {("QPushButton", "colour"), ("QComboBox", "append")}
    assert ("QPushButton", "pressedTwice()") in used.signals


# ---- what every control needs -------------------------------------------------------------------
INPUTS = ("QPushButton", "QCheckBox", "QComboBox", "QSpinBox", "QDoubleSpinBox", "qMRMLNodeComboBox",
          "ctkPathLineEdit", "QLineEdit", "ctkRangeWidget", "QTableWidget", "QListWidget",
          "qMRMLCheckableNodeComboBox")  # fmt: skip
EXPLAINED = (*INPUTS, "qMRMLSegmentationShow3DButton", "qMRMLTableView", "ctkCollapsibleButton",
             "ctkCollapsibleGroupBox", "QPlainTextEdit", "QProgressBar", "QTabWidget")  # fmt: skip
PANELS = used_names.uiFiles()


def test_every_module_and_the_views_are_among_the_panels() -> None:
    names = {path.name for path in PANELS}
    assert {"XReconSlicer.ui", "RadiographView.ui", "PTXSeg.ui", "XReconTrainer.ui"} <= names


@pytest.mark.parametrize("path", PANELS, ids=lambda path: path.name)
def test_every_control_has_a_tooltip_and_a_place_in_the_tab_order(path: Path) -> None:
    import xml.etree.ElementTree as ElementTree

    root = ElementTree.parse(path).getroot()
    order = [element.text for element in root.iter("tabstop")]
    widgets = {e.get("name"): e for e in root.iter("widget")}
    assert len(order) == len(set(order)) and set(order) <= set(widgets)
    for widget, element in widgets.items():
        if element.get("class") in EXPLAINED:
            tips = [p.findtext("string") for p in element.findall("property") if p.get("name") == "toolTip"]
            assert tips and len(tips[0]) > 10, f"{widget} has no tooltip"
        if element.get("class") in INPUTS:
            assert widget in order, f"{widget} cannot be reached in order with the Tab key"
    positions = [list(widgets).index(widget) for widget in order]
    assert positions == sorted(positions), "the Tab key jumps up and down"


@pytest.mark.parametrize("path", used_names.uiFiles(), ids=lambda path: path.name)
def test_no_panel_sets_colours_or_fonts(path: Path) -> None:
    """Else it would be unreadable in Slicer's dark or light style."""
    text = path.read_text(encoding="utf-8")
    assert not [name for name in ("styleSheet", "palette", "<color", "<font") if name in text]


def test_every_text_for_the_user_can_be_translated() -> None:
    """Texts that are assigned to widgets come from `_()`; so do parts of f-strings there."""
    bare = []
    for path in used_names.sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute):
                if node.targets[0].attr in ("text", "toolTip", "helpText", "acknowledgementText"):
                    bare += [f"{path.name}:{node.lineno}" for text in _literals(node.value) if _isProse(text)]
    assert not bare


def _literals(node: ast.AST) -> list[str]:
    """Text constants of an expression that are not arguments of a call."""
    if isinstance(node, ast.Call):
        return []
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) else []
    return [text for child in ast.iter_child_nodes(node) for text in _literals(child)]


def _isProse(text: str) -> bool:
    return any(part.isalpha() and len(part) > 2 for part in text.split())
