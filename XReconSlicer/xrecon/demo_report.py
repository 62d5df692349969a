"""The report of `xrecon demo`: its pictures and tables, and what they mean."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xrecon.evaluation import panels, pictures
from xrecon.evaluation.comparison import BODY, CONTROL
from xrecon.evaluation.report import Figure, ReportData, Table, write_report
from xrecon.preprocess.ct import resample_like
from xrecon.reconstruction_report import (
    agreement_table,
    model_facts,
    trust_figures,
    trust_table,
    versions,
    view_line,
)
from xrecon.volume import Radiograph

if TYPE_CHECKING:
    from PIL import Image

    from xrecon.demo import Walk

RADIOGRAPH_PIXELS = 520
METRICS = {
    "mae_hu": "mean absolute error, HU (0 is best)",
    "psnr": "PSNR, dB (higher is better)",
    "ssim": "SSIM (1 is best)",
    "cosine_similarity": "cosine similarity (1 is best)",
    "psnr_slices": "PSNR, mean over slices, dB",
    "ssim_slices": "SSIM, mean over slices",
}
QUANTITIES = {
    "right_lung_ml": "right lung, ml",
    "left_lung_ml": "left lung, ml",
    "right_pneumothorax_ml": "right pneumothorax, ml",
    "left_pneumothorax_ml": "left pneumothorax, ml",
    "right_occupancy_percent": "right occupancy, %",
    "left_occupancy_percent": "left occupancy, %",
    "occupancy_percent": "occupancy of both sides, %",
}


def write(walk: Walk, numbers: Mapping[str, Any], folder: Path) -> Path:
    """Writes `report.html` into the folder."""
    return write_report(folder, _report(walk, numbers))


def _report(walk: Walk, numbers: Mapping[str, Any]) -> ReportData:
    return ReportData(
        title="Two radiographs to a CT and its pneumothorax",
        subject=walk.source.name,
        summary=(
            "A CT was projected to a PA and a left lateral radiograph. The volume below was computed from "
            "these two radiograph files alone and is compared with the CT they came from. The control is "
            "the mean of the model's training volumes: what can be said without any radiograph."
        ),
        command=_command(walk),
        model=model_facts(walk.model),
        tables=_tables(walk, numbers),
        figures=_figures(walk),
        warnings=walk.warnings,
        provenance={
            "source": walk.source.name,
            "voxels of the source (z, y, x)": walk.source.volume.shape,
            "isocentre (LPS, mm)": [round(float(v), 1) for v in walk.isocenter],
            "placement error (mm, 0 is right)": round(walk.placement_error_mm, 3),
            "computed on": walk.reconstruction.device,
            "lungs by": ", ".join(sorted({s.lung_source for s in walk.segmentations.values()})) or None,
            **{r.view: view_line(r) for r in walk.radiographs},
        },
        versions=versions(),
    )


def _command(walk: Walk) -> str:
    """The command that makes the same again; names of files without their folders, since pages are shared."""
    words = ["xrecon", "demo", *(["--ct", walk.source.name] if walk.source.path else [])]
    return shlex.join([*words, "--model", Path(walk.model).name])


# -- tables --------------------------------------------------------------------------------------
def _tables(walk: Walk, numbers: Mapping[str, Any]) -> list[Table]:
    measured = numbers["pneumothorax"]
    tables = [
        Table(
            "Reconstruction against the CT",
            ("metric", "where", "reconstruction", "mean training volume"),
            [
                (text, where, walk.metrics[name + end], walk.metrics.get(name + end + CONTROL))
                for end, where in ((BODY, "inside the body"), ("", "whole cube"))
                for name, text in METRICS.items()
                if name + end in walk.metrics
            ],
            "On the grid of the network, where both volumes reach; HU clipped to -1024..1476, which is "
            "the data range of PSNR and SSIM. The body is that of the CT, lungs included. The whole cube "
            "holds the air about the patient too, which is easy and flatters the figures; so do the means "
            "over slices, in which a slice without error counts 100 dB. Compare like with like.",
        ),
        agreement_table(walk.reconstruction.scores),
        *trust_table(walk.reconstruction.trust),
        *walk.checked.tables(),
    ]
    if measured:
        tables.append(_pneumothorax(measured))
    if walk.lungs:
        rows = [
            (side, walk.lungs.get(f"dice_{label}"), walk.lungs.get(f"assd_mm_{label}"))
            for label, side in ((1, "right"), (2, "left"))
        ]
        note = "Lung masks of the reconstruction against those of the CT, pneumothorax included."
        tables.append(Table("Lung masks", ("side", "Dice", "mean surface distance, mm"), rows, note))
    return tables


def _pneumothorax(measured: Mapping[str, Mapping[str, Any]]) -> Table:
    """The volumes by where they were measured; what makes one doubtful stands under it."""
    rows = [(text, *(values.get(name) for values in measured.values())) for name, text in QUANTITIES.items()]
    columns = [f"{name} (doubtful, see below)" if v["warnings"] else name for name, v in measured.items()]
    notes = ["PTX-Seg on the CT and on the reconstruction."]
    if "truth" in measured:
        notes.append("The truth is known because the CT was generated.")
    notes += [f"On the {name}: {' '.join(v['warnings'])}" for name, v in measured.items() if v["warnings"]]
    return Table("Lungs and pneumothorax", ("quantity", *columns), rows, " ".join(notes))


# -- figures -------------------------------------------------------------------------------------
def _figures(walk: Walk) -> list[Figure]:
    truth = resample_like(walk.source.volume, walk.volume)
    result = walk.reconstruction
    figures = [
        Figure(
            "The radiographs",
            "All that the reconstruction was given: two DICOM files (ideal: no scatter, no noise).",
            radiographs_picture(walk.radiographs),
        ),
        Figure(
            "Truth, reconstruction, error",
            "Three planes through the isocentre, the CT averaged onto the voxels of the reconstruction.",
            pictures.compare_volumes(truth, walk.volume, center=tuple(walk.isocenter)),
        ),
        Figure(
            "Input and reprojection",
            "The radiographs as the network saw them, the reconstruction projected through the same "
            "geometry, and the difference.",
            pictures.radiograph_panel(result.inputs, result.reprojections),
        ),
        *trust_figures(result),
        Figure(
            "The source CT",
            "The CT at its own resolution.",
            pictures.three_planes(walk.source.volume, center=tuple(walk.isocenter)),
        ),
    ]
    volumes = {"source CT": walk.source.volume, "reconstruction": walk.volume}
    for name, found in walk.segmentations.items():
        figures.append(
            Figure(
                f"PTX-Seg on the {name}",
                "Lungs outlined, pneumothorax filled, cut where the pneumothorax (or the lung) is largest.",
                pictures.pneumothorax_picture(volumes[name], found.labels),
            )
        )
    return figures


def radiographs_picture(radiographs: list[Radiograph]) -> Image.Image:
    """The radiographs side by side, each in its own grey range."""
    tiles = []
    for radiograph in radiographs:
        low, high = np.percentile(radiograph.array, (0.5, 99.8))
        grey = panels.grey(radiograph.array, float(low), float(high))
        spacing = radiograph.geometry.pixel_spacing
        tile = panels.tile(grey, spacing, RADIOGRAPH_PIXELS / (grey.shape[1] * spacing[1]))
        tiles.append(panels.lettered(tile, pictures.radiograph_letters(radiograph)))
    return panels.panel([tiles], [r.view for r in radiographs])
