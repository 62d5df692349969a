"""The `xrecon` command line: options, help, exit codes. The work lies in other modules.

Exit codes: 0 done, 1 a bug, 2 wrong usage, 3 bad input, 4 cannot write, 5 out of memory,
130 interrupted. Every failure ends with one line `xrecon: error: ...` on stderr.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer

from xrecon import __version__, cli_benchmark, cli_drr, cli_tools, cli_vertebrae, lifeline
from xrecon.options import (
    GEOMETRY,
    MODEL,
    Ct,
    Device,
    DeviceOption,
    FrameLateral,
    FramePa,
    Output,
    ProgressOption,
    PtxMode,
    Settings,
    Side,
    Skip,
    SourceToDetector,
    SourceToIsocenter,
    Voi,
    parse_settings,
    spread_lists,
)
from xrecon.outcome import tell
from xrecon.pipelines import DEFAULT_LUNG_MODELS, DEFAULT_MODEL
from xrecon.progress import ProgressMode, Reporter, report_error
from xrecon.volume import InputError

OK, BUG, USAGE, BAD_INPUT, CANNOT_WRITE, NO_MEMORY, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130

app = typer.Typer(
    name="xrecon",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="CT volumes from two chest radiographs, and the pneumothorax in them. "
    "Research software, not a medical device: results are synthetic and not for diagnosis.",
)


def _example(line: str) -> str:
    return f"Example: `{line}`"


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"xrecon {__version__}")
        raise typer.Exit(OK)


@app.callback()
def _top(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """Options before the command."""


app.command(
    "drr", epilog=_example('xrecon drr --ct chest.nii.gz --output radiographs --views PA "LEFT LATERAL" LAO')
)(cli_drr.drr)
app.add_typer(cli_vertebrae.app, name="vertebrae")


@app.command(epilog=_example("xrecon reconstruct --pa pa.dcm --lateral lateral.dcm --output result"))
def reconstruct(
    output: Output,
    pa: Annotated[
        Path | None, typer.Option(help="PA (or AP) radiograph: DICOM CR/DX, PNG, TIFF, NRRD.")
    ] = None,
    lateral: Annotated[
        Path | None, typer.Option(help="Lateral radiograph of the same patient and position.")
    ] = None,
    radiographs: Annotated[
        list[Path] | None,
        typer.Option(help="More radiographs, of views that their files tell, for models that take them."),
    ] = None,
    lateral_side: Annotated[
        Side | None, typer.Option(help="Side against the detector. Default: as recorded, else left.")
    ] = None,
    model: Annotated[
        str, typer.Option(help="Bundled model (see `xrecon models`) or model folder.", rich_help_panel=MODEL)
    ] = DEFAULT_MODEL,
    source_to_detector_mm: SourceToDetector = None,
    source_to_isocenter_mm: SourceToIsocenter = None,
    pixel_spacing_mm: Annotated[
        float | None,
        typer.Option(min=0.01, metavar="MM", help="Pixel size on the detector.", rich_help_panel=GEOMETRY),
    ] = None,
    invert_pa: Annotated[
        bool | None,
        typer.Option("--invert-pa/--no-invert-pa", help="Dense is dark in the PA. Default: as recorded."),
    ] = None,
    invert_lateral: Annotated[
        bool | None,
        typer.Option("--invert-lateral/--no-invert-lateral", help="The same for the lateral."),
    ] = None,
    frame_pa: FramePa = None,
    frame_lateral: FrameLateral = None,
    voi: Voi = False,
    skip: Skip = None,
    device: DeviceOption = Device.AUTO,
    progress: ProgressOption = ProgressMode.AUTO,
) -> None:
    """Reconstruct a CT from a frontal and a lateral chest radiograph, or the views that a model takes.

    Writes `reconstruction.nrrd` (HU, centred on the isocentre), the inputs as the network saw them,
    the reprojections of the result on the same pixels, and `reconstruction.json` with the scores; from
    a model that predicts it also `uncertainty.nrrd`, the standard deviation of the error in HU.
    """
    from xrecon import commands

    options = commands.RadiographOptions(
        source_to_detector_mm=source_to_detector_mm,
        source_to_isocenter_mm=source_to_isocenter_mm,
        pixel_spacing_mm=pixel_spacing_mm,
        lateral_side=lateral_side.value if lateral_side else None,
        invert_pa=invert_pa,
        invert_lateral=invert_lateral,
        frame_pa=frame_pa,
        frame_lateral=frame_lateral,
        voi=voi,
        skip=tuple(step.value for step in skip or ()),
    )
    with Reporter(progress) as report:
        others = tuple(radiographs or ())
        tell(report, commands.reconstruct(pa, lateral, output, model, device.value, options, report, others))


@app.command(epilog=_example("xrecon segment --ct chest.nii.gz --output result --report"))
def segment(
    ct: Ct,
    output: Output,
    lungs: Annotated[
        Path | None, typer.Option(help="Lung labels (1 right, 2 left) on the CT's grid, or cut out of it.")
    ] = None,
    lung_model: Annotated[
        list[str] | None,
        typer.Option(
            help="Lung network: a bundled name, a model folder, lungmask's weights (a .pth file, or R231, "
            "LTRCLobes, R231CovidWeb where lungmask has put them), or classical (thresholds, no weights); "
            "several are united. "
            "Default: the bundled network.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    mode: Annotated[
        PtxMode | None,
        typer.Option(
            help="robust (default), or reference: the paper's Algorithm 1, also taken when --set names its "
            "parameters (t_p, K_b, ...)."
        ),
    ] = None,
    settings: Settings = None,
    report_page: Annotated[
        bool, typer.Option("--report", help="Also write report.html: slices with the segments, quantities.")
    ] = False,
    device: DeviceOption = Device.AUTO,
    progress: ProgressOption = ProgressMode.AUTO,
) -> None:
    """Find lungs and pneumothorax in a CT (PTX-Seg) and measure them.

    Writes `segmentation.seg.nrrd` (1 right lung, 2 left lung, 3 right pneumothorax, 4 left
    pneumothorax), `segmentation.json` and `segmentation.csv`: volumes, occupancy, density,
    interpleural distances, mediastinal shift, radiograph indices.
    """
    from xrecon import commands

    models = tuple(lung_model or DEFAULT_LUNG_MODELS)
    with Reporter(progress) as report:
        parameters = parse_settings(settings)
        chosen = mode.value if mode else None
        done = commands.segment(
            ct, output, lungs, models, parameters, device.value, report, chosen, report_page=report_page
        )
        tell(report, done)


@app.command(epilog=_example("xrecon train --data cts --output run --recipe lifting --set steps=4000"))
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
            help="Starting values: lifting, any-view, pixel-inr, x-recon, lungs, x-ctrsnet, ear, x2ct-gan, "
            "sit, ... (a wrong name is answered with all of them)."
        ),
    ] = "lifting",
    config: Annotated[Path | None, typer.Option(help="JSON file that changes the recipe.")] = None,
    settings: Settings = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --output.")] = False,
    progress: ProgressOption = ProgressMode.AUTO,
) -> None:
    """Train a model on a folder of CTs, split by patient; radiographs are made on the fly.

    A run that was stopped (by Ctrl+C, or by a file `stop` in its folder) continues with --resume. The
    exported model is `<output>/model`. Several GPUs or machines: `torchrun --nproc-per-node 4 -m xrecon
    train ...`.
    """
    from xrecon import commands

    # of the processes that torchrun starts, the first one speaks
    with Reporter(progress if os.environ.get("RANK", "0") == "0" else ProgressMode.NONE) as report:
        overrides = parse_settings(settings)
        tell(report, commands.train(data, output, recipe, config, overrides, resume, report))


@app.command(epilog=_example("xrecon scan --data cts"))
def scan(
    data: Annotated[Path, typer.Option(help="Folder of CTs, as `xrecon train` takes it.")],
    progress: ProgressOption = ProgressMode.AUTO,
) -> None:
    """List the CTs of a folder with size, voxel size, and what keeps each from being trained on."""
    from xrecon import commands

    with Reporter(progress) as report:
        tell(report, commands.scan(data, report))


@app.command(epilog=_example("xrecon evaluate --model lifting-64 --data cts --output scores"))
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


app.command(
    "benchmark", epilog=_example("xrecon benchmark --data cts --test patient7 patient9 --output benchmark")
)(cli_benchmark.benchmark)


@app.command(epilog=_example("xrecon models --progress json"))
def models(
    costs: Annotated[
        bool,
        typer.Option(
            "--costs",
            help="Count parameters, FLOP and memory of each architecture too, with its default options "
            "(takes a minute).",
        ),
    ] = False,
    progress: ProgressOption = ProgressMode.AUTO,
) -> None:
    """List the bundled models with what their cards say, and the architectures for training."""
    from xrecon import commands

    with Reporter(progress) as report:
        tell(report, commands.models(costs))


app.command("devices", epilog=_example("xrecon devices --model lifting-64"))(cli_tools.devices)
app.command("phantom", epilog=_example("xrecon phantom --output phantom"))(cli_tools.phantom)


@app.command(epilog=_example("xrecon demo --ct chest.nii.gz --output demo-output"))
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


# -- around the commands -------------------------------------------------------------------------
def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command line and exits with its code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    sys.exit(run(arguments or ["--help"]))


def run(arguments: Sequence[str]) -> int:
    """The exit code of a command line; failures are told on stderr, and on stdout as JSON on request."""
    previous = _interrupt_on_terminate()
    lifeline.watch_caller()
    as_json = _asks_for_json(arguments)
    try:
        code = app(spread_lists(arguments), prog_name="xrecon", standalone_mode=False)
        if code == INTERRUPTED:  # typer makes this of a KeyboardInterrupt
            raise KeyboardInterrupt
        return code if isinstance(code, int) else OK
    except (InputError, FileNotFoundError) as error:
        return _failed(BAD_INPUT, _sentence(error), as_json)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CANNOT_WRITE
    except OSError as error:
        return _failed(CANNOT_WRITE, _sentence(error), as_json)
    except MemoryError as error:
        return _failed(NO_MEMORY, str(error) or "not enough memory", as_json)
    except (KeyboardInterrupt, typer.Abort):
        return _failed(INTERRUPTED, "interrupted", as_json)
    except Exception as error:
        if hasattr(error, "format_message"):  # wrong usage, as typer reports it
            message = error.format_message().replace("Value error, ", "")
            return _failed(USAGE, f"{message} (see xrecon --help)", as_json)
        if _is_out_of_memory(error):
            return _failed(NO_MEMORY, " ".join(f"not enough memory: {error}".split()), as_json)
        traceback.print_exc()
        return _failed(BUG, f"{type(error).__name__}: {error} (a bug in xrecon)", as_json)
    finally:
        if previous is not None:
            signal.signal(signal.SIGTERM, previous)


def _is_out_of_memory(error: Exception) -> bool:
    """Whether torch could not allocate: told by name and text, since torch may not be loaded."""
    if type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def _failed(code: int, message: str, as_json: bool) -> int:
    report_error(message, as_json)
    return code


def _sentence(error: Exception) -> str:
    """The error as one sentence, without Python's "[Errno 2]"."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return str(error)


def _asks_for_json(arguments: Sequence[str]) -> bool:
    return "--progress=json" in arguments or ("--progress", "json") in pairwise(arguments)


def _interrupt_on_terminate() -> Any:
    """Makes SIGTERM unwind like Ctrl+C, so that temporary files go; None outside the main thread."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    try:
        return signal.signal(signal.SIGTERM, interrupt)
    except ValueError:
        return None
