"""How near one segmentation is to another: Dice, HD95 and surface distances of segments of the same name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _
from xrecon.io.image import write_volume
from xrecon.volume import InputError, Quantity, Volume

from XReconSlicerLib.jobs import CliJob
from XReconSlicerLib.mrml import volumeFromNode
from XReconSlicerLib.tables import fillByRole

COMPARISON_ROLE = "comparison"
METRICS = ("dice", "hd95_mm", "asd_mm", "assd_mm")
HEADER = ("segment", *METRICS, "segmentation_ml", "reference_ml")


def commonGrid(
    first: slicer.vtkMRMLSegmentationNode,
    second: slicer.vtkMRMLSegmentationNode,
    ct: slicer.vtkMRMLScalarVolumeNode | None = None,
) -> slicer.vtkMRMLScalarVolumeNode:
    """The volume on whose voxels both are compared: the CT of one of them, else `ct`.

    :raises InputError: when there is none.
    """
    for node in (second, first):
        volume = node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole())
        if volume is not None:
            return volume
    if ct is None:
        raise InputError(_("Neither segmentation has its CT in the scene: choose the CT under Inputs."))
    return ct


def sharedSegments(
    first: slicer.vtkMRMLSegmentationNode, second: slicer.vtkMRMLSegmentationNode
) -> list[tuple[str, str, str]]:
    """Name and both ids of the segments whose names agree but for case.

    :raises InputError: when there are none.
    """
    ours, theirs = _idsByName(first), _idsByName(second)
    shared = [(name, ours[name], theirs[name]) for name in ours if name in theirs]
    if not shared:
        message = _("No segment of '{first}' ({ours}) has the name of one of '{second}' ({theirs}).")
        raise InputError(
            message.format(
                first=first.GetName(), ours=_list(ours), second=second.GetName(), theirs=_list(theirs)
            )
        )
    return shared


def comparisonJob(
    first: slicer.vtkMRMLSegmentationNode,
    second: slicer.vtkMRMLSegmentationNode,
    grid: slicer.vtkMRMLScalarVolumeNode,
) -> tuple[CliJob, dict[str, tuple[float, float]]]:
    """The job `xrecon evaluate` for two segmentations, and the millilitres of each segment in both.

    :raises InputError: when they share no segment, or segments of one of them overlap.
    """
    shared, space = sharedSegments(first, second), volumeFromNode(grid)
    names = [name for name, _ours, _theirs in shared]
    volumes = [
        _labels(node, [ids[number] for ids in shared], names, grid, space)
        for number, node in ((1, first), (2, second))
    ]
    counts = [np.bincount(v.array.ravel(), minlength=len(names) + 1) * space.voxel_ml for v in volumes]
    ml = {name: (counts[0][label], counts[1][label]) for label, name in enumerate(names, 1)}

    def arguments(folder: Path) -> list[object]:
        files = [folder / "segmentation.nrrd", folder / "reference.nrrd"]
        for volume, file in zip(volumes, files, strict=True):
            write_volume(volume, file)
        paths = ["--prediction", files[0], "--reference", files[1]]
        return ["evaluate", *paths, "--labels", "--output", folder / "out"]

    return CliJob.prepare(arguments), ml


def loadComparison(
    numbers: Mapping[str, Any], ml: Mapping[str, tuple[float, float]], names: tuple[str, str]
) -> slicer.vtkMRMLTableNode:
    """A row for each segment. numbers: of the finished job; names: of both segmentations."""
    (metrics,) = numbers["subjects"]
    rows = []
    for label, (segment, volumes) in enumerate(ml.items(), 1):
        values = [*(metrics.get(f"{metric}_{label}") for metric in METRICS), *volumes]
        rows.append([segment, *("" if _isNone(value) else repr(float(value)) for value in values)])
    title = _("{first} against {second}").format(first=names[0], second=names[1])
    return fillByRole(COMPARISON_ROLE, title, HEADER, rows)


def _isNone(value: float | None) -> bool:
    return value is None or value != value


def _idsByName(node: slicer.vtkMRMLSegmentationNode) -> dict[str, str]:
    segmentation = node.GetSegmentation()
    ids = [segmentation.GetNthSegmentID(index) for index in range(segmentation.GetNumberOfSegments())]
    return {segmentation.GetSegment(each).GetName().strip().lower(): each for each in ids}


def _list(ids: Mapping[str, str]) -> str:
    return ", ".join(ids) or _("no segments")


def _labels(
    node: slicer.vtkMRMLSegmentationNode,
    ids: list[str],
    names: list[str],
    grid: slicer.vtkMRMLScalarVolumeNode,
    space: Volume,
) -> Volume:
    """Labels 1, 2, ... of these segments on the grid."""
    labels = np.zeros(space.shape, np.uint8)
    for label, segmentId in enumerate(ids, 1):
        mask = np.asarray(slicer.util.arrayFromSegmentBinaryLabelmap(node, segmentId, grid)) > 0
        below = np.unique(labels[mask])
        if below.any():
            message = _("In '{name}' the segments {one} and {two} overlap: compare others, or separate them.")
            one, two = names[int(below[-1]) - 1], names[label - 1]
            raise InputError(message.format(name=node.GetName(), one=one, two=two))
        labels[mask] = label
    return space.with_array(labels, Quantity.LABEL)
