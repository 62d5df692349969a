"""The benchmark as a report page: the table, plots with intervals, and slices of every method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from xrecon import __version__
from xrecon.benchmark.cases import Case, load_cases
from xrecon.benchmark.methods import short_name
from xrecon.benchmark.plan import Plan
from xrecon.benchmark.run import result_path
from xrecon.benchmark.table import COSTS, FIGURES, flat_rows, summary
from xrecon.evaluation import panels
from xrecon.evaluation.dot_chart import Dots, dot_chart
from xrecon.evaluation.intervals import MEANING
from xrecon.evaluation.pictures import slice_tile
from xrecon.evaluation.report import Figure, ReportData, Table, write_report

PLOTS = (
    ("PSNR in 3D", "dB", (("own radiographs", "psnr"), ("another patient's radiographs", "psnr_exchanged"))),
    ("SSIM in 3D", "", (("own radiographs", "ssim"), ("another patient's radiographs", "ssim_exchanged"))),
    ("Dice of PTX-Seg", "", (
        ("right lung", "reference_right_lung_dice"), ("left lung", "reference_left_lung_dice"),
        ("air", "air_dice"),
    )),
)  # fmt: skip
TILE_PIXELS_PER_MM = 0.45


def write_page(
    folder: Path, path: Path, plan: Plan, results: Sequence[Mapping[str, Any]], notes: Sequence[str]
) -> None:
    """Writes the page to `path`, the plots beside it as PNG files."""
    good = [r for r in results if "error" not in r]
    figures = []
    for title, unit, series in PLOTS:
        chart = _chart(title, unit, series, good)
        if chart is not None:
            chart.save(folder / f"{title.split()[0].lower()}.png")
            figures.append(Figure(title, MEANING, chart))
    for case in load_cases(folder, plan.test):
        sheet = _slices(folder, case, [r["name"] for r in good])
        figures.append(Figure(case.name, "Coronal and axial slice through the isocentre.", sheet))
    write_report(
        path,
        ReportData(
            title="Reconstruction benchmark",
            summary=f"Trained on {', '.join(plan.train)}; tested on {', '.join(plan.test)}.",
            tables=_tables(results),
            figures=figures,
            warnings=list(notes),
            provenance=plan.model_dump(mode="json"),
            versions={"xrecon": __version__},
        ),
    )


def _chart(
    title: str, unit: str, series: Sequence[tuple[str, str]], results: Sequence[Mapping[str, Any]]
) -> Image.Image | None:
    rows = [
        Dots(
            short_name(r["name"]),
            [(k, summary(r).get(name) or _other(r, name)) for k, (_, name) in enumerate(series)],
        )
        for r in results
    ]
    if not any(interval for row in rows for _, interval in row.values):
        return None
    return dot_chart(rows, [name for name, _ in series], title, unit)


def _other(result: Mapping[str, Any], name: str) -> Any:
    from xrecon.evaluation.intervals import figure_interval

    return figure_interval(result["cases"], name)


def _tables(results: Sequence[Mapping[str, Any]]) -> list[Table]:
    rows = {row["method"]: row for row in flat_rows(results)}
    good = [row for row in rows.values() if "error" not in row]
    good.sort(key=lambda row: -row.get("psnr", -1e9))
    titles, costs = list(FIGURES), list(COSTS)
    tables = [
        Table(
            "Figures",
            ["method", *part],
            [[row["method"], *(row.get(FIGURES[t]) for t in part)] for row in good],
        )
        for part in (titles[:9], titles[9:])
    ]
    tables.append(
        Table("Costs", ["method", *costs], [[row["method"], *(row.get(c) for c in costs)] for row in good])
    )
    failed = [[row["method"], row["error"]] for row in rows.values() if "error" in row]
    if failed:
        tables.append(Table("Not measured", ["method", "reason"], failed))
    return tables


def _slices(folder: Path, case: Case, names: Sequence[str]) -> Image.Image:
    """The truth and each method, four to a row: coronal above axial."""
    from xrecon.io.image import read_volume
    from xrecon.preprocess.ct import resample_like

    tiles = [("truth", _pair(case.truth))]
    for name in names:
        path = result_path(folder, name).parent / f"{case.name}.nrrd"
        if path.is_file():
            tiles.append(
                (f"{short_name(name)} (synthetic)", _pair(resample_like(read_volume(path), case.truth)))
            )
    sheets = [panels.panel([[a], [b]], [title]) for title, (a, b) in tiles]
    rows = [sheets[k : k + 4] for k in range(0, len(sheets), 4)]
    return panels.panel(rows)


def _pair(volume: Any) -> tuple[Image.Image, Image.Image]:
    middle = [n // 2 for n in volume.shape]
    coronal = slice_tile(volume, "coronal", middle[1], "whole", TILE_PIXELS_PER_MM)
    return coronal, slice_tile(volume, "axial", middle[0], "whole", TILE_PIXELS_PER_MM)
