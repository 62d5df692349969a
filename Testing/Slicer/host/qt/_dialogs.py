"""Modal dialogs: recorded and answered from a queue, never waiting for a mouse.

A test queues answers with `answer(...)`; a dialog without a queued answer raises, because in Slicer it would
block.
"""

from __future__ import annotations

from dataclasses import dataclass

from PySide6 import QtGui, QtWidgets


class ModalDialogError(RuntimeError):
    """A modal dialog opened and the test had queued no answer for it."""


@dataclass(frozen=True)
class Dialog:
    """One dialog that was opened: its kind (class or function name) and the text or title it carried."""

    kind: str
    text: str


opened: list[Dialog] = []
"""Dialogs opened, and addresses given to the desktop, since the start of the test."""
_answers: list[object] = []


def answer(*values: object) -> None:
    """Queue what the next dialogs return: a button, a result code, a path."""
    _answers.extend(values)


def clear() -> None:
    """Forget opened dialogs and queued answers."""
    opened.clear()
    _answers.clear()


def respond(kind: str, text: str) -> object:
    """Record a dialog and take the next queued answer."""
    opened.append(Dialog(kind, text))
    if not _answers:
        raise ModalDialogError(f"{kind} opened and would wait for the user: {text!r}")
    return _answers.pop(0)


def _execute(self: QtWidgets.QDialog) -> object:
    text = self.text if isinstance(self, QtWidgets.QMessageBox) else self.windowTitle
    return respond(type(self).__name__, text)


def _static(kind: str, textPosition: int) -> staticmethod:
    def call(*arguments: object, **named: object) -> object:
        text = arguments[textPosition] if len(arguments) > textPosition else next(iter(named.values()), "")
        return respond(kind, str(text))

    return staticmethod(call)


def _openUrl(url: object) -> bool:
    opened.append(Dialog("QDesktopServices.openUrl", url.toString()))
    return True


def install() -> None:
    """Replace everything in Qt that waits for the user or leaves the process.

    The file and input dialogs return one value, as in PythonQt, where PySide6 would return a tuple.
    """
    for cls in (QtWidgets.QDialog, QtWidgets.QMessageBox, QtWidgets.QFileDialog, QtWidgets.QInputDialog):
        cls.exec_ = _execute
        cls.exec = _execute
    QtWidgets.QProgressDialog.exec_ = QtWidgets.QProgressDialog.exec = _execute
    for name in ("question", "information", "warning", "critical", "about"):
        setattr(QtWidgets.QMessageBox, name, _static(f"QMessageBox.{name}", 2))
    for name in ("getOpenFileName", "getOpenFileNames", "getSaveFileName", "getExistingDirectory"):
        setattr(QtWidgets.QFileDialog, name, _static(f"QFileDialog.{name}", 1))
    for name in ("getText", "getInt", "getDouble", "getItem"):
        setattr(QtWidgets.QInputDialog, name, _static(f"QInputDialog.{name}", 2))
    QtGui.QDesktopServices.openUrl = staticmethod(_openUrl)
