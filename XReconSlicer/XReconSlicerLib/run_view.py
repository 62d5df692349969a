"""What the training panel shows of a run while it goes on: numbers, curves, pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from XReconSlicerLib import training_curves
from XReconSlicerLib.detached_run import DetachedRun
from XReconSlicerLib.training_samples import SamplePictures

# The log is written every few seconds.
REFRESH_MS = 2000


class RunView:
    """Follows the files of one run's folder; `ui` has the widgets of the panel's section "Progress"."""

    def __init__(self, ui: Any) -> None:
        self.ui = ui
        self.folder: Path | None = None
        self._pictures = SamplePictures(ui)
        self._rows: training_curves.Rows = []
        self._logState: tuple[object, ...] | None = None
        self._watched = 0  # grows with every change of what is watched, so that older timers end
        ui.curveButton.connect("clicked(bool)", self._onCurveButton)

    def showRun(self, folder: str) -> None:
        """Shows what the folder holds now."""
        self.folder = Path(folder) if folder else None
        self._watched += 1
        self._refresh()

    def watch(self, folder: str) -> None:
        """Shows the folder again and again while a run goes on, and opens the section."""
        self.showRun(folder)
        self.ui.watchCollapsibleButton.collapsed = False
        self._later(self._watched)

    def leave(self, jobPanel: Any) -> None:
        """Follows no training any more; it goes on. Other jobs are left to the panel."""
        self._watched += 1
        if isinstance(jobPanel.job, DetachedRun):
            jobPanel.job.leave()
            jobPanel.release()

    def _later(self, watched: int) -> None:
        qt.QTimer.singleShot(REFRESH_MS, lambda: self._tick(watched))

    def _tick(self, watched: int) -> None:
        if watched == self._watched:
            self._refresh()
            self._later(watched)

    def _refresh(self) -> None:
        self._pictures.update(self.folder)
        state = training_curves.logState(self.folder)
        if state == self._logState:
            return
        self._logState = state
        self._rows = training_curves.readLog(self.folder) if state else []
        if self._rows:
            training_curves.update(self.folder.name, self._rows)
        self.ui.numbersLabel.text = training_curves.latest(self._rows) or _("No numbers yet.")
        self._list(training_curves.available(self._rows))

    def _list(self, found: list[training_curves.Curve]) -> None:
        combo = self.ui.curveComboBox
        self.ui.curveButton.enabled = bool(found)
        self.ui.curveButton.toolTip = (
            _("Show the curves in the plot view") if found else _("The run has logged nothing yet.")
        )
        if [curve.key for curve in found] == [combo.itemData(index) for index in range(combo.count)]:
            return
        chosen = combo.currentData
        combo.clear()
        for curve in found:
            combo.addItem(curve.title, curve.key)
        combo.currentIndex = max(combo.findData(chosen), 0) if found else -1

    def _onCurveButton(self, _clicked: bool = False) -> None:
        for curve in training_curves.available(self._rows):
            if curve.key == self.ui.curveComboBox.currentData:
                chart = training_curves.show(self.folder.name, self._rows, curve)
                if slicer.app.layoutManager() is None:
                    self.ui.statusLabel.text = _("There is no plot view; the chart is '{name}'.").format(
                        name=chart.GetName()
                    )
