"""Fixtures of the Slicer-side tests: the stand-in application, a clean scene for each test, opened modules.

Without slicer-core, PySide6 or the system libraries they need, every test here is skipped with the reason.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

_HERE = Path(__file__).resolve().parent
_REPOSITORY = _HERE.parents[1]
_PATHS = [
    _HERE,
    _HERE / "host",
    _HERE / "example_module",
    *(_REPOSITORY / name for name in ("XReconSlicer", "PTXSeg", "XReconTrainer")),
]

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ["PYSIDE6_OPTION_PYTHON_ENUM"] = "2"  # read at the first import of PySide6, which is below
for _path in reversed(_PATHS):
    if str(_path) not in sys.path:
        sys.path.insert(0, str(_path))


def _problem() -> str:
    """Why the stand-in cannot run here: a package or a system library is missing; "" when it can."""
    for name, package in (("slicer_core", "slicer-core"), ("PySide6", "PySide6-Essentials==6.11.1")):
        if importlib.util.find_spec(name) is None:
            return f"not installed: {package}"
    try:
        importlib.import_module("slicer_core")
        for name in ("QtNetwork", "QtSvg", "QtTest", "QtUiTools", "QtWidgets"):
            importlib.import_module(f"PySide6.{name}")
    except ImportError as error:
        return str(error)
    return ""


_PROBLEM = _problem()
if not _PROBLEM:
    import slicerhost

    slicerhost.create()


class _SkippedFile(pytest.File):
    """Stands for a test file that cannot be imported."""

    def collect(self) -> Iterator[pytest.Item]:
        yield _SkippedTests.from_parent(self, name="all")


class _SkippedTests(pytest.Item):
    def runtest(self) -> None:
        pytest.skip(f"no stand-in for Slicer: {_PROBLEM}")


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect one skipped test in place of each file when the stand-in cannot run."""
    return _SkippedFile.from_parent(parent, path=module_path) if _PROBLEM else None


@pytest.fixture(autouse=True)
def cleanApplication() -> Iterator[object]:
    """`slicer.app`, scene and settings empty; an exception in a slot or a complaint of Qt fails the test."""
    slicerhost.reset()
    yield sys.modules["slicer"].app
    for name in [n for n in vars(sys.modules["slicer"].modules) if n.endswith("Widget")]:
        slicerhost.closeModule(name.removesuffix("Widget"))
    sys.modules["qt"].QApplication.processEvents()
    errors, warnings = list(slicerhost.slotErrors), list(slicerhost.qtWarnings)
    slicerhost.reset()
    assert not errors, f"raised inside a slot, timer or observer: {errors!r}"
    assert not warnings, f"Qt complained: {warnings!r}"


@pytest.fixture
def openModule() -> object:
    """`openModule("XReconSlicer")` gives the module's widget; it is closed after the test."""
    return slicerhost.openModule
