"""The trainer panel, driven by mouse, with the real command line in a child process."""

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
from trunk import trunk
from xrecon.io.image import write_volume
from xrecon.io.radiograph import read_radiograph
from xrecon.nets.registry import load_model
from xrecon.training.config import RECIPES, make_config
from xrecon.training.store import open_store
from xrecon.volume import Quantity, Volume
from XReconSlicerLib import training

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
    misbehave(monkeypatch, tmp_path, "say(event='error', message=json.dumps(sys.argv)); sys.exit(3)")
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


# ---- the whole way ------------------------------------------------------------------------------
def test_train_evaluate_export_and_use(widget: object, openModule: object, tmp_path: Path) -> None:
    ui = widget.ui
    ui.deviceComboBox.currentIndex = ui.deviceComboBox.findData("cpu")
    for name, value in TINY.items():
        edit(widget, name, value)
    texts = []
    slicerhost.click(ui.applyButton)
    widget.jobPanel.job.progress.connect(lambda stage, _fraction, message: texts.append(f"{stage} {message}"))
    wait(widget)
    assert slicerhost.messages == []
    run = tmp_path / "run"
    assert ui.modelFolderEdit.currentPath == str(run / "model")
    _network, card = load_model(run / "model")
    assert card.name == "tiny" and card.output.side == 16
    assert any("loss" in text and "4/4" in text for text in texts)
    assert ":" in ui.resultLabel.text  # metrics
    assert ui.resumeButton.enabled and not ui.applyButton.enabled
    slicerhost.screenshot(widget.parent, "panel-xrecontrainer")

    slicerhost.click(ui.evaluateButton)
    wait(widget)
    assert slicerhost.messages == []
    assert (run / "evaluation" / "evaluation.csv").is_file()
    assert "psnr" in ui.resultLabel.text and "these figures are no test" in ui.resultLabel.text

    (tmp_path / "shelf").mkdir()
    slicerhost.answer(str(tmp_path / "shelf"))
    slicerhost.click(ui.exportButton)
    load_model(tmp_path / "shelf" / "tiny")
    slicerhost.answer(str(tmp_path / "shelf"))
    slicerhost.click(ui.exportButton)
    assert "already a model" in slicerhost.messages.pop()[1]

    slicerhost.click(ui.useButton)
    assert openModule("XReconSlicer").ui.modelFolderEdit.currentPath == str(run / "model")


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


def test_cancel_lets_the_training_clean_up(
    widget: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "import signal\ndef stop(*_): raise KeyboardInterrupt\nsignal.signal(signal.SIGTERM, stop)\n"
        "say(event='progress', stage='train', fraction=0.3, message='step 3/10: loss 0.5')\n"
        "try: time.sleep(60)\nfinally: open(os.environ['TRACE'], 'w').close()\n"
    )
    misbehave(monkeypatch, tmp_path, code)
    monkeypatch.setenv("TRACE", str(tmp_path / "trace"))
    ui = widget.ui
    slicerhost.click(ui.applyButton)
    slicerhost.wait_until(lambda: ui.progressBar.value == 30)
    assert ui.statusLabel.text == "train: step 3/10: loss 0.5"
    assert not ui.evaluateButton.enabled and not ui.radiographsButton.enabled
    slicer.mrmlScene.Clear(False)  # a training needs nothing from the scene
    assert widget.jobPanel.isRunning
    slicerhost.click(ui.cancelButton)
    wait(widget)
    assert ui.statusLabel.text == "Cancelled." and (tmp_path / "trace").exists()


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
