"""The pictures that a run draws of a validation patient now and then, in the training panel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

SAMPLES = "samples"
WIDTH_PIXELS = 420


class SamplePictures:
    """Truth, reconstruction and error at the step that is chosen; the latest one as long as none is.

    `ui` has sampleComboBox and sampleLabel.
    """

    def __init__(self, ui: Any) -> None:
        self.ui = ui
        self._files: list[Path] = []
        ui.sampleComboBox.connect("currentIndexChanged(int)", self._onChosen)

    def update(self, folder: Path | None) -> None:
        """Lists the pictures of a run's folder; goes on to a new one when the latest was shown."""
        files = sorted((folder / SAMPLES).glob("step_*.png")) if folder else []
        if files == self._files:
            return
        combo = self.ui.sampleComboBox
        chosen, wasLatest = combo.currentData, combo.currentIndex == combo.count - 1
        self._files = files
        wasBlocked = combo.blockSignals(True)
        combo.clear()
        for file in files:
            combo.addItem(_("step {step}").format(step=int(file.stem.removeprefix("step_"))), str(file))
        index = -1 if wasLatest else combo.findData(chosen)
        combo.currentIndex = index if index >= 0 else combo.count - 1
        combo.blockSignals(wasBlocked)
        self._onChosen(combo.currentIndex)

    def _onChosen(self, index: int) -> None:
        label, combo = self.ui.sampleLabel, self.ui.sampleComboBox
        combo.enabled = bool(self._files)
        if not 0 <= index < len(self._files):
            label.clear()
            label.text = _("No pictures yet.")
            return
        picture = qt.QPixmap(str(self._files[index]))
        if picture.width() > WIDTH_PIXELS:
            picture = picture.scaledToWidth(WIDTH_PIXELS, qt.Qt.SmoothTransformation)
        label.setPixmap(picture)
        label.toolTip = str(self._files[index])
