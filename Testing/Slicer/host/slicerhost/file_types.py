"""Which file belongs to which node and storage node: the table behind qSlicerCoreIOManager."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class FileType:
    """One kind of file: its name in Slicer, the node it becomes, the node's storage, and its extensions."""

    name: str
    nodeClass: str
    storageClass: str
    extensions: tuple[str, ...]
    createdClass: str = ""  # class to create on loading, when nodeClass is abstract


FILE_TYPES = (
    FileType(
        "SegmentationFile",
        "vtkMRMLSegmentationNode",
        "vtkMRMLSegmentationStorageNode",
        (".seg.nrrd", ".seg.nhdr", ".seg.vtm", ".vtm"),
    ),
    FileType(
        "VolumeFile",
        "vtkMRMLVolumeNode",
        "vtkMRMLVolumeArchetypeStorageNode",
        (
            ".nrrd",
            ".nhdr",
            ".nii.gz",
            ".nii",
            ".mha",
            ".mhd",
            ".dcm",
            ".hdr",
            ".img",
            ".img.gz",
            ".tif",
            ".tiff",
        )
        + (".png", ".jpg", ".jpeg", ".bmp", ".mgz"),
    ),
    FileType(
        "ModelFile", "vtkMRMLModelNode", "vtkMRMLModelStorageNode", (".vtk", ".vtp", ".stl", ".ply", ".obj")
    ),
    FileType(
        "TransformFile",
        "vtkMRMLTransformNode",
        "vtkMRMLTransformStorageNode",
        (".h5", ".tfm", ".txt", ".mat"),
    ),
    FileType(
        "MarkupsFile",
        "vtkMRMLMarkupsNode",
        "vtkMRMLMarkupsJsonStorageNode",
        (".mrk.json",),
        "vtkMRMLMarkupsFiducialNode",
    ),
    FileType("TableFile", "vtkMRMLTableNode", "vtkMRMLTableStorageNode", (".tsv", ".csv")),
    FileType("TextFile", "vtkMRMLTextNode", "vtkMRMLTextStorageNode", (".json", ".xml")),
    FileType("SceneFile", "", "", (".mrb", ".mrml")),
)
_BY_NAME = {fileType.name: fileType for fileType in FILE_TYPES}


def byName(name: str) -> FileType:
    """The file type Slicer calls `name`; KeyError when there is none."""
    return _BY_NAME[name]


def extensionOf(filename: str) -> str:
    """Longest known extension of `filename`, "" when there is none."""
    lower = str(filename).lower()
    return max((e for t in FILE_TYPES for e in t.extensions if lower.endswith(e)), key=len, default="")


def ofFile(filename: str) -> str:
    """Name of the type of a file, by extension; a folder is a volume, anything else "NoFile"."""
    extension = extensionOf(filename)
    for fileType in FILE_TYPES:
        if extension in fileType.extensions:
            return fileType.name
    return "VolumeFile" if Path(filename).is_dir() else "NoFile"


def stem(filename: str) -> str:
    """File name without folder and known extension: the name Slicer gives the node."""
    name = Path(filename).name
    extension = extensionOf(name)
    return name[: -len(extension)] if extension else name
