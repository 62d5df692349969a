"""The report of one reconstruction: its pictures, how well it explains the radiographs, what it rests on."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xrecon import __version__
from xrecon.evaluation import pictures, reprojection
from xrecon.evaluation.report import Figure, ReportData, Table, format_fact, write_report
from xrecon.trust.words import trust_lines
from xrecon.volume import Radiograph

if TYPE_CHECKING:
    from xrecon.pipelines import Reconstruction


def write(
    result: Reconstruction, model: str, inputs: Mapping[str, Any], folder: Path, tables: Sequence[Table] = ()
) -> Path:
    """Writes `report.html` into the folder.

    model: name or folder as it was given. inputs: file names of the radiographs by role, further ones as a
    list. tables: what else was found, after the agreement with the radiographs.
    """
    shown = [(f"{r.view} input", view_line(r)) for r in result.inputs]
    notes = [(f"{r.view} history", "; ".join(r.history)) for r in result.inputs]
    data = ReportData(
        title="A CT computed from radiographs",
        subject=format_fact(list(inputs.values())),
        summary=(
            f"The volume below was computed from {len(result.inputs)} radiographs. What they do not show is "
            "filled in from the people the model was trained on."
        ),
        model=model_facts(model),
        tables=[agreement_table(result.scores), *trust_table(result.trust), *tables],
        figures=[
            Figure(
                "The synthetic CT",
                "Three planes through the middle of the volume.",
                pictures.three_planes(result.volume),
            ),
            Figure(
                "Input and reprojection",
                "The radiographs as the network saw them, the volume projected through the same geometry, "
                "and the difference.",
                pictures.radiograph_panel(result.inputs, result.reprojections),
            ),
            *trust_figures(result),
        ],
        warnings=result.warnings,
        provenance={**inputs, "computed on": result.device, **dict(shown), **dict(notes)},
        versions=versions(),
    )
    return write_report(folder, data)


def view_line(radiograph: Radiograph) -> str:
    geometry = radiograph.geometry
    return (
        f"source to detector {geometry.source_to_detector_mm:.0f} mm, source to isocentre "
        f"{geometry.source_to_isocenter_mm:.0f} mm, {geometry.shape[0]} x {geometry.shape[1]} pixels of "
        f"{geometry.pixel_spacing[0]:.2f} mm"
    )


def model_facts(model: str) -> dict[str, Any]:
    from xrecon.nets.registry import load_card

    card = load_card(model)
    return {
        "name": card.name,
        "title": card.title,
        "architecture": card.architecture,
        "trained on": f"{len(card.training_data)} subjects",
        "licence": card.licence,
        "limitations": card.limitations,
        "sha256": card.sha256,
    }


def versions() -> dict[str, str]:
    import SimpleITK
    import torch

    return {
        "xrecon": __version__,
        "Python": platform.python_version(),
        "torch": torch.__version__,
        "SimpleITK": SimpleITK.Version.VersionString(),
        "numpy": np.__version__,
    }


def trust_table(trust: Mapping[str, Any]) -> list[Table]:
    """What the stages of `xrecon.trust` found, a line each; nothing of nothing."""
    lines = trust_lines(trust)
    if not lines:
        return []
    note = trust.get("reprojection", {}).get("cannot_see", "")
    return [Table("How far it can be trusted", ("what was found",), [(line,) for line in lines], note)]


def trust_figures(result: Reconstruction) -> list[Figure]:
    """Maps of the beams and, where it is known, of the uncertainty."""
    figures = []
    if result.ray_support is not None:
        figures.append(
            Figure(
                "Beams",
                "How many radiographs' beams hold each voxel, black for none, white for all. Even where "
                "beams cross, what lies along each of them adds up.",
                pictures.three_planes(result.ray_support.views, (0.0, float(len(result.inputs)))),
            )
        )
    if result.uncertainty is not None:
        limit = max(float(np.percentile(result.uncertainty.array, 99.5)), 1.0)
        figures.append(
            Figure(
                "Uncertainty",
                f"Standard deviation of the error to expect, black 0, white {limit:.0f} HU.",
                pictures.three_planes(result.uncertainty, (0.0, limit)),
            )
        )
    return figures


def agreement_table(scores: Mapping[str, Mapping[str, float]]) -> Table:
    names = {
        "structure_correlation": "structure correlation (1 is best)",
        "relative_residual": "relative residual (0 is best)",
        "relative_residual_fitted": "relative residual after a fit of the grey scale (0 is best)",
    }
    controls = (f"_{reprojection.OUTLINE}", f"_{reprojection.MEAN_VOLUME}")
    rows = [
        (view, text, of_view[name], *(of_view.get(name + control) for control in controls))
        for view, of_view in scores.items()
        for name, text in names.items()
        if name in of_view
    ]
    return Table(
        "Agreement with the radiographs",
        ("view", "score", "reconstruction", "its outline filled with water", "mean training volume"),
        rows,
        f"Line integrals over the rays through tissue, {reprojection.RIM_MM:g} mm inside its rim. The "
        "structure correlation leaves out what changes slowly (local means, Gaussian of "
        f"{reprojection.DETREND_SIGMA_MM:g} mm), since the shape of the body alone explains that. The "
        "last two columns are controls: a reconstruction no better than they are tells nothing of this "
        "patient's inside. No column can see what does not show in the two radiographs: many volumes, "
        "true and false ones, agree with them equally well. Agreement is necessary, not sufficient.",
    )
