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
import tiny_models
from panel_inputs import leftovers, misbehave
from PySide6.QtTest import QTest
from trunk import trunk
from xrecon.io.image import write_volume
from xrecon.io.radiograph import read_radiograph
from xrecon.nets.registry import load_model
from xrecon.training.config import RECIPES, make_config
from xrecon.training.status import read_state
from xrecon.training.store import open_store
from xrecon.volume import Quantity, Volume
from XReconSlicerLib import training
from XReconSlicerLib.detached_run import runsIn
from XReconSlicerLib.mrml import volumeToNode

# A run that takes seconds.
TINY = {
    "steps": "4",
    "precision": "float32",
    "name": "tiny",
    "validate_every": "2",
    "checkpoint_every": "2",
    "pneumothorax_variants": "0",
    "grid.side": "16",
    "grid.spacing_mm": "20.0",
    "grid.source_side": "72",
    "grid.source_spacing_mm": "5.0",
    "grid.detector_pixels": "32",
    "grid.detector_spacing_mm": "13.0",
    "options": '{"view_widths": [4, 4, 8], "grid_widths": [4, 8, 8, 8]}',
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two CTs."""
    folder = tmp_path_factory.mktemp("cts")
    write_volume(trunk(seed=0), folder / "first.nii.gz")
    write_volume(trunk(seed=1), folder / "second.nrrd")
    return folder


@pytest.fixture
def widget(openModule: object, data: Path, tmp_path: Path) -> object:
    """The opened panel with its folders chosen."""
    widget = openModule("XReconTrainer")
    widget.ui.dataFolderEdit.currentPath = str(data)
    widget.ui.outputFolderEdit.currentPath = str(tmp_path / "run")
    return widget


def edit(widget: object, name: str, text: str) -> None:
    """Types a value into the settings table."""
    table = widget.ui.settingsTable
    (row,) = [row for row in range(table.rowCount) if table.item(row, 0).text() == name]
    table.item(row, 1).setText(text)
    qt.QApplication.processEvents()


def wait(widget: object) -> None:
    slicerhost.wait_until(lambda: not widget.jobPanel.isRunning, timeout=120)


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
    rows = [[table.item(row, column).text() for column in range(4)] for row in range(table.rowCount)]
    assert [row[0] for row in rows] == ["damaged", "first", "second"]
    assert rows[1][1:3] == ["43 × 37 × 33", "8 × 7 × 9"] and "9.0 mm apart" in rows[1][3]
    assert "damaged.nii.gz" in rows[0][3] and "damaged.nii.gz" in table.item(0, 0).toolTip()
    assert ui.studiesLabel.text == "2 of 3 can be trained on; 2 are worth a look."
    slicerhost.screenshot(widget.parent, "panel-xrecontrainer-studies")


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


# ---- the whole way ------------------------------------------------------------------------------
def test_train_stop_leave_follow_evaluate_export_and_use(
    widget: object, openModule: object, tmp_path: Path
) -> None:
    """One run: stopped, resumed, left by a panel that closes, followed by the next one, used."""
    ui, run = widget.ui, tmp_path / "run"
    ui.deviceComboBox.currentIndex = ui.deviceComboBox.findData("cpu")
    for name, value in {**TINY, "steps": "100000"}.items():
        edit(widget, name, value)
    slicerhost.click(ui.applyButton)
    slicerhost.wait_until(lambda: "loss" in ui.statusLabel.text, timeout=120)
    assert ui.cancelButton.enabled and not ui.applyButton.enabled and not ui.followButton.enabled
    slicerhost.wait_until(lambda: ui.curveButton.enabled, timeout=30)
    slicerhost.click(ui.curveButton)
    (chart,) = slicer.util.getNodesByClass("vtkMRMLPlotChartNode")
    assert chart.GetTitle() == "run: Loss" and "loss" in ui.numbersLabel.text
    slicerhost.click(ui.cancelButton)
    wait(widget)
    assert slicerhost.messages == [] and "stopped at step" in ui.statusLabel.text
    assert (run / "checkpoint.pt").is_file() and ui.resumeButton.enabled and not ui.applyButton.enabled
    state = read_state(run)
    assert state.state == "stopped"

    slicerhost.click(ui.resumeButton)
    slicerhost.wait_until(lambda: (read_state(run) or state).is_running, timeout=120)
    slicerhost.closeModule("XReconTrainer")
    assert runsIn(run), "the training goes on without the panel"
    widget = openModule("XReconTrainer")
    ui = widget.ui
    assert widget.jobPanel.isRunning and not ui.resumeButton.enabled, "it is followed at once"
    slicerhost.wait_until(lambda: "loss" in ui.statusLabel.text, timeout=60)
    ui.outputFolderEdit.currentPath = str(tmp_path / "another")
    assert not widget.jobPanel.isRunning and not ui.cancelButton.enabled and runsIn(run)
    assert ui.applyButton.enabled and ui.numbersLabel.text == "No numbers yet."
    ui.outputFolderEdit.currentPath = str(run)
    assert widget.jobPanel.isRunning and "loss" in ui.numbersLabel.text
    slicerhost.wait_until(lambda: "left" in ui.statusLabel.text, timeout=60)
    assert ui.statusLabel.text.count("left") == 1, "the training's own estimate, from its own start"
    slicerhost.click(ui.cancelButton)
    wait(widget)
    assert "stopped at step" in ui.statusLabel.text and not runsIn(run)


def test_train_evaluate_export_and_use(
    widget: object, openModule: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XRECON_MODELS", str(tmp_path / "store"))
    ui = widget.ui
    ui.deviceComboBox.currentIndex = ui.deviceComboBox.findData("cpu")
    for name, value in TINY.items():
        edit(widget, name, value)
    slicerhost.click(ui.applyButton)
    wait(widget)
    assert slicerhost.messages == []
    run = tmp_path / "run"
    assert ui.modelFolderEdit.currentPath == str(run / "model")
    _network, card = load_model(run / "model")
    assert card.name == "tiny" and card.output.side == 16
    assert ":" in ui.resultLabel.text  # metrics
    assert "PSNR" in ui.numbersLabel.text and ui.curveComboBox.findData("ssim") >= 0
    assert ui.sampleComboBox.currentText == "step 4" and not ui.sampleLabel.pixmap.isNull()
    assert ui.resumeButton.enabled and not ui.applyButton.enabled
    slicerhost.screenshot(widget.parent, "panel-xrecontrainer")

    slicerhost.click(ui.evaluateButton)
    wait(widget)
    assert slicerhost.messages == []
    assert (run / "evaluation" / "evaluation.csv").is_file()
    assert "PSNR" in ui.resultLabel.text and "these figures are no test" in ui.resultLabel.text
    assert slicer.util.getNode("Evaluation of tiny").GetNumberOfRows() == 2

    (tmp_path / "shelf").mkdir()
    slicerhost.answer(str(tmp_path / "shelf"))
    slicerhost.click(ui.exportButton)
    load_model(tmp_path / "shelf" / "tiny")
    slicerhost.answer(str(tmp_path / "shelf"))
    slicerhost.click(ui.exportButton)
    assert "already a model" in slicerhost.messages.pop()[1]

    slicerhost.click(ui.useButton)
    other = openModule("XReconSlicer")
    (stored,) = (tmp_path / "store").iterdir()
    assert other.modelBox.reference == str(stored) and "imported" in other.ui.modelComboBox.currentText
    load_model(stored)


def test_a_model_is_listed_at_once_in_an_open_panel(
    widget: object, openModule: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XRECON_MODELS", str(tmp_path / "store"))
    other, ui = openModule("XReconSlicer"), widget.ui
    other.ui.modelFolderEdit.currentPath = str(tmp_path)
    tiny_models.save_untrained(tmp_path / "model")
    ui.modelFolderEdit.currentPath = str(tmp_path / "model")
    slicerhost.click(ui.useButton)
    assert other.ui.modelFolderEdit.currentPath == "" and str(tmp_path / "store") in other.modelBox.reference
    assert "XReconSlicer now uses" in ui.statusLabel.text
    weights = tmp_path / "model" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    slicerhost.click(ui.useButton)
    assert "damaged" in slicerhost.messages.pop()[1]


def test_radiographs_of_every_ct(widget: object, tmp_path: Path) -> None:
    ui = widget.ui
    ui.detectorPixelsSpinBox.value = 24
    for box in (ui.dicomCheckBox, ui.pngCheckBox):
        slicerhost.click(box)
    assert not ui.radiographsButton.enabled and ui.radiographsButton.toolTip == "Choose a format."
    slicerhost.click(ui.nrrdCheckBox)
    ui.radiographsCollapsibleButton.collapsed = False
    slicerhost.click(ui.radiographsButton)
    wait(widget)
    folder = tmp_path / "run" / "radiographs"
    assert ui.statusLabel.text == f"2 CTs projected into {folder}"
    for name in ("first", "second"):
        radiograph = read_radiograph(folder / name / f"{name}_left_lateral.nrrd")
        assert radiograph.view == "LEFT LATERAL" and radiograph.array.shape == (24, 24)
    assert leftovers() == []


def test_films_and_store_of_every_ct(widget: object, tmp_path: Path) -> None:
    """A chest film holds grey values; the store holds each CT; a CT that fails is told."""
    ui = widget.ui
    ui.detectorPixelsSpinBox.value = 24
    for box in (ui.dicomCheckBox, ui.storeCheckBox, ui.chestFilmCheckBox):
        slicerhost.click(box)  # PNG stays
    cts = tmp_path / "three"
    shutil.copytree(ui.dataFolderEdit.currentPath, cts)
    nobody = Volume(np.full((5, 6, 7), -1000, np.int16), (5.0, 5.0, 5.0))
    write_volume(nobody, cts / "nobody.nrrd")
    ui.dataFolderEdit.currentPath = str(cts)
    slicerhost.click(ui.radiographsButton)
    wait(widget)
    folder = tmp_path / "run" / "radiographs"
    assert ui.statusLabel.text == f"2 CTs projected into {folder}; 1 failed, drr.json says why"
    for name in ("first", "second"):
        assert read_radiograph(folder / name / f"{name}_pa.png").quantity is Quantity.DISPLAY
    assert list(open_store(folder / "store").cases) == ["first", "second"]
    assert leftovers() == []


# ---- when something goes wrong ------------------------------------------------------------------
def test_a_folder_without_cts_gives_one_sentence(widget: object, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    widget.ui.dataFolderEdit.currentPath = str(empty)
    slicerhost.click(widget.ui.applyButton)
    wait(widget)
    ((kind, text),) = slicerhost.messages
    assert kind == "error" and "found none" in text and "Traceback" not in text
    slicerhost.messages.clear()
    slicerhost.click(widget.ui.radiographsButton)
    wait(widget)
    assert "found none" in slicerhost.messages[0][1]
    assert not (tmp_path / "run").exists()  # nothing was left


def test_a_job_that_is_no_training_ends_with_the_panel(
    widget: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    misbehave(monkeypatch, tmp_path, "say(event='progress', stage='scan', fraction=0.3)\ntime.sleep(60)")
    ui = widget.ui
    slicerhost.click(ui.scanButton)
    slicerhost.wait_until(lambda: ui.progressBar.value == 30)
    assert not ui.applyButton.enabled and not ui.radiographsButton.enabled
    slicer.mrmlScene.Clear(False)  # it needs nothing from the scene
    assert widget.jobPanel.isRunning
    slicerhost.closeModule("XReconTrainer")
    assert not widget.jobPanel.isRunning and leftovers() == []


def test_views_and_distances_reach_the_projection(
    widget: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    misbehave(monkeypatch, tmp_path, "say(event='error', message=json.dumps(sys.argv)); sys.exit(3)")
    ui = widget.ui
    ui.drrViewsEdit.setText("LAO 30,  PA")
    ui.drrDetectorDistanceSpinBox.value = 1600
    ui.drrIsocenterDistanceSpinBox.value = 1350
    slicerhost.click(ui.radiographsButton)
    wait(widget)
    arguments = json.loads(ui.statusLabel.text)
    index = arguments.index("--views")
    assert arguments[index + 1 : index + 3] == ["LAO 30", "PA"]
    assert arguments[arguments.index("--source-to-detector-mm") + 1] == "1600"
    assert arguments[arguments.index("--source-to-isocenter-mm") + 1] == "1350"


def test_the_store_of_radiographs_can_be_trained_on(
    widget: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ui = widget.ui
    slicerhost.click(ui.useStoreCheckBox)
    assert not ui.applyButton.enabled and "tick its format" in ui.applyButton.toolTip
    store = tmp_path / "run" / "radiographs" / "store"
    store.mkdir(parents=True)
    (store / "manifest.json").touch()
    ui.dataFolderEdit.currentPath = ""  # not needed any more
    misbehave(monkeypatch, tmp_path, "print('xrecon: error:', json.dumps(sys.argv)); sys.exit(3)")
    slicerhost.click(ui.applyButton)
    wait(widget)
    arguments = json.loads(ui.statusLabel.text)
    assert arguments[arguments.index("--data") + 1] == str(store)


def test_a_folder_that_is_no_model_cannot_be_exported(widget: object, tmp_path: Path) -> None:
    ui = widget.ui
    ui.modelFolderEdit.currentPath = str(tmp_path)
    assert not ui.exportButton.enabled and ui.exportButton.toolTip == "Choose a model folder."
    tiny_models.save_untrained(tmp_path / "model")
    ui.modelFolderEdit.currentPath = str(tmp_path / "model")
    assert ui.exportButton.enabled and ui.useButton.enabled and ui.evaluateButton.enabled


def test_the_module_own_test_passes() -> None:
    from XReconTrainer import XReconTrainerTest

    XReconTrainerTest().runTest()
