"""MRML nodes to `xrecon`'s values and back. RAS becomes LPS here and nowhere else.

    >>> volume = volumeFromNode(getNode("CTChest"))           # LPS mm, array (z, y, x), HU
    >>> node = volumeToNode(volume, "Copy")                   # the same voxels at the same place
    >>> radiographToNode(radiograph, "PA")                    # the picture, standing on its detector

A node under a linear transform is taken where it is shown. All functions raise
`xrecon.volume.InputError` with a sentence for the user when a node cannot be used.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _
from xrecon.provenance import SOURCES
from xrecon.volume import InputError, Quantity, Radiograph, Volume

# Multiplying a RAS position or axis by this gives LPS, and the other way round.
RAS_LPS = np.array([-1.0, -1.0, 1.0])
# Grey of red, green and blue (ITU-R BT.601), as the module 'Vector to Scalar Volume' takes it.
LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)
ATTRIBUTE_PREFIX = "XRecon."
SYNTHETIC_ATTRIBUTE = ATTRIBUTE_PREFIX + "synthetic"
_PROVENANCE = ("synthetic", "notice", "model", "model_sha256", "views", SOURCES)


# ---- volumes ------------------------------------------------------------------------------------
def volumeFromNode(node: slicer.vtkMRMLScalarVolumeNode, quantity: Quantity = Quantity.HU) -> Volume:
    """A copy of a scalar volume node as a `Volume`; `quantity` says what its numbers are."""
    array = scalarArray(node)
    spacing, origin, directions = _geometryOfNode(node)
    return Volume(
        array=array,
        spacing=spacing[::-1],
        origin=tuple(RAS_LPS * origin),
        direction=RAS_LPS[:, None] * directions,
        quantity=quantity,
        meta={"node": node.GetName() or ""},
    )


def volumeToNode(
    volume: Volume,
    name: str = "",
    node: slicer.vtkMRMLScalarVolumeNode | None = None,
    className: str = "vtkMRMLScalarVolumeNode",
) -> slicer.vtkMRMLScalarVolumeNode:
    """A volume node with the voxels, place and provenance of `volume`.

    :param name: name of the node; an existing node keeps its own when this is empty.
    :param node: node to overwrite; a new one of class `className` is added to the scene when None.
    """
    if node is None:
        node = slicer.mrmlScene.AddNewNodeByClass(className, name or _("Volume"))
    elif name:
        node.SetName(name)
    with slicer.util.NodeModify(node):
        node.SetAndObserveTransformNodeID(None)  # a result lies in the world, whatever lay there before
        node.SetSpacing(volume.spacing[::-1])
        node.SetOrigin(RAS_LPS * np.array(volume.origin))
        node.SetIJKToRASDirections(*(RAS_LPS[:, None] * volume.direction).ravel())
        slicer.util.updateVolumeFromArray(node, _storable(volume.array))
        if volume.quantity is Quantity.HU:
            _declareHounsfield(node)
        setProvenance(node, volume.meta)
    node.CreateDefaultDisplayNodes()
    return node


def imageToWorldMatrix(volume: Volume) -> vtk.vtkMatrix4x4:
    """4x4 matrix from voxel index (i, j, k) to RAS mm, as MRML images want it."""
    affine = volume.affine
    affine[:3] *= RAS_LPS[:, None]
    return slicer.util.vtkMatrixFromArray(affine)


def isLinearlyPlaced(node: slicer.vtkMRMLTransformableNode) -> bool:
    """Whether the node lies in the world or under linear transforms only."""
    transform = node.GetParentTransformNode()
    return transform is None or bool(transform.IsTransformToWorldLinear())


def setProvenance(node: slicer.vtkMRMLNode, meta: Mapping[str, str]) -> None:
    """Stores what a result was made from as attributes `XRecon.<key>`, which are saved with the scene."""
    for key, value in meta.items():
        node.SetAttribute(ATTRIBUTE_PREFIX + key, str(value))


def provenanceOf(node: slicer.vtkMRMLNode) -> dict[str, str]:
    """What the attributes of a CT node tell of its making, by the keys that `xrecon` uses."""
    found = {key: node.GetAttribute(ATTRIBUTE_PREFIX + key) for key in _PROVENANCE}
    meta = {key: value for key, value in found.items() if value}
    if meta.get("synthetic") == "yes":  # how `scene.markSynthetic` says it
        meta["synthetic"] = "reconstructed from radiographs" if "model" in meta else "computed"
    return meta


# ---- radiographs --------------------------------------------------------------------------------
def radiographToNode(
    radiograph: Radiograph, name: str = "", node: slicer.vtkMRMLScalarVolumeNode | None = None
) -> slicer.vtkMRMLScalarVolumeNode:
    """A one-slice volume node: the picture where its detector stood, i = column, j = row.

    View, geometry and the meaning of the numbers go into attributes, from which
    `intake.radiographFromNode` rebuilds the same radiograph. Without a geometry the picture hangs
    upright at the origin with 1 mm pixels.
    """
    geometry = radiograph.geometry
    if geometry is None:
        row, column = np.array([0.0, 0.0, -1.0]), np.array([1.0, 0.0, 0.0])
        spacing, origin = (1.0, 1.0), (0.0, 0.0, 0.0)
    else:
        row, column = np.array(geometry.row_direction), np.array(geometry.column_direction)
        spacing, origin = geometry.pixel_spacing, tuple(geometry.pixel_positions()[0, 0])
    picture = Volume(
        array=radiograph.array[None],
        spacing=(1.0, *spacing),
        origin=origin,
        direction=np.column_stack([column, row, np.cross(column, row)]),
        quantity=Quantity.DISPLAY,
        meta={
            **radiograph.meta,
            "view": radiograph.view,
            "quantity": radiograph.quantity.value,
            "history": json.dumps(radiograph.history),
            "geometry": "" if geometry is None else json.dumps(geometry.to_dict()),
        },
    )
    return volumeToNode(picture, name, node)


def pictureArray(node: slicer.vtkMRMLVolumeNode) -> np.ndarray:
    """Pictures (slice, row, column) of a scalar volume, or the luminance of one in colours (float32)."""
    image = node.GetImageData() if node is not None else None
    if image is None or image.GetNumberOfScalarComponents() not in (3, 4):
        return scalarArray(node)
    colors = slicer.util.arrayFromVolume(node)[..., :3].astype(np.float32)
    return colors @ LUMINANCE


def scalarArray(node: slicer.vtkMRMLScalarVolumeNode) -> np.ndarray:
    if node is None:
        raise InputError(_("Expected a volume, got none."))
    image = node.GetImageData()
    if image is None or image.GetNumberOfPoints() == 0:
        message = _("Expected a volume with voxels, but '{name}' is empty.")
        raise InputError(message.format(name=node.GetName()))
    if image.GetNumberOfScalarComponents() != 1:
        raise InputError(
            _(
                "Expected one number per voxel, but '{name}' has {count} (a colour picture?). "
                "Convert it with the module 'Vector to Scalar Volume'."
            ).format(name=node.GetName(), count=image.GetNumberOfScalarComponents())
        )
    return slicer.util.arrayFromVolume(node).copy()


def _geometryOfNode(node: slicer.vtkMRMLVolumeNode) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Spacing (x, y, z), RAS origin and RAS direction columns of the node as it is shown."""
    if not isLinearlyPlaced(node):
        raise InputError(
            _(
                "'{name}' is under a non-linear transform. Harden the transform first "
                "(right-click the volume in the Data module)."
            ).format(name=node.GetName())
        )
    directions = np.zeros((3, 3))
    node.GetIJKToRASDirections(directions)
    spacing, origin = np.array(node.GetSpacing()), np.array(node.GetOrigin())
    transform = node.GetParentTransformNode()
    if transform is None:  # taken as stored, so that a round trip changes no bit
        return spacing, origin, directions
    toWorld = vtk.vtkMatrix4x4()
    transform.GetMatrixTransformToWorld(toWorld)
    matrix = slicer.util.arrayFromVTKMatrix(toWorld)
    axes = matrix[:3, :3] @ (directions * spacing)
    lengths = np.linalg.norm(axes, axis=0)
    return lengths, matrix[:3, :3] @ origin + matrix[:3, 3], axes / lengths


def _storable(array: np.ndarray) -> np.ndarray:
    """The array in a type that VTK images have (not bool, float16 or 64-bit integers)."""
    if array.dtype == bool:
        return array.astype(np.uint8)
    if array.dtype == np.float16:
        return array.astype(np.float32)
    if array.dtype in (np.int64, np.uint64):
        bounds = np.iinfo(np.int32)
        if array.min() < bounds.min or array.max() > bounds.max:
            raise InputError(_("Expected 32-bit integers, got numbers up to {top}.").format(top=array.max()))
        return array.astype(np.int32)
    return np.ascontiguousarray(array)


def _declareHounsfield(node: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Says in DICOM's words that the voxels are Hounsfield units, as Slicer's CT reader does."""
    quantity, units = slicer.vtkCodedEntry(), slicer.vtkCodedEntry()
    quantity.SetValueSchemeMeaning("112031", "DCM", "Attenuation Coefficient")
    units.SetValueSchemeMeaning("[hnsf'U]", "UCUM", "Hounsfield unit")
    node.SetVoxelValueQuantity(quantity)
    node.SetVoxelValueUnits(units)
