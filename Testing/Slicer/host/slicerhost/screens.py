"""Pumping events, clicking, and pictures of widgets."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import qt
from PySide6.QtTest import QTest

_REPOSITORY = Path(__file__).resolve().parents[4]


def wait_until(predicate: Callable[[], object], timeout: float = 10.0) -> None:
    """Run the Qt event loop until `predicate()` is true.

    Raises
    ------
    TimeoutError
        when `timeout` seconds pass first
    """
    end = time.monotonic() + timeout
    while not predicate():
        if time.monotonic() > end:
            raise TimeoutError(f"nothing happened within {timeout} s")
        qt.QApplication.processEvents(qt.QEventLoop.AllEvents, 20)
        time.sleep(0.005)


def click(widget: qt.QWidget) -> None:
    """Left click where a user would: on a check box's box, else in the middle; then run the events."""
    if not widget.isEnabled():
        raise AssertionError(f"'{widget.objectName}' is disabled and cannot be clicked")
    position = (
        qt.QPoint(8, widget.height // 2)
        if isinstance(widget, (qt.QCheckBox, qt.QRadioButton))
        else qt.QPoint()
    )
    QTest.mouseClick(widget, qt.Qt.LeftButton, qt.Qt.NoModifier, position)
    qt.QApplication.processEvents()


def outputFolder() -> Path:
    """Where pictures go: $XRECON_TEST_OUTPUT, else `test-output/screenshots` in the repository."""
    chosen = os.environ.get("XRECON_TEST_OUTPUT")
    folder = Path(chosen) if chosen else _REPOSITORY / "test-output" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def screenshot(widget: qt.QWidget, name: str, width: int = 480, height: int | None = None) -> Path:
    """Show `widget` `width` pixels wide and as high as it wants to be; save its picture as `<name>.png`."""
    widget.show()
    qt.QApplication.processEvents()
    widget.resize(width, height or _wantedHeight(widget, width))
    qt.QApplication.processEvents()
    path = outputFolder() / f"{name}.png"
    if not widget.grab().save(str(path)):
        raise OSError(f"cannot write the picture {path}")
    return path


def _wantedHeight(widget: qt.QWidget, width: int) -> int:
    """Height at which nothing is cut off; wrapped texts make it depend on the width."""
    wrapped = widget.heightForWidth(width) if widget.hasHeightForWidth() else 0
    return max(widget.sizeHint.height(), widget.minimumSizeHint.height(), wrapped)
