"""Fixtures of the Slicer-side tests: the stand-in application, a clean scene for each test, the modules'
folders.

Without slicer-core or PySide6 every test here is skipped with the reason.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

_HERE = Path(__file__).resolve().parent
_REPOSITORY = _HERE.parents[1]
_PATHS = [
    _HERE / "host",
    _HERE / "example_module",
    *(_REPOSITORY / name for name in ("XReconSlicer", "PTXSeg", "XReconTrainer")),
]
_NEEDED = {"slicer_core": "slicer-core", "PySide6": "PySide6-Essentials==6.11.1"}

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
for _path in reversed(_PATHS):
    if str(_path) not in sys.path:
        sys.path.insert(0, str(_path))

_missing = [package for name, package in _NEEDED.items() if importlib.util.find_spec(name) is None]
collect_ignore_glob: list[str] = []


class _Skipped(pytest.File):
    """Stands for a test file that cannot even be imported."""

    def collect(self) -> Iterator[pytest.Item]:
        yield _SkippedItem.from_parent(self, name="needs the Slicer stand-in")


class _SkippedItem(pytest.Item):
    def runtest(self) -> None:
        pytest.skip(f"not installed: {', '.join(_missing)}")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect one skipped test in place of each file when the host's packages are missing."""
    if _missing and _HERE in file_path.parents and file_path.match("test_*.py"):
        return _Skipped.from_parent(parent, path=file_path)
    return None


if _missing:
    collect_ignore_glob.append("nothing")
else:
    import slicerhost

    slicerhost.create()


@pytest.fixture(autouse=True)
def cleanApplication() -> Iterator[object]:
    """`slicer.app` with an empty scene and no settings; a slot that raised fails the test."""
    slicerhost.reset()
    yield sys.modules["slicer"].app
    for name in [n for n in vars(sys.modules["slicer"].modules) if n.endswith("Widget")]:
        slicerhost.closeModule(name.removesuffix("Widget"))
    sys.modules["qt"].QApplication.processEvents()
    errors = list(slicerhost.slotErrors)
    slicerhost.reset()
    assert not errors, f"raised inside a slot, timer or observer: {errors!r}"


@pytest.fixture
def openModule() -> object:
    """`openModule("XReconSlicer")` gives the module's widget; it is closed after the test."""
    return slicerhost.openModule
