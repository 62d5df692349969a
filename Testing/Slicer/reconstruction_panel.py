"""The X-Recon panel with a chiral chest and a model that knows it: fixtures of its tests."""

from __future__ import annotations

from pathlib import Path

import pytest
import slicer
import slicerhost
import tiny_models
from panel_inputs import chiralChest, choose, radiographNodes

VOLUMES = "vtkMRMLScalarVolumeNode"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder that always answers with the chiral chest."""
    return tiny_models.save_memory(tmp_path_factory.mktemp("model"), chiralChest())


@pytest.fixture
def widget(openModule: object, model: Path) -> object:
    """The opened panel with the model chosen."""
    widget = openModule("XReconSlicer")
    widget.ui.modelFolderEdit.currentPath = str(model)
    # a cartoon is no chest to the view classifier, and the model's answer does not hang on the geometry
    widget._parameterNode.forceDoubtful, widget._parameterNode.calibrateGuessed = True, False
    return widget


@pytest.fixture
def nodes(widget: object) -> list[slicer.vtkMRMLScalarVolumeNode]:
    """A PA and a lateral node, chosen in the panel."""
    pa, lateral = radiographNodes(chiralChest())
    choose(widget, pa, lateral)
    return [pa, lateral]


def apply(widget: object) -> None:
    slicerhost.click(widget.ui.applyButton)
    slicerhost.wait_until(lambda: not widget.jobPanel.isRunning, timeout=60)
