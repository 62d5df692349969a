"""A CT node to a segmentation node of lungs and pneumothorax and a table of their volumes."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _
from xrecon.io.image import write_volume
from xrecon.io.segmentation import PTX_SEGMENTS, SegmentDescription, read_segmentation
from xrecon.volume import InputError, Volume

from XReconSlicerLib.install import requirePackages
from XReconSlicerLib.jobs import CliJob
from XReconSlicerLib.lung_models import DEFAULT_KEYS
from XReconSlicerLib.mrml import (
    ATTRIBUTE_PREFIX,
    SYNTHETIC_ATTRIBUTE,
    isLinearlyPlaced,
    provenanceOf,
    volumeFromNode,
)
from XReconSlicerLib.scene import markSynthetic, placeBeside, tableToNode
from XReconSlicerLib.segments import lungsFromNode, segmentationToNode
from XReconSlicerLib.trust_maps import uncertaintyFromNode

TABLE_ROLE = ATTRIBUTE_PREFIX + "table"
MODE_TITLES = {"robust": _("Robust mode:"), "reference": _("Reference mode:")}
NOTICE = _(
    "Measured by PTX-Seg (XRecon). Check the contours: no setting is validated for small pneumothorax."
)


def ctProblem(node: slicer.vtkMRMLScalarVolumeNode | None) -> str:
    """Why a node cannot be the CT, as far as can be told without looking at its voxels, or ""."""
    if node is None:
        return _("Choose a CT.")
    image = node.GetImageData()
    size = image.GetDimensions() if image is not None else (0, 0, 0)
    if min(size) == 0:
        return _("'{name}' is empty: choose a CT.").format(name=node.GetName())
    if size[2] == 1:
        return _("'{name}' has one slice, as a radiograph has: choose a CT.").format(name=node.GetName())
    if image.GetNumberOfScalarComponents() != 1:
        return _("'{name}' is a colour picture: choose a CT.").format(name=node.GetName())
    if not isLinearlyPlaced(node):
        message = _("'{name}' is under a non-linear transform: harden the transform first.")
        return message.format(name=node.GetName())
    return ""


def ctOf(node: slicer.vtkMRMLScalarVolumeNode) -> Volume:
    """The CT in HU with its provenance; raises InputError naming the node when it cannot be used."""
    problem = ctProblem(node)
    if problem:
        raise InputError(problem)
    ct = volumeFromNode(node).require_finite(f"'{node.GetName()}'")
    return replace(ct, meta={**provenanceOf(node), **ct.meta})


def segmentationJob(
    ctNode: slicer.vtkMRMLScalarVolumeNode,
    lungsNode: slicer.vtkMRMLSegmentationNode | None = None,
    lungModels: Sequence[str] = DEFAULT_KEYS,
    mode: str = "robust",
    settings: Mapping[str, Any] | None = None,
    device: str = "auto",
    withReport: bool = True,
    uncertaintyNode: slicer.vtkMRMLScalarVolumeNode | None = None,
) -> CliJob:
    """The job `xrecon segment` for a CT node.

    :param lungsNode: segmentation with the lungs; None: they are found by `lungModels`, united.
    :param lungModels: as `--lung-model` takes them.
    :param mode: "robust" or "reference" (Algorithm 1 of the paper); settings: of the mode, by name.
    :param uncertaintyNode: the CT's expected error in HU, from which volumes and shares get intervals.
    """
    ct = ctOf(ctNode)
    lungs = lungsFromNode(lungsNode, ctNode) if lungsNode else None
    error = uncertaintyFromNode(ctNode, uncertaintyNode) if uncertaintyNode else None

    def arguments(folder: Path) -> list[object]:
        write_volume(ct, folder / "ct.nrrd")
        options: list[object] = ["--device", device, "--mode", mode, *(["--report"] if withReport else [])]
        if lungs is not None:
            write_volume(lungs, folder / "lungs.nrrd")
            options += ["--lungs", folder / "lungs.nrrd"]
        else:
            for model in lungModels:
                options += ["--lung-model", model]
        if error is not None:
            write_volume(error, folder / "uncertainty.nrrd")
            options += ["--uncertainty", folder / "uncertainty.nrrd"]
        for name, value in (settings or {}).items():
            options += ["--set", f"{name}={json.dumps(value)}"]
        return ["segment", "--ct", folder / "ct.nrrd", *options, "--output", folder / "out"]

    return CliJob.prepare(arguments)


def loadSegmentation(
    result: Mapping[str, Any],
    ctNode: slicer.vtkMRMLScalarVolumeNode,
    segmentationNode: slicer.vtkMRMLSegmentationNode | None = None,
    tableNode: slicer.vtkMRMLTableNode | None = None,
) -> tuple[slicer.vtkMRMLSegmentationNode, slicer.vtkMRMLTableNode]:
    """Nodes from the files of a finished job; see `addSegmentation`."""
    labels, segments = read_segmentation(result["files"]["segmentation"])
    with open(result["files"]["table"], newline="", encoding="utf-8") as stream:
        header, *rows = csv.reader(stream)
    return addSegmentation(labels, segments, header, rows, ctNode, segmentationNode, tableNode)


def addSegmentation(
    labels: Volume,
    segments: Sequence[SegmentDescription],
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    ctNode: slicer.vtkMRMLScalarVolumeNode,
    segmentationNode: slicer.vtkMRMLSegmentationNode | None = None,
    tableNode: slicer.vtkMRMLTableNode | None = None,
) -> tuple[slicer.vtkMRMLSegmentationNode, slicer.vtkMRMLTableNode]:
    """Segmentation and table in the study of the CT; given nodes are overwritten.

    A segmentation of a synthetic CT is marked as synthetic too.
    """
    name = _("{name} pneumothorax").format(name=ctNode.GetName())
    segmentation = segmentationToNode(
        labels, segments, "" if segmentationNode else name, segmentationNode, ctNode
    )
    table = tableToNode(header, rows, "" if tableNode else _("{name} volumes").format(name=name), tableNode)
    segmentation.SetNodeReferenceID(TABLE_ROLE, table.GetID())
    for node in (segmentation, table):
        node.SetDescription(NOTICE)
        if ctNode.GetAttribute(SYNTHETIC_ATTRIBUTE):
            markSynthetic(node, _("From a synthetic CT. {notice}").format(notice=NOTICE))
        placeBeside(node, ctNode)
    return segmentation, table


def describeQuantities(numbers: Mapping[str, Any], withIntervals: bool = False) -> str:
    """The mode; volumes, occupancy and largest distance per side; the warnings; a line each.

    :param withIntervals: tell the intervals of volumes and occupancy that the CT's expected error gives.
    """
    quantities, measures = numbers["quantities"], numbers.get("measures", {})
    lines = [MODE_TITLES[numbers["mode"]]]
    for side, title in (("right", _("Right")), ("left", _("Left"))):
        share = quantities[f"{side}_occupancy_percent"]
        text = _("{side}: {air:.0f} ml air, {lung:.0f} ml lung, {share} of the hemithorax").format(
            side=title,
            air=quantities[f"{side}_pneumothorax_ml"],
            lung=quantities[f"{side}_lung_ml"],
            share="-" if share is None else f"{share:.1f} %",
        )
        distance = measures.get(side, {}).get("largest_interpleural_distance", {}).get("value")
        if distance:
            text += _(", largest interpleural distance {mm:.0f} mm").format(mm=distance)
        lines.append(text)
        if withIntervals:
            lines.append(_intervals(measures.get(side, {})))
    return "\n".join([*lines, *(_("Warning: {text}").format(text=w) for w in warningsOf(numbers))])


def _intervals(measures: Mapping[str, Any]) -> str:
    """The intervals of a side's volumes and share, on one line."""
    parts = []
    for quantity, text, without in (
        ("air_volume", _("air {low:.0f} to {high:.0f} ml"), _("air: no usable interval")),
        ("lung_volume", _("lung {low:.0f} to {high:.0f} ml"), _("lung: no usable interval")),
        (
            "occupancy",
            _("{low:.1f} to {high:.1f} % of the hemithorax"),
            _("share of the hemithorax: no usable interval"),
        ),
        (
            "hemithorax_volume",
            _("lung and air {low:.0f} to {high:.0f} ml"),
            _("lung and air: no usable interval"),
        ),
    ):
        found = measures.get(quantity, {})
        if found.get("low") is not None:
            parts.append(text.format(low=found["low"], high=found["high"]))
        elif found.get("no_interval"):
            parts.append(without)
    return _("    95 % interval by the expected error: {parts}").format(parts=", ".join(parts) or "-")


def warningsOf(numbers: Mapping[str, Any]) -> list[str]:
    """What the user must know of a result, a sentence each."""
    hint = numbers.get("measures", {}).get("tension_hint")
    return [*([hint] if hint else []), *numbers.get("warnings", [])]


def segment(
    ctNode: slicer.vtkMRMLScalarVolumeNode,
    lungsNode: slicer.vtkMRMLSegmentationNode | None = None,
    lungModels: Sequence[str] = DEFAULT_KEYS,
    mode: str = "robust",
    settings: Mapping[str, Any] | None = None,
    device: str = "auto",
    segmentationNode: slicer.vtkMRMLSegmentationNode | None = None,
    tableNode: slicer.vtkMRMLTableNode | None = None,
    uncertaintyNode: slicer.vtkMRMLScalarVolumeNode | None = None,
) -> tuple[slicer.vtkMRMLSegmentationNode, slicer.vtkMRMLTableNode]:
    """The whole way in this process, blocking; see `segmentationJob` for the parameters.

    :raises InputError: when something given cannot be used.
    :raises XReconSlicerLib.install.InstallError: when packages are missing.
    """
    requirePackages()
    from xrecon import pipelines

    ct = ctOf(ctNode)
    lungs = lungsFromNode(lungsNode, ctNode) if lungsNode else None
    error = uncertaintyFromNode(ctNode, uncertaintyNode) if uncertaintyNode else None
    options = {"mode": mode, "uncertainty": error}
    result = pipelines.segment(ct, lungs, tuple(lungModels), dict(settings or {}), device, **options)
    rows = result.measures.rows()
    header = list(rows[0])
    cells = [["" if row[key] is None else str(row[key]) for key in header] for row in rows]
    return addSegmentation(result.labels, PTX_SEGMENTS, header, cells, ctNode, segmentationNode, tableNode)
