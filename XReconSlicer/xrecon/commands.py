"""What the subcommands do: files in, files out. The command line gives these functions its options.

Each writes into a folder, all files or none, and returns an `Outcome`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xrecon.io.atomic import atomic_write_text
from xrecon.io.folder import output_folder
from xrecon.outcome import Outcome, ProgressCallback, table_text
from xrecon.physics.geometry import VIEWS, ViewGeometry
from xrecon.progress import json_text
from xrecon.volume import InputError, Quantity, Radiograph

if TYPE_CHECKING:
    from xrecon.pipelines import Segmentation

# The sample data: coarse enough to be made in seconds, fine enough to look like a chest.
PHANTOM_SPACING_MM, PHANTOM_DETECTOR, PHANTOM_PNEUMOTHORAX_ML = (2.5, 2.0, 2.0), (512, 512), 700.0


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

    @property
    def geometry_values(self) -> dict[str, Any]:
        """The keyword arguments of `read_radiograph` that say the geometry."""
        spacing = self.pixel_spacing_mm
        return {
            "source_to_detector_mm": self.source_to_detector_mm,
            "source_to_isocenter_mm": self.source_to_isocenter_mm,
            "pixel_spacing_mm": None if spacing is None else (spacing, spacing),
        }


@dataclass(frozen=True)
class RadiographFiles:
    """The radiographs of one patient position: a frontal, a lateral, and more whose files say their view."""

    pa: Path | None = None
    lateral: Path | None = None
    more: tuple[Path, ...] = ()

    @property
    def names(self) -> dict[str, str]:
        """File names by "pa", "lateral", "view_1", ..."""
        paths = {"pa": self.pa, "lateral": self.lateral}
        paths |= {f"view_{number}": path for number, path in enumerate(self.more, 1)}
        return {name: path.name for name, path in paths.items() if path is not None}


def short_name(view: str) -> str:
    """The part of a file name that tells a view: "pa", "lateral", "lao_30"."""
    from xrecon.preprocess.views import view_kind

    known = {"frontal": "pa", "lateral": "lateral"}
    return known.get(view_kind(view)) or re.sub(r"[^a-z0-9-]+", "_", view.lower()).strip("_") or "view"


def read_all(files: RadiographFiles, options: RadiographOptions) -> list[Radiograph]:
    """The radiographs of all files. Raises InputError as `read_views` does."""
    from xrecon.io.radiograph import read_radiograph

    named = [] if files.pa is None else read_views(files.pa, files.lateral, options)
    given = options.geometry_values
    return [*named, *(read_radiograph(path, **given) for path in files.more)]


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

    given = {"invert": invert, **options.geometry_values}
    radiograph = read_radiograph(path, **given)
    if radiograph.view and view_kind(radiograph.view) != kind:
        raise InputError(f"expected a {kind} radiograph, but {path} is recorded as {radiograph.view}")
    if wished or not radiograph.view or radiograph.geometry is None:
        radiograph = read_radiograph(path, view=wished or radiograph.view, usual_view=usual, **given)
    return radiograph


def reconstruct(
    radiographs: RadiographFiles,
    output: Path,
    model: str,
    device: str,
    options: RadiographOptions,
    progress: ProgressCallback,
) -> Outcome:
    """A CT from radiographs, with its reprojections and the inputs as the network saw them."""
    from xrecon import pipelines, reconstruction_report
    from xrecon.io.image import write_volume
    from xrecon.io.radiograph import write_radiograph

    with output_folder(output) as folder:
        progress("read", 0.0, "radiographs")
        result = pipelines.reconstruct(read_all(radiographs, options), model, device, progress)
        progress("write", 0.0, str(output))
        files = {"reconstruction": "reconstruction.nrrd"}
        write_volume(result.volume, folder / files["reconstruction"])
        for picture, projected in zip(result.inputs, result.reprojections, strict=True):
            short = short_name(picture.view)
            for role, each in (("input", picture), ("reprojection", projected)):
                files[f"{role}_{short}"] = f"{role}_{short}.nrrd"
                view = each.view if each.view in VIEWS else ""  # of any other, the geometry tells
                write_radiograph(replace(each, view=view), folder / files[f"{role}_{short}"])
        numbers = {**result.to_dict(), "inputs": radiographs.names}
        files["report"] = reconstruction_report.write(result, model, radiographs.names, folder).name
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

    settings, warnings = make_config(recipe, config, overrides), []
    metrics = run(data, output, settings, resume, progress, warnings)
    names = {"model": "model", "log": "log.csv", "config": "config.json", "subjects": "subjects.json"}
    files = {role: output / name for role, name in {**names, "splits": "splits.json"}.items()}
    text = "\n".join(f"{name}: {_short(value)}" for name, value in metrics.items())
    return Outcome(files, {"metrics": metrics, "name": settings.name}, text, warnings)


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


# -- devices and sample data ---------------------------------------------------------------------
def devices(model: str) -> Outcome:
    """What can be computed on, and the memory that one run of a model needs there."""
    from xrecon.nets.memory import needed_bytes, places
    from xrecon.nets.registry import load_card

    card = load_card(model)
    rows = [{**asdict(place), "needed_bytes": needed_bytes(card, place.name)} for place in places()]
    text = "\n".join(
        f"{row['name']}: {row['title']}, {_gigabytes(row['free_bytes'])} free, "
        f"{_gigabytes(row['needed_bytes'])} needed by {card.name}, test {row['fault'] or 'passed'}"
        for row in rows
    )
    return Outcome({}, {"devices": rows, "model": card.name}, text, [])


def _gigabytes(count: int | None) -> str:
    return "unknown" if count is None else f"{count / 2**30:.1f} GB"


def phantom(output: Path, progress: ProgressCallback) -> Outcome:
    """A chest phantom with a pneumothorax of the left side: CT, labels, and two radiographs as DICOM."""
    from xrecon.io.image import write_volume
    from xrecon.io.radiograph import write_radiograph
    from xrecon.physics.chest_phantom import chest_phantom
    from xrecon.physics.drr import render_drrs
    from xrecon.preprocess.ct import lung_center

    with output_folder(output) as folder:
        progress("phantom", 0.0, "anatomy")
        made = chest_phantom(PHANTOM_SPACING_MM, pneumothorax_ml=PHANTOM_PNEUMOTHORAX_ML, side="left")
        progress("phantom", 0.6, "radiographs")
        files = {"ct": "phantom_ct.nrrd", "labels": "phantom_labels.nrrd"}
        write_volume(made.volume, folder / files["ct"])
        write_volume(made.labels, folder / files["labels"])
        isocenter = tuple(lung_center(made.volume))
        for view in ("PA", "LEFT LATERAL"):
            geometry = ViewGeometry.preset(view, shape=PHANTOM_DETECTOR, isocenter=isocenter)
            (radiograph,) = render_drrs(made.volume, [geometry])
            name = short_name(view)
            files[name] = f"phantom_{name}.dcm"
            write_radiograph(radiograph, folder / files[name])
        progress("phantom", 1.0, "done")
    numbers = {"pneumothorax_ml": PHANTOM_PNEUMOTHORAX_ML, "side": "left"}
    return Outcome({k: output / v for k, v in files.items()}, numbers, "", [])
