"""What the view classifier says of radiographs: asked in a process of its own, kept with the nodes.

    job = recognitionJob(inputs)            # `xrecon recognise`; the classifier needs torch, Slicer does not
    keepGuesses(inputs, result["numbers"])
    guessOf(node, 0, picture, flip=False)   # Guess(view="PA", probability=0.98, inverted=False)

A guess is an attribute of its node, saved with the scene, and counts as long as the picture stays the same.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _
from xrecon.io.radiograph import write_radiograph
from xrecon.volume import Radiograph

from XReconSlicerLib.jobs import CliJob
from XReconSlicerLib.mrml import ATTRIBUTE_PREFIX

ATTRIBUTE = ATTRIBUTE_PREFIX + "guess."
EVERY_NTH_PIXEL = 16  # enough to tell that a picture was exchanged
OTHER_SIDE = {"LEFT LATERAL": "RIGHT LATERAL", "RIGHT LATERAL": "LEFT LATERAL"}

Picture = tuple[slicer.vtkMRMLVolumeNode, int, np.ndarray]


@dataclass(frozen=True)
class Guess:
    """What a picture seems to show: view ("" when that is not clear), how sure, dense tissue dark, turned."""

    view: str
    probability: float
    inverted: bool
    turnedDeg: int = 0

    def text(self) -> str:
        """For the user, on one line."""
        parts = [self.view or _("no clear frontal or lateral view")]
        parts += [_("inverted")] if self.inverted else []
        parts += [_("turned by {angle} degrees").format(angle=self.turnedDeg)] if self.turnedDeg else []
        return ", ".join([*parts, _("{percent:.0f} % sure").format(percent=100.0 * self.probability)])


def recognitionJob(pictures: Sequence[Picture]) -> CliJob:
    """The job `xrecon recognise` for pictures as they lie in their nodes: (node, slice, grey values)."""

    def arguments(folder: Path) -> list[object]:
        paths = [folder / f"picture_{number}.nrrd" for number in range(1, len(pictures) + 1)]
        for (_node, _slice, array), path in zip(pictures, paths, strict=True):
            write_radiograph(Radiograph(array), path)
        return ["recognise", "--radiographs", *paths]

    return CliJob.prepare(arguments)


def keepGuesses(pictures: Sequence[Picture], numbers: Mapping[str, Any]) -> list[Guess]:
    """Stores the answers of a finished job with the nodes, and gives them in order."""
    guesses = []
    for (node, sliceIndex, array), row in zip(pictures, numbers["radiographs"], strict=True):
        guess = Guess(row["view"], row["probability"], row["inverted"], row["turned_deg"])
        text = json.dumps({**vars(guess), "picture": _fingerprint(array)})
        node.SetAttribute(f"{ATTRIBUTE}{sliceIndex}", text)
        guesses.append(guess)
    return guesses


def guessOf(
    node: slicer.vtkMRMLVolumeNode, sliceIndex: int, picture: np.ndarray, flip: bool = False
) -> Guess | None:
    """What was found of a picture; None when it was not asked about, has changed since, or is not clear.

    :param flip: whether the picture will be mirrored; a lateral then shows the other side.
    """
    stored = node.GetAttribute(f"{ATTRIBUTE}{sliceIndex}")
    if not stored:
        return None
    values = json.loads(stored)
    if values.pop("picture") != _fingerprint(picture) or not values["view"]:
        return None
    guess = Guess(**values)
    return replace(guess, view=OTHER_SIDE.get(guess.view, guess.view)) if flip else guess


def _fingerprint(picture: np.ndarray) -> int:
    pixels = np.ascontiguousarray(picture[::EVERY_NTH_PIXEL, ::EVERY_NTH_PIXEL], dtype=np.float32)
    return zlib.crc32(pixels.tobytes(), picture.shape[0])
