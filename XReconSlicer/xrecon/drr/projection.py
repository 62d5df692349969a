"""A CT to radiographs: read, prepared, the views placed, rendered, compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from xrecon.drr.views import NamedView, views_about
from xrecon.outcome import ProgressCallback
from xrecon.physics.radiography_settings import RadiographySettings, comparison_settings
from xrecon.progress import plain_data
from xrecon.volume import InputError, Radiograph, Volume

DEFAULT_VIEWS = ("PA", "LEFT LATERAL")
FORMATS = ("dcm", "png", "nrrd", "store")


@dataclass(frozen=True)
class DrrOptions:
    """How radiographs are projected; lengths in mm.

    views: as `drr.views` reads them. geometries: whole views instead. formats: out of `FORMATS`.
    shape: (rows, columns) of the detector; pixel_spacing_mm: (row, column), by default that of a 430 mm
    wide detector. isocenter: LPS; by default the middle of the lungs. radiography: beam, scatter,
    detector, film. seed: of the noise. keep_table: project the scanner table, too. complete: continue
    the body where the CT's field of view cuts it. compare: write the comparison page, with `films`,
    files of real radiographs, beside.
    """

    views: Sequence[str] = DEFAULT_VIEWS
    geometries: Sequence[NamedView] | None = None
    formats: Sequence[str] = ("dcm", "png")
    shape: tuple[int, int] = (512, 512)
    pixel_spacing_mm: tuple[float, float] | None = None
    source_to_detector_mm: float | None = None
    source_to_isocenter_mm: float | None = None
    isocenter: tuple[float, float, float] | None = None
    radiography: RadiographySettings = field(default_factory=RadiographySettings.ideal)
    seed: int = 0
    keep_table: bool = False
    complete: bool = True
    compare: bool = False
    films: Sequence[Path] = ()

    def __post_init__(self) -> None:
        wrong = sorted(set(self.formats) - set(FORMATS))
        if wrong or not self.formats:
            raise InputError(
                f"expected formats out of {', '.join(FORMATS)}, got {', '.join(wrong) or 'none'}"
            )

    def to_dict(self) -> dict[str, Any]:
        """What determines the pixels, with the CT, as plain JSON: not the formats, nor the pages."""
        geometries = {view.name: view.geometry.to_dict() for view in self.geometries or ()} or None
        return plain_data(
            {
                "views": None if geometries else list(self.views),
                "geometries": geometries,
                "shape": self.shape,
                "pixel_spacing_mm": self.pixel_spacing_mm,
                "source_to_detector_mm": self.source_to_detector_mm,
                "source_to_isocenter_mm": self.source_to_isocenter_mm,
                "isocenter_lps_mm": self.isocenter,
                "radiography": self.radiography.to_dict(),
                "seed": self.seed,
                "keep_table": self.keep_table,
                "complete": self.complete,
            }
        )


@dataclass(frozen=True)
class Source:
    """A CT as it was read: its path, the SHA-256 of its content, its volume in HU."""

    path: Path
    sha256: str
    volume: Volume


@dataclass(frozen=True)
class Projected:
    """A prepared CT and its radiographs, before anything is written."""

    source: str
    source_sha256: str
    source_images: Sequence[tuple[str, str]]
    volume: Volume
    radiographs: Sequence[Radiograph]
    isocenter: np.ndarray
    warnings: list[str]
    rows: Sequence[tuple[str, Sequence[Radiograph]]] = ()


def read_ct(path: Path) -> Volume:
    """The CT in a file or DICOM folder. Raises InputError when it does not look like one in HU."""
    from xrecon.io.image import read_volume

    return read_volume(path).require_hounsfield(f"the CT {path}")


def project_source(source: Source, options: DrrOptions, progress: ProgressCallback) -> Projected:
    """A CT, prepared and projected."""
    from xrecon.preprocess.projection import prepare_for_projection

    progress("prepare", 0.0, "table kept" if options.keep_table else "removing the table")
    prepared, told = prepare_for_projection(
        source.volume, table=not options.keep_table, complete=options.complete
    )
    views, isocenter, warnings = place_views(prepared, options)
    warnings += placement_warnings(prepared, views)
    radiographs = render(prepared, views, options.radiography, options.seed, progress)
    return Projected(
        source=source.path.name,
        source_sha256=source.sha256,
        source_images=_source_images(source.path, options),
        volume=prepared,
        radiographs=radiographs,
        isocenter=isocenter,
        warnings=[*told, *warnings],
        rows=_comparison(prepared, views, radiographs, options, progress) if options.compare else (),
    )


def project(
    volume: Volume, options: DrrOptions, progress: ProgressCallback
) -> tuple[list[Radiograph], np.ndarray, list[str]]:
    """Radiographs of a prepared CT, the isocentre in the CT's LPS mm, and warnings."""
    views, isocenter, warnings = place_views(volume, options)
    return render(volume, views, options.radiography, options.seed, progress), isocenter, warnings


def place_views(volume: Volume, options: DrrOptions) -> tuple[list[NamedView], np.ndarray, list[str]]:
    """The views about the isocentre of a prepared CT, that point (LPS mm), and warnings."""
    from xrecon.preprocess.ct import lung_center

    if options.geometries is not None:
        return list(options.geometries), np.array(options.geometries[0].geometry.isocenter), []
    warnings = []
    if options.isocenter is not None:
        isocenter = np.array(options.isocenter)
    else:
        try:
            isocenter = lung_center(volume)
        except InputError as error:
            isocenter = volume.center
            warnings.append(f"the views turn about the middle of the volume: {error}")
    views = views_about(
        isocenter,
        options.views,
        options.shape,
        options.pixel_spacing_mm,
        options.source_to_detector_mm,
        options.source_to_isocenter_mm,
    )
    return views, isocenter, warnings


def placement_warnings(volume: Volume, views: Sequence[NamedView]) -> list[str]:
    """What is odd in where sources and detectors stand. Raises InputError for a view that misses the CT."""
    ends = [(-0.5, n - 0.5) for n in volume.shape[::-1]]
    corners = volume.index_to_world(np.array(np.meshgrid(*ends, indexing="ij")).reshape(3, -1).T)
    warnings = []
    for name, geometry in ((view.name, view.geometry) for view in views):
        places = {"source": geometry.source, "detector": geometry.detector_center}
        if geometry.beam == "parallel":
            places = {}  # of a parallel beam only the direction counts
        within = [what for what, where in places.items() if _is_within(volume, where)]
        if within:
            what = " and the ".join(within)
            warnings.append(f"{name}: the {what} stands within the CT: check the distances")
            continue
        seen = geometry.project(corners)
        beside = (seen.max(axis=0) < -0.5) | (seen.min(axis=0) > np.array(geometry.shape) - 0.5)
        if beside.any():
            raise InputError(f"expected views that meet the CT, but no ray of {name} does")
    return warnings


def _is_within(volume: Volume, point: Sequence[float]) -> bool:
    index = volume.world_to_index(np.asarray(point))
    return bool(np.all((index > -0.5) & (index < np.array(volume.shape[::-1]) - 0.5)))


def render(
    volume: Volume,
    views: Sequence[NamedView],
    settings: RadiographySettings,
    seed: int,
    progress: ProgressCallback,
) -> list[Radiograph]:
    """The radiographs, named: `view` is the preset they count as, `meta["view_name"]` any other name."""
    from xrecon.physics.radiography import render_radiographs

    progress("project", 0.0, ", ".join(view.name for view in views))
    geometries, presets = [v.geometry for v in views], [v.preset for v in views]
    made = render_radiographs(volume, geometries, settings, names=presets, seed=seed)
    progress("project", 1.0, "done")
    return _named(made, views)


def _named(made: Sequence[Radiograph], views: Sequence[NamedView]) -> list[Radiograph]:
    """The radiographs with `meta["view_name"]` where a view is called otherwise than its preset."""
    return [
        radiograph
        if view.name == view.preset
        else replace(radiograph, meta={**radiograph.meta, "view_name": view.name})
        for radiograph, view in zip(made, views, strict=True)
    ]


def _comparison(
    volume: Volume,
    views: Sequence[NamedView],
    radiographs: Sequence[Radiograph],
    options: DrrOptions,
    progress: ProgressCallback,
) -> list[tuple[str, Sequence[Radiograph]]]:
    """A row of the comparison page for each of its settings, and one for the options' own."""
    from xrecon.physics.radiography import render_comparison

    wanted = comparison_settings()
    progress("compare", 0.0, f"{len(wanted)} looks")
    geometries, presets = [v.geometry for v in views], [v.preset for v in views]
    taken = render_comparison(volume, geometries, wanted, names=presets, seed=options.seed)
    rows = [(title, _named(made, views)) for title, made in taken]
    progress("compare", 1.0, "done")
    if options.radiography not in wanted.values():
        rows.append(("as chosen", radiographs))
    return rows


def _source_images(ct: Path, options: DrrOptions) -> list[tuple[str, str]]:
    """The UIDs of the CT's images when it is a DICOM series that DICOM files are made of."""
    if "dcm" not in options.formats or not ct.is_dir():
        return []
    from xrecon.io.dicom_series import series_images

    return series_images(ct)
