"""What the subcommands do: files in, files out. The command line gives these functions its options.

Each writes into a folder, all files or none, and returns an `Outcome`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xrecon.io.atomic import atomic_write_text
from xrecon.io.folder import output_folder
from xrecon.progress import json_text
from xrecon.volume import InputError, Quantity, Radiograph, Volume

if TYPE_CHECKING:
    from xrecon.pipelines import Segmentation

ProgressCallback = Callable[[str, float, str], None]
DEFAULT_VIEWS = ("PA", "LEFT LATERAL")
FORMATS = ("dcm", "png", "nrrd")


@dataclass(frozen=True)
class Outcome:
    """What a command leaves: files by role, numbers for programs, text and warnings for people."""

    files: dict[str, Path]
    numbers: dict[str, Any]
    text: str = ""
    warnings: list[str] = field(default_factory=list)


def table_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """CSV text; columns in the order of their first appearance."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def view_slug(view: str) -> str:
    """"left_lateral" for "LEFT LATERAL": the part of a file name that says the view."""
    return view.lower().replace(" ", "_")


# -- drr -----------------------------------------------------------------------------------------
@dataclass(frozen=True)
class DrrOptions:
    """How radiographs are projected; lengths in mm."""

    views: Sequence[str] = DEFAULT_VIEWS
    formats: Sequence[str] = ("dcm", "png")
    detector_pixels: int = 512
    source_to_detector_mm: float | None = None
    source_to_isocenter_mm: float | None = None
    energy_kev: float = 70.0
    keep_table: bool = False


def drr(ct: Path, output: Path, options: DrrOptions, progress: ProgressCallback) -> Outcome:
    """Radiographs of a CT about the middle of its lungs, as DICOM DX and pictures."""
    from xrecon.io.checks import file_stem
    from xrecon.io.image import read_volume
    from xrecon.preprocess.ct import remove_table

    wrong = sorted(set(options.formats) - set(FORMATS))
    if wrong or not options.formats:
        raise InputError(f"expected formats out of {', '.join(FORMATS)}, got {', '.join(wrong) or 'none'}")
    with output_folder(output) as folder:
        progress("read", 0.0, str(ct))
        volume = read_volume(ct)
        if not options.keep_table:
            progress("prepare", 0.0, "removing the table")
            volume = remove_table(volume)
        radiographs, isocenter, warnings = project(volume, options, progress)
        files, numbers = write_drrs(radiographs, folder, file_stem(ct), options, isocenter, ct.name)
        numbers["warnings"] = warnings
        atomic_write_text(folder / "drr.json", json_text(numbers))
        files["summary"] = "drr.json"
    return Outcome({role: output / name for role, name in files.items()}, numbers, warnings=warnings)


def drr_folder(data: Path, output: Path, options: DrrOptions, progress: ProgressCallback) -> Outcome:
    """Radiographs of every CT that training would find in a folder, each CT's in a folder of its name."""
    from xrecon.training.subjects import find_subjects

    files, numbers, warnings = {}, {}, []
    with output_folder(output) as folder:
        subjects = find_subjects(data, warnings)
        for done, subject in enumerate(subjects):
            progress("project", done / len(subjects), subject.name)
            outcome = drr(subject.path, folder / subject.name, options, lambda *_: None)
            files[subject.name] = output / subject.name
            numbers[subject.name] = outcome.numbers
            warnings += [f"{subject.name}: {note}" for note in outcome.warnings]
        progress("project", 1.0, "done")
    return Outcome(files, {"subjects": numbers}, warnings=warnings)


def project(
    volume: Volume, options: DrrOptions, progress: ProgressCallback
) -> tuple[list[Radiograph], np.ndarray, list[str]]:
    """Radiographs of a prepared CT, the isocentre in the CT's LPS mm, and warnings."""
    from xrecon.physics.drr import render_drrs
    from xrecon.physics.geometry import SOURCE_TO_DETECTOR_MM, SOURCE_TO_ISOCENTER_MM, ViewGeometry
    from xrecon.preprocess.ct import lung_center

    warnings = []
    try:
        isocenter = lung_center(volume)
    except InputError as error:
        isocenter = volume.center
        warnings.append(f"the views turn about the middle of the volume: {error}")
    views = [
        ViewGeometry.preset(
            name,
            source_to_detector_mm=options.source_to_detector_mm or SOURCE_TO_DETECTOR_MM,
            source_to_isocenter_mm=options.source_to_isocenter_mm or SOURCE_TO_ISOCENTER_MM,
            shape=(options.detector_pixels,) * 2,
            isocenter=tuple(isocenter),
        )
        for name in options.views
    ]
    radiographs = []
    for number, (name, view) in enumerate(zip(options.views, views, strict=True)):
        progress("project", number / len(views), name)
        radiographs += render_drrs(volume, [view], options.energy_kev, names=[name])
    progress("project", 1.0, "done")
    return radiographs, isocenter, warnings


def write_drrs(
    radiographs: Sequence[Radiograph],
    folder: Path,
    stem: str,
    options: DrrOptions,
    isocenter: np.ndarray,
    source: str,
) -> tuple[dict[str, str], dict[str, Any]]:
    """Writes all views in all formats, the DICOM files as one study; returns file names by role and
    the numbers of drr.json."""
    from pydicom.uid import generate_uid

    from xrecon.io.radiograph import write_radiograph, write_radiograph_dicom

    files, study = {}, generate_uid()
    for radiograph in radiographs:
        slug = view_slug(radiograph.view)
        for suffix in options.formats:
            name = f"{stem}_{slug}.{suffix}"
            if suffix == "dcm":
                write_radiograph_dicom(radiograph, folder / name, study_uid=study)
            else:
                write_radiograph(radiograph, folder / name)
            files[f"{slug}_{suffix}"] = name
    numbers = {
        "source": source,
        "isocenter_lps_mm": isocenter,
        "energy_kev": options.energy_kev,
        "table_removed": not options.keep_table,
        "views": {r.view: r.geometry.to_dict() for r in radiographs},
        "files": dict(files),
    }
    return files, numbers


# -- reconstruct ---------------------------------------------------------------------------------
@dataclass(frozen=True)
class RadiographOptions:
    """What the user says about the radiographs; None leaves it to the files."""

    source_to_detector_mm: float | None = None
    source_to_isocenter_mm: float | None = None
    pixel_spacing_mm: float | None = None
    lateral_side: str | None = None
    invert_pa: bool | None = None
    invert_lateral: bool | None = None


def read_views(pa: Path, lateral: Path, options: RadiographOptions) -> list[Radiograph]:
    """The frontal and the lateral radiograph.

    A view recorded in the file is believed: InputError when a lateral is given as frontal or the
    other way round, or when both paths name one file.
    """
    if pa.exists() and lateral.exists() and pa.samefile(lateral):
        raise InputError(f"expected two different radiographs, got {pa} as both --pa and --lateral")
    side = f"{options.lateral_side.upper()} LATERAL" if options.lateral_side else ""
    return [
        _read_view(pa, "frontal", "", "PA", options.invert_pa, options),
        _read_view(lateral, "lateral", side, "LEFT LATERAL", options.invert_lateral, options),
    ]


def _read_view(
    path: Path, kind: str, wished: str, usual: str, invert: bool | None, options: RadiographOptions
) -> Radiograph:
    from xrecon.io.radiograph import read_radiograph
    from xrecon.preprocess.views import view_kind

    spacing = options.pixel_spacing_mm
    given = {
        "invert": invert,
        "source_to_detector_mm": options.source_to_detector_mm,
        "source_to_isocenter_mm": options.source_to_isocenter_mm,
        "pixel_spacing_mm": None if spacing is None else (spacing, spacing),
    }
    radiograph = read_radiograph(path, **given)
    if radiograph.view and view_kind(radiograph.view) != kind:
        raise InputError(f"expected a {kind} radiograph, but {path} is recorded as {radiograph.view}")
    if wished or not radiograph.view or radiograph.geometry is None:
        radiograph = read_radiograph(path, view=wished or radiograph.view, usual_view=usual, **given)
    return radiograph


def reconstruct(
    pa: Path,
    lateral: Path,
    output: Path,
    model: str,
    device: str,
    options: RadiographOptions,
    progress: ProgressCallback,
) -> Outcome:
    """A CT from two radiographs, with its reprojections and the inputs as the network saw them."""
    from xrecon import pipelines
    from xrecon.io.image import write_volume
    from xrecon.io.radiograph import write_radiograph
    from xrecon.preprocess.views import view_kind

    with output_folder(output) as folder:
        progress("read", 0.0, "radiographs")
        result = pipelines.reconstruct(read_views(pa, lateral, options), model, device, progress)
        progress("write", 0.0, str(output))
        files = {"reconstruction": "reconstruction.nrrd"}
        write_volume(result.volume, folder / files["reconstruction"])
        for picture, projected in zip(result.inputs, result.reprojections, strict=True):
            short = "pa" if view_kind(picture.view) == "frontal" else "lateral"
            for role, radiograph in (("input", picture), ("reprojection", projected)):
                files[f"{role}_{short}"] = f"{role}_{short}.nrrd"
                write_radiograph(radiograph, folder / files[f"{role}_{short}"])
        numbers = {**result.to_dict(), "inputs": {"pa": pa.name, "lateral": lateral.name}}
        files["summary"] = "reconstruction.json"
        atomic_write_text(folder / files["summary"], json_text({**numbers, "files": files}))
    text = "\n".join(
        f"{view}: " + ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in scores.items())
        for view, scores in result.scores.items()
    )
    return Outcome({k: output / v for k, v in files.items()}, numbers, text, result.warnings)


# -- segment -------------------------------------------------------------------------------------
def segment(
    ct: Path,
    output: Path,
    lungs: Path | None,
    lung_models: Sequence[str],
    parameters: Mapping[str, Any],
    device: str,
    progress: ProgressCallback,
) -> Outcome:
    """Lungs and pneumothorax of a CT as a segmentation, with their volumes as JSON and CSV."""
    from xrecon import pipelines
    from xrecon.io.image import read_volume
    from xrecon.io.segmentation import uncropped_labels

    with output_folder(output) as folder:
        progress("read", 0.0, str(ct))
        volume = read_volume(ct)
        given = uncropped_labels(read_volume(lungs, Quantity.LABEL), volume) if lungs else None
        result = pipelines.segment(volume, given, lung_models, parameters, device, progress)
        progress("write", 0.0, str(output))
        files = write_segmentation_files(result, folder, "segmentation", ct.name)
        numbers = segmentation_numbers(result, ct.name)
    rows = result.quantities.rows()
    text = "\n".join(", ".join(f"{name} {_short(value)}" for name, value in row.items()) for row in rows)
    return Outcome({k: output / v for k, v in files.items()}, numbers, text, result.warnings)


def _short(value: Any) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def segmentation_numbers(result: Segmentation, source: str) -> dict[str, Any]:
    """Plain numbers of a segmentation for its JSON file."""
    return {
        "source": source,
        "quantities": result.quantities.to_dict(),
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
    atomic_write_text(folder / files["table"], table_text(result.quantities.rows()))
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
) -> Outcome:
    """A training run in its folder; the run keeps its own files, so that it can be resumed."""
    from xrecon.training.config import make_config
    from xrecon.training.run import train as run

    settings = make_config(recipe, config, overrides)
    metrics = run(data, output, settings, resume, progress)
    names = {"model": "model", "log": "log.csv", "config": "config.json", "splits": "splits.json"}
    files = {role: output / name for role, name in names.items()}
    text = "\n".join(f"{name}: {_short(value)}" for name, value in metrics.items())
    return Outcome(files, {"metrics": metrics, "name": settings.name}, text)


def models() -> Outcome:
    """The cards of the bundled models and the names of the architectures."""
    from xrecon.nets.registry import bundled_models, list_models, load_card

    cards = {name: load_card(name) for name in bundled_models()}
    lines = [f"{name}: {card.title} ({card.licence})\n    {card.measured()}" for name, card in cards.items()]
    lines.append(f"architectures: {', '.join(list_models())}")
    numbers = {
        "models": {name: card.model_dump(mode="json") for name, card in cards.items()},
        "architectures": list_models(),
    }
    return Outcome({}, numbers, "\n".join(lines))
