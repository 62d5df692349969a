"""Training pairs made on the fly: a prepared subject, changed at random, and its radiographs.

Every sample is a function of the seed and its number (`training.order`). All tensors are float32;
volumes (b, 1, z, y, x) in [0, 1] units of the HU window, pictures (b, view, row, column) normalised
as at inference, matrices (b, view, 3, 4) in LPS mm about the isocentre; all zeros for a view that a
sample lacks. Labels, where the config asks for classes, are int64 (uint8 from another process), (b, z, y, x)
on the volumes' grid, 0 background. air_mm, where the loss has a term of air: paths through pleural air,
of the pictures' shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch.nn import functional

from xrecon.physics.attenuation import hu_to_attenuation
from xrecon.physics.geometry import ViewGeometry
from xrecon.physics.projector import Projector
from xrecon.preprocess.ct import HU_WINDOW
from xrecon.preprocess.radiograph import normalize
from xrecon.training.augment import add_scatter, augment_ct, degrade
from xrecon.training.config import GridConfig, TrainConfig
from xrecon.training.labels import FIRST_AIR, classes_of, to_label_target
from xrecon.training.order import Shuffle, sample_generator
from xrecon.training.prepared import Prepared, PreparedSubjects
from xrecon.training.subjects import Subject
from xrecon.training.views import random_views, reference_views

SAMPLES_AT_ONCE = 4


@dataclass(frozen=True)
class Batch:
    """One training batch; shapes in the module's description."""

    pictures: torch.Tensor
    matrices: torch.Tensor
    target: torch.Tensor
    names: tuple[str, ...]
    labels: torch.Tensor | None = None
    air_mm: torch.Tensor | None = None

    def to(self, device: torch.device | str, dtype: torch.dtype = torch.float32) -> Batch:
        """The batch on a device, its numbers of this type; labels as they are."""
        return replace(
            self,
            pictures=self.pictures.to(device, dtype),
            matrices=self.matrices.to(device, dtype),
            target=self.target.to(device, dtype),
            labels=None if self.labels is None else self.labels.to(device),
            air_mm=None if self.air_mm is None else self.air_mm.to(device, dtype),
        )


class PairSource(Protocol):
    """Where pairs of radiographs and volumes come from: made on the fly, or from a store."""

    @property
    def subjects(self) -> Sequence[Subject]:
        """Whose CTs these are."""

    def sample(self, items: Sequence[int]) -> Batch:
        """The samples of these numbers, changed at random."""

    def reference(self, index: int) -> Batch:
        """A subject as scanned, without random changes."""

    def with_air(self, index: int, most: int) -> list[Batch]:
        """Up to `most` of a subject's copies with pneumothorax, without random changes; [] without any."""


def mean_target(source: PairSource) -> torch.Tensor:
    """Mean volume of all subjects as scanned, (1, 1, z, y, x): what knows nothing of the patient."""
    total, count = None, len(source.subjects)
    for index in range(count):
        target = source.reference(index).target
        total = target if total is None else total + target
    return total / count


def to_target(hu: torch.Tensor, grid: GridConfig) -> torch.Tensor:
    """Source cube in HU (z, y, x) to the network's target (1, 1, z, y, x)."""
    ratio, margin = grid.ratio, grid.margin
    inner = hu[(slice(margin, grid.source_side - margin),) * 3] if margin else hu
    unit = (inner.clamp(*HU_WINDOW) - HU_WINDOW[0]) / (HU_WINDOW[1] - HU_WINDOW[0])
    return functional.avg_pool3d(unit[None, None], ratio)


class ProjectedPairs:
    """Radiograph and volume pairs of prepared subjects, projected when they are asked for.

    device: where the CT is deformed and projected; batches lie on the CPU or on it.
    """

    def __init__(self, prepared: PreparedSubjects, config: TrainConfig, device: str = "cpu") -> None:
        self.prepared, self.config, self.device = prepared, config, _numbered(torch.device(device))
        self.subjects = prepared.subjects
        self._shuffle = Shuffle(max(len(self.subjects), 1), config.seed)
        # A GPU waits for what the processor does between its kernels; several samples at once fill the gaps.
        self._at_once = ThreadPoolExecutor(SAMPLES_AT_ONCE) if self.device.type == "cuda" else None

    def __getstate__(self) -> dict[str, Any]:
        # for a process that makes samples: one of several, so that each makes one at a time
        return {**self.__dict__, "_at_once": None}

    def sample(self, items: Sequence[int]) -> Batch:
        """The augmented samples of these numbers."""
        make = map if self._at_once is None else self._at_once.map
        return stack(list(make(self._augmented, items)))

    def reference(self, index: int, variant: int = 0) -> Batch:
        """A subject as scanned, in the middle of the geometry range, without noise, in all views."""
        prepared, geometry = self.prepared[index], self.config.geometry
        hu, views = self._cube(prepared, variant), reference_views(self.config)
        attenuation = hu_to_attenuation(hu, float(np.mean(geometry.energy_kev)))
        integrals = self._project(attenuation[None], views)[0]
        pictures = np.stack([normalize(picture.cpu().numpy()) for picture in integrals])
        return self._batch(pictures, views, hu, prepared.subject.name, self._classes(prepared, variant))

    def with_air(self, index: int, most: int) -> list[Batch]:
        """Up to `most` of a subject's copies with pneumothorax, first to last, as `reference` gives them."""
        count = len(self.prepared[index].variants) - 1
        copies = sorted({round(n) for n in np.linspace(1, count, min(most, count))}) if count else []
        return [self.reference(index, copy) for copy in copies]

    def _cube(self, prepared: Prepared, variant: int) -> torch.Tensor:
        return torch.as_tensor(prepared.variants[variant][0], device=self.device).float()

    def _classes(self, prepared: Prepared, variant: int) -> torch.Tensor | None:
        """The class of each voxel of the source cube, when they are wanted."""
        if not self.config.needs_labels:
            return None
        classes = classes_of(prepared.variants[variant][1], self.config.segmentation)
        return torch.as_tensor(classes, device=self.device)

    def _moved(self, item: int) -> tuple[torch.Tensor, torch.Tensor | None, str, np.random.Generator]:
        """A sample's CT after its random changes, its classes, its subject, and what draws the rest."""
        rng, settings = sample_generator(self.config.seed, item), self.config.augmentation
        prepared, variant = self.prepared[self._shuffle.subject(item)], 0
        if len(prepared.variants) > 1 and rng.random() < settings.pneumothorax_probability:
            variant = int(rng.integers(1, len(prepared.variants)))
        hu, classes = self._cube(prepared, variant), self._classes(prepared, variant)
        hu, classes = augment_ct(hu, self.config.grid.source_spacing_mm, settings, rng, classes)
        return hu, classes, prepared.subject.name, rng

    def _augmented(self, item: int) -> Batch:
        (hu, classes, name, rng), settings = self._moved(item), self.config.augmentation
        told, real = random_views(self.config, rng)
        energy_kev = rng.uniform(*self.config.geometry.energy_kev)
        pixel_mm = self.config.grid.detector_spacing_mm
        pictures, (seen_integrals, air_mm) = [], self._seen(hu, classes, real, energy_kev)
        for integrals in seen_integrals:
            seen = add_scatter(integrals, pixel_mm, energy_kev, settings, rng)
            pictures.append(degrade(normalize(seen.cpu().numpy()), settings, rng))
        batch = self._batch(np.stack(pictures), told, hu, name, classes)
        return replace(batch, air_mm=None if air_mm is None else air_mm[None])

    def _seen(
        self, hu: torch.Tensor, classes: torch.Tensor | None, views: Sequence[ViewGeometry], energy_kev: float
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Line integrals, and paths through pleural air where they are wanted: (view, row, column) each."""
        attenuation = hu_to_attenuation(hu, energy_kev)
        if not self.config.loss.air:
            return self._project(attenuation[None], views)[0], None
        air = (classes >= FIRST_AIR).to(attenuation.dtype)
        integrals, air_mm = self._project(torch.stack([attenuation, air]), views)
        return integrals, air_mm

    def _project(self, volumes: torch.Tensor, views: Sequence[ViewGeometry]) -> torch.Tensor:
        """Line integrals (volume, view, row, column) of volumes (volume, z, y, x)."""
        spacing = (self.config.grid.source_spacing_mm,) * 3
        with torch.no_grad():
            # planes added in pairs: twice as fast, not less accurate
            projector = Projector(views, tuple(volumes.shape[1:]), spacing, device=self.device, presum=2)
            return projector(volumes[:, None])

    def _batch(
        self,
        pictures: np.ndarray,
        views: Sequence[ViewGeometry],
        hu: torch.Tensor,
        name: str,
        classes: torch.Tensor | None = None,
    ) -> Batch:
        matrices = np.stack([view.matrix for view in views])
        return Batch(
            pictures=torch.as_tensor(pictures, dtype=torch.float32)[None],
            matrices=torch.as_tensor(matrices, dtype=torch.float32)[None],
            target=to_target(hu, self.config.grid),
            names=(name,),
            labels=None if classes is None else to_label_target(classes, self.config.grid),
        )


def _numbered(device: torch.device) -> torch.device:
    # in a process that makes samples "cuda" alone would be the first GPU, whichever it is here
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device


def stack(parts: Sequence[Batch]) -> Batch:
    """Batches of one as one batch; those with fewer views get views that are not there: all zeros."""
    most = max(p.matrices.shape[1] for p in parts)
    return Batch(
        pictures=torch.cat([_filled(p.pictures, most) for p in parts]),
        matrices=torch.cat([_filled(p.matrices, most) for p in parts]),
        target=torch.cat([p.target for p in parts]),
        names=tuple(name for p in parts for name in p.names),
        labels=None if parts[0].labels is None else torch.cat([p.labels for p in parts]),
        air_mm=None if parts[0].air_mm is None else torch.cat([_filled(p.air_mm, most) for p in parts]),
    )


def _filled(views: torch.Tensor, count: int) -> torch.Tensor:
    """(1, view, ., .) with `count` views, the added ones all zeros."""
    missing = count - views.shape[1]
    return functional.pad(views, (0, 0, 0, 0, 0, missing)) if missing else views
