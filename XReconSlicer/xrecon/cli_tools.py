"""The commands `xrecon devices`, `scan`, `phantom` and `demo`: their options and help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xrecon.options import MODEL, Device, DeviceOption, Output, ProgressOption
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


def scan(
    data: Annotated[Path, typer.Option(help="Folder of CTs, as `xrecon train` takes it.")],
    progress: ProgressOption = ProgressMode.AUTO,
) -> None:
    """List the CTs of a folder with size, voxel size, and what keeps each from being trained on."""
    from xrecon import commands

    with Reporter(progress) as report:
        tell(report, commands.scan(data, report))


def phantom(output: Output, progress: ProgressOption = ProgressMode.AUTO) -> None:
    """Write a chest phantom: its CT with a pneumothorax, and a PA and a left lateral radiograph of it."""
    from xrecon import tools

    with Reporter(progress) as report:
        tell(report, tools.phantom(output, report))


def demo(
    ct: Annotated[
        Path | None,
        typer.Option(help="CT to use; default: a generated chest phantom with a pneumothorax."),
    ] = None,
    output: Output = Path("demo-output"),
    model: Annotated[str, typer.Option(help="Reconstruction model.", rich_help_panel=MODEL)] = DEFAULT_MODEL,
    device: DeviceOption = Device.AUTO,
    progress: ProgressOption = ProgressMode.AUTO,
) -> None:
    """The whole path on one CT: radiographs, reconstruction from them, pneumothorax, HTML report."""
    from xrecon import demo as demonstration

    with Reporter(progress) as report:
        tell(report, demonstration.demo(ct, output, model, device.value, report))
