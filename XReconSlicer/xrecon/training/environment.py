"""What a run was computed with: packages, device, source. Kept in `environment.json` of the run's folder.

Holds nothing of whose computer it was: no name, no user, no path.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from xrecon import __version__
from xrecon.io.atomic import atomic_write_text

ENVIRONMENT = "environment.json"
# Those that figures depend on, by the names they are installed under.
PACKAGES = ("torch", "numpy", "scipy", "scikit-image", "SimpleITK", "monai", "safetensors", "pydantic")
_BACKEND = Path(__file__).resolve().parent.parent
_GIT_SECONDS = 10.0


def environment(device: str = "cpu") -> dict[str, Any]:
    """Versions, device and source as plain data. device: as torch calls it, "cpu" or "cuda:0"."""
    import torch

    named = device if device == "cpu" else torch.cuda.get_device_name(device)
    return {
        "xrecon": __version__,
        "source": source_state(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "device": named,
        "processors": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "cuda": None if device == "cpu" else torch.version.cuda,
        "packages": {name: _version(name) for name in PACKAGES},
    }


def source_state(package: Path = _BACKEND) -> dict[str, Any]:
    """SHA-256 of the Python files of the backend and, in a git checkout, the commit they were changed from.

    modified: whether files of the backend differ from that commit; the hash then tells what ran.
    """
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(package).as_posix()}\0{content}\n".encode())
    state: dict[str, Any] = {"sha256": digest.hexdigest()}
    commit, changed = _git(package, "rev-parse", "HEAD"), _git(package, "status", "--porcelain", "--", ".")
    # a copy of the package that merely lies in another project's checkout is not of that commit
    if commit and _git(package, "ls-files", "--", "volume.py"):
        state |= {"commit": commit, "modified": bool(changed)}
    return state


def note_environment(folder: Path, device: str, step: int) -> list[dict[str, Any]]:
    """Adds this session to the run's file, when it differs from the one before; returns all sessions.

    step: from which on the run goes on in it; a run that begins forgets what an earlier one left.
    """
    sessions = read_environment(folder) if step else []
    now = environment(device)
    if not sessions or {k: v for k, v in sessions[-1].items() if k != "from_step"} != now:
        sessions.append({"from_step": step, **now})
        atomic_write_text(folder / ENVIRONMENT, json.dumps({"sessions": sessions}, indent=2) + "\n")
    return sessions


def read_environment(folder: Path) -> list[dict[str, Any]]:
    """The sessions of a run; none when its file is missing or damaged: no reason to lose the run."""
    try:
        return list(json.loads((folder / ENVIRONMENT).read_text(encoding="utf-8"))["sessions"])
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _git(folder: Path, *arguments: str) -> str:
    """What git says of a folder; "" where it says nothing or is not there."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=_GIT_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
