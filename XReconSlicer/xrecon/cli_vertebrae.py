"""The commands `xrecon vertebrae ...`: their options and help. The work is in `xrecon.vertebrae`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xrecon.options import Device, DeviceOption, Output, ProgressOption, SourceToDetector, SourceToIsocenter
from xrecon.outcome import tell
from xrecon.progress import ProgressMode, Reporter

app = typer.Typer(
    help="Single vertebrae: prepare labelled CTs for training, reconstruct a spine.",
    invoke_without_command=True,
)


@app.callback()
def _top(context: typer.Context) -> None:
    # as bare `xrecon`: typer's no_args_is_help would make it wrong usage
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command(epilog="Example: xrecon vertebrae prepare --data spines --output vertebrae")
def prepare(
    data: Annotated[
        Path, typer.Option(help="Folder of CTs; subjects.csv names their label maps in a column labels.")
    ],
    output: Output,
    structures: Annotated[
        Path | None,
        typer.Option(
            help="CSV with the columns id and structure (vertebrae_T1, ...) of the labels. Default: VerSe's "
            "numbers, 1 C1 to 24 L5."
        ),
    ] = None,
    field_mm: Annotated[
        float, typer.Option(min=10.0, metavar="MM", help="Edge of the cube with its neighbours.")
    ] = 96.0,
    progress: ProgressOption = ProgressMode.AUTO,
) -> None:
    """Make a subject of each complete vertebra, to train with `xrecon train --recipe ear-vertebrae`."""
    from xrecon import vertebrae

    with Reporter(progress) as report:
        tell(report, vertebrae.prepare(data, output, structures, field_mm, report))


@app.command(
    epilog="Example: xrecon vertebrae reconstruct --pa pa.dcm --lateral lateral.dcm --centers vertebrae.csv "
    "--model run/model --output spine"
)
def reconstruct(
    pa: Annotated[Path, typer.Option(help="PA (or AP) radiograph: DICOM CR/DX, PNG, TIFF, NRRD.")],
    lateral: Annotated[Path, typer.Option(help="Lateral radiograph of the same patient and position.")],
    centers: Annotated[
        Path, typer.Option(help="CSV with name, x, y, z: the middle of each vertebra in LPS mm.")
    ],
    model: Annotated[str, typer.Option(help="Model folder, trained with the recipe ear-vertebrae.")],
    output: Output,
    ct_name: Annotated[str | None, typer.Option(help="Use the rows of this CT (column ct) alone.")] = None,
    source_to_detector_mm: SourceToDetector = None,
    source_to_isocenter_mm: SourceToIsocenter = None,
    device: DeviceOption = Device.AUTO,
    progress: ProgressOption = ProgressMode.AUTO,
) -> None:
    """Reconstruct each vertebra about its own middle and put them together into one volume."""
    from xrecon import commands, vertebrae

    options = commands.RadiographOptions(
        source_to_detector_mm=source_to_detector_mm, source_to_isocenter_mm=source_to_isocenter_mm
    )
    with Reporter(progress) as report:
        middles = vertebrae.read_centers(centers, ct_name)
        views = commands.read_views(pa, lateral, options)
        outcome = vertebrae.reconstruct_files(views, middles, output, model, device.value, report)
        tell(report, outcome)
