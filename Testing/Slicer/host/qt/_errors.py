"""Exceptions raised inside slots, timers and VTK observers.

In Slicer such an exception is printed and the application goes on.  Here it is printed and kept, so that a
test can fail because of it.  PySide6 and VTK both hand an exception they cannot return to `sys.excepthook`.
"""

from __future__ import annotations

import atexit
import inspect
import sys
from collections.abc import Callable
from types import TracebackType

from PySide6 import QtCore

slotErrors: list[BaseException] = []
"""Exceptions since the list was last cleared; the test fixture asserts that it is empty."""
qtWarnings: list[str] = []
"""What Qt complained about since then, e.g. a layout set twice or a process destroyed while running."""
_HARMLESS = ("propagateSizeHints", "XDG_RUNTIME_DIR")  # of the off-screen platform


def _record(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not any(error is known for known in slotErrors):
        slotErrors.append(error)
    sys.__excepthook__(kind, error, trace)


def _recordWarning(kind: QtCore.QtMsgType, context: QtCore.QMessageLogContext, text: str) -> None:
    if kind != QtCore.QtMsgType.QtDebugMsg and not any(harmless in text for harmless in _HARMLESS):
        qtWarnings.append(text)
        print(f"Qt: {text}", file=sys.stderr)


def watch() -> None:
    """Be the one that is told of exceptions nobody catches; a command line run in process takes over."""
    sys.excepthook = _record


def install() -> None:
    """Route exceptions that nobody can catch into `slotErrors`, Qt's complaints into `qtWarnings`."""
    watch()
    QtCore.qInstallMessageHandler(_recordWarning)
    atexit.register(QtCore.qInstallMessageHandler, None)


def acceptedArguments(slot: Callable[..., object]) -> int | None:
    """Number of positional arguments `slot` takes; None when Python cannot tell (C++ methods)."""
    try:
        parameters = inspect.signature(slot).parameters.values()
    except (TypeError, ValueError):
        return None
    if inspect.isbuiltin(slot) or type(slot).__name__ == "builtin_function_or_method":
        return None
    if any(parameter.kind == parameter.VAR_POSITIONAL for parameter in parameters):
        return 99
    return sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)


def _callFitting(slot: Callable[..., object], arguments: tuple[object, ...]) -> object:
    """Call a C++ method with as many of the arguments as one of its overloads takes."""
    for count in range(len(arguments), 0, -1):
        try:
            return slot(*arguments[:count])
        except TypeError:
            continue
    return slot()


def guarded(slot: Callable[..., object], argumentCount: int = 99) -> Callable[..., None]:
    """`slot` as Qt calls it: with at most `argumentCount` arguments, as many as it takes; errors recorded."""
    accepted = acceptedArguments(slot)

    def call(*arguments: object) -> None:
        try:
            arguments = arguments[:argumentCount]
            if accepted is None:
                _callFitting(slot, arguments)
            else:
                slot(*arguments[:accepted])
        except Exception as error:
            _record(type(error), error, error.__traceback__)

    return call
