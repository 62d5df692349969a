"""How far a job is, for a person or for a program: terminal bars, plain lines, or JSON lines.

A job takes `progress: Callable[[str, float, str], None]` (stage, fraction 0..1 within the stage,
message). A `Reporter` is such a callable. JSON lines go to stdout, one object a line:

    {"event": "progress", "stage": "reconstruct", "fraction": 0.5, "message": "..."}
    {"event": "result", "files": {"volume": "..."}, "numbers": {...}}      last line of a success
    {"event": "error", "message": "..."}                                   last line of a failure

Everything meant for eyes only goes to stderr, so that stdout stays readable by programs.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from enum import Enum, StrEnum
from typing import Any

# A stage's progress is told again only after this much of it, unless the message changes.
STEP = 0.01


class ProgressMode(StrEnum):
    """How progress is shown."""

    AUTO = "auto"
    RICH = "rich"
    PLAIN = "plain"
    JSON = "json"
    NONE = "none"


def plain_data(value: Any) -> Any:
    """The value as JSON knows it: arrays to lists, numpy numbers to numbers, NaN and infinity to None."""
    if isinstance(value, Mapping):
        return {str(key): plain_data(item) for key, item in value.items()}
    if hasattr(value, "tolist"):  # numpy arrays and scalars
        return plain_data(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain_data(item) for item in value]
    if isinstance(value, Enum):
        return plain_data(value.value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)


def json_text(value: Any) -> str:
    """Indented strict JSON text (no NaN) with a final newline, for files."""
    return json.dumps(plain_data(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


class Reporter:
    """Shows progress and results in one of the modes; use as a context manager, call as a callback."""

    def __init__(self, mode: ProgressMode | str = ProgressMode.AUTO) -> None:
        self.mode = ProgressMode(mode)
        if self.mode is ProgressMode.AUTO:
            self.mode = ProgressMode.RICH if sys.stderr.isatty() else ProgressMode.PLAIN
        self._last: tuple[str, float, str] = ("", -1.0, "")
        self._bars: Any = None
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> Reporter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._close_bars(done=kind is None)

    def __call__(self, stage: str, fraction: float, message: str = "") -> None:
        """Progress of a stage, 0..1."""
        fraction = min(max(float(fraction), 0.0), 1.0)
        last_stage, last_fraction, last_message = self._last
        same = stage == last_stage and message == last_message
        if same and fraction < 1.0 and 0 <= fraction - last_fraction < STEP:
            return
        if same and fraction == last_fraction:
            return
        self._last = (stage, fraction, message)
        if self.mode is ProgressMode.JSON:
            _emit({"event": "progress", "stage": stage, "fraction": round(fraction, 4), "message": message})
        elif self.mode is ProgressMode.RICH:
            self._show_bar(stage, fraction, message)
        elif self.mode is ProgressMode.PLAIN and (stage != last_stage or message != last_message):
            print(f"[{stage}] {message}" if message else f"[{stage}]", file=sys.stderr, flush=True)

    def warn(self, message: str) -> None:
        """One line for the user on stderr, in every mode but JSON and none."""
        if self.mode in (ProgressMode.RICH, ProgressMode.PLAIN):
            self._close_bars(done=True)  # warnings come with the result
            print(f"xrecon: note: {message}", file=sys.stderr, flush=True)

    def result(self, files: Mapping[str, Any], numbers: Mapping[str, Any], text: str = "") -> None:
        """The end of a success: JSON object, or `text` and the files on stdout."""
        self._close_bars(done=True)
        if self.mode is ProgressMode.JSON:
            _emit({"event": "result", "files": plain_data(files), "numbers": plain_data(numbers)})
        elif self.mode is not ProgressMode.NONE:
            if text:
                print(text)
            for path in files.values():
                print(path)
            sys.stdout.flush()

    # -- terminal bars -------------------------------------------------------------------------
    def _show_bar(self, stage: str, fraction: float, message: str) -> None:
        if self._bars is None:
            self._bars = _open_bars()
        if stage not in self._tasks:
            self._fill_bars()  # a new stage means that the earlier ones are done
            self._tasks[stage] = self._bars.add_task(stage, total=1.0, message="")
        self._bars.update(self._tasks[stage], completed=fraction, message=message)

    def _fill_bars(self) -> None:
        for task in self._tasks.values():
            self._bars.update(task, completed=1.0, message="")

    def _close_bars(self, done: bool) -> None:
        if self._bars is not None:
            if done:
                self._fill_bars()
            self._bars.stop()
            self._bars, self._tasks = None, {}


def report_error(message: str, as_json: bool) -> None:
    """One line on stderr, and one JSON line on stdout when a program is listening."""
    line = " ".join(message.split())
    if as_json:
        try:
            _emit({"event": "error", "message": line})
        except OSError:  # the listener has gone; stderr may still be read
            pass
    print(f"xrecon: error: {line}", file=sys.stderr, flush=True)


def _emit(event: dict[str, Any]) -> None:
    print(json.dumps(event, allow_nan=False), flush=True)


def _open_bars() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    bars = Progress(
        TextColumn("{task.description:<12}"),
        BarColumn(bar_width=30),
        TextColumn("{task.percentage:>4.0f}%"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[message]}"),
        console=Console(stderr=True),
    )
    bars.start()
    return bars
