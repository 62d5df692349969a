"""Typed parameter nodes: values, validators, references, scene files, and the connection to widgets."""

from __future__ import annotations

import enum
import pathlib
import types
from typing import Annotated, Optional, Union

import ctk
import numpy as np
import pytest
import qt
import slicer
import slicerhost
from slicer import vtkMRMLModelNode, vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode, vtkMRMLVectorVolumeNode
from slicer.parameterNodeWrapper import (
    Choice,
    Decimals,
    Default,
    Minimum,
    SingleStep,
    WithinRange,
    parameterNodeWrapper,
    parameterPack,
)


class Side(enum.Enum):
    LEFT = "l"
    RIGHT = "r"


@parameterPack
class Range:
    low: float = -1000.0
    high: Annotated[float, Minimum(0)] = 400.0


@parameterNodeWrapper
class Parameters:
    count: Annotated[int, WithinRange(0, 9)] = 3
    factor: Annotated[float, WithinRange(0, 2), SingleStep(0.25), Decimals(3)] = 0.5
    free: float
    text: str = 'a,b;\n"ü"'
    active: bool = True
    side: Side = Side.RIGHT
    quality: Annotated[str, Choice(["draft", "fine"])] = "fine"
    folder: pathlib.Path
    generated: Annotated[int, Default(generator=lambda: 41 + 1)]
    limit: Optional[int]  # noqa: UP045  (both spellings must work)
    series: list[int] = [3, 1]  # noqa: RUF012
    volume: vtkMRMLScalarVolumeNode
    either: Union[vtkMRMLScalarVolumeNode, vtkMRMLModelNode, None]  # noqa: UP007
    many: list[vtkMRMLScalarVolumeNode]
    range: Range


@pytest.fixture
def node() -> slicer.vtkMRMLScriptedModuleNode:
    """A parameter node in the scene."""
    return slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "Parameters")


@pytest.fixture
def parameters(node) -> Parameters:
    """All defaults."""
    return Parameters(node)


def _volume(name: str = "ct") -> slicer.vtkMRMLScalarVolumeNode:
    return slicer.util.addVolumeFromArray(np.zeros((2, 3, 4), np.int16), name=name)


def test_defaults(parameters):
    assert (parameters.count, parameters.factor, parameters.free) == (3, 0.5, 0.0)
    assert (parameters.text, parameters.active, parameters.side) == ('a,b;\n"ü"', True, Side.RIGHT)
    assert (parameters.folder, parameters.generated, parameters.limit) == (pathlib.Path(), 42, None)
    assert (parameters.series, parameters.volume, parameters.many) == ([3, 1], None, [])
    assert parameters.range == Range(-1000.0, 400.0)


def test_values_live_in_the_node(parameters, node):
    volume = _volume()
    parameters.side = Side.LEFT
    parameters.active = False
    parameters.volume = volume
    parameters.range.high = 3.5
    assert node.GetParameter("side") == "LEFT" and node.GetNodeReference("volume") is volume
    assert node.GetParameter("range.high") == "3.5"
    again = Parameters(node)  # defaults must not overwrite
    assert (again.side, again.active, again.volume, again.range.high) == (Side.LEFT, False, volume, 3.5)


def test_reference_ends_with_its_node(parameters):
    parameters.volume = _volume()
    slicer.mrmlScene.RemoveNode(parameters.volume)
    assert parameters.volume is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("count", 10),
        ("count", 1.5),
        ("count", None),
        ("count", np.int64(3)),
        ("factor", "1"),
        ("text", 3),
        ("active", 1),
        ("side", "LEFT"),
        ("quality", "best"),
        ("folder", "/tmp"),
        ("series", [1, "x"]),
        ("limit", "x"),
    ],
)
def test_bad_values_are_refused_and_change_nothing(parameters, name, value):
    before = getattr(parameters, name)
    with pytest.raises(ValueError):
        setattr(parameters, name, value)
    assert getattr(parameters, name) == before


def test_nodes_of_the_wrong_class_are_refused(parameters):
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    for name in ("volume", "either"):
        with pytest.raises(ValueError, match="vtkMRMLSegmentationNode"):
            setattr(parameters, name, segmentation)
    model = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode")
    parameters.either = model
    assert parameters.either is model


def test_a_vector_volume_counts_as_scalar_volume(parameters):
    vector = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode")
    assert isinstance(vector, vtkMRMLVectorVolumeNode)
    parameters.volume = vector
    assert parameters.volume is vector


def test_unknown_parameters_and_bad_declarations_are_errors(parameters):
    with pytest.raises(AttributeError, match="cuont"):
        parameters.cuont = 3
    with pytest.raises(ValueError, match="missing"):
        parameters.getValue("missing")

    class Bad:
        volume: np.ndarray

    with pytest.raises(TypeError, match="cannot hold"):
        parameterNodeWrapper(Bad)

    class OutOfRange:
        count: Annotated[int, WithinRange(0, 9)] = 10

    wrapped = parameterNodeWrapper(OutOfRange)
    with pytest.raises(ValueError):
        wrapped(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))


def test_pack_is_compared_validated_and_printed():
    pack = Range(high=1.0)
    assert pack == Range(-1000.0, 1.0) and pack != Range()
    assert repr(pack) == "Range(low=-1000.0, high=1.0)"
    with pytest.raises(ValueError):
        pack.high = -1.0
    with pytest.raises(AttributeError):
        pack.height = 1.0


def test_scene_file_keeps_parameters(parameters, tmp_path):
    parameters.count, parameters.text, parameters.limit = 7, "ä\n<&>", 5
    parameters.side = Side.LEFT
    parameters.volume = _volume("first")
    parameters.many = [_volume("second"), _volume("third")]
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(False)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    again = Parameters(slicer.util.getNode("Parameters"))
    assert (again.count, again.text, again.limit, again.side) == (7, "ä\n<&>", 5, Side.LEFT)
    assert again.volume.GetName() == "first"
    assert [volume.GetName() for volume in again.many] == ["second", "third"]


def _ui(**widgets: qt.QWidget) -> object:
    """Widgets as `childWidgetVariables` gives them; each is bound to the parameter of its name."""
    for name, widget in widgets.items():
        widget.setProperty("SlicerParameterName", name.replace("__", "."))
    return types.SimpleNamespace(**widgets)


def test_widgets_and_parameters_follow_each_other(parameters):
    selector = slicer.qMRMLNodeComboBox()
    ui = _ui(
        count=qt.QSpinBox(),
        factor=ctk.ctkSliderWidget(),
        text=qt.QLineEdit(),
        active=qt.QCheckBox(),
        side=qt.QComboBox(),
        quality=ctk.ctkComboBox(),
        folder=ctk.ctkPathLineEdit(),
        volume=selector,
        range__high=qt.QDoubleSpinBox(),
    )
    parameters.text = "first"
    tag = parameters.connectGui(ui)
    selector.setMRMLScene(slicer.mrmlScene)
    assert (ui.count.value, ui.count.maximum, ui.factor.singleStep, ui.factor.decimals) == (3, 9, 0.25, 3)
    assert (ui.text.text, ui.side.currentText, ui.quality.count, ui.folder.currentPath) == (
        "first",
        "RIGHT",
        2,
        ".",
    )
    assert selector.nodeTypes == ("vtkMRMLScalarVolumeNode",)
    volume = _volume()

    ui.count.value, ui.factor.value, ui.text.text, ui.active.checked = 5, 1.25, "typed", False
    ui.side.currentIndex, ui.quality.currentIndex, ui.folder.currentPath = 0, 0, "/data"
    ui.range__high.value = 7.5
    selector.setCurrentNode(volume)
    got = (parameters.count, parameters.factor, parameters.text, parameters.active, parameters.side)
    assert got == (5, 1.25, "typed", False, Side.LEFT)
    assert (parameters.quality, parameters.folder, parameters.range.high) == (
        "draft",
        pathlib.Path("/data"),
        7.5,
    )
    assert parameters.volume is volume

    parameters.count, parameters.side, parameters.volume, parameters.range.high = 8, Side.RIGHT, None, 2.5
    assert (ui.count.value, ui.side.currentText, ui.range__high.value) == (8, "RIGHT", 2.5)

    parameters.disconnectGui(tag)
    ui.count.value = 1
    assert parameters.count == 8
    parameters.count = 2
    assert ui.count.value == 1


class _MyCheckBox(qt.QCheckBox):
    """A subclass, which Slicer refuses."""


@pytest.mark.parametrize(
    ("name", "make", "complaint"),
    [
        ("active", lambda: qt.QRadioButton(), "QRadioButton"),
        ("active", lambda: _MyCheckBox(), "_MyCheckBox"),
        ("active", lambda: qt.QPushButton(), "checkable"),
        ("text", lambda: qt.QPlainTextEdit(), "QPlainTextEdit"),
        ("text", lambda: qt.QComboBox(), "Choice"),
        ("factor", lambda: qt.QSpinBox(), "QSpinBox"),
        ("free", lambda: ctk.ctkSliderWidget(), "WithinRange"),
        ("folder", lambda: qt.QLineEdit(), "QLineEdit"),
        ("limit", lambda: qt.QSpinBox(), "QSpinBox"),
        ("volume", lambda: qt.QComboBox(), "QComboBox"),
    ],
)
def test_widgets_slicer_cannot_connect_are_refused(parameters, name, make, complaint):
    with pytest.raises(RuntimeError, match=complaint):
        parameters.connectGui(_ui(**{name: make()}))


def test_a_widget_bound_to_no_parameter_is_an_error(parameters):
    with pytest.raises(ValueError, match="nothing"):
        parameters.connectGui(_ui(nothing=qt.QCheckBox()))


def test_changes_can_be_batched(parameters, node):
    events = []
    parameters.AddObserver("ModifiedEvent", lambda caller, event: events.append(event))
    with slicer.util.NodeModify(parameters):
        parameters.count = 1
        parameters.text = "x"
        assert not events
    assert len(events) == 1
    parameters.count = 1  # no change, no event
    assert len(events) == 1


def test_a_bad_value_typed_by_the_user_is_reported(parameters):
    ui = _ui(count=qt.QSpinBox())
    parameters.connectGui(ui)
    ui.count.maximum = 50
    ui.count.value = 20
    assert [type(error) for error in slicerhost.slotErrors] == [ValueError] and parameters.count == 3
    slicerhost.slotErrors.clear()


def test_segmentation_parameter_takes_the_created_node(node):
    class Output:
        segmentation: vtkMRMLSegmentationNode

    output = parameterNodeWrapper(Output)(node)
    selector = slicer.qMRMLNodeComboBox()
    output.connectGui(_ui(segmentation=selector))
    selector.setMRMLScene(slicer.mrmlScene)
    created = selector.addNode()
    assert output.segmentation is created
