"""The extension as CMake installs it: configured for real, with a stub of Slicer's macros, from the tracked
files only."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

STUB = Path(__file__).resolve().parent / "cmake_stub"


def tracked_files(repository: Path) -> list[Path]:
    """Files in git, relative to the repository; skips the test outside a git checkout."""
    if not (repository / ".git").exists() or shutil.which("git") is None:
        pytest.skip("needs git and a git checkout to know which files belong to the project")
    command = ["git", "ls-files", "-z"]
    listing = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True).stdout
    return [Path(name) for name in listing.split("\0") if name and (repository / name).is_file()]


def configure(repository: Path, source: Path, build: Path) -> None:
    """Copies the tracked files, and beside them a model that is in no repository, to `source`, and lets
    CMake install them below `build`; skips the test without CMake or a compiler."""
    if shutil.which("cmake") is None:
        pytest.skip("needs cmake")
    if shutil.which("cc") is None:
        pytest.skip("needs a C compiler, since project() looks for one")
    for name in tracked_files(repository):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(repository / name, source / name)
    own = source / "XReconSlicer" / "xrecon" / "models" / "a-developers-own"
    own.mkdir()
    for name in ("card.json", "weights.safetensors"):
        (own / name).write_text("{}", encoding="utf-8")
    command = ["cmake", "-S", source, "-B", build, f"-DSlicer_DIR={STUB}"]
    configured = subprocess.run(command, capture_output=True, text=True, check=False)
    assert configured.returncode == 0, configured.stderr


def modules_folder(build: Path) -> Path:
    """The folder that Slicer puts on its module path."""
    (folder,) = build.glob("lib/Slicer-*/qt-scripted-modules")
    return folder
