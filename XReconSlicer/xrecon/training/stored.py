"""Training pairs out of a store: radiographs as they were rendered, prepared as for a reconstruction.

Geometry and CT are those of the store; only the pictures get another grey-scale curve and noise.
Batches are as in `training.datasets`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from xrecon.preprocess.ct import HU_WINDOW, resample
from xrecon.preprocess.radiograph import network_input, normalize
from xrecon.preprocess.views import common_isocenter, order_views
from xrecon.training.augment import degrade
from xrecon.training.config import TrainConfig
from xrecon.training.datasets import Batch, stack
from xrecon.training.order import Shuffle, sample_generator
from xrecon.training.prepared import MemoryCache
from xrecon.training.store import CaseEntry, Store, StoredCase
from xrecon.training.subjects import Subject


@dataclass(frozen=True)
class StoredPair:
    """A case as the network sees it: pictures (view, row, column), matrices, target (z, y, x)."""

    pictures: np.ndarray
    matrices: np.ndarray
    target: np.ndarray

    @property
    def nbytes(self) -> int:
        """Memory of the arrays."""
        return self.pictures.nbytes + self.matrices.nbytes + self.target.nbytes


def stored_subjects(store: Store) -> list[Subject]:
    """The cases of a store as subjects, by name."""
    return [_subject(store, entry) for entry in store.cases.values()]


def make_pair(case: StoredCase, config: TrainConfig) -> StoredPair:
    """The pair of a case: of each view of the config, the first radiograph.

    Raises InputError when the case lacks one.
    """
    grid = config.grid
    first = {radiograph.view: radiograph for radiograph in reversed(case.radiographs)}
    wanted = [first[view] for view in config.geometry.views if view in first]
    if len(wanted) < len(config.geometry.views):  # AP stands for PA, right for left lateral
        wanted = list(first.values())
    ordered, _ = order_views(wanted, config.geometry.views)
    isocenter = common_isocenter(ordered)
    shape, pixel = (grid.detector_pixels,) * 2, (grid.detector_spacing_mm,) * 2
    inputs = [network_input(radiograph, shape, pixel) for radiograph in ordered]
    about = [r.geometry.moved(np.eye(3), -isocenter) for r in inputs]
    cube = resample(case.volume, (grid.side,) * 3, (grid.spacing_mm,) * 3, isocenter)
    low, high = HU_WINDOW
    return StoredPair(
        pictures=np.stack([normalize(r.array) for r in inputs]),
        matrices=np.stack([view.matrix for view in about]).astype(np.float32),
        target=((np.clip(cube.array, low, high) - low) / (high - low)).astype(np.float32),
    )


class StoredPairs:
    """The pairs of some cases of a store; each is read when it is needed, and kept while memory lasts."""

    def __init__(
        self, store: Store, subjects: Sequence[Subject], config: TrainConfig, cache: MemoryCache[StoredPair]
    ) -> None:
        self.store, self.subjects, self.config, self.cache = store, list(subjects), config, cache
        self._shuffle = Shuffle(max(len(self.subjects), 1), config.seed)

    def sample(self, items: Sequence[int]) -> Batch:
        """The samples of these numbers."""
        return stack([self._degraded(item) for item in items])

    def reference(self, index: int) -> Batch:
        """A case as it is stored."""
        return _batch(self._pair(index), self.subjects[index].name)

    def with_air(self, index: int, most: int) -> list[Batch]:
        """None: a case of a store is what it is."""
        return []

    def _pair(self, index: int) -> StoredPair:
        name = self.subjects[index].name
        return self.cache.get(name, lambda: make_pair(self.store.load(name), self.config))

    def _degraded(self, item: int) -> Batch:
        rng, index = sample_generator(self.config.seed, item), self._shuffle.subject(item)
        pair = self._pair(index)
        pictures, counts = pair.pictures, self.config.geometry.views_per_sample
        chosen = np.arange(len(pictures))
        if counts:
            chosen = rng.permutation(chosen)[: int(rng.integers(counts[0], counts[1] + 1))]
        pictures = np.stack([degrade(pictures[i], self.config.augmentation, rng) for i in chosen])
        changed = replace(pair, pictures=pictures, matrices=pair.matrices[chosen])
        return _batch(changed, self.subjects[index].name)


def _batch(pair: StoredPair, name: str) -> Batch:
    return Batch(
        pictures=torch.as_tensor(pair.pictures)[None],
        matrices=torch.as_tensor(pair.matrices)[None],
        target=torch.as_tensor(pair.target)[None, None],
        names=(name,),
    )


def _subject(store: Store, entry: CaseEntry) -> Subject:
    return Subject(
        name=entry.name,
        path=Path(store.folder) / entry.file,
        patient=entry.patient or entry.name,
        split=entry.split,
        attribution=entry.attribution,
        licence=entry.licence,
        sha256=entry.sha256,
        origin_sha256=entry.source_sha256,
    )
