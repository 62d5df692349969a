"""What the subcommands do: files in, files out. The command line gives these functions its options.

Each writes into a folder, all files or none, and returns an `Outcome`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xrecon.io.atomic import atomic_write_text
from xrecon.io.folder import output_folder
from xrecon.outcome import Outcome, ProgressCallback, table_text
from xrecon.progress import json_text
from xrecon.volume import InputError, Quantity, Radiograph

if TYPE_CHECKING:
    from xrecon.pipelines import Segmentation

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
    mode: str | None = None,
) -> Outcome:
    """Lungs and pneumothorax of a CT as a segmentation, with their volumes as JSON and CSV."""
    from xrecon import pipelines
    from xrecon.io.image import read_volume
    from xrecon.io.segmentation import uncropped_labels

    with output_folder(output) as folder:
        progress("read", 0.0, str(ct))
        volume = read_volume(ct)
        given = uncropped_labels(read_volume(lungs, Quantity.LABEL), volume) if lungs else None
        result = pipelines.segment(volume, given, lung_models, parameters, device, progress, mode)
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
