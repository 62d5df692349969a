"""Leaving a module and coming back, in the versions of Slicer whose `connectGui` gives no tag."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import slicer
import slicerhost
from slicer.parameterNodeWrapper import wrapper

# A combo box of each panel that the parameter node fills, and what is to be found again in it.
COMBOS = {"XReconSlicer": "viewComboBox", "PTXSeg": "connectivityComboBox"}
NUMBERS = {
    "XReconSlicer": "primaryAngleSpinBox",
    "PTXSeg": "airThresholdSpinBox",
    "XReconTrainer": "detectorPixelsSpinBox",
}


@pytest.fixture(autouse=True)
def connectGuiWithoutTag(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slicer's issue 7547."""
    connect = wrapper._Wrapper.connectGui
    monkeypatch.setattr(wrapper._Wrapper, "connectGui", lambda self, gui: connect(self, gui) and None)


def uiOf(widget: object) -> object:
    """The widgets of the panel, or of its first parameter pack."""
    return next(iter(getattr(widget, "packUis", {}).values()), widget.ui)


def prefixOf(widget: object) -> str:
    """What stands before the names of the parameters of `uiOf`."""
    return next((f"{pack}." for pack in getattr(widget, "packUis", {})), "")


@pytest.mark.parametrize(("name", "combo"), COMBOS.items())
def test_combo_boxes_keep_their_choice(name: str, combo: str, openModule: object) -> None:
    widget = openModule(name)
    getattr(uiOf(widget), combo).currentIndex = 2
    for _ in range(3):
        slicerhost.exitModule(name)
        slicerhost.enterModule(name)
        assert getattr(uiOf(widget), combo).currentIndex == 2


@pytest.mark.parametrize(("name", "number"), NUMBERS.items())
def test_an_exited_panel_no_longer_follows_its_node(name: str, number: str, openModule: object) -> None:
    widget = openModule(name)
    spinBox, parameters = getattr(uiOf(widget), number), widget._parameterNode
    parameter = prefixOf(widget) + spinBox.property("SlicerParameterName")
    before = parameters.getValue(parameter)
    slicerhost.exitModule(name)
    spinBox.value = before + 8
    assert parameters.getValue(parameter) == before
    slicerhost.enterModule(name)
    assert spinBox.value == before
    spinBox.value = before + 8
    assert widget._parameterNode.getValue(parameter) == before + 8


@pytest.mark.parametrize("name", NUMBERS)
def test_every_named_widget_is_connected_once(name: str, openModule: object) -> None:
    """The panel holds the tag with which the connection is undone, and no other connection is left."""
    widget = openModule(name)
    for _ in range(2):
        slicerhost.exitModule(name)
        slicerhost.enterModule(name)
    assert list(widget._parameterNode._bindings) == [widget._parameterNodeGuiTag]
    uis = [widget.ui, *getattr(widget, "packUis", {}).values()]
    named = [w for ui in uis for w in vars(ui).values() if w.property("SlicerParameterName")]
    assert len(widget._parameterNode._bindings[widget._parameterNodeGuiTag]) == len(named) > 0


@pytest.mark.parametrize(("name", "number"), NUMBERS.items())
def test_a_loaded_scene_brings_the_choices_into_an_open_panel(
    name: str, number: str, openModule: object, tmp_path: Path
) -> None:
    """The nodes of a scene come after the parameters that name them."""
    widget = openModule(name)
    ui = uiOf(widget)
    spinBox = getattr(ui, number)
    usual = spinBox.value
    spinBox.value = usual + 7
    selector = {"XReconSlicer": "volumeSelector", "PTXSeg": "ctSelector"}.get(name)
    if selector:
        ct, error = (slicer.util.addVolumeFromArray(np.ones((3, 5, 5)), name=n) for n in ("chosen", "error"))
        ct.SetNodeReferenceID("XRecon.uncertainty", error.GetID())
        getattr(ui, selector).setCurrentNode(ct)
    if name == "PTXSeg":
        assert ui.uncertaintySelector.currentNode() is error
        ui.uncertaintySelector.setCurrentNode(None)
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(False)
    assert spinBox.value == usual
    slicer.util.loadScene(str(tmp_path / "scene.mrb"), {"clear": True})
    assert spinBox.value == usual + 7
    assert not selector or getattr(ui, selector).currentNode().GetName() == "chosen"
    assert name != "PTXSeg" or ui.uncertaintySelector.currentNode() is None, "as it was left"
