"""Segmentation nodes, tables and the scene: names, colours, codes, places in the study."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import slicer
from mrml_inputs import obliqueVolume
from slicerhost import views
from xrecon.io.segmentation import PTX_SEGMENTS, numbered_segments, write_segmentation
from xrecon.volume import InputError, Quantity, Volume
from XReconSlicerLib.mrml import SYNTHETIC_ATTRIBUTE, volumeToNode
from XReconSlicerLib.result_classes import loadClasses
from XReconSlicerLib.scene import placeBeside, setChestWindow, showInSliceViews, tableToNode
from XReconSlicerLib.segments import lungsFromNode, segmentationToNode


@pytest.fixture
def oblique() -> Volume:
    """See `obliqueVolume`."""
    return obliqueVolume()


# ---- segmentations ------------------------------------------------------------------------------
@pytest.fixture
def labels(oblique: Volume) -> Volume:
    array = np.zeros(oblique.shape, np.uint8)
    array[1:8, 2:9, 1:5] = 1
    array[1:8, 2:9, 8:12] = 2
    array[6:8, 3:5, 2:4] = 3
    return oblique.with_array(array, Quantity.LABEL)


def test_segments_have_names_colours_codes_and_voxels(oblique: Volume, labels: Volume) -> None:
    ct = volumeToNode(oblique, "CT")
    node = segmentationToNode(labels, name="PTX", reference=ct)
    segmentation = node.GetSegmentation()
    assert segmentation.GetNumberOfSegments() == 4  # the empty one too: it can be drawn into
    for index, expected in enumerate(PTX_SEGMENTS):
        segmentId = segmentation.GetNthSegmentID(index)
        segment = segmentation.GetSegment(segmentId)
        assert segment.GetName() == expected.name
        assert segment.GetColor() == pytest.approx(expected.color)
        entry = slicer.vtkSlicerTerminologyEntry()
        logic = slicer.modules.terminologies.logic()
        assert logic.DeserializeTerminologyEntry(segment.GetTerminology(), entry)
        code = "39607008" if expected.label <= 2 else "36118008"
        side = "24028007" if expected.label % 2 else "7771000"
        assert entry.GetTypeObject().GetCodeValue() == code
        assert entry.GetTypeModifierObject().GetCodeValue() == side
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(node, segmentId, ct)
        assert np.array_equal(np.asarray(mask) > 0, labels.array == expected.label)
    assert segmentation.GetNumberOfLayers() == 1  # disjoint labels share one image
    role = node.GetReferenceImageGeometryReferenceRole()
    assert node.GetNodeReference(role) is ct


def test_classes_of_a_reconstruction_become_a_segmentation_beside_it(
    oblique: Volume, labels: Volume, tmp_path: Path
) -> None:
    ct = volumeToNode(oblique, "Synthetic CT")
    path = tmp_path / "segmentation.seg.nrrd"
    write_segmentation(labels, path, numbered_segments(("C1", "C2", "C3")))
    node = loadClasses({"segmentation": str(path)}, ct)
    segmentation = node.GetSegmentation()
    ids = [segmentation.GetNthSegmentID(index) for index in range(3)]
    assert [segmentation.GetSegment(each).GetName() for each in ids] == ["C1", "C2", "C3"]
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(node, ids[1], ct)
    assert np.array_equal(np.asarray(mask) > 0, labels.array == 2)
    assert node.GetAttribute(SYNTHETIC_ATTRIBUTE)
    assert loadClasses({"segmentation": str(path)}, ct) is node  # a second run replaces the first
    assert loadClasses({}, ct) is None and slicer.mrmlScene.GetNodeByID(node.GetID()) is None


def test_the_terminology_file_agrees_with_the_segments() -> None:
    """What a user picks in the Segment Editor is what PTX-Seg writes."""
    name = "SegmentationCategoryTypeModifier-XRecon.term.json"
    path = Path(__file__).resolve().parents[2] / "XReconSlicer" / "Resources" / name
    terminology = json.loads(path.read_text(encoding="utf-8"))
    (category,) = terminology["SegmentationCodes"]["Category"]
    (kind,) = category["Type"]
    modifiers = {each["3dSlicerLabel"]: each for each in kind["Modifier"]}

    def code(entry: dict) -> str:
        return "^".join((entry["CodingSchemeDesignator"], entry["CodeValue"], entry["CodeMeaning"]))

    for segment in PTX_SEGMENTS[2:]:
        modifier = modifiers[segment.name]
        parts = [
            terminology["SegmentationCategoryTypeContextName"],
            code(category),
            code(kind),
            code(modifier),
        ]
        assert segment.terminology.split("~")[:4] == parts
        color = [int(value) for value in modifier["recommendedDisplayRGBValue"]]
        assert np.allclose(np.array(color) / 255, segment.color, atol=0.003)


def test_segments_of_an_earlier_run_are_replaced(oblique: Volume, labels: Volume) -> None:
    node = segmentationToNode(labels, name="PTX")
    emptier = labels.with_array(np.where(labels.array == 3, 0, labels.array))
    assert segmentationToNode(emptier, node=node) is node
    assert node.GetSegmentation().GetNumberOfSegments() == 4
    assert node.GetName() == "PTX"


def test_lungs_come_back_from_a_segmentation_by_their_codes(oblique: Volume, labels: Volume) -> None:
    ct = volumeToNode(oblique, "CT")
    node = segmentationToNode(labels, reference=ct)
    segmentation = node.GetSegmentation()
    for index in range(4):  # codes count, whatever the user calls the segments
        segmentation.GetNthSegment(index).SetName(f"Segment_{index}")
    expected = np.where(labels.array <= 2, labels.array, 0)
    lungs = lungsFromNode(node, ct)
    assert np.array_equal(lungs.array, expected)
    assert lungs.quantity is Quantity.LABEL and lungs.same_grid(oblique)


def test_lobes_named_as_totalsegmentator_does_make_two_lungs(oblique: Volume, labels: Volume) -> None:
    ct = volumeToNode(oblique, "CT")
    node = segmentationToNode(labels, reference=ct)
    segmentation = node.GetSegmentation()
    names = ["lung_upper_lobe_right", "lung_lower_lobe_left", "lung_middle_lobe_right", "trachea"]
    for index, name in enumerate(names):
        segmentation.GetNthSegment(index).SetName(name)
        segmentation.GetNthSegment(index).SetTerminology("")
    expected = np.select([labels.array == 2, labels.array > 0], [2, 1], 0)
    assert np.array_equal(lungsFromNode(node, ct).array, expected)


def test_a_segmentation_without_lungs_says_what_it_holds(oblique: Volume, labels: Volume) -> None:
    ct = volumeToNode(oblique, "CT")
    node = segmentationToNode(labels, reference=ct, name="mine")
    for index in range(4):
        node.GetSegmentation().GetNthSegment(index).SetName(f"bone {index}")
        node.GetSegmentation().GetNthSegment(index).SetTerminology("")
    with pytest.raises(InputError, match="'mine'.*right and left among: bone 0, bone 1"):
        lungsFromNode(node, ct)


# ---- scene --------------------------------------------------------------------------------------
def test_results_lie_in_the_study_of_their_input(oblique: Volume) -> None:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Patient")
    study = hierarchy.CreateStudyItem(patient, "Study")
    ct, result = volumeToNode(oblique, "CT"), volumeToNode(oblique, "result")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(ct), study)
    placeBeside(result, ct)
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(result)) == study
    placeBeside(result, None)  # nothing to be beside: stays
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(result)) == study


def test_chest_window_shows_lung_and_wall(oblique: Volume) -> None:
    node = volumeToNode(oblique, "CT")
    setChestWindow(node)
    display = node.GetDisplayNode()
    assert display.GetWindowLevelMin() == -1200.0 and display.GetWindowLevelMax() == 200.0
    assert not display.GetAutoWindowLevel()


def test_a_volume_is_shown_where_there_are_views(oblique: Volume) -> None:
    node = volumeToNode(oblique, "CT")
    showInSliceViews(node)  # no main window: nothing to do
    with views.layout(size=60) as layout:
        showInSliceViews(node)
        shown = layout.sliceWidget("Green").sliceLogic().GetSliceCompositeNode().GetBackgroundVolumeID()
    assert shown == node.GetID()


def test_a_table_has_number_and_text_columns() -> None:
    rows = [["right", "12.5", ""], ["left", "1e3", "7.123456"]]
    node = tableToNode(["side", "ml", "percent"], rows, "volumes")
    assert node.GetCellText(0, 0) == "right"
    assert [node.GetTable().GetColumnByName("ml").GetValue(row) for row in (0, 1)] == [12.5, 1000.0]
    assert [node.GetCellText(row, 2) for row in (0, 1)] == ["", "7.12346"]  # not "nan"
    tableToNode(["a"], [["x"]], node=node)
    assert (node.GetName(), node.GetNumberOfColumns(), node.GetNumberOfRows()) == ("volumes", 1, 1)
