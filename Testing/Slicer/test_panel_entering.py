"""Leaving a module and coming back, in the versions of Slicer whose `connectGui` gives no tag."""

from __future__ import annotations

import pytest
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
