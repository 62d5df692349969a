"""The module Sample Data offers a chest phantom under "XRecon", made on this computer and not downloaded."""

from __future__ import annotations

from pathlib import Path

import slicer
from slicer.i18n import tr as _
from xrecon.io.image import read_volume
from xrecon.io.radiograph import read_radiograph
from xrecon.volume import Quantity

from XReconSlicerLib.install import ensurePackages
from XReconSlicerLib.jobs import PACKAGE_PARENT, CliJob
from XReconSlicerLib.mrml import radiographToNode, volumeToNode
from XReconSlicerLib.scene import markSynthetic, setChestWindow, showInSliceViews
from XReconSlicerLib.segments import segmentationToNode

CATEGORY, SAMPLE = "XRecon", "XReconPhantom"
THUMBNAIL = PACKAGE_PARENT / "Resources" / "Icons" / "XReconPhantom.png"
NOTICE = _("Chest phantom made by XRecon: drawn by a program, no patient.")


def registerSampleData() -> None:
    """Adds the phantom to the module Sample Data; does nothing where there is no such module."""
    try:
        import SampleData
    except ModuleNotFoundError:
        return
    logic = SampleData.SampleDataLogic
    if any(source.sampleName == SAMPLE for source in logic.sampleDataSourcesByCategory(CATEGORY)):
        return
    logic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=SAMPLE,
        nodeNames=SAMPLE,
        thumbnailFileName=str(THUMBNAIL),
        customDownloader=onPhantomWanted,
    )


def onPhantomWanted(_source: object = None) -> list[slicer.vtkMRMLNode]:
    """The click in the module Sample Data: errors are shown."""
    with slicer.util.tryWithErrorDisplay(_("The chest phantom could not be made."), waitCursor=True):
        return loadPhantom()


def loadPhantom() -> list[slicer.vtkMRMLNode]:
    """Makes the phantom in a process of its own and loads it: CT, segmentation, PA and lateral radiograph.

    :raises XReconSlicerLib.install.InstallError: when packages are missing and cannot be had.
    :raises RuntimeError: when it cannot be made.
    """
    if not ensurePackages():
        return []
    nodes: list[slicer.vtkMRMLNode] = []
    job = CliJob.prepare(lambda folder: ["phantom", "--output", folder / "phantom"])
    job.finished.connect(lambda result: nodes.extend(_load(result["files"])))
    job.run()
    return nodes


def _load(files: dict[str, str]) -> list[slicer.vtkMRMLNode]:
    ct = volumeToNode(read_volume(Path(files["ct"])), _("Phantom CT"))
    setChestWindow(ct)
    labels = read_volume(Path(files["labels"]), Quantity.LABEL)
    truth = segmentationToNode(labels, name=_("Phantom lungs and pneumothorax"), reference=ct)
    pictures = [
        radiographToNode(read_radiograph(Path(files[role])), name)
        for role, name in (("pa", _("Phantom PA")), ("lateral", _("Phantom lateral")))
    ]
    nodes = [ct, truth, *pictures]
    for node in nodes:
        markSynthetic(node, NOTICE)
    showInSliceViews(ct)
    return nodes
