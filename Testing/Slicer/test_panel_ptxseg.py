"""The PTX-Seg panel, driven by mouse, with the real command line in a child process."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import qt
import slicer
import slicerhost
from panel_inputs import collapsedChest, leftovers, misbehave, names
from photographs import photograph
from xrecon.io.segmentation import PTX_SEGMENTS
from xrecon.pipelines import DEFAULT_LUNG_MODELS
from xrecon.pneumothorax.segment import PtxParameters, RobustParameters
from xrecon.volume import InputError, Quantity, Volume
from XReconSlicerLib.mrml import volumeToNode
from XReconSlicerLib.scene import markSynthetic
from XReconSlicerLib.segments import segmentationToNode

SEGMENTATIONS = "vtkMRMLSegmentationNode"


@pytest.fixture
def widget(openModule: object) -> object:
    """The opened panel."""
    return openModule("PTXSeg")


@pytest.fixture
def ct(widget: object) -> slicer.vtkMRMLScalarVolumeNode:
    """A CT node with a pneumothorax, chosen in the panel."""
    node = volumeToNode(collapsedChest()[0], "Chest")
    widget.ui.ctSelector.setCurrentNode(node)
    return node


@pytest.fixture
def lungs(widget: object, ct: slicer.vtkMRMLScalarVolumeNode) -> slicer.vtkMRMLSegmentationNode:
    """A segmentation of both lungs, air included, chosen in the panel."""
    labels = collapsedChest()[1]
    two = labels.with_array(np.where(labels.array == 4, 2, labels.array))
    node = segmentationToNode(two, PTX_SEGMENTS[:2], "My lungs", reference=ct)
    widget.ui.lungSourceComboBox.currentIndex = 1
    widget.ui.lungsSelector.setCurrentNode(node)
    return node


def apply(widget: object) -> None:
    slicerhost.click(widget.ui.applyButton)
    slicerhost.wait_until(lambda: not widget.jobPanel.isRunning, timeout=60)


def tickOnly(widget: object, *keys: str) -> None:
    """Ticks these lung models and no others, as a user does in the list."""
    view, models = widget.ui.lungModelsList, widget.lungBox._models
    for row, model in enumerate(models):
        view.item(row).setCheckState(qt.Qt.Checked if model.key in keys else qt.Qt.Unchecked)


def masks(node: slicer.vtkMRMLSegmentationNode, ct: slicer.vtkMRMLScalarVolumeNode) -> dict[str, np.ndarray]:
    """The voxels of each segment on the CT's grid, by name."""
    segmentation = node.GetSegmentation()
    ids = [segmentation.GetNthSegmentID(index) for index in range(segmentation.GetNumberOfSegments())]
    return {
        segmentation.GetSegment(each).GetName(): np.asarray(
            slicer.util.arrayFromSegmentBinaryLabelmap(node, each, ct)
        )
        > 0
        for each in ids
    }


# ---- before Apply -------------------------------------------------------------------------------
def test_apply_says_what_is_missing(widget: object) -> None:
    ui = widget.ui
    assert not ui.applyButton.enabled and ui.applyButton.toolTip == "Choose a CT."
    node = volumeToNode(collapsedChest()[0], "Chest")
    ui.ctSelector.setCurrentNode(node)
    assert ui.applyButton.enabled and not ui.lungsSelector.enabled
    ui.lungSourceComboBox.currentIndex = 1
    assert ui.lungsSelector.enabled and not ui.applyButton.enabled
    assert ui.applyButton.toolTip == "Choose the segmentation that holds the lungs."


def test_a_node_that_can_be_no_ct_is_refused_by_name(widget: object, ct: object) -> None:
    ui = widget.ui
    flat = slicer.util.addVolumeFromArray(np.zeros((1, 9, 7)), name="PA")
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "nothing")
    for node, reason in (
        (flat, "'PA' has one slice, as a radiograph has: choose a CT."),
        (empty, "'nothing' is empty: choose a CT."),
    ):
        ui.ctSelector.setCurrentNode(node)
        assert not ui.applyButton.enabled and ui.applyButton.toolTip == reason
        with pytest.raises(InputError, match=reason):
            widget.logic.segment(node)
    ui.ctSelector.setCurrentNode(ct)
    assert ui.applyButton.enabled


def test_nan_is_told_with_the_name_of_the_node(widget: object, ct: object) -> None:
    array = slicer.util.arrayFromVolume(ct).astype(np.float32)
    array[3, 4, 5] = np.nan
    slicer.util.updateVolumeFromArray(ct, array)
    apply(widget)
    message = "expected finite numbers in 'Chest', got 1 NaN or infinite voxels"
    assert widget.ui.statusLabel.text == message and leftovers() == []
    slicerhost.messages.clear()
    with pytest.raises(InputError, match=message):
        widget.logic.segment(ct)


def test_the_given_lungs_are_not_overwritten(widget: object, lungs: slicer.vtkMRMLSegmentationNode) -> None:
    assert widget.ui.applyButton.enabled
    widget.ui.segmentationSelector.setCurrentNode(lungs)
    assert not widget.ui.applyButton.enabled and "overwritten" in widget.ui.applyButton.toolTip


@pytest.mark.parametrize(("row", "cls"), [(0, RobustParameters), (1, PtxParameters)])
def test_the_defaults_are_those_of_the_algorithm(widget: object, row: int, cls: type) -> None:
    widget.ui.modeComboBox.currentIndex = row
    settings = widget.logic.settingsOf(widget._parameterNode)
    assert cls(**settings) == cls() and set(settings) == set(cls.model_fields)
    assert tuple(json.loads(widget._parameterNode.lungModels)) == DEFAULT_LUNG_MODELS


def test_each_mode_shows_its_own_settings(widget: object) -> None:
    ui = widget.ui
    ui.advancedCollapsibleButton.collapsed = False
    assert not ui.robustWidget.isHidden() and ui.referenceWidget.isHidden()
    assert ui.freeAirSpinBox.text == "measured in the CT"
    photograph(widget, "PTXSeg-advanced")
    ui.modeComboBox.currentIndex = 1
    assert ui.robustWidget.isHidden() and not ui.referenceWidget.isHidden()
    photograph(widget, "PTXSeg-reference")


def test_defaults_leaves_the_inputs_and_the_other_mode_alone(widget: object, ct: object) -> None:
    ui = widget.ui
    ui.advancedCollapsibleButton.collapsed = False
    ui.layerSpinBox.value = 2.0
    ui.modeComboBox.currentIndex = 1
    ui.airThresholdSpinBox.value = -930.0
    ui.connectivityComboBox.currentIndex = 2
    slicerhost.click(ui.stayInsideCheckBox)
    changed = widget.logic.settingsOf(widget._parameterNode)
    assert (changed["t_p"], changed["connectivity"], changed["stay_inside"]) == (-930.0, 26, True)
    slicerhost.click(ui.defaultsButton)
    assert PtxParameters(**widget.logic.settingsOf(widget._parameterNode)) == PtxParameters()
    assert ui.airThresholdSpinBox.value == -950.0
    assert ui.ctSelector.currentNode() is ct and ui.layerSpinBox.value == 2.0


def commandOf(widget: object) -> tuple[list[str], dict[str, object]]:
    """The arguments that Apply gives to the command that echoes them, and the settings among them."""
    apply(widget)
    arguments = json.loads(widget.ui.statusLabel.text)
    given = [
        value.partition("=") for name, value in zip(arguments, arguments[1:], strict=False) if name == "--set"
    ]
    return arguments, {name: json.loads(value) for name, _equals, value in given}


def test_every_setting_reaches_the_command(
    widget: object, ct: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    misbehave(monkeypatch, tmp_path, "say(event='error', message=json.dumps(sys.argv)); sys.exit(3)")
    widget.ui.freeAirSpinBox.value = -990.0
    slicerhost.click(widget.ui.recoverCheckBox)
    arguments, settings = commandOf(widget)
    assert RobustParameters(**settings) == RobustParameters(air_hu=-990.0, recover=False)
    assert arguments[arguments.index("--mode") + 1] == "robust" and "--report" in arguments
    assert arguments[arguments.index("--lung-model") + 1] == "lungs-unet"
    assert arguments[arguments.index("--device") + 1] == "auto"
    widget.ui.modeComboBox.currentIndex = 1
    widget.ui.airThresholdSpinBox.value = -930.0
    widget.ui.seedsComboBox.currentIndex = 1
    arguments, settings = commandOf(widget)
    assert PtxParameters(**settings) == PtxParameters(t_p=-930.0, seeds="eight corners")
    assert arguments[arguments.index("--mode") + 1] == "reference"


# ---- Apply --------------------------------------------------------------------------------------
def test_apply_segments_and_measures(widget: object, ct: object, lungs: object) -> None:
    widget.ui.modeComboBox.currentIndex = 1  # of this phantom the reference mode finds the truth
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "Study")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(ct), study)
    apply(widget)
    assert slicerhost.messages == []
    volume, truth = collapsedChest()
    node, table = widget._parameterNode.outputSegmentation, widget._parameterNode.outputTable
    found = masks(node, ct)
    for segment in PTX_SEGMENTS:
        assert np.array_equal(found[segment.name], truth.array == segment.label), segment.name
    for index, segment in enumerate(PTX_SEGMENTS):
        made = node.GetSegmentation().GetNthSegment(index)
        assert made.GetColor() == pytest.approx(segment.color, abs=1e-5)
        assert made.GetTerminology() == segment.terminology
    ml = {label: (truth.array == label).sum() * volume.voxel_ml for label in (1, 2, 4)}
    rows = {
        (table.GetCellText(r, 0), table.GetCellText(r, 1)): float(table.GetCellText(r, 3))
        for r in range(table.GetNumberOfRows())
        if table.GetCellText(r, 2) in ("lung_volume", "air_volume")
    }
    # a column with gaps (what does not apply) shows six digits
    assert rows["lung", "right"] == float(f"{ml[1]:.6g}")
    assert rows["lung", "left"] == float(f"{ml[2]:.6g}")
    assert rows["pneumothorax", "left"] == float(f"{ml[4]:.6g}")
    assert rows["pneumothorax", "right"] == 0.0
    share = 100 * ml[4] / (ml[4] + ml[2])
    assert f"Left: {ml[4]:.0f} ml air, {ml[2]:.0f} ml lung, {share:.1f} %" in widget.ui.resultLabel.text
    for result in (node, table):
        assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(result)) == study
        assert result.GetAttribute("XRecon.synthetic") is None
    assert node.GetNodeReference("XRecon.table") is table
    assert node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()) is ct
    assert leftovers() == []
    photograph(widget, "PTXSeg")


def test_the_3d_button_shows_the_surfaces(widget: object, ct: object, lungs: object) -> None:
    apply(widget)
    node = widget._parameterNode.outputSegmentation
    assert widget.ui.show3DButton.segmentationNode() is node
    slicerhost.click(widget.ui.show3DButton)
    assert node.GetSegmentation().ContainsRepresentation("Closed surface")


def test_thresholds_find_the_lungs_without_a_network(widget: object, ct: object) -> None:
    tickOnly(widget, "classical")
    apply(widget)
    assert slicerhost.messages == []
    found = masks(widget._parameterNode.outputSegmentation, ct)
    truth = collapsedChest()[1].array
    for name, label in (("right lung", 1), ("left pneumothorax", 4)):
        overlap = 2 * (found[name] & (truth == label)).sum() / (found[name].sum() + (truth == label).sum())
        assert overlap > 0.9, name


def test_the_console_gives_what_the_panel_gives(widget: object, ct: object, lungs: object) -> None:
    apply(widget)
    panel = masks(widget._parameterNode.outputSegmentation, ct)
    node = widget.logic.segment(ct, lungs)
    console = masks(node, ct)
    assert console.keys() == panel.keys()
    assert all(np.array_equal(console[name], panel[name]) for name in panel)
    table = widget._parameterNode.outputTable
    other = node.GetNodeReference("XRecon.table")
    for row in range(6):
        assert [other.GetCellText(row, c) for c in range(4)] == [table.GetCellText(row, c) for c in range(4)]
    less = masks(widget.logic.segment(ct, lungs, mode="reference", t_p=-1100), ct)
    assert not less["left pneumothorax"].any()
    with pytest.raises(InputError, match="one or more lung models"):
        widget.logic.segment(ct, lungModels=())


def test_what_comes_from_a_synthetic_ct_is_synthetic(widget: object, ct: object, lungs: object) -> None:
    markSynthetic(ct, "made up")
    node = widget.logic.segment(ct, lungs)
    for result in (node, node.GetNodeReference("XRecon.table")):
        assert result.GetAttribute("XRecon.synthetic") == "yes"
        assert "synthetic" in result.GetDescription()


# ---- when something goes wrong ------------------------------------------------------------------
def test_a_ct_without_lungs_gives_one_sentence_and_leaves_nothing(widget: object) -> None:
    water = Volume(np.zeros((9, 9, 9), np.int16), (6.0,) * 3, quantity=Quantity.HU)
    widget.ui.ctSelector.setCurrentNode(volumeToNode(water, "water"))
    tickOnly(widget, "classical")
    apply(widget)
    ((kind, text),) = slicerhost.messages
    assert kind == "error" and "Traceback" not in text
    assert widget.ui.statusLabel.text.startswith("expected")
    assert names(SEGMENTATIONS) == [] and names("vtkMRMLTableNode") == [] and leftovers() == []
    assert widget.ui.applyButton.enabled


def test_a_segmentation_without_lungs_is_refused_before_anything_starts(
    widget: object, ct: object, lungs: slicer.vtkMRMLSegmentationNode
) -> None:
    lungs.GetSegmentation().RemoveAllSegments()
    apply(widget)
    assert "found none on the right and left among: no segments" in slicerhost.messages[0][1]
    assert leftovers() == []


def test_cancel_ends_the_job_and_leaves_nothing(
    widget: object, ct: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    misbehave(monkeypatch, tmp_path, "say(event='progress', stage='lungs', fraction=0.5)\ntime.sleep(60)")
    slicerhost.click(widget.ui.applyButton)
    slicerhost.wait_until(lambda: widget.ui.progressBar.value > 20)  # half of the lungs
    slicerhost.click(widget.ui.cancelButton)
    slicerhost.wait_until(lambda: not widget.jobPanel.isRunning)
    assert widget.ui.statusLabel.text == "Cancelled."
    assert names(SEGMENTATIONS) == [] and leftovers() == [] and slicerhost.messages == []


def test_closing_the_scene_ends_the_job(
    widget: object, ct: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    misbehave(monkeypatch, tmp_path, "time.sleep(60)")
    slicerhost.click(widget.ui.applyButton)
    slicer.mrmlScene.Clear(False)
    slicerhost.wait_until(lambda: not widget.jobPanel.isRunning)
    assert widget.ui.ctSelector.currentNode() is None and not widget.ui.applyButton.enabled
    assert leftovers() == []


def test_the_module_own_test_passes() -> None:
    from PTXSeg import PTXSegTest

    PTXSegTest().runTest()
