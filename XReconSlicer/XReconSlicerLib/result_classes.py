"""The classes of a reconstruction, from a model that also segments, as a segmentation node."""

from __future__ import annotations

from collections.abc import Mapping

import slicer
from slicer.i18n import tr as _
from xrecon.io.segmentation import read_segmentation

from XReconSlicerLib.mrml import ATTRIBUTE_PREFIX
from XReconSlicerLib.scene import markSynthetic, placeBeside
from XReconSlicerLib.segments import segmentationToNode

ROLE = ATTRIBUTE_PREFIX + "classes"
NOTICE = _("Classes of a synthetic CT, found by the model that made it. For research; not for diagnosis.")


def loadClasses(
    files: Mapping[str, str], ctNode: slicer.vtkMRMLScalarVolumeNode
) -> slicer.vtkMRMLSegmentationNode | None:
    """The segmentation of a finished reconstruction in the study of its CT; None when there is none.

    :param files: the job's files by role. The node of an earlier run into the same CT is overwritten, and
        removed when the new model gives no classes.
    """
    node = ctNode.GetNodeReference(ROLE)
    if "segmentation" not in files:
        if node is not None:
            slicer.mrmlScene.RemoveNode(node)
        return None
    labels, segments = read_segmentation(files["segmentation"])
    name = _("{name}: classes").format(name=ctNode.GetName())
    node = segmentationToNode(labels, segments, name, node, ctNode)
    ctNode.SetNodeReferenceID(ROLE, node.GetID())
    markSynthetic(node, NOTICE)
    placeBeside(node, ctNode)
    return node
