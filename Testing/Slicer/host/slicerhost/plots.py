"""Plot charts drawn off-screen the way Slicer's plot view does: a vtkChartXY filled from the chart's nodes.

Only what charts of this project use is drawn: scatter, line and bar series, titles, legend, grid.
"""

from __future__ import annotations

from pathlib import Path

import slicer
import vtk
import vtkmodules.vtkRenderingContextOpenGL2
import vtkmodules.vtkRenderingFreeType
import vtkmodules.vtkRenderingOpenGL2  # noqa: F401  (the three register VTK's off-screen OpenGL)

from .windows import saveWindow

_LEFT, _BOTTOM = 0, 1
_WIDTH = 2.0


def savePlot(chartNode: slicer.vtkMRMLPlotChartNode, name: str, width: int = 640, height: int = 320) -> Path:
    """Write the picture of a chart as `<name>.png` into the folder of pictures.

    Raises ValueError for a series of another type than scatter, line and bar.
    """
    view = vtk.vtkContextView()
    view.GetRenderer().SetBackground(1.0, 1.0, 1.0)
    view.GetScene().AddItem(_chart(chartNode))
    return saveWindow(view.GetRenderWindow(), name, (width, height))


def _chart(chartNode: slicer.vtkMRMLPlotChartNode) -> vtk.vtkChartXY:
    chart = vtk.vtkChartXY()
    chart.SetTitle(chartNode.GetTitle() if chartNode.GetTitleVisibility() else "")
    chart.GetAxis(_BOTTOM).SetTitle(chartNode.GetXAxisTitle() or "")
    chart.GetAxis(_LEFT).SetTitle(chartNode.GetYAxisTitle() or "")
    chart.SetShowLegend(bool(chartNode.GetLegendVisibility()))
    for axis in (_LEFT, _BOTTOM):
        chart.GetAxis(axis).SetGridVisible(bool(chartNode.GetGridVisibility()))
    for index in range(chartNode.GetNumberOfPlotSeriesNodes()):
        _addSeries(chart, chartNode.GetNthPlotSeriesNode(index))
    return chart


def _addSeries(chart: vtk.vtkChartXY, series: slicer.vtkMRMLPlotSeriesNode) -> None:
    table = series.GetTableNode().GetTable()
    if series.GetPlotType() == series.PlotTypeBar:
        _addBars(chart, series, table)
        return
    if series.GetPlotType() not in (series.PlotTypeScatter, series.PlotTypeLine):
        raise ValueError(f"the host draws scatter, line and bar series, not {series.GetName()}'s type")
    plot = chart.AddPlot(vtk.vtkChart.LINE)
    names = [table.GetColumnName(column) for column in range(table.GetNumberOfColumns())]
    plot.SetInputData(table, names.index(series.GetXColumnName()), names.index(series.GetYColumnName()))
    plot.SetLabel(series.GetName())
    plot.SetColorF(*series.GetColor())
    plot.SetWidth(_WIDTH)
    plot.GetPen().SetLineType(
        vtk.vtkPen.DASH_LINE if series.GetLineStyle() == series.LineStyleDash else vtk.vtkPen.SOLID_LINE
    )
    isMarked = series.GetMarkerStyle() != series.MarkerStyleNone
    plot.SetMarkerStyle(vtk.vtkPlotPoints.CIRCLE if isMarked else vtk.vtkPlotPoints.NONE)


def _addBars(chart: vtk.vtkChartXY, series: slicer.vtkMRMLPlotSeriesNode, table: vtk.vtkTable) -> None:
    """A bar for each row, its label below; the bars of several series stand side by side."""
    rows = vtk.vtkDoubleArray()
    for row in range(table.GetNumberOfRows()):
        rows.InsertNextValue(row)
    plot = chart.AddPlot(vtk.vtkChart.BAR)
    plot.SetInputData(table, "", series.GetYColumnName())
    plot.SetUseIndexForXSeries(True)
    plot.SetLabel(series.GetName())
    plot.SetColorF(*series.GetColor())
    chart.GetAxis(_BOTTOM).SetCustomTickPositions(rows, table.GetColumnByName(series.GetLabelColumnName()))
