"""The options that commands share: their types, help texts and how their values are read."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from xrecon.progress import ProgressMode
from xrecon.volume import InputError


class Device(str):
    """Where networks run: "auto", "cpu", "cuda", or "cuda:1" for the second of several GPUs."""

    __slots__ = ()

    @property
    def value(self) -> str:
        """The plain text."""
        return str(self)


Device.AUTO = Device("auto")


def _read_device(text: str) -> Device:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", text):
        raise typer.BadParameter(f"expected auto, cpu, cuda or cuda:N, got {text!r}")
    return Device(text)


class Side(StrEnum):
    """A side of the patient."""

    LEFT = "left"
    RIGHT = "right"


class IntakeStep(StrEnum):
    """What is done to grey pictures before a network sees them, in this order."""

    MASK = "mask"
    LINEARISE = "linearise"
    MATCH = "match"
    SCALE = "scale"
    PLACE = "place"


class PtxMode(StrEnum):
    """How PTX-Seg works."""

    ROBUST = "robust"
    REFERENCE = "reference"


GEOMETRY, MODEL, RUN = "Geometry (overrides what the files say)", "Model", "Running"
EXPORT = "DICOM"
_CT = typer.Option("--ct", help="CT in HU: NIfTI, NRRD, MetaImage, or a folder with a DICOM series.")
Ct = Annotated[Path, _CT]
CtOrNone = Annotated[Path | None, _CT]
Output = Annotated[Path, typer.Option("--output", "-o", help="Folder for the results; made when missing.")]
DeviceOption = Annotated[
    Device,
    typer.Option(
        "--device",
        metavar="auto|cpu|cuda|cuda:N",
        help="auto: a GPU that passes a test, else the CPU; cuda:1: the second of several GPUs.",
        parser=_read_device,
        rich_help_panel=RUN,
    ),
]
ProgressOption = Annotated[
    ProgressMode,
    typer.Option(
        "--progress",
        help="auto: bars on a terminal, else plain lines; json: one JSON object a line on stdout.",
        rich_help_panel=RUN,
    ),
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="One or more settings.")
]
Split = Annotated[
    Path | None,
    typer.Option(
        metavar="CSV",
        help="A table like subjects.csv that lies elsewhere (path, name, patient, split, attribution, "
        "licence); its paths are relative to --data.",
    ),
]
SourceToDetector = Annotated[
    float | None,
    typer.Option(
        min=1.0, metavar="MM", help="Focal spot to detector (usual: 1800).", rich_help_panel=GEOMETRY
    ),
]
SourceToIsocenter = Annotated[
    float | None,
    typer.Option(
        min=1.0, metavar="MM", help="Focal spot to patient centre (usual: 1500).", rich_help_panel=GEOMETRY
    ),
]
Dicom = Annotated[
    Path | None,
    typer.Option(
        "--dicom",
        metavar="FOLDER",
        help="Also write DICOM into this new folder: a CT series, and the segments.",
        rich_help_panel=EXPORT,
    ),
]
KeepPatient = Annotated[
    bool,
    typer.Option(
        "--keep-patient",
        help="Take patient and study of the DICOM input over into --dicom. Default: a placeholder.",
        rich_help_panel=EXPORT,
    ),
]

Force = Annotated[
    bool,
    typer.Option(
        "--force", help="Go on where a picture surely is not the view that it is said to be, or far from any."
    ),
]
Calibrate = Annotated[
    bool | None,
    typer.Option(
        "--calibrate/--no-calibrate",
        help="Correct the pose of one view against the other by the pictures, where that explains them "
        "better. Default: when distances, pixel size or view are not recorded.",
        rich_help_panel=GEOMETRY,
    ),
]


_INTAKE = "Grey pictures"
_FRAME = {"min": 1, "metavar": "N", "rich_help_panel": _INTAKE}
FramePa = Annotated[
    int | None, typer.Option("--frame-pa", help="Which picture, from 1, of a file with several.", **_FRAME)
]
FrameLateral = Annotated[
    int | None, typer.Option("--frame-lateral", help="The same for the lateral.", **_FRAME)
]
Voi = Annotated[
    bool,
    typer.Option("--voi", help="Apply DICOM's VOI LUT, the curve for the screen.", rich_help_panel=_INTAKE),
]
Skip = Annotated[
    list[IntakeStep] | None,
    typer.Option(
        "--skip",
        help="Leave out steps: mask (borders, markers), linearise, match (to projected CTs), scale (both "
        "views by the lungs' height), place (field of view on the lungs).",
        rich_help_panel=_INTAKE,
    ),
]

# Options that take several values: `--views PA AP` means `--views PA --views AP`.
LISTS = (
    "--views", "--set", "--subjects", "--lung-model", "--film", "--methods", "--test", "--radiographs",
    "--model", "--pneumothorax", "--skip", "--calibrate", "--others",
)  # fmt: skip
# Values such as "-30,10" begin like an option; no option begins with a digit.
_OPTION = re.compile(r"-(?!\.?\d)")


Refine = Annotated[
    bool,
    typer.Option(
        "--refine/--no-refine",
        help="Move the volume towards the radiographs, where rays that were left out show that it helps.",
    ),
]
RefinePoses = Annotated[
    bool,
    typer.Option(
        "--refine-poses/--no-refine-poses",
        help="With --refine: fit how the views stand to each other, too, where rays that no fit has seen "
        "show that it helps.",
    ),
]
UncertaintySamples = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=64,
        help="Runs with changed inputs that estimate the uncertainty of a network that predicts none. "
        "Default: as its card asks for, 0 if it holds no calibration.",
    ),
]
Uncertainty = Annotated[
    Path | None,
    typer.Option(
        help="`uncertainty.nrrd` of a reconstruction given as --ct: volumes and percentages get intervals "
        "from it (a dozen times slower)."
    ),
]


def spread_lists(arguments: Sequence[str]) -> list[str]:
    """The arguments with the name of a list option before each of its values.

    No command takes bare arguments, so a value after a list option's value is one more of its.
    """
    spread: list[str] = []
    current = ""
    for argument in arguments:
        if _OPTION.match(argument):
            current = argument if argument in LISTS else ""
        elif current and spread[-1] != current:
            spread.append(current)
        spread.append(argument)
    return spread


def parse_settings(settings: Sequence[str] | None) -> dict[str, Any]:
    """{"t_p": -950} of ["t_p=-950"]; values are read as JSON where they are JSON, else as text.

    Raises InputError for an entry without a name or "=".
    """
    parsed = {}
    for entry in settings or ():
        name, equals, value = entry.partition("=")
        if not equals or not name.strip():
            raise InputError(f"expected --set NAME=VALUE, got {entry!r}")
        try:
            parsed[name.strip()] = json.loads(value)
        except json.JSONDecodeError:
            parsed[name.strip()] = value
    return parsed
