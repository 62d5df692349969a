"""`.ui` loading and the behaviour of the CTK and MRML stand-ins."""

from __future__ import annotations

from pathlib import Path

import ctk
import numpy as np
import pytest
import qt
import slicer
import slicerhost

_UI = """<ui version="4.0"><class>Panel</class><widget class="qMRMLWidget" name="Panel">
<layout class="QVBoxLayout" name="column"><item>{widget}</item></layout></widget>
<customwidgets/><resources/><connections>{connection}</connections></ui>"""
_CONNECTION = """<connection><sender>{0}</sender><signal>{1}</signal>
<receiver>{2}</receiver><slot>{3}</slot></connection>"""


def _load(folder: Path, widget: str, connection: str = "") -> qt.QWidget:
    path = folder / "Panel.ui"
    path.write_text(_UI.format(widget=widget, connection=connection), encoding="utf-8")
    return slicer.util.loadUI(str(path))


def test_ui_sets_properties_of_stand_ins(tmp_path):
    panel = _load(
        tmp_path,
        '<widget class="ctkPathLineEdit" name="path"><property name="filters">'
        "<set>ctkPathLineEdit::Dirs|ctkPathLineEdit::Readable</set></property>"
        '<property name="SlicerParameterName" stdset="0"><string>folder</string></property>'
        '<property name="enabled"><bool>false</bool></property></widget>',
    )
    path = slicer.util.childWidgetVariables(panel).path
    assert type(path) is ctk.ctkPathLineEdit
    assert path.filters == ctk.ctkPathLineEdit.Dirs | ctk.ctkPathLineEdit.Readable
    assert path.property("SlicerParameterName") == "folder" and not path.enabled


def _widget(cls: str, name: str = "w", prop: str = "", value: str = "") -> str:
    content = f'<property name="{prop}">{value}</property>' if prop else ""
    return f'<widget class="{cls}" name="{name}">{content}</widget>'


@pytest.mark.parametrize(
    ("widget", "complaint"),
    [
        (_widget("qMRMLMagicWidget"), "qMRMLMagicWidget"),
        (_widget("QLabel", prop="caption", value="<string>x</string>"), "caption"),
        (_widget("ctkSliderWidget", prop="max", value="<double>1</double>"), "max"),
        (_widget("ctkPathLineEdit", prop="filters", value="<set>ctkPathLineEdit::Folders</set>"), "Folders"),
        (_widget("QSlider", prop="orientation", value="<enum>Qt::Orientation::Horizontal</enum>"), "scoped"),
        (_widget("QLabel", name="Panel"), "two widgets"),
    ],
)
def test_ui_mistakes_are_errors(tmp_path, widget, complaint):
    with pytest.raises(RuntimeError, match=complaint):
        _load(tmp_path, widget)


@pytest.mark.parametrize(
    ("connection", "error"),
    [
        (("Panel", "mrmlSceneChanged(vtkMRMLScene*)", "nobody", "setMRMLScene(vtkMRMLScene*)"), RuntimeError),
        (("Panel", "mrmlSceneChanged(vtkMRMLScene*)", "nodes", "useScene(vtkMRMLScene*)"), RuntimeError),
        (("Panel", "sceneChanged(vtkMRMLScene*)", "nodes", "setMRMLScene(vtkMRMLScene*)"), ValueError),
        (("Panel", "mrmlSceneChanged(vtkMRMLScene*)", "nodes", "setMRMLScene(vtkMRMLNode*)"), RuntimeError),
    ],
)
def test_ui_connections_must_exist(tmp_path, connection, error):
    with pytest.raises(error):
        _load(tmp_path, '<widget class="qMRMLNodeComboBox" name="nodes"/>', _CONNECTION.format(*connection))


def _box(*widgets: str) -> str:
    items = "".join(f"<item>{widget}</item>" for widget in widgets)
    layout = f'<layout class="QVBoxLayout" name="inner">{items}</layout>'
    return f'<widget class="QWidget" name="box">{layout}</widget>'


def test_ui_connection_needs_a_slot_of_the_exact_type(tmp_path):
    box = _box(_widget("qMRMLNodeComboBox", "nodes"), _widget("qMRMLSegmentationShow3DButton", "show"))
    slot = "setSegmentationNode(vtkMRMLNode*)"  # the C++ slot takes a vtkMRMLSegmentationNode*
    connection = _CONNECTION.format("nodes", "currentNodeChanged(vtkMRMLNode*)", "show", slot)
    with pytest.raises(RuntimeError, match="no slot"):
        _load(tmp_path, box, connection)


def test_ui_connection_between_qt_widgets(tmp_path):
    connection = _CONNECTION.format("check", "toggled(bool)", "label", "setVisible(bool)")
    panel = _load(tmp_path, _box(_widget("QCheckBox", "check"), _widget("QLabel", "label")), connection)
    ui = slicer.util.childWidgetVariables(panel)
    ui.check.checked = True
    ui.check.checked = False
    assert ui.label.isHidden()


def test_ui_connection_hands_the_scene_down(tmp_path):
    connection = _CONNECTION.format(
        "Panel", "mrmlSceneChanged(vtkMRMLScene*)", "nodes", "setMRMLScene(vtkMRMLScene*)"
    )
    panel = _load(tmp_path, '<widget class="qMRMLNodeComboBox" name="nodes"/>', connection)
    selector = slicer.util.childWidgetVariables(panel).nodes
    assert not selector.enabled  # without a scene
    panel.setMRMLScene(slicer.mrmlScene)
    assert selector.enabled and selector.mrmlScene() is slicer.mrmlScene


@pytest.fixture
def selector() -> slicer.qMRMLNodeComboBox:
    """A selector of scalar volumes with «None»."""
    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    selector.noneEnabled = True
    selector.setMRMLScene(slicer.mrmlScene)
    return selector


def _volume(name: str) -> slicer.vtkMRMLScalarVolumeNode:
    return slicer.util.addVolumeFromArray(np.zeros((2, 3, 4), np.int16), name=name)


def test_selector_lists_nodes_of_its_types(selector):
    first = _volume("first")
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode")
    hidden = _volume("hidden")
    hidden.SetHideFromEditors(1)
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    assert [selector.nodeFromIndex(i).GetName() for i in range(selector.nodeCount())] == ["first", "labels"]
    selector.showChildNodeTypes = False
    assert selector.nodeCount() == 1 and selector.nodeFromIndex(0) is first
    assert selector.currentNode() is None  # «None» stays selected


def test_selector_without_none_takes_the_first_node(selector):
    selector.noneEnabled = False
    assert selector.currentNode() is None
    first = _volume("first")
    assert selector.currentNode() is first
    slicer.mrmlScene.RemoveNode(first)
    assert selector.currentNode() is None and selector.currentNodeID == ""


def test_selector_signals_once_per_change(selector):
    nodes, valid = [], []
    selector.connect("currentNodeChanged(vtkMRMLNode*)", nodes.append)
    selector.connect("currentNodeChanged(bool)", valid.append)
    volume = _volume("ct")
    selector.setCurrentNode(volume)
    selector.setCurrentNodeID(volume.GetID())
    slicer.mrmlScene.Clear(False)
    assert nodes == [volume, None] and valid == [True, False]


def test_selector_creates_a_node_with_base_name_and_attribute(selector):
    selector.baseName = "Radiograph"
    selector.addAttribute("vtkMRMLScalarVolumeNode", "View", "PA")
    node = selector.addNode()
    assert selector.currentNode() is node
    assert (node.GetName(), node.GetAttribute("View")) == ("Radiograph", "PA")
    _volume("other")
    assert selector.nodeCount() == 1  # the other one lacks the attribute


def test_widgets_follow_no_scene_after_their_deletion(selector):
    selector.delete()
    _volume("later")  # must not reach the deleted widget; the fixture checks that nothing was raised


@pytest.mark.parametrize("make", [ctk.ctkCollapsibleButton, ctk.ctkCollapsibleGroupBox])
def test_folding_hides_the_contents_and_keeps_hidden_ones_hidden(make):
    box = make("Advanced")
    column = qt.QVBoxLayout(box)
    shown, hidden = qt.QLabel("shown"), qt.QLabel("hidden")
    column.addWidget(shown)
    column.addWidget(hidden)
    hidden.hide()
    box.show()
    box.collapsed = True
    assert not shown.visible and box.collapsed and not box.checked
    box.collapsed = False
    assert shown.visible and not hidden.visible
    box.hide()


def test_path_edit_keeps_a_history_in_the_settings():
    first, second = ctk.ctkPathLineEdit(), ctk.ctkPathLineEdit()
    first.settingKey = "models"
    first.currentPath = "/data/model"
    first.addCurrentPathToHistory()
    second.settingKey = "models"
    assert second._combo.itemText(0) == "/data/model" and second.currentPath == ""
    slicerhost.answer("/data/other")
    first.filters = ctk.ctkPathLineEdit.Dirs
    first.browse()
    assert first.currentPath == "/data/other"
    with pytest.raises(TypeError, match="str"):
        first.currentPath = Path("/data")


def test_spin_box_with_real_numbers_is_a_plain_widget():
    spinBox, got = ctk.ctkDoubleSpinBox(), []
    assert not isinstance(spinBox, qt.QDoubleSpinBox)
    spinBox.connect("valueChanged(double)", got.append)
    spinBox.decimals = 1
    spinBox.value = 3.14
    spinBox.value = 1000
    assert got == [3.1, 99.0]  # rounded to its decimals, clipped to its range


def test_table_view_shows_the_table_node():
    view = slicer.qMRMLTableView()
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode")
    view.setMRMLTableNode(node)
    slicer.util.updateTableFromArray(node, (np.array([1.5, 2.5]), np.array([3.0, 4.0])), ["air", "lung"])
    node.Modified()
    model = view.model()
    assert (model.rowCount(), model.columnCount()) == (2, 2)
    assert model.horizontalHeaderItem(1).text() == "lung" and model.item(1, 0).text() == "2.5"


def test_show_3d_button_needs_segments():
    button = slicer.qMRMLSegmentationShow3DButton()
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    button.setSegmentationNode(node)
    assert not button.enabled
    volume = _volume("ct")
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    segmentId = node.GetSegmentation().AddEmptySegment("lung", "lung")
    mask = np.ones((2, 3, 4), np.uint8)
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, segmentId, volume)
    slicerhost.click(button)
    assert node.GetSegmentation().ContainsRepresentation("Closed surface")
    with pytest.raises(TypeError, match="segmentation"):
        button.setSegmentationNode(volume)
