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
