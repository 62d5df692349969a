"""What the training panel shows of a run while it goes on: numbers, curves, pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from XReconSlicerLib.detached_run import DetachedRun
from XReconSlicerLib.training_curves import Curve, TrainingCurves, available, latest
from XReconSlicerLib.training_samples import SamplePictures

# The log is written every few seconds.
REFRESH_MS = 2000


class RunView:
    """Follows the files of one run's folder; `ui` has the widgets of the panel's section "Progress"."""

    def __init__(self, ui: Any) -> None:
        self.ui = ui
        self.folder: Path | None = None
        self._curves, self._pictures = TrainingCurves(), SamplePictures(ui)
        self._shown: list[Curve] = []
        self._logState: tuple[object, ...] = ()
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
        """The panel closes: a training goes on without it."""
        self._watched += 1
        if isinstance(jobPanel.job, DetachedRun):
            jobPanel.job.leave()
            jobPanel.job = None

    def _later(self, watched: int) -> None:
        qt.QTimer.singleShot(REFRESH_MS, lambda: self._tick(watched))

    def _tick(self, watched: int) -> None:
        if watched == self._watched:
            self._refresh()
            self._later(watched)

    def _refresh(self) -> None:
        folder = self.folder or Path()
        self._pictures.update(folder)
        found = available(folder) if self.folder else []
        self._curves.update(folder)
        self.ui.numbersLabel.text = latest(folder) or _("No numbers yet.")
        self.ui.curveButton.enabled = bool(found)
        self.ui.curveButton.toolTip = "" if found else _("The run has logged nothing yet.")
        if found != self._shown:
            self._list(found)

    def _list(self, found: list[Curve]) -> None:
        combo, self._shown = self.ui.curveComboBox, found
        chosen = combo.currentData
        combo.clear()
        for curve in found:
            combo.addItem(curve.title, curve.key)
        combo.currentIndex = max(combo.findData(chosen), 0) if found else -1

    def _onCurveButton(self, _clicked: bool = False) -> None:
        curve = next((each for each in self._shown if each.key == self.ui.curveComboBox.currentData), None)
        if curve is not None and self.folder is not None:
            chart = self._curves.show(self.folder, curve)
            if chart is not None and slicer.app.layoutManager() is None:
                self.ui.statusLabel.text = _("There is no plot view; the chart is '{name}'.").format(
                    name=chart.GetName()
                )
