"""A page of pictures: the same CT as radiographs taken in several ways, beside real films."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xrecon.evaluation.report import Figure, ReportData, Table, write_report
from xrecon.volume import InputError, Quantity, Radiograph

if TYPE_CHECKING:
    from PIL import Image

    from xrecon.evaluation.charts import Curve

TILE_PIXELS = 300
COLUMNS = 4
DETAIL_MM = 80.0
# Grey below this share of white is the air around the patient, or the border of a film.
AIR_GREY = 0.03
_FILM_WHITE = 4095.0  # of our own films; others are shown from their darkest to their brightest value

Rows = Sequence[tuple[str, Sequence[Radiograph]]]


def write_comparison(
    path: str | Path,
    rows: Rows,
    films: Sequence[Radiograph] = (),
    *,
    subject: str = "",
    command: str = "",
    warnings: Sequence[str] = (),
    versions: Mapping[str, str] | None = None,
) -> Path:
    """Writes one HTML page (as `report.write_report` does) and gives its path.

    rows: title of the settings and the radiographs made with them, one per view; every row has the
        same views in the same order (see `radiography_settings.comparison_settings`).
    films: real radiographs; their pictures and histograms stand beside ours of the same kind of view
        (frontal, lateral). A view without a film is said to have none.

    Raises InputError when there is no row, or the rows do not have the same views.
    """
    views = _views_of(rows)
    figures = []
    for i, view in enumerate(views):
        column = [(title, radiographs[i]) for title, radiographs in rows]
        figures += _figures_of_view(view, column, films_of(view, films))
    data = ReportData(
        title="Radiographs of one CT, taken in several ways",
        subject=subject,
        summary=_summary(views, films),
        command=command,
        tables=[_technique_table(rows), *_grey_tables(views, rows, films)],
        figures=figures,
        warnings=tuple(warnings),
        provenance={f"settings: {title}": _changes(rows, n) for n, (title, _) in enumerate(rows)},
        versions=versions or {},
        synthetic=False,
    )
    return write_report(path, data)


def films_of(view: str, films: Sequence[Radiograph]) -> list[Radiograph]:
    """Those of the same kind of view: frontal ones (PA, AP), or lateral ones."""
    frontal = ("PA", "AP")
    lateral = ("LEFT LATERAL", "RIGHT LATERAL")
    kind = next((names for names in (frontal, lateral) if view in names), (view,))
    return [film for film in films if film.view in kind]


def shown(radiograph: Radiograph) -> np.ndarray:
    """Grey from 0 to 1 (row, column) as a viewer shows it: films as they are, other pictures windowed."""
    array = radiograph.array.astype(np.float64)
    if radiograph.quantity is Quantity.DISPLAY and "radiography" in radiograph.meta:
        low, high = 0.0, _FILM_WHITE
    elif radiograph.quantity is Quantity.DISPLAY:
        low, high = float(array.min()), float(array.max())
    else:
        low, high = 0.0, float(np.percentile(array, 99.5))
    grey = np.clip((array - low) / max(high - low, 1e-12), 0.0, 1.0)
    return 1.0 - grey if _is_inverse(radiograph) else grey


def histogram_overlap(a: np.ndarray, b: np.ndarray, bins: int = 32) -> float:
    """Shared area of the histograms of two greys (0 to 1) of patients, air left out: 0 none, 1 all."""
    from xrecon.evaluation.charts import histogram

    shares = [histogram(v[v > AIR_GREY], (AIR_GREY, 1.0), bins)[1] for v in (a, b)]
    return float(np.minimum(*shares).sum())


# -- figures -----------------------------------------------------------------------------------
def _figures_of_view(
    view: str, column: Sequence[tuple[str, Radiograph]], films: Sequence[Radiograph]
) -> list[Figure]:
    name = view or "unnamed view"
    tiles = [_tile(title, radiograph) for title, radiograph in column]
    tiles += [_tile(f"real film: {film.meta.get('file', '')}", film) for film in films]
    no_film = "" if films else f" No real film of this view ({name}) was given."
    gallery = Figure(
        f"{name}: pictures",
        "Line integrals and log signals are windowed from 0 to their 99.5th percentile, films shown as they "
        "are. MONOCHROME1 is shown by its stored values, as a viewer does that ignores the tag." + no_film,
        _gallery(tiles),
    )
    detail = Figure(
        f"{name}: detail of {DETAIL_MM:g} mm",
        "The middle of each picture, windowed by itself: blur and noise are seen here.",
        _gallery([_detail(title, radiograph) for title, radiograph in column]),
    )
    logs = [(t, r) for t, r in column if r.quantity is not Quantity.DISPLAY]
    grey = [(t, r) for t, r in column if r.quantity is Quantity.DISPLAY and not _is_inverse(r)]
    figures = [gallery, detail]
    if logs:
        figures += [_profiles(name, logs, "line integral or log signal"), _histograms(name, logs, ())]
    if grey:
        figures.append(_profiles(name, grey, "grey, 0 black, 1 white"))
    if grey or films:
        figures.append(_histograms(name, grey, films))
    return figures


def _is_inverse(radiograph: Radiograph) -> bool:
    return radiograph.meta.get("photometric") == "MONOCHROME1"


def _tile(title: str, radiograph: Radiograph) -> Image.Image:
    from xrecon.evaluation import panels
    from xrecon.evaluation.pictures import radiograph_letters

    picture = _scaled(np.round(255.0 * shown(radiograph)).astype(np.uint8), radiograph)
    return _titled(title, panels.lettered(picture, radiograph_letters(radiograph)))


def _detail(title: str, radiograph: Radiograph) -> Image.Image:
    """The middle of the picture, without interpolation, from its darkest to its brightest percent."""
    from PIL import Image

    grey, geometry = shown(radiograph), radiograph.geometry
    spacing = (1.0, 1.0) if geometry is None else geometry.pixel_spacing
    parts = []
    for count, mm in zip(grey.shape, spacing, strict=True):
        half = min(max(round(DETAIL_MM / mm / 2.0), 2), count // 2)
        parts.append(slice(count // 2 - half, count // 2 + half))
    crop = grey[tuple(parts)]
    low, high = np.percentile(crop, [1.0, 99.0])
    pixels = np.clip((crop - low) / max(high - low, 1e-12), 0.0, 1.0) * 255.0
    size = (TILE_PIXELS, TILE_PIXELS)
    picture = Image.fromarray(pixels.astype(np.uint8)).convert("RGB").resize(size, Image.Resampling.NEAREST)
    return _titled(title, picture)


def _scaled(grey: np.ndarray, radiograph: Radiograph) -> Image.Image:
    """uint8 grey as a picture that fits a tile."""
    from xrecon.evaluation import panels

    geometry = radiograph.geometry
    spacing = (1.0, 1.0) if geometry is None else geometry.pixel_spacing
    scale = TILE_PIXELS / max(n * s for n, s in zip(grey.shape, spacing, strict=True))
    return panels.tile(grey, spacing, scale)


def _titled(title: str, picture: Image.Image) -> Image.Image:
    from PIL import Image, ImageDraw

    from xrecon.evaluation import panels

    sheet = Image.new("RGB", (TILE_PIXELS, TILE_PIXELS + panels.TITLE_SIZE + 8), panels.GROUND)
    style = {"fill": panels.INK, "font": panels.font(panels.TEXT_SIZE), "anchor": "mt"}
    ImageDraw.Draw(sheet).text((TILE_PIXELS // 2, 2), title[:42], **style)
    sheet.paste(picture, ((TILE_PIXELS - picture.width) // 2, panels.TITLE_SIZE + 8))
    return sheet


def _gallery(tiles: Sequence[Image.Image]) -> Image.Image:
    from xrecon.evaluation import panels

    return panels.panel([tiles[i : i + COLUMNS] for i in range(0, len(tiles), COLUMNS)])


def _profiles(name: str, column: Sequence[tuple[str, Radiograph]], unit: str) -> Figure:
    """Values along the row on which the isocentre (or the middle) of each picture lies."""
    from xrecon.evaluation.charts import Curve, line_chart

    curves = []
    for number, (title, radiograph) in enumerate(column):
        row, mm = _profile_line(radiograph)
        values = radiograph.array if radiograph.quantity is not Quantity.DISPLAY else shown(radiograph)
        curves.append(Curve(title, mm, values[row].astype(np.float64), number))
    chart = line_chart(curves, f"{name}: profiles", "mm on the detector, from its middle", unit)
    caption = (
        "Values along the picture row through the isocentre: hardening and scatter lower, noise roughens."
    )
    return Figure(f"{name}: line profiles ({unit.split(',')[0]})", caption, chart)


def _profile_line(radiograph: Radiograph) -> tuple[int, np.ndarray]:
    """The row's number, and the mm of its pixels from the detector's middle."""
    rows, columns = radiograph.array.shape
    geometry = radiograph.geometry
    if geometry is None:
        return rows // 2, np.arange(columns) - (columns - 1) / 2.0
    row = float(geometry.project(np.array(geometry.isocenter))[0])
    row = round(row) if np.isfinite(row) else rows // 2
    return min(max(row, 0), rows - 1), (np.arange(columns) - (columns - 1) / 2.0) * geometry.pixel_spacing[1]


def _histograms(name: str, column: Sequence[tuple[str, Radiograph]], films: Sequence[Radiograph]) -> Figure:
    from xrecon.evaluation.charts import Curve, histogram, line_chart

    display = not column or column[0][1].quantity is Quantity.DISPLAY
    curves: list[Curve] = []
    if display:
        named = [*column, *((f"real film: {film.meta.get('file', '')}", film) for film in films)]
        for number, (title, radiograph) in enumerate(named):
            grey = shown(radiograph)
            curves.append(Curve(title, *histogram(grey[grey > AIR_GREY], (AIR_GREY, 1.0)), number))
        unit, kind = "grey, 0 black, 1 white", "grey"
        caption = (
            f"Share of the pixels in each of 64 steps of grey; darker than {AIR_GREY:g} is left out as air."
        )
        caption += "" if films else f" No real film of this view ({name}) was given."
    else:
        high = max(float(np.percentile(r.array, 99.9)) for _, r in column)
        for number, (title, radiograph) in enumerate(column):
            curves.append(Curve(title, *histogram(radiograph.array, (0.3, high)), number))
        unit, kind = "line integral or log signal", "line integral or log signal"
        caption = "Share of the pixels in each of 64 steps; below 0.3 is left out as air."
    return Figure(
        f"{name}: histograms ({kind})", caption, line_chart(curves, f"{name}: histograms", unit, "")
    )


# -- text --------------------------------------------------------------------------------------
def _views_of(rows: Rows) -> list[str]:
    if not rows:
        raise InputError("expected radiographs of one or more settings to compare, got none")
    views = [_name(radiograph) for radiograph in rows[0][1]]
    for title, radiographs in rows:
        found = [_name(radiograph) for radiograph in radiographs]
        if found != views or not found:
            raise InputError(f"expected the views {views} of every settings, got {found} for {title!r}")
    return views


def _name(radiograph: Radiograph) -> str:
    """What a view is called that is none of the presets, such as "LAO 30"; else the preset."""
    return radiograph.meta.get("view_name", radiograph.view)


def _summary(views: Sequence[str], films: Sequence[Radiograph]) -> str:
    names = ", ".join(view or "unnamed view" for view in views)
    given = len({id(film) for view in views for film in films_of(view, films)})
    beside = f"{given} real film{'s' * (given != 1)} beside them" if given else "no real film beside them"
    return f"Computed from a CT, not acquired: {names}, with {beside}."


def _technique_table(rows: Rows) -> Table:
    """What the exposures came to, one line for each settings and view."""
    names = ("tube_mas", "detector_air_kerma_ugy", "open_beam_air_kerma_ugy", "bucky_factor")
    lines = []
    for title, radiographs in rows:
        for radiograph in radiographs:
            known = [float(radiograph.meta[n]) if n in radiograph.meta else None for n in names]
            lines.append([title, _name(radiograph), radiograph.quantity.value, *known])
    columns = ["settings", "view", "numbers", "mAs", "uGy at detector", "uGy in open beam", "Bucky factor"]
    note = "mAs of the tube model for that air kerma, without any loss but patient and grid."
    return Table("Exposure", columns, lines, note)


def _grey_tables(views: Sequence[str], rows: Rows, films: Sequence[Radiograph]) -> list[Table]:
    """Percentiles of grey of films, ours and real ones, and how far their histograms overlap."""
    lines = []
    for i, view in enumerate(views):
        real = films_of(view, films)
        ours = [(t, r[i]) for t, r in rows if r[i].quantity is Quantity.DISPLAY]
        ours = [(t, r) for t, r in ours if not _is_inverse(r)]
        for title, film in [*ours, *((f"real film: {f.meta.get('file', '')}", f) for f in real)]:
            grey = shown(film)
            patient = grey[grey > AIR_GREY]
            percentiles = np.percentile(patient, [5, 25, 50, 75, 95]) if patient.size else [np.nan] * 5
            overlaps = [histogram_overlap(grey, shown(other)) for other in real if other is not film]
            lines.append([title, film.view, *map(float, percentiles), max(overlaps, default=None)])
    if not lines:
        return []
    columns = ["picture", "view", "5 %", "25 %", "50 %", "75 %", "95 %", "overlap"]
    note = (
        f"Percentiles of grey (0 black, 1 white) where it is above {AIR_GREY:g}. overlap: shared area of the "
        "histogram with that of the real film of this view it is most like; 1 is the same histogram."
    )
    return [Table("Grey values of films", columns, lines, note)]


def _changes(rows: Rows, number: int) -> str:
    """What settings have other than those before them."""

    def read(n: int) -> dict:
        return json.loads(rows[n][1][0].meta.get("radiography", "{}"))

    now, before = read(number), read(number - 1) if number else {}
    changed = {key: value for key, value in now.items() if before.get(key) != value or not before}
    return ", ".join(f"{key} {value}" for key, value in changed.items()) or "not recorded"
