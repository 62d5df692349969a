"""Two radiograph nodes to a synthetic CT node: the job for the panel, the same call for scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _
from xrecon.io.image import read_volume
from xrecon.io.radiograph import read_radiograph, write_radiograph
from xrecon.volume import InputError, Radiograph, Volume

from XReconSlicerLib.install import requirePackages
from XReconSlicerLib.intake import GEOMETRY_VALUES, radiographFromNode
from XReconSlicerLib.intake import PLANES as VIEW_PLANES
from XReconSlicerLib.jobs import CliJob
from XReconSlicerLib.mrml import ATTRIBUTE_PREFIX, radiographToNode, setProvenance, volumeToNode
from XReconSlicerLib.node_files import nodeState, rememberedLikeness
from XReconSlicerLib.result_classes import loadClasses
from XReconSlicerLib.scene import markSynthetic, placeBeside, setChestWindow, showInSliceViews

NOTICE = _("Synthetic volume computed by XRecon from two radiographs. For research; not for diagnosis.")
PLANES = ("pa", "lateral")
# The pictures of a result, by the command line's names, and what their nodes are called.
PICTURES = {
    "input_pa": _("PA as the network saw it"),
    "input_lateral": _("lateral as the network saw it"),
    "reprojection_pa": _("PA reprojected"),
    "reprojection_lateral": _("lateral reprojected"),
}


def radiographsFromNodes(
    pa: slicer.vtkMRMLScalarVolumeNode,
    lateral: slicer.vtkMRMLScalarVolumeNode,
    *,
    paSlice: int = 0,
    lateralSlice: int = 0,
    lateralSide: str = "",
    invertPa: bool = False,
    invertLateral: bool = False,
    sourceToDetectorMm: float | None = None,
    sourceToIsocenterMm: float | None = None,
    pixelSpacingMm: float | None = None,
) -> list[Radiograph]:
    """The frontal and the lateral radiograph with their geometry.

    :param paSlice: slice of a volume that holds both pictures; so is `lateralSlice`.
    :param lateralSide: "left" or "right" for the side at the detector; "" for what the file says, else left.
    :param invertPa: set when dense tissue looks dark in Slicer; so is `invertLateral`.
    :param sourceToDetectorMm: None for what the file says, else a usual value; so are the next two.
    :raises InputError: when a node cannot be used or both are the same picture.
    """
    if pa is not None and pa is lateral and paSlice == lateralSlice:
        raise InputError(_("Expected two pictures, got slice {index} twice.").format(index=paSlice))
    given = {
        "sourceToDetectorMm": sourceToDetectorMm,
        "sourceToIsocenterMm": sourceToIsocenterMm,
        "pixelSpacingMm": pixelSpacingMm,
    }
    view = f"{lateralSide.upper()} LATERAL" if lateralSide else ""
    radiographs = [
        radiographFromNode(pa, "frontal", sliceIndex=paSlice, invert=invertPa, **given),
        radiographFromNode(
            lateral, "lateral", sliceIndex=lateralSlice, invert=invertLateral, view=view, **given
        ),
    ]
    key = (nodeState(pa, paSlice), paSlice, nodeState(lateral, lateralSlice), lateralSlice)
    if rememberedLikeness(key, *(each.array for each in radiographs)):
        message = _("Expected two pictures, but '{pa}' and '{lateral}' show the same one.")
        raise InputError(message.format(pa=pa.GetName(), lateral=lateral.GetName()))
    return radiographs


def describeGeometry(radiograph: Radiograph) -> str:
    """One line for the panel, in the order of its fields: the values in use and where each comes from."""
    geometry = radiograph.geometry
    values = (geometry.source_to_detector_mm, geometry.source_to_isocenter_mm, geometry.pixel_spacing[0])
    sources = {
        "argument": _("entered"),
        "sidecar": _("file"),
        "file header": _("file"),
        "DICOM": _("DICOM"),
        "scene": _("scene"),
        "image": _("image"),
        "assumed": _("ASSUMED"),
    }
    parts = []
    for key, value in zip(GEOMETRY_VALUES, values, strict=True):
        origin = radiograph.meta.get(f"{key}.origin", "assumed")
        number = f"{value:.3g}" if value < 10 else f"{value:.0f}"
        parts.append(f"{number} mm ({sources.get(origin, origin)})")
    view = radiograph.view
    if radiograph.meta.get("view.origin") == "assumed":
        view += _(" (ASSUMED)")
    return f"{view}: " + ", ".join(parts)


def inputsState(inputs: Mapping[str, Any]) -> tuple[Any, ...]:
    """What changes when `describeInputs` may say something else: a choice, a node's contents or a file."""
    states = [nodeState(inputs[plane], inputs[f"{plane}Slice"]) for plane in PLANES]
    values = {name: value for name, value in inputs.items() if name not in PLANES}
    return *states, values


def describeInputs(inputs: Mapping[str, Any]) -> tuple[str, str]:
    """What the panel says of its radiographs, and the reason why they cannot be used, or ""."""
    if inputs["pa"] is None or inputs["lateral"] is None:
        return "", _("Choose the PA and the lateral radiograph.")
    try:
        return "\n".join(describeGeometry(each) for each in radiographsFromNodes(**inputs)), ""
    except InputError as error:
        return str(error), str(error)


def outputProblem(
    inputs: Sequence[slicer.vtkMRMLScalarVolumeNode | None], output: slicer.vtkMRMLScalarVolumeNode | None
) -> str:
    """Why the result must not go into `output`, or "": it, or a picture beside it, is a radiograph in use."""
    if output is None:
        return ""
    overwritten = [output, *(output.GetNodeReference(ATTRIBUTE_PREFIX + role) for role in PICTURES)]
    for node in overwritten:
        if node is not None and node in inputs:
            message = _("The radiograph '{name}' would be overwritten: choose another output volume.")
            return message.format(name=node.GetName())
    return ""


def reconstructionJob(inputs: Mapping[str, Any], model: str, device: str = "auto") -> CliJob:
    """The job `xrecon reconstruct`; `inputs` are the arguments of `radiographsFromNodes`."""
    radiographs = radiographsFromNodes(**inputs)

    def arguments(folder: Path) -> list[object]:
        paths = [folder / "pa.nrrd", folder / "lateral.nrrd"]
        for radiograph, path in zip(radiographs, paths, strict=True):
            write_radiograph(radiograph, path)
        options = ["--model", model, "--device", device]  # the files say the views and their origin
        return ["reconstruct", "--pa", paths[0], "--lateral", paths[1], *options, "--output", folder / "out"]

    return CliJob.prepare(arguments)


def loadReconstruction(
    result: Mapping[str, Any],
    inputs: Sequence[slicer.vtkMRMLScalarVolumeNode],
    output: slicer.vtkMRMLScalarVolumeNode | None = None,
) -> slicer.vtkMRMLScalarVolumeNode:
    """Nodes from the files of a finished job; see `addReconstruction`."""
    files = result["files"]
    pictures = {role: read_radiograph(files[role]) for role in PICTURES}
    node = addReconstruction(read_volume(files["reconstruction"]), pictures, inputs, output)
    loadClasses(files, node)
    return node


def addReconstruction(
    volume: Volume,
    pictures: Mapping[str, Radiograph],
    inputs: Sequence[slicer.vtkMRMLScalarVolumeNode],
    output: slicer.vtkMRMLScalarVolumeNode | None = None,
) -> slicer.vtkMRMLScalarVolumeNode:
    """The synthetic CT as a node in the study of the PA radiograph, with the pictures beside their inputs.

    :param pictures: radiographs by the names in `PICTURES`; nodes of an earlier run are overwritten.
    :param inputs: the PA and the lateral node.
    :param output: node to overwrite; a new one when None.
    :raises InputError: when one of the radiographs would be overwritten.
    """
    problem = outputProblem(inputs, output)
    if problem:
        raise InputError(problem)
    name = _("Synthetic CT of {name}").format(name=inputs[0].GetName()) if output is None else ""
    node = volumeToNode(volume, name, output)
    if "synthetic" not in node.GetName().lower():
        node.SetName(f"{node.GetName()} (synthetic)")
    markSynthetic(node, NOTICE)
    placeBeside(node, inputs[0])
    setChestWindow(node)
    for role, radiograph in pictures.items():
        title = f"{node.GetName()}: {PICTURES[role]}"
        picture = radiographToNode(radiograph, title, node.GetNodeReference(ATTRIBUTE_PREFIX + role))
        node.SetNodeReferenceID(ATTRIBUTE_PREFIX + role, picture.GetID())
        setProvenance(picture, {"role": role})
        if role.startswith("reprojection"):
            markSynthetic(picture, NOTICE)
        placeBeside(picture, inputs[PLANES.index(role.partition("_")[2])])
    showInSliceViews(node)
    return node


def describeResult(numbers: Mapping[str, Any]) -> str:
    """The scores of a result beside those of its controls, what they cannot tell, and its warnings."""
    lines = []
    controls = {"outline": _("water outline"), "mean_volume": _("mean volume")}
    for view, scores in numbers.get("scores", {}).items():
        known = {name: f"{value:.2f}" for name, value in scores.items() if value is not None}
        parts = []
        for name in (n for n in known if not n.endswith(tuple(controls))):
            beside = [f"{t} {known[f'{name}_{c}']}" for c, t in controls.items() if f"{name}_{c}" in known]
            told = f" ({', '.join(beside)})" if beside else ""
            parts.append(f"{name.replace('_', ' ')} {known[name]}{told}")
        lines.append(_("Reprojection {view}: {values}").format(view=view, values="; ".join(parts)))
    if lines:
        lines.append(_("In brackets: controls. What two radiographs do not show has no score."))
    return "\n".join([*lines, *numbers.get("warnings", [])])


def reconstruct(
    pa: slicer.vtkMRMLScalarVolumeNode,
    lateral: slicer.vtkMRMLScalarVolumeNode,
    model: str = "",
    device: str = "auto",
    output: slicer.vtkMRMLScalarVolumeNode | None = None,
    **options: Any,
) -> slicer.vtkMRMLScalarVolumeNode:
    """The whole way in this process, blocking; see `radiographsFromNodes` for the options.

    :raises InputError: when something given cannot be used.
    :raises XReconSlicerLib.install.InstallError: when packages are missing.
    """
    requirePackages()
    from xrecon.pipelines import DEFAULT_MODEL
    from xrecon.pipelines import reconstruct as compute

    problem = outputProblem([pa, lateral], output)
    if problem:
        raise InputError(problem)  # before anything is computed
    result = compute(radiographsFromNodes(pa, lateral, **options), model or DEFAULT_MODEL, device)
    pictures = {}
    for plane, views in zip(PLANES, VIEW_PLANES.values(), strict=True):
        for picture, reprojection in zip(result.inputs, result.reprojections, strict=True):
            if picture.view in views:
                pictures |= {f"input_{plane}": picture, f"reprojection_{plane}": reprojection}
    return addReconstruction(result.volume, pictures, [pa, lateral], output)
