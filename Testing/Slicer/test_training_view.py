"""What the trainer shows of a run and of a folder of CTs: curves in plots, pictures, studies."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest
import qt
import slicer
import slicerhost
from PIL import Image
from slicerhost import plots, views
from trunk import trunk
from xrecon.io.image import read_volume
from xrecon.volume import InputError
from XReconSlicerLib.mrml import volumeToNode
from XReconSlicerLib.studies import fileName, writeSceneVolumes
from XReconSlicerLib.training_curves import available, curves, latest, logState, readLog, show, update
from XReconSlicerLib.training_results import describeMetrics, loadEvaluation

ROWS = [
    {"step": 20, "loss": 0.5, "validation_psnr": "", "validation_psnr_mean_volume": ""},
    {"step": 40, "loss": 0.4, "validation_psnr": 18.0, "validation_psnr_mean_volume": 16.5},
    {"step": 60, "loss": "nan", "validation_psnr": "", "validation_psnr_mean_volume": ""},
    {"step": 80, "loss": 0.25, "validation_psnr": 19.5, "validation_psnr_mean_volume": 16.5},
]


def log(folder: Path, rows: list[dict]) -> None:
    folder.mkdir(exist_ok=True)
    with open(folder / "log.csv", "w", newline="") as stream:
        writer = csv.DictWriter(stream, list(ROWS[0]))
        writer.writeheader()
        writer.writerows(rows)
    os.utime(folder / "log.csv", ns=(len(rows), len(rows)))  # clocks of file systems are coarse


def column(series: slicer.vtkMRMLPlotSeriesNode, name: str) -> list[float]:
    return slicer.util.arrayFromTableColumn(series.GetTableNode(), name).tolist()


def named(key: str) -> object:
    return next(curve for curve in curves() if curve.key == key)


def test_curves_hold_the_numbers_of_the_log_and_grow_with_it(tmp_path: Path) -> None:
    log(tmp_path, ROWS[:2])
    rows, state = readLog(tmp_path), logState(tmp_path)
    assert [curve.key for curve in available(rows)] == ["loss", "psnr"]
    chart = show("run", rows, named("psnr"))
    assert chart.GetNumberOfPlotSeriesNodes() == 2 and chart.GetYAxisTitle() == "dB"
    network, control = (chart.GetNthPlotSeriesNode(index) for index in range(2))
    assert column(network, "step") == [40.0] and column(network, "validation_psnr") == [18.0]
    assert control.GetLineStyle() == control.LineStyleDash
    # no legend that lies on the newest point: the title says what is dashed
    assert not chart.GetLegendVisibility() and "dashed: mean training volume" in chart.GetTitle()
    assert logState(tmp_path) == state
    log(tmp_path, ROWS)
    assert logState(tmp_path) != state
    rows = readLog(tmp_path)
    update("run", rows)
    assert column(network, "step") == [40.0, 80.0] and column(network, "validation_psnr") == [18.0, 19.5]
    assert column(control, control.GetYColumnName()) == [16.5, 16.5]
    loss = show("run", rows, named("loss")).GetNthPlotSeriesNode(0)
    assert column(loss, "step") == [20.0, 40.0, 80.0], "a loss that is no number is left out"
    assert latest(rows) == "loss 0.25, PSNR 19.5 dB"


def test_a_scene_holds_one_set_of_charts_and_may_be_closed(tmp_path: Path) -> None:
    log(tmp_path, ROWS)
    rows = readLog(tmp_path)
    for name in ("first", "second"):
        chart = show(name, rows, named("loss"))
    assert chart.GetName().startswith("second: ")
    for className in ("vtkMRMLPlotChartNode", "vtkMRMLPlotSeriesNode", "vtkMRMLTableNode"):
        assert len(slicer.util.getNodesByClass(className)) == 1
    slicer.mrmlScene.Clear(False)
    update("second", rows)
    assert not slicer.util.getNodesByClass("vtkMRMLPlotChartNode"), "nothing is made unasked"
    assert show("second", rows, named("loss")) is not None


def test_a_run_without_numbers_has_no_curves(tmp_path: Path) -> None:
    assert readLog(tmp_path) == [] and logState(tmp_path) == () and logState(None) == ()
    (tmp_path / "log.csv").write_text("step,loss\n")
    rows = readLog(tmp_path)
    assert available(rows) == [] and latest(rows) == "" and not show("run", rows, named("loss"))


def test_the_panel_shows_the_run_that_is_chosen(openModule: object, tmp_path: Path) -> None:
    ui = openModule("XReconTrainer").ui
    assert ui.numbersLabel.text == "No numbers yet." and not ui.curveButton.enabled
    run = tmp_path / "run"
    log(run, ROWS)
    (run / "samples").mkdir()
    for step in (100, 200):
        Image.new("RGB", (600, 100), (step, 0, 0)).save(run / "samples" / f"step_{step:08d}.png")
    ui.outputFolderEdit.currentPath = str(run)
    assert ui.numbersLabel.text == "loss 0.25, PSNR 19.5 dB" and ui.curveButton.enabled
    assert [ui.curveComboBox.itemData(i) for i in range(ui.curveComboBox.count)] == ["loss", "psnr"]
    assert ui.sampleComboBox.currentText == "step 200" and ui.sampleLabel.pixmap.width() == 420
    with views.layout(64):
        slicerhost.click(ui.curveButton)
        (chart,) = slicer.util.getNodesByClass("vtkMRMLPlotChartNode")
        assert slicer.app.applicationLogic().GetSelectionNode().GetActivePlotChartID() == chart.GetID()
    picture = qt.QImage(str(plots.savePlot(chart, "trainer-loss")))
    pixels = (qt.QColor(picture.pixel(x, y)) for x in range(80, 600) for y in range(30, 280))
    assert sum(each.blue() > each.red() + 60 for each in pixels) > 200, "the curve is drawn, in its blue"
    ui.sampleComboBox.currentIndex = 0
    assert qt.QColor(ui.sampleLabel.pixmap.toImage().pixel(5, 5)).red() == 100
    ui.outputFolderEdit.currentPath = str(tmp_path)
    assert ui.numbersLabel.text == "No numbers yet." and ui.sampleComboBox.count == 0


# ---- volumes of the scene, figures ---------------------------------------------------------------
def test_volumes_of_the_scene_become_files_with_their_geometry(tmp_path: Path) -> None:
    ct = trunk(seed=0)
    nodes = [volumeToNode(ct, "Müller: CT/1"), volumeToNode(trunk(seed=1), "second")]
    folder = writeSceneVolumes(nodes, tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == ["Müller_CT_1.nrrd", "second.nrrd"]
    written = read_volume(folder / "Müller_CT_1.nrrd")
    assert np.array_equal(written.array, ct.array) and np.allclose(written.affine, ct.affine)
    assert [path.name for path in writeSceneVolumes(nodes[1:], tmp_path).iterdir()] == ["second.nrrd"]
    nodes[1].SetName("Müller  CT?1")
    with pytest.raises(InputError, match="a name of its own"):
        writeSceneVolumes(nodes, tmp_path)
    nodes[0].SetName("...")
    assert fileName(nodes[0]) == nodes[0].GetID()


def test_an_evaluation_becomes_a_table_of_the_scene(tmp_path: Path) -> None:
    (tmp_path / "evaluation.csv").write_text("subject,psnr\nfirst,20.5\nsecond,21\n")
    label, numbers = qt.QLabel(), {"model": "mine", "mean": {"psnr": 20.75}}
    told = loadEvaluation(label, {"files": {"table": str(tmp_path / "evaluation.csv")}, "numbers": numbers})
    assert label.text == "PSNR: 20.75 dB"
    (node,) = slicer.util.getNodesByClass("vtkMRMLTableNode")
    assert node.GetName() == "Evaluation of mine" in told
    assert slicer.util.arrayFromTableColumn(node, "psnr").tolist() == [20.5, 21.0]


def test_figures_have_the_names_and_units_of_the_field() -> None:
    metrics = {"psnr": 20.25, "psnr_mean_volume": 16.5, "mae_hu_body": 150.0, "my_own": 1.0, "ssim": None}
    metrics |= {"dice_air": 0.5, "air_shown_percent": 36.6}
    assert describeMetrics({"metrics": metrics, "warnings": ["look"]}).splitlines() == [
        "PSNR: 20.25 dB; the mean training volume has 16.5 dB",
        "Dice of pleural air: 0.5",
        "darkening by pleural air that is shown: 36.6 %",
        "mean absolute error inside the body: 150 HU",
        "look",
    ]
    assert describeMetrics({}) == ""
