"""The views of a training sample: which, how many, from where, and how they are really taken."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from xrecon.physics.geometry import VIEWS, ViewGeometry
from xrecon.physics.poses import view_from_positioner_angles
from xrecon.physics.view_names import named_angles
from xrecon.preprocess.radiograph import canonical_axes
from xrecon.training.augment import mispositioned
from xrecon.training.config import TrainConfig

_OTHER_SIDE = {
    "PA": "AP",
    "AP": "PA",
    "LEFT LATERAL": "RIGHT LATERAL",
    "RIGHT LATERAL": "LEFT LATERAL",
}
# Views from any direction stand at least this far apart (lines of sight), when that can be had.
APART_DEG = 15.0
LARGEST_SECONDARY_DEG = 60.0
TRIES = 20


def reference_views(config: TrainConfig, names: tuple[str, ...] | None = None) -> list[ViewGeometry]:
    """The views of the config (or `names`) in the middle of the range of distances."""
    geometry = config.geometry
    distances = np.mean(geometry.source_to_detector_mm), np.mean(geometry.isocenter_to_detector_mm)
    return [make_view(config, name, *distances) for name in names or geometry.views]


def random_views(
    config: TrainConfig, rng: np.random.Generator
) -> tuple[list[ViewGeometry], list[ViewGeometry]]:
    """The views of one sample as the network is told of them, and as they are taken."""
    geometry, told, real = config.geometry, [], []
    for name in _chosen(config, rng):
        if rng.random() < geometry.other_side_probability:
            name = _OTHER_SIDE.get(name, name)
        distances = rng.uniform(*geometry.source_to_detector_mm), rng.uniform(
            *geometry.isocenter_to_detector_mm
        )
        view = make_view(config, name, *distances)
        if geometry.any_angle_probability and rng.random() < geometry.any_angle_probability:
            view = _anywhere(config, told, *distances, rng)
        told.append(view)
        wrong = rng.random() < config.augmentation.geometry_probability
        real.append(mispositioned(view, geometry, rng) if wrong else view)
    return told, real


def _chosen(config: TrainConfig, rng: np.random.Generator) -> tuple[str, ...]:
    views, counts = config.geometry.views, config.geometry.views_per_sample
    if counts is None:
        return views
    count = int(rng.integers(counts[0], counts[1] + 1))
    return tuple(views[i] for i in rng.permutation(len(views))[:count])


def _anywhere(
    config: TrainConfig,
    others: list[ViewGeometry],
    to_detector: float,
    behind: float,
    rng: np.random.Generator,
) -> ViewGeometry:
    """A view from any side of the patient, apart from the others where it can be."""
    limit = np.cos(np.radians(APART_DEG))
    for _ in range(TRIES):
        tilt = rng.normal(0.0, config.geometry.secondary_deg)
        angles = rng.uniform(-180.0, 180.0), np.clip(tilt, -LARGEST_SECONDARY_DEG, LARGEST_SECONDARY_DEG)
        view = _turned(config, angles, to_detector, behind)
        if all(abs(view.normal @ other.normal) < limit for other in others):
            break
    return view


def make_view(
    config: TrainConfig, name: str, source_to_detector_mm: float, isocenter_to_detector_mm: float
) -> ViewGeometry:
    """A view by its name on the network's detector, laid out as `preprocess.radiograph.canonical` does."""
    if name not in VIEWS:
        return _turned(config, named_angles(name), source_to_detector_mm, isocenter_to_detector_mm)
    view = ViewGeometry.preset(
        name, **_detector(config), **_distances(source_to_detector_mm, isocenter_to_detector_mm)
    )
    return replace(view, **canonical_axes(view))


def _turned(
    config: TrainConfig, angles: tuple[float, float], to_detector: float, behind: float
) -> ViewGeometry:
    view = view_from_positioner_angles(*angles, **_detector(config), **_distances(to_detector, behind))
    return replace(view, **canonical_axes(view))


def _detector(config: TrainConfig) -> dict[str, tuple]:
    grid = config.grid
    return {"shape": (grid.detector_pixels,) * 2, "pixel_spacing": (grid.detector_spacing_mm,) * 2}


def _distances(to_detector: float, behind: float) -> dict[str, float]:
    return {
        "source_to_detector_mm": float(to_detector),
        "source_to_isocenter_mm": float(to_detector - behind),
    }
