"""The benchmark's own virtual environment: XRecon's packages and the peers, pinned."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
DEFAULT = Path(__file__).resolve().parents[1] / ".environment"
BACKEND = REPOSITORY / "XReconSlicer"
REQUIREMENTS = BACKEND / "Resources" / "requirements.txt"
LOCK = REPOSITORY / "requirements-dev.lock"
TORCH = "torch==2.13.0"
NATIVE_PEERS = ("itk==5.4.7", "itk-rtk==2.7.0.post1")
# Without their dependencies: DiffDRR asks for torchvision, pyvista, timm and kornia, none of which
# its renderer imports, and a torchvision that does not fit torch would break the whole import.
TORCH_PEERS = ("diffdrr==0.6.1", "nanodrr==0.1.7")
TORCH_PEERS_IMPORT = (
    "einops==0.8.2",
    "fastcore==2.2.41",
    "jaxtyping==0.3.11",
    "platformdirs==4.14.8",
    "roma==1.8.0",
    "torchio==1.2.1",
)
_INSIDE = "XRECON_BENCHMARK_ENVIRONMENT"


def python_of(folder: Path) -> Path:
    """The interpreter of a virtual environment."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def steps() -> list[list[str]]:
    """Arguments of pip install, in order. A peer whose step fails becomes a row that says so."""
    return [
        ["--constraint", str(LOCK), TORCH, "--requirement", str(REQUIREMENTS)],
        ["--constraint", str(LOCK), *TORCH_PEERS_IMPORT],
        ["--no-deps", *TORCH_PEERS],
        ["--constraint", str(LOCK), *NATIVE_PEERS],
    ]


def _stamp() -> str:
    inputs = (steps(), REQUIREMENTS.read_text(), LOCK.read_text(), sys.version_info[:2])
    return hashlib.sha256(repr(inputs).encode()).hexdigest()


def install(folder: Path, report: Callable[[str], None]) -> Path:
    """Makes the environment unless it is there already, up to date; returns its interpreter.

    Raises RuntimeError when torch or XRecon's own packages cannot be installed.
    """
    python, mark = python_of(folder), folder / "installed.sha256"
    if python.exists() and mark.exists() and mark.read_text() == _stamp():
        return python
    report(f"installing XRecon's packages and the peers into {folder}")
    if not python.exists():
        venv.create(folder, with_pip=True)
    complete = True
    for number, arguments in enumerate(steps()):
        done = subprocess.run([python, "-m", "pip", "install", "--quiet", *arguments], check=False)
        if done.returncode and number == 0:
            raise RuntimeError(f"pip could not install {TORCH} and {REQUIREMENTS.name}")
        if done.returncode:
            complete = False
            report(f"pip could not install {' '.join(arguments)}; those peers are left out")
    if complete:
        mark.write_text(_stamp())
    return python


def is_inside() -> bool:
    """Whether this process was started by `enter`."""
    return _INSIDE in os.environ


def variables(threads: int) -> dict[str, str]:
    """The surroundings of a measuring process: thread counts, this checkout's xrecon first."""
    path = [str(BACKEND), str(Path(__file__).resolve().parents[1])]
    path += [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []
    return {
        **os.environ,
        _INSIDE: "1",
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "PYTHONPATH": os.pathsep.join(path),
    }


def enter(python: Path, script: Path, arguments: list[str], threads: int) -> int:
    """Runs the script again inside the environment; its exit status."""
    done = subprocess.run([python, script, *arguments], env=variables(threads), check=False)
    return done.returncode
