"""One HTML file that tells what was done, with what, and what came out; made to be read and printed.

The file holds its pictures and its style, loads nothing from anywhere and runs no script.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xrecon.io.atomic import atomic_write_text
from xrecon.volume import InputError

if TYPE_CHECKING:
    from PIL import Image

TEMPLATE = "report.html.j2"
FILE_NAME = "report.html"
NO_VALUE = "–"
SIGNIFICANT_DIGITS = 4


@dataclass(frozen=True)
class Table:
    """Rows of texts and numbers; units belong into `columns`. `note` says how they were measured.

    Raises InputError when a row has another number of cells than there are columns.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    note: str = ""

    def __post_init__(self) -> None:
        wanted = len(self.columns)
        for row in self.rows:
            if len(row) != wanted:
                raise InputError(
                    f"expected {wanted} cells in each row of the table {self.title!r}, got {len(row)}"
                )

    @property
    def numeric(self) -> list[bool]:
        """For each column whether it holds numbers (or nothing), which are set flush right."""
        columns = list(zip(*self.rows, strict=True)) or [()] * len(self.columns)
        return [
            any(is_number(v) for v in values) and all(v is None or is_number(v) for v in values)
            for values in columns
        ]


@dataclass(frozen=True, eq=False)
class Figure:
    """A picture with its title and caption. image: Pillow image, or uint8 (row, column[, 3])."""

    title: str
    caption: str
    image: Image.Image | np.ndarray


@dataclass(frozen=True, eq=False)
class ReportData:
    """What a report shows; every part but the title may be left out.

    subject: whose images, as the user named them. command: the command line that makes the same
    again. model: summary of the model card, name -> value; its "name" appears in the notice.
    warnings: one sentence each. provenance: input files, geometry, settings. versions: name ->
    version of the software. synthetic: whether volumes or pictures shown are computed, not
    measured; the notice says so. created: time stamp; None is now.
    """

    title: str
    subject: str = ""
    summary: str = ""
    command: str = ""
    model: Mapping[str, Any] = field(default_factory=dict)
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    warnings: Sequence[str] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    synthetic: bool = True
    created: datetime | None = None


def write_report(path: str | Path, data: ReportData) -> Path:
    """Writes the report as one HTML file, whole or not at all, and gives its path.

    path: a name ending in .html, or a folder, which then gets `report.html`.
    Raises InputError for a figure that is no picture, OSError when the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in (".html", ".htm"):
        path = path / FILE_NAME
    atomic_write_text(path, render_report(data))
    return path


def render_report(data: ReportData) -> str:
    """The report as HTML text. Everything that came from outside is escaped."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(cell=format_cell, fact=format_fact, picture=data_uri)
    source = resources.files("xrecon.evaluation").joinpath(TEMPLATE).read_text(encoding="utf-8")
    created = data.created or datetime.now(UTC).astimezone()
    return environment.from_string(source).render(
        report=data,
        created=created.strftime("%Y-%m-%d %H:%M %Z").strip(),
        created_iso=created.isoformat(timespec="seconds"),
        model_name=str(data.model.get("name", "")),
    )


def format_cell(value: Any) -> str:
    """A number with four significant digits, a dash for nothing and NaN, anything else as text."""
    if value is None:
        return NO_VALUE
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (int, np.integer)):
        return str(int(value)).replace("-", "−")
    if isinstance(value, (float, np.floating)):
        return _format_float(float(value))
    return str(value)


def format_fact(value: Any) -> str:
    """As `format_cell`, but floats as short as they were given: settings, not measurements."""
    if isinstance(value, (float, np.floating)) and math.isfinite(value):
        return f"{float(value):.10g}".replace("-", "−", 1 if value < 0 else 0)
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {format_fact(entry)}" for key, entry in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(format_fact(entry) for entry in value)
    return format_cell(value)


def _format_float(value: float) -> str:
    if math.isnan(value):
        return NO_VALUE
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    magnitude = math.floor(math.log10(abs(value)))
    if not -4 <= magnitude <= 6:
        text = f"{value:.{SIGNIFICANT_DIGITS - 1}e}"
    else:
        text = f"{value:.{max(0, SIGNIFICANT_DIGITS - 1 - magnitude)}f}"
    return text.replace("-", "−") if text.startswith("-") else text


def is_number(value: Any) -> bool:
    """Whether a cell is a number, which is set flush right."""
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(
        value, (bool, np.bool_)
    )


def data_uri(image: Image.Image | np.ndarray) -> str:
    """The picture as a PNG inside a data URI. Raises InputError for anything that is no picture."""
    from PIL import Image

    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3):
            raise InputError(f"expected a uint8 picture (row, column[, 3]), got {image.dtype} {image.shape}")
        image = Image.fromarray(np.ascontiguousarray(image))
    if not isinstance(image, Image.Image):
        raise InputError(f"expected a Pillow image or a uint8 array as a figure, got {type(image).__name__}")
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
