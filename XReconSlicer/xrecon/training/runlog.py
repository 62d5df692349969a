"""What a run tells while it goes on: log.csv, TensorBoard when it is installed, the time left."""

from __future__ import annotations

import contextlib
import csv
import io
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xrecon.io.atomic import atomic_write_text

LOG, TENSORBOARD = "log.csv", "tensorboard"
# For whoever watches the run; a long log is not written more often than this.
WRITE_SECONDS = 5.0


class RunLog:
    """Rows of numbers by step, kept in `folder`.

    The CSV file is written whole, now and then and beside each checkpoint; a resumed run goes on with
    the rows of its checkpoint.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: list[dict[str, float]] = []
        self._writer: Any = None
        self._is_open = False
        self._written = -WRITE_SECONDS

    def add(self, row: Mapping[str, float]) -> None:
        """One row; "step" says where it belongs."""
        self.rows.append(dict(row))
        writer = self._tensorboard(int(row["step"]))
        if writer is not None:
            for name, value in row.items():
                if name != "step":
                    writer.add_scalar(name, value, int(row["step"]))
        if time.monotonic() - self._written >= WRITE_SECONDS:
            with contextlib.suppress(OSError):  # the write beside the checkpoint tells what is wrong
                self.write()

    def write(self) -> None:
        """The CSV file; columns in the order of their first appearance."""
        self._written = time.monotonic()
        atomic_write_text(self.folder / LOG, _csv(self.rows))
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        """Ends the TensorBoard file."""
        if self._writer is not None:
            self._writer.close()

    def _tensorboard(self, step: int) -> Any:
        if not self._is_open:
            self._is_open = True
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:  # an optional package: the CSV file has the same numbers
                return None
            # what a killed run wrote after its checkpoint is hidden
            self._writer = SummaryWriter(self.folder / TENSORBOARD, purge_step=step)
        return self._writer


class TimeLeft:
    """An estimate from the steps of this process, validation and writing included."""

    def __init__(self, step: int, steps: int) -> None:
        self._first, self._steps, self._started = step, steps, time.monotonic()

    def text(self, step: int) -> str:
        """ "about 12 min left" after a step."""
        done = step - self._first
        if done <= 0 or step >= self._steps:
            return ""
        seconds = (time.monotonic() - self._started) / done * (self._steps - step)
        return f"about {duration_text(seconds)} left"


def duration_text(seconds: float) -> str:
    """ "45 s", "12 min", "3 h 20 min", "2 d 5 h"."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{round(seconds)} s"
    if minutes < 60:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} min" if hours < 24 else f"{hours // 24} d {hours % 24} h"


def _csv(rows: Sequence[Mapping[str, float]]) -> str:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, restval="")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()
