"""The trainer panel, driven by mouse, with the real command line in a child process."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import ctk
import numpy as np
import pytest
import qt
import slicer
import slicerhost
from panel_inputs import leftovers, misbehave
from photographs import photograph
from PySide6.QtTest import QTest
from test_every_module import contrast
from trainer_panel import data, edit, wait, widget  # noqa: F401 (fixtures)
from trunk import trunk
from xrecon.training.config import RECIPES, make_config
from XReconSlicerLib import training
from XReconSlicerLib.mrml import volumeToNode
from XReconSlicerLib.studies import BAD_COLOR, DOUBTFUL_COLOR


# ---- before Start -------------------------------------------------------------------------------
def test_start_says_what_is_missing(openModule: object, data: Path, tmp_path: Path) -> None:
    ui = openModule("XReconTrainer").ui
    assert not ui.applyButton.enabled and ui.applyButton.toolTip == "Choose a folder with CTs."
    ui.dataFolderEdit.currentPath = str(data)
    assert ui.applyButton.toolTip == "Choose the folder of the run."
    ui.outputFolderEdit.currentPath = str(tmp_path)
    assert ui.applyButton.enabled and not ui.resumeButton.enabled
    assert ui.resumeButton.toolTip == "There is no run to resume in the folder."
    (tmp_path / training.CHECKPOINT).touch()
    ui.outputFolderEdit.currentPath = ""
    ui.outputFolderEdit.currentPath = str(tmp_path)
    assert ui.resumeButton.enabled and not ui.applyButton.enabled
    assert "resume it or choose another folder" in ui.applyButton.toolTip


def test_every_control_has_a_tooltip(widget: object) -> None:
    controls = (
        qt.QPushButton, qt.QCheckBox, qt.QComboBox, qt.QSpinBox, qt.QDoubleSpinBox, qt.QLineEdit,
        qt.QTableWidget, qt.QPlainTextEdit, ctk.ctkPathLineEdit, ctk.ctkRangeWidget,
        slicer.qMRMLCheckableNodeComboBox,
    )  # fmt: skip
    found = [each for each in vars(widget.ui).values() if isinstance(each, controls)]
    assert len(found) > 35
    names = [each.objectName for each in found if not each.toolTip]
    assert [name for name in names if not name.startswith("qt_")] == [], "but of parts of Qt's own"


def test_the_table_shows_all_settings_of_each_recipe(widget: object) -> None:
    ui = widget.ui
    for index, recipe in enumerate(RECIPES):
        ui.recipeComboBox.currentIndex = index
        shown = {
            ui.settingsTable.item(row, 0).text(): ui.settingsTable.item(row, 1).text()
            for row in range(ui.settingsTable.rowCount)
        }
        assert "device" not in shown  # the combo box above says it
        assert shown["architecture"] == make_config(recipe).architecture
        # What the table shows, given back as settings, is the recipe itself.
        assert make_config("x-recon", overrides=shown) == make_config(recipe)


def test_an_edited_setting_is_kept_in_the_scene_and_marked(widget: object) -> None:
    edit(widget, "optimizer.learning_rate", "2e-4")
    parameters = widget.logic.getParameterNode()
    assert json.loads(parameters.settings) == {"optimizer.learning_rate": "2e-4"}
    table = widget.ui.settingsTable
    bold = [table.item(r, 0).text() for r in range(table.rowCount) if table.item(r, 1).font().bold()]
    assert bold == ["optimizer.learning_rate"]
    edit(widget, "optimizer.learning_rate", "0.001")  # the recipe's value
    assert json.loads(parameters.settings) == {}


def test_a_wrong_setting_is_refused_before_anything_starts(widget: object) -> None:
    edit(widget, "batch", "none")
    assert not widget.ui.applyButton.enabled
    assert "batch" in widget.ui.settingsLabel.text and "'none'" in widget.ui.settingsLabel.text
    edit(widget, "batch", "1")
    assert widget.ui.applyButton.enabled and widget.ui.settingsLabel.text == ""


def test_folders_are_not_kept_in_the_scene(widget: object, data: Path) -> None:
    assert qt.QSettings().value("XRecon/trainer/dataFolder") == str(data)
    stored = widget._parameterNode.parameterNode.GetParameterNamesAsCommaSeparatedList()
    assert "older" not in stored


def test_settings_of_the_panel_and_console_reach_the_command(
    widget: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "print('xrecon: error:', json.dumps(sys.argv), file=sys.stderr)\n"
    code += "say(event='error', message=json.dumps(sys.argv)); sys.exit(3)"
    misbehave(monkeypatch, tmp_path, code)
    edit(widget, "batch", "2")
    widget.ui.deviceComboBox.currentIndex = widget.ui.deviceComboBox.findData("cuda")
    slicerhost.click(widget.ui.applyButton)
    wait(widget)
    arguments = json.loads(widget.ui.statusLabel.text)
    assert [each for each in arguments if "device" in each] == ["--set=device=cuda"]
    assert "--set=batch=2" in arguments and "--resume" not in arguments
    assert arguments[arguments.index("--recipe") + 1] == "lifting"
    with pytest.raises(RuntimeError, match="--resume") as raised:
        widget.logic.train("cts", "run", "lungs", resume=True, device="cpu", steps=7, **{"grid.side": 32})
    assert {"--set=steps=7", "--set=device=cpu", "--set=grid.side=32", "lungs"} <= set(
        json.loads(str(raised.value))
    )


# ---- CTs, geometry -------------------------------------------------------------------------------
def test_looking_through_lists_what_is_there_and_what_is_wrong(widget: object, tmp_path: Path) -> None:
    ui = widget.ui
    cts = tmp_path / "cts"
    shutil.copytree(ui.dataFolderEdit.currentPath, cts)
    (cts / "damaged.nii.gz").write_bytes(b"no volume")
    ui.dataFolderEdit.currentPath = str(cts)
    assert not ui.studiesTable.visible
    slicerhost.click(ui.scanButton)
    wait(widget)
    assert slicerhost.messages == [] and leftovers() == [] and not (tmp_path / "run").exists()
    table = ui.studiesTable
    rows = [[table.item(row, column).text() for column in (0, 1, 2, 4)] for row in range(table.rowCount)]
    assert [row[0] for row in rows] == ["damaged", "first", "second"]
    assert rows[1][1:3] == ["43 × 37 × 33", "8 × 7 × 9"] and "9.0 mm apart" in rows[1][3]
    assert "damaged.nii.gz" in rows[0][3] and "damaged.nii.gz" in table.item(0, 0).toolTip()
    assert ui.studiesLabel.text == "2 of 3 can be trained on; 2 are worth a look."
    assert ui.remarksLabel.text == f"damaged: {rows[0][3]}", "the first that is worth a look, in full"
    photograph(widget, "XReconTrainer")
    table.setCurrentCell(1, 0)
    assert ui.remarksLabel.text == f"first: {rows[1][3]}" and ui.remarksLabel.wordWrap
    for color in (BAD_COLOR, DOUBTFUL_COLOR):
        for behind in ("#ffffff", "#2a2a2a"):  # of a list in Slicer's light and dark style
            pair = np.array([[qt.QColor(each).getRgb()[:3] for each in (behind, behind, color)]])
            assert contrast(pair) > 3.5, f"{color} on {behind}"


def test_volumes_of_the_scene_are_kept_with_it_and_used(widget: object, tmp_path: Path) -> None:
    ui, parameters = widget.ui, widget._parameterNode
    nodes = [volumeToNode(trunk(seed=seed), f"CT {seed}") for seed in range(2)]
    volumeToNode(trunk(seed=2), "not chosen")
    ui.sourceComboBox.currentIndex = 1
    assert ui.scanButton.toolTip == "Check the volumes of the scene to use."
    run, ui.outputFolderEdit.currentPath = ui.outputFolderEdit.currentPath, ""
    for node in nodes:
        ui.sceneSelector.setCheckState(node, qt.Qt.Checked)
    assert parameters.sceneVolumes == nodes and not ui.scanButton.enabled, "they are written there"
    ui.outputFolderEdit.currentPath = run
    assert ui.scanButton.enabled and ui.applyButton.enabled
    slicerhost.exitModule("XReconTrainer")
    ui.sceneSelector.setCheckState(nodes[0], qt.Qt.Unchecked)
    slicerhost.enterModule("XReconTrainer")
    assert ui.sceneSelector.checkedNodes() == tuple(nodes), "the scene says what is chosen"
    slicerhost.click(ui.scanButton)
    wait(widget)
    assert [ui.studiesTable.item(row, 0).text() for row in range(2)] == ["CT_0", "CT_1"]
    assert len(list((tmp_path / "run" / "cts-of-the-scene").iterdir())) == 2
    slicer.mrmlScene.Clear(False)
    assert widget._parameterNode.sceneVolumes == [] and ui.dataFolderEditLabel.text == "Folder:"


def test_geometry_and_size_are_the_settings_of_the_table(widget: object) -> None:
    ui = widget.ui

    def shown(name: str) -> str:
        table = ui.settingsTable
        return next(table.item(r, 1).text() for r in range(table.rowCount) if table.item(r, 0).text() == name)

    assert ui.volumeSideSpinBox.value == 64 and ui.extentLabel.text.startswith("A cube of 358 mm")
    assert json.loads(widget._parameterNode.settings) == {}, "showing changes nothing"
    ui.volumeSideSpinBox.value = 96
    changes = json.loads(widget._parameterNode.settings)
    assert changes == {"grid.side": "96", "grid.source_side": "208"} and shown("grid.side") == "96"
    ui.voxelSizeSpinBox.value = 4.0
    assert shown("grid.source_spacing_mm") == "2.0" and ui.extentLabel.text.startswith("A cube of 384 mm")
    ui.detectorSideSpinBox.value = 256
    assert shown("grid.detector_spacing_mm") == "1.7" and ui.detectorWidthSpinBox.value == 435.2
    ui.detectorDistanceRange.setValues(1500, 1800)
    ui.viewsEdit.setText("pa, lao 30")
    QTest.keyClick(ui.viewsEdit, qt.Qt.Key_Return)
    assert json.loads(shown("geometry.source_to_detector_mm")) == [1500, 1800]
    assert json.loads(shown("geometry.views")) == ["PA", "LAO 30"]
    assert ui.settingsLabel.text == ""
    config = make_config("lifting", overrides=json.loads(widget._parameterNode.settings))
    assert config.grid.side == 96 and config.geometry.views == ("PA", "LAO 30")
    edit(widget, "grid.side", "64")
    assert ui.volumeSideSpinBox.value == 64
    edit(widget, "grid.side", "large")
    assert "grid.side" in ui.settingsLabel.text and not ui.applyButton.enabled
