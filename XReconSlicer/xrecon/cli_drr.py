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


# -- options ---------------------------------------------------------------------------------
_Data = Annotated[
    Path | None,
    typer.Option(
        help="A folder of CTs instead; each CT's files go into its own folder. A run that was stopped "
        "goes on; a CT that fails is told at the end."
    ),
]
_Views = Annotated[
    list[str] | None,
    typer.Option(
        metavar="VIEW",
        help="One or more: PA, AP, LEFT LATERAL, RIGHT LATERAL, LAO, RAO, LPO, RPO (45 degrees), 'LAO 30 "
        "CRA 10', or positioner angles in degrees as 30,10. Default: PA and LEFT LATERAL.",
    ),
]
_Formats = Annotated[
    str,
    typer.Option(
        help="Comma separated: dcm (DICOM DX), png (16 bit and JSON), nrrd, store (CT and radiographs to "
        "train from, in `<output>/store`)."
    ),
]
_DetectorPixels = Annotated[
    str | None, typer.Option(metavar="N|ROWSxCOLUMNS", help="Pixels of the detector. Default: 512.")
]
_PixelSpacingMm = Annotated[
    str | None,
    typer.Option(
        metavar="MM|ROWxCOLUMN", help="Distance of pixels. Default: that of a 430 mm wide detector."
    ),
]
_Isocenter = Annotated[
    str | None,
    typer.Option(
        metavar="X,Y,Z",
        help="Point of the CT (LPS mm) that the views turn about. Default: the middle of the lungs.",
        rich_help_panel=GEOMETRY,
    ),
]
_Geometry = Annotated[
    Path | None,
    typer.Option(help="JSON with whole geometries instead, such as a drr.json.", rich_help_panel=GEOMETRY),
]
_Look = Annotated[
    Look | None,
    typer.Option(
        help="ideal: line integrals, which reconstruction and training want; chest: a chest film, with "
        "spectrum, scatter, grid, blur, noise and look-up curve. Default: ideal.",
        rich_help_panel=LOOK,
    ),
]
_SettingsFile = Annotated[
    Path | None,
    typer.Option(
        "--settings",
        help="JSON that changes the look's settings, such as a drr.json (then seed and table, too).",
        rich_help_panel=LOOK,
    ),
]
_Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="One or more settings, with --look chest: tube_kvp=90 grid=false ... (all are in drr.json).",
        rich_help_panel=LOOK,
    ),
]
_EnergyKev = Annotated[
    float | None,
    typer.Option(help="Energy of an ideal beam, keV. Default: 70.", rich_help_panel=LOOK),
]
_Seed = Annotated[int | None, typer.Option(min=0, help="Of the noise. Default: 0.", rich_help_panel=LOOK)]
_Compare = Annotated[
    bool,
    typer.Option(
        "--compare", help="Write comparison.html: the views in several looks.", rich_help_panel=LOOK
    ),
]
_Film = Annotated[
    list[Path] | None,
    typer.Option(help="Real radiograph to set beside them; may come again.", rich_help_panel=LOOK),
]
_KeepTable = Annotated[bool, typer.Option("--keep-table", help="Project the scanner table, too.")]
_KeepTruncation = Annotated[
    bool,
    typer.Option("--keep-truncation", help="Do not continue a body that the CT's field of view cuts."),
]
_Workers = Annotated[
    int,
    typer.Option(min=1, help="Processes for --data; more than one needs xrecon[cluster]."),
]
_Scheduler = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="Dask scheduler that does the work of --data instead."),
]


def drr(
    output: Output,
    ct: CtOrNone = None,
    data: _Data = None,
    views: _Views = None,
    formats: _Formats = "dcm,png",
    detector_pixels: _DetectorPixels = None,
    pixel_spacing_mm: _PixelSpacingMm = None,
    source_to_detector_mm: SourceToDetector = None,
    source_to_isocenter_mm: SourceToIsocenter = None,
    isocenter: _Isocenter = None,
    geometry: _Geometry = None,
    look: _Look = None,
    settings_file: _SettingsFile = None,
    settings: _Settings = None,
    energy_kev: _EnergyKev = None,
    seed: _Seed = None,
    compare: _Compare = False,
    film: _Film = None,
    keep_table: _KeepTable = False,
    keep_truncation: _KeepTruncation = False,
    workers: _Workers = 1,
    scheduler: _Scheduler = None,
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
