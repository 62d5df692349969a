"""Ends a process and all its descendants, with the standard library only.

Slicer's `PythonSlicer` is a launcher whose child does the work, and data loaders start children of
their own: ending only the process that was started leaves the others computing.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections import defaultdict
from pathlib import Path


def descendants(pid: int) -> list[int]:
    """Process ids of all descendants of `pid`, parents before children (POSIX)."""
    children = defaultdict(list)
    for child, parent in _parents():
        children[parent].append(child)
    found, waiting = [], [pid]
    while waiting:
        waiting = [child for parent in waiting for child in children[parent]]
        found += waiting
    return found


def interrupt(pid: int) -> bool:
    """Asks the tree to stop as Ctrl+C does; False where that cannot be asked (Windows)."""
    if sys.platform == "win32":
        return False
    for each in [*descendants(pid), pid]:
        _send(each, signal.SIGINT)
    return True


def kill(pid: int) -> None:
    """Ends the tree at once."""
    if sys.platform == "win32":
        command = ["taskkill", "/PID", str(pid), "/T", "/F"]
        subprocess.run(command, capture_output=True, check=False, creationflags=subprocess.CREATE_NO_WINDOW)
        return
    # Stopped processes start no more children, so the list is complete when it no longer grows.
    stopped: list[int] = []
    while new := [each for each in [pid, *descendants(pid)] if each not in stopped]:
        for each in new:
            _send(each, signal.SIGSTOP)
        stopped += new
    for each in stopped:
        _send(each, signal.SIGKILL)


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it ended by itself meanwhile
        os.kill(pid, number)


def _parents() -> list[tuple[int, int]]:
    """(process id, parent's id) of every process."""
    if Path("/proc/self/stat").exists():
        return [pair for folder in Path("/proc").glob("[0-9]*") if (pair := _parentOnLinux(folder))]
    listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True)
    return [tuple(int(number) for number in line.split()) for line in listing.stdout.splitlines()]


def _parentOnLinux(folder: Path) -> tuple[int, int] | None:
    try:
        status = (folder / "stat").read_text(errors="replace")
    except OSError:  # ended while we were listing
        return None
    # "pid (name) state parent ...", where the name may contain spaces and parentheses
    return int(folder.name), int(status.rpartition(")")[2].split()[1])
