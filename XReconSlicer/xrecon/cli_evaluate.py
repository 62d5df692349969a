"""The command `xrecon evaluate`: its options and help; `xrecon.assessment`, `xrecon.scoring` do the work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xrecon.options import MODEL, Device, DeviceOption, Output, ProgressOption, Split
from xrecon.outcome import tell
from xrecon.progress import ProgressMode, Reporter


def evaluate(
    output: Output,
    model: Annotated[
        list[str] | None,
        typer.Option(help="Bundled models or model folders to measure, one or more, of any kind."),
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of CTs to measure them on.")] = None,
    subjects: Annotated[
        list[str] | None,
        typer.Option(help="Only these CTs, by name. Default: those of the split 'test', else all."),
    ] = None,
    split: Split = None,
    lung_model: Annotated[
        str,
        typer.Option(help="Of PTX-Seg on reconstructions: a model, or classical.", rich_help_panel=MODEL),
    ] = "lungs-unet",
    pneumothorax: Annotated[
        list[float] | None,
        typer.Option(
            metavar="SHARE",
            help="Sizes of synthetic pneumothorax, shares of a side; 0 for none. Default: 0.15 0.35 0.6.",
        ),
    ] = None,
    prediction: Annotated[Path | None, typer.Option(help="A volume to compare instead.")] = None,
    reference: Annotated[Path | None, typer.Option(help="What it is compared to.")] = None,
    labels: Annotated[bool, typer.Option("--labels", help="The two volumes hold labels, not HU.")] = False,
    record: Annotated[
        bool,
        typer.Option(
            "--record",
            help="Write the figures into the models' folders: card.json, MODEL_CARD.md, worst_case.png. "
            "Refused for CTs that a model has seen.",
        ),
    ] = False,
    trust: Annotated[
        bool,
        typer.Option("--trust", help="With --record: also measure how far the volumes can be trusted."),
    ] = False,
    device: DeviceOption = Device.AUTO,
    progress: ProgressOption = ProgressMode.AUTO,
) -> None:
    """Measure models on CTs, with controls, or compare one volume with another.

    Reconstruction models are given radiographs projected from each CT, as scanned and with synthetic
    pneumothorax; controls are the mean training volume, the nearest training subject (of the training CTs
    in the folder) and exchanged radiographs. Writes `evaluation.md`, `.csv`, `.json`, plots and a page of
    pictures. What was measured is kept in the folder, so that a stopped evaluation goes on.
    """
    with Reporter(progress) as report:
        if prediction and reference and not (model or data):
            from xrecon import scoring

            tell(report, scoring.compare_files(prediction, reference, output, labels, report))
        elif model and data and not (prediction or reference):
            if trust and not record:
                raise typer.BadParameter("--trust writes into the card: give --record, too")
            from xrecon.assessment.cases import FRACTIONS
            from xrecon.assessment.command import evaluate_models

            sizes = FRACTIONS if pneumothorax is None else [f for f in pneumothorax if f]
            done = evaluate_models(
                model, data, output, subjects or (), device.value, report, table=split, lungs=lung_model,
                fractions=sizes, recorded=record, trust=trust,
            )  # fmt: skip
            tell(report, done)
        else:
            raise typer.BadParameter("give either --model and --data, or --prediction and --reference")
