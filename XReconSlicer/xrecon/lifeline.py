"""Ends a command whose caller has gone: a job of Slicer must not compute on when Slicer was killed.

The caller says its process id in the environment variable `XRECON_PARENT_PID`; without it nothing is
watched. The parent process would not do: Slicer's Python is started by a launcher that outlives Slicer.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable

VARIABLE = "XRECON_PARENT_PID"
POLL_SECONDS, GRACE_SECONDS = 1.0, 15.0


def watch_caller() -> None:
    """Starts watching in the background, if a caller wants to be watched."""
    text = os.environ.get(VARIABLE, "")
    if text.isdigit() and int(text) > 0:
        threading.Thread(target=_watch, args=(int(text), is_alive, _end), daemon=True).start()


def _watch(pid: int, alive: Callable[[int], bool], end: Callable[[], None]) -> None:
    while alive(pid):
        time.sleep(POLL_SECONDS)
    end()


def _end() -> None:
    """Asks this process to clean up and end, and ends it when it does not."""
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))


def is_alive(pid: int) -> bool:
    """Whether there is such a process."""
    if sys.platform == "win32":
        return _is_alive_on_windows(pid)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True


def _is_alive_on_windows(pid: int) -> bool:
    import ctypes

    synchronize, still_running = 0x00100000, 0x00000102
    kernel = ctypes.windll.kernel32
    handle = kernel.OpenProcess(synchronize, False, pid)
    if not handle:
        return False
    try:
        return kernel.WaitForSingleObject(handle, 0) == still_running
    finally:
        kernel.CloseHandle(handle)
