"""What the panel tests share: a small truth, radiograph nodes, commands that misbehave on purpose."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import numpy as np
import pytest
import slicer
import tiny_models
from xrecon.physics.drr import render_drrs
from xrecon.physics.geometry import ViewGeometry
from xrecon.volume import Quantity, Volume
from XReconSlicerLib.mrml import radiographToNode

SIDE, SPACING_MM = tiny_models.SIDE, tiny_models.SPACING_MM


def chiralChest() -> Volume:
    """A body in HU with a large right and a small left lung and a dense spot at the left front."""
    z, y, x = np.meshgrid(*[(np.arange(SIDE) - 7.5) / 8.0] * 3, indexing="ij")
    hu = np.full((SIDE,) * 3, -1000.0, dtype=np.float32)
    hu[(z / 0.9) ** 2 + (y / 0.55) ** 2 + (x / 0.75) ** 2 < 1] = 40.0
    hu[(z / 0.5) ** 2 + (y / 0.3) ** 2 + ((x + 0.35) / 0.2) ** 2 < 1] = -800.0
    hu[(z / 0.35) ** 2 + (y / 0.25) ** 2 + ((x - 0.35) / 0.15) ** 2 < 1] = -800.0
    hu[11:13, 5:7, 10:12] = 900.0
    middle = (SIDE - 1) / 2.0 * SPACING_MM
    return Volume(hu, (SPACING_MM,) * 3, (-middle,) * 3, quantity=Quantity.HU)


def radiographNodes(volume: Volume) -> list[slicer.vtkMRMLScalarVolumeNode]:
    """A PA and a left lateral node with line integrals and geometry, as this project writes them."""
    views = [ViewGeometry.preset(view, shape=(60, 56)) for view in tiny_models.VIEWS]
    radiographs = render_drrs(volume, views)
    return [radiographToNode(each, name) for each, name in zip(radiographs, ("PA", "Lateral"), strict=True)]


def misbehave(monkeypatch: pytest.MonkeyPatch, folder: Path, code: str) -> None:
    """Makes jobs run `code` in place of `xrecon`; `say(...)` in it tells an event."""
    script = folder / "fake-xrecon"
    lines = [f"#!{sys.executable}", "import json, os, sys, time"]
    lines += ["def say(**event): print(json.dumps(event), flush=True)", code]
    script.write_text("\n".join(lines), encoding="utf-8")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr("XReconSlicerLib.jobs.pythonExecutable", lambda: str(script))


def names(className: str) -> list[str]:
    """Names of the scene's nodes of a class, in order."""
    nodes = slicer.mrmlScene.GetNodesByClass(className)
    nodes.UnRegister(None)
    return [nodes.GetItemAsObject(index).GetName() for index in range(nodes.GetNumberOfItems())]


def leftovers() -> list[Path]:
    """Temporary folders of jobs that were not removed."""
    return list(Path(slicer.app.temporaryPath).glob("xr*"))


def collapsedChest() -> tuple[Volume, Volume]:
    """A CT with a pneumothorax of the left side, and its labels 1 to 4 (nothing has the label 3)."""
    z, y, x = np.meshgrid(*[(np.arange(n) - (n - 1) / 2) * 6.0 for n in (41, 37, 53)], indexing="ij")
    hu = np.full(z.shape, -1000, dtype=np.int16)
    hu[(y / 95) ** 2 + (x / 140) ** 2 < 1] = 40
    right = (z / 100) ** 2 + (y / 60) ** 2 + ((x + 65) / 45) ** 2 < 1
    left = (z / 90) ** 2 + (y / 55) ** 2 + ((x - 70) / 38) ** 2 < 1
    air = left & (y < -20)  # in front of the lung, as in a patient on his back
    hu[right | left] = -850
    hu[air] = -995
    labels = np.select([air, left, right], [4, 2, 1], 0).astype(np.uint8)
    ct = Volume(hu, (6.0,) * 3, (-156.0, -108.0, -120.0))
    return ct, ct.with_array(labels, Quantity.LABEL)


def choose(widget: object, *nodes: slicer.vtkMRMLVolumeNode | None) -> None:
    """Chooses a node in each page of the X-Recon panel."""
    for number, node in enumerate(nodes, 1):
        page(widget, number).volumeSelector.setCurrentNode(node)


def page(widget: object, number: int) -> object:
    """The widgets of a view of the X-Recon panel, 1 for the first."""
    return widget.viewsBox.boxes[number - 1].ui


def refusal(widget: object) -> str:
    """Why Apply is disabled; "" when it is not."""
    ui = widget.ui
    return "" if ui.applyButton.enabled else ui.applyButton.toolTip
