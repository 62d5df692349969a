"""What figures are called, and how they are written in tables of Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# Name -> title, of models that reconstruct; in the order of tables.
IMAGE_TITLES = {
    "psnr": "PSNR (dB)",
    "ssim": "SSIM",
    "mae_hu": "MAE (HU)",
    "psnr_body": "PSNR in the body (dB)",
    "ssim_body": "SSIM in the body",
    "mae_hu_body": "MAE in the body (HU)",
    "cosine_similarity": "cosine similarity",
    "psnr_slices": "PSNR of slices (dB)",
    "ssim_slices": "SSIM of slices",
    "psnr_at_5.6mm": "PSNR at 5.6 mm (dB)",
    "ssim_at_5.6mm": "SSIM at 5.6 mm",
}
LUNG_TITLES = {
    "reference_right_lung_dice": "right lung Dice",
    "reference_left_lung_dice": "left lung Dice",
    "reference_right_lung_hd95_mm": "right lung HD95 (mm)",
    "reference_left_lung_hd95_mm": "left lung HD95 (mm)",
}
NETWORK_TITLES = {
    "dice_right": "right lung Dice",
    "dice_left": "left lung Dice",
}
FIGURE_TITLES = {**IMAGE_TITLES, **LUNG_TITLES, **NETWORK_TITLES}
# Ends of the names of the controls' figures -> what the control is.
CONTROLS_OF = {
    "_mean_volume": "mean training volume",
    "_nearest_subject": "nearest training subject",
    "_exchanged": "radiographs exchanged",
}
CORRELATION_TITLES = {
    "occupancy_r": "occupancy",
    "air_r": "air",
    "right_lung_r": "right lung",
    "left_lung_r": "left lung",
}
# Names of figures of a case with air.
AIR = (
    "fraction", "occupancy_true_percent", "occupancy_percent", "air_true_ml", "air_ml", "air_dice",
    "truth_air_dice", "air_change_true_hu", "air_change_hu",
)  # fmt: skip
_AIR_HEADS = (
    "occupancy, true (%)", "found (%)", "air, true (ml)", "found (ml)", "air Dice", "air Dice on the CT",
    "change where the air is, CT (HU)", "reconstruction (HU)",
)  # fmt: skip
# Digits after the point by the beginning of a figure's name; three for shares.
_DIGITS = {"psnr": 2, "mae": 0, "healthy_ptx": 0}
_ENDS = {"_mm": 1, "_ml": 0, "_percent": 1, "_hu": 0}


def number(value: float | None, name: str) -> str:
    """A figure with the digits that suit it; a dash for nothing."""
    if value is None:
        return "-"
    digits = next((d for start, d in _DIGITS.items() if name.startswith(start)), None)
    if digits is None:
        digits = next((d for end, d in _ENDS.items() if name.endswith(end)), 3)
    return f"{value:.{digits}f}"


def air_markdown(rows: Sequence[Mapping[str, Any]], title: str) -> str:
    """Cases with air as a table: occupancy of both lungs, ml, Dice."""
    columns = [
        (name, head)
        for name, head in zip(AIR[1:], _AIR_HEADS, strict=True)
        # cards of before these were measured have none of them
        if "change" not in name or any(row.get(name) is not None for row in rows)
    ]
    lines = [markdown_line([f"{title}, case" if title else "case", *(head for _, head in columns)])]
    lines.append(markdown_line(["---"] * (len(columns) + 1)))
    for row in rows:
        lines.append(markdown_line([row["case"], *(number(row.get(name), name) for name, _ in columns)]))
    return "\n".join(lines)


def markdown_line(cells: Sequence[str]) -> str:
    """A line of a table; a bar within a cell would end it."""
    return "| " + " | ".join(str(cell).replace("|", "/") for cell in cells) + " |"


def correlation_text(air: Mapping[str, Any]) -> str:
    """Pearson's r of every quantity over cases with pneumothorax, in words; "" when there is none at all.

    Where one has none though others have, all cases were found alike, which is told.
    """
    r = air.get("correlations") or {}
    parts = [
        f"{title} {r[name]:.2f}" if name in r else f"{title} none (found alike in every case)"
        for name, title in CORRELATION_TITLES.items()
    ]
    return ", ".join(parts) if r else ""
