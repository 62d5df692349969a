"""The commands `xrecon train` and `xrecon scan`: their options and help. The work is in `xrecon.commands`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from xrecon.options import ProgressOption, Settings, Split, parse_settings
from xrecon.outcome import tell
from xrecon.progress import ProgressMode, Reporter


def train(
    data: Annotated[
        Path,
        typer.Option(
            help="Folder of CTs, optionally with subjects.csv (path, patient, split, ...), or a store."
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the run: settings, split, log, model/.")
    ],
    recipe: Annotated[
        str,
        typer.Option(
            help="Starting values: chest-default and lungs-default (what the bundled models are made with), "
            "lifting, any-view, pixel-inr, x-recon, lungs, x-ctrsnet, ear, x2ct-gan, sit, ... (a wrong name "
            "is answered with all of them)."
        ),
    ] = "lifting",
    config: Annotated[Path | None, typer.Option(help="JSON file that changes the recipe.")] = None,
    settings: Settings = None,
    test: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CT", help="CTs to hold out, with all others of their patients: never seen in training."
        ),
    ] = None,
    split: Split = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --output.")] = False,
    progress: ProgressOption = ProgressMode.AUTO,
) -> None:
    """Train a model on a folder of CTs, split by patient; radiographs are made on the fly.

    The split is written down (`splits.json`) before training; settings, seed, packages, device and source
    version are kept beside it and in the model's card. A run that was stopped (by Ctrl+C, or by a file
    `stop` in its folder) continues with --resume. The exported model is `<output>/model`. Several GPUs or
    machines: `torchrun --nproc-per-node 4 -m xrecon train ...`.
    """
    from xrecon import commands

    # of the processes that torchrun starts, the first one speaks
    with Reporter(progress if os.environ.get("RANK", "0") == "0" else ProgressMode.NONE) as report:
        overrides = parse_settings(settings)
        done = commands.train(
            data, output, recipe, config, overrides, resume, report, test=test or (), table=split
        )
        tell(report, done)


def scan(
    data: Annotated[Path, typer.Option(help="Folder of CTs, as `xrecon train` takes it.")],
    progress: ProgressOption = ProgressMode.AUTO,
) -> None:
    """List the CTs of a folder with size, voxel size, and what keeps each from being trained on."""
    from xrecon import commands

    with Reporter(progress) as report:
        tell(report, commands.scan(data, report))
