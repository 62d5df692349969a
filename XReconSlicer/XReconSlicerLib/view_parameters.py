"""What the panel keeps in the scene about one radiograph."""

from __future__ import annotations

import enum
from typing import Annotated

from slicer import vtkMRMLScalarVolumeNode
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import WithinRange, parameterPack

from XReconSlicerLib.intake import MOST_FRAMES
from XReconSlicerLib.radiograph_input import OBLIQUE, RadiographInput


class ViewRole(enum.Enum):
    """How a radiograph was taken."""

    AUTOMATIC = ""
    PA = "PA"
    AP = "AP"
    LEFT_LATERAL = "LEFT LATERAL"
    RIGHT_LATERAL = "RIGHT LATERAL"
    OBLIQUE = OBLIQUE

    def label(self) -> str:
        texts = {
            "": _("Automatic"),
            "PA": _("PA"),
            "AP": _("AP"),
            "LEFT LATERAL": _("Left lateral"),
            "RIGHT LATERAL": _("Right lateral"),
            OBLIQUE: _("Other angle"),
        }
        return texts[self.value]


@parameterPack
class ViewParameters:
    """Lengths of 0 mean: what the file says, else a usual value.

    `view` comes first: Slicer takes a pack whose first parameter is a reference to no node for one that
    was never stored, and would set all of it to the defaults again.
    """

    view: ViewRole = ViewRole.AUTOMATIC
    volume: vtkMRMLScalarVolumeNode
    sliceIndex: Annotated[int, WithinRange(0, MOST_FRAMES - 1)] = 0
    primaryAngleDeg: Annotated[float, WithinRange(-180, 180)] = 0.0
    secondaryAngleDeg: Annotated[float, WithinRange(-90, 90)] = 0.0
    invert: bool = False
    flip: bool = False
    crop: bool = False
    sourceToDetectorMm: Annotated[float, WithinRange(0, 5000)] = 0.0
    sourceToIsocenterMm: Annotated[float, WithinRange(0, 5000)] = 0.0
    pixelSpacingMm: Annotated[float, WithinRange(0, 100)] = 0.0


# Shown by `ViewBox` itself, which shows the value in use when none is set.
LENGTHS = ("sourceToDetectorMm", "sourceToIsocenterMm", "pixelSpacingMm")


def inputOf(parameters: ViewParameters) -> RadiographInput:
    """What the parameters say, for `radiographOf`."""
    return RadiographInput(
        node=parameters.volume,
        sliceIndex=parameters.sliceIndex,
        view=parameters.view.value,
        anglesDeg=(parameters.primaryAngleDeg, parameters.secondaryAngleDeg),
        invert=parameters.invert,
        flip=parameters.flip,
        crop=parameters.crop,
        **{name: getattr(parameters, name) or None for name in LENGTHS},
    )
