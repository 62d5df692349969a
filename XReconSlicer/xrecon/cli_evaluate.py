"""The command `xrecon evaluate`: its options and help. The work is in `xrecon.scoring`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xrecon.options import Device, DeviceOption, Output, ProgressOption
from xrecon.outcome import tell
from xrecon.progress import ProgressMode, Reporter


def evaluate(
    output: Output,
    model: Annotated[str | None, typer.Option(help="Bundled model or model folder to score.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of CTs to project and reconstruct.")] = None,
    subjects: Annotated[list[str] | None, typer.Option(help="Only these CTs, by name.")] = None,
    prediction: Annotated[Path | None, typer.Option(help="A volume to compare instead.")] = None,
    reference: Annotated[Path | None, typer.Option(help="What it is compared to.")] = None,
    labels: Annotated[bool, typer.Option("--labels", help="The two volumes hold labels, not HU.")] = False,
    record: Annotated[
        bool, typer.Option("--record", help="Write the figures into the model's card, too.")
    ] = False,
    device: DeviceOption = Device.AUTO,
    progress: ProgressOption = ProgressMode.AUTO,
) -> None:
    """Score a model on CTs (with the mean training volume as control), or one volume against another.

    Writes `evaluation.json` and `evaluation.csv`.
    """
    from xrecon import scoring

    with Reporter(progress) as report:
        if prediction and reference and not (model or data):
            tell(report, scoring.compare_files(prediction, reference, output, labels, report))
        elif model and data and not (prediction or reference):
            tell(report, scoring.score_model(model, data, output, subjects, device.value, report, record))
        else:
            raise typer.BadParameter("give either --model and --data, or --prediction and --reference")
