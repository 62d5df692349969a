"""Ends a process and all its descendants, with the standard library only.

Slicer's `PythonSlicer` is a launcher whose child does the work, and data loaders start children of
their own: ending only the process that was started leaves the others computing.

Numbers that name no process (0, which QProcess gives before the start and after the end, and
negative ones) are left out everywhere: for the system they mean whole groups, Slicer's own first.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path


def tree(pid: int) -> list[int]:
    """`pid` and the process ids of all its descendants, parents before children (POSIX); [] for none."""
    if pid <= 0:
        return []
    children = defaultdict(list)
    for child, parent in _parents():
        children[parent].append(child)
    found, generation = [], [pid]
    while generation:
        found += generation
        generation = [child for parent in generation for child in children[parent]]
    return found


def terminate(pids: Sequence[int]) -> None:
    """Asks processes to clean up and end (POSIX)."""
    for pid in pids:
        _send(pid, signal.SIGTERM)


def isAlive(pid: int) -> bool:
    """Whether there is such a process (POSIX)."""
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def kill(pid: int) -> None:
    """Ends the process and its descendants at once."""
    if pid <= 0:
        return
    if sys.platform == "win32":
        command = ["taskkill", "/PID", str(pid), "/T", "/F"]
        subprocess.run(command, capture_output=True, check=False, creationflags=subprocess.CREATE_NO_WINDOW)
        return
    # Stopped processes start no more children, so the list is complete when it no longer grows.
    stopped: list[int] = []
    while new := [each for each in tree(pid) if each not in stopped]:
        for each in new:
            _send(each, signal.SIGSTOP)
        stopped += new
    for each in stopped:
        _send(each, signal.SIGKILL)


def _send(pid: int, number: int) -> None:
    if pid <= 0:
        return
    with contextlib.suppress(ProcessLookupError):  # it ended by itself meanwhile
        os.kill(pid, number)


def _parents() -> list[tuple[int, int]]:
    """(process id, parent's id) of every process."""
    if Path("/proc/self/stat").exists():
        return [pair for folder in Path("/proc").glob("[0-9]*") if (pair := _parentOnLinux(folder))]
    command = ["ps", "-A", "-o", "pid=,ppid="]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [(int(pid), int(parent)) for pid, parent in (line.split() for line in listing.splitlines())]


def _parentOnLinux(folder: Path) -> tuple[int, int] | None:
    try:
        status = (folder / "stat").read_text(errors="replace")
    except OSError:  # ended while we were listing
        return None
    # "pid (name) state parent ...", where the name may contain spaces and parentheses
    return int(folder.name), int(status.rpartition(")")[2].split()[1])
