"""What a running `xrecon` command says: JSON lines on its standard output, everything else is log."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

EVENTS = ("progress", "result", "error")


class Signal:
    """Calls connected functions in order. Qt's own signals cannot be made in Slicer's Python classes.

    >>> finished = Signal()
    >>> finished.connect(print)
    >>> finished.emit("done")
    done
    """

    def __init__(self) -> None:
        self._slots: list[Callable[..., Any]] = []

    def connect(self, slot: Callable[..., Any]) -> None:
        self._slots.append(slot)

    def disconnect(self, slot: Callable[..., Any]) -> None:
        self._slots.remove(slot)

    def emit(self, *arguments: Any) -> None:
        for slot in list(self._slots):
            slot(*arguments)


class LineReader:
    """Bytes that arrive in any pieces, as complete lines of text.

    Splitting happens before decoding, so that a character cut in two by a pipe is whole again.
    """

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[str]:
        """Lines completed by `data`, without their ends; undecodable bytes become U+FFFD."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            yield _text(line)

    def close(self) -> Iterator[str]:
        """The last line, if the stream ended without a newline."""
        rest, self._rest = self._rest, b""
        if rest:
            yield _text(rest)


def _text(line: bytes) -> str:
    # A progress bar redraws its line after a carriage return: only the last state is worth keeping.
    return line.rstrip(b"\r").rsplit(b"\r", 1)[-1].decode("utf-8", errors="replace")


def parseEvent(line: str) -> dict[str, Any] | None:
    """The event in a line, or None when the line is something else (a warning of a library)."""
    if not line.startswith("{"):
        return None
    try:
        event = json.loads(line)
    except json.JSONDecodeError:
        return None
    return event if isinstance(event, dict) and event.get("event") in EVENTS else None
