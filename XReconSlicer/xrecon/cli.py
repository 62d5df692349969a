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

from xrecon import (
    __version__,
    cli_benchmark,
    cli_drr,
    cli_evaluate,
    cli_export,
    cli_tools,
    cli_train,
    cli_trust,
    cli_vertebrae,
    lifeline,
)
from xrecon.options import (
    GEOMETRY,
    MODEL,
    Calibrate,
    Ct,
    Device,
    DeviceOption,
    Dicom,
    Force,
    FrameLateral,
    FramePa,
    KeepPatient,
    Output,
    ProgressOption,
    PtxMode,
    Refine,
    RefinePoses,
    Settings,
    Side,
    Skip,
    SourceToDetector,
    SourceToIsocenter,
    Uncertainty,
    UncertaintySamples,
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
    refine: Refine = False,
    refine_poses: RefinePoses = False,
    uncertainty_samples: UncertaintySamples = None,
    calibrate: Calibrate = None,
    force: Force = False,
    dicom: Dicom = None,
    keep_patient: KeepPatient = False,
    device: DeviceOption = Device.AUTO,
    progress: ProgressOption = ProgressMode.AUTO,
) -> None:
    """Reconstruct a CT from a frontal and a lateral chest radiograph, or the views that a model takes.

    Writes `reconstruction.nrrd` (HU, centred on the isocentre), the inputs as the network saw them,
    the reprojections of the result on the same pixels, `ray_support.nrrd` (how many beams hold a voxel),
    `crossing_angle.nrrd` (degrees), and `reconstruction.json` with the scores; where it is known also
    `uncertainty.nrrd`, the standard deviation of the error in HU.
    """
    from xrecon import commands

    if refine_poses and not refine:
        raise typer.BadParameter("--refine-poses works within the refinement: give --refine, too")
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
        target = commands.dicom_target(dicom, keep_patient)
        done = commands.reconstruct(
            pa, lateral, output, model, device.value, options, report, others, target,
            refine=refine, refine_poses=refine_poses, uncertainty_samples=uncertainty_samples, force=force,
            calibrate=calibrate,
        )  # fmt: skip
        tell(report, done)


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
    uncertainty: Uncertainty = None,
    report_page: Annotated[
        bool, typer.Option("--report", help="Also write report.html: slices with the segments, quantities.")
    ] = False,
    dicom: Dicom = None,
    keep_patient: KeepPatient = False,
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
        target = commands.dicom_target(dicom, keep_patient)
        done = commands.segment(
            ct, output, lungs, models, parameters, device.value, report, chosen, target,
            report_page=report_page, uncertainty=uncertainty,
        )  # fmt: skip
        tell(report, done)


app.command(
    "train", epilog=_example("xrecon train --data cts --output run --recipe chest-default --test patient7")
)(cli_train.train)
app.command("scan", epilog=_example("xrecon scan --data cts"))(cli_train.scan)
app.command(
    "evaluate", epilog=_example("xrecon evaluate --model lifting-64 run/model --data cts --output scores")
)(cli_evaluate.evaluate)
app.command(
    "benchmark", epilog=_example("xrecon benchmark --data cts --test patient7 patient9 --output benchmark")
)(cli_benchmark.benchmark)


app.command("export", epilog=_example("xrecon export --ct result/reconstruction.nrrd --output dicom"))(
    cli_export.export
)
app.command("models", epilog=_example("xrecon models --progress json"))(cli_tools.models)
app.command(
    "trust", epilog=_example("xrecon trust --model run/model --data cts --calibrate patient3 --output trust")
)(cli_trust.trust)
app.command("devices", epilog=_example("xrecon devices --model lifting-64"))(cli_tools.devices)
app.command("recognise", epilog=_example("xrecon recognise --radiographs one.png two.png"))(
    cli_tools.recognise
)
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
