"""The X-Recon panel, driven by mouse: Apply, what goes wrong, the scene."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import qt
import slicer
import slicerhost
import tiny_models
from panel_inputs import chiralChest, choose, leftovers, misbehave, names, page
from photographs import photograph
from reconstruction_panel import VOLUMES, apply, model, nodes, widget  # noqa: F401 (fixtures)
from xrecon.io.image import read_volume, write_volume
from xrecon.preprocess.ct import HU_WINDOW
from xrecon.volume import InputError
from XReconSlicerLib.arrangement import arrangementNodes
from XReconSlicerLib.mrml import radiographToNode, volumeFromNode
from XReconSlicerLib.radiograph_input import RadiographInput, radiographsOf
from XReconSlicerLib.result_classes import ROLE as CLASSES
from XReconSlicerLib.trust_maps import loadTrustMaps, uncertaintyOf


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
    photograph(widget, "XReconSlicer")
    slicerhost.click(widget.ui.reportButton)
    report = Path(qt.QUrl(slicerhost.opened[-1].text).toLocalFile())
    text = report.read_text(encoding="utf-8")
    assert report.name == "Synthetic CT of PA.html" and "not a medical device" in text
    assert "tiny-lifting" in text and "LEFT LATERAL history" in text


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


def test_a_result_is_exported_as_dicom(widget: object, nodes: list, tmp_path: Path) -> None:
    """A folder of its own for each export; without DICOM radiographs nobody can be kept."""
    assert not widget.ui.exportButton.enabled
    apply(widget)
    for name in ("Synthetic CT of PA", "Synthetic CT of PA 2"):
        slicerhost.answer(str(tmp_path))
        slicerhost.click(widget.ui.exportButton)
        assert widget.ui.statusLabel.text == f"Exported: {tmp_path / name}"
        written = read_volume(tmp_path / name / "ct")
        found = volumeFromNode(widget._parameterNode.outputVolume)
        assert written.same_grid(found, 1e-3) and np.abs(written.array - found.array).max() <= 0.5
        assert written.meta["model"] == "tiny-lifting"
        assert written.meta["synthetic"] == "reconstructed from radiographs"
    slicerhost.click(widget.ui.keepPatientCheckBox)
    slicerhost.answer(str(tmp_path))
    slicerhost.click(widget.ui.exportButton)
    assert "cannot be taken over" in widget.ui.statusLabel.text
    assert "cannot be taken over" in str(slicerhost.messages[-1])
    assert len(list(tmp_path.iterdir())) == 2


def test_what_was_assumed_is_said_with_the_result(widget: object, nodes: list) -> None:
    arrays = [slicer.util.arrayFromVolume(node).copy() for node in nodes]
    plain = [slicer.util.addVolumeFromArray(array, name=f"plain {i}") for i, array in enumerate(arrays)]
    choose(widget, *plain)
    apply(widget)
    assert slicerhost.messages == []
    for view in ("PA", "LEFT LATERAL"):
        note = f"{view}: source_to_detector_mm is not known, 1800 was assumed"
        assert note in widget.ui.resultLabel.text
    assert "side of the lateral is not recorded, LEFT was assumed" in widget.ui.resultLabel.text


def test_a_side_that_was_chosen_is_not_told_as_assumed(widget: object, nodes: list) -> None:
    arrays = [slicer.util.arrayFromVolume(node).copy() for node in nodes]
    plain = [slicer.util.addVolumeFromArray(array, name=f"plain {i}") for i, array in enumerate(arrays)]
    given = [RadiographInput(plain[0]), RadiographInput(plain[1], view="RIGHT LATERAL")]
    views = radiographsOf(given)
    assert [v.meta["view.origin"] for v in views] == ["assumed", "argument"]
    known = radiographsOf([RadiographInput(node) for node in nodes])
    assert [v.meta["view.origin"] for v in known] == ["scene", "scene"]
    # kept in the scene: an assumption does not become a fact by being shown
    shown = radiographToNode(views[0], "shown")
    again = radiographsOf([RadiographInput(shown), RadiographInput(plain[1])])
    assert again[0].meta["view.origin"] == "assumed"


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
    node = widget.logic.reconstruct(*nodes, model=str(model), device="cpu", force=True)
    console = volumeFromNode(node)
    assert console.same_grid(panel) and np.allclose(console.array, panel.array, atol=1e-3)
    reprojections = [
        n.GetNodeReference("XRecon.reprojection_pa") for n in (node, widget._parameterNode.outputVolume)
    ]
    a, b = (slicer.util.arrayFromVolume(each) for each in reprojections)
    assert np.allclose(a, b, atol=1e-3)
    with pytest.raises(InputError, match="got slice 0 of 'PA' twice"):
        widget.logic.reconstruct(nodes[0], nodes[0], model=str(model))


def test_the_console_leaves_no_maps_of_an_earlier_result(
    widget: object, nodes: list, model: Path, tmp_path: Path
) -> None:
    """PTXSeg would measure the new CT with the error of the old one."""
    options = {"model": str(model), "device": "cpu", "force": True}
    node = widget.logic.reconstruct(*nodes, **options)
    write_volume(volumeFromNode(node), tmp_path / "uncertainty.nrrd")
    loadTrustMaps({"uncertainty": str(tmp_path / "uncertainty.nrrd")}, node)
    classes = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    node.SetNodeReferenceID(CLASSES, classes.GetID())
    assert uncertaintyOf(node) is not None and node.GetNodeReference(CLASSES) is classes
    assert widget.logic.reconstruct(*nodes, output=node, **options) is node
    assert uncertaintyOf(node) is None and node.GetNodeReference(CLASSES) is None


def test_refinement_and_maps_are_told_and_loaded(widget: object, nodes: list) -> None:
    slicerhost.click(widget.ui.refineCheckBox)
    slicerhost.click(widget.ui.trustMapsCheckBox)
    assert widget._parameterNode.refine and widget._parameterNode.loadTrustMaps
    apply(widget)
    assert slicerhost.messages == []
    told = widget.ui.resultLabel.text
    assert "Reprojection score: not calibrated." in told and "Refine" in told and "Beams: " in told
    output = widget._parameterNode.outputVolume
    beams = output.GetNodeReference("XRecon.ray_support")
    assert beams.GetName() == f"{output.GetName()}: number of beams"
    assert volumeFromNode(beams).same_grid(volumeFromNode(output))
    assert set(np.unique(slicer.util.arrayFromVolume(beams))) <= {0, 1, 2}
    assert beams.GetVoxelValueUnits() is None  # counts are no Hounsfield units
    angles = slicer.util.arrayFromVolume(output.GetNodeReference("XRecon.crossing_angle"))
    assert 80.0 < angles.max() <= 90.0
    assert output.GetNodeReference("XRecon.uncertainty") is None  # the model's card asks for none
    slicerhost.click(widget.ui.trustMapsCheckBox)
    apply(widget)
    assert output.GetNodeReference("XRecon.ray_support") is None


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
    slicerhost.wait_until(lambda: ui.progressBar.value == 45)  # 0.04 + 0.03 + 0.18 + 0.1 + 0.4 x 0.25
    assert ui.statusLabel.text == "reconstruct: on cpu"
    assert not ui.applyButton.enabled
    assert ui.applyButton.toolTip == "Something is running: wait, or cancel it."
    photograph(widget, "XReconSlicer-running")
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
    assert page(widget, 1).volumeSelector.currentNode() is None
    assert not widget.ui.applyButton.enabled
    assert names(VOLUMES) == [] and leftovers() == []


def test_reloading_the_module_ends_the_job(
    widget: object, nodes: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    misbehave(monkeypatch, tmp_path, "time.sleep(60)")
    slicerhost.click(widget.ui.applyButton)
    job = widget.jobPanel.job
    slicer.util.reloadScriptedModule("XReconSlicer")
    assert not job.isRunning and leftovers() == [] and slicerhost.messages == []


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
    ui = page(widget, 1)
    slicerhost.click(ui.invertCheckBox)
    ui.pixelSpacingSpinBox.value = 0.35
    view = widget.logic.getParameterNode().view1
    assert view.invert and view.pixelSpacingMm == 0.35 and view.volume is nodes[0]
    widget._parameterNode.view1.invert = False
    assert not ui.invertCheckBox.checked


def test_a_saved_scene_brings_all_choices_back(widget: object, nodes: list, tmp_path: Path) -> None:
    ui = page(widget, 2)
    ui.viewComboBox.currentIndex = 4
    slicerhost.click(ui.flipCheckBox)
    ui.sourceToDetectorSpinBox.value = 1777.0
    slicerhost.click(widget.ui.arrangementCheckBox)
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(False)
    assert page(widget, 2).volumeSelector.currentNode() is None and not ui.flipCheckBox.checked
    slicer.util.loadScene(str(tmp_path / "scene.mrb"), {"clear": True})
    widget.enter()
    assert ui.volumeSelector.currentNode().GetName() == "Lateral"
    assert ui.viewComboBox.currentText == "Right lateral" and ui.flipCheckBox.checked
    assert ui.sourceToDetectorSpinBox.value == 1777.0
    assert widget.ui.arrangementCheckBox.checked and len(arrangementNodes()) == 6


def test_leaving_and_entering_the_module_keeps_the_choices(widget: object, nodes: list) -> None:
    widget.exit()
    widget.enter()
    assert page(widget, 1).volumeSelector.currentNode() is nodes[0]
    assert widget.ui.applyButton.enabled


def test_the_module_loads_the_terminology_of_pneumothorax(widget: object) -> None:
    logic = slicer.modules.terminologies.logic()
    assert logic.IsTerminologyContextLoaded("Segmentation category and type - XRecon")


def test_the_module_own_test_passes() -> None:
    from XReconSlicer import XReconSlicerTest

    XReconSlicerTest().runTest()
