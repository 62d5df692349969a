"""What a folder of CTs holds, and what is wrong with each: what `xrecon scan` and the panel show.

Every CT is read, as a training would; none is prepared. A study with a problem would be left out by a
training; notes are worth a look before one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from xrecon.io.image import read_volume
from xrecon.preprocess.ct import body_mask, lung_center
from xrecon.preprocess.truncation import find_truncation
from xrecon.training.store import source_digest
from xrecon.training.subjects import (
    MANIFEST_NAME,
    Subject,
    candidates,
    find_subjects,
    not_a_ct,
    subject_name,
)
from xrecon.volume import InputError, Volume

# Thicker slices blur what a lateral radiograph shows sharply.
THICK_SLICES_MM = 5.0
# Lungs of an adult are about 250 mm high.
SHORT_SCAN_MM = 220.0
# Of the body's outline, as `preprocess.projection` tells it.
CUT_BODY = 0.002


@dataclass(frozen=True)
class Study:
    """One CT of a folder.

    size: voxels along (x, y, z) as files and viewers give it, (0, 0, 0) when it cannot be read;
    spacing_mm in the same order. problem: why it cannot be trained on, "" when it can.
    """

    name: str
    path: str
    patient: str
    split: str = ""
    size: tuple[int, int, int] = (0, 0, 0)
    spacing_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    problem: str = ""
    notes: tuple[str, ...] = ()


def scan(folder: Path, progress: Callable[[str, float, str], None]) -> list[Study]:
    """The studies of a folder in the order of their names, the unusable ones among them.

    Raises InputError when `folder` is no folder, holds no study, or has a `subjects.csv` that cannot be
    used.
    """
    folder = Path(folder)
    subjects = _subjects(folder)
    studies = []
    for number, subject in enumerate(subjects):
        progress("scan", number / len(subjects), f"{number + 1}/{len(subjects)}: {subject.name}")
        studies.append(look_at(subject))
    return _with_doubles(studies)


def _subjects(folder: Path) -> list[Subject]:
    if not folder.is_dir() or (folder / MANIFEST_NAME).is_file():
        return find_subjects(folder)
    found = [Subject(subject_name(path), path, subject_name(path)) for path in candidates(folder)]
    return found or find_subjects(folder)  # which says what was expected


def look_at(subject: Subject) -> Study:
    """What can be said of a CT without preparing it."""
    study = Study(subject.name, str(subject.path), subject.patient, subject.split)
    try:
        volume = read_volume(subject.path)
    except (InputError, OSError) as error:
        return replace(study, problem=str(error))
    shape, spacing = volume.shape[::-1], tuple(round(s, 4) for s in volume.spacing[::-1])
    study = replace(study, size=shape, spacing_mm=spacing, problem=not_a_ct(volume.array))
    if study.problem:
        return study
    try:
        body = body_mask(volume.require_hounsfield())
        lung_center(volume)
    except InputError as error:
        return replace(study, problem=str(error))
    cut = find_truncation(volume, body).fraction
    cut_note = f"the field of view cuts {100 * cut:.1f} % of the body's outline" if cut >= CUT_BODY else ""
    return replace(study, notes=tuple(note for note in (*grid_notes(volume), cut_note) if note))


def grid_notes(volume: Volume) -> list[str]:
    """What is worth a look in how a CT was sampled."""
    upwards = int(np.argmax(np.abs(volume.direction[2])))  # the axis of the grid nearest to head-foot
    spacing, count = volume.spacing[::-1][upwards], volume.shape[::-1][upwards]
    notes = []
    if spacing > THICK_SLICES_MM:
        notes.append(f"slices are {spacing:.1f} mm apart, more than {THICK_SLICES_MM:g} mm")
    if count * spacing < SHORT_SCAN_MM:
        notes.append(f"only {count * spacing:.0f} mm from head to foot: lungs may be cut off")
    return notes


def _with_doubles(studies: list[Study]) -> list[Study]:
    """The studies; one with the content of an earlier one says so: a training takes both for one patient."""
    first: dict[str, str] = {}
    told = []
    for study in studies:
        if not study.problem:
            twin = first.setdefault(source_digest(Path(study.path)), study.name)
            if twin != study.name:
                study = replace(study, notes=(*study.notes, f"the same CT as {twin}"))
        told.append(study)
    return told
