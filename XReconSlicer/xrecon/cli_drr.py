"""The command `xrecon drr`: its options and help. The work is in `xrecon.drr`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from xrecon.options import (
    GEOMETRY,
    CtOrNone,
    Output,
    ProgressOption,
    SourceToDetector,
    SourceToIsocenter,
    parse_settings,
)
from xrecon.progress import ProgressMode, Reporter
from xrecon.volume import InputError

LOOK = "Beam, detector and film"


class Look(StrEnum):
    """What the pictures are to be."""

    IDEAL = "ideal"
    CHEST = "chest"


def drr(
    output: Output,
    ct: CtOrNone = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="A folder of CTs instead; each CT's files go into its own folder. A run that was stopped "
            "goes on; a CT that fails is told at the end."
        ),
    ] = None,
    views: Annotated[
        list[str] | None,
        typer.Option(
            metavar="VIEW",
            help="One or more: PA, AP, LEFT LATERAL, RIGHT LATERAL, LAO, RAO, LPO, RPO (45 degrees), 'LAO 30 "
            "CRA 10', or positioner angles in degrees as 30,10. Default: PA and LEFT LATERAL.",
        ),
    ] = None,
    formats: Annotated[
        str,
        typer.Option(
            help="Comma separated: dcm (DICOM DX), png (16 bit and JSON), nrrd, store (CT and radiographs to "
            "train from, in `<output>/store`)."
        ),
    ] = "dcm,png",
    detector_pixels: Annotated[
        str | None, typer.Option(metavar="N|ROWSxCOLUMNS", help="Pixels of the detector. Default: 512.")
    ] = None,
    pixel_spacing_mm: Annotated[
        str | None,
        typer.Option(
            metavar="MM|ROWxCOLUMN", help="Distance of pixels. Default: that of a 430 mm wide detector."
        ),
    ] = None,
    source_to_detector_mm: SourceToDetector = None,
    source_to_isocenter_mm: SourceToIsocenter = None,
    isocenter: Annotated[
        str | None,
        typer.Option(
            metavar="X,Y,Z",
            help="Point of the CT (LPS mm) that the views turn about. Default: the middle of the lungs.",
            rich_help_panel=GEOMETRY,
        ),
    ] = None,
    geometry: Annotated[
        Path | None,
        typer.Option(
            help="JSON with whole geometries instead, such as a drr.json.", rich_help_panel=GEOMETRY
        ),
    ] = None,
    look: Annotated[
        Look | None,
        typer.Option(
            help="ideal: line integrals, which reconstruction and training want; chest: a chest film, with "
            "spectrum, scatter, grid, blur, noise and look-up curve. Default: ideal.",
            rich_help_panel=LOOK,
        ),
    ] = None,
    settings_file: Annotated[
        Path | None,
        typer.Option(
            "--settings",
            help="JSON that changes the look's settings, such as a drr.json (then seed and table, too).",
            rich_help_panel=LOOK,
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="One or more settings, with --look chest: tube_kvp=90 grid=false ... (all are in drr.json).",
            rich_help_panel=LOOK,
        ),
    ] = None,
    energy_kev: Annotated[
        float | None,
        typer.Option(help="Energy of an ideal beam, keV. Default: 70.", rich_help_panel=LOOK),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of the noise. Default: 0.", rich_help_panel=LOOK)
    ] = None,
    compare: Annotated[
        bool,
        typer.Option(
            "--compare", help="Write comparison.html: the views in several looks.", rich_help_panel=LOOK
        ),
    ] = False,
    film: Annotated[
        list[Path] | None,
        typer.Option(help="Real radiograph to set beside them; may come again.", rich_help_panel=LOOK),
    ] = None,
    keep_table: Annotated[bool, typer.Option("--keep-table", help="Project the scanner table, too.")] = False,
    keep_truncation: Annotated[
        bool,
        typer.Option("--keep-truncation", help="Do not continue a body that the CT's field of view cuts."),
    ] = False,
    workers: Annotated[
        int,
        typer.Option(min=1, help="Processes for --data; more than one needs xrecon[cluster]."),
    ] = 1,
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Dask scheduler that does the work of --data instead."),
    ] = None,
    progress: ProgressOption = ProgressMode.AUTO,
) -> None:
    """Project a CT to radiographs about the middle of its lungs.

    Writes `<ct>_pa.dcm`, `<ct>_pa.png`, ... and `drr.json` with every geometry and setting: given back
    with `--geometry drr.json --settings drr.json` it makes the same pixels.
    """
    from xrecon.drr import command
    from xrecon.drr.cluster import Cluster
    from xrecon.drr.options import make_options
    from xrecon.drr.views import view_angles
    from xrecon.outcome import tell

    if (ct is None) == (data is None):
        raise typer.BadParameter("give either --ct or --data")
    if data is None and (workers > 1 or scheduler):
        raise typer.BadParameter("--workers and --scheduler are for a folder of CTs, --data")
    if workers > 1 and scheduler:
        raise typer.BadParameter("give either --workers or --scheduler, which has its own workers")
    try:
        for view in views or ():
            view_angles(view)
        changes = parse_settings(settings)
        options = make_options(
            views=views,
            geometry=geometry,
            formats=formats,
            detector_pixels=detector_pixels,
            pixel_spacing_mm=pixel_spacing_mm,
            isocenter=isocenter,
            look=look,
            settings_file=settings_file,
            settings=changes,
            energy_kev=energy_kev,
            seed=seed,
            films=film,
            compare=compare,
            source_to_detector_mm=source_to_detector_mm,
            source_to_isocenter_mm=source_to_isocenter_mm,
            keep_table=keep_table,
            complete=not keep_truncation,
        )
    except InputError as error:
        raise typer.BadParameter(str(error)) from error
    with Reporter(progress) as report:
        if ct is not None:
            tell(report, command.drr(ct, output, options, report))
        else:
            cluster = Cluster(workers, scheduler or "") if workers > 1 or scheduler else None
            tell(report, command.drr_folder(data, output, options, report, cluster))
