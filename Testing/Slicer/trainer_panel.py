"""The trainer panel with two small CTs and a run that takes seconds: fixtures of its tests."""

from __future__ import annotations

from pathlib import Path

import pytest
import qt
import slicerhost
from trunk import trunk
from xrecon.io.image import write_volume

# A run that takes seconds.
TINY = {
    "steps": "4",
    "precision": "float32",
    "name": "tiny",
    "validate_every": "2",
    "checkpoint_every": "2",
    "pneumothorax_variants": "0",
    "grid.side": "16",
    "grid.spacing_mm": "20.0",
    "grid.source_side": "72",
    "grid.source_spacing_mm": "5.0",
    "grid.detector_pixels": "32",
    "grid.detector_spacing_mm": "13.0",
    "options": '{"view_widths": [4, 4, 8], "grid_widths": [4, 8, 8, 8]}',
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two CTs."""
    folder = tmp_path_factory.mktemp("cts")
    write_volume(trunk(seed=0), folder / "first.nii.gz")
    write_volume(trunk(seed=1), folder / "second.nrrd")
    return folder


@pytest.fixture
def widget(openModule: object, data: Path, tmp_path: Path) -> object:
    """The opened panel with its folders chosen."""
    widget = openModule("XReconTrainer")
    widget.ui.dataFolderEdit.currentPath = str(data)
    widget.ui.outputFolderEdit.currentPath = str(tmp_path / "run")
    return widget


def edit(widget: object, name: str, text: str) -> None:
    """Types a value into the settings table."""
    table = widget.ui.settingsTable
    (row,) = [row for row in range(table.rowCount) if table.item(row, 0).text() == name]
    table.item(row, 1).setText(text)
    qt.QApplication.processEvents()


def wait(widget: object) -> None:
    slicerhost.wait_until(lambda: not widget.jobPanel.isRunning, timeout=120)
