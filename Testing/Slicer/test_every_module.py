"""What Slicer asks of each scripted module: it loads, shows, survives scenes and reloading."""

from __future__ import annotations

import re
import unittest
from pathlib import Path

import ctk
import numpy as np
import pytest
import qt
import slicer
import slicerhost
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[2]
MODULES = ["XReconSlicer", "PTXSeg", "XReconTrainer"]
pytestmark = pytest.mark.parametrize("name", MODULES)
TEXTS = (qt.QLabel, qt.QAbstractButton)
# Window, base and text of Slicer's styles.
STYLES = {"light": ("#efefef", "#ffffff", "#000000"), "dark": ("#353535", "#2a2a2a", "#ffffff")}


def paletteOf(style: str) -> qt.QPalette:
    """A palette as Slicer's style of the name has it, for what is enabled."""
    window, base, text = (qt.QColor(color) for color in STYLES[style])
    palette = qt.QPalette(window)
    for role in (qt.QPalette.Window, qt.QPalette.Button):
        palette.setColor(role, window)
    palette.setColor(qt.QPalette.Base, base)
    for role in (qt.QPalette.WindowText, qt.QPalette.ButtonText, qt.QPalette.Text):
        palette.setColor(qt.QPalette.Active, role, text)
        palette.setColor(qt.QPalette.Inactive, role, text)
        palette.setColor(qt.QPalette.Disabled, role, qt.QColor("#808080"))
    return palette


def pixelsOf(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def contrast(pixels: np.ndarray) -> float:
    """The largest contrast of a pixel with the commonest one, as WCAG 2 counts it: from 1 to 21."""
    colors, counts = np.unique(pixels.reshape(-1, 3), axis=0, return_counts=True)
    linear = np.where(colors <= 10, colors / 255 / 12.92, ((colors / 255 + 0.055) / 1.055) ** 2.4)
    light = linear @ np.array([0.2126, 0.7152, 0.0722]) + 0.05
    behind = light[counts.argmax()]
    return float(max(light.max() / behind, behind / light.min()))


def unfold(ui: object) -> None:
    """Opens all sections of a panel."""
    for each in vars(ui).values():
        if isinstance(each, ctk.ctkCollapsibleButton):
            each.collapsed = False


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


@pytest.mark.parametrize("style", sorted(STYLES))
def test_is_readable_in_slicers_light_and_dark_style(name, style, openModule, tmp_path):
    """Every text that is shown stands out from what lies behind it (WCAG's least contrast for text)."""
    application = qt.QApplication.instance()
    before = application.palette()
    qt.QApplication.setPalette(paletteOf(style))
    try:
        widget = openModule(name)
        unfold(widget.ui)
        picture = pixelsOf(slicerhost.screenshot(widget.parent, f"{name}-{style}"))
        assert (picture[-3, 2].mean() < 100) == (style == "dark"), "the style reaches the panel"
        assert picture.shape[1] == 480, "too wide for the place that Slicer gives a module"
        seen, poor = 0, {}
        for each in vars(widget.ui).values():
            if isinstance(each, TEXTS) and each.visible and each.enabled and each.text.strip():
                each.grab().save(str(tmp_path / "widget.png"))
                seen, found = seen + 1, contrast(pixelsOf(tmp_path / "widget.png"))
                if found < 4.5:
                    poor[each.objectName] = round(found, 2)
        assert seen > 10 and poor == {}
    finally:
        qt.QApplication.setPalette(before)


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
