"""The X-Recon panel, driven by mouse, with the real command line in a child process."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import qt
import slicer
import slicerhost
import tiny_models
import vtk
from panel_inputs import chiralChest, leftovers, misbehave, names, radiographNodes
from xrecon.preprocess.ct import HU_WINDOW
from xrecon.volume import InputError
from XReconSlicerLib.mrml import radiographToNode, volumeFromNode
from XReconSlicerLib.reconstruction import radiographsFromNodes

VOLUMES = "vtkMRMLScalarVolumeNode"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder that always answers with the chiral chest."""
    return tiny_models.save_memory(tmp_path_factory.mktemp("model"), chiralChest())


@pytest.fixture
def widget(openModule: object, model: Path) -> object:
    """The opened panel with the model chosen."""
    widget = openModule("XReconSlicer")
    widget.ui.modelFolderEdit.currentPath = str(model)
    return widget


@pytest.fixture
def nodes(widget: object) -> list[slicer.vtkMRMLScalarVolumeNode]:
    """A PA and a lateral node, chosen in the panel."""
    pa, lateral = radiographNodes(chiralChest())
    widget.ui.paSelector.setCurrentNode(pa)
    widget.ui.lateralSelector.setCurrentNode(lateral)
    return [pa, lateral]


def apply(widget: object) -> None:
    slicerhost.click(widget.ui.applyButton)
    slicerhost.wait_until(lambda: not widget.jobPanel.isRunning, timeout=60)


# ---- before Apply -------------------------------------------------------------------------------
def test_apply_says_what_is_missing(widget: object) -> None:
    ui = widget.ui
    assert not ui.applyButton.enabled
    assert ui.applyButton.toolTip == "Choose the PA and the lateral radiograph."
    pa, lateral = radiographNodes(chiralChest())
    ui.paSelector.setCurrentNode(pa)
    assert not ui.applyButton.enabled
    ui.lateralSelector.setCurrentNode(lateral)
    assert ui.applyButton.enabled
    ui.modelFolderEdit.currentPath = ""
    ui.modelComboBox.clear()
    widget._update()
    assert ui.applyButton.toolTip == "There is no model: choose a model folder under Advanced."
    assert not ui.applyButton.enabled and not ui.cancelButton.enabled


def test_swapped_radiographs_are_noticed(widget: object, nodes: list) -> None:
    widget.ui.paSelector.setCurrentNode(nodes[1])
    widget.ui.lateralSelector.setCurrentNode(nodes[0])
    assert not widget.ui.applyButton.enabled
    assert widget.ui.applyButton.toolTip == "'Lateral' is a LEFT LATERAL radiograph; expected PA or AP."
    assert widget.ui.geometryLabel.text == widget.ui.applyButton.toolTip


def test_a_colour_picture_is_offered_and_refused_with_the_way_out(widget: object, nodes: list) -> None:
    photo = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "photo")
    image = vtk.vtkImageData()
    image.SetDimensions(5, 4, 1)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 3)
    photo.SetAndObserveImageData(image)
    widget.ui.paSelector.setCurrentNode(photo)
    assert not widget.ui.applyButton.enabled
    assert "Vector to Scalar Volume" in widget.ui.applyButton.toolTip


def test_label_maps_are_not_offered_as_radiographs(widget: object) -> None:
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    assert widget.ui.paSelector.nodeCount() == 0


def test_one_volume_with_both_pictures_is_told_apart_by_slices(widget: object) -> None:
    picture = np.random.default_rng(1).uniform(size=(2, 37, 31)).astype(np.float32)
    both = slicer.util.addVolumeFromArray(picture, name="series")
    ui = widget.ui
    ui.paSelector.setCurrentNode(both)
    ui.lateralSelector.setCurrentNode(both)
    assert (ui.paSliceSpinBox.maximum, ui.lateralSliceSpinBox.maximum) == (1, 1)
    assert not ui.applyButton.enabled
    assert ui.applyButton.toolTip == "Expected two pictures, got slice 0 twice."
    ui.lateralSliceSpinBox.value = 1
    assert ui.applyButton.enabled
    inputs = widget.logic.inputsOf(widget._parameterNode)
    assert (inputs["paSlice"], inputs["lateralSlice"]) == (0, 1)


def test_single_pictures_have_no_slice_to_choose(widget: object, nodes: list) -> None:
    assert not widget.ui.paSliceSpinBox.enabled and not widget.ui.lateralSliceSpinBox.enabled


def test_the_note_says_where_the_geometry_comes_from(widget: object) -> None:
    picture = np.random.default_rng(1).uniform(size=(1, 37, 31)).astype(np.float32)
    ui = widget.ui
    ui.paSelector.setCurrentNode(slicer.util.addVolumeFromArray(picture, name="pa"))
    ui.lateralSelector.setCurrentNode(radiographNodes(chiralChest())[1])
    first, second = ui.geometryLabel.text.splitlines()
    assert first == "PA (ASSUMED): 1800 mm (ASSUMED), 1500 mm (ASSUMED), 14 mm (ASSUMED)"
    assert second == "LEFT LATERAL: 1800 mm (scene), 1500 mm (scene), 7.68 mm (scene)"
    ui.sourceToDetectorSpinBox.value = 1600.0
    assert all(": 1600 mm (entered), 1500 mm" in line for line in ui.geometryLabel.text.splitlines())
    ui.sourceToIsocenterSpinBox.value = 1700.0
    assert "source_to_isocenter_mm < source_to_detector_mm" in ui.applyButton.toolTip
    assert not ui.applyButton.enabled


def test_choosing_the_side_changes_the_view(widget: object, nodes: list) -> None:
    ui = widget.ui
    ui.lateralSideComboBox.currentIndex = 2
    assert ui.lateralSideComboBox.currentText == "Right"
    assert ui.geometryLabel.text.splitlines()[1].startswith("RIGHT LATERAL")


def test_device_and_model_folder_are_not_kept_in_the_scene(widget: object, model: Path) -> None:
    widget.ui.deviceComboBox.currentIndex = widget.ui.deviceComboBox.findData("cpu")
    settings = qt.QSettings()
    assert settings.value("XRecon/device") == "cpu"
    assert settings.value("XRecon/modelFolder") == str(model)
    stored = widget._parameterNode.parameterNode.GetParameterNamesAsCommaSeparatedList()
    assert "device" not in stored and "model" not in stored


# ---- Apply --------------------------------------------------------------------------------------
def test_apply_makes_a_synthetic_ct_in_its_place(widget: object, nodes: list) -> None:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "Study")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(nodes[0]), study)
    apply(widget)
    assert slicerhost.messages == []
    node = widget._parameterNode.outputVolume
    truth, found = chiralChest(), volumeFromNode(node)
    assert found.same_grid(truth)
    assert np.allclose(found.array, np.clip(truth.array, *HU_WINDOW), atol=1.0)
    assert node.GetName() == "Synthetic CT of PA"
    assert node.GetAttribute("XRecon.synthetic") == "yes" and "not for diagnosis" in node.GetDescription()
    assert node.GetAttribute("XRecon.model") == "tiny-lifting"
    assert node.GetVoxelValueUnits().GetCodeMeaning() == "Hounsfield unit"
    assert node.GetDisplayNode().GetWindow() == 1400.0
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == study
    told = widget.ui.resultLabel.text
    assert "Reprojection PA: structure correlation " in told and "(water outline " in told
    assert "no score" in told  # what two radiographs cannot show
    assert widget.ui.statusLabel.text == "Synthetic CT of PA: done. Not for diagnosis."
    assert leftovers() == []
    slicerhost.screenshot(widget.parent, "panel-xreconslicer")


def test_apply_adds_the_pictures_beside_their_inputs(widget: object, nodes: list) -> None:
    apply(widget)
    output = widget._parameterNode.outputVolume
    pictures = {role: output.GetNodeReference(f"XRecon.{role}") for role in (
        "input_pa", "input_lateral", "reprojection_pa", "reprojection_lateral",
    )}  # fmt: skip
    for role, picture in pictures.items():
        assert picture.GetImageData().GetDimensions() == (tiny_models.DETECTOR, tiny_models.DETECTOR, 1)
        assert picture.GetAttribute("XRecon.role") == role
        view = "PA" if role.endswith("pa") else "LEFT LATERAL"
        assert picture.GetAttribute("XRecon.view") == view
        geometry = json.loads(picture.GetAttribute("XRecon.geometry"))
        assert geometry["shape"] == [tiny_models.DETECTOR] * 2
    assert pictures["reprojection_pa"].GetAttribute("XRecon.synthetic") == "yes"
    assert pictures["input_pa"].GetAttribute("XRecon.synthetic") is None
    # The answer is the truth, so that its reprojection is the input, not a mirror image of it.
    seen = slicer.util.arrayFromVolume(pictures["input_pa"])[0]
    projected = slicer.util.arrayFromVolume(pictures["reprojection_pa"])[0]
    likeness = np.corrcoef(seen.ravel(), projected.ravel())[0, 1]
    assert likeness > 0.99
    assert np.corrcoef(seen.ravel(), projected[:, ::-1].ravel())[0, 1] < likeness - 0.01


def test_what_was_assumed_is_said_with_the_result(widget: object, nodes: list) -> None:
    arrays = [slicer.util.arrayFromVolume(node).copy() for node in nodes]
    plain = [slicer.util.addVolumeFromArray(array, name=f"plain {i}") for i, array in enumerate(arrays)]
    widget.ui.paSelector.setCurrentNode(plain[0])
    widget.ui.lateralSelector.setCurrentNode(plain[1])
    apply(widget)
    assert slicerhost.messages == []
    for view in ("PA", "LEFT LATERAL"):
        note = f"{view}: source_to_detector_mm is not known, 1800 was assumed"
        assert note in widget.ui.resultLabel.text
    assert "side of the lateral is not recorded, LEFT was assumed" in widget.ui.resultLabel.text


def test_a_side_that_was_chosen_is_not_told_as_assumed(widget: object, nodes: list) -> None:
    arrays = [slicer.util.arrayFromVolume(node).copy() for node in nodes]
    plain = [slicer.util.addVolumeFromArray(array, name=f"plain {i}") for i, array in enumerate(arrays)]
    views = radiographsFromNodes(*plain, lateralSide="right")
    assert [v.meta["view.origin"] for v in views] == ["assumed", "argument"]
    known = radiographsFromNodes(*nodes)
    assert [v.meta["view.origin"] for v in known] == ["scene", "scene"]
    # kept in the scene: an assumption does not become a fact by being shown
    shown = radiographToNode(views[0], "shown")
    assert radiographsFromNodes(shown, plain[1])[0].meta["view.origin"] == "assumed"


def test_a_second_run_overwrites_the_nodes_of_the_first(widget: object, nodes: list) -> None:
    apply(widget)
    before = names(VOLUMES)
    apply(widget)
    assert names(VOLUMES) == before
    assert len(before) == 2 + 1 + 4


def test_a_chosen_output_keeps_its_name_and_says_synthetic(widget: object, nodes: list) -> None:
    chosen = widget.ui.outputSelector.addNode()
    chosen.SetName("mine")
    apply(widget)
    assert widget._parameterNode.outputVolume is chosen
    assert chosen.GetName() == "mine (synthetic)"


def test_the_console_gives_what_the_panel_gives(widget: object, nodes: list, model: Path) -> None:
    apply(widget)
    panel = volumeFromNode(widget._parameterNode.outputVolume)
    node = widget.logic.reconstruct(*nodes, model=str(model), device="cpu")
    console = volumeFromNode(node)
    assert console.same_grid(panel) and np.allclose(console.array, panel.array, atol=1e-3)
    reprojections = [
        n.GetNodeReference("XRecon.reprojection_pa") for n in (node, widget._parameterNode.outputVolume)
    ]
    a, b = (slicer.util.arrayFromVolume(each) for each in reprojections)
    assert np.allclose(a, b, atol=1e-3)
    with pytest.raises(InputError, match="got slice 0 twice"):
        widget.logic.reconstruct(nodes[0], nodes[0], model=str(model))


# ---- when something goes wrong ------------------------------------------------------------------
def test_damaged_weights_give_one_sentence_and_leave_nothing(
    widget: object, nodes: list, model: Path, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "card.json").write_bytes((model / "card.json").read_bytes())
    (damaged / "weights.safetensors").write_bytes((model / "weights.safetensors").read_bytes()[:-1] + b"x")
    widget.ui.modelFolderEdit.currentPath = str(damaged)
    before = names(VOLUMES)
    apply(widget)
    ((kind, text),) = slicerhost.messages
    assert kind == "error"
    assert "is damaged or was exchanged" in text and "Traceback" not in text
    assert widget.ui.statusLabel.text in text
    assert names(VOLUMES) == before and leftovers() == []
    assert widget.ui.applyButton.enabled and not widget.ui.cancelButton.enabled


def test_cancel_ends_the_job_and_leaves_nothing(
    widget: object, nodes: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    misbehave(
        monkeypatch, tmp_path,
        "say(event='progress', stage='reconstruct', fraction=0.4, message='on cpu')\ntime.sleep(60)",
    )  # fmt: skip
    before = names(VOLUMES)
    ui = widget.ui
    slicerhost.click(ui.applyButton)
    slicerhost.wait_until(lambda: ui.progressBar.value == 40)
    assert ui.statusLabel.text == "reconstruct: on cpu"
    assert not ui.applyButton.enabled and ui.applyButton.toolTip == "A reconstruction is running."
    slicerhost.screenshot(widget.parent, "panel-xreconslicer-running")
    slicerhost.click(ui.cancelButton)
    slicerhost.wait_until(lambda: not widget.jobPanel.isRunning)
    assert ui.statusLabel.text == "Cancelled."
    assert names(VOLUMES) == before and leftovers() == [] and slicerhost.messages == []
    assert ui.applyButton.enabled and not ui.progressBar.visible


def test_closing_the_scene_ends_the_job(
    widget: object, nodes: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    misbehave(monkeypatch, tmp_path, "time.sleep(60)")
    slicerhost.click(widget.ui.applyButton)
    slicer.mrmlScene.Clear(False)
    slicerhost.wait_until(lambda: not widget.jobPanel.isRunning)
    assert widget.ui.paSelector.currentNode() is None
    assert not widget.ui.applyButton.enabled
    assert names(VOLUMES) == [] and leftovers() == []


def test_the_log_shows_what_the_command_prints(
    widget: object, nodes: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "print('a warning of a library')\nprint('xrecon: error: no memory left', file=sys.stderr)\n"
    misbehave(monkeypatch, tmp_path, code + "sys.exit(5)")
    apply(widget)
    assert "a warning of a library" in widget.ui.logBox.plainText
    ((_kind, text),) = slicerhost.messages
    assert "no memory left" in text


# ---- scene --------------------------------------------------------------------------------------
def test_the_choices_are_kept_in_the_scene(widget: object, nodes: list) -> None:
    slicerhost.click(widget.ui.invertPaCheckBox)
    widget.ui.pixelSpacingSpinBox.value = 0.35
    parameters = widget.logic.getParameterNode()
    assert parameters.invertPa and parameters.pixelSpacingMm == 0.35
    assert parameters.paVolume is nodes[0]
    parameters.invertPa = False
    assert not widget.ui.invertPaCheckBox.checked


def test_leaving_and_entering_the_module_keeps_the_choices(widget: object, nodes: list) -> None:
    widget.exit()
    widget.enter()
    assert widget.ui.paSelector.currentNode() is nodes[0]
    assert widget.ui.applyButton.enabled


def test_the_module_loads_the_terminology_of_pneumothorax(widget: object) -> None:
    logic = slicer.modules.terminologies.logic()
    assert logic.IsTerminologyContextLoaded("Segmentation category and type - XRecon")


def test_the_module_own_test_passes() -> None:
    from XReconSlicer import XReconSlicerTest

    XReconSlicerTest().runTest()
