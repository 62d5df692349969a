"""Radiograph nodes to a synthetic CT node: the job for the panel, the same call for scripts."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _
from xrecon.io.image import read_volume
from xrecon.io.radiograph import read_radiograph, write_radiograph
from xrecon.trust.words import trust_lines
from xrecon.volume import InputError, Radiograph, Volume

from XReconSlicerLib.install import requirePackages
from XReconSlicerLib.jobs import CliJob
from XReconSlicerLib.models import ModelChoice
from XReconSlicerLib.mrml import ATTRIBUTE_PREFIX, radiographToNode, setProvenance, volumeToNode
from XReconSlicerLib.radiograph_input import RadiographInput, asInput, radiographsOf, standsFor
from XReconSlicerLib.result_classes import loadClasses
from XReconSlicerLib.scene import markSynthetic, placeBeside, setChestWindow, showInSliceViews
from XReconSlicerLib.trust_maps import loadTrustMaps

NOTICE = _("Synthetic volume computed by XRecon from radiographs. For research; not for diagnosis.")
ROLES = ("input", "reprojection")  # the pictures of a result, one of each for every view
REPORTS_FOLDER = "XReconReports"

Source = tuple[slicer.vtkMRMLVolumeNode, Radiograph]


def outputProblem(
    inputs: Sequence[slicer.vtkMRMLVolumeNode | None], output: slicer.vtkMRMLScalarVolumeNode | None
) -> str:
    """Why the result must not go into `output`, or "": it, or a picture beside it, is a radiograph in use."""
    if output is None:
        return ""
    for node in (output, *_pictureNodes(output).values()):
        if node is not None and node in inputs:
            message = _("The radiograph '{name}' would be overwritten: choose another output volume.")
            return message.format(name=node.GetName())
    return ""


def _pictureNodes(output: slicer.vtkMRMLScalarVolumeNode) -> dict[str, slicer.vtkMRMLScalarVolumeNode]:
    """The pictures beside an earlier result, by reference role."""
    roles = [output.GetNthNodeReferenceRole(n) for n in range(output.GetNumberOfNodeReferenceRoles())]
    own = [role for role in roles if role.startswith(tuple(ATTRIBUTE_PREFIX + role for role in ROLES))]
    return {role: output.GetNodeReference(role) for role in own}


def viewsProblem(count: int, model: ModelChoice) -> str:
    """Why a model cannot take so many radiographs, or ""."""
    least, most = model.viewCount
    if least <= count <= most:
        return ""
    needed = str(least) if least == most else _("{least} to {most}").format(least=least, most=most)
    return _("The model needs {needed} views ({views}); {count} are chosen.").format(
        needed=needed, views=", ".join(model.views), count=count
    )


def sourcesOf(inputs: Sequence[RadiographInput | slicer.vtkMRMLVolumeNode]) -> list[Source]:
    """Each node with its radiograph. Raises InputError as `radiographsOf` does."""
    chosen = [asInput(each) for each in inputs]
    return [(each.node, found) for each, found in zip(chosen, radiographsOf(chosen), strict=True)]


def reconstructionJob(
    sources: Sequence[Source],
    model: str,
    device: str = "auto",
    *,
    refine: bool = False,
    force: bool = False,
    calibrate: bool = True,
) -> CliJob:
    """The job `xrecon reconstruct`.

    :param refine: move the volume towards the radiographs where that can be shown to help.
    :param force: go on where a picture surely is not the view that it is said to be.
    :param calibrate: correct a guessed geometry by the pictures.
    """

    def arguments(folder: Path) -> list[object]:
        paths = [folder / f"view_{number}.nrrd" for number in range(1, len(sources) + 1)]
        for (_node, radiograph), path in zip(sources, paths, strict=True):
            write_radiograph(radiograph, path)  # with what is known of view, geometry and their origin
        options = ["--model", model, "--device", device, "--output", folder / "out"]
        options += ["--refine"] if refine else []
        options += (["--force"] if force else []) + ([] if calibrate else ["--no-calibrate"])
        return ["reconstruct", "--radiographs", *paths, *options]

    return CliJob.prepare(arguments)


def loadReconstruction(
    result: Mapping[str, Any],
    sources: Sequence[Source],
    output: slicer.vtkMRMLScalarVolumeNode | None = None,
    trustMaps: bool = False,
) -> slicer.vtkMRMLScalarVolumeNode:
    """Nodes from the files of a finished job; see `addReconstruction`, for `trustMaps` `loadTrustMaps`."""
    files = result["files"]
    shown = [role for role in files if role.partition("_")[0] in ROLES]
    pictures = {role: read_radiograph(files[role]) for role in shown}
    volume = read_volume(files["reconstruction"])
    return addReconstruction(volume, pictures, sources, output, files, files if trustMaps else {})


def addReconstruction(
    volume: Volume,
    pictures: Mapping[str, Radiograph],
    sources: Sequence[Source],
    output: slicer.vtkMRMLScalarVolumeNode | None = None,
    classFiles: Mapping[str, str] = MappingProxyType({}),
    trustFiles: Mapping[str, str] = MappingProxyType({}),
) -> slicer.vtkMRMLScalarVolumeNode:
    """The synthetic CT as a node in the study of the first radiograph, the pictures beside their inputs.

    :param pictures: radiographs by roles such as "input_pa"; nodes of an earlier run are overwritten.
    :param sources: nodes and radiographs the volume was computed from.
    :param output: node to overwrite; a new one when None.
    :param classFiles, trustFiles: files by role for `loadClasses` and `loadTrustMaps`. Without them the
        classes and maps of an earlier run into `output` are removed: they are not those of this volume.
    :raises InputError: when one of the radiographs would be overwritten.
    """
    problem = outputProblem([node for node, _radiograph in sources], output)
    if problem:
        raise InputError(problem)
    first = sources[0][0]
    name = _("Synthetic CT of {name}").format(name=first.GetName()) if output is None else ""
    node = volumeToNode(volume, name, output)
    if "synthetic" not in node.GetName().lower():
        node.SetName(f"{node.GetName()} (synthetic)")
    markSynthetic(node, NOTICE)
    placeBeside(node, first)
    setChestWindow(node)
    for role, radiograph in pictures.items():
        _addPicture(node, role, radiograph, sources)
    loadClasses(classFiles, node)
    loadTrustMaps(trustFiles, node)
    showInSliceViews(node)
    return node


def _addPicture(
    ct: slicer.vtkMRMLScalarVolumeNode, role: str, radiograph: Radiograph, sources: Sequence[Source]
) -> None:
    kind = role.partition("_")[0]
    texts = {"input": _("{view} as the network saw it"), "reprojection": _("{view} reprojected")}
    text = texts[kind].format(view=standsFor(radiograph.view, radiograph.geometry))
    title = f"{ct.GetName()}: {text}"
    picture = radiographToNode(radiograph, title, ct.GetNodeReference(ATTRIBUTE_PREFIX + role))
    ct.SetNodeReferenceID(ATTRIBUTE_PREFIX + role, picture.GetID())
    setProvenance(picture, {"role": role})
    if kind == "reprojection":
        markSynthetic(picture, NOTICE)
    # the picture has the rays of the radiograph it belongs to, and so its source
    position = np.array(radiograph.geometry.source)
    nearest = min(sources, key=lambda each: np.linalg.norm(np.array(each[1].geometry.source) - position))
    placeBeside(picture, nearest[0])


def keepReport(result: Mapping[str, Any], name: str) -> Path | None:
    """A copy of the job's report that outlives the job's folder, until Slicer's temporary files go."""
    return copyReport(result, Path(slicer.app.temporaryPath) / REPORTS_FOLDER, name)


def copyReport(result: Mapping[str, Any], folder: Path, name: str) -> Path | None:
    """A copy of the job's report in `folder`, None when it wrote none. Raises OSError."""
    report = result["files"].get("report")
    if not report or not Path(report).is_file():
        return None
    folder.mkdir(parents=True, exist_ok=True)
    safe = "".join(c if c.isalnum() or c in "-_ " else "_" for c in name)
    return Path(shutil.copyfile(report, folder / f"{safe}.html"))


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
        lines.append(_("In brackets: controls. What the radiographs do not show has no score."))
    blocks = (lines, trust_lines(numbers.get("trust", {})), numbers.get("warnings", []))
    return "\n\n".join("\n".join(block) for block in blocks if block)


def reconstruct(
    radiographs: Sequence[RadiographInput | slicer.vtkMRMLVolumeNode],
    model: str = "",
    device: str = "auto",
    output: slicer.vtkMRMLScalarVolumeNode | None = None,
    refine: bool = False,
    force: bool = False,
    calibrate: bool = True,
) -> slicer.vtkMRMLScalarVolumeNode:
    """The whole way in this process, blocking; parameters as in `reconstructionJob`.

    :raises InputError: when something given cannot be used.
    :raises XReconSlicerLib.install.InstallError: when packages are missing.
    """
    requirePackages()
    from xrecon.checked import reconstruct_checked
    from xrecon.pipelines import DEFAULT_MODEL

    problem = outputProblem([asInput(each).node for each in radiographs], output)
    if problem:
        raise InputError(problem)  # before anything is computed
    sources = sourcesOf(radiographs)
    result = reconstruct_checked(
        [radiograph for _node, radiograph in sources],
        model or DEFAULT_MODEL,
        device,
        force=force,
        calibrate=None if calibrate else False,
        refine=refine,
    ).result
    pictures = {}
    for picture, reprojection in zip(result.inputs, result.reprojections, strict=True):
        short = _short(picture.view)
        pictures |= {f"input_{short}": picture, f"reprojection_{short}": reprojection}
    return addReconstruction(result.volume, pictures, sources, output)


def _short(view: str) -> str:
    """As the command line names the files of a view."""
    known = {"PA": "pa", "AP": "pa", "LEFT LATERAL": "lateral", "RIGHT LATERAL": "lateral"}
    return known.get(view) or "_".join(view.lower().split())
