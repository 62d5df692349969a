"""CTs made ready for training, once.

A prepared subject is the CT without its table on a cube along the LPS axes centred on the lungs,
with lung labels and, on request, variants with a synthetic pneumothorax. It is stored beside the
run as a compressed array, so that a resumed run starts at once.
"""

from __future__ import annotations

import json
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar
from zipfile import BadZipFile

import numpy as np

from xrecon.io.atomic import atomic_path
from xrecon.io.image import read_volume
from xrecon.pneumothorax.lungs import classical_lungs
from xrecon.pneumothorax.synthesize import add_pneumothorax
from xrecon.preprocess.ct import AIR_HU, lung_center, resample
from xrecon.preprocess.projection import prepare_for_projection
from xrecon.training.config import TrainConfig
from xrecon.training.labels import file_classes, label_center
from xrecon.training.store import source_digest
from xrecon.training.subjects import MANIFEST_NAME, Subject
from xrecon.training.variants import planned
from xrecon.volume import InputError, Quantity, Volume

MIN_LUNG_ML = 50.0
# Settings that say how the variants are made.
_VARIANTS = ("pneumothorax_range", "pneumothorax_effusion")


@dataclass(frozen=True)
class Prepared:
    """A subject ready for sampling: variants[i] is (HU int16, labels uint8), both (z, y, x) cubes.

    Variant 0 is the patient as scanned, the others have a synthetic pneumothorax. Labels are 1
    right lung, 2 left lung, 3 and 4 the pleural air of the right and left side; with label maps from
    files, the classes of the config.
    """

    subject: Subject
    variants: tuple[tuple[np.ndarray, np.ndarray], ...]

    @property
    def nbytes(self) -> int:
        """Memory of all variants."""
        return sum(hu.nbytes + labels.nbytes for hu, labels in self.variants)


class Sized(Protocol):
    """What says how much memory it takes."""

    @property
    def nbytes(self) -> int: ...


Item = TypeVar("Item", bound=Sized)


class MemoryCache(Generic[Item]):
    """Keeps what was used last, up to a number of bytes; safe for several threads."""

    def __init__(self, budget_bytes: float) -> None:
        self.budget_bytes, self.held_bytes = budget_bytes, 0
        self._held: OrderedDict[str, Item] = OrderedDict()
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[MemoryCache[Item]], tuple[float]]:
        return MemoryCache, (self.budget_bytes,)  # another process has an empty one

    def get(self, key: str, load: Callable[[], Item]) -> Item:
        """The item of a key, loaded when it is not held."""
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
                return self._held[key]
        item = load()
        with self._lock:
            if key not in self._held and item.nbytes <= self.budget_bytes:
                self._held[key] = item
                self.held_bytes += item.nbytes
                while self.held_bytes > self.budget_bytes:
                    self.held_bytes -= self._held.popitem(last=False)[1].nbytes
        return item


class PreparedSubjects(Sequence[Prepared]):
    """The prepared subjects of a split, read from their folder when they are needed.

    subjects: those that `prepare_subject` has stored in `folder`. cache: shared between splits.
    """

    def __init__(
        self, subjects: Sequence[Subject], config: TrainConfig, folder: Path, cache: MemoryCache[Prepared]
    ) -> None:
        self.subjects, self.config, self.folder, self.cache = list(subjects), config, folder, cache

    def __len__(self) -> int:
        return len(self.subjects)

    def __getitem__(self, index: int) -> Prepared:
        subject = self.subjects[index]
        return self.cache.get(subject.name, lambda: prepare_subject(subject, self.config, self.folder))


def _settings(subject: Subject, config: TrainConfig) -> dict[str, Any]:
    """What a stored subject was made from: other content under the same name is another CT."""
    settings = {
        "version": 4,
        "source": subject.sha256 or source_digest(subject.path),
        "side": config.grid.source_side,
        "spacing": config.grid.source_spacing_mm,
        "variants": config.pneumothorax_variants,
        "completed": config.complete_bodies,
    }
    # named when they differ from what was usual, so that what was stored before can still be used
    usual = {name: TrainConfig.model_fields[name].default for name in _VARIANTS}
    changed = {name: getattr(config, name) for name in _VARIANTS if getattr(config, name) != usual[name]}
    if config.pneumothorax_variants:
        settings |= changed
    if _from_files(config):
        labels = source_digest(subject.labels) if subject.labels else ""
        # pairs, since their order counts: it is that of the classes
        classes = [[name, list(values)] for name, values in config.segmentation.labels.items()]
        settings |= {"labels": labels, "classes": classes}
    return settings


def _from_files(config: TrainConfig) -> bool:
    """Whether the classes are those of label maps that come with the CTs."""
    return config.needs_labels and config.segmentation.source == "files"


def prepare_subject(subject: Subject, config: TrainConfig, folder: Path) -> Prepared:
    """The prepared subject, from `folder` when it was stored there with the same settings.

    Raises InputError for a CT that cannot be read or in which no lungs are found.
    """
    path = Path(folder) / f"{subject.name}.npz"
    settings = json.dumps(_settings(subject, config), sort_keys=True)
    stored = _stored(path, settings)
    if stored is not None:
        return Prepared(subject, stored)
    variants = _make_variants(subject, config)
    with atomic_path(path) as temporary:
        np.savez_compressed(
            temporary,
            settings=np.array(settings),
            hu=np.stack([hu for hu, _ in variants]),
            labels=np.stack([labels for _, labels in variants]),
        )
    return Prepared(subject, variants)


def _stored(path: Path, settings: str) -> tuple[tuple[np.ndarray, np.ndarray], ...] | None:
    """The variants of a stored subject; None when there is none, it was made otherwise, or is damaged."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            if str(stored["settings"]) != settings:
                return None
            return tuple(zip(stored["hu"], stored["labels"], strict=True))
    except (FileNotFoundError, ValueError, KeyError, EOFError, BadZipFile, zlib.error):
        return None


def _make_variants(subject: Subject, config: TrainConfig) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    volume = read_volume(subject.path).require_hounsfield(f"the CT {subject.path}")
    clean, _ = prepare_for_projection(volume, complete=config.complete_bodies)
    classes = _read_classes(subject, config) if _from_files(config) else None
    # a neck or a spine need not have lungs: what was labelled is in the middle then
    center = lung_center(clean) if classes is None else label_center(classes)
    side, spacing = config.grid.source_side, config.grid.source_spacing_mm
    cube = resample(clean, (side,) * 3, (spacing,) * 3, center, fill=AIR_HU)
    variants = _with_pneumothorax(subject, cube, config)
    if classes is not None:
        on_cube = resample(classes, (side,) * 3, (spacing,) * 3, center, fill=0, order=0)
        variants = [(hu, on_cube) for hu, _ in variants]
    return tuple(
        (np.clip(np.rint(hu.array), -1024, 3071).astype(np.int16), _labels(labels)) for hu, labels in variants
    )


def _read_classes(subject: Subject, config: TrainConfig) -> Volume:
    if subject.labels is None:
        raise InputError(f"expected a label map in column 'labels' of {MANIFEST_NAME} for {subject.path}")
    return file_classes(read_volume(subject.labels, Quantity.LABEL), config.segmentation)


def _with_pneumothorax(subject: Subject, cube: Volume, config: TrainConfig) -> list[tuple[Volume, Volume]]:
    """The cube and its lungs, and the variants with pleural air that the config asks for."""
    if not config.pneumothorax_variants and (_from_files(config) or config.task == "views"):
        # no lungs are asked for: a CT that they cannot be told in shows a chest nevertheless
        return [(cube, cube.with_array(np.zeros(cube.shape, dtype=np.uint8), Quantity.LABEL))]
    lungs = classical_lungs(cube)
    variants = [(cube, lungs)]
    sides = _sides_with_lung(lungs)
    if config.task == "lungs" and len(sides) < 2:
        raise InputError(
            f"expected both lungs to learn from in {subject.path}, found {sides or 'none'}: leave the CT out "
            f"with the split 'exclude' in {MANIFEST_NAME}"
        )
    count, sizes = config.pneumothorax_variants, config.pneumothorax_range
    for options in planned(subject.name, sides, count, sizes, config.pneumothorax_effusion):
        try:
            variants.append(add_pneumothorax(cube, lungs, **options))
        except InputError:  # a share of fluid or air that this lung has no room for
            plain = {k: options[k] for k in ("side", "fraction", "position", "seed")}
            variants.append(add_pneumothorax(cube, lungs, **plain))
    return variants


def _sides_with_lung(lungs: Volume) -> list[str]:
    """The sides with enough lung for a pneumothorax: not every patient has two lungs."""
    least = MIN_LUNG_ML / lungs.voxel_ml
    return [name for label, name in ((1, "right"), (2, "left")) if (lungs.array == label).sum() >= least]


def _labels(labels: Volume) -> np.ndarray:
    if labels.quantity is not Quantity.LABEL:
        raise InputError(f"expected lung labels, got a volume of {labels.quantity.value}")
    return labels.array.astype(np.uint8)
