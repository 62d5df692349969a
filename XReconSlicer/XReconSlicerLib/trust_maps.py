"""How far a synthetic CT can be trusted, voxel by voxel, as volume nodes beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import slicer
from slicer.i18n import tr as _
from xrecon.io.image import read_volume
from xrecon.volume import InputError, Quantity, Volume

from XReconSlicerLib.mrml import ATTRIBUTE_PREFIX, setProvenance, volumeFromNode, volumeToNode
from XReconSlicerLib.scene import markSynthetic, placeBeside

# Role of the job's file -> what the numbers are; the values of 0 are told in the descriptions.
TITLES = {
    "ray_support": _("{name}: number of beams"),
    "crossing_angle": _("{name}: crossing angle of the beams (degrees)"),
    "uncertainty": _("{name}: expected error (HU)"),
}
# as `xrecon.trust.intervals` calls it: over which distance errors are correlated, whether air is preserved,
# and whether the errors were calibrated
TOLD = ("error_correlation_mm", "error_air_preserved", "error_calibrated")
DESCRIPTIONS = {
    "ray_support": _("How many radiographs' beams hold each voxel. 0: no radiograph shows it."),
    "crossing_angle": _("Largest angle between two beams in each voxel, degrees; 0 with fewer than two."),
    "uncertainty": _("Standard deviation of the error to expect of each voxel, HU."),
}


def loadTrustMaps(files: Mapping[str, str], ctNode: slicer.vtkMRMLScalarVolumeNode) -> None:
    """The maps of a finished reconstruction in the study of its CT.

    :param files: the job's files by role. Nodes of an earlier run into the same CT are overwritten, and
        removed where there is no such file now.
    """
    for role, title in TITLES.items():
        node = ctNode.GetNodeReference(ATTRIBUTE_PREFIX + role)
        if role not in files:
            if node is not None:
                slicer.mrmlScene.RemoveNode(node)
            continue
        # counts, degrees and deviations are no CT numbers: no node must offer them as such
        volume = read_volume(files[role], Quantity.LABEL if role == "ray_support" else Quantity.HU)
        volume = volume.with_array(volume.array, Quantity.LABEL)
        node = volumeToNode(volume, title.format(name=ctNode.GetName()), node)
        ctNode.SetNodeReferenceID(ATTRIBUTE_PREFIX + role, node.GetID())
        markSynthetic(node, DESCRIPTIONS[role])
        setProvenance(node, {"role": role})
        placeBeside(node, ctNode)


def uncertaintyOf(ctNode: slicer.vtkMRMLScalarVolumeNode | None) -> slicer.vtkMRMLScalarVolumeNode | None:
    """The map of expected errors that was loaded with a synthetic CT, None for other CTs."""
    return ctNode.GetNodeReference(f"{ATTRIBUTE_PREFIX}uncertainty") if ctNode is not None else None


def uncertaintyProblem(
    ctNode: slicer.vtkMRMLScalarVolumeNode, mapNode: slicer.vtkMRMLScalarVolumeNode | None
) -> str:
    """Why a volume cannot be the expected error of a CT, as far as can be told without its voxels, or ""."""
    if mapNode is None:
        return ""
    if mapNode is ctNode:
        return _("The expected error is the CT itself: choose the map that was made with it, or none.")
    sizes = [
        node.GetImageData().GetDimensions() if node.GetImageData() is not None else None
        for node in (ctNode, mapNode)
    ]
    if sizes[0] != sizes[1]:
        text = _("'{name}' has another grid than the CT: choose the map that was made with it, or none.")
        return text.format(name=mapNode.GetName())
    return ""


def uncertaintyFromNode(
    ctNode: slicer.vtkMRMLScalarVolumeNode, mapNode: slicer.vtkMRMLScalarVolumeNode
) -> Volume:
    """The expected error of a CT, HU on its grid, with what is known of its correlation.

    :raises InputError: for a node that cannot be it.
    """
    problem = uncertaintyProblem(ctNode, mapNode)
    if problem:
        raise InputError(problem)
    volume = volumeFromNode(mapNode)
    known = {name: mapNode.GetAttribute(ATTRIBUTE_PREFIX + name) for name in TOLD}
    return replace(volume, meta={**volume.meta, **{name: text for name, text in known.items() if text}})
