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
from xrecon.volume import InputError, Radiograph

if TYPE_CHECKING:
    from xrecon.training.store import CaseEntry

SUMMARY, COMPARISON, STORE = "drr.json", "comparison.html", "store"


def write_projected(
    projected: Projected,
    output: Path,
    stem: str,
    options: DrrOptions,
    progress: ProgressCallback,
    films: Sequence[Radiograph] = (),
) -> Outcome:
    """The pictures of a projected CT, the comparison page and drr.json: all or none.

    films: `options.films` as `read_films` gives them, for the page.
    """
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
            projected.source_sha256,
        )
        if options.compare:
            files["comparison"] = _write_comparison(projected, folder, films)
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
    source_sha256: str = "",
) -> tuple[dict[str, str], dict[str, Any]]:
    """Writes all views in all formats, the DICOM files as one study; returns file names by role and
    the numbers of drr.json.

    PatientID is "SYNTHETIC-" and the first 16 digits of the CT's SHA-256: one per CT, the same in every run.
    """
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
                    patient_id=f"SYNTHETIC-{source_sha256[:16]}" if source_sha256 else "SYNTHETIC",
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


def read_films(paths: Sequence[Path]) -> list[Radiograph]:
    """Real radiographs to set beside computed ones. Raises InputError for what is none, or synthetic."""
    from xrecon.io.radiograph import read_radiograph

    films = []
    for path in paths:
        film = read_radiograph(path, usual_view="PA")
        if "synthetic" in film.meta or _says_synthetic(path):
            raise InputError(f"expected a real radiograph as film, got a synthetic one: {path}")
        films.append(film)
    return films


def _says_synthetic(path: Path) -> bool:
    """Whether a DICOM file says so itself: Synthetic Data (PS3.3 C.12.1)."""
    from pydicom import dcmread
    from pydicom.misc import is_dicom

    from xrecon.io.dicom_provenance import SYNTHETIC_DATA

    if not Path(path).is_file() or not is_dicom(path):
        return False
    element = dcmread(path, stop_before_pixels=True).get(SYNTHETIC_DATA)
    return element is not None and element.value == "YES"


def _write_comparison(projected: Projected, folder: Path, films: Sequence[Radiograph]) -> str:
    from xrecon.evaluation.radiograph_page import write_comparison

    write_comparison(
        folder / COMPARISON,
        projected.rows,
        films,
        subject=projected.source,
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
