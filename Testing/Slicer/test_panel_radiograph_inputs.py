"""What the X-Recon panel takes as radiographs, and what it refuses before Apply."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
import slicer
import slicerhost
import tiny_models
from panel_inputs import chiralChest, choose, page, radiographNodes, refusal
from PySide6 import QtCore
from PySide6.QtTest import QTest
from xrecon.io.radiograph import write_radiograph
from xrecon.physics.geometry import ViewGeometry
from xrecon.volume import InputError, Radiograph
from XReconSlicerLib import node_files
from XReconSlicerLib.intake import radiographFromNode
from XReconSlicerLib.mrml import volumeToNode
from XReconSlicerLib.scene import markSynthetic


@pytest.fixture
def widget(openModule: object) -> object:
    """The opened panel with the bundled model."""
    return openModule("XReconSlicer")


@pytest.fixture
def nodes(widget: object) -> list[slicer.vtkMRMLScalarVolumeNode]:
    """A PA and a lateral node, chosen in the panel."""
    pa, lateral = radiographNodes(chiralChest())
    choose(widget, pa, lateral)
    assert widget.ui.applyButton.enabled
    return [pa, lateral]


def shownDistance(widget: object) -> tuple[float, str]:
    """Source to detector of the first view, and where the value comes from."""
    ui = page(widget, 1)
    return ui.sourceToDetectorSpinBox.value, ui.sourceToDetectorOriginLabel.text


def noise(shape: tuple[int, ...], seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).uniform(size=shape).astype(np.float32)


# ---- a CT is no radiograph ----------------------------------------------------------------------
def test_a_ct_in_hounsfield_units_is_refused(widget: object, nodes: list) -> None:
    for side in (page(widget, 1).volumeSelector, page(widget, 2).volumeSelector):
        before = side.currentNode()
        side.setCurrentNode(volumeToNode(chiralChest(), "CT"))
        assert refusal(widget).endswith(
            ": Expected a radiograph, but 'CT' is a CT: its voxels are Hounsfield units."
        )
        side.setCurrentNode(before)
        assert refusal(widget) == ""


def test_a_volume_of_many_slices_is_refused_and_one_of_four_is_not(widget: object, nodes: list) -> None:
    choose(widget, slicer.util.addVolumeFromArray(noise((5, 9, 7)), name="stack"))
    assert refusal(widget) == "View 1: Expected a radiograph, but 'stack' is a CT: it has 5 slices."
    choose(widget, slicer.util.addVolumeFromArray(noise((4, 9, 7)), name="four"))
    assert refusal(widget) == ""


def test_a_synthetic_ct_is_refused_and_its_reprojection_is_not(widget: object, nodes: list) -> None:
    ct = slicer.util.addVolumeFromArray(noise((1, 9, 7)), name="one slice")
    markSynthetic(ct, "made up")
    choose(widget, ct)
    assert refusal(widget) == "View 1: Expected a radiograph, but 'one slice' is a CT: it is a synthetic CT."
    markSynthetic(nodes[0], "reprojected")
    choose(widget, nodes[0])
    assert refusal(widget) == ""


def test_a_file_that_says_it_is_a_ct_is_refused(widget: object, nodes: list, tmp_path: Path) -> None:
    picture = noise((9, 7))
    path = tmp_path / "slice.dcm"
    write_radiograph(Radiograph(picture, ViewGeometry.pa(shape=picture.shape), view="PA"), path)
    dataset = pydicom.dcmread(path)
    dataset.Modality = "CT"
    dataset.save_as(path)
    node = slicer.util.addVolumeFromArray(picture[None], name="slice")
    node.AddDefaultStorageNode()
    node.GetStorageNode().SetFileName(str(path))
    choose(widget, node)
    assert "got an image of modality CT" in refusal(widget)
    with pytest.raises(InputError, match="modality CT"):
        widget.logic.reconstruct(node, nodes[1])
    path.write_bytes(b"damaged")  # tells nothing, and the node can still be used
    node.Modified()
    choose(widget, nodes[0])
    choose(widget, node)
    assert refusal(widget) == ""


# ---- a radiograph is never overwritten ----------------------------------------------------------
def test_the_output_must_not_be_a_radiograph(widget: object, nodes: list) -> None:
    for node in nodes:
        before = slicer.util.arrayFromVolume(node).copy()
        widget.ui.outputSelector.setCurrentNode(node)
        message = f"The radiograph '{node.GetName()}' would be overwritten: choose another output volume."
        assert refusal(widget) == message
        with pytest.raises(InputError, match="would be overwritten"):
            widget.logic.reconstruct(*nodes, output=node)
        assert np.array_equal(slicer.util.arrayFromVolume(node), before)
    widget.ui.outputSelector.setCurrentNode(None)
    assert refusal(widget) == ""


def test_a_picture_of_the_output_must_not_be_a_radiograph(widget: object, nodes: list) -> None:
    """A second run into the same output writes the pictures beside it anew."""
    output = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "output")
    output.SetNodeReferenceID("XRecon.input_lateral", nodes[1].GetID())
    widget.ui.outputSelector.setCurrentNode(output)
    assert "'Lateral' would be overwritten" in refusal(widget)


def test_an_output_chosen_too_late_is_left_alone(widget: object, nodes: list, tmp_path: Path) -> None:
    """The user picks a radiograph as the output while the job runs: the result gets a node of its own."""
    model = tiny_models.save_memory(tmp_path, chiralChest())
    widget.ui.modelFolderEdit.currentPath = str(model)
    before = slicer.util.arrayFromVolume(nodes[0]).copy()
    slicerhost.click(widget.ui.applyButton)
    widget.ui.outputSelector.setCurrentNode(nodes[0])
    slicerhost.wait_until(lambda: not widget.jobPanel.isRunning, timeout=60)
    assert slicerhost.messages == []
    assert np.array_equal(slicer.util.arrayFromVolume(nodes[0]), before)
    assert widget._parameterNode.outputVolume.GetName() == "Synthetic CT of PA"


def test_one_picture_in_two_nodes_is_refused(widget: object) -> None:
    picture = noise((9, 7))
    twins = [("a", picture), ("b", picture), ("negative", 1 - picture), ("mirrored", picture[:, ::-1])]
    first, *others = [slicer.util.addVolumeFromArray(array[None], name=name) for name, array in twins]
    choose(widget, first)
    for other in others:
        page(widget, 2).volumeSelector.setCurrentNode(other)
        assert refusal(widget) == f"Expected two pictures, but 'a' and '{other.GetName()}' show the same one."
    page(widget, 2).volumeSelector.setCurrentNode(slicer.util.addVolumeFromArray(noise((1, 9, 7), seed=2)))
    assert refusal(widget) == ""


# ---- what was read is remembered, but never for other contents ----------------------------------
def test_changed_voxels_and_attributes_are_looked_at_again(widget: object, nodes: list) -> None:
    array = slicer.util.arrayFromVolume(nodes[0])
    good = array.copy()
    array[:] = np.nan
    slicer.util.arrayFromVolumeModified(nodes[0])
    widget._update()
    assert refusal(widget) == f"View 1: expected finite numbers in PA, got {good.size} NaN or infinite pixels"
    slicer.util.arrayFromVolume(nodes[0])[:] = good
    slicer.util.arrayFromVolumeModified(nodes[0])
    widget._update()
    assert refusal(widget) == ""
    nodes[0].SetAttribute("XRecon.view", "LEFT LATERAL")
    widget._update()
    assert refusal(widget) == "Expected two different views, but 'PA' and 'Lateral' are both LEFT LATERAL."


def test_a_changed_file_is_looked_at_again(widget: object, nodes: list, tmp_path: Path) -> None:
    node, path = stored(noise((9, 7)), tmp_path)
    choose(widget, node)
    assert shownDistance(widget) == (1777.0, "from the file")
    other = ViewGeometry.pa(shape=(9, 7), source_to_detector_mm=1888.0)
    write_radiograph(Radiograph(noise((9, 7)), other, view="PA"), path)
    widget._update()
    assert shownDistance(widget) == (1888.0, "from the file")


def test_a_file_is_read_once_as_long_as_nothing_changes(
    widget: object, nodes: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads, compared = [], []
    read, compare = node_files.read_radiograph, node_files.likeness
    monkeypatch.setattr(
        node_files, "read_radiograph", lambda path, **options: reads.append(options) or read(path, **options)
    )
    monkeypatch.setattr(node_files, "likeness", lambda *pictures: compared.append(1) or compare(*pictures))
    node, _path = stored(noise((9, 7)), tmp_path)
    choose(widget, node)
    assert reads == [{}, {"view": "", "usual_view": "PA"}] and len(compared) == 2
    page(widget, 1).sourceToIsocenterSpinBox.value = 1400.0
    assert len(reads) == 3 and len(compared) == 2
    page(widget, 1).sourceToIsocenterSpinBox.value = 0.0
    choose(widget, None)
    choose(widget, node)
    assert len(reads) == 3 and len(compared) == 2
    # what was remembered cannot be changed from outside
    radiographFromNode(node).array[:] = 0
    assert refusal(widget) == "" and radiographFromNode(node).array.any()


def stored(picture: np.ndarray, folder: Path) -> tuple[slicer.vtkMRMLScalarVolumeNode, Path]:
    """A node without attributes and the file it was loaded from."""
    geometry = ViewGeometry.pa(shape=picture.shape, source_to_detector_mm=1777.0)
    write_radiograph(Radiograph(picture, geometry, view="PA"), folder / "stored.nrrd")
    node = slicer.util.addVolumeFromArray(picture[None], name="stored")
    node.AddDefaultStorageNode()
    node.GetStorageNode().SetFileName(str(folder / "stored.nrrd"))
    return node, folder / "stored.nrrd"


def test_a_length_is_used_when_it_is_typed_to_its_end(widget: object, nodes: list) -> None:
    """Not after each digit: 1, 16, 160 and 1600 mm would be four geometries, and three of them wrong."""
    ui = page(widget, 1)
    for spinBox in (ui.sourceToDetectorSpinBox, ui.sourceToIsocenterSpinBox, ui.pixelSpacingSpinBox):
        assert not spinBox.keyboardTracking
    seen = []
    ui.sourceToDetectorSpinBox.connect("valueChanged(double)", seen.append)
    ui.sourceToDetectorSpinBox.selectAll()
    QTest.keyClicks(ui.sourceToDetectorSpinBox, "1600")
    assert seen == []
    QTest.keyClick(ui.sourceToDetectorSpinBox, QtCore.Qt.Key.Key_Return)
    assert seen == [1600.0]
    assert shownDistance(widget) == (1600.0, "edited")


def test_recent_results_are_dropped_oldest_first() -> None:
    recent, computed = node_files.Recent(most=2), []
    for key in (1, 2, 1, 3, 1, 2):
        assert recent.get(key, lambda key=key: computed.append(key) or -key) == -key
    assert computed == [1, 2, 3, 2]
