"""Around the PTX-Seg panel: lung models, report, CSV, bars, all CTs of the scene, comparison."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import qt
import slicer
import slicerhost
from panel_inputs import collapsedChest, leftovers, misbehave
from photographs import photograph
from slicerhost import plots
from test_panel_ptxseg import apply, masks, tickOnly
from xrecon.evaluation.metrics import compare_masks
from xrecon.io.image import write_volume
from xrecon.io.segmentation import PTX_SEGMENTS
from xrecon.nets.lungmask_published import PUBLISHED
from xrecon.trust.intervals import AIR_KEPT, CALIBRATED, CORRELATION, YES
from xrecon.volume import Quantity, Volume
from XReconSlicerLib import lung_models, models
from XReconSlicerLib.mrml import volumeToNode
from XReconSlicerLib.pneumothorax import describeQuantities
from XReconSlicerLib.segments import segmentationToNode
from XReconSlicerLib.tables import csvOf, findByRole
from XReconSlicerLib.trust_maps import loadTrustMaps, uncertaintyFromNode, uncertaintyOf

COUNT = 3  # lung models that come with XRecon: two networks, the thresholds
ECHO = "say(event='error', message=json.dumps(sys.argv)); sys.exit(3)"


@pytest.fixture
def widget(openModule: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """The opened panel with an empty store of models."""
    monkeypatch.setenv(models.STORE_VARIABLE, str(tmp_path / "store"))
    return openModule("PTXSeg")


def chest(widget: object, name: str = "Chest") -> slicer.vtkMRMLScalarVolumeNode:
    node = volumeToNode(collapsedChest()[0], name)
    widget.ui.ctSelector.setCurrentNode(node)
    return node


def cells(table: slicer.vtkMRMLTableNode) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(csvOf(table))))


# ---- lung models --------------------------------------------------------------------------------
def test_ticked_models_are_united(widget: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chest(widget)
    misbehave(monkeypatch, tmp_path, ECHO)
    ui = widget.ui
    weights = tmp_path / "mine.pth"
    weights.write_bytes(b"weights")
    slicerhost.answer(str(weights))
    slicerhost.click(ui.addWeightsButton)
    digest = lung_models.lungModels()[-2].key.removeprefix("weights:")
    assert f"SHA256 {digest}" in ui.lungModelsLabel.text and "Apache-2.0" in ui.lungModelsLabel.text
    tickOnly(widget, "lungs-unet", f"weights:{digest}", "classical")
    apply(widget)
    arguments = json.loads(ui.statusLabel.text)
    given = [b for a, b in zip(arguments, arguments[1:], strict=False) if a == "--lung-model"]
    assert given == ["lungs-unet", str(weights.resolve()), "classical"]
    slicerhost.messages.clear()
    weights.unlink()
    widget._update()
    assert "not there any more" in ui.applyButton.toolTip
    slicerhost.click(ui.removeWeightsButton)
    assert ui.applyButton.enabled and ui.lungModelsList.count == COUNT
    tickOnly(widget)
    assert ui.applyButton.toolTip == ui.batchButton.toolTip == "Tick a lung model."


def test_a_damaged_published_file_is_refused(widget: object, tmp_path: Path) -> None:
    path = tmp_path / PUBLISHED[0].file
    path.write_bytes(b"exchanged")
    slicerhost.answer(str(path))
    slicerhost.click(widget.ui.addWeightsButton)
    ((_kind, text),) = slicerhost.messages
    assert "its checksum is not that of lungmask's R231" in text
    assert widget.ui.lungModelsList.count == COUNT
    slicerhost.messages.clear()


def test_a_model_of_another_computer_is_told_by_name(widget: object) -> None:
    chest(widget)
    widget._parameterNode.lungModels = '["lungs-unet", "weights:0123456789ab"]'
    assert widget.ui.lungModelsList.count == COUNT + 1
    assert "'weights:0123456789ab' is not on this computer" in widget.ui.applyButton.toolTip
    widget.ui.lungModelsList.item(COUNT).setCheckState(qt.Qt.Unchecked)
    assert widget.ui.applyButton.enabled and widget._parameterNode.lungModels == '["lungs-unet"]'


# ---- the result ---------------------------------------------------------------------------------
def test_report_table_and_bars(widget: object, tmp_path: Path) -> None:
    ct, ui = chest(widget), widget.ui
    assert not (ui.reportButton.enabled or ui.csvButton.enabled or ui.plotButton.enabled)
    tickOnly(widget, "classical")
    apply(widget)
    assert slicerhost.messages == [] and leftovers() == []
    slicerhost.click(ui.reportButton)
    page = Path(slicerhost.opened[-1].text.removeprefix("file://"))
    assert page.name == "Chest pneumothorax.html" and "Lungs and pneumothorax" in page.read_text("utf-8")
    slicerhost.answer(str(tmp_path / "quantities"))
    slicerhost.click(ui.csvButton)
    rows = list(csv.DictReader((tmp_path / "quantities.csv").open(encoding="utf-8")))
    assert {row["unit"] for row in rows} >= {"ml", "%", "mm"}
    found = masks(widget._parameterNode.outputSegmentation, ct)
    (air,) = [float(r["value"]) for r in rows if (r["quantity"], r["side"]) == ("air_volume", "left")]
    assert air == pytest.approx(found["left pneumothorax"].sum() * 0.216, rel=1e-5) and air > 100
    slicerhost.click(ui.plotButton)
    slicerhost.click(ui.plotButton)
    (chart,) = slicer.util.getNodesByClass("vtkMRMLPlotChartNode")
    bars = cells(chart.GetNthPlotSeriesNode(0).GetTableNode())
    assert [row["side"] for row in bars] == ["right", "left"]
    assert float(bars[1]["pneumothorax_ml"]) == pytest.approx(air, rel=1e-5)
    assert chart.GetNumberOfPlotSeriesNodes() == 2
    plots.savePlot(chart, "plot-ptxseg")


def test_the_expected_error_of_a_synthetic_ct_gives_intervals(widget: object, tmp_path: Path) -> None:
    ct, ui = chest(widget), widget.ui
    assert ui.uncertaintySelector.currentNode() is None, "a measured CT has none"
    volume = collapsedChest()[0]
    told = {CORRELATION: "25.0", AIR_KEPT: "from 20 mm", CALIBRATED: YES}
    deviation = Volume(np.full(volume.shape, 40.0, np.float32), volume.spacing, volume.origin, meta=told)
    write_volume(deviation, tmp_path / "uncertainty.nrrd")
    small = volumeToNode(Volume(np.zeros((9, 9, 9), np.int16), (6.0,) * 3), "small")
    synthetic = volumeToNode(volume, "Synthetic")
    loadTrustMaps({"uncertainty": str(tmp_path / "uncertainty.nrrd")}, synthetic)
    error = slicer.util.getNode("Synthetic: expected error (HU)")
    ui.ctSelector.setCurrentNode(synthetic)
    assert ui.uncertaintySelector.currentNode() is error, "chosen with its CT"
    for node, sentence in ((synthetic, "the CT itself"), (small, "'small' has another grid")):
        ui.uncertaintySelector.setCurrentNode(node)
        assert not ui.applyButton.enabled and sentence in ui.applyButton.toolTip
    ui.uncertaintySelector.setCurrentNode(error)
    tickOnly(widget, "classical")
    slicerhost.click(ui.applyButton)
    slicerhost.wait_until(lambda: not widget.jobPanel.isRunning, timeout=300)
    assert slicerhost.messages == [] and leftovers() == []
    rows = {(r["quantity"], r["side"]): r for r in cells(widget._parameterNode.outputTable)}
    lung = rows["lung_volume", "left"]
    low, high = float(lung["low"]), float(lung["high"])
    assert low < float(lung["value"]) < high
    assert told.items() <= uncertaintyFromNode(synthetic, error).meta.items()
    assert f"lung {low:.0f} to {high:.0f} ml" in ui.resultLabel.text
    ui.ctSelector.setCurrentNode(ct)
    assert ui.uncertaintySelector.currentNode() is None, "that of another CT"


def test_the_expected_error_of_a_later_run_is_chosen_on_coming_back(widget: object, tmp_path: Path) -> None:
    ct, ui = chest(widget), widget.ui
    write_volume(collapsedChest()[0], tmp_path / "uncertainty.nrrd")
    files = {"uncertainty": str(tmp_path / "uncertainty.nrrd")}

    def comeBack(rerun: dict[str, str] | None) -> object:
        """The map that is chosen after XReconSlicer was open; a run into the same CT loads these files."""
        slicerhost.exitModule("PTXSeg")
        if rerun is not None:
            loadTrustMaps(rerun, ct)
        slicerhost.enterModule("PTXSeg")
        return ui.uncertaintySelector.currentNode()

    assert comeBack(files) is uncertaintyOf(ct) is not None
    ui.uncertaintySelector.setCurrentNode(None)
    assert comeBack(None) is None, "the user wants none"
    assert comeBack(files) is None, "nor of the same node with other numbers"
    assert comeBack({}) is None
    assert comeBack(files) is uncertaintyOf(ct) is not None, "a node that he has not seen"


def test_what_has_no_usable_interval_is_told_in_its_place() -> None:
    """The panel once told "air 0 to 2950 ml" of a healthy side."""
    why = "the model does not preserve pleural air"
    right = {
        "air_volume": {"value": 0.0, "low": None, "high": None, "no_interval": why},
        "occupancy": {"value": 0.0, "low": 0.0, "high": 12.0},
        "hemithorax_volume": {"value": 2577.0, "low": 2302.0, "high": 2875.0},
    }
    quantities = {
        f"{side}_{name}": 0.0
        for side in ("right", "left")
        for name in ("occupancy_percent", "pneumothorax_ml", "lung_ml")
    }
    numbers = {
        "mode": "robust",
        "quantities": quantities,
        "measures": {"right": right},
        "warnings": [f"no usable: {why}"],
    }
    lines = describeQuantities(numbers, withIntervals=True).splitlines()
    assert lines[0] == "Robust mode:"
    assert "air: no usable interval, 0.0 to 12.0 % of the hemithorax" in lines[2]
    assert "lung and air 2302 to 2875 ml" in lines[2]
    assert "air" not in lines[4] and lines[-1] == f"Warning: no usable: {why}"


# ---- all CTs ------------------------------------------------------------------------------------
def test_all_cts_are_segmented_and_a_failure_is_noted(widget: object, tmp_path: Path) -> None:
    chest(widget, "first")
    volumeToNode(Volume(np.zeros((9, 9, 9), np.int16), (6.0,) * 3, quantity=Quantity.HU), "water")
    chest(widget, "last")
    slicer.util.addVolumeFromArray(np.zeros((1, 9, 7)), name="PA")
    ui = widget.ui
    tickOnly(widget, "classical")
    ui.batchCollapsibleButton.collapsed = False
    assert ui.batchLabel.text == "3 CTs: first, water, last"
    ui.batchReportsEdit.currentPath = str(tmp_path / "reports")
    slicerhost.click(ui.batchButton)
    assert not ui.applyButton.enabled and not ui.batchButton.enabled
    slicerhost.wait_until(lambda: not widget.batchBox.isRunning, timeout=120)
    assert slicerhost.messages == [] and leftovers() == []
    assert ui.statusLabel.text.startswith("2 of 3 CTs segmented, 1 failed.")
    rows = cells(findByRole("pneumothorax summary"))
    assert [row["ct"] for row in rows] == ["first", "water", "last"]
    assert list(rows[0])[:2] == ["ct", "state"], "in sight without scrolling"
    states = ["warnings" if row["warnings"] else "failed" if row["failed"] else "done" for row in rows]
    assert [row["state"] for row in rows] == states and states[1] == "failed"
    assert [bool(row["failed"]) for row in rows] == [False, True, False]
    assert float(rows[0]["left_pneumothorax_ml"]) > 100 and rows[1]["left_pneumothorax_ml"] == ""
    assert rows[0]["left_interpleural_distance_mm"] == rows[2]["left_interpleural_distance_mm"] != ""
    assert {"mediastinal_shift_mm", "right_occupancy_percent", "warnings"} < set(rows[0])
    assert len(slicer.util.getNodesByClass("vtkMRMLSegmentationNode")) == 2
    segmentations = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    pages = {page.stem: page.read_text(encoding="utf-8") for page in (tmp_path / "reports").iterdir()}
    assert set(pages) == {node.GetName() for node in segmentations}
    assert all("</html>" in page for page in pages.values())
    assert ui.batchTableView.mrmlTableNode() is findByRole("pneumothorax summary")
    photograph(widget, "PTXSeg-batch")
    assert ui.applyButton.enabled and ui.batchButton.enabled


@pytest.mark.parametrize("end", ["button", "scene"])
def test_cancel_ends_the_whole_batch(
    end: str, widget: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chest(widget, "one"), chest(widget, "two")
    misbehave(monkeypatch, tmp_path, "say(event='progress', stage='lungs', fraction=0.5)\ntime.sleep(60)")
    slicerhost.click(widget.ui.batchButton)
    slicerhost.wait_until(lambda: 10 < widget.ui.progressBar.value < 20)  # half of the lungs of one of two
    if end == "button":
        slicerhost.click(widget.ui.cancelButton)
    else:
        slicer.mrmlScene.Clear(False)
    slicerhost.wait_until(lambda: not (widget.jobPanel.isRunning or widget.batchBox.isRunning))
    assert slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == [] and leftovers() == []
    assert slicerhost.messages == [] and findByRole("pneumothorax summary") is None
    if end == "button":
        assert widget.ui.statusLabel.text.startswith("Cancelled. 0 of 2 CTs segmented")


# ---- comparison ---------------------------------------------------------------------------------
def test_two_segmentations_are_compared_segment_by_segment(widget: object, tmp_path: Path) -> None:
    ct, ui = chest(widget), widget.ui
    truth = collapsedChest()[1]
    moved = truth.with_array(np.roll(truth.array, 1, axis=2))
    second = segmentationToNode(truth, PTX_SEGMENTS, "Truth", reference=ct)
    first = segmentationToNode(moved, PTX_SEGMENTS, "Moved", reference=ct)
    ui.comparisonCollapsibleButton.collapsed = False
    assert not ui.compareButton.enabled and ui.compareButton.toolTip == "Choose two segmentations."
    ui.comparedSelector.setCurrentNode(first)
    ui.referenceSelector.setCurrentNode(first)
    assert ui.compareButton.toolTip == "Choose two different segmentations."
    ui.referenceSelector.setCurrentNode(second)
    slicerhost.click(ui.compareButton)
    slicerhost.wait_until(lambda: not widget.jobPanel.isRunning, timeout=60)
    assert slicerhost.messages == [] and leftovers() == []
    photograph(widget, "PTXSeg-comparison")
    rows = {row["segment"]: row for row in cells(findByRole("comparison"))}
    assert list(rows) == [segment.name for segment in PTX_SEGMENTS]
    for label in (1, 2, 4):
        expected = compare_masks(moved.array == label, truth.array == label, truth.spacing)
        row = rows[PTX_SEGMENTS[label - 1].name]
        for metric in ("dice", "hd95_mm", "asd_mm"):
            assert float(row[metric]) == pytest.approx(expected[metric], rel=1e-5)
        assert float(row["reference_ml"]) == pytest.approx((truth.array == label).sum() * truth.voxel_ml)
    assert rows["right pneumothorax"]["dice"] == ""  # in neither
    slicerhost.answer(str(tmp_path / "comparison.csv"))
    slicerhost.click(ui.comparisonCsvButton)
    assert (tmp_path / "comparison.csv").read_text(encoding="utf-8").startswith("segment,dice,hd95_mm,asd_mm")


def test_segments_of_other_names_are_told(widget: object) -> None:
    ct = chest(widget)
    truth = collapsedChest()[1]
    first = segmentationToNode(truth, PTX_SEGMENTS[:2], "Lungs", reference=ct)
    second = segmentationToNode(truth, PTX_SEGMENTS[2:], "Air", reference=ct)
    widget.ui.comparedSelector.setCurrentNode(first)
    widget.ui.referenceSelector.setCurrentNode(second)
    slicerhost.click(widget.ui.compareButton)
    ((_kind, text),) = slicerhost.messages
    assert text.startswith("No segment of 'Lungs' (right lung, left lung) has the name of one of 'Air'")
    assert leftovers() == []
    slicerhost.messages.clear()
