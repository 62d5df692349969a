"""Vertebrae of labelled CTs as subjects of their own, for EAR.

Source: Tan et al. (EAR), sections 3.1 and 4.1. The paper cuts each vertebra out of the CT and projects it
alone, which no X-ray tube can do. Here a subject is the whole CT with one vertebra in the middle: its
radiographs show everything that lies over it, and its target is a cube with the neighbours.

All vertebrae of a patient stay in one split, since they keep the patient's name in `subjects.csv`; one CT
under two names is found by its content when training starts (`training.manifest`).
"""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from xrecon.io.folder import output_folder
from xrecon.io.image import read_volume, write_volume
from xrecon.io.table import read_rows
from xrecon.training.subjects import MANIFEST_NAME, Subject, find_subjects
from xrecon.volume import InputError, Quantity, Volume

THIS, NEIGHBOUR = 1, 2  # values of the label maps that are written
CENTERS = "vertebrae.csv"
SMALLEST_ML = 2.0  # a seventh cervical vertebra has about 10 ml
LABELS = "labels"

# Names of the labels in VerSe and CTSpine1K: 1 to 7 cervical, 8 to 19 thoracic, 20 to 25 lumbar.
VERSE_NAMES: Mapping[int, str] = {
    **{number: f"C{number}" for number in range(1, 8)},
    **{number: f"T{number - 7}" for number in range(8, 20)},
    **{number: f"L{number - 19}" for number in range(20, 26)},
    28: "T13",
}


@dataclass(frozen=True)
class Vertebra:
    """One vertebra of a CT: its name, the middle of its box in LPS mm (x, y, z), and its size.

    labels: around it, 1 this vertebra, 2 the others; a part of the CT's grid.
    """

    name: str
    center: tuple[float, float, float]
    volume_ml: float
    labels: Volume


@dataclass
class VertebraSet:
    """What was written: names of the subjects, and what was left out and why."""

    subjects: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def find_vertebrae(
    labels: Volume, names: Mapping[int, str], field_mm: float, notes: list[str] | None = None
) -> list[Vertebra]:
    """The complete vertebrae of a label map, from superior to inferior.

    names: label values of vertebrae; other labels are ignored. field_mm: edge of the cube about each
    vertebra in which neighbours are kept. A vertebra that touches the border of the map (cut by the scan)
    or is smaller than `SMALLEST_ML` is left out, which is appended to `notes`.
    Raises InputError for a volume of something else than labels, or without any of the names.
    """
    if labels.quantity is not Quantity.LABEL:
        raise InputError(f"expected a label map of vertebrae, got a volume of {labels.quantity.value}")
    notes, present = [] if notes is None else notes, set(np.unique(labels.array).tolist())
    wanted = {value: name for value, name in names.items() if value in present}
    if not wanted:
        raise InputError(f"expected labels of vertebrae out of {sorted(names)}, found {sorted(present)[:10]}")
    spine = np.isin(labels.array, list(wanted))
    found = []
    for value, name in wanted.items():
        mask = labels.array == value
        size_ml = float(mask.sum() * labels.voxel_ml)
        box = [np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))[[0, -1]] for axis in range(3)]
        ends = zip(box, labels.shape, strict=True)
        if any(first == 0 or last == count - 1 for (first, last), count in ends):
            notes.append(f"{name}: cut by the border of the CT")
        elif size_ml < SMALLEST_ML:
            notes.append(f"{name}: only {size_ml:.1f} ml")
        else:
            middle = np.array([(first + last) / 2.0 for first, last in box])
            part = _part(np.where(mask, THIS, np.where(spine, NEIGHBOUR, 0)), labels, middle, field_mm)
            center = labels.index_to_world(middle[::-1])
            found.append(Vertebra(name, tuple(float(c) for c in center), size_ml, part))
    return sorted(found, key=lambda v: -v.center[2])


def _part(array: np.ndarray, grid: Volume, middle: np.ndarray, field_mm: float) -> Volume:
    """The cube of `field_mm` about an index (z, y, x), as far as the grid reaches."""
    half = field_mm / 2.0 / np.array(grid.spacing)
    first = np.maximum(np.floor(middle - half).astype(int), 0)
    stop = np.minimum(np.ceil(middle + half).astype(int) + 1, grid.shape)
    inner = array[tuple(slice(a, b) for a, b in zip(first, stop, strict=True))].astype(np.uint8)
    origin = grid.index_to_world(first[::-1])
    return Volume(inner, grid.spacing, tuple(origin), grid.direction, quantity=Quantity.LABEL)


def write_vertebrae(
    data: Path, output: Path, names: Mapping[int, str] = VERSE_NAMES, field_mm: float = 96.0
) -> VertebraSet:
    """Subjects of single vertebrae, in the folder `output`, from CTs with label maps.

    data: folder of CTs whose `subjects.csv` has a column `labels`. Writes a label map per vertebra, a
    `subjects.csv` that `xrecon train` reads, and `vertebrae.csv` with the middle of each vertebra in LPS mm.
    The CTs stay where they are. Raises InputError when no vertebra is found.
    """
    result = VertebraSet()
    subjects = find_subjects(data, result.notes)
    with output_folder(output) as folder:
        _write_all(subjects, folder, Path(output), names, field_mm, result)
    return result


def _write_all(
    subjects: Sequence[Subject],
    folder: Path,
    output: Path,
    names: Mapping[int, str],
    field_mm: float,
    result: VertebraSet,
) -> None:
    """The files of all subjects into `folder`, which becomes `output`."""
    rows, centers = [], []
    (folder / LABELS).mkdir()
    for subject in subjects:
        if subject.labels is None:
            result.notes.append(f"{subject.name}: no label map in {MANIFEST_NAME}")
            continue
        left_out: list[str] = []
        for vertebra in _of_subject(subject, names, field_mm, left_out):
            name = f"{subject.name}_{vertebra.name}"
            file = Path(LABELS) / f"{name}.nrrd"
            write_volume(vertebra.labels, folder / file)
            result.subjects.append(name)
            rows.append(_row(subject, name, file, output))
            x, y, z = (round(c, 2) for c in vertebra.center)
            size = round(vertebra.volume_ml, 1)
            centers.append({"ct": subject.name, "name": vertebra.name, "x": x, "y": y, "z": z, "ml": size})
        result.notes.extend(f"{subject.name}, {note}" for note in left_out)
    if not rows:
        raise InputError(f"expected vertebrae in the label maps, got none: {'; '.join(result.notes)}")
    _write_table(folder / MANIFEST_NAME, rows)
    _write_table(folder / CENTERS, centers)


def _of_subject(
    subject: Subject, names: Mapping[int, str], field_mm: float, notes: list[str]
) -> list[Vertebra]:
    try:
        return find_vertebrae(read_volume(subject.labels, Quantity.LABEL), names, field_mm, notes)
    except InputError as error:  # one label map that cannot be used must not stop the others
        notes.append(str(error))
        return []


def _row(subject: Subject, name: str, labels: Path, output: Path) -> dict[str, str]:
    return {
        "path": os.path.relpath(subject.path, output),
        "name": name,
        "patient": subject.patient,
        "split": subject.split,
        "attribution": subject.attribution,
        "licence": subject.licence,
        "labels": labels.as_posix(),
    }


def _write_table(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def read_names(path: Path) -> dict[int, str]:
    """Names of vertebra labels from a CSV with the columns `id` and `structure` (TotalSegmentator's).

    Rows whose structure starts with "vertebrae_" count, without that word. Raises InputError for a table
    without them, or one that is not in UTF-8.
    """
    rows = read_rows(path)
    try:
        named = {
            int(row["id"]): row["structure"].removeprefix("vertebrae_")
            for row in rows
            if row["structure"].startswith("vertebrae_")
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"expected columns id and structure in {path}: {error}") from error
    if not named:
        raise InputError(f"expected rows of vertebrae_... in {path}, got none")
    return named
