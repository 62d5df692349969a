"""One radiograph as the user gives it: a node, what it shows, and what overrides the file.

>>> inputs = [RadiographInput(getNode("pa")), RadiographInput(getNode("lateral"), invert=True)]
>>> XReconSlicerLogic().reconstruct(*inputs)

`radiographsOf` makes `Radiograph`s of them; `findViews` makes them of the nodes of a scene.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _
from xrecon.physics.geometry import VIEWS, ViewGeometry
from xrecon.preprocess.appearance import cropped_to_field
from xrecon.volume import InputError, Radiograph

from XReconSlicerLib.intake import MOST_PICTURES, radiographFromNode
from XReconSlicerLib.mrml import ATTRIBUTE_PREFIX
from XReconSlicerLib.node_files import nodeState, rememberedLikeness, sliceCount

FRONTAL, LATERAL = ("PA", "AP"), ("LEFT LATERAL", "RIGHT LATERAL")
MOST_VIEWS = 4
OBLIQUE = "OBLIQUE"


@dataclass(frozen=True)
class RadiographInput:
    """A radiograph and what the user says about it.

    node: volume node, scalar or of three colours (then its grey values are used).
    sliceIndex: which picture, for a node that holds several.
    view: "PA", "AP", "LEFT LATERAL", "RIGHT LATERAL", "OBLIQUE" (at `anglesDeg`), or "" for what the file
        says, else `usualView`.
    anglesDeg: positioner angles of an oblique view: primary (LAO positive), secondary (cranial positive).
    invert: set when dense tissue looks dark in Slicer.
    flip: set when the picture is mirrored left to right.
    crop: leave out what the collimator's shutters covered.
    The three lengths override what the file says; None leaves it. `pixelSpacingMm` is that on the detector.
    """

    node: slicer.vtkMRMLVolumeNode | None
    sliceIndex: int = 0
    view: str = ""
    anglesDeg: tuple[float, float] = (0.0, 0.0)
    invert: bool = False
    flip: bool = False
    crop: bool = False
    sourceToDetectorMm: float | None = None
    sourceToIsocenterMm: float | None = None
    pixelSpacingMm: float | None = None
    usualView: str = ""

    @property
    def state(self) -> tuple[Any, ...]:
        """What changes when `radiographOf` may give something else: a choice, the node's contents, a file."""
        return nodeState(self.node, self.sliceIndex), replace(self, node=None)


def asInput(given: RadiographInput | slicer.vtkMRMLVolumeNode) -> RadiographInput:
    """A node alone counts as an input about which the user says nothing."""
    return given if isinstance(given, RadiographInput) else RadiographInput(given)


def withUsualViews(inputs: Sequence[RadiographInput]) -> list[RadiographInput]:
    """What is assumed of each when neither user nor file tells its view: PA, then left lateral."""
    usual = ("PA", "LEFT LATERAL")
    return [
        each if each.usualView or number >= len(usual) else replace(each, usualView=usual[number])
        for number, each in enumerate(inputs)
    ]


def radiographOf(given: RadiographInput) -> Radiograph:
    """The picture with its geometry, after inverting, mirroring and cropping as the user wants.

    :raises InputError: when the node holds no picture or the numbers do not fit.
    """
    radiograph = radiographFromNode(
        given.node,
        usualView=given.usualView,
        sliceIndex=given.sliceIndex,
        invert=given.invert,
        flip=given.flip,
        view="" if given.view == OBLIQUE else given.view,
        sourceToDetectorMm=given.sourceToDetectorMm,
        sourceToIsocenterMm=given.sourceToIsocenterMm,
        pixelSpacingMm=given.pixelSpacingMm,
    )
    if given.view == OBLIQUE:
        radiograph = _turned(radiograph, given.anglesDeg)
    if given.flip:
        mirrored = np.ascontiguousarray(radiograph.array[:, ::-1])
        radiograph = radiograph.with_array(mirrored, "mirrored by the user")
    return cropped_to_field(radiograph) if given.crop else radiograph


def radiographsOf(inputs: Sequence[RadiographInput]) -> list[Radiograph]:
    """All radiographs of one patient position.

    :raises InputError: as `radiographOf` does, when two are one picture, or two of one direction.
    """
    chosen = withUsualViews(inputs)
    for number, first in enumerate(chosen):
        for second in chosen[number + 1 :]:
            if first.node is not None and first.node is second.node and first.sliceIndex == second.sliceIndex:
                message = _("Expected two pictures, got slice {index} of '{name}' twice.")
                raise InputError(message.format(index=first.sliceIndex, name=first.node.GetName()))
    radiographs = [radiographOf(each) for each in chosen]
    for number, first in enumerate(radiographs):
        for other in range(number + 1, len(radiographs)):
            _requireDifferent((chosen[number], first), (chosen[other], radiographs[other]))
    return radiographs


def _requireDifferent(*pair: tuple[RadiographInput, Radiograph]) -> None:
    (first, one), (second, two) = pair
    if one.view and one.view == two.view:
        message = _("Expected two different views, but '{first}' and '{second}' are both {view}.")
        raise InputError(
            message.format(first=first.node.GetName(), second=second.node.GetName(), view=one.view)
        )
    key = tuple(
        (nodeState(each.node, each.sliceIndex), each.sliceIndex, each.crop) for each in (first, second)
    )
    if rememberedLikeness(key, one.array, two.array):
        message = _("Expected two pictures, but '{first}' and '{second}' show the same one.")
        raise InputError(message.format(first=first.node.GetName(), second=second.node.GetName()))


def _turned(radiograph: Radiograph, anglesDeg: tuple[float, float]) -> Radiograph:
    """The radiograph as one taken at these angles, with the distances it has."""
    known = radiograph.geometry
    geometry = ViewGeometry.from_positioner_angles(
        *anglesDeg,
        source_to_detector_mm=known.source_to_detector_mm,
        source_to_isocenter_mm=known.source_to_isocenter_mm,
        shape=known.shape,
        pixel_spacing=known.pixel_spacing,
        isocenter=known.isocenter,
    )
    meta = {**radiograph.meta, "view.origin": "argument"}
    return replace(radiograph, geometry=geometry, view="", meta=meta)


# ---- finding the views of a scene ---------------------------------------------------------------
def candidates(nodes: Iterable[slicer.vtkMRMLVolumeNode]) -> list[tuple[RadiographInput, Radiograph]]:
    """Each picture of the nodes that can be a radiograph, with what is known of it; which frame of a long
    run it should be, only the user knows."""
    found = []
    for node in filter(_isOffered, nodes):
        for sliceIndex in range(sliceCount(node) if sliceCount(node) <= MOST_PICTURES else 0):
            given = RadiographInput(node, sliceIndex)
            try:
                found.append((given, radiographOf(given)))
            except InputError:
                break  # a CT, or no picture
    return found


def _isOffered(node: slicer.vtkMRMLVolumeNode) -> bool:
    """Whether a node may be a radiograph by itself: no label map, nothing hidden, no picture of a result."""
    isPicture = node.GetAttribute(f"{ATTRIBUTE_PREFIX}role") is not None
    return not (isPicture or node.GetHideFromEditors() or node.IsA("vtkMRMLLabelMapVolumeNode"))


def findViews(nodes: Iterable[slicer.vtkMRMLVolumeNode], onlySure: bool = False) -> list[RadiographInput]:
    """A frontal and a lateral radiograph out of the nodes, found by what their files say, else by their
    looks; the later ones of a scene count more. One of the two, or none, when there are no more.

    :param onlySure: leaves out what neither file nor looks tell.
    """
    from XReconSlicerLib.looks import guessedPlane

    places: dict[str, RadiographInput] = {}
    unsure = []
    for given, radiograph in reversed(candidates(nodes)):
        known = radiograph.meta.get("view.origin", "assumed") != "assumed"
        plane = _plane(radiograph.view) if known else guessedPlane(radiograph)
        if not plane:
            unsure.append(given)
        elif plane not in places:
            places[plane] = given
    for plane in ("frontal", "lateral"):
        if plane not in places and unsure and not onlySure:
            places[plane] = unsure.pop()
    return [places[plane] for plane in ("frontal", "lateral") if plane in places]


def _plane(view: str) -> str:
    return "frontal" if view in FRONTAL else "lateral" if view in LATERAL else ""


def standsFor(view: str, geometry: ViewGeometry) -> str:
    """What a view is called in the panel: its name, or the angles of an oblique one."""
    if view in VIEWS:
        return view
    primary, secondary = geometry.positioner_angles
    return _("oblique {primary:.0f}, {secondary:.0f} degrees").format(primary=primary, secondary=secondary)
