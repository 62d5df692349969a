"""What the three panels share: one background job with progress, cancel, log and errors; settings."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _
from xrecon.volume import InputError

from XReconSlicerLib import training
from XReconSlicerLib.events import Signal
from XReconSlicerLib.install import InstallError, ensurePackages
from XReconSlicerLib.jobs import CliJob
from XReconSlicerLib.models import RECONSTRUCTION, importModel, listedByPTXSeg
from XReconSlicerLib.progress import OverallProgress
from XReconSlicerLib.settings import connectDeviceCombo, connectFolderEdit, saveSetting, setting

# Between the start of a stage and its first number the bar only shows that something goes on.
BUSY = (0, 0)
DETERMINATE = (0, 100)

__all__ = [
    "JobPanel",
    "connectDeviceCombo",
    "connectFolderEdit",
    "exportModel",
    "offerModel",
    "saveSetting",
    "setting",
]


class JobPanel:
    """Runs one job at a time for a panel and shows how it goes.

    `ui` has progressBar, statusLabel, logBox (QPlainTextEdit) and cancelButton. `stateChanged` is
    emitted when a job starts or has ended, for the panel to enable its buttons.
    """

    def __init__(self, ui: Any) -> None:
        self.ui = ui
        self.job: CliJob | None = None
        self.stateChanged = Signal()
        self.graceMs = 0
        self._overall = OverallProgress({})
        self._onEndedBadly: Callable[[str], None] | None = None
        ui.cancelButton.connect("clicked(bool)", self.cancel)
        ui.cancelButton.enabled = False
        ui.progressBar.visible = False
        ui.statusLabel.text = ""

    @property
    def isRunning(self) -> bool:
        return self.job is not None

    def run(
        self,
        prepare: Callable[[], CliJob],
        onFinished: Callable[[dict], str],
        graceMs: int = 0,
        stages: Mapping[str, float] | OverallProgress | None = None,
        onEndedBadly: Callable[[str], None] | None = None,
    ) -> None:
        """Installs packages if needed, prepares the job and starts it; shows an error instead of raising it.

        :param prepare: makes the job, e.g. by writing nodes to files.
        :param onFinished: loads the result; gives the text of the status line.
        :param graceMs: time the job gets to save its state when it is cancelled.
        :param stages: the job's stages in order and their shares of the time, for one bar over all; or
            the bar of several jobs.
        :param onEndedBadly: is told the error of a job that failed, in place of the user, or "" when it was
            cancelled or not started.
        """
        if self.isRunning:
            return
        self.graceMs = graceMs
        self._onEndedBadly = onEndedBadly
        self.ui.logBox.clear()
        try:
            if not ensurePackages():
                self.ui.statusLabel.text = _("Not started: the packages were not installed.")
                self._tellEnd("")
                return
            with slicer.util.WaitCursor():
                job = prepare()
        except (InputError, InstallError, OSError) as error:
            self._showFailure(str(error))
            return
        self.job = job
        job.progress.connect(self._onProgress)
        job.log.connect(self._onLog)
        job.finished.connect(lambda result: self._onFinished(result, onFinished))
        job.failed.connect(self._onFailed)
        job.cancelled.connect(self._onCancelled)
        self._overall = stages if isinstance(stages, OverallProgress) else OverallProgress(stages or {})
        self._showRunning(True)
        self.ui.statusLabel.text = _("Starting...")
        job.start()

    def cancel(self, _clicked: bool = False) -> None:
        """Ends the running job, if any."""
        if self.job is not None:
            self.ui.statusLabel.text = _("Cancelling...")
            self.ui.cancelButton.enabled = False
            self.job.cancel(self.graceMs)

    def close(self) -> None:
        """Ends the running job at once because the panel or the application closes."""
        if self.job is not None:
            self.job.cancel()
            self.job.waitForFinished(5000)

    def release(self) -> None:
        """Shows the job no longer; it goes on if the caller lets it."""
        if self.job is not None:
            self.ui.statusLabel.text = ""
            self._stop()

    # -- what the job says ---------------------------------------------------------------------
    def _onProgress(self, stage: str, fraction: float, message: str) -> None:
        self.ui.progressBar.setRange(*DETERMINATE)
        self.ui.progressBar.value = round(100 * self._overall.update(stage, fraction))
        told = f"{stage}: {message}" if message else stage
        # a training says itself how long it will take: it may have begun long before it was followed
        left = "" if getattr(self.job, "tellsTimeLeft", False) else self._overall.text
        self.ui.statusLabel.text = ", ".join(text for text in (told, left) if text)

    def _onLog(self, line: str) -> None:
        self.ui.logBox.appendPlainText(line)
        logging.info("XRecon: %s", line)

    def _onFinished(self, result: dict, load: Callable[[dict], str]) -> None:
        self._stop()
        try:
            with slicer.util.WaitCursor():
                status = load(result)
        except (InputError, OSError, RuntimeError) as error:
            self._showFailure(str(error))
        else:
            self.ui.statusLabel.text = status

    def _onFailed(self, message: str) -> None:
        self._stop()
        self._showFailure(message)

    def _onCancelled(self) -> None:
        self._stop()
        self.ui.statusLabel.text = _("Cancelled.")
        self._tellEnd("")

    def _stop(self) -> None:
        self.job = None
        self._showRunning(False)

    def _showRunning(self, running: bool) -> None:
        self.ui.progressBar.setRange(*(BUSY if running else DETERMINATE))
        self.ui.progressBar.visible = running
        self.ui.cancelButton.enabled = running
        self.stateChanged.emit()

    def _showFailure(self, message: str) -> None:
        logging.error("XRecon: %s", message)
        self.ui.statusLabel.text = message
        if self._tellEnd(message):
            return
        details = self.ui.logBox.plainText or None
        slicer.util.errorDisplay(message, windowTitle="XRecon", detailedText=details)

    def _tellEnd(self, message: str) -> bool:
        """Tells whoever started the job of its bad end; False when nobody wants to know."""
        tell, self._onEndedBadly = self._onEndedBadly, None
        if tell is not None:
            tell(message)
        return tell is not None


# ---- models of the trainer -----------------------------------------------------------------------
def offerModel(ui: Any) -> None:
    """Puts the chosen model among the imported ones: PTXSeg lists one that finds lungs; any other becomes
    that of XReconSlicer, opened or not."""
    try:
        with slicer.util.WaitCursor():
            model = importModel(Path(ui.modelFolderEdit.currentPath))
    except (InputError, OSError) as error:
        ui.statusLabel.text = str(error)
        slicer.util.errorDisplay(str(error), windowTitle="XRecon")
        return
    if model.kind != RECONSTRUCTION:
        ui.statusLabel.text = listedByPTXSeg(model)
        return
    saveSetting(f"model.{RECONSTRUCTION}", model.reference)
    saveSetting("modelFolder", "")  # an own folder would count more
    widget = getattr(slicer.modules, "XReconSlicerWidget", None)
    if widget is not None:  # the module has been opened already
        widget.ui.modelFolderEdit.currentPath = ""
        widget.modelBox.choose(model.reference)
    ui.statusLabel.text = _("XReconSlicer now uses '{title}'.").format(title=model.title)


def exportModel(parent: qt.QWidget, ui: Any) -> None:
    """Asks for a folder and copies the chosen model into it."""
    folder = qt.QFileDialog.getExistingDirectory(parent, _("Export the model into"))
    if not folder:
        return
    try:
        target = training.exportModel(Path(ui.modelFolderEdit.currentPath), Path(folder))
    except (InputError, OSError) as error:
        ui.statusLabel.text = str(error)
        slicer.util.errorDisplay(str(error), windowTitle="XRecon")
    else:
        ui.statusLabel.text = _("Exported: {folder}").format(folder=target)
