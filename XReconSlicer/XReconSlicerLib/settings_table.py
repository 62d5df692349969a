"""A table of training settings, filled from `xrecon`'s own configuration."""

from __future__ import annotations

from collections.abc import Mapping

import qt
from slicer.i18n import tr as _
from xrecon.volume import InputError

from XReconSlicerLib import training
from XReconSlicerLib.events import Signal

NAME, VALUE = 0, 1
# Chosen elsewhere in the panel: two places for one setting could contradict each other.
ELSEWHERE = ("device",)


class SettingsTable:
    """The settings of a recipe by name and value, but those chosen `ELSEWHERE`; changed values are bold.

    `changed(recipe, changes)` is emitted when the user chooses another recipe or edits a value;
    `changes` holds what differs from the recipe.
    """

    def __init__(self, table: qt.QTableWidget, recipeCombo: qt.QComboBox) -> None:
        self.table, self.recipeCombo = table, recipeCombo
        self.changed = Signal()
        self._defaults: dict[str, tuple[str, str]] = {}
        table.setHorizontalHeaderLabels([_("Setting"), _("Value")])
        table.horizontalHeader().stretchLastSection = True
        table.verticalHeader().visible = False
        table.verticalHeader().defaultSectionSize = 22  # more rows in sight than with Qt's default
        table.connect("cellChanged(int,int)", self._onCellChanged)
        recipeCombo.connect("currentIndexChanged(int)", self._onRecipeChanged)

    def show(self, recipe: str, changes: Mapping[str, str]) -> str:
        """Shows a recipe with changes; gives what is wrong with them, or ""."""
        try:
            names = training.recipes()
        except ImportError:
            return ""  # packages are installed at the first start, and the settings can be seen from then on
        self._fillRecipes(names, recipe)
        settings = training.recipeSettings(recipe).items()
        self._defaults = {name: value for name, value in settings if name not in ELSEWHERE}
        wasBlocked = self.table.blockSignals(True)
        self.table.rowCount = len(self._defaults)
        for row, (name, (default, meaning)) in enumerate(self._defaults.items()):
            self._showRow(row, name, changes.get(name, default), name in changes, meaning)
        self.table.resizeColumnToContents(NAME)
        self.table.blockSignals(wasBlocked)
        try:
            training.checkSettings(recipe, changes)
        except InputError as error:
            return str(error)
        return ""

    def values(self) -> dict[str, str]:
        """What is shown, as text by dotted name; {} while the packages are missing."""
        return {name: self.table.item(row, VALUE).text().strip() for row, name in enumerate(self._defaults)}

    def merged(self, changes: Mapping[str, str], more: Mapping[str, str]) -> dict[str, str]:
        """The changes with `more` of them, without those that are the recipe's own values."""
        both = {**changes, **more}
        defaults = {name: default for name, (default, _meaning) in self._defaults.items()}
        return {name: text for name, text in both.items() if text != defaults.get(name)}

    def _fillRecipes(self, names: list[str], current: str) -> None:
        combo = self.recipeCombo
        wasBlocked = combo.blockSignals(True)
        if combo.count != len(names):
            combo.clear()
            for name in names:
                combo.addItem(name, name)
        combo.currentIndex = combo.findData(current)
        combo.blockSignals(wasBlocked)

    def _showRow(self, row: int, name: str, value: str, isChanged: bool, meaning: str) -> None:
        nameItem, valueItem = qt.QTableWidgetItem(name), qt.QTableWidgetItem(value)
        nameItem.setFlags(qt.Qt.ItemIsEnabled)
        font = valueItem.font()
        font.setBold(isChanged)
        for item in (nameItem, valueItem):
            item.setToolTip(meaning or name)
            item.setFont(font)
        self.table.setItem(row, NAME, nameItem)
        self.table.setItem(row, VALUE, valueItem)

    def _onCellChanged(self, _row: int, _column: int) -> None:
        changes = {}
        for row, (name, (default, _meaning)) in enumerate(self._defaults.items()):
            text = self.table.item(row, VALUE).text().strip()
            if text and text != default:
                changes[name] = text
        self.changed.emit(self.recipeCombo.currentData, changes)

    def _onRecipeChanged(self, _index: int) -> None:
        self.changed.emit(self.recipeCombo.currentData, {})
