"""Choosing files and folders: ctkPathLineEdit, ctkDirectoryButton."""

from __future__ import annotations

import os

import qt
from qt._standins import StandIn, standIn, stored


@standIn
class ctkPathLineEdit(StandIn, qt.QWidget):
    """Line edit with a browse button and a history (kept in QSettings under `settingKey`)."""

    SIGNALS = ("currentPathChanged(QString)", "validInputChanged(bool)")
    Dirs, Files, Drives, NoSymLinks = 0x001, 0x002, 0x004, 0x008
    Readable, Writable, Executable, Hidden = 0x010, 0x020, 0x040, 0x100
    NoDotAndDotDot, NoDot, NoDotDot = 0x1000, 0x2000, 0x4000
    AdjustToContents, AdjustToContentsOnFirstShow, AdjustToMinimumContentsLength = range(3)

    label = stored("label", "", str)
    filters = stored("filters", Dirs | Files | Drives, int)
    nameFilters = stored("nameFilters", (), tuple)
    options = stored("options", 0, int)
    sizeAdjustPolicy = stored("sizeAdjustPolicy", 1, int)
    minimumContentsLength = stored("minimumContentsLength", 0, int)

    def __init__(self, parent: qt.QWidget | None = None) -> None:
        super().__init__(parent)
        row = qt.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._combo = qt.QComboBox()
        self._combo.setEditable(True)
        self._combo.setInsertPolicy(qt.QComboBox.NoInsert)
        self._combo.setSizePolicy(qt.QSizePolicy.Expanding, qt.QSizePolicy.Fixed)
        self._combo.setCompleter(None)
        self._browseButton = qt.QToolButton()
        self._browseButton.setText("...")
        self._browseButton.clicked.connect(self.browse)
        row.addWidget(self._combo)
        row.addWidget(self._browseButton)
        self._valid = False
        self._settingKey = ""
        self._combo.editTextChanged.connect(self._changed)

    def _changed(self, path: str) -> None:
        valid = os.path.exists(path)
        if valid != self._valid:
            self._valid = valid
            self._emit("validInputChanged(bool)", valid)
        self._emit("currentPathChanged(QString)", path)

    @property
    def currentPath(self) -> str:
        return self._combo.currentText

    @currentPath.setter
    def currentPath(self, path: str) -> None:
        if not isinstance(path, str):
            raise TypeError(f"ctkPathLineEdit.currentPath takes a str, not {type(path).__name__}")
        self._combo.setEditText(path)

    @property
    def showBrowseButton(self) -> bool:
        return not self._browseButton.isHidden()

    @showBrowseButton.setter
    def showBrowseButton(self, value: bool) -> None:
        self._browseButton.setVisible(value)

    showHistoryButton = stored("showHistoryButton", True, bool)

    def browse(self) -> None:
        """Ask for a path; the kind of dialog follows from `filters`."""
        files = (
            qt.QFileDialog.getSaveFileName if self.filters & self.Writable else qt.QFileDialog.getOpenFileName
        )
        path = (files if self.filters & self.Files else qt.QFileDialog.getExistingDirectory)(self, self.label)
        if path:
            self.currentPath = path
            self.addCurrentPathToHistory()

    def addCurrentPathToHistory(self) -> None:
        path = self.currentPath
        if path and self._combo.findText(path) < 0:
            blocked = self._combo.blockSignals(True)
            self._combo.insertItem(0, path)
            self._combo.setEditText(path)
            self._combo.blockSignals(blocked)
        history = [self._combo.itemText(index) for index in range(self._combo.count)]
        qt.QSettings().setValue(self._historyKey(), history)

    def _historyKey(self) -> str:
        return f"ctkPathLineEdit/{self.settingKey or self.objectName}"

    @property
    def settingKey(self) -> str:
        return self._settingKey

    @settingKey.setter
    def settingKey(self, value: str) -> None:
        self._settingKey = value
        self.retrieveHistory()

    def retrieveHistory(self) -> None:
        current = self.currentPath
        history = qt.QSettings().value(self._historyKey()) or []
        blocked = self._combo.blockSignals(True)
        self._combo.clear()
        self._combo.addItems([history] if isinstance(history, str) else list(history))
        self._combo.setEditText(current)
        self._combo.blockSignals(blocked)


@standIn
class ctkDirectoryButton(StandIn, qt.QWidget):
    """Push button that shows a folder and asks for another one."""

    SIGNALS = ("directoryChanged(QString)", "directorySelected(QString)")
    caption = stored("caption", "", str)
    acceptMode = stored("acceptMode", qt.QFileDialog.AcceptOpen)
    icon = stored("icon", None)
    options = stored("options", 0, int)

    def __init__(self, parent: qt.QWidget | None = None) -> None:
        super().__init__(parent)
        row = qt.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._directory = os.getcwd()
        self._text = ""
        self._button = qt.QPushButton(self._directory)
        self._button.clicked.connect(self.browse)
        row.addWidget(self._button)

    @property
    def directory(self) -> str:
        return self._directory

    @directory.setter
    def directory(self, path: str) -> None:
        if not isinstance(path, str):
            raise TypeError(f"ctkDirectoryButton.directory takes a str, not {type(path).__name__}")
        path = os.path.abspath(path)
        self._emit("directorySelected(QString)", path)
        if path != self._directory:
            self._directory = path
            self._button.setText(self._text or path)
            self._emit("directoryChanged(QString)", path)

    @property
    def text(self) -> str:
        return self._text

    @text.setter
    def text(self, value: str) -> None:
        self._text = value
        self._button.setText(value or self._directory)

    def browse(self) -> None:
        path = qt.QFileDialog.getExistingDirectory(self, self.caption)
        if path:
            self.directory = path
