"""The evaluation as a page: tables, plots with intervals, and slices of every model on every CT."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from xrecon import __version__
from xrecon.assessment.cases import Wanted, load_cases, read_ct
from xrecon.assessment.figures import AIR
from xrecon.assessment.run import Plan, Result, read_result_volume
from xrecon.assessment.table import figures_of, groups, intervals, numbers_of
from xrecon.evaluation import panels
from xrecon.evaluation.dot_chart import Dots, dot_chart
from xrecon.evaluation.intervals import MEANING
from xrecon.evaluation.pictures import compare_volumes, pneumothorax_picture, slice_tile
from xrecon.evaluation.report import Figure, ReportData, Table, write_report
from xrecon.volume import Quantity, Volume

PLOTS = (
    ("PSNR in 3D", "dB", (
        ("own radiographs", "psnr"), ("another patient's", "psnr_exchanged"),
        ("mean training volume", "psnr_mean_volume"), ("nearest training subject", "psnr_nearest_subject"),
    )),
    ("SSIM in 3D", "", (
        ("own radiographs", "ssim"), ("another patient's", "ssim_exchanged"),
        ("mean training volume", "ssim_mean_volume"), ("nearest training subject", "ssim_nearest_subject"),
    )),
    ("Lungs of the reconstruction, Dice", "", (
        ("right", "reference_right_lung_dice"), ("left", "reference_left_lung_dice"),
    )),
    ("Lung network, Dice", "", (("right", "dice_right"), ("left", "dice_left"))),
)  # fmt: skip
TILE_PIXELS_PER_MM = 0.45
# A picture that travels with the weights: its size in bytes, and the tiles that are tried.
MOST_BYTES, TILES, COLORS = 140_000, (220, 180, 140, 100), 128


def write_page(
    path: Path, folder: Path, plan: Plan, results: Sequence[Result], notes: Sequence[str]
) -> list[Path]:
    """Writes the page, and the plots beside it as PNG files, whose paths are returned."""
    figures, plots = [], []
    for number, (title, unit, series) in enumerate(PLOTS):
        chart = _chart(title, unit, series, results)
        if chart is not None:
            plots.append(path.with_name(f"plot-{number + 1}.png"))
            chart.save(plots[-1])
            figures.append(Figure(title, MEANING, chart))
    figures += _sheets(folder, plan, results)
    write_report(
        path,
        ReportData(
            title="Models on unseen CTs",
            summary=f"{', '.join(r.model.label for r in results)} on "
            f"{', '.join(s.name for s in plan.subjects)}.",
            tables=_tables(results),
            figures=figures,
            warnings=list(notes),
            provenance={r.model.label: r.model.card.sha256 for r in results},
            versions={"xrecon": __version__},
        ),
    )
    return plots


def _chart(
    title: str, unit: str, series: Sequence[tuple[str, str]], results: Sequence[Result]
) -> Image.Image | None:
    rows = []
    for result in results:
        found = intervals(result) if set(n for _, n in series) & set(figures_of(result).values()) else {}
        if any(name in found for _, name in series):
            values = [(k, found.get(name)) for k, (_, name) in enumerate(series)]
            rows.append(Dots(result.model.label, values))
    return dot_chart(rows, [name for name, _ in series], title, unit) if rows else None


def _tables(results: Sequence[Result]) -> list[Table]:
    tables = []
    for title, group in groups(results):
        titles = {t: name for result in group for t, name in figures_of(result).items()}
        found = [intervals(result) for result in group]
        columns = [title]
        columns += [f"{r.model.label}: {what}" for r in group for what in ("mean", "low", "high")]
        rows = []
        for text, name in titles.items():
            cells: list[object] = [text]
            for values in found:
                interval = values.get(name)
                cells += [None] * 3 if interval is None else [interval.mean, interval.low, interval.high]
            rows.append(cells)
        tables.append(Table("Figures", columns, rows, MEANING))
        for result in group:
            air = [row for row in result.rows if row.get("fraction")]
            if air:
                cells = [[row["case"], *(row.get(name) for name in AIR)] for row in air]
                tables.append(Table(f"Synthetic pneumothorax, {result.model.label}", ["case", *AIR], cells))
    return tables


def _sheets(folder: Path, plan: Plan, results: Sequence[Result]) -> list[Figure]:
    """For each CT the truth and every reconstruction: coronal above axial, five to a row."""
    from xrecon.preprocess.ct import resample_like

    figures = []
    for number, subject in enumerate(plan.subjects):
        tiles: list[tuple[str, Volume]] = []
        for result in results:
            if result.grid is None or subject.name not in {row["case"] for row in result.rows}:
                continue
            truth = _truth(folder, plan, number, result)
            tiles = tiles or [("truth", truth)]
            volume = read_result_volume(folder, result.model, subject.name)
            tiles.append((f"{result.model.label} (synthetic)", resample_like(volume, truth)))
        if tiles:
            sheets = [
                panels.panel([[a], [b]], [title]) for title, (a, b) in ((t, _pair(v)) for t, v in tiles)
            ]
            rows = [sheets[k : k + 5] for k in range(0, len(sheets), 5)]
            caption = "Coronal and axial slice through the isocentre."
            figures.append(Figure(subject.name, caption, panels.panel(rows)))
    return figures


def _truth(folder: Path, plan: Plan, number: int, result: Result) -> Volume:
    wanted = Wanted(plan.subjects[number], number, plan.fractions, plan.lungs)
    return next(iter(load_cases(wanted, result.grid, folder))).truth


def _pair(volume: Volume) -> tuple[Image.Image, Image.Image]:
    middle = [n // 2 for n in volume.shape]
    coronal = slice_tile(volume, "coronal", middle[1], "whole", TILE_PIXELS_PER_MM)
    return coronal, slice_tile(volume, "axial", middle[0], "whole", TILE_PIXELS_PER_MM)


# -- the worst case ------------------------------------------------------------------------------
def worst_case(result: Result) -> dict[str, object]:
    """The CT on which a model did worst, by PSNR or by its lowest Dice, and that figure; {} without any."""
    dice = [name for name in numbers_of(result.plain) if name.startswith("dice_")]
    names = ["psnr"] if result.model.makes_volumes else dice
    figures = [(row[name], name, row["subject"]) for row in result.plain for name in names
               if isinstance(row.get(name), (int, float))]  # fmt: skip
    if not figures:
        return {}
    value, name, subject = min(figures)
    return {"subject": subject, "figure": name, "value": value}


def worst_picture(result: Result, plan: Plan, folder: Path) -> Image.Image | None:
    """What a model made of its worst CT: truth, reconstruction and error, or the lungs that it found."""
    subject = worst_case(result).get("subject")
    if subject is None:
        return None
    number = next(k for k, s in enumerate(plan.subjects) if s.name == subject)
    if result.model.makes_volumes:
        truth = _truth(folder, plan, number, result)
        volume = read_result_volume(folder, result.model, str(subject))
        made = truth.with_array(volume.array)
        return _small(lambda pixels: compare_volumes(truth, made, tile_pixels=pixels))
    if result.model.card.input.kind != "slices":
        return None
    from xrecon.pneumothorax.lungs import segment_lungs

    ct = read_ct(plan.subjects[number])
    found = segment_lungs(ct, [result.model.name], device="cpu")
    lungs = found.with_array(found.array, Quantity.LABEL)
    return _small(lambda pixels: pneumothorax_picture(ct, lungs, window="lung", tile_pixels=pixels))


def _small(draw: Callable[[int], Image.Image]) -> Image.Image:
    """The largest of the drawings that fits into the size of a picture that travels with weights."""
    import io

    for pixels in TILES:
        picture = draw(pixels).quantize(COLORS)
        stream = io.BytesIO()
        picture.save(stream, format="PNG", optimize=True)
        if stream.tell() <= MOST_BYTES:
            break
    return picture
