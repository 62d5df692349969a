"""Two phantoms with exact line integrals: hard ellipsoids, and Gaussians that show interpolation error.

The voxelised edges of the ellipsoids make most of their error, much the same in every method; the
Gaussians are smooth, so what is left there is the method's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation
from scipy.special import erf
from xrecon.physics.geometry import ViewGeometry
from xrecon.physics.phantom import Ellipsoid

GAUSSIANS = 25
SIGMA_MM = (6.3, 36.0)
REACH_MM = 150.0  # four sigma of each blob end within this distance along each axis: no tail is cut off


@dataclass(frozen=True)
class Gaussian:
    """density x exp(-distance^2 / 2 sigma^2); center in LPS mm (x, y, z), sigma in mm."""

    center: tuple[float, float, float]
    sigma: float
    density: float


def _turn(*degrees: float) -> np.ndarray:
    return Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()


def chest_ellipsoids() -> list[Ellipsoid]:
    """Twelve bodies of a chest in attenuation per mm: trunk, lungs, heart, spine, ribs, nodules."""
    return [
        Ellipsoid((0, 0, 0), (130, 90, 140), 0.020, _turn(0, 0, 5)),
        Ellipsoid((-60, -5, 5), (42, 58, 95), -0.0163, _turn(5, -8, 0)),
        Ellipsoid((60, 0, 0), (40, 56, 90), -0.0163, _turn(-5, 6, 0)),
        Ellipsoid((25, -20, -30), (42, 36, 48), 0.014, _turn(20, 10, 30)),
        Ellipsoid((0, 70, 0), (17, 17, 150), 0.030),
        Ellipsoid((-80, -40, 60), (50, 6, 8), 0.035, _turn(0, 20, 30)),
        Ellipsoid((82, -38, 20), (52, 6, 8), 0.035, _turn(0, -20, -30)),
        Ellipsoid((-75, -45, -20), (50, 6, 8), 0.035, _turn(0, 20, 25)),
        Ellipsoid((-60, 10, 40), (11, 8, 10), 0.020, _turn(10, 50, 20)),
        Ellipsoid((55, -15, 50), (7, 7, 7), 0.020),
        Ellipsoid((70, 25, -40), (13, 10, 12), 0.020, _turn(40, 0, 70)),
        Ellipsoid((-85, 20, -50), (6, 8, 7), 0.020, _turn(0, 30, 0)),
    ]


def soft_gaussians(seed: int = 1) -> list[Gaussian]:
    """`GAUSSIANS` blobs, log-uniform in sigma, that end within every case's volume."""
    generator = np.random.default_rng(seed)
    blobs = []
    for _ in range(GAUSSIANS):
        sigma = float(np.exp(generator.uniform(*np.log(SIGMA_MM))))
        center = generator.uniform(-1, 1, 3) * (REACH_MM - 4 * sigma)
        blobs.append(Gaussian(tuple(center), sigma, float(generator.uniform(0.005, 0.03))))
    return blobs


def sample_gaussians(
    gaussians: Sequence[Gaussian], shape: tuple[int, int, int], spacing: tuple[float, float, float]
) -> np.ndarray:
    """Values at the voxel centres, (z, y, x) float64, of a grid centred at LPS zero; spacing in mm."""
    axes = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, spacing, strict=True)]
    total = np.zeros(shape)
    for gaussian in gaussians:
        z, y, x = (
            np.exp(-0.5 * ((axis - middle) / gaussian.sigma) ** 2)
            for axis, middle in zip(axes, gaussian.center[::-1], strict=True)
        )
        total += (gaussian.density * z)[:, None, None] * (y[:, None] * x)
    return total


def gaussian_line_integrals(gaussians: Sequence[Gaussian], view: ViewGeometry) -> np.ndarray:
    """Exact integrals from source to pixel centre, (row, column) float64; density x mm. Cone beam."""
    ends, source = view.pixel_positions(), np.array(view.source)
    length = np.linalg.norm(ends - source, axis=-1)
    along = (ends - source) / length[..., None]
    total = np.zeros(view.shape)
    for gaussian in gaussians:
        toward = np.array(gaussian.center) - source
        nearest = along @ toward  # mm from the source
        squared = toward @ toward - nearest**2
        width = np.sqrt(2.0) * gaussian.sigma
        part = erf((length - nearest) / width) + erf(nearest / width)
        total += gaussian.density * np.sqrt(np.pi) / 2 * width * np.exp(-squared / width**2) * part
    return total
