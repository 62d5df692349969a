"""The files of a projected CT: DICOM DX, pictures, drr.json, the comparison page, a training case."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from xrecon import __version__
from xrecon.drr.projection import DrrOptions, Projected
from xrecon.drr.views import NamedView
from xrecon.io.atomic import atomic_write_text
from xrecon.io.folder import output_folder
from xrecon.outcome import Outcome, ProgressCallback
from xrecon.progress import json_text
from xrecon.volume import Radiograph

if TYPE_CHECKING:
    from xrecon.training.store import CaseEntry

SUMMARY, COMPARISON, STORE = "drr.json", "comparison.html", "store"


def write_projected(
    projected: Projected, output: Path, stem: str, options: DrrOptions, progress: ProgressCallback
) -> Outcome:
    """The pictures of a projected CT, the comparison page and drr.json: all or none."""
    progress("write", 0.0, str(output))
    with output_folder(output) as folder:
        files, numbers = write_drrs(
            projected.radiographs,
            folder,
            stem,
            options,
            projected.isocenter,
            projected.source,
            projected.source_images,
        )
        if options.compare:
            files["comparison"] = _write_comparison(projected, folder, options)
        numbers |= {
            "source_sha256": projected.source_sha256,
            "films": [film.name for film in options.films],
            "sha256": _digests(folder),
            "warnings": projected.warnings,
        }
        atomic_write_text(folder / SUMMARY, json_text(numbers))
        files["summary"] = SUMMARY
    progress("write", 1.0, "done")
    paths = {role: output / name for role, name in files.items()}
    return Outcome(paths, numbers, warnings=projected.warnings)


def write_stored_case(
    projected: Projected,
    store: Path,
    name: str,
    options: DrrOptions,
    about: Mapping[str, str] = MappingProxyType({}),
) -> CaseEntry:
    """The CT as a case of the training store in a folder, not yet in its manifest; `about` are patient,
    split, attribution and licence."""
    from xrecon.training.store import write_case

    return write_case(
        store,
        name,
        projected.volume,
        projected.radiographs,
        source=projected.source,
        source_sha256=projected.source_sha256,
        settings=options.to_dict(),
        made_by=software(),
        **about,
    )


def write_drrs(
    radiographs: Sequence[Radiograph],
    folder: Path,
    stem: str,
    options: DrrOptions,
    isocenter: np.ndarray,
    source: str,
    source_images: Sequence[tuple[str, str]] = (),
) -> tuple[dict[str, str], dict[str, Any]]:
    """Writes all views in all formats, the DICOM files as one study; returns file names by role and
    the numbers of drr.json."""
    from pydicom.uid import generate_uid

    from xrecon.io.radiograph import write_radiograph, write_radiograph_dicom

    files, geometries, study = {}, {}, generate_uid()
    for number, radiograph in enumerate(radiographs, 1):
        view = NamedView(
            radiograph.meta.get("view_name", radiograph.view), radiograph.view, radiograph.geometry
        )
        geometries[view.name] = view.geometry.to_dict()
        for suffix in options.formats:
            if suffix == "store":
                continue
            name = f"{stem}_{view.slug}.{suffix}"
            if suffix == "dcm":
                write_radiograph_dicom(
                    radiograph,
                    folder / name,
                    study_uid=study,
                    study_description=f"Synthetic radiographs of {stem}",
                    series_number=number,
                    source_images=source_images,
                )
            else:
                write_radiograph(radiograph, folder / name)
            files[f"{view.slug}_{suffix}"] = name
    settings = options.to_dict()
    numbers = {
        "source": source,
        "isocenter_lps_mm": isocenter,
        "quantity": radiographs[0].quantity.value,
        "radiography": settings["radiography"],
        "seed": options.seed,
        "table_removed": not options.keep_table,
        "options": settings,
        "software": software(),
        "views": geometries,
        "files": dict(files),
    }
    return files, numbers


def _write_comparison(projected: Projected, folder: Path, options: DrrOptions) -> str:
    from xrecon.evaluation.radiograph_page import write_comparison
    from xrecon.io.radiograph import read_radiograph

    films = [read_radiograph(film, usual_view="PA") for film in options.films]
    write_comparison(
        folder / COMPARISON,
        projected.rows,
        films,
        subject=projected.source,
        command=f"xrecon drr --ct {projected.source} --compare",
        warnings=projected.warnings,
        versions=software(),
    )
    return COMPARISON


def _digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file in a folder by name."""
    from xrecon.training.store import file_digest

    return {path.name: file_digest(path) for path in sorted(folder.iterdir()) if path.is_file()}


def software() -> Mapping[str, str]:
    """Versions of what makes the pixels."""
    import torch

    return {
        "xrecon": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": str(torch.__version__),
    }
