"""What is projected: named volumes and views, their phantoms and the exact answers.

World: LPS mm, each volume centred at zero. Every cone-beam method gets the same source and pixel
centres.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.spatial.transform import Rotation
from xrecon.physics.geometry import ViewGeometry
from xrecon.physics.phantom import ellipsoid_line_integrals, voxelize

from projector_benchmark.phantoms import (
    chest_ellipsoids,
    gaussian_line_integrals,
    sample_gaussians,
    soft_gaussians,
)

PHANTOMS = ("ellipsoids", "gaussians")
OBLIQUE_DEGREES, OBLIQUE_MM = (7.0, 3.0, 20.0), (5.0, -8.0, 6.0)
# Beyond 45 degrees about z the main axis of the rays changes: the hard poses of a slice-wise method.
RANDOM_DEGREES_Z = (44.0, 45.0, 46.0, -44.5, 135.0)
RANDOM_POSES = 8


@dataclass(frozen=True)
class Case:
    """One volume grid and one or more views of it.

    shape, spacing: (z, y, x), mm. supersample: points per voxel edge when the ellipsoids are
    voxelised. timed: whether the clock is of interest, or the error alone.
    """

    name: str
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    views: tuple[ViewGeometry, ...]
    supersample: int = 3
    timed: bool = True

    def with_views(self, views: tuple[ViewGeometry, ...]) -> Case:
        """The same volume seen from elsewhere."""
        return replace(self, views=views)

    def volume(self, phantom: str) -> np.ndarray:
        """Attenuation per mm, (z, y, x) float32, of a phantom out of `PHANTOMS`."""
        if phantom == "ellipsoids":
            grid = voxelize(chest_ellipsoids(), self.shape, self.spacing, supersample=self.supersample)
            return grid.array.astype(np.float32)
        return sample_gaussians(soft_gaussians(), self.shape, self.spacing).astype(np.float32)

    def truth(self, phantom: str) -> np.ndarray:
        """Exact line integrals, (view, row, column) float64."""
        if phantom == "ellipsoids":
            return np.stack([ellipsoid_line_integrals(chest_ellipsoids(), v) for v in self.views])
        return np.stack([gaussian_line_integrals(soft_gaussians(), v) for v in self.views])


class Scene:
    """A case with its phantoms in memory."""

    def __init__(self, case: Case) -> None:
        self.case = case

    @cached_property
    def volumes(self) -> dict[str, np.ndarray]:
        return {phantom: self.case.volume(phantom) for phantom in PHANTOMS}

    @cached_property
    def truths(self) -> dict[str, np.ndarray]:
        return {phantom: self.case.truth(phantom) for phantom in PHANTOMS}


def errors(images: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """(||p - truth|| / ||truth||, max |p - truth| / max truth), over all views."""
    difference = np.asarray(images, dtype=np.float64).reshape(truth.shape) - truth
    relative = np.linalg.norm(difference) / np.linalg.norm(truth)
    return float(relative), float(np.abs(difference).max() / truth.max())


def posed(
    view: ViewGeometry, degrees: tuple[float, float, float], shift_mm: tuple[float, float, float]
) -> ViewGeometry:
    """The view turned about the LPS axes x, then y, then z, and shifted."""
    return view.moved(Rotation.from_euler("xyz", degrees, degrees=True).as_matrix(), shift_mm)


def random_poses(view: ViewGeometry, count: int = RANDOM_POSES, seed: int = 7) -> tuple[ViewGeometry, ...]:
    """Poses any way round z, tilted up to 15 degrees, shifted up to 10 mm; the first near 45 degrees."""
    generator = np.random.default_rng(seed)
    poses = []
    for i in range(count):
        tilts, shift = generator.uniform(-15, 15, 2), generator.uniform(-10, 10, 3)
        turn = generator.uniform(-180, 180)
        if i < len(RANDOM_DEGREES_Z):
            turn = RANDOM_DEGREES_Z[i]
        poses.append(posed(view, (*tilts, turn), tuple(shift)))
    return tuple(poses)


def around(view: ViewGeometry, count: int) -> tuple[ViewGeometry, ...]:
    """As many views, evenly turned about the patient's long axis through a half circle."""
    return tuple(posed(view, (0.0, 0.0, 180.0 * i / count), (0.0, 0.0, 0.0)) for i in range(count))


def make_cases() -> dict[str, Case]:
    """All cases by name; see README.md beside projector.py."""
    far = ViewGeometry.pa(
        source_to_detector_mm=1800.0,
        source_to_isocenter_mm=1600.0,
        shape=(224, 224),
        pixel_spacing=(2.0, 2.0),
    )
    near = ViewGeometry.pa(
        source_to_detector_mm=1020.0,
        source_to_isocenter_mm=620.0,
        shape=(224, 224),
        pixel_spacing=(2.6, 2.6),
    )
    fine = replace(far, shape=(512, 512), pixel_spacing=(0.875, 0.875))
    cube, edge = (224, 224, 224), (1.6, 1.6, 1.6)
    cases = [
        Case("A", cube, edge, (posed(far, OBLIQUE_DEGREES, OBLIQUE_MM),)),
        Case("A-frontal", cube, edge, (far,)),
        Case("A-random", cube, edge, random_poses(far), timed=False),
        Case("P", cube, edge, (posed(near, OBLIQUE_DEGREES, OBLIQUE_MM),)),
        Case(
            "B",
            (300, 512, 512),
            (1.0, 0.7, 0.7),
            (posed(fine, OBLIQUE_DEGREES, OBLIQUE_MM),),
            supersample=2,
        ),
    ]
    return {case.name: case for case in cases}
