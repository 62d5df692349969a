"""Which view a picture shows: by the model where no file tells it, and out of a run of frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import slicer
import slicerhost
import tiny_models
from dicom_inputs import acquired
from panel_inputs import choose, leftovers, page, refusal
from xrecon.physics.chest_phantom import chest_phantom
from xrecon.physics.drr import render_drrs
from xrecon.physics.geometry import ViewGeometry
from xrecon.preprocess.ct import lung_center
from XReconSlicerLib import views_box
from XReconSlicerLib.radiograph_input import RadiographInput, radiographOf


@pytest.fixture(scope="module")
def pictures() -> dict[str, np.ndarray]:
    """Grey values of a PA and a left lateral of the chest phantom."""
    ct = chest_phantom(spacing=(5.0, 5.0, 5.0), seed=2).volume
    views = [
        ViewGeometry.preset(v, shape=(96, 96), isocenter=tuple(lung_center(ct))) for v in tiny_models.VIEWS
    ]
    return {each.view: each.array for each in render_drrs(ct, views)}


@pytest.fixture
def widget(openModule: object) -> object:
    return openModule("XReconSlicer")


def node(array: np.ndarray, name: str) -> slicer.vtkMRMLScalarVolumeNode:
    return slicer.util.addVolumeFromArray(np.atleast_3d(array.T).T.copy(), name=name)


def look(widget: object, number: int) -> str:
    return page(widget, number).lookLabel.text.splitlines()[0]


def test_the_model_tells_the_views_that_no_file_tells(
    widget: object, pictures: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not widget.ui.recogniseButton.enabled, "there is no picture"
    monkeypatch.setattr(views_box, "missingPackages", lambda: ["torch"])
    for view in ("LEFT LATERAL", "PA"):
        node(pictures[view], view)
    slicerhost.click(widget.ui.findViewsButton)
    assert not widget.jobPanel.isRunning, "nobody is asked to install torch for a guess"
    assert look(widget, 1).startswith("PA (assumed)") and widget.ui.recogniseButton.enabled
    monkeypatch.undo()

    lateral, pa = slicer.util.getNode("LEFT LATERAL"), slicer.util.getNode("PA")
    choose(widget, None, None)
    choose(widget, lateral, pa)
    assert look(widget, 1).startswith("PA (assumed)"), "the lateral is on the first page"
    slicerhost.click(widget.ui.recogniseButton)
    assert widget.jobPanel.isRunning and "running" in refusal(widget)
    slicerhost.wait_until(lambda: not widget.jobPanel.isRunning, timeout=300)
    assert slicerhost.messages == [] and leftovers() == []
    assert look(widget, 1).startswith("LEFT LATERAL (by the model, ") and "% sure)" in look(widget, 1)
    assert look(widget, 2).startswith("PA (by the model, ")
    assert widget.ui.viewTabs.tabText(0) == "1: LEFT LATERAL" and refusal(widget) == ""
    assert widget.ui.statusLabel.text.startswith("Seen in the pictures: 1: LEFT LATERAL, ")
    assert radiographOf(RadiographInput(pa)).meta["view.origin"] == "model"

    page(widget, 2).viewComboBox.currentIndex = 2
    assert look(widget, 2).startswith("AP (edited)"), "the user's word counts more"
    page(widget, 2).viewComboBox.currentIndex = 0
    slicerhost.click(page(widget, 1).flipCheckBox)
    assert look(widget, 1).startswith("RIGHT LATERAL (by the model"), (
        "a mirrored lateral shows the other side"
    )
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.util.loadScene(str(tmp_path / "scene.mrb"), {"clear": True})
    assert look(widget, 2).startswith("PA (by the model, "), "saved with the scene"
    pa = slicer.util.getNode("PA")
    slicer.util.updateVolumeFromArray(pa, pictures["LEFT LATERAL"][None])
    assert radiographOf(RadiographInput(pa)).meta["view.origin"] == "assumed", "another picture now"


def test_find_asks_the_model_where_no_file_tells_the_view(widget: object, pictures: dict) -> None:
    slicer.util.addVolumeFromArray(np.stack([pictures["PA"], pictures["LEFT LATERAL"]]), name="both")
    slicerhost.click(widget.ui.findViewsButton)
    assert [page(widget, n).sliceSpinBox.value for n in (1, 2)] == [0, 1]
    assert widget.jobPanel.isRunning and refusal(widget) != ""
    slicerhost.click(widget.ui.cancelButton)
    slicerhost.wait_until(lambda: not widget.jobPanel.isRunning)
    assert refusal(widget) == "" and look(widget, 1).startswith("PA (assumed)") and leftovers() == []


# ---- runs of frames -----------------------------------------------------------------------------
@pytest.mark.parametrize("count", [2, 6])
def test_a_frame_of_a_run_is_chosen_and_its_file_is_asked(widget: object, tmp_path: Path, count: int) -> None:
    generator = np.random.default_rng(0)
    frames = generator.integers(0, 4000, (count, 40, 36)).astype(np.uint16)
    acquired(
        tmp_path / "run.dcm", frames[0], Modality="XA", NumberOfFrames=count, PixelData=frames.tobytes(),
        DistanceSourceToDetector=1100, DistanceSourceToPatient=780,
    )  # fmt: skip
    run = slicer.util.loadVolume(str(tmp_path / "run.dcm"), {"singleFile": True})
    assert run.GetImageData().GetDimensions()[2] == count
    choose(widget, run)
    ui = page(widget, 1)
    assert not ui.sliceSpinBox.isHidden() and ui.sliceSpinBox.maximum == count - 1
    assert ui.sliceSpinBox.suffix == f" (0 to {count - 1})"
    ui.sliceSpinBox.value = count - 1
    assert widget._parameterNode.view1.sliceIndex == count - 1
    found = widget.viewsBox.boxes[0].radiograph
    assert found.meta["frame"] == str(count), "the chosen frame of the file"
    assert (
        found.geometry.source_to_detector_mm == 1100 and ui.sourceToDetectorOriginLabel.text == "from DICOM"
    )
    order = np.corrcoef(found.array.ravel(), frames[-1].ravel())[0, 1]
    assert abs(order) > 0.999, "its pixels"


def test_many_slices_without_such_a_file_make_a_ct(widget: object, tmp_path: Path) -> None:
    stack = np.random.default_rng(0).normal(size=(6, 40, 36)).astype(np.float32)
    slicer.util.saveNode(slicer.util.addVolumeFromArray(stack, name="made"), str(tmp_path / "stack.nrrd"))
    choose(widget, slicer.util.loadVolume(str(tmp_path / "stack.nrrd")))
    assert "is a CT: it has 6 slices" in refusal(widget)
