"""Choosing a model: bundled, imported, or a folder used where it lies; and what its card says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _
from xrecon.volume import InputError

from XReconSlicerLib.models import (
    ModelChoice,
    bundledModels,
    deleteModel,
    importModel,
    listedByPTXSeg,
    readModel,
    storedModels,
    storeFolder,
)
from XReconSlicerLib.settings import connectFolderEdit, saveSetting, setting


class ModelBox:
    """`ui` has modelComboBox, importModelButton, openModelsButton, deleteModelButton, modelDetailsLabel and
    modelFolderEdit. A folder in the last one counts more than the combo box."""

    def __init__(self, ui: Any, kind: str, changed: Callable[[], None]) -> None:
        self.ui, self.kind, self._changed = ui, kind, changed
        self._choices: dict[str, ModelChoice] = {}
        connectFolderEdit(ui.modelFolderEdit, "modelFolder")
        self.refresh(setting(f"model.{kind}"))
        ui.modelComboBox.connect("currentIndexChanged(int)", self._onChosen)
        ui.modelFolderEdit.connect("currentPathChanged(QString)", self._onFolder)
        ui.importModelButton.connect("clicked(bool)", self._onImport)
        ui.openModelsButton.connect("clicked(bool)", self._onOpen)
        ui.deleteModelButton.connect("clicked(bool)", self._onDelete)

    def refresh(self, reference: str = "") -> None:
        """Lists the models again and chooses one of them."""
        choices = [*bundledModels(self.kind), *storedModels(self.kind)]
        self._choices = {choice.reference: choice for choice in choices}
        combo = self.ui.modelComboBox
        blocked = combo.blockSignals(True)
        combo.clear()
        for choice in choices:
            mark = _(" (imported)") if choice.isStored else ""
            combo.addItem(choice.title + mark, choice.reference)
            combo.setItemData(combo.count - 1, choice.details, qt.Qt.ToolTipRole)
        combo.currentIndex = max(combo.findData(reference), 0) if choices else -1
        combo.blockSignals(blocked)
        self._show()

    def choose(self, reference: str) -> None:
        """Lists the models again, chooses one, and tells the panel."""
        self.refresh(reference)
        self._onChosen(0)

    @property
    def reference(self) -> str:
        """What `--model` takes; "" when there is no model."""
        return self.ui.modelFolderEdit.currentPath or self.ui.modelComboBox.currentData or ""

    def choice(self) -> ModelChoice:
        """The chosen model. Raises InputError when there is none, or the folder holds none."""
        folder = self.ui.modelFolderEdit.currentPath
        if folder:
            return readModel(Path(folder), self.kind)
        choice = self._choices.get(self.ui.modelComboBox.currentData)
        if choice is None:
            raise InputError(_("There is no model: import one, or choose a model folder under Advanced."))
        return choice

    def _show(self) -> None:
        ui = self.ui
        try:
            choice = self.choice()
        except InputError as error:
            choice, ui.modelDetailsLabel.text = None, str(error)
        else:
            ui.modelDetailsLabel.text = choice.summary
            ui.modelDetailsLabel.toolTip = choice.details
        ui.modelComboBox.enabled = not ui.modelFolderEdit.currentPath  # an own folder counts more
        ui.deleteModelButton.enabled = bool(choice and choice.isStored)

    # -- from the user -------------------------------------------------------------------------
    def _onChosen(self, _index: int) -> None:
        saveSetting(f"model.{self.kind}", self.ui.modelComboBox.currentData or "")
        self._show()
        self._changed()

    def _onFolder(self, _path: str) -> None:
        self._show()
        self._changed()

    def _onImport(self, _clicked: bool = False) -> None:
        folder = qt.QFileDialog.getExistingDirectory(
            self.ui.importModelButton, _("Import a model folder (card.json and weights.safetensors)")
        )
        if not folder:
            return
        try:
            with slicer.util.WaitCursor():
                choice = importModel(Path(folder))
        except (InputError, OSError) as error:
            slicer.util.errorDisplay(str(error), windowTitle="XRecon")
            return
        if choice.kind != self.kind:
            slicer.util.infoDisplay(listedByPTXSeg(choice), windowTitle="XRecon")
            return
        self.refresh(choice.reference)
        self._onChosen(0)

    def _onOpen(self, _clicked: bool = False) -> None:
        folder = storeFolder()
        folder.mkdir(parents=True, exist_ok=True)
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(folder)))

    def _onDelete(self, _clicked: bool = False) -> None:
        choice = self.choice()
        question = _("Delete the imported model '{title}' from this computer?").format(title=choice.title)
        if not slicer.util.confirmOkCancelDisplay(question, _("Delete model")):
            return
        try:
            deleteModel(choice.reference)
        except (InputError, OSError) as error:
            slicer.util.errorDisplay(str(error), windowTitle="XRecon")
        self.refresh()
        self._onChosen(0)
