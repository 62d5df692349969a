"""The commands `xrecon devices`, `models`, `phantom` and `recognise`: their options and help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xrecon.options import MODEL, Output, ProgressOption
from xrecon.outcome import tell
from xrecon.pipelines import DEFAULT_MODEL
from xrecon.progress import ProgressMode, Reporter


def devices(
    model: Annotated[
        str, typer.Option(help="Bundled model or model folder to tell the needs of.", rich_help_panel=MODEL)
    ] = DEFAULT_MODEL,
    progress: ProgressOption = ProgressMode.AUTO,
) -> None:
    """List what can be computed on, with free memory, and what a model needs.

    Each GPU is tried with a small convolution: a driver or a build of torch may not fit the card.
    """
    from xrecon import tools

    with Reporter(progress) as report:
        tell(report, tools.devices(model))


def phantom(output: Output, progress: ProgressOption = ProgressMode.AUTO) -> None:
    """Write a chest phantom: its CT with a pneumothorax, and a PA and a left lateral radiograph of it."""
    from xrecon import tools

    with Reporter(progress) as report:
        tell(report, tools.phantom(output, report))


def recognise(
    radiographs: Annotated[list[Path], typer.Option(help="Radiographs: DICOM CR/DX, PNG, TIFF, NRRD.")],
    progress: ProgressOption = ProgressMode.AUTO,
) -> None:
    """Say which view each radiograph seems to show, whether it is inverted or turned, and how sure that is.

    A small bundled network looks at the pictures alone. It cannot tell PA from AP, and a left from a right
    lateral only by the side that the patient faces.
    """
    from xrecon import tools

    with Reporter(progress) as report:
        tell(report, tools.recognise(radiographs, report))


def models(
    costs: Annotated[
        bool,
        typer.Option(
            "--costs",
            help="Count parameters, FLOP and memory of each architecture anew (takes a minute), in place of "
            "the figures that come with XRecon.",
        ),
    ] = False,
    progress: ProgressOption = ProgressMode.AUTO,
) -> None:
    """List the bundled models with what their cards say, and the architectures with what they cost."""
    from xrecon import commands

    with Reporter(progress) as report:
        tell(report, commands.models(costs))
