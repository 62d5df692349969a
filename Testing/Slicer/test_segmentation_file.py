"""`.seg.nrrd` files between xrecon and Slicer's own segmentation storage node, both ways."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from xrecon.io.segmentation import PTX_SEGMENTS, read_segmentation, write_segmentation
from xrecon.volume import Quantity, Volume

slicer = pytest.importorskip("slicer", reason="needs slicer-core (real MRML) to open a segmentation")
if not hasattr(slicer, "vtkMRMLSegmentationStorageNode"):
    pytest.skip("needs slicer-core: the installed slicer package has no MRML", allow_module_level=True)
vtk = pytest.importorskip("vtk")


@pytest.fixture
def labels() -> Volume:
    """Labels 1 to 4 as boxes, oblique and anisotropic, odd sizes."""
    array = np.zeros((9, 11, 13), np.uint8)
    array[1:8, 2:9, 1:5], array[1:7, 2:9, 8:12] = 1, 2
    array[6:8, 2:4, 2:4], array[5:7, 2:5, 9:11] = 3, 4
    c, s = np.cos(0.4), np.sin(0.4)
    direction = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, c, s], [0, -s, c]])
    return Volume(array, (2.5, 0.7, 1.3), (-120.5, 57.25, 1030.0), direction, Quantity.LABEL)


@pytest.fixture
def scene() -> slicer.vtkMRMLScene:
    scene = slicer.vtkMRMLScene()
    yield scene
    scene.Clear(True)


def open_in_slicer(scene: slicer.vtkMRMLScene, path: Path) -> slicer.vtkMRMLSegmentationNode:
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    storage = scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(path))
    assert storage.ReadData(node) == 1
    return node


def segment_voxels(node: slicer.vtkMRMLSegmentationNode, segment_id: str) -> set[tuple[float, ...]]:
    """LPS positions (rounded to 1e-3 mm) of all voxels of a segment, as Slicer places them."""
    from vtk.util.numpy_support import vtk_to_numpy

    image = slicer.vtkOrientedImageData()
    assert node.GetBinaryLabelmapRepresentation(segment_id, image)
    extent, matrix = image.GetExtent(), vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    to_ras = np.array([[matrix.GetElement(i, j) for j in range(4)] for i in range(4)])
    array = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])
    index = np.argwhere(array)
    xyz = index[:, ::-1] + np.array(extent[::2])
    ras = xyz @ to_ras[:3, :3].T + to_ras[:3, 3]
    return {tuple(p) for p in np.round(ras * (-1, -1, 1), 3).tolist()}


def test_slicer_shows_names_colours_codes_and_places(
    labels: Volume, scene: slicer.vtkMRMLScene, tmp_path: Path
) -> None:
    write_segmentation(labels, tmp_path / "ptx.seg.nrrd")
    segmentation = open_in_slicer(scene, tmp_path / "ptx.seg.nrrd").GetSegmentation()
    node = scene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    assert segmentation.GetNumberOfSegments() == 4
    assert segmentation.GetNumberOfLayers() == 1
    for number, expected in enumerate(PTX_SEGMENTS):
        segment = segmentation.GetNthSegment(number)
        assert segment.GetName() == expected.name
        assert segment.GetColor() == pytest.approx(expected.color)
        assert segment.GetLabelValue() == expected.label
        entry = vtk.reference("")
        assert segment.GetTag(segment.GetTerminologyEntryTagName(), entry)
        assert str(entry) == expected.terminology
        index = np.argwhere(labels.array == expected.label)[:, ::-1]
        places = {tuple(p) for p in np.round(labels.index_to_world(index), 3).tolist()}
        assert segment_voxels(node, segmentation.GetNthSegmentID(number)) == places


def test_slicer_understands_the_terminology(labels: Volume, tmp_path: Path) -> None:
    logic = slicer.vtkSlicerTerminologiesModuleLogic()
    for segment in PTX_SEGMENTS:
        entry = slicer.vtkSlicerTerminologyEntry()
        assert logic.DeserializeTerminologyEntry(segment.terminology, entry)
        side, structure = segment.name.split()
        assert entry.GetTypeObject().GetCodeMeaning().lower() == structure
        assert entry.GetTypeModifierObject().GetCodeMeaning().lower() == side


def test_what_slicer_saves_reads_back(labels: Volume, scene: slicer.vtkMRMLScene, tmp_path: Path) -> None:
    write_segmentation(labels, tmp_path / "in.seg.nrrd")
    node = open_in_slicer(scene, tmp_path / "in.seg.nrrd")
    node.GetSegmentation().GetSegment("Segment_3").SetName("renamed in Slicer")
    storage = scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(tmp_path / "out.seg.nrrd"))
    assert storage.WriteData(node) == 1
    again, segments = read_segmentation(tmp_path / "out.seg.nrrd")
    assert np.array_equal(again.array, labels.array)
    assert again.same_grid(labels, 1e-6)  # the whole grid, not the box around the segments
    assert [s.name for s in segments] == ["right lung", "left lung", "renamed in Slicer", "left pneumothorax"]
    assert [s.terminology for s in segments] == [s.terminology for s in PTX_SEGMENTS]
    assert [s.color for s in segments] == [s.color for s in PTX_SEGMENTS]


def test_overlapping_segments_of_slicer(labels: Volume, scene: slicer.vtkMRMLScene, tmp_path: Path) -> None:
    """A second layer made by Slicer itself: a segment drawn over another one."""
    write_segmentation(labels, tmp_path / "in.seg.nrrd")
    node = open_in_slicer(scene, tmp_path / "in.seg.nrrd")
    box = slicer.vtkOrientedImageData()
    node.GetBinaryLabelmapRepresentation("Segment_1", box)
    box.GetPointData().GetScalars().Fill(1)
    assert box.GetExtent() == (1, 11, 2, 8, 1, 7)
    node.AddSegmentFromBinaryLabelmapRepresentation(box, "thorax", [0.1, 0.2, 0.3])
    assert node.GetSegmentation().GetNumberOfLayers() == 2
    storage = scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(tmp_path / "out.seg.nrrd"))
    assert storage.WriteData(node) == 1
    again, segments = read_segmentation(tmp_path / "out.seg.nrrd")
    assert [s.name for s in segments][-1] == "thorax"
    expected = np.zeros(labels.shape, bool)
    expected[1:8, 2:9, 1:12] = True
    assert np.array_equal(again.array == segments[-1].label, expected)
    assert again.meta["overlap"] == str(np.count_nonzero(labels.array))
