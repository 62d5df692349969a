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
