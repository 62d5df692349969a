"""A page of pictures: the same CT as radiographs taken in several ways, beside real films."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from xrecon.volume import Radiograph


def write_comparison(
    path: str | Path,
    rows: Sequence[tuple[str, Sequence[Radiograph]]],
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
    films: real radiographs; their pictures, line profiles and histograms stand beside ours of the
        same view. A view without a film is said to have none.

    Raises InputError when there is no row, or the rows do not have the same views.
    """
    from xrecon.evaluation.report import ReportData, write_report

    return write_report(path, ReportData("Radiographs taken in several ways", subject, command=command))
