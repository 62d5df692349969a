"""Label volumes to segmentation nodes, and lung segments back to a label volume."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import slicer
from slicer.i18n import tr as _
from vtk.util.numpy_support import numpy_to_vtk
from xrecon.io.segmentation import PTX_SEGMENTS, SegmentDescription
from xrecon.volume import InputError, Quantity, Volume

from XReconSlicerLib.mrml import imageToWorldMatrix, volumeFromNode

RIGHT_LUNG, LEFT_LUNG = 1, 2
# SNOMED CT codes in a segment's terminology tag.
_LUNG_CODE = "39607008"
_SIDE_CODES = {RIGHT_LUNG: "24028007", LEFT_LUNG: "7771000"}
# What segments of other tools are called: "lung_upper_lobe_left", "Right lung", "left lung" ...
_SIDE_WORDS = {RIGHT_LUNG: "right", LEFT_LUNG: "left"}
_LUNG_WORDS = ("lung", "lobe")


def segmentationToNode(
    labels: Volume,
    segments: Sequence[SegmentDescription] = PTX_SEGMENTS,
    name: str = "",
    node: slicer.vtkMRMLSegmentationNode | None = None,
    reference: slicer.vtkMRMLScalarVolumeNode | None = None,
) -> slicer.vtkMRMLSegmentationNode:
    """A segmentation node with one segment per description: name, colour and terminology set.

    Segments without a voxel are made too, so that the user can draw what was missed.
    :param node: node whose segments are replaced; a new one is added to the scene when None.
    :param reference: the CT; its grid becomes the segmentation's, which DICOM export needs.
    """
    if node is None:
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    elif name:
        node.SetName(name)
    node.CreateDefaultDisplayNodes()
    segmentation = node.GetSegmentation()
    segmentation.RemoveAllSegments()
    node.SetAndObserveTransformNodeID(None)
    if reference is not None and reference.GetParentTransformNode() is None:
        node.SetReferenceImageGeometryParameterFromVolumeNode(reference)
    for segment in segments:
        mask = labels.array == segment.label
        if mask.any():
            segmentId = node.AddSegmentFromBinaryLabelmapRepresentation(
                _orientedImage(mask, labels), segment.name, segment.color
            )
        else:
            segmentId = segmentation.AddEmptySegment("", segment.name, segment.color)
        segmentation.GetSegment(segmentId).SetTerminology(segment.terminology)
    segmentation.CollapseBinaryLabelmaps(False)  # disjoint labels share one image, as after an import
    return node


def _orientedImage(mask: np.ndarray, grid: Volume) -> slicer.vtkOrientedImageData:
    """The mask (z, y, x) cut to its bounding box, on the grid of `grid`."""
    occupied = [np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    first, last = [int(o[0]) for o in occupied], [int(o[-1]) for o in occupied]
    box = mask[tuple(slice(a, b + 1) for a, b in zip(first, last, strict=True))]
    image = slicer.vtkOrientedImageData()
    image.SetExtent(first[2], last[2], first[1], last[1], first[0], last[0])
    scalars = numpy_to_vtk(np.ascontiguousarray(box, dtype=np.uint8).ravel(), deep=True)
    scalars.SetName("ImageScalars")
    image.GetPointData().SetScalars(scalars)
    image.SetImageToWorldMatrix(imageToWorldMatrix(grid))
    return image


def lungsFromNode(
    segmentationNode: slicer.vtkMRMLSegmentationNode, ctNode: slicer.vtkMRMLScalarVolumeNode
) -> Volume:
    """Labels 1 (right lung) and 2 (left lung) on the CT's grid from the lung segments of a segmentation.

    A segment counts when its terminology says lung with a side, or its name has "lung" or "lobe"
    and "left" or "right" in it, so that five lobes serve as well as two lungs.
    :raises InputError: when a side is missing.
    """
    grid = volumeFromNode(ctNode)
    labels = np.zeros(grid.shape, dtype=np.uint8)
    segmentation = segmentationNode.GetSegmentation()
    names = []
    for index in range(segmentation.GetNumberOfSegments()):
        segmentId = segmentation.GetNthSegmentID(index)
        segment = segmentation.GetSegment(segmentId)
        names.append(segment.GetName())
        side = _lungSide(segment)
        if side:
            mask = slicer.util.arrayFromSegmentBinaryLabelmap(segmentationNode, segmentId, ctNode)
            labels[np.asarray(mask) > 0] = side
    missing = [_SIDE_WORDS[side] for side in (RIGHT_LUNG, LEFT_LUNG) if not (labels == side).any()]
    if missing:
        message = _("Expected two lungs in '{name}'; found none on the {sides} among: {segments}.")
        raise InputError(
            message.format(
                name=segmentationNode.GetName(),
                sides=_(" and ").join(missing),
                segments=", ".join(names) or _("no segments"),
            )
        )
    return grid.with_array(labels, Quantity.LABEL)


def _lungSide(segment: slicer.vtkSegment) -> int:
    """RIGHT_LUNG, LEFT_LUNG, or 0 when the segment is no lung or has no side."""
    terminology, name = segment.GetTerminology() or "", segment.GetName().lower()
    for side, code in _SIDE_CODES.items():
        if f"^{_LUNG_CODE}^" in terminology and f"^{code}^" in terminology:
            return side
    if any(word in name for word in _LUNG_WORDS):
        for side, word in _SIDE_WORDS.items():
            if word in name:
                return side
    return 0
