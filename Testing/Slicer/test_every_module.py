"""What Slicer asks of each scripted module: it loads, shows, survives scenes and reloading."""

from __future__ import annotations

import re
import unittest
from pathlib import Path

import pytest
import qt
import slicer
import slicerhost

REPOSITORY = Path(__file__).resolve().parents[2]
MODULES = ["XReconSlicer", "PTXSeg", "XReconTrainer"]
pytestmark = pytest.mark.parametrize("name", MODULES)


def test_describes_itself_and_its_dependencies_exist(name):
    module = slicerhost.loadModule(name)
    assert "not a medical device" in module.helpText
    assert all(isinstance(category, str) for category in module.categories)
    assert not module.icon.isNull()
    for dependency in module.dependencies:
        assert (REPOSITORY / dependency / f"{dependency}.py").is_file()


def test_shows_and_photographs(name, openModule):
    widget = openModule(name)
    assert widget.parent.isEntered and not widget.parent.visible
    picture = qt.QImage(str(slicerhost.screenshot(widget.parent, f"{name}-empty")))
    assert picture.width() == 480 and picture.height() > 200
    colors = {picture.pixel(x, y) for x in range(0, 480, 3) for y in range(0, picture.height(), 3)}
    assert len(colors) > 10, "the panel is blank"


def test_follows_scenes_and_comes_back(name, openModule, tmp_path):
    widget = openModule(name)
    slicer.mrmlScene.Clear(False)
    assert widget._parameterNode.parameterNode.GetScene() is slicer.mrmlScene
    slicerhost.exitModule(name)
    assert widget._parameterNode is None
    slicer.mrmlScene.Clear(False)
    slicerhost.enterModule(name)
    assert widget._parameterNode is not None
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.util.loadScene(str(tmp_path / "scene.mrb"), {"clear": True})
    assert widget.logic.getAllParameterNodes() == [widget._parameterNode.parameterNode]


def test_a_scene_of_an_older_panel_opens_with_defaults(name, openModule, tmp_path):
    """None of today's parameters is in the file, and one that is no more."""
    widget = openModule(name)
    node = widget._parameterNode.parameterNode
    defaults = {each: node.GetParameter(each) for each in node.GetParameterNames()}
    assert len(defaults) > 5
    slicerhost.exitModule(name)
    for each in defaults:
        node.UnsetParameter(each)
    node.SetParameter("ofAnOlderPanel", "7")
    assert slicer.util.saveScene(str(tmp_path / "older.mrb"))
    slicer.util.loadScene(str(tmp_path / "older.mrb"), {"clear": True})
    slicerhost.enterModule(name)
    node = widget._parameterNode.parameterNode
    assert node.GetParameter("ofAnOlderPanel") == "7", "the file's node is used"
    assert {each: node.GetParameter(each) for each in defaults} == defaults
    assert slicerhost.messages == []


def test_can_be_reloaded_and_closed(name, openModule):
    before = openModule(name)
    slicer.util.reloadScriptedModule(name)
    after = slicer.modules.__dict__[f"{name}Widget"]
    assert after is not before and before.Observations == []
    after.enter()
    slicer.mrmlScene.Clear(False)  # must not reach the old widgets
    slicerhost.closeModule(name)
    slicer.mrmlScene.Clear(False)


def test_own_test_passes(name, openModule):
    openModule(name)
    slicer.selfTests[name]()


def test_own_test_passes_as_ctest_runs_it(name, openModule):
    """Each method by itself with setUp and tearDown, and no call of `runTest`."""
    openModule(name)
    suite = unittest.TestLoader().loadTestsFromName(name)
    result = unittest.TestResult()
    suite.run(result)
    assert result.testsRun > 0 and result.wasSuccessful(), result.failures + result.errors


def test_uses_no_name_that_only_pyside_has(name):
    """Scoped enums and PySide's own classes work here and fail in Slicer."""
    sources = [REPOSITORY / name / f"{name}.py", *(REPOSITORY / name).glob(f"{name}Lib/**/*.py")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    assert not re.findall(r"PySide6|\bqt\.Signal\b|\bqt\.Slot\b|\.exec\(\)", text)
    scoped = re.findall(r"\bqt\.\w+\.[A-Z]\w+\.[A-Z]\w+", text)
    assert not scoped, f"scoped enums: {scoped}"
