"""The trainer panel with two small CTs and a run that takes seconds: fixtures of its tests."""

from __future__ import annotations

from pathlib import Path

import pytest
import qt
import slicerhost
import training_inputs
from trunk import trunk
from xrecon.io.image import write_volume

# A run that takes seconds; the device is the panel's choice.
TINY = {name: value for name, value in training_inputs.TINY.items() if name != "device"} | {
    "steps": "4",
    "validate_every": "2",
    "pneumothorax_variants": "0",
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
