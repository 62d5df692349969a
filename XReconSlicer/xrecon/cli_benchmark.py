"""The command `xrecon benchmark`: its options and help. The work is in `xrecon.benchmark`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from xrecon.benchmark import MINUTES, QUICK_MINUTES
from xrecon.options import Device, DeviceOption, Output, ProgressOption, Settings, parse_settings
from xrecon.outcome import tell
from xrecon.progress import ProgressMode, Reporter


def benchmark(
    data: Annotated[
        Path, typer.Option(help="Folder of CTs; a subjects.csv may say which are for testing (split).")
    ],
    output: Output,
    methods: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="One or more recipes of `xrecon train`, methods without training, bundled models, model "
            "folders. Default: every recipe that reconstructs and every method without training. Mean "
            "volume and nearest subject are always there.",
        ),
    ] = None,
    test: Annotated[
        list[str] | None, typer.Option(metavar="CT", help="CTs to test on; never trained on.")
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(min=0.05, help=f"Processor time in which each method may train. Default: {MINUTES:g}."),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Instead: so many steps for each method.")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help=f"{QUICK_MINUTES:g} minutes a method: whether all works.")
    ] = False,
    side: Annotated[int, typer.Option(help="Voxels per edge of the reconstructed cube.")] = 64,
    pneumothorax: Annotated[
        float,
        typer.Option(help="Size of the second case's synthetic pneumothorax, share of the side; 0: none."),
    ] = 0.35,
    seed: Annotated[int, typer.Option(min=0, help="Of weights, order and augmentation.")] = 0,
    settings: Settings = None,
    device: DeviceOption = Device.AUTO,
    progress: ProgressOption = ProgressMode.AUTO,
) -> None:
    """Train a list of methods under one equal budget and measure them on the same unseen patients.

    Writes `benchmark.md`, `.csv`, `.json`, a report page with plots and slices, and every
    reconstruction. A benchmark that was stopped goes on where it was.
    """
    from xrecon.benchmark.command import benchmark as run
    from xrecon.benchmark.methods import all_methods

    if minutes is None:
        minutes = QUICK_MINUTES if quick else MINUTES
    with Reporter(progress) as report:
        values: dict[str, Any] = {
            "minutes": minutes, "steps": steps, "side": side, "pneumothorax": pneumothorax, "seed": seed,
            "device": device.value, "settings": parse_settings(settings),
        }  # fmt: skip
        tell(report, run(data, output, methods or all_methods(), test, report, **values))
