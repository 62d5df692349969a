"""The report page of `xrecon segment`: pictures, quantities and warnings of one CT."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xrecon import __version__
from xrecon.evaluation import pictures
from xrecon.evaluation.pneumothorax_pictures import DrawnLine, distance_picture, frontal_picture
from xrecon.evaluation.report import NO_VALUE, Figure, ReportData, Table, format_cell, write_report
from xrecon.pneumothorax.measures import BOTH, SIDE_ORDER, Measure, PtxMeasures
from xrecon.pneumothorax.quantify_mediastinum import USUAL_SHIFT_MM
from xrecon.provenance import is_reconstructed

if TYPE_CHECKING:
    from xrecon.pipelines import Segmentation
    from xrecon.volume import Volume

VOLUMES = {
    "air_volume": "pneumothorax",
    "lung_volume": "lung without the air",
    "hemithorax_volume": "hemithorax: lung and air",
    "occupancy": "air, share of the hemithorax",
    "mean_lung_density": "mean density of the lung",
    "laa_950": "lung below -950 HU (LAA-950)",
}
DISTANCES = {
    "largest_interpleural_distance": "largest interpleural distance",
    "apex_distance": "apex to cupola",
    "rim_distance": "lateral rim at the hilum",
    "mediastinal_shift": "mediastinal shift, positive to the left",
}
INDICES = {
    "collins_estimate": "Collins, estimated from CT",
    "light_estimate": "Light, estimated from CT",
    "rhea_estimate": "Rhea, estimated from CT",
}

MODE_LINES = {
    "robust": "PTX-Seg in robust mode.",
    "reference": "PTX-Seg in reference mode (the paper's Algorithm 1).",
}


def write(result: Segmentation, volume: Volume, source: str, command: str, folder: Path) -> Path:
    """Writes `report.html` into the folder. source: name of the CT; command: what makes this again."""
    return write_report(folder, report(result, volume, source, command))


def report(result: Segmentation, volume: Volume, source: str, command: str = "") -> ReportData:
    """What the page shows."""
    measures = result.measures
    return ReportData(
        title="Lungs and pneumothorax on CT",
        subject=source,
        summary=" ".join(summary(measures, side) for side in ("right", "left")),
        command=command,
        model={"name": result.lung_source} if result.lung_source != "given" else {},
        tables=_tables(measures),
        figures=_figures(result, volume),
        warnings=[*([measures.hint] if measures.hint else []), *result.warnings],
        provenance={
            "CT": source,
            "voxels (z, y, x)": volume.shape,
            "voxel size (z, y, x), mm": [round(s, 4) for s in volume.spacing],
            "lungs by": result.lung_source,
            "computed on": result.device,
            "mode of PTX-Seg": result.mode,
            "parameters": result.parameters.model_dump(mode="json"),
        },
        versions={"xrecon": __version__, "Python": platform.python_version(), "numpy": np.__version__},
        synthetic=is_reconstructed(volume.meta),
    )


def summary(measures: PtxMeasures, side: str) -> str:
    """One sentence on a side."""
    air, share = measures.get("air_volume", side), measures.get("occupancy", side)
    if not air.value or share.value is None:
        return f"{side.capitalize()}: no pleural air segmented."
    text = f"{side.capitalize()}: {air.value:.0f} ml of air, {share.value:.1f} % of the hemithorax"
    place = measures.places.get(side)
    if place is not None:
        text += f", largest interpleural distance {place.mm:.0f} mm in the {place.level} third"
    return text + "."


# -- tables --------------------------------------------------------------------------------------
def _tables(measures: PtxMeasures) -> list[Table]:
    return [
        Table(
            "Volumes and density", _columns(), _rows(measures, VOLUMES),
            "In brackets what the grid leaves open: the bounds when every voxel at a boundary holds at "
            "least half of what it counts as, and with the expected error of a reconstruction what that "
            "leaves open. They do not cover a boundary drawn in the wrong place. "
            "LAA-950 rises with image noise, sharp kernels and thin slices.",
        ),
        Table(
            "Distances", _columns(), _rows(measures, DISTANCES),
            "In brackets one voxel to either side. Apex and rim are taken in frontal projection, as on a "
            "radiograph; their limits for treatment (3 cm and 2 cm) were set on erect radiographs. The "
            "shift is measured above the heart from the middle of the rib cage; eight CTs without "
            f"pneumothorax lay at −{-USUAL_SHIFT_MM[0]:.0f} to {USUAL_SHIFT_MM[1]:.0f} mm.",
        ),
        Table(
            "Radiograph indices, estimated from CT", _columns(), _rows(measures, INDICES),
            "Defined for erect PA radiographs. In a patient who lies, the air moves to the front and the "
            "indices come out too small; the size of the pneumothorax is its volume.",
        ),
    ]  # fmt: skip


def _columns() -> tuple[str, ...]:
    return ("quantity", "unit", *SIDE_ORDER)


def _rows(measures: PtxMeasures, names: dict[str, str]) -> list[tuple[str, ...]]:
    """A line for each quantity, a cell for each side."""
    found = {(m.quantity, m.side): m for m in measures.measures}
    rows = []
    for name, text in names.items():
        of_name = [found.get((name, side)) for side in SIDE_ORDER]
        unit = next(m.unit for m in of_name if m is not None)
        rows.append((text, unit, *("" if m is None else _cell(m) for m in of_name)))
    return rows


def _cell(measure: Measure) -> str:
    if measure.value is None:
        return NO_VALUE
    digits = 0 if measure.unit in ("ml", "HU") else 1
    text = format_cell(f"{measure.value:.{digits}f}").replace("-", "−")
    if measure.no_interval:
        return f"{text} ({measure.interval})"
    if measure.low is None or measure.high is None:
        return text
    return f"{text} ({measure.low:.{digits}f} to {measure.high:.{digits}f})"


# -- figures -------------------------------------------------------------------------------------
def _figures(result: Segmentation, volume: Volume) -> list[Figure]:
    measures = result.measures
    figures = [
        Figure(
            "Segments",
            "Each plane cuts where the larger pneumothorax, or without one the lungs, have their largest "
            "section. Above the CT, below pneumothorax filled and lungs outlined.",
            pictures.pneumothorax_picture(volume, result.labels),
        )
    ]
    for side, place in measures.places.items():
        line = DrawnLine(f"{place.mm:.0f} mm", place.lung, place.wall)
        figures.append(
            Figure(
                f"Largest interpleural distance, {side}",
                f"{place.mm:.0f} mm in the {place.level} third, from the lung to the chest wall, at LPS "
                f"{_point(place.wall)} mm. Projected onto each plane; the text is its length in space.",
                distance_picture(volume, result.labels, line),
            )
        )
    lines = [
        DrawnLine(f"{line.mm:.0f}", _frontal(line.lung, volume), _frontal(line.wall, volume))
        for line in measures.lines
        if line.mm > 0
    ]
    figures.append(
        Figure(
            "From the front",
            "Mean density from front to back, the depth of pleural air in colour, and the distances behind "
            "apex, rim and radiograph indices. On a CT the patient lies: a radiograph of the erect "
            "patient would look different.",
            frontal_picture(volume, result.labels, lines),
        )
    )
    return figures


def _point(point: Sequence[float]) -> str:
    return ", ".join(f"{v:.0f}" for v in point).replace("-", "−")


def _frontal(point: tuple[float, float], volume: Volume) -> tuple[float, float, float]:
    """A frontal point (x, z) in the middle of the volume's depth."""
    return (point[0], float(volume.center[1]), point[1])


def text(result: Segmentation) -> str:
    """The result for a terminal: the mode, a sentence for each side, then the quantities."""
    measures = result.measures
    lines = [MODE_LINES[result.mode], *(summary(measures, side) for side in ("right", "left"))]
    lines += [f"{_name(m)}: {_cell(m)} {m.unit}" for m in measures.measures if m.value is not None]
    return "\n".join([*lines, *([measures.hint] if measures.hint else [])])


def _name(measure: Measure) -> str:
    names: dict[str, Any] = {**VOLUMES, **DISTANCES, **INDICES}
    side = "both sides" if measure.side == BOTH else measure.side
    return f"{side}, {names[measure.quantity]}"
