"""The CTs of a folder, and which patient is in which split."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from xrecon.io.checks import is_dicom
from xrecon.io.image import read_volume
from xrecon.io.table import read_rows
from xrecon.training.config import TrainConfig
from xrecon.volume import InputError

SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".mha", ".mhd")
SPLITS = ("train", "validation", "test")
MANIFEST_NAME = "subjects.csv"
# A folder is taken for one without DICOM after so many files that are none: readme files, viewers.
TRIED_FILES = 200


@dataclass(frozen=True)
class Subject:
    """One CT: where it lies, whose it is, and how its data may be used.

    sha256: of its content, once `manifest.identify` has read it; "" before. origin_sha256: for a case
    of a store, that of the CT it was made from. labels: its label map, for training with classes.
    """

    name: str
    path: Path
    patient: str
    split: str = ""
    attribution: str = ""
    licence: str = ""
    sha256: str = ""
    origin_sha256: str = ""
    labels: Path | None = None


def find_subjects(
    folder: Path, notes: list[str] | None = None, table: Path | None = None
) -> list[Subject]:
    """The CTs of a folder, sorted by name.

    With a `subjects.csv` (columns path, and optionally name, patient, split, attribution, licence,
    labels) exactly those; else every volume file and every sub-folder with DICOM files (at any depth; the
    largest CT series counts) whose numbers look like HU, each taken as a patient of its own. What is not
    used, and why, is appended to `notes`. table: such a file that lies elsewhere, for CTs that come
    without or in a folder that cannot be written; its paths are relative to `folder`.
    Raises InputError when there is none, or two have one name.
    """
    folder = Path(folder)
    notes = [] if notes is None else notes
    if not folder.is_dir():
        raise InputError(f"expected a folder of CTs, got {folder}")
    manifest = table or folder / MANIFEST_NAME
    if table and not table.is_file():
        raise InputError(f"expected a table of CTs like {MANIFEST_NAME}, found no file {table}")
    found = _from_manifest(manifest, folder) if manifest.is_file() else _from_files(folder, notes)
    if not found:
        raise InputError(f"expected CTs ({', '.join(SUFFIXES)} or DICOM folders) in {folder}, found none")
    _require_distinct(found)
    return sorted(found, key=lambda s: s.name)


def subject_name(path: Path) -> str:
    """What a CT without a manifest is called: its file or folder, without the suffix."""
    name = path.name
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


def _from_manifest(manifest: Path, folder: Path) -> list[Subject]:
    subjects = []
    for number, row in enumerate(read_rows(manifest), start=2):
        where = f"{manifest} line {number}"
        path = folder / (row.get("path") or "")
        if not row.get("path") or not path.exists():
            raise InputError(f"expected an existing file in column 'path' of {where}, got {path}")
        split = (row.get("split") or "").strip()
        if split not in ("", *SPLITS, "exclude"):
            raise InputError(f"expected split in {SPLITS} or 'exclude' in {where}, got {split!r}")
        if split == "exclude":
            continue
        name = row.get("name") or subject_name(path)
        if Path(name).name != name or name in (".", ".."):
            raise InputError(f"expected a name without folders in {where}, got {name!r}")
        extra = {k: row.get(k) or "" for k in ("attribution", "licence")}
        labels = folder / row["labels"] if row.get("labels") else None
        if labels is not None and not labels.is_file():
            raise InputError(f"expected an existing file in column 'labels' of {where}, got {labels}")
        subjects.append(Subject(name, path, row.get("patient") or name, split, **extra, labels=labels))
    return subjects


def candidates(folder: Path) -> list[Path]:
    """Volume files and sub-folders that hold DICOM files, in a folder without a manifest, sorted."""
    return sorted(p for p in folder.iterdir() if _is_volume_file(p) or (p.is_dir() and holds_dicom(p)))


def _is_volume_file(path: Path) -> bool:
    return path.name.lower().endswith(SUFFIXES) and path.is_file()


def holds_dicom(folder: Path) -> bool:
    """Whether a DICOM file lies in the folder or below it; exports often name them without ".dcm"."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return any(is_dicom(path) for path in itertools.islice(files, TRIED_FILES))


def _from_files(folder: Path, notes: list[str]) -> list[Subject]:
    subjects = []
    for path in candidates(folder):
        try:
            volume = read_volume(path)
        except InputError as error:  # label maps that say so, damaged files: named, not silently lost
            notes.append(f"not used: {error}")
            continue
        problem = not_a_ct(volume.array)
        if problem:
            notes.append(f"not used: {path} {problem}")
        else:
            subjects.append(Subject(subject_name(path), path, subject_name(path)))
    return subjects


def _require_distinct(subjects: Sequence[Subject]) -> None:
    """Names stand for files in splits and caches: two CTs of one name would become one."""
    seen: dict[str, Path] = {}
    for subject in subjects:
        if subject.name in seen:
            raise InputError(
                f"expected a name of its own for every CT, got {subject.name!r} for {seen[subject.name]} and "
                f"{subject.path}: name them in the column 'name' of {MANIFEST_NAME}"
            )
        seen[subject.name] = subject.path


def not_a_ct(array: np.ndarray) -> str:
    """Why the numbers are no chest CT; "" when they are: label and probability maps have no -500."""
    low, high = array.min(), array.max()
    if low <= -500 and high >= 0:
        return ""
    offset = ": CT numbers with an offset?" if low >= -200 and high > 1000 else ""
    return f"holds {low:g} to {high:g}, which is no chest CT in HU{offset}"


def hold_out(subjects: Sequence[Subject], test: Sequence[str]) -> list[Subject]:
    """The subjects, all CTs of the patients of the named ones in the split "test", whatever it was before.

    Raises InputError for names that are not there.
    """
    unknown = sorted(set(test) - {s.name for s in subjects})
    if unknown:
        raise InputError(f"expected test CTs out of {[s.name for s in subjects]}, got {unknown}")
    patients = {s.patient for s in subjects if s.name in test}
    return [replace(s, split="test") if s.patient in patients else s for s in subjects]


def split_subjects(subjects: Sequence[Subject], config: TrainConfig) -> dict[str, list[str]]:
    """Names per split; a patient's CTs always stay together.

    Splits named in the manifest hold; the other patients are drawn by the seed, a share of
    `validation_fraction` (at least one patient when there are two or more) for validation.
    """
    split_of = {}
    for subject in subjects:
        if split_of.setdefault(subject.patient, subject.split) != subject.split:
            raise InputError(f"the patient {subject.patient} stands in two splits")
    free = sorted(patient for patient, split in split_of.items() if not split)
    np.random.default_rng(config.seed).shuffle(free)
    count = round(config.validation_fraction * len(free))
    if config.validation_fraction > 0 and len(free) > 1:
        count = max(1, count)
    for i, patient in enumerate(free):
        split_of[patient] = "validation" if i < count else "train"
    splits = {name: [s.name for s in subjects if split_of[s.patient] == name] for name in SPLITS}
    if not splits["train"]:
        raise InputError("expected at least one CT to train on, got none in the split 'train'")
    return splits
