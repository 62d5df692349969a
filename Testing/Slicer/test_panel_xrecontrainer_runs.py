"""The trainer panel, driven by mouse: whole runs, and what goes wrong in them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import qt
import slicer
import slicerhost
import tiny_models
from panel_inputs import leftovers, misbehave
from photographs import photograph
from trainer_panel import TINY, data, edit, wait, widget  # noqa: F401 (fixtures)
from xrecon.io.image import write_volume
from xrecon.io.radiograph import read_radiograph
from xrecon.nets.registry import load_model
from xrecon.training.status import read_state
from xrecon.training.store import open_store
from xrecon.volume import Quantity, Volume
from XReconSlicerLib.detached_run import runsIn
from XReconSlicerLib.lung_models import lungModels, referencesOf
from XReconSlicerLib.models import MODELS_FOLDER
from XReconSlicerLib.studies import USE


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
    photograph(widget, "XReconTrainer-training")
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

    slicerhost.click(ui.scanButton)
    wait(widget)
    use = ui.studiesTable.cellWidget(1, USE)
    use.currentIndex = use.findData("test")
    slicerhost.click(ui.evaluateButton)
    wait(widget)
    assert slicerhost.messages == []
    assert (run / "evaluation" / "evaluation.csv").is_file()
    assert "PSNR" in ui.resultLabel.text and "these figures are no test" in ui.resultLabel.text
    photograph(widget, "XReconTrainer-evaluated")
    scores = slicer.util.getNode("Evaluation of tiny")
    assert scores.GetNumberOfRows() == 1, "the one CT that was chosen for tests"
    assert "second" in [scores.GetCellText(0, column) for column in range(scores.GetNumberOfColumns())]

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


def test_a_lung_model_reaches_the_list_of_ptxseg(
    widget: object, openModule: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XRECON_MODELS", str(tmp_path / "store"))
    other, ui = openModule("PTXSeg"), widget.ui
    before = other.ui.lungModelsList.count
    shutil.copytree(MODELS_FOLDER / "lungs-unet", tmp_path / "run" / "model")
    ui.modelFolderEdit.currentPath = str(tmp_path / "run" / "model")
    slicerhost.click(ui.useButton)
    assert slicerhost.messages == [] and ui.statusLabel.text.startswith("PTXSeg now lists ")
    assert not qt.QSettings().value("XRecon/model.radiographs"), "that of XReconSlicer is as it was"
    slicerhost.exitModule("PTXSeg")
    slicerhost.enterModule("PTXSeg")
    rows = [other.ui.lungModelsList.item(row).text() for row in range(other.ui.lungModelsList.count)]
    assert len(rows) == before + 1 and sum("(imported)" in row for row in rows) == 1
    (stored,) = (tmp_path / "store").iterdir()
    (key,) = (model.key for model in lungModels() if model.reference == str(stored))
    assert referencesOf([key]) == [str(stored)], "what `--lung-model` takes"


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
