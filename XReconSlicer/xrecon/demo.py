"""`xrecon demo`: the whole path on one CT, from the CT to radiographs and back, in one report.

The reconstruction sees the two radiograph files and nothing else; the CT they were projected from
is the truth it is compared with.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from xrecon import demo_report, scoring
from xrecon.checked import Checked, reconstruct_checked
from xrecon.commands import RadiographOptions, read_views, write_segmentation_files
from xrecon.drr.files import write_drrs
from xrecon.drr.projection import DrrOptions, project
from xrecon.evaluation.comparison import CONTROL
from xrecon.io.atomic import atomic_write_text
from xrecon.io.folder import output_folder
from xrecon.nets.registry import load_card
from xrecon.outcome import Outcome, table_text
from xrecon.pipelines import (
    CLASSICAL_LUNGS,
    DEFAULT_LUNG_MODELS,
    Reconstruction,
    Segmentation,
    evaluate,
    segment,
)
from xrecon.progress import json_text
from xrecon.provenance import shareable_name
from xrecon.volume import InputError, Radiograph, Volume

ProgressCallback = Callable[[str, float, str], None]
PHANTOM_SPACING_MM = (2.0, 2.0, 2.0)
PHANTOM_PNEUMOTHORAX_ML = 600.0
PHANTOM_SIDE = "left"
SUMMARY = "demo.json"
# A reconstruction further from where its CT was projected is told: files keep micrometres.
PLACEMENT_TOLERANCE_MM = 0.1


@dataclass(frozen=True, eq=False)
class Source:
    """The CT that is projected, its true labels when it was generated, its path when it was read."""

    name: str
    volume: Volume
    labels: Volume | None = None
    path: Path | None = None


@dataclass(eq=False)
class Walk:
    """Everything the demonstration made, for the report."""

    source: Source
    model: str
    isocenter: np.ndarray
    radiographs: list[Radiograph]
    checked: Checked
    metrics: dict[str, float]
    segmentations: dict[str, Segmentation]
    lungs: dict[str, float]
    warnings: list[str] = field(default_factory=list)

    @property
    def reconstruction(self) -> Reconstruction:
        """What the model made of the radiographs, and how far it can be trusted."""
        return self.checked.result

    @property
    def volume(self) -> Volume:
        """The reconstruction where the radiograph files place it."""
        return self.reconstruction.volume

    @property
    def placement_error_mm(self) -> float:
        """From the point the CT was projected about to the middle of the reconstruction; 0 is right."""
        return float(np.linalg.norm(self.volume.center - self.isocenter))


def demo(
    ct: Path | None,
    output: Path,
    model: str,
    device: str,
    progress: ProgressCallback,
    *,
    lung_models: Sequence[str | Path] | None = None,
    phantom_spacing: tuple[float, float, float] = PHANTOM_SPACING_MM,
    detector_pixels: int = 512,
) -> Outcome:
    """Runs the whole path and leaves volumes, radiographs, segmentations, numbers and a report.

    ct: the CT to use; None generates a chest phantom with a pneumothorax of known volume.
    The files of an earlier demonstration in the folder go, also those that this run does not write.
    Raises what `xrecon.pipelines` raises, and OutputError when the folder cannot be written.
    """
    load_card(model)  # a model that is not there is told before the work
    earlier = _files_of_earlier_run(output)
    with output_folder(output) as folder:
        source = _source(ct, phantom_spacing, progress)
        options = DrrOptions(shape=(detector_pixels, detector_pixels))
        radiographs, isocenter, warnings = project(source.volume, options, progress)
        files, geometry = write_drrs(radiographs, folder, "radiograph", options, isocenter, source.name)
        checked = _from_files(folder, files, model, device, progress)
        volume = checked.result.volume  # where the files say; nothing moves it onto the CT
        progress("evaluate", 0.0, "comparing with the CT")
        metrics = scoring.compare_with_control(volume, source.volume, model)
        models = _lung_models(lung_models, warnings)
        segmentations = _segment_both(source.volume, volume, models, device, progress, warnings)
        walk = Walk(
            source=source,
            model=model,
            isocenter=isocenter,
            radiographs=radiographs,
            checked=checked,
            metrics=metrics,
            segmentations=segmentations,
            lungs=_lung_agreement(segmentations),
            warnings=[*warnings, *checked.result.warnings],
        )
        for name, found in segmentations.items():
            walk.warnings += [f"PTX-Seg on the {name}: {text}" for text in found.warnings]
        if walk.placement_error_mm > PLACEMENT_TOLERANCE_MM:
            walk.warnings.append(
                f"the reconstruction lies {walk.placement_error_mm:.1f} mm from where the CT was projected"
            )
        progress("write", 0.0, str(output))
        files |= _write_volumes(walk, folder)
        numbers = {**_numbers(walk), "radiographs": geometry}
        files |= _write_numbers(walk, numbers, folder)
        files["report"] = demo_report.write(walk, numbers, folder).name
        numbers["files"] = sorted({SUMMARY, *(path.name for path in folder.iterdir())})
        files["summary"] = SUMMARY
        atomic_write_text(folder / SUMMARY, json_text(numbers))
        progress("write", 1.0, "done")
    for name in earlier - set(numbers["files"]):
        (output / name).unlink(missing_ok=True)
    text = f"Open {output / files['report']}"
    return Outcome({role: output / name for role, name in files.items()}, numbers, text, walk.warnings)


def _files_of_earlier_run(output: Path) -> set[str]:
    """Names of the files that the demonstration before this one says it wrote into the folder."""
    try:
        listed = json.loads((output / SUMMARY).read_text(encoding="utf-8"))["files"]
        names = {name for name in listed if isinstance(name, str) and name == Path(name).name}
    except (OSError, ValueError, KeyError, TypeError):  # none, or another program's
        return set()
    return {name for name in names if (output / name).is_file()}


def _source(ct: Path | None, spacing: tuple[float, float, float], progress: ProgressCallback) -> Source:
    from xrecon.io.image import read_volume
    from xrecon.preprocess.ct import remove_table

    if ct is not None:
        progress("read", 0.0, str(ct))
        volume = read_volume(ct)
        progress("prepare", 0.0, "removing the table")
        return Source(shareable_name(ct), remove_table(volume), path=ct)
    from xrecon.physics.chest_phantom import chest_phantom

    progress("phantom", 0.0, "generating a chest with a pneumothorax")
    phantom = chest_phantom(spacing, pneumothorax_ml=PHANTOM_PNEUMOTHORAX_ML, side=PHANTOM_SIDE, table=True)
    progress("prepare", 0.0, "removing the table")
    return Source("chest phantom", remove_table(phantom.volume), phantom.labels)


def _from_files(
    folder: Path, files: dict[str, str], model: str, device: str, progress: ProgressCallback
) -> Checked:
    """The reconstruction from the two DICOM files, as `xrecon reconstruct` makes it: what is not in them is
    not used. Of a CT that is no chest it is said that its pictures look so; the demonstration goes on.
    """
    pa, lateral = (folder / files[role] for role in ("pa_dcm", "left_lateral_dcm"))
    views = read_views(pa, lateral, RadiographOptions())
    return reconstruct_checked(views, model, device, progress, force=True)


def _lung_models(wished: Sequence[str | Path] | None, warnings: list[str]) -> Sequence[str | Path]:
    from xrecon.nets.registry import bundled_models

    if wished:
        return wished
    if set(DEFAULT_LUNG_MODELS) <= set(bundled_models()):
        return DEFAULT_LUNG_MODELS
    warnings.append("no lung network is bundled: the lungs were found by thresholds and morphology")
    return (CLASSICAL_LUNGS,)


def _segment_both(
    source: Volume,
    reconstruction: Volume,
    models: Sequence[str | Path],
    device: str,
    progress: ProgressCallback,
    warnings: list[str],
) -> dict[str, Segmentation]:
    """PTX-Seg on the CT and on the reconstruction; one on which it fails is left out, with a warning."""
    found = {}
    for name, volume in (("source CT", source), ("reconstruction", reconstruction)):
        progress("segment", 0.0, name)
        try:
            found[name] = segment(volume, None, models, None, device, progress)
        except InputError as error:
            warnings.append(f"PTX-Seg could not be run on the {name}: {error}")
    return found


def _lung_agreement(segmentations: dict[str, Segmentation]) -> dict[str, float]:
    """Overlap of the two lung masks, air included: label 1 right, 2 left."""
    if len(segmentations) < 2:
        return {}
    source, reconstruction = (s.lungs for s in segmentations.values())
    return evaluate(reconstruction, source)


def _write_volumes(walk: Walk, folder: Path) -> dict[str, str]:
    from xrecon.io.image import write_volume
    from xrecon.io.radiograph import write_radiograph
    from xrecon.io.segmentation import write_segmentation
    from xrecon.preprocess.views import view_kind

    files = {"source": "source.nrrd", "reconstruction": "reconstruction.nrrd"}
    write_volume(_compact(walk.source.volume), folder / files["source"])
    write_volume(_compact(walk.volume), folder / files["reconstruction"])
    result = walk.reconstruction
    for seen, projected in zip(result.inputs, result.reprojections, strict=True):
        short = "pa" if view_kind(seen.view) == "frontal" else "lateral"
        for role, radiograph in (("input", seen), ("reprojection", projected)):
            files[f"{role}_{short}"] = f"{role}_{short}.nrrd"
            write_radiograph(radiograph, folder / files[f"{role}_{short}"])
    if walk.source.labels is not None:
        files["truth_segmentation"] = "truth.seg.nrrd"
        write_segmentation(walk.source.labels, folder / files["truth_segmentation"])
    for name, found in walk.segmentations.items():
        stem = f"{name.split()[0]}_segmentation"
        made = write_segmentation_files(found, folder, stem, name)
        files |= {f"{stem}_{role}": file for role, file in made.items()}
    return files


def _compact(volume: Volume) -> Volume:
    """HU as whole numbers, half the size and what CT files hold."""
    return volume.with_array(np.rint(volume.array).astype(np.int16))


def _numbers(walk: Walk) -> dict[str, Any]:
    return {
        "source": walk.source.name,
        "metrics": walk.metrics,
        "lungs": walk.lungs,
        "pneumothorax": quantities(walk),
        "reconstruction": walk.checked.to_dict(),
        "isocenter_lps_mm": walk.isocenter,
        "placement_error_mm": walk.placement_error_mm,
        "warnings": walk.warnings,
    }


def quantities(walk: Walk) -> dict[str, dict[str, Any]]:
    """Volumes and occupancy by where they were measured: truth (if known), source CT, reconstruction."""
    from xrecon.pneumothorax.quantify import quantify

    measured = {name: found.quantities.to_dict() for name, found in walk.segmentations.items()}
    if walk.source.labels is None:
        return measured
    return {"truth": quantify(walk.source.labels).to_dict(), **measured}


def _write_numbers(walk: Walk, numbers: dict[str, Any], folder: Path) -> dict[str, str]:
    metrics = [
        {
            "metric": name,
            "reconstruction": value,
            "mean_training_volume": walk.metrics.get(name + CONTROL),
        }
        for name, value in walk.metrics.items()
        if not name.endswith(CONTROL)
    ]
    volumes = [
        {"measured_on": name, **values, "warnings": " ".join(values["warnings"])}
        for name, values in numbers["pneumothorax"].items()
    ]
    texts = {
        "geometry": ("drr.json", json_text(numbers["radiographs"])),
        "metrics": ("metrics.csv", table_text(metrics)),
        "volumes": ("volumes.csv", table_text(volumes)),
    }
    for name, text in texts.values():
        atomic_write_text(folder / name, text)
    return {role: name for role, (name, _) in texts.items()}
