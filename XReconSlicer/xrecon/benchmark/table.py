"""The benchmark's one table: Markdown, CSV and the rows of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xrecon.evaluation.intervals import Interval, figure_interval, limits_are

# Title of a column -> name of the figure. Means over patients, with intervals.
FIGURES = {
    "PSNR (dB)": "psnr",
    "SSIM": "ssim",
    "PSNR, exchanged (dB)": "psnr_exchanged",
    "PSNR in the body (dB)": "psnr_body",
    "PSNR of slices (dB)": "psnr_slices",
    "SSIM of slices": "ssim_slices",
    "cosine": "cosine_similarity",
    "PSNR as X2CT-GAN's code (dB)": "x2ct_psnr_avg",
    "MAE (HU)": "mae_hu",
    "right lung Dice": "reference_right_lung_dice",
    "left lung Dice": "reference_left_lung_dice",
    "right lung HD95 (mm)": "reference_right_lung_hd95_mm",
    "left lung HD95 (mm)": "reference_left_lung_hd95_mm",
    "right lung ASSD (mm)": "reference_right_lung_assd_mm",
    "left lung ASSD (mm)": "reference_left_lung_assd_mm",
    "air Dice": "air_dice",
    "air HD95 (mm)": "air_hd95_mm",
    "air ASSD (mm)": "air_assd_mm",
    "air Dice with PTX-Seg on the truth": "reference_air_dice",
    "air Dice of PTX-Seg on the truth": "truth_air_dice",
}
CORRELATIONS = {
    "right lung r": "right_lung_r",
    "left lung r": "left_lung_r",
    "air r": "air_r",
    "occupancy r": "occupancy_r",
    "air r with PTX-Seg on the truth": "reference_air_r",
}
COSTS = ("parameters (M)", "steps", "training (min)", "reconstruction (s)", "peak memory (GiB)")


def summary(result: Mapping[str, Any]) -> dict[str, Interval | None]:
    """Mean and interval over patients of every figure of a method."""
    return {name: figure_interval(result["cases"], name) for name in FIGURES.values()}


def flat_rows(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for each method for CSV and JSON: each figure with its low and high, costs, correlations."""
    rows = []
    for result in results:
        row: dict[str, Any] = {"method": result["name"], "kind": result.get("kind", "")}
        if "error" in result:
            rows.append(row | {"error": result["error"]})
            continue
        found = {name: interval for name, interval in summary(result).items() if interval is not None}
        row |= {"low_and_high_are": limits_are(found.values())}
        for name, interval in found.items():
            row |= {name: interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}
        row |= dict(result["correlations"])
        row |= dict(zip(COSTS, _costs(result), strict=True))
        rows.append(row)
    return rows


def markdown(results: Sequence[Mapping[str, Any]]) -> str:
    """The tables as Markdown, best PSNR first; a method that failed gives its reason."""
    good = sorted((r for r in results if "error" not in r), key=_quality, reverse=True)
    parts = [_table(columns, list(good)) for columns in _parts()]
    parts.append(_cost_table(good))
    failed = [f"- {r['name']}: {r['error']}" for r in results if "error" in r]
    if failed:
        parts.append("Not measured:\n\n" + "\n".join(failed))
    return "\n\n".join(parts) + "\n"


def _parts() -> list[list[str]]:
    titles = list(FIGURES)
    return [titles[:5], titles[5:9], titles[9:15], titles[15:]]


def _quality(result: Mapping[str, Any]) -> float:
    interval = figure_interval(result["cases"], "psnr")
    return -1e9 if interval is None else interval.mean


def _table(titles: Sequence[str], results: Sequence[Mapping[str, Any]]) -> str:
    lines = [_line(["method", *titles]), _line(["---"] * (len(titles) + 1))]
    for result in results:
        figures = summary(result)
        lines.append(_line([result["name"], *(_cell(figures[FIGURES[t]]) for t in titles)]))
    return "\n".join(lines)


def _cost_table(results: Sequence[Mapping[str, Any]]) -> str:
    titles = [*CORRELATIONS, *COSTS]
    lines = [_line(["method", *titles]), _line(["---"] * (len(titles) + 1))]
    for result in results:
        r = [_number(result["correlations"].get(name), 2) for name in CORRELATIONS.values()]
        costs = [
            _number(value, digits) for value, digits in zip(_costs(result), (2, 0, 1, 2, 2), strict=True)
        ]
        lines.append(_line([result["name"], *r, *costs]))
    return "\n".join(lines)


def _costs(result: Mapping[str, Any]) -> list[float | None]:
    parameters = result.get("parameters")
    seconds = sorted(row["seconds"] for row in result["cases"])
    return [
        None if parameters is None else parameters / 1e6,
        result.get("steps"),
        result.get("train_minutes"),
        seconds[len(seconds) // 2],
        result.get("peak_gib"),
    ]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(interval: Interval | None) -> str:
    return "not applicable" if interval is None else str(interval)


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
