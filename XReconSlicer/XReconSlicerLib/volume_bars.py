"""Lung and pleural air of both sides as a bar chart, from the table of a segmentation."""

from __future__ import annotations

import slicer
from slicer.i18n import tr as _
from xrecon.io.segmentation import PTX_SEGMENTS

from XReconSlicerLib.mrml import ATTRIBUTE_PREFIX
from XReconSlicerLib.scene import tableToNode

CHART_ROLE, TABLE_ROLE = ATTRIBUTE_PREFIX + "chart", ATTRIBUTE_PREFIX + "chartTable"
SIDE, SIDES = "side", ("right", "left")
# Column, quantity of the table, colour: that of the left side's segment.
BARS = (
    ("lung_ml", "lung_volume", PTX_SEGMENTS[1].color),
    ("pneumothorax_ml", "air_volume", PTX_SEGMENTS[3].color),
)


def showBars(table: slicer.vtkMRMLTableNode) -> slicer.vtkMRMLPlotChartNode:
    """The chart of a table of quantities, in the plot view of the layout if there is one.

    Each table has one chart, which is filled anew.
    """
    chart = fillBars(table)
    if slicer.app.layoutManager() is not None:
        slicer.modules.plots.logic().ShowChartInLayout(chart)
    return chart


def fillBars(table: slicer.vtkMRMLTableNode) -> slicer.vtkMRMLPlotChartNode:
    """The chart with the table's present numbers."""
    columns = [_volumes(table, quantity) for _column, quantity, _color in BARS]
    rows = [[side, *(column.get(side) or "0" for column in columns)] for side in SIDES]
    title = _("{name}: lung and air").format(name=table.GetName())
    header = [SIDE, *(column for column, _quantity, _color in BARS)]
    bars = tableToNode(header, rows, title, table.GetNodeReference(TABLE_ROLE))
    table.SetNodeReferenceID(TABLE_ROLE, bars.GetID())
    return _chart(table, bars, title)


def _volumes(table: slicer.vtkMRMLTableNode, quantity: str) -> dict[str, str]:
    """Millilitres by side."""
    columns = {table.GetColumnName(index): index for index in range(table.GetNumberOfColumns())}
    found = {}
    for row in range(table.GetNumberOfRows()):
        if table.GetCellText(row, columns["quantity"]) == quantity:
            found[table.GetCellText(row, columns["side"])] = table.GetCellText(row, columns["value"])
    return found


def _chart(
    table: slicer.vtkMRMLTableNode, bars: slicer.vtkMRMLTableNode, title: str
) -> slicer.vtkMRMLPlotChartNode:
    chart = table.GetNodeReference(CHART_ROLE)
    if chart is None:
        chart = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotChartNode", title)
        table.SetNodeReferenceID(CHART_ROLE, chart.GetID())
        for column, _quantity, color in BARS:
            chart.AddAndObservePlotSeriesNodeID(_series(column, color, bars).GetID())
    chart.SetTitle(title)
    chart.SetYAxisTitle("ml")
    chart.SetLegendVisibility(True)
    return chart


def _series(
    column: str, color: tuple[float, float, float], bars: slicer.vtkMRMLTableNode
) -> slicer.vtkMRMLPlotSeriesNode:
    name = _("lung without the air") if column == "lung_ml" else _("pneumothorax")
    series = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", name)
    series.SetAndObserveTableNodeID(bars.GetID())
    series.SetPlotType(series.PlotTypeBar)
    series.SetLabelColumnName(SIDE)
    series.SetYColumnName(column)
    series.SetColor(*color)
    return series
