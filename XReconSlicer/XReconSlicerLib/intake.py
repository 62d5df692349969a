"""From a volume node that shows a radiograph to a `Radiograph` with everything that is known of it.

What is known comes, in this order, from the user (arguments), from the attributes that
`mrml.radiographToNode` wrote, from the file the node was loaded from (DICOM tags, or the JSON
beside a picture), and from usual values, which are then marked "assumed"; of the view, what the
model says counts more than the usual one (`view_guesses`). The pixels are always those that Slicer shows: a
file only counts when it holds the same picture.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _
from xrecon.io.checks import is_dicom
from xrecon.io.radiograph import NotARadiographError
from xrecon.physics.geometry import (
    SOURCE_TO_DETECTOR_MM,
    SOURCE_TO_ISOCENTER_MM,
    ViewGeometry,
    is_chest_detector,
)
from xrecon.volume import GUESSED_ORIGINS, InputError, Quantity, Radiograph

from XReconSlicerLib.mrml import ATTRIBUTE_PREFIX, SYNTHETIC_ATTRIBUTE, pictureArray
from XReconSlicerLib.node_files import (
    filesOf,
    fileState,
    nodeState,
    readFile,
    rememberedLikeness,
    sliceCount,
)
from XReconSlicerLib.view_guesses import guessOf

# PA and lateral, and perhaps one more of each, may be stored as one volume. More slices make a CT, but for
# a run of XA or RF frames, which says so in its file.
MOST_PICTURES, MOST_FRAMES = 4, 2000
HOUNSFIELD_UNIT = "[hnsf'U]"  # as Slicer's CT reader and `mrml.volumeToNode` write it
GEOMETRY_VALUES = ("source_to_detector_mm", "source_to_isocenter_mm", "pixel_spacing_mm")


def radiographFromNode(
    node: slicer.vtkMRMLVolumeNode,
    *,
    usualView: str = "PA",
    sliceIndex: int = 0,
    invert: bool = False,
    flip: bool = False,
    view: str = "",
    sourceToDetectorMm: float | None = None,
    sourceToIsocenterMm: float | None = None,
    pixelSpacingMm: float | None = None,
) -> Radiograph:
    """The picture shown by `node`, float32 (row, column), bright = dense, with a geometry.

    :param usualView: what is assumed when neither `view` nor anything else tells it.
    :param sliceIndex: which slice, for PA and lateral stored as one volume and for a run of frames.
    :param invert: set when dense tissue looks dark in Slicer.
    :param flip: set when the caller will mirror the picture: a lateral that the model guessed is then the
        other one.
    :param view: overrides what is known of the view, e.g. "RIGHT LATERAL".
    :param sourceToDetectorMm: overrides the file's value; so do the other two, `pixelSpacingMm`
        being the pixel size on the detector.
    :raises InputError: when the node holds no picture, or a CT, or the numbers do not fit.
    """
    _requireNoCt(node)
    picture = _slice(node, sliceIndex)
    given = {
        "source_to_detector_mm": sourceToDetectorMm,
        "source_to_isocenter_mm": sourceToIsocenterMm,
        "pixel_spacing_mm": None if pixelSpacingMm is None else (pixelSpacingMm,) * 2,
    }
    given = {key: value for key, value in given.items() if value is not None}
    guess = guessOf(node, sliceIndex, picture, flip)
    usualView = guess.view if guess else usualView or "PA"
    result = _fromAttributes(node, picture)
    if result is None:
        result = _fromFile(node, sliceIndex, picture, usualView, view, given)
    if result is None:
        result = Radiograph(picture, meta={"node": node.GetName() or ""})
    oblique = result.geometry is not None and not result.view
    told = view or result.view or ("" if oblique else usualView)
    if view or not (result.view or oblique):
        result = replace(result, meta={**result.meta, "view.origin": "argument" if view else "assumed"})
    if guess and result.meta.get("view.origin") == "assumed":
        told, probability = guess.view, f"{guess.probability:.3f}"
        meta = {**result.meta, "view.origin": "model", "view.probability": probability}
        result = replace(result, meta=meta)
    result = _withGeometry(result, told, given, node)
    if invert:
        result = _inverted(result, "inverted by the user")
    return result.require_finite(node.GetName())


def _requireNoCt(node: slicer.vtkMRMLScalarVolumeNode | None) -> None:
    """Raises InputError for a node that says, or shows by its many slices, that it is a CT."""
    if node is None:
        return  # `_slice` says that there is none
    units = node.GetVoxelValueUnits()
    reason = ""
    if units is not None and units.GetCodeValue() == HOUNSFIELD_UNIT:
        reason = _("its voxels are Hounsfield units")
    elif node.GetAttribute(SYNTHETIC_ATTRIBUTE) and not node.GetAttribute(f"{ATTRIBUTE_PREFIX}geometry"):
        reason = _("it is a synthetic CT")  # a reprojection has the geometry of its picture
    elif sliceCount(node) > MOST_PICTURES and not _isRunOfFrames(node):
        reason = _("it has {count} slices").format(count=sliceCount(node))
    if reason:
        message = _("Expected a radiograph, but '{name}' is a CT: {reason}.")
        raise InputError(message.format(name=node.GetName(), reason=reason))


def _isRunOfFrames(node: slicer.vtkMRMLScalarVolumeNode) -> bool:
    """Whether one DICOM file holds all pictures of the node and says that they are radiographs."""
    for path, frame in filesOf(node, 0):
        try:
            if frame is not None and is_dicom(path):
                readFile(path, frame=frame)
                return True
        except (InputError, OSError) as error:
            logging.info("XRecon: '%s' is no run of radiographs: %s", node.GetName(), error)
    return False


def _slice(node: slicer.vtkMRMLScalarVolumeNode, sliceIndex: int) -> np.ndarray:
    stack = pictureArray(node)
    if not 0 <= sliceIndex < len(stack):
        raise InputError(
            _("'{name}' has the slices 0 to {last}; there is no slice {index}.").format(
                name=node.GetName(), last=len(stack) - 1, index=sliceIndex
            )
        )
    return stack[sliceIndex].astype(np.float32)


def _fromAttributes(node: slicer.vtkMRMLScalarVolumeNode, picture: np.ndarray) -> Radiograph | None:
    """What `mrml.radiographToNode` stored; None for other nodes and after cropping or resampling."""
    keys = ("geometry", "view", "quantity", "history")
    values = {key: node.GetAttribute(ATTRIBUTE_PREFIX + key) for key in keys}
    if not values["quantity"] or values["history"] is None:
        return None
    geometry = ViewGeometry.from_dict(json.loads(values["geometry"])) if values["geometry"] else None
    if geometry is not None and geometry.shape != picture.shape:
        return None
    return Radiograph(
        picture,
        geometry=geometry,
        quantity=Quantity(values["quantity"]),
        view=values["view"] or "",
        history=tuple(json.loads(values["history"])),
        meta={"node": node.GetName() or "", **_originsOfNode(node)},
    )


def _originsOfNode(node: slicer.vtkMRMLScalarVolumeNode) -> dict[str, str]:
    """Origin "scene" for each value that a node of this package carries; what was guessed stays assumed."""
    origins = {}
    for key in (*GEOMETRY_VALUES, "view"):
        stored = node.GetAttribute(f"{ATTRIBUTE_PREFIX}{key}.origin")
        origins[f"{key}.origin"] = "assumed" if stored in GUESSED_ORIGINS else "scene"
    return origins


def _fromFile(
    node: slicer.vtkMRMLScalarVolumeNode,
    sliceIndex: int,
    picture: np.ndarray,
    usualView: str,
    view: str,
    given: Mapping[str, Any],
) -> Radiograph | None:
    """The node's file as the backend reads it, if it holds the picture that Slicer shows."""
    for path, frame in filesOf(node, sliceIndex):
        which = {} if frame is None else {"frame": frame}
        try:
            found = readFile(path, **which)
        except NotARadiographError:
            raise  # the node shows what the file holds
        except (InputError, OSError) as error:  # e.g. a PNG stack: the node itself can still be used
            logging.info("XRecon: %s tells nothing about '%s': %s", path, node.GetName(), error)
            continue
        key = (fileState(path), nodeState(node, sliceIndex), sliceIndex)
        sign = rememberedLikeness(key, found.array, picture)
        if sign == 0:
            continue
        found = readFile(path, view=view, usual_view=usualView, **which, **given)
        # The user decides about the polarity by what Slicer shows.
        return found if sign > 0 else _inverted(found, "grey values as shown in Slicer")
    return None


def _withGeometry(
    radiograph: Radiograph, view: str, given: dict, node: slicer.vtkMRMLScalarVolumeNode
) -> Radiograph:
    """The radiograph as `view`, with the user's values over the known over the usual ones."""
    known = radiograph.geometry
    if known is not None and view == radiograph.view and not given:
        return radiograph
    if known is not None and not radiograph.view and not view:
        return _adjusted(radiograph, given)
    values, origins, notes = _usualValues(node, radiograph.array.shape)
    if known is not None:
        notes = ()
        values = {
            "source_to_detector_mm": known.source_to_detector_mm,
            "source_to_isocenter_mm": known.source_to_isocenter_mm,
            "pixel_spacing_mm": known.pixel_spacing,
        }
        origins = {key: radiograph.meta.get(f"{key}.origin", "assumed") for key in values}
    values |= given
    origins |= dict.fromkeys(given, "argument")
    geometry = ViewGeometry.preset(
        view,
        source_to_detector_mm=values["source_to_detector_mm"],
        source_to_isocenter_mm=values["source_to_isocenter_mm"],
        pixel_spacing=values["pixel_spacing_mm"],
        shape=radiograph.array.shape,
        isocenter=(0.0, 0.0, 0.0) if known is None else known.isocenter,
        beam="cone" if known is None else known.beam,
    )
    meta = {**radiograph.meta, **{f"{key}.origin": origin for key, origin in origins.items()}}
    if known is None:
        meta["isocenter.origin"] = "assumed"
    history = (*radiograph.history, *notes)
    return replace(radiograph, geometry=geometry, view=view, meta=meta, history=history)


def _adjusted(radiograph: Radiograph, given: dict) -> Radiograph:
    """An oblique view with the user's lengths."""
    known = radiograph.geometry
    geometry = ViewGeometry.from_positioner_angles(
        *known.positioner_angles,
        source_to_detector_mm=given.get("source_to_detector_mm", known.source_to_detector_mm),
        source_to_isocenter_mm=given.get("source_to_isocenter_mm", known.source_to_isocenter_mm),
        pixel_spacing=given.get("pixel_spacing_mm", known.pixel_spacing),
        shape=known.shape,
        isocenter=known.isocenter,
        beam=known.beam,
    )
    meta = {**radiograph.meta, **{f"{key}.origin": "argument" for key in given}}
    return replace(radiograph, geometry=geometry if given else known, meta=meta)


def _usualValues(
    node: slicer.vtkMRMLScalarVolumeNode, shape: tuple[int, int]
) -> tuple[dict, dict, tuple[str, ...]]:
    """Values for a picture of which no file tells anything, where each comes from, and notes."""
    column, row = node.GetSpacing()[:2]
    # Readers give pictures without a pixel size 1 mm, which no radiograph detector has.
    stored = not (row == column == 1.0)
    measured = stored and is_chest_detector(shape, (row, column))
    notes = ()
    if stored and not measured:
        notes = (f"the pixel size {row:g} x {column:g} mm makes no chest detector: not used",)
    preset = ViewGeometry.pa(shape=shape)
    values = {
        "source_to_detector_mm": SOURCE_TO_DETECTOR_MM,
        "source_to_isocenter_mm": SOURCE_TO_ISOCENTER_MM,
        "pixel_spacing_mm": (row, column) if measured else preset.pixel_spacing,
    }
    origins = dict.fromkeys(values, "assumed")
    if measured:
        origins["pixel_spacing_mm"] = "image"
    return values, origins, notes


def _inverted(radiograph: Radiograph, note: str) -> Radiograph:
    array = radiograph.array
    # After a reversal the numbers are grey values, whatever they measured before.
    return radiograph.with_array(array.max() + array.min() - array, note, quantity=Quantity.DISPLAY)
