"""Segmenting several CTs of the scene one after the other, with one summary table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from XReconSlicerLib.jobs import CliJob
from XReconSlicerLib.panel import JobPanel
from XReconSlicerLib.pneumothorax import ctProblem, loadSegmentation, warningsOf
from XReconSlicerLib.progress import INTERVAL_STAGES, SEGMENTATION_STAGES, OverallProgress
from XReconSlicerLib.reconstruction import copyReport
from XReconSlicerLib.tables import ROLE, exportCsv, fillByRole, findByRole
from XReconSlicerLib.trust_maps import uncertaintyOf

SUMMARY_ROLE = "pneumothorax summary"
# Columns of the summary beside the CT's name: side and quantity of `xrecon segment`.
QUANTITIES = {
    f"{side}_{name}": (side, quantity)
    for side in ("right", "left")
    for name, quantity in (
        ("lung_ml", "lung_volume"),
        ("pneumothorax_ml", "air_volume"),
        ("occupancy_percent", "occupancy"),
        ("interpleural_distance_mm", "largest_interpleural_distance"),
    )
} | {"mediastinal_shift_mm": ("both", "mediastinal_shift")}
# The state is in sight; the sentences, which are long, would push the figures out of it.
HEADER = ("ct", "state", *QUANTITIES, "warnings", "failed")


class BatchBox:
    """`ui` has batchSelector, batchReportsEdit, batchLabel, batchButton, batchTableView and batchCsvButton.

    `makeJob(ct, withReport)` prepares the job of one CT. A CT that fails is noted in the summary,
    and the next one starts.
    """

    def __init__(self, ui: Any, jobPanel: JobPanel, makeJob: Callable[[Any, bool], CliJob]) -> None:
        self.ui, self._jobPanel, self._makeJob = ui, jobPanel, makeJob
        self._cts: list[slicer.vtkMRMLScalarVolumeNode] = []
        self._rows: list[list[str]] = []
        self._progress = OverallProgress({})
        self._reports = ""  # folder of their report pages, "" for none
        self.isRunning = False
        ui.batchSelector.connect("checkedNodesChanged()", self.show)
        ui.batchButton.connect("clicked(bool)", self._onStart)
        ui.batchCsvButton.connect("clicked(bool)", self._onExport)

    def show(self) -> None:
        """Says which CTs would be segmented, and shows the summary that the scene holds."""
        usable, _unusable = self.choice()
        names = ", ".join(node.GetName() for node in usable)
        text = _("{count} CTs: {names}").format(count=len(usable), names=names)
        self.ui.batchLabel.text = text if usable else _("The scene holds no CT that can be used.")
        table = findByRole(SUMMARY_ROLE)
        self.ui.batchTableView.setMRMLTableNode(table)
        self.ui.batchTableView.visible = self.ui.batchCsvButton.enabled = table is not None

    def choice(self) -> tuple[list[Any], list[Any]]:
        """The volumes that can be segmented and those that cannot: the checked ones, else all."""
        nodes = list(self.ui.batchSelector.checkedNodes())
        if not nodes:
            everything = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
            nodes = [node for node in everything if _mayBeCt(node)]
        usable = [node for node in nodes if not ctProblem(node)]
        return usable, [node for node in nodes if node not in usable]

    def stop(self) -> None:
        """No further CT starts; the panel ends the one that runs."""
        self.isRunning = False

    # -- one after the other -------------------------------------------------------------------
    def _onStart(self, _clicked: bool = False) -> None:
        self._cts, _unusable = self.choice()
        if self.isRunning or self._jobPanel.isRunning or not self._cts:
            return
        self._rows, self.isRunning = [], True
        self._reports = self.ui.batchReportsEdit.currentPath
        slow = any(uncertaintyOf(ct) is not None for ct in self._cts)
        self._progress = OverallProgress(INTERVAL_STAGES if slow else SEGMENTATION_STAGES)
        self._next()

    def _next(self) -> None:
        done, count = len(self._rows), len(self._cts)
        if not self.isRunning:
            return
        if done == count:
            self._end()
            return
        ct = self._cts[done]
        if slicer.mrmlScene.GetNodeByID(ct.GetID() or "") is not ct:
            self._add([ct.GetName(), "", _("The CT was removed from the scene.")], {})
            self._next()
            return
        self._progress.startPart(done, count)
        self._jobPanel.run(
            lambda: self._makeJob(ct, bool(self._reports)),
            lambda result: self._onFinished(ct, result),
            stages=self._progress,
            onEndedBadly=lambda message: self._onEndedBadly(ct, message),
        )

    def _onFinished(self, ct: slicer.vtkMRMLScalarVolumeNode, result: Mapping[str, Any]) -> str:
        segmentation, _table = loadSegmentation(result, ct)
        numbers = result["numbers"]
        warnings = [*warningsOf(numbers), *self._keepReport(result, segmentation.GetName())]
        self._add([ct.GetName(), " ".join(warnings), ""], numbers["measures"])
        qt.QTimer.singleShot(0, self._next)  # when the panel is done with this job
        return _("{name}: done.").format(name=ct.GetName())

    def _keepReport(self, result: Mapping[str, Any], name: str) -> list[str]:
        """Puts the report page into the chosen folder; says why it is not there when that fails."""
        if any(row[0] == self._cts[len(self._rows)].GetName() for row in self._rows):
            name = f"{name} {len(self._rows) + 1}"  # CTs of one name
        try:
            if self._reports:
                copyReport(result, Path(self._reports), name)
        except OSError as error:
            return [_("The report could not be written: {reason}.").format(reason=error)]
        return []

    def _onEndedBadly(self, ct: slicer.vtkMRMLScalarVolumeNode, message: str) -> None:
        if not message:
            self._end(_("Cancelled. "))
            return
        self._add([ct.GetName(), "", message], {})
        qt.QTimer.singleShot(0, self._next)

    def _add(self, texts: Sequence[str], measures: Mapping[str, Any]) -> None:
        """A row more; texts: the CT, warnings, why it failed."""
        name, warnings, failed = texts
        values = [measures.get(side, {}).get(key, {}).get("value") for side, key in QUANTITIES.values()]
        cells = ["" if value is None else repr(value) for value in values]
        state = _("failed") if failed else _("warnings") if warnings else _("done")
        self._rows.append([name, state, *cells, warnings, failed])
        fillByRole(SUMMARY_ROLE, _("Pneumothorax of all CTs"), HEADER, self._rows)
        self.show()

    def _end(self, before: str = "") -> None:
        if not self.isRunning:  # the scene was closed
            return
        self.isRunning = False
        failed = sum(bool(row[HEADER.index("failed")]) for row in self._rows)
        text = _("{done} of {count} CTs segmented, {failed} failed. Check the contours.")
        self.ui.statusLabel.text = before + text.format(
            done=len(self._rows) - failed, count=len(self._cts), failed=failed
        )
        self._jobPanel.stateChanged.emit()

    def _onExport(self, _clicked: bool = False) -> None:
        text = exportCsv(self.ui.batchCsvButton, findByRole(SUMMARY_ROLE))
        self.ui.statusLabel.text = text or self.ui.statusLabel.text


def _mayBeCt(node: slicer.vtkMRMLScalarVolumeNode) -> bool:
    """No label map, nothing hidden, no picture that XRecon made beside a CT."""
    return not (node.GetHideFromEditors() or node.IsA("vtkMRMLLabelMapVolumeNode") or node.GetAttribute(ROLE))
