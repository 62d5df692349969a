"""CTs of a folder, split by patient and prepared once for training.

A prepared subject is the CT without its table on a cube along the LPS axes centred on the lungs,
with lung labels and, on request, variants with a synthetic pneumothorax. It is stored beside the
run as a compressed array, so that a resumed run starts at once.
"""

from __future__ import annotations

import csv
import json
import warnings
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xrecon.io.atomic import atomic_path, atomic_write_text
from xrecon.io.image import read_volume
from xrecon.pneumothorax.lungs import classical_lungs
from xrecon.pneumothorax.synthesize import add_pneumothorax
from xrecon.preprocess.ct import AIR_HU, lung_center, remove_table, resample
from xrecon.training.config import TrainConfig
from xrecon.volume import InputError, Quantity, Volume

SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".mha", ".mhd")
SPLITS = ("train", "validation", "test")
MANIFEST_NAME = "subjects.csv"
MIN_LUNG_ML = 50.0
Progress = Callable[[str, float, str], None]


@dataclass(frozen=True)
class Subject:
    """One CT: where it lies, whose it is, and how its data may be used."""

    name: str
    path: Path
    patient: str
    split: str = ""
    attribution: str = ""
    licence: str = ""


def find_subjects(folder: Path) -> list[Subject]:
    """The CTs of a folder, sorted by name.

    With a `subjects.csv` (columns path, and optionally name, patient, split, attribution, licence)
    exactly those; else every volume file and every sub-folder with DICOM files whose numbers look
    like HU, each taken as a patient of its own. Raises InputError when there is none.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"expected a folder of CTs, got {folder}")
    manifest = folder / MANIFEST_NAME
    found = _from_manifest(manifest) if manifest.is_file() else _from_files(folder)
    if not found:
        raise InputError(f"expected CTs ({', '.join(SUFFIXES)} or DICOM folders) in {folder}, found none")
    return sorted(found, key=lambda s: s.name)


def _stem(path: Path) -> str:
    name = path.name
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


def _from_manifest(manifest: Path) -> list[Subject]:
    with manifest.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    subjects = []
    for number, row in enumerate(rows, start=2):
        path = manifest.parent / (row.get("path") or "")
        if not row.get("path") or not path.exists():
            raise InputError(
                f"expected an existing file in column 'path' of {manifest} line {number}, got {path}"
            )
        split = (row.get("split") or "").strip()
        if split not in ("", *SPLITS, "exclude"):
            raise InputError(
                f"expected split in {SPLITS} or 'exclude' in {manifest} line {number}, got {split!r}"
            )
        if split == "exclude":
            continue
        name = row.get("name") or _stem(path)
        extra = {k: row.get(k) or "" for k in ("attribution", "licence")}
        subjects.append(Subject(name, path, row.get("patient") or name, split, **extra))
    return subjects


def _from_files(folder: Path) -> list[Subject]:
    candidates = [p for p in folder.iterdir() if p.name.lower().endswith(SUFFIXES)]
    candidates += [p for p in folder.iterdir() if p.is_dir() and any(p.glob("*.dcm"))]
    subjects = []
    for path in sorted(candidates):
        try:
            volume = read_volume(path)
        except InputError as error:  # label maps that say so, damaged files: named, not silently lost
            warnings.warn(f"not used for training: {error}", stacklevel=3)
            continue
        if _looks_like_ct(volume.array):
            subjects.append(Subject(_stem(path), path, _stem(path)))
    return subjects


def _looks_like_ct(array: np.ndarray) -> bool:
    """Air and tissue both present: label maps and probability maps have no -500."""
    return bool(array.min() <= -500 and array.max() >= 0)


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


def write_splits(path: Path, splits: dict[str, list[str]]) -> None:
    """The split as JSON, written before training starts."""
    atomic_write_text(path, json.dumps(splits, indent=2) + "\n")


@dataclass(frozen=True)
class Prepared:
    """A subject ready for sampling: variants[i] is (HU int16, labels uint8), both (z, y, x) cubes.

    Variant 0 is the patient as scanned, the others have a synthetic pneumothorax. Labels are 1
    right lung, 2 left lung, 3 and 4 the pleural air of the right and left side.
    """

    subject: Subject
    variants: tuple[tuple[np.ndarray, np.ndarray], ...]


def _settings(config: TrainConfig) -> dict[str, Any]:
    grid = config.grid
    return {
        "version": 1,
        "side": grid.source_side,
        "spacing": grid.source_spacing_mm,
        "variants": config.pneumothorax_variants,
    }


def prepare_subject(
    subject: Subject, config: TrainConfig, folder: Path, progress: Progress | None = None
) -> Prepared:
    """The prepared subject, from `folder` when it was stored there with the same settings."""
    path = Path(folder) / f"{subject.name}.npz"
    settings = json.dumps(_settings(config), sort_keys=True)
    if path.is_file():
        with np.load(path, allow_pickle=False) as stored:
            if str(stored["settings"]) == settings:
                return Prepared(subject, tuple(zip(stored["hu"], stored["labels"], strict=True)))
    if progress:
        progress("prepare", 0.0, subject.name)
    variants = _make_variants(subject, config)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        np.savez_compressed(
            temporary,
            settings=np.array(settings),
            hu=np.stack([hu for hu, _ in variants]),
            labels=np.stack([labels for _, labels in variants]),
        )
    return Prepared(subject, variants)


def _make_variants(subject: Subject, config: TrainConfig) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    clean = remove_table(read_volume(subject.path).require_finite(f"the CT {subject.path}"))
    side, spacing = config.grid.source_side, config.grid.source_spacing_mm
    cube = resample(clean, (side,) * 3, (spacing,) * 3, lung_center(clean), fill=AIR_HU)
    lungs = classical_lungs(cube)
    variants = [(cube, lungs)]
    sides = _sides_with_lung(lungs)
    if config.task == "lungs" and len(sides) < 2:
        raise InputError(
            f"expected both lungs to learn from in {subject.path}, found {sides or 'none'}: leave the CT out "
            f"with the split 'exclude' in {MANIFEST_NAME}"
        )
    first_side = zlib.crc32(subject.name.encode())
    for number in range(config.pneumothorax_variants if sides else 0):
        # sizes spread from small to large; sides alternate, starting by the subject's name
        fraction = 0.1 + 0.5 * (number + 0.5) / config.pneumothorax_variants
        position = ("supine", "erect")[number % 2]
        side_name = sides[(number + first_side) % len(sides)]
        variants.append(add_pneumothorax(cube, lungs, side_name, fraction, position=position, seed=number))
    return tuple(
        (np.clip(np.rint(hu.array), -1024, 3071).astype(np.int16), _labels(labels)) for hu, labels in variants
    )


def _sides_with_lung(lungs: Volume) -> list[str]:
    """The sides with enough lung for a pneumothorax: not every patient has two lungs."""
    least = MIN_LUNG_ML / lungs.voxel_ml
    return [name for label, name in ((1, "right"), (2, "left")) if (lungs.array == label).sum() >= least]


def _labels(labels: Volume) -> np.ndarray:
    if labels.quantity is not Quantity.LABEL:
        raise InputError(f"expected lung labels, got a volume of {labels.quantity.value}")
    return labels.array.astype(np.uint8)
