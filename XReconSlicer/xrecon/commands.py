"""What the subcommands do: files in, files out. The command line gives these functions its options.

Each writes into a folder, all files or none, and returns an `Outcome`.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xrecon.export import DicomTarget, results, with_dicom
from xrecon.given_radiographs import RadiographOptions, read_views
from xrecon.io.atomic import atomic_write_text
from xrecon.io.sidecar import RECORD_FORMAT
from xrecon.outcome import Outcome, ProgressCallback, table_text
from xrecon.physics.geometry import VIEWS
from xrecon.progress import json_text
from xrecon.provenance import shareable_name
from xrecon.volume import InputError, Quantity

if TYPE_CHECKING:
    from xrecon.pipelines import Segmentation
    from xrecon.training.scan import Study


def dicom_target(folder: Path | None, keep_patient: bool) -> DicomTarget | None:
    """Where DICOM goes, None for nowhere. Raises InputError when a patient is to be kept nevertheless."""
    if folder is None:
        if keep_patient:
            raise InputError("expected --dicom with --keep-patient, got --keep-patient alone")
        return None
    return DicomTarget(folder, keep_patient)


# -- reconstruct ---------------------------------------------------------------------------------
def reconstruct(
    pa: Path | None,
    lateral: Path | None,
    output: Path,
    model: str,
    device: str,
    options: RadiographOptions,
    progress: ProgressCallback,
    others: Sequence[Path] = (),
    dicom: DicomTarget | None = None,
    *,
    refine: bool = False,
    uncertainty_samples: int | None = None,
    force: bool = False,
    calibrate: bool | None = None,
    refine_poses: bool = False,
) -> Outcome:
    """A CT from radiographs, with its reprojections and the inputs as the network saw them.

    others: radiographs of further views, for models that take them. dicom: where to write the result as
    DICOM objects, too. The options after it: see `xrecon.checked.reconstruct_checked`.
    """
    from xrecon import reconstruction_report
    from xrecon.checked import reconstruct_checked
    from xrecon.io.image import write_volume
    from xrecon.io.radiograph import write_radiograph
    from xrecon.trust.words import trust_lines

    paths = [path for path in (pa, lateral, *others) if path]
    with results(output, dicom, paths) as (folder, exported):
        progress("read", 0.0, "radiographs")
        views = read_views(pa, lateral, options, others)
        checked = reconstruct_checked(
            views, model, device, progress, force=force, skip=options.skip, calibrate=calibrate,
            refine=refine, uncertainty_samples=uncertainty_samples, refine_poses=refine_poses,
        )  # fmt: skip
        result = checked.result
        progress("write", 0.0, str(output))
        files = {"reconstruction": "reconstruction.nrrd"}
        write_volume(result.volume, folder / files["reconstruction"])
        beams = result.ray_support
        maps = {"uncertainty": result.uncertainty, "ray_support": beams and beams.views,
                "crossing_angle": beams and beams.crossing_deg}  # fmt: skip
        for role, volume in maps.items():
            if volume is not None:
                files[role] = f"{role}.nrrd"
                write_volume(volume, folder / files[role])
        for picture, projected in zip(result.inputs, result.reprojections, strict=True):
            short = _short_view(picture.view, files)
            for role, radiograph in (("input", picture), ("reprojection", projected)):
                files[f"{role}_{short}"] = f"{role}_{short}.nrrd"
                # files name presets only; the geometry beside the picture tells any view
                named = radiograph if radiograph.view in VIEWS else replace(radiograph, view="")
                write_radiograph(named, folder / files[f"{role}_{short}"])
        if result.labels is not None:
            from xrecon.io.segmentation import numbered_segments, write_segmentation

            files["segmentation"] = "segmentation.seg.nrrd"
            segments = numbered_segments(result.label_names)
            write_segmentation(result.labels, folder / files["segmentation"], segments)
        if exported is not None:
            exported.of_reconstruction(result)
        names = _names(pa, lateral, others)
        about = {"format": RECORD_FORMAT, "file": files["reconstruction"]}
        numbers = {**about, **checked.to_dict(), "inputs": names}
        files["report"] = reconstruction_report.write(result, model, names, folder, checked.tables()).name
        files["summary"] = "reconstruction.json"
        atomic_write_text(folder / files["summary"], json_text({**numbers, "files": files}))
    text = "\n".join(
        f"{view}: " + ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in scores.items())
        for view, scores in result.scores.items()
    )
    text = "\n".join([text, *trust_lines(result.trust)])
    made = {k: output / v for k, v in files.items()}
    return with_dicom(Outcome(made, numbers, text, result.warnings), exported)


def _short_view(view: str, files: Mapping[str, str]) -> str:
    """How a view is called in file names, the first frontal one "pa", the first lateral one "lateral"."""
    from xrecon.preprocess.views import view_kind

    short = {"frontal": "pa", "lateral": "lateral"}.get(view_kind(view), "")
    if not short or f"input_{short}" in files:
        short = re.sub(r"[^a-z0-9-]+", "_", view.lower().replace(".", "p")).strip("_")
    return short


def _names(pa: Path | None, lateral: Path | None, others: Sequence[Path]) -> dict[str, Any]:
    names: dict[str, Any] = {k: p.name for k, p in (("pa", pa), ("lateral", lateral)) if p}
    return {**names, "others": [path.name for path in others]} if others else names


# -- segment -------------------------------------------------------------------------------------
def segment(
    ct: Path,
    output: Path,
    lungs: Path | None,
    lung_models: Sequence[str],
    parameters: Mapping[str, Any],
    device: str,
    progress: ProgressCallback,
    mode: str | None = None,
    dicom: DicomTarget | None = None,
    *,
    report_page: bool = False,
    uncertainty: Path | None = None,
) -> Outcome:
    """Lungs and pneumothorax of a CT as a segmentation, what was measured as JSON, CSV and a page.

    dicom: where to write the segments as a DICOM segmentation, too.
    Raises InputError as `pipelines.segment`; for wrong settings and lung models before the CT is read.
    """
    from xrecon import pipelines, segmentation_report
    from xrecon.io.image import read_volume
    from xrecon.io.segmentation import uncropped_labels
    from xrecon.pneumothorax.lungs_chosen import require_lung_models
    from xrecon.pneumothorax.segment import parameters_of

    settings = parameters_of(mode, parameters)
    if lungs is None:
        require_lung_models(lung_models)
    with results(output, dicom, [ct]) as (folder, exported):
        progress("read", 0.0, str(ct))
        volume = read_volume(ct)
        given = uncropped_labels(read_volume(lungs, Quantity.LABEL), volume) if lungs else None
        error = read_volume(uncertainty) if uncertainty else None
        result = pipelines.segment(volume, given, lung_models, settings, device, progress, uncertainty=error)
        progress("write", 0.0, str(output))
        name = shareable_name(ct)
        files = write_segmentation_files(result, folder, "segmentation", name)
        numbers = segmentation_numbers(result, name)
        if exported is not None:
            exported.of_segmentation(volume, result, ct)
        if report_page:
            command = _segment_command(ct, output, lungs, lung_models, parameters, result.mode)
            command += f" --uncertainty {shlex.quote(uncertainty.name)}" if uncertainty else ""
            files["report"] = segmentation_report.write(result, volume, name, command, folder).name
    text = segmentation_report.text(result)
    made = {k: output / v for k, v in files.items()}
    return with_dicom(Outcome(made, numbers, text, result.warnings), exported)


def _segment_command(
    ct: Path,
    output: Path,
    lungs: Path | None,
    lung_models: Sequence[str],
    parameters: Mapping[str, Any],
    mode: str,
) -> str:
    """The command line that makes the same again, for the page: names of files, since pages are shared and
    the folders on this computer may name a patient.
    """
    words = ["xrecon", "segment", "--ct", shareable_name(ct), "--output", output.name or ".", "--mode", mode]
    models = [Path(model).name for model in lung_models]
    words += ["--lungs", lungs.name] if lungs else ["--lung-model", *models]
    settings = [f"{name}={json.dumps(value)}" for name, value in parameters.items()]
    return shlex.join([*words, *(["--set", *settings] if settings else []), "--report"])


def _short(value: Any) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def segmentation_numbers(result: Segmentation, source: str) -> dict[str, Any]:
    """Plain numbers of a segmentation for its JSON file."""
    return {
        "source": source,
        "quantities": result.quantities.to_dict(),
        "measures": result.measures.to_dict(),
        "mode": result.mode,
        "parameters": result.parameters.model_dump(mode="json"),
        "lungs": result.lung_source,
        "device": result.device,
        "warnings": result.warnings,
    }


def write_segmentation_files(result: Segmentation, folder: Path, stem: str, source: str) -> dict[str, str]:
    """`<stem>.seg.nrrd`, `.json` and `.csv`; returns the names by role."""
    from xrecon.io.segmentation import write_segmentation

    files = {"segmentation": f"{stem}.seg.nrrd", "summary": f"{stem}.json", "table": f"{stem}.csv"}
    write_segmentation(result.labels, folder / files["segmentation"])
    atomic_write_text(folder / files["summary"], json_text(segmentation_numbers(result, source)))
    atomic_write_text(folder / files["table"], table_text(result.measures.rows()))
    return files


# -- train, models -------------------------------------------------------------------------------
def train(
    data: Path,
    output: Path,
    recipe: str,
    config: Path | None,
    overrides: Mapping[str, Any],
    resume: bool,
    progress: ProgressCallback,
    *,
    test: Sequence[str] = (),
    table: Path | None = None,
) -> Outcome:
    """A training run in its folder; the run keeps its own files, so that it can be resumed.

    One that was asked to stop is no failure; its numbers say "stopped". test, table: who is held out, see
    `training.run.train`.
    """
    from xrecon.training.config import make_config
    from xrecon.training.run import train as run
    from xrecon.training.status import StopRequested

    settings, warnings = make_config(recipe, config, overrides), []
    names = {"log": "log.csv", "config": "config.json", "subjects": "subjects.json", "splits": "splits.json"}
    names["environment"] = "environment.json"
    files = {role: output / name for role, name in names.items()}
    try:
        metrics = run(data, output, settings, resume, progress, warnings, test=test, table=table)
    except StopRequested as request:
        left = {role: path for role, path in files.items() if path.exists()}
        return Outcome(left, {"stopped": str(request), "name": settings.name}, str(request), warnings)
    files = {"model": output / "model", **files}
    text = "\n".join(f"{name}: {_short(value)}" for name, value in metrics.items())
    return Outcome(files, {"metrics": metrics, "name": settings.name}, text, warnings)


def scan(data: Path, progress: ProgressCallback) -> Outcome:
    """The CTs of a folder, and what is wrong with each. Nothing is written."""
    from xrecon.training.scan import scan as look_through

    studies = look_through(data, progress)
    usable = sum(not study.problem for study in studies)
    text = "\n".join(_study_line(study) for study in studies)
    numbers = {"studies": [asdict(study) for study in studies], "usable": usable}
    return Outcome({}, numbers, f"{text}\n{usable} of {len(studies)} can be trained on")


def _study_line(study: Study) -> str:
    size = " x ".join(map(str, study.size))
    spacing = " x ".join(f"{s:g}" for s in study.spacing_mm)
    verdict = f"not usable: {study.problem}" if study.problem else "; ".join(study.notes) or "ok"
    return f"{study.name}: {size} voxels of {spacing} mm, {verdict}"


def models(costs: bool = False) -> Outcome:
    """The cards of the bundled models, and the architectures with what they cost.

    costs: count parameters, FLOP and memory anew, in place of the figures that come with XRecon.
    """
    from xrecon.nets.registry import bundled_models, list_models, load_card, stored_costs

    cards = {name: load_card(name) for name in bundled_models()}
    lines = [f"{name}: {card.title} ({card.licence})\n    {card.measured()}" for name, card in cards.items()]
    lines.append("architectures, with their default options:")
    counted = stored_costs()
    if costs:
        from xrecon.nets.cost import count_cost

        counted = {name: count_cost(name).to_dict() for name in list_models()}
    lines += [f"{name}: {_cost_text(counted.get(name))}" for name in list_models()]
    numbers = {
        "models": {name: card.model_dump(mode="json") for name, card in cards.items()},
        "architectures": list_models(),
        "costs": counted,
    }
    return Outcome({}, numbers, "\n".join(lines))


def _cost_text(cost: Mapping[str, Any] | None) -> str:
    """One line of a cost as `nets.cost` counts it."""
    if cost is None:
        return "not counted"
    parts = [f"{cost['parameters'] / 1e6:.2f} M parameters"]
    if cost["flops"] is not None:
        parts.append(f"{cost['flops'] / 1e9:.1f} GFLOP")
    if cost["activations_mb"] is not None:
        parts.append(f"{cost['activations_mb']:.0f} MB for a call")
    if cost["training_mb"] is not None:
        parts.append(f"{cost['training_mb']:.0f} MB with gradients (counted)")
    return f"{', '.join(parts)}, for {cost['input']}"
