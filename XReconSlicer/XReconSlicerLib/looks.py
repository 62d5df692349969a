"""How a radiograph looks to a network: the picture on its detector, and what seems wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import vtk
from slicer.i18n import tr as _
from vtk.util.numpy_support import numpy_to_vtk
from xrecon.preprocess.appearance import look_at
from xrecon.volume import InputError, Radiograph

from XReconSlicerLib.node_files import Recent


@dataclass(frozen=True)
class Detector:
    """What a network sees a radiograph on: (rows, columns) and (row, column) mm."""

    shape: tuple[int, int] = (128, 128)
    pixelSpacing: tuple[float, float] = (3.4, 3.4)


_looks = Recent()


def lookAt(radiograph: Radiograph, detector: Detector, key: object = None) -> tuple[np.ndarray, list[str]]:
    """The picture (row, column) in grey values from 0 to 1 and warnings; remembered under `key` if given."""

    def look() -> tuple[np.ndarray, list[str]]:
        found = look_at(radiograph, detector.shape, detector.pixelSpacing)
        return np.clip(found.picture, 0.0, 1.0), list(found.warnings)

    return look() if key is None else _looks.get((key, detector), look)


def guessedPlane(radiograph: Radiograph) -> str:
    """ "frontal", "lateral" or "", from the picture alone."""
    try:
        return look_at(radiograph, Detector().shape, Detector().pixelSpacing).plane
    except (InputError, ImportError):
        return ""


def writePicture(picture: np.ndarray, path: Path, width: int) -> None:
    """Grey values from 0 to 1 as an 8-bit PNG of about `width` pixels, by repeating pixels."""
    times = max(1, round(width / picture.shape[1]))
    grey = np.round(picture[::-1] * 255.0).astype(np.uint8).repeat(times, axis=0).repeat(times, axis=1)
    image = vtk.vtkImageData()
    image.SetDimensions(grey.shape[1], grey.shape[0], 1)
    image.GetPointData().SetScalars(numpy_to_vtk(grey.ravel(), deep=True, array_type=vtk.VTK_UNSIGNED_CHAR))
    writer = vtk.vtkPNGWriter()
    writer.SetFileName(str(path))
    writer.SetInputData(image)
    writer.Write()


def warningsText(warnings: list[str]) -> str:
    """Warnings as lines of a label."""
    return "\n".join(_("Warning: {text}.").format(text=text) for text in warnings)
