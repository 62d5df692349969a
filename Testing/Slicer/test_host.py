"""The stand-in application itself: it must do what Slicer does, and its traps must spring."""

from __future__ import annotations

import numpy as np
import pytest
import qt
import slicer
import slicerhost


@pytest.fixture
def volume() -> slicer.vtkMRMLScalarVolumeNode:
    """Random CT-like volume, 9 x 11 x 13 (z, y, x)."""
    array = np.random.default_rng(0).integers(-1000, 1000, (9, 11, 13)).astype(np.int16)
    node = slicer.util.addVolumeFromArray(array, name="CT")
    node.CreateDefaultDisplayNodes()
    return node


def test_module_segments_when_apply_is_clicked(openModule, volume):
    widget = openModule("HostExample")
    ui = widget.ui
    assert not ui.applyButton.enabled and ui.applyButton.toolTip == "Select input and output"
    ui.inputSelector.setCurrentNode(volume)
    output = ui.outputSelector.addNode()
    assert widget._parameterNode.outputSegmentation is output
    ui.thresholdSlider.value = 100
    slicerhost.click(ui.applyButton)
    expected = slicer.util.arrayFromVolume(volume) > 100
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(output, "tissue", volume)
    assert np.array_equal(mask.astype(bool), expected)
    assert ui.statusLabel.text == f"{expected.sum()} voxels"
    assert ui.segmentsTable.displayedSegmentIDs() == ("tissue",)
    picture = slicerhost.screenshot(widget.parent, "host-example")
    assert qt.QImage(str(picture)).width() == 480


def test_views_show_volume_and_segmentation(volume):
    from slicerhost import views

    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    segmentation.CreateDefaultDisplayNodes()
    segmentId = segmentation.GetSegmentation().AddEmptySegment("block", "block", (1.0, 0.0, 0.0))
    mask = np.zeros((9, 11, 13), np.uint8)
    mask[2:7, 2:9, 3:10] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, segmentation, segmentId, volume)
    with views.layout(size=120) as layout:
        slicer.util.setSliceViewerLayers(background=volume, fit=True)
        picture = qt.QImage(str(layout.save("host-views")))
    assert (picture.width(), picture.height()) == (360, 120)
    colors = [qt.QColor(picture.pixel(x, y)) for x in range(0, 120, 4) for y in range(0, 120, 4)]
    assert any(color.red() == color.green() > 40 for color in colors), "no grey CT in the axial view"
    assert any(color.red() > color.green() + 60 for color in colors), "no red segment in the axial view"


def test_panel_follows_the_scene(openModule, volume):
    widget = openModule("HostExample")
    widget.ui.inputSelector.setCurrentNode(volume)
    widget.ui.thresholdSlider.value = 20
    slicer.mrmlScene.Clear(False)
    assert widget.ui.inputSelector.currentNode() is None
    assert widget.ui.thresholdSlider.value == -300  # a new parameter node, with defaults
    assert widget._parameterNode.parameterNode.GetScene() is slicer.mrmlScene


def test_panel_shows_what_a_loaded_scene_holds(openModule, volume, tmp_path):
    widget = openModule("HostExample")
    widget.ui.inputSelector.setCurrentNode(volume)
    widget.ui.commentLineEdit.text = "kept"
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicerhost.exitModule("HostExample")
    slicer.util.loadScene(str(tmp_path / "scene.mrb"), {"clear": True})
    slicerhost.enterModule("HostExample")
    assert widget.ui.commentLineEdit.text == "kept"
    assert widget.ui.inputSelector.currentNode().GetName() == "CT"


def test_module_can_be_reloaded(openModule, volume):
    before = openModule("HostExample")
    slicer.util.reloadScriptedModule("HostExample")
    after = slicer.modules.HostExampleWidget
    assert type(after) is not type(before) and slicer.util.getModuleWidget("HostExample") is after
    after.enter()
    after.ui.inputSelector.setCurrentNode(volume)
    assert after._parameterNode.inputVolume is volume


def test_closing_a_module_ends_its_observers(openModule):
    widget = openModule("HostExample")
    slicerhost.closeModule("HostExample")
    assert widget.Observations == []
    slicer.mrmlScene.Clear(False)  # must reach nothing of the closed panel; the fixture checks


def test_own_test_of_a_module_runs(openModule):
    openModule("HostExample")
    slicer.selfTests["HostExample"]()
    assert slicer.util.getModuleLogic("HostExample").moduleName == "HostExample"


def test_error_in_apply_is_displayed_and_raised(openModule, volume):
    widget = openModule("HostExample")
    widget.ui.inputSelector.setCurrentNode(volume)
    widget.ui.outputSelector.addNode()
    widget.logic.process = lambda parameters: 1 / 0
    with slicerhost.interactiveMode():
        slicerhost.click(widget.ui.applyButton)
    kind, text = slicerhost.messages[-1]
    assert kind == "error" and text.startswith("Failed to segment.") and "Traceback" in text
    assert [type(error) for error in slicerhost.slotErrors] == [ZeroDivisionError]
    slicerhost.slotErrors.clear()


@pytest.mark.parametrize(("button", "confirmed"), [("Ok", True), ("Cancel", False)])
def test_confirmations_ask_outside_testing_mode(button, confirmed):
    slicer.util.confirmOkCancelDisplay("Install?")  # in testing mode nobody is asked
    with slicerhost.interactiveMode():
        slicerhost.answer(getattr(qt.QMessageBox, button))
        assert slicer.util.confirmOkCancelDisplay("Install?") is confirmed
    assert slicerhost.messages == [("confirm", "Install?")] * 2


def test_a_module_without_description_is_refused(tmp_path, monkeypatch):
    (tmp_path / "Nameless.py").write_text(
        "from slicer.ScriptedLoadableModule import ScriptedLoadableModule\n"
        "class Nameless(ScriptedLoadableModule):\n    pass\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RuntimeError, match="title"):
        slicerhost.loadModule("Nameless")
    with pytest.raises(RuntimeError, match="no module file"):
        slicerhost.loadModule("Missing")


def test_a_module_has_only_the_properties_of_the_cpp_class():
    parent = slicerhost.loadModule("HostExample")
    with pytest.raises(AttributeError, match="contributor"):
        parent.contributor = "somebody"
    assert slicer.modules.hostexample.path.endswith("HostExample.py")
    assert "HostExample" in slicer.util.moduleNames()


@pytest.mark.parametrize("name", ["loadVolume", "arrayFromVolume", "getNode", "VTKObservationMixin"])
def test_names_of_util_are_not_on_slicer(name):
    assert not hasattr(slicer, name) and hasattr(slicer.util, name)


@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz", ".mha"])
def test_volumes_survive_files(volume, tmp_path, suffix):
    volume.SetSpacing(0.7, 1.3, 2.5)
    volume.SetOrigin(-10.0, 20.0, 30.5)
    path = tmp_path / f"ct{suffix}"
    assert slicer.util.saveNode(volume, str(path))
    loaded = slicer.util.loadVolume(str(path))
    assert loaded.GetName().startswith("ct")
    assert np.array_equal(slicer.util.arrayFromVolume(loaded), slicer.util.arrayFromVolume(volume))
    assert np.allclose(loaded.GetSpacing(), volume.GetSpacing(), atol=1e-6)
    assert np.allclose(loaded.GetOrigin(), volume.GetOrigin(), atol=1e-6)


def test_files_that_cannot_be_loaded_raise(tmp_path):
    (tmp_path / "broken.nrrd").write_bytes(b"NRRD0004\n")
    (tmp_path / "unknown.xyz").write_bytes(b"")
    for name in ("missing.nrrd", "unknown.xyz"):
        with pytest.raises(RuntimeError, match=name):
            slicer.util.loadNodeFromFile(str(tmp_path / name), None, {})


def test_data_nodes_are_filed_in_the_subject_hierarchy(volume, tmp_path):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Patient")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(volume), patient)
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.util.loadScene(str(tmp_path / "scene.mrb"), {"clear": True})
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = hierarchy.GetItemByDataNode(slicer.util.getNode("CT"))
    assert hierarchy.GetItemName(hierarchy.GetItemParent(item)) == "Patient"


def test_packaging_installs_nothing(tmp_path):
    from slicer import packaging

    path = tmp_path / "requirements.txt"
    path.write_text("# comment\n--index-url x\nnumpy>=1\nno-such-package-at-all  # why\n", encoding="utf-8")
    requirements = packaging.load_requirements(path)
    assert [requirement.name for requirement in requirements] == ["numpy", "no-such-package-at-all"]
    assert packaging.pip_check(requirements[0]) and not packaging.pip_check(requirements)
    assert packaging.pip_ensure(requirements) is None
    with pytest.raises(RuntimeError, match="no-such-package"):
        packaging.pip_install("no-such-package-at-all")


def test_sample_data_can_be_registered():
    import SampleData

    SampleData.SampleDataLogic.registerCustomSampleDataSource(category="HostTest", sampleName="Phantom")
    assert SampleData.SampleDataLogic.sourceForSampleName("Phantom").category == "HostTest"
    with pytest.raises(TypeError):
        SampleData.SampleDataLogic.registerCustomSampleDataSource(category="HostTest", name="Phantom")
