"""Settings of this computer, kept between sessions of Slicer; they do not belong into a scene."""

from __future__ import annotations

import ctk
import qt
from slicer.i18n import tr as _

DEVICES = ("auto", "cpu", "cuda")


def setting(key: str, default: str = "") -> str:
    """A value kept between sessions of Slicer."""
    return str(qt.QSettings().value(f"XRecon/{key}", default) or default)


def saveSetting(key: str, value: str) -> None:
    """Keeps a value for the next session."""
    qt.QSettings().setValue(f"XRecon/{key}", value)


def connectDeviceCombo(combo: qt.QComboBox) -> None:
    """Fills a combo box with devices and keeps the choice."""
    titles = {"auto": _("Automatic"), "cpu": _("CPU"), "cuda": _("GPU (CUDA)")}
    combo.clear()
    for device in DEVICES:
        combo.addItem(titles[device], device)
    chosen = setting("device", "auto")
    if combo.findData(chosen) < 0:  # one of several GPUs
        combo.addItem(chosen, chosen)
    combo.currentIndex = max(combo.findData(chosen), 0)
    combo.connect("currentIndexChanged(int)", lambda index: saveSetting("device", combo.itemData(index)))


def connectFolderEdit(edit: ctk.ctkPathLineEdit, key: str) -> None:
    """Shows a remembered folder and keeps the choice."""
    edit.currentPath = setting(key)
    edit.connect("currentPathChanged(QString)", lambda path: saveSetting(key, path))
