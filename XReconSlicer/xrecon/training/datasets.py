"""Training pairs made on the fly: a prepared subject, changed at random, and its radiographs.

Every sample is a function of (seed, step) alone, so that a resumed run sees what an uninterrupted
one would have seen. All tensors are float32; volumes (b, 1, z, y, x) in [0, 1] units of the HU
window, pictures (b, view, row, column) normalised as at inference, matrices (b, view, 3, 4) in
LPS mm about the isocentre.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn import functional

from xrecon.physics.attenuation import hu_to_attenuation
from xrecon.physics.geometry import ViewGeometry
from xrecon.physics.projector import Projector
from xrecon.preprocess.ct import AIR_HU, HU_WINDOW
from xrecon.preprocess.radiograph import UNIT_RANGE, normalize
from xrecon.training.config import AugmentationConfig, TrainConfig
from xrecon.training.prepared import Prepared

_OTHER_SIDE = {
    "PA": "AP",
    "AP": "PA",
    "LEFT LATERAL": "RIGHT LATERAL",
    "RIGHT LATERAL": "LEFT LATERAL",
}


@dataclass(frozen=True)
class Batch:
    """One training batch; shapes in the module's description."""

    pictures: torch.Tensor
    matrices: torch.Tensor
    target: torch.Tensor
    names: tuple[str, ...]


def rotation_matrix(angles_deg: np.ndarray) -> np.ndarray:
    """3x3 rotation about x, then y, then z by angles in degrees."""
    from scipy.spatial.transform import Rotation

    return Rotation.from_euler("xyz", angles_deg, degrees=True).as_matrix()


def random_warp(
    side: int, spacing_mm: float, settings: AugmentationConfig, rng: np.random.Generator
) -> torch.Tensor:
    """Sampling grid (1, side, side, side, 3) of a random rotation, scale, shift and displacement.

    For `grid_sample` with align_corners=False; the last axis is (x, y, z).
    """
    half_field = side * spacing_mm / 2.0
    linear = rotation_matrix(_uniform(settings.rotation_deg, rng)) / (1.0 + _uniform(settings.scale, rng))
    shift = _uniform(settings.shift_mm, rng) / half_field
    # The warp is smooth, so it is computed on every fourth voxel and interpolated: linear
    # interpolation between voxel centres leaves the affine part exact.
    coarse = side // 4 + 1
    axis = torch.linspace(-1 + 1 / side, 1 - 1 / side, coarse)
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    lattice = torch.stack([x, y, z], dim=-1) @ torch.as_tensor(linear.T, dtype=torch.float32)
    lattice = (lattice + torch.as_tensor(shift, dtype=torch.float32)).movedim(-1, 0)[None]
    if settings.warp_mm:
        knots = int(rng.integers(settings.warp_knots[0], settings.warp_knots[1] + 1))
        values = rng.normal(0.0, settings.warp_mm / half_field, (1, 3, knots, knots, knots))
        field = functional.interpolate(
            torch.as_tensor(values, dtype=torch.float32),
            size=(coarse,) * 3,
            mode="trilinear",
            align_corners=True,
        )
        # rounds the kinks that linear interpolation leaves at the knots
        field = functional.avg_pool3d(functional.pad(field, (2,) * 6, mode="replicate"), 5, 1)
        lattice = lattice + field
    grid = functional.interpolate(lattice, size=(side,) * 3, mode="trilinear", align_corners=True)
    return grid.movedim(1, -1)


def _uniform(limit: float, rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(-limit, limit, 3)


class ReconstructionData:
    """Radiograph and volume pairs of prepared subjects."""

    def __init__(self, subjects: Sequence[Prepared], config: TrainConfig) -> None:
        self.subjects, self.config = list(subjects), config

    def sample(self, step: int) -> Batch:
        """The augmented batch of a step."""
        rng = np.random.default_rng([self.config.seed, step])
        parts = []
        for _ in range(self.config.batch):
            prepared = self.subjects[int(rng.integers(len(self.subjects)))]
            parts.append(self._augmented(prepared, rng))
        return _stack(parts)

    def reference(self, prepared: Prepared, variant: int = 0) -> Batch:
        """A subject as scanned, in the middle of the geometry range, without noise."""
        hu = torch.as_tensor(prepared.variants[variant][0], dtype=torch.float32)
        geometry = self.config.geometry
        views = [
            self._view(
                name, np.mean(geometry.source_to_detector_mm), np.mean(geometry.isocenter_to_detector_mm)
            )
            for name in geometry.views
        ]
        pictures = self._pictures(hu, views, float(np.mean(geometry.energy_kev)))
        return self._batch(pictures, views, hu, prepared.subject.name)

    def mean_volume(self) -> torch.Tensor:
        """Mean of all subjects as scanned, (1, 1, z, y, x): what knows nothing of the patient."""
        volumes = [self.target(torch.as_tensor(p.variants[0][0], dtype=torch.float32)) for p in self.subjects]
        return torch.stack(volumes).mean(dim=0)

    def target(self, hu: torch.Tensor) -> torch.Tensor:
        """Source cube in HU (z, y, x) to the network's target (1, 1, z, y, x)."""
        grid = self.config.grid
        ratio = round(grid.spacing_mm / grid.source_spacing_mm)
        margin = (grid.source_side - grid.side * ratio) // 2
        inner = hu[(slice(margin, grid.source_side - margin),) * 3] if margin else hu
        unit = (inner.clamp(*HU_WINDOW) - HU_WINDOW[0]) / (HU_WINDOW[1] - HU_WINDOW[0])
        return functional.avg_pool3d(unit[None, None], ratio)

    def _augmented(self, prepared: Prepared, rng: np.random.Generator) -> Batch:
        settings, grid, geometry = self.config.augmentation, self.config.grid, self.config.geometry
        variant = 0
        if len(prepared.variants) > 1 and rng.random() < settings.pneumothorax_probability:
            variant = int(rng.integers(1, len(prepared.variants)))
        above_air = torch.as_tensor(prepared.variants[variant][0], dtype=torch.float32) - AIR_HU
        warp = random_warp(grid.source_side, grid.source_spacing_mm, settings, rng)
        if rng.random() < settings.mirror_probability:
            above_air = above_air.flip(2)
        hu = functional.grid_sample(above_air[None, None], warp, align_corners=False)[0, 0]
        # an offset of the tissue scale leaves air at air
        hu = hu * (1.0 + rng.uniform(-1, 1) * settings.hu_offset / 1000.0) + AIR_HU
        views, seen_as = [], []
        for name in geometry.views:
            if rng.random() < geometry.other_side_probability:
                name = _OTHER_SIDE.get(name, name)
            nominal = self._view(
                name,
                rng.uniform(*geometry.source_to_detector_mm),
                rng.uniform(*geometry.isocenter_to_detector_mm),
            )
            error = rotation_matrix(rng.normal(0.0, geometry.pose_jitter_deg, 3))
            views.append(nominal.moved(error, np.zeros(3)))
            seen_as.append(nominal)
        pictures = self._pictures(hu, views, rng.uniform(*geometry.energy_kev))
        pictures = np.stack([_degrade(p, settings, rng) for p in pictures])
        return self._batch(pictures, seen_as, hu, prepared.subject.name)

    def _view(self, name: str, source_to_detector_mm: float, isocenter_to_detector_mm: float) -> ViewGeometry:
        grid = self.config.grid
        view = ViewGeometry.preset(
            name,
            source_to_detector_mm=float(source_to_detector_mm),
            source_to_isocenter_mm=float(source_to_detector_mm - isocenter_to_detector_mm),
            shape=(grid.detector_pixels,) * 2,
            pixel_spacing=(grid.detector_spacing_mm,) * 2,
        )
        # the layout that preprocess.radiograph.canonical gives every picture
        return replace(view, column_direction=tuple(np.abs(view.column_direction)))

    def _pictures(self, hu: torch.Tensor, views: Sequence[ViewGeometry], energy_kev: float) -> np.ndarray:
        spacing = (self.config.grid.source_spacing_mm,) * 3
        with torch.no_grad():
            integrals = Projector(views, tuple(hu.shape), spacing)(
                hu_to_attenuation(hu, energy_kev)[None, None]
            )
        return np.stack([normalize(picture) for picture in integrals[0].numpy()])

    def _batch(
        self, pictures: np.ndarray, views: Sequence[ViewGeometry], hu: torch.Tensor, name: str
    ) -> Batch:
        matrices = np.stack([view.matrix for view in views])
        return Batch(
            pictures=torch.as_tensor(pictures, dtype=torch.float32)[None],
            matrices=torch.as_tensor(matrices, dtype=torch.float32)[None],
            target=self.target(hu),
            names=(name,),
        )


def _degrade(picture: np.ndarray, settings: AugmentationConfig, rng: np.random.Generator) -> np.ndarray:
    """An unknown grey-scale curve and noise on a normalised picture."""
    low, high = UNIT_RANGE
    if settings.gamma:
        exponent = np.exp(rng.uniform(-settings.gamma, settings.gamma))
        picture = np.sign(picture) * np.abs(picture) ** exponent
    if settings.noise:
        picture = picture + rng.normal(0.0, rng.uniform(0.0, settings.noise), picture.shape)
    return np.clip(picture, low, high).astype(np.float32)


def _stack(parts: Sequence[Batch]) -> Batch:
    return Batch(
        pictures=torch.cat([p.pictures for p in parts]),
        matrices=torch.cat([p.matrices for p in parts]),
        target=torch.cat([p.target for p in parts]),
        names=tuple(name for p in parts for name in p.names),
    )
