"""Comparing two segmentations of the scene in the panel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
from slicer.i18n import tr as _

from XReconSlicerLib.jobs import CliJob
from XReconSlicerLib.panel import JobPanel
from XReconSlicerLib.segment_comparison import COMPARISON_ROLE, commonGrid, comparisonJob, loadComparison
from XReconSlicerLib.tables import exportCsv, findByRole


class ComparisonBox:
    """`ui` has comparedSelector, referenceSelector, compareButton, comparisonTableView and
    comparisonCsvButton.

    `ct()` gives the volume on which to compare segmentations whose own CT is not in the scene.
    """

    def __init__(self, ui: Any, jobPanel: JobPanel, ct: Callable[[], Any]) -> None:
        self.ui, self._jobPanel, self._ct = ui, jobPanel, ct
        ui.compareButton.connect("clicked(bool)", self._onCompare)
        ui.comparisonCsvButton.connect("clicked(bool)", self._onExport)

    def show(self, isBusy: bool) -> None:
        """Enables what can be used, and shows the table that the scene holds."""
        nodes = self.ui.comparedSelector.currentNode(), self.ui.referenceSelector.currentNode()
        problem = ""
        if isBusy:
            problem = _("Something is running.")
        elif None in nodes:
            problem = _("Choose two segmentations.")
        elif nodes[0] is nodes[1]:
            problem = _("Choose two different segmentations.")
        self.ui.compareButton.enabled = not problem
        self.ui.compareButton.toolTip = problem or _("Dice, HD95 and mean surface distances of each segment.")
        table = findByRole(COMPARISON_ROLE)
        self.ui.comparisonTableView.setMRMLTableNode(table)
        self.ui.comparisonTableView.visible = self.ui.comparisonCsvButton.enabled = table is not None

    def _onCompare(self, _clicked: bool = False) -> None:
        first, second = self.ui.comparedSelector.currentNode(), self.ui.referenceSelector.currentNode()
        names, ml = (first.GetName(), second.GetName()), {}

        def prepare() -> CliJob:
            job, found = comparisonJob(first, second, commonGrid(first, second, self._ct()))
            ml.update(found)
            return job

        def load(result: dict) -> str:
            table: slicer.vtkMRMLTableNode = loadComparison(result["numbers"], ml, names)
            self.show(isBusy=False)
            return _("{name}: compared.").format(name=table.GetName())

        self._jobPanel.run(prepare, load)

    def _onExport(self, _clicked: bool = False) -> None:
        text = exportCsv(self.ui.comparisonCsvButton, findByRole(COMPARISON_ROLE))
        self.ui.statusLabel.text = text or self.ui.statusLabel.text
