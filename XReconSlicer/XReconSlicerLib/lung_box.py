"""Choosing which lung models are united: a list to tick, with checksum and licence of the chosen line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _
from xrecon.volume import InputError

from XReconSlicerLib.lung_models import LungModel, addWeights, forgetWeights, lungModels, missing


class LungBox:
    """`ui` has lungModelsList (QListWidget), lungModelsLabel, addWeightsButton and removeWeightsButton.

    `changed(keys)` is called when the user ticks or unticks a model.
    """

    def __init__(self, ui: Any, changed: Callable[[list[str]], None]) -> None:
        self.ui, self._changed = ui, changed
        self._models: list[LungModel] = []
        self._ticked: list[str] = []
        ui.lungModelsList.connect("itemChanged(QListWidgetItem*)", self._onTicked)
        ui.lungModelsList.connect("currentRowChanged(int)", self._describe)
        ui.addWeightsButton.connect("clicked(bool)", self._onAdd)
        ui.removeWeightsButton.connect("clicked(bool)", self._onRemove)

    def show(self, keys: Sequence[str], enabled: bool) -> None:
        """Shows the models of this computer, these ticked."""
        models = lungModels()
        here = {model.key for model in models}
        strangers = [_stranger(key) for key in keys if key not in here]
        self.ui.lungModelsList.enabled = self.ui.addWeightsButton.enabled = enabled
        if (models + strangers, list(keys)) != (self._models, self._ticked):
            self._models, self._ticked = models + strangers, list(keys)
            self._fill()
        self._describe(self.ui.lungModelsList.currentRow)

    def _fill(self) -> None:
        view = self.ui.lungModelsList
        row = view.currentRow
        blocked = view.blockSignals(True)
        view.clear()
        for model in self._models:
            item = qt.QListWidgetItem(model.title)
            item.setCheckState(qt.Qt.Checked if model.key in self._ticked else qt.Qt.Unchecked)
            item.setToolTip(model.details)
            view.addItem(item)
        view.currentRow = min(max(row, 0), len(self._models) - 1)
        view.blockSignals(blocked)

    def _describe(self, row: int) -> None:
        chosen = self._models[row] if 0 <= row < len(self._models) else None
        isFile = chosen is not None and chosen.isWeightFile
        self.ui.lungModelsLabel.text = chosen.summary if chosen else ""
        self.ui.removeWeightsButton.enabled = isFile and self.ui.lungModelsList.enabled

    # -- from the user -------------------------------------------------------------------------
    def _onTicked(self, _item: object) -> None:
        view = self.ui.lungModelsList
        states = [view.item(row).checkState() == qt.Qt.Checked for row in range(view.count)]
        self._ticked = [model.key for model, on in zip(self._models, states, strict=True) if on]
        self._changed(list(self._ticked))

    def _onAdd(self, _clicked: bool = False) -> None:
        title, kind = _("Add weights of lungmask's networks"), _("lungmask weights (*.pth)")
        path = qt.QFileDialog.getOpenFileName(self.ui.addWeightsButton, title, "", kind)
        if not path:
            return
        try:
            with slicer.util.WaitCursor():
                model = addWeights(Path(path))
        except (InputError, OSError) as error:
            slicer.util.errorDisplay(str(error), windowTitle="XRecon")
            return
        self._changed([*(key for key in self._ticked if key != model.key), model.key])
        keys = [each.key for each in self._models]
        self.ui.lungModelsList.currentRow = keys.index(model.key)

    def _onRemove(self, _clicked: bool = False) -> None:
        model = self._models[self.ui.lungModelsList.currentRow]
        forgetWeights(model.key)
        self._changed([key for key in self._ticked if key != model.key])
        self.show(self._ticked, True)


def _stranger(key: str) -> LungModel:
    title = _("{key} (not on this computer)").format(key=key)
    return LungModel(key, "", title, missing(key), missing(key), missing(key))
