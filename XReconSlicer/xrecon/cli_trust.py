"""The options of `xrecon trust`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xrecon.options import Device, DeviceOption, Output, ProgressOption
from xrecon.outcome import tell
from xrecon.progress import ProgressMode, Reporter


def trust(
    model: Annotated[str, typer.Option(help="Bundled model or model folder.")],
    data: Annotated[Path, typer.Option(help="Folder of CTs, as `xrecon evaluate` takes it.")],
    output: Output,
    calibrate: Annotated[
        list[str] | None, typer.Option(help="Validation subjects that the constants are measured on.")
    ] = None,
    others: Annotated[
        list[str] | None,
        typer.Option(help="People whose radiographs serve as another patient's; any subjects."),
    ] = None,
    test: Annotated[
        list[str] | None, typer.Option(help="Subjects on which the constants are only checked.")
    ] = None,
    record: Annotated[
        bool, typer.Option("--record", help="Write the figures into the model's card, too.")
    ] = False,
    device: DeviceOption = Device.AUTO,
    progress: ProgressOption = ProgressMode.AUTO,
) -> None:
    """Measure how far a reconstruction model can be trusted, for its card.

    Writes `trust.json`: the scale of the reprojection score (own radiographs 0, another patient's 1),
    expected against observed error of voxels with the coverage of intervals, what refinement gains, and
    which planted nodules and air pockets survive. Results of the model use the figures in its card.
    """
    from xrecon.trust_measurement import measure_files

    with Reporter(progress) as report:
        done = measure_files(
            model, data, output, calibrate or (), others or (), test or (), device.value, report, record
        )
        if record:
            from xrecon.assessment.record import write_card_page

            write_card_page(model)
        tell(report, done)
