"""Loss, PSNR, SSIM and Dice of a run as Slicer plots, filled from the run's `log.csv`."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from XReconSlicerLib.scene import tableToNode

LOG_NAME = "log.csv"
ROLE_ATTRIBUTE = "XRecon.trainingCurve"
STEP, CONTROL_SUFFIX = "step", "_mean_volume"

Rows = Sequence[Mapping[str, float]]


@dataclass(frozen=True)
class Curve:
    """One chart: a column of the log over the step; with a control, that of the mean training volume, too.

    label is for a line of numbers, title for the chart.
    """

    key: str
    column: str
    label: str
    title: str
    unit: str = ""
    hasControl: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """What is drawn."""
        return (self.column, self.column + CONTROL_SUFFIX) if self.hasControl else (self.column,)


def curves() -> tuple[Curve, ...]:
    """The charts, in the order of the panel's selector; each run has those its log has numbers for."""
    return (
        Curve("loss", "loss", _("loss"), _("Loss")),
        Curve("psnr", "validation_psnr", "PSNR", _("PSNR of the validation CTs"), "dB", hasControl=True),
        Curve("ssim", "validation_ssim", "SSIM", _("SSIM of the validation CTs"), hasControl=True),
        Curve("dice_right", "validation_dice_right", _("Dice right"), _("Dice of the right lung")),
        Curve("dice_left", "validation_dice_left", _("Dice left"), _("Dice of the left lung")),
        Curve("dice_air", "validation_dice_air", _("Dice of air"), _("Dice of pleural air")),
    )


_LINES = {"": ((0.12, 0.47, 0.71), "solid"), CONTROL_SUFFIX: ((0.55, 0.55, 0.55), "dash")}


def readLog(folder: Path) -> Rows:
    """The rows of a run's log with their finite numbers; [] while there is none."""
    try:
        text = (folder / LOG_NAME).read_text(encoding="utf-8")
    except OSError:
        return []
    return [_numbers(row) for row in csv.DictReader(text.splitlines())]


def _numbers(row: dict[str, str]) -> dict[str, float]:
    numbers = {}
    for name, value in row.items():
        try:
            number = float(value)
        except (TypeError, ValueError):
            continue
        if math.isfinite(number):
            numbers[name] = number
    return numbers


def logState(folder: Path | None) -> tuple[object, ...]:
    """What changes when a run's log does; () while there is none."""
    try:
        status = (folder / LOG_NAME).stat() if folder else None
    except OSError:
        status = None
    return (str(folder), status.st_mtime_ns, status.st_size) if status else ()


def available(rows: Rows) -> list[Curve]:
    """The curves that a log has numbers for."""
    present = {name for row in rows for name in row}
    return [curve for curve in curves() if curve.column in present]


def latest(rows: Rows) -> str:
    """The last number of each curve, for a line of text."""
    parts = []
    for curve in curves():
        values = [row[curve.column] for row in rows if curve.column in row]
        if values:
            parts.append(f"{curve.label} {values[-1]:.4g} {curve.unit}".strip())
    return ", ".join(parts)


def update(run: str, rows: Rows) -> None:
    """Fills the charts that the scene has from a run's log, and makes none."""
    for curve in curves():
        if _find("vtkMRMLPlotChartNode", curve.key) is not None:
            _fill(curve, rows, run)


def show(run: str, rows: Rows, curve: Curve) -> slicer.vtkMRMLPlotChartNode | None:
    """The chart of a curve, in the plot view of the layout; None while the log has no numbers for it.

    A scene holds one chart for each curve, found by an attribute: a new run takes the place of the last.
    """
    chart = _fill(curve, rows, run)
    if chart is not None and slicer.app.layoutManager() is not None:
        slicer.modules.plots.logic().ShowChartInLayout(chart)
    return chart


def _fill(curve: Curve, rows: Rows, run: str) -> slicer.vtkMRMLPlotChartNode | None:
    columns = [name for name in curve.columns if any(name in row for row in rows)]
    if curve.column not in columns:
        return None
    # one table a curve: the rows without a validation would tear its line into points
    rows = [row for row in rows if all(name in row for name in (STEP, *columns))]
    table = _node("vtkMRMLTableNode", curve.key, f"{run}: {curve.title}")
    tableToNode(
        (STEP, *columns), [[repr(row[name]) for name in (STEP, *columns)] for row in rows], node=table
    )
    chart = _node("vtkMRMLPlotChartNode", curve.key, f"{run}: {curve.title}")
    with slicer.util.NodeModify(chart):
        chart.RemoveAllPlotSeriesNodeIDs()
        for name in columns:
            chart.AddAndObservePlotSeriesNodeID(_series(curve, name, table).GetID())
        # a legend would lie on the newest points, and a chart node cannot say where it is to be
        control = _(" (dashed: mean training volume)") if len(columns) > 1 else ""
        chart.SetTitle(chart.GetName() + control)
        chart.SetXAxisTitle(_("step"))
        chart.SetYAxisTitle(curve.unit or curve.label)
        chart.SetLegendVisibility(False)
    return chart


def _series(curve: Curve, column: str, table: slicer.vtkMRMLTableNode) -> slicer.vtkMRMLPlotSeriesNode:
    suffix = column.removeprefix(curve.column)
    title = _("mean training volume") if suffix else curve.title
    series = _node("vtkMRMLPlotSeriesNode", curve.key + suffix, title)
    color, line = _LINES[suffix]
    series.SetAndObserveTableNodeID(table.GetID())
    series.SetXColumnName(STEP)
    series.SetYColumnName(column)
    series.SetPlotType(series.PlotTypeScatter)
    series.SetLineStyle(series.LineStyleDash if line == "dash" else series.LineStyleSolid)
    series.SetMarkerStyle(series.MarkerStyleNone if suffix else series.MarkerStyleCircle)
    series.SetColor(*color)
    return series


def _find(className: str, key: str) -> slicer.vtkMRMLNode | None:
    for node in slicer.util.getNodesByClass(className):
        if node.GetAttribute(ROLE_ATTRIBUTE) == key:
            return node
    return None


def _node(className: str, key: str, name: str) -> slicer.vtkMRMLNode:
    node = _find(className, key)
    if node is None:
        node = slicer.mrmlScene.AddNewNodeByClass(className, name)
        node.SetAttribute(ROLE_ATTRIBUTE, key)
    elif node.GetName() != name:
        node.SetName(name)
    return node
