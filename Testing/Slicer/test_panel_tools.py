"""Around the X-Recon panel: finding radiographs, stored models, devices, arrangement, sample data."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import qt
import SampleData
import slicer
import slicerhost
import tiny_models
from panel_inputs import chiralChest, choose, leftovers, misbehave, page, radiographNodes, refusal
from photographs import photograph, requireContent
from slicerhost import models3d
from xrecon.io.radiograph import write_radiograph
from xrecon.nets.registry import load_card
from xrecon.physics.chest_phantom import chest_phantom
from xrecon.physics.drr import render_drrs
from xrecon.physics.geometry import ViewGeometry
from xrecon.preprocess.appearance import cropped_to_field
from xrecon.preprocess.ct import lung_center
from xrecon.volume import InputError, Radiograph
from XReconSlicerLib import arrangement, device_box, models, sample_data
from XReconSlicerLib.mrml import volumeToNode
from XReconSlicerLib.progress import OverallProgress
from XReconSlicerLib.radiograph_input import RadiographInput, findViews, radiographOf


@pytest.fixture(scope="module")
def phantom() -> dict[str, Radiograph]:
    """PA and lateral pictures of the chest phantom."""
    ct = chest_phantom(spacing=(5.0, 5.0, 5.0), seed=2).volume
    views = [
        ViewGeometry.preset(v, shape=(96, 96), isocenter=tuple(lung_center(ct))) for v in tiny_models.VIEWS
    ]
    return {each.view: each for each in render_drrs(ct, views)}


@pytest.fixture
def widget(openModule: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """The opened panel with an empty store of models."""
    monkeypatch.setenv(models.STORE_VARIABLE, str(tmp_path / "store"))
    return openModule("XReconSlicer")


def picture(array: np.ndarray, name: str) -> slicer.vtkMRMLScalarVolumeNode:
    """A node of which no file tells anything."""
    return slicer.util.addVolumeFromArray(np.atleast_3d(array.T).T, name=name)


# ---- finding radiographs ------------------------------------------------------------------------
def test_a_pair_of_dicom_files_is_found_when_it_is_loaded(
    widget: object, phantom: dict, tmp_path: Path
) -> None:
    for view, name in (("LEFT LATERAL", "one"), ("PA", "two")):
        write_radiograph(phantom[view], tmp_path / f"{name}.dcm")
        slicer.util.loadVolume(str(tmp_path / f"{name}.dcm"), {"singleFile": True})
    slicerhost.wait_until(lambda: refusal(widget) == "")
    assert [page(widget, n).volumeSelector.currentNode().GetName() for n in (1, 2)] == ["two", "one"]
    assert "PA (from DICOM)" in page(widget, 1).lookLabel.text
    assert page(widget, 2).sourceToDetectorOriginLabel.text == "from DICOM"


def test_pictures_without_files_are_told_apart_by_their_looks(widget: object, phantom: dict) -> None:
    nodes = [picture(phantom[view].array, view) for view in ("LEFT LATERAL", "PA")]
    volumeToNode(chiralChest(), "CT")
    found = findViews([*nodes, slicer.util.getNode("CT")], onlySure=True)
    assert [each.node.GetName() for each in found] == ["PA", "LEFT LATERAL"]


def test_results_label_maps_and_hidden_nodes_are_not_found(widget: object, phantom: dict) -> None:
    made, hidden = (picture(phantom["PA"].array, name) for name in ("reprojected", "hidden"))
    made.SetAttribute("XRecon.role", "reprojection_pa")
    hidden.SetHideFromEditors(True)
    labels = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    slicer.util.updateVolumeFromArray(labels, phantom["PA"].array[None])
    assert findViews([made, hidden, labels]) == []


def test_both_slices_of_one_volume_are_found(widget: object, phantom: dict) -> None:
    stack = np.stack([phantom["LEFT LATERAL"].array, phantom["PA"].array])
    slicerhost.click(widget.ui.findViewsButton)
    assert slicerhost.messages[-1][0] == "warning"  # nothing there yet
    slicer.util.addVolumeFromArray(stack, name="series")
    slicerhost.click(widget.ui.findViewsButton)
    assert [page(widget, n).sliceSpinBox.value for n in (1, 2)] == [1, 0]
    assert not page(widget, 1).sliceSpinBox.keyboardTracking, "a number is read when it is whole"
    slicerhost.click(widget.ui.cancelButton)  # the classifier is asked, see test_panel_recognition.py
    slicerhost.wait_until(lambda: not widget.jobPanel.isRunning)
    assert refusal(widget) == ""


def test_the_choice_of_the_user_is_never_exchanged(widget: object, phantom: dict) -> None:
    mine = picture(phantom["PA"].array, "mine")
    choose(widget, mine)
    for view in tiny_models.VIEWS:
        picture(phantom[view].array, view)
    slicerhost.wait_until(lambda: slicer.util.getNode("PA") is not None)
    qt.QApplication.processEvents()
    widget._findRadiographs()
    assert page(widget, 1).volumeSelector.currentNode() is mine


# ---- what the network sees ----------------------------------------------------------------------
def test_invert_flip_and_crop_change_the_picture_and_the_warnings(widget: object, phantom: dict) -> None:
    framed = np.pad(phantom["PA"].array.max() - phantom["PA"].array, 7, constant_values=0.0)[:, ::-1]
    choose(widget, picture(framed, "film"))
    ui, box = page(widget, 1), widget.viewsBox.boxes[0]
    assert "seems inverted" in ui.lookLabel.text and not ui.previewLabel.pixmap.isNull()
    photograph(widget, "XReconSlicer-warning")
    slicerhost.click(ui.invertCheckBox)
    slicerhost.click(ui.cropCheckBox)
    assert "may be mirrored" in ui.lookLabel.text
    slicerhost.click(ui.flipCheckBox)
    assert "inverted" not in ui.lookLabel.text and "mirrored" not in ui.lookLabel.text
    difference = box.radiograph.array - cropped_to_field(phantom["PA"]).array
    assert np.ptp(difference) < 1e-4  # a constant grey value may be added by inverting
    assert box.radiograph.geometry.shape == box.radiograph.array.shape


def test_an_oblique_view_has_the_angles_of_the_panel(phantom: dict) -> None:
    given = RadiographInput(picture(phantom["PA"].array, "x"), view="OBLIQUE", anglesDeg=(-35.0, 12.0))
    found = radiographOf(given)
    assert found.view == "" and np.allclose(found.geometry.positioner_angles, (-35.0, 12.0))


# ---- arrangement --------------------------------------------------------------------------------
def test_sources_beams_and_detectors_stand_where_the_geometry_says(widget: object) -> None:
    nodes = radiographNodes(chiralChest())
    choose(widget, *nodes)
    slicerhost.click(widget.ui.arrangementCheckBox)
    shown = {node.GetName(): node for node in arrangement.arrangementNodes()}
    assert sorted(shown) == [
        "1: PA beam", "1: PA detector", "1: PA source",
        "2: LEFT LATERAL beam", "2: LEFT LATERAL detector", "2: LEFT LATERAL source",
    ]  # fmt: skip
    requireContent(models3d.save(arrangement.arrangementNodes(), "XReconSlicer-views"))
    bounds = np.array(shown["1: PA source"].GetPolyData().GetBounds()).reshape(3, 2)
    assert np.allclose(bounds.mean(axis=1), (0.0, -1500.0, 0.0), atol=1.0)  # behind the patient, in RAS
    detector = np.array(nodes[1].GetOrigin())
    corners = slicer.util.arrayFromModelPoints(shown["2: LEFT LATERAL detector"])
    assert np.allclose(corners[:, 0], -300.0)  # the patient's left is -x in RAS
    pixel = np.array(nodes[1].GetSpacing())[:2]
    assert np.isclose(np.linalg.norm(corners - detector, axis=1).min(), np.linalg.norm(pixel) / 2, rtol=1e-3)
    page(widget, 1).sourceToDetectorSpinBox.value = 2000.0
    assert len(arrangement.arrangementNodes()) == 6
    slicerhost.click(widget.ui.arrangementCheckBox)
    assert arrangement.arrangementNodes() == []


# ---- models -------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def modelFolder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.save_memory(tmp_path_factory.mktemp("model"), chiralChest())


def test_a_model_is_imported_after_its_checksum_and_deleted_again(
    widget: object, modelFolder: Path, tmp_path: Path
) -> None:
    ui = widget.ui
    bundled = ui.modelComboBox.count
    psnr = load_card("chest-128").quality["test"]["mean"]["psnr"]
    assert bundled >= 1 and f"PSNR {psnr:.1f} dB" in ui.modelDetailsLabel.text  # of the default
    assert not ui.deleteModelButton.enabled
    slicerhost.answer(str(modelFolder))
    slicerhost.click(ui.importModelButton)
    assert slicerhost.messages == []
    assert (
        ui.modelComboBox.currentText == "tiny-lifting: for tests (imported)" and ui.deleteModelButton.enabled
    )
    stored = Path(widget.modelBox.reference)
    assert stored.parent == tmp_path / "store" and "Not measured" in ui.modelDetailsLabel.text
    assert (stored / "weights.safetensors").read_bytes() == (modelFolder / "weights.safetensors").read_bytes()
    widget.modelBox.refresh(qt.QSettings().value("XRecon/model.radiographs"))
    assert widget.modelBox.reference == str(stored)  # remembered for the next session
    slicerhost.click(ui.openModelsButton)
    assert slicerhost.opened[-1].text.endswith("/store")
    with slicerhost.interactiveMode():
        for answer in (qt.QMessageBox.Cancel, qt.QMessageBox.Ok):
            assert stored.exists()
            slicerhost.answer(answer)
            slicerhost.click(ui.deleteModelButton)
    assert not stored.exists() and ui.modelComboBox.count == bundled


def test_damaged_models_and_those_of_another_kind_are_not_imported(
    widget: object, modelFolder: Path, tmp_path: Path
) -> None:
    damaged = Path(shutil.copytree(modelFolder, tmp_path / "damaged"))
    weights = damaged / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    for folder, message in (
        (damaged, "are damaged or were exchanged"),
        (models.MODELS_FOLDER / "view-classifier", "expected one that takes radiographs or slices"),
        (tmp_path, "Expected a model folder"),
    ):
        slicerhost.answer(str(folder))
        slicerhost.click(widget.ui.importModelButton)
        assert message in slicerhost.messages[-1][1]
    assert not (tmp_path / "store").exists() or not list((tmp_path / "store").iterdir())
    with pytest.raises(InputError, match="Only imported models"):
        models.deleteModel(str(models.MODELS_FOLDER / "lifting-64"))


def test_a_lung_model_that_is_imported_here_is_listed_by_ptxseg(widget: object, tmp_path: Path) -> None:
    before = widget.modelBox.reference
    slicerhost.answer(str(models.MODELS_FOLDER / "lungs-unet"))
    slicerhost.click(widget.ui.importModelButton)
    ((kind, text),) = slicerhost.messages
    assert kind == "info" and text.startswith("PTXSeg now lists ")
    slicerhost.messages.clear()
    assert widget.modelBox.reference == before
    (stored,) = models.storedModels(models.SEGMENTATION)
    assert Path(stored.reference).parent == tmp_path / "store"


# ---- devices ------------------------------------------------------------------------------------
def test_the_test_of_devices_tells_memory_and_need(widget: object) -> None:
    slicerhost.click(widget.ui.testDevicesButton)
    slicerhost.wait_until(lambda: not widget.deviceBox.isTesting, timeout=120)
    told = widget.ui.deviceLabel.text
    assert widget.ui.modelComboBox.currentText.startswith("chest-128: "), "the name that is told here too"
    assert "GB free; chest-128 needs about 0.4 GB; passed the test." in told
    assert f"torch {importlib.metadata.version('torch')}" in told
    assert widget.ui.testDevicesButton.enabled and leftovers() == []


def test_every_gpu_of_several_can_be_chosen(
    widget: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = {"free_bytes": 2**30, "total_bytes": 2**33, "needed_bytes": 2**31}
    devices = [
        {"name": f"cuda:{i}", "title": f"GPU {i}", "fault": fault, **gpu}
        for i, fault in enumerate(("", "no"))
    ]
    numbers = json.dumps({"devices": devices, "model": "m"})
    misbehave(monkeypatch, tmp_path, f"say(event='result', files={{}}, numbers=json.loads({numbers!r}))")
    slicerhost.click(widget.ui.testDevicesButton)
    slicerhost.wait_until(lambda: not widget.deviceBox.isTesting)
    assert widget.ui.deviceLabel.text == device_box.describeDevices(json.loads(numbers))
    assert "too little" in widget.ui.deviceLabel.text and "failed the test: no" in widget.ui.deviceLabel.text
    combo = widget.ui.deviceComboBox
    combo.currentIndex = combo.findData("cuda:1")
    assert widget.deviceBox.device == "cuda:1" and qt.QSettings().value("XRecon/device") == "cuda:1"


# ---- progress -----------------------------------------------------------------------------------
def test_the_bar_never_goes_back_and_tells_the_time_left() -> None:
    now = [0.0]
    overall = OverallProgress({"a": 1.0, "b": 3.0}, clock=lambda: now[0])
    assert [overall.update(*step) for step in (("a", 0.5), ("b", 0.0), ("a", 0.0), ("b", 0.5))] == [
        0.125, 0.25, 0.25, 0.625,
    ]  # fmt: skip
    assert overall.text == ""  # too early
    now[0] = 50.0
    assert overall.secondsLeft == 30.0 and overall.text == "about 30 s left"
    now[0] = 500.0
    assert overall.text == "about 5 min left"
    overall.update("b", 1.0)
    assert overall.text == ""


# ---- sample data --------------------------------------------------------------------------------
def test_the_phantom_is_offered_once_and_made_here(
    widget: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample_data.registerSampleData()
    (source,) = SampleData.SampleDataLogic.sampleDataSourcesByCategory("XRecon")
    assert Path(source.options["thumbnailFileName"]).is_file()
    code = (
        "from xrecon import cli, tools\n"
        "tools.PHANTOM_SPACING_MM, tools.PHANTOM_DETECTOR = (6.0, 6.0, 6.0), (64, 64)\n"
        "sys.exit(cli.run(sys.argv[3:]))"
    )
    misbehave(monkeypatch, tmp_path, code)
    nodes = source.options["customDownloader"](source)
    assert [node.GetName() for node in nodes] == [
        "Phantom CT", "Phantom lungs and pneumothorax", "Phantom PA", "Phantom lateral",
    ]  # fmt: skip
    assert all("no patient" in node.GetDescription() for node in nodes)
    assert nodes[1].GetSegmentation().GetNumberOfSegments() == 4
    slicerhost.wait_until(lambda: refusal(widget) == "")  # the panel has found them
    assert leftovers() == []


def test_a_phantom_that_cannot_be_made_is_told(
    widget: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    misbehave(monkeypatch, tmp_path, "print('xrecon: error: disk full', file=sys.stderr)\nsys.exit(4)")
    with slicerhost.interactiveMode(), pytest.raises(RuntimeError, match="disk full"):
        sample_data.onPhantomWanted()
    assert "could not be made" in slicerhost.messages[-1][1]
