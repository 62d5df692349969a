"""Puts the pieces into the `slicer` package, once per process, and resets them between tests."""

from __future__ import annotations

import atexit
import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

import qt
import slicer
from names_table import NEWER_UTIL
from qt import _dialogs, _errors

_LAYER = Path(__file__).resolve().parent.parent / "slicer_layer"

messages: list[tuple[str, str]] = []
"""What `slicer.util` displayed since the start of the test: (kind, text with details)."""


def _removeStrayNames() -> None:
    """Take `slicer.util`'s names off `slicer`: slicer-core puts them there, Slicer does not."""
    import slicer_core

    kept = set(dir(slicer_core)) | {"util", "slicer_core"}
    for name in dir(slicer.util):
        if not name.startswith("_") and name not in kept and hasattr(slicer, name):
            delattr(slicer, name)


def _removeNewerNames() -> None:
    """Take from `slicer.util` what the oldest supported Slicer lacks; slicer-core is of the newest."""
    for name in NEWER_UTIL:
        if hasattr(slicer.util, name):
            delattr(slicer.util, name)


def _recordDisplays() -> None:
    """Record what `slicer.util` displays; whether a box opens, and what it returns, stays Slicer's choice.

    Errors, warnings and infos open none without a main window; confirmations do, outside testing mode.
    """
    original = slicer.util._messageDisplay

    def display(logLevel: int, text: str, testingReturnValue: object, **named: object) -> object:
        kind = logging.getLevelName(logLevel).lower()
        details = named.get("detailedText")
        kind = "confirm" if named.get("icon") == qt.QMessageBox.Question else kind
        messages.append((kind, f"{text}\n{details}" if details else str(text)))
        return original(logLevel, text, testingReturnValue, **named)

    slicer.util._messageDisplay = display


def create() -> object:
    """Start the application: fill `slicer.mrmlScene`, `.app` and `.modules`; returns `slicer.app`."""
    if hasattr(slicer, "app"):
        return slicer.app
    from . import application, hierarchy, modules, qmrml, scene

    _removeStrayNames()
    _removeNewerNames()
    slicer.selfTests = {}
    slicer.__path__.append(str(_LAYER))
    app = application.start()
    app._scene = scene.Scene(app.temporaryPath, app.cachePath)
    slicer.app = app
    slicer.mrmlScene = app._scene.mrmlScene
    slicer.modules = modules.Modules()
    for name, logic in app._scene.moduleLogics.items():
        setattr(slicer.modules, name.lower(), modules.LoadedModule(name, logic))
    qmrml.install()
    hierarchy.observe(slicer.mrmlScene)
    _recordDisplays()
    atexit.register(slicer.mrmlScene.RemoveAllObservers)  # Python is half gone when the scene is deleted
    return app


def reset() -> None:
    """A clean scene, no settings, no recorded errors, messages or dialogs."""
    qt.QApplication.processEvents()
    slicer.mrmlScene.Clear(False)
    slicer.mrmlScene.SetURL("")
    settings = qt.QSettings()
    settings.clear()
    settings.sync()
    messages.clear()
    _dialogs.clear()
    _errors.watch()
    _errors.slotErrors.clear()
    _errors.qtWarnings.clear()
    while qt.QApplication.overrideCursor() is not None:
        qt.QApplication.restoreOverrideCursor()


@contextlib.contextmanager
def interactiveMode() -> Iterator[None]:
    """Testing mode off: `tryWithErrorDisplay` displays, confirmations ask (queue answers with `answer`)."""
    slicer.app._testing = False
    try:
        yield
    finally:
        slicer.app._testing = True
