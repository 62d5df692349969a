"""The X-Recon panel, driven by mouse, with the real command line in a child process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import qt
import slicer
import slicerhost
import vtk
from panel_inputs import chiralChest, choose, page, radiographNodes, refusal
from reconstruction_panel import model, nodes, widget  # noqa: F401 (fixtures)


# ---- before Apply -------------------------------------------------------------------------------
def test_apply_says_what_is_missing(widget: object) -> None:
    ui = widget.ui
    assert refusal(widget) == "View 1: Choose a radiograph."
    pa, lateral = radiographNodes(chiralChest())
    choose(widget, pa)
    assert refusal(widget) == "View 2: Choose a radiograph."
    choose(widget, pa, lateral)
    assert refusal(widget) == "" and ui.applyButton.toolTip == "Compute the synthetic CT"
    ui.modelFolderEdit.currentPath = "nowhere"
    assert refusal(widget) == "Expected a model folder with card.json and its weights: nowhere"
    ui.modelFolderEdit.currentPath = ""
    ui.modelComboBox.clear()
    widget._update()
    assert refusal(widget) == "There is no model: import one, or choose a model folder under Advanced."
    assert not ui.cancelButton.enabled


def test_radiographs_may_be_chosen_in_any_order(widget: object, nodes: list) -> None:
    choose(widget, nodes[1], nodes[0])
    assert refusal(widget) == ""
    tabs = widget.ui.viewTabs
    assert [tabs.tabText(index) for index in range(tabs.count)] == ["1: LEFT LATERAL", "2: PA"]


def test_two_radiographs_of_one_view_are_refused(widget: object, nodes: list) -> None:
    page(widget, 2).viewComboBox.currentIndex = 1
    assert refusal(widget) == "Expected two different views, but 'PA' and 'Lateral' are both PA."


def test_a_colour_picture_is_taken_by_its_grey_values(widget: object, nodes: list) -> None:
    photo = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "photo")
    image = vtk.vtkImageData()
    image.SetDimensions(5, 4, 1)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 3)
    photo.SetAndObserveImageData(image)
    colors = np.random.default_rng(1).integers(0, 255, (1, 4, 5, 3))
    slicer.util.arrayFromVolume(photo)[:] = colors
    choose(widget, photo)
    assert refusal(widget) == ""
    grey = widget.viewsBox.boxes[0].radiograph.array
    assert np.allclose(grey, colors[0] @ [0.299, 0.587, 0.114], atol=1e-4)


def test_label_maps_are_not_offered_as_radiographs(widget: object) -> None:
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    assert page(widget, 1).volumeSelector.nodeCount() == 0


def test_one_volume_with_both_pictures_is_told_apart_by_slices(widget: object) -> None:
    picture = np.random.default_rng(1).uniform(size=(2, 37, 31)).astype(np.float32)
    both = slicer.util.addVolumeFromArray(picture, name="series")
    choose(widget, both, both)
    spinBoxes = [page(widget, number).sliceSpinBox for number in (1, 2)]
    assert all(spinBox.maximum == 1 and not spinBox.isHidden() for spinBox in spinBoxes)
    assert refusal(widget) == "Expected two pictures, got slice 0 of 'series' twice."
    spinBoxes[1].value = 1
    assert refusal(widget) == ""
    first, second = widget.viewsBox.inputs(widget._parameterNode)
    assert (first.sliceIndex, second.sliceIndex) == (0, 1)
    assert np.array_equal(widget.viewsBox.boxes[1].radiograph.array, picture[1])


def test_single_pictures_have_no_slice_to_choose(widget: object, nodes: list) -> None:
    assert all(page(widget, number).sliceSpinBox.isHidden() for number in (1, 2))


def origins(widget: object, number: int) -> list[tuple[float, str]]:
    """Value and origin of the three lengths of a view, as they are shown."""
    ui = page(widget, number)
    names = ("sourceToDetector", "sourceToIsocenter", "pixelSpacing")
    return [(getattr(ui, f"{n}SpinBox").value, getattr(ui, f"{n}OriginLabel").text) for n in names]


def test_each_length_is_prefilled_and_says_where_it_comes_from(widget: object) -> None:
    picture = np.random.default_rng(1).uniform(size=(1, 37, 31)).astype(np.float32)
    plain = slicer.util.addVolumeFromArray(picture, name="pa")
    choose(widget, plain, radiographNodes(chiralChest())[1])
    assert origins(widget, 1)[:2] == [(1800.0, "assumed"), (1500.0, "assumed")]
    assert origins(widget, 1)[2] == (round(430.0 / 31, 4), "assumed")
    assert [text for _value, text in origins(widget, 2)] == ["from the scene"] * 3
    assert "PA (assumed)" in page(widget, 1).lookLabel.text
    ui = page(widget, 1)
    ui.sourceToDetectorSpinBox.value = 1600.0
    assert origins(widget, 1)[0] == (1600.0, "edited")
    assert origins(widget, 2)[0] == (1800.0, "from the scene")
    assert widget._parameterNode.view1.sourceToDetectorMm == 1600.0
    ui.sourceToIsocenterSpinBox.value = 1700.0
    assert "source_to_isocenter_mm < source_to_detector_mm" in refusal(widget)
    widget._parameterNode.view1.sourceToIsocenterMm = 0.0
    assert refusal(widget) == ""
    slicerhost.click(ui.resetGeometryButton)
    assert origins(widget, 1)[0] == (1800.0, "assumed") and not ui.resetGeometryButton.enabled


def test_the_role_of_a_view_can_be_chosen(widget: object, nodes: list) -> None:
    ui = page(widget, 2)
    ui.viewComboBox.currentIndex = 4
    assert ui.viewComboBox.currentText == "Right lateral"
    assert widget.ui.viewTabs.tabText(1) == "2: RIGHT LATERAL"
    assert "RIGHT LATERAL (edited)" in ui.lookLabel.text
    assert ui.anglesWidget.isHidden()
    ui.viewComboBox.currentIndex = 5
    assert not ui.anglesWidget.isHidden()
    ui.primaryAngleSpinBox.value = 30.0
    ui.secondaryAngleSpinBox.value = -10.0
    assert widget.ui.viewTabs.tabText(1) == "2: oblique 30, -10 degrees"


def test_views_are_added_and_taken_away_and_the_model_says_how_many(widget: object, nodes: list) -> None:
    ui = widget.ui
    assert ui.viewTabs.count == 2 and not ui.removeViewButton.enabled
    slicerhost.click(ui.addViewButton)
    assert ui.viewTabs.count == 3 and ui.viewTabs.currentIndex == 2
    assert refusal(widget) == "View 3: Choose a radiograph."
    picture = np.random.default_rng(1).uniform(size=(1, 37, 31)).astype(np.float32)
    choose(widget, *nodes, slicer.util.addVolumeFromArray(picture, name="third"))
    page(widget, 3).viewComboBox.currentIndex = 5
    page(widget, 3).primaryAngleSpinBox.value = 45.0
    assert refusal(widget) == "The model needs 2 views (PA, LEFT LATERAL); 3 are chosen."
    slicerhost.click(ui.addViewButton)
    assert not ui.addViewButton.enabled
    for _number in range(2):
        slicerhost.click(ui.removeViewButton)
    assert refusal(widget) == "" and ui.viewTabs.count == 2


def test_device_and_model_folder_are_not_kept_in_the_scene(widget: object, model: Path) -> None:
    widget.ui.deviceComboBox.currentIndex = widget.ui.deviceComboBox.findData("cpu")
    settings = qt.QSettings()
    assert settings.value("XRecon/device") == "cpu"
    assert settings.value("XRecon/modelFolder") == str(model)
    stored = widget._parameterNode.parameterNode.GetParameterNamesAsCommaSeparatedList()
    assert "device" not in stored and "model" not in stored
