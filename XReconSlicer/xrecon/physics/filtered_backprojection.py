"""Analytic reconstruction: FDK for cone beams, filtered back-projection for parallel ones.

Feldkamp, Davis, Kress: Practical cone-beam algorithm. J Opt Soc Am A 1984;1:612-619. Exact (up to
sampling) in the plane of a circular orbit; beside it only approximate, the more so the steeper the
rays. Discrete ramp filter: Kak and Slaney, Principles of computerized tomographic imaging, 1988,
equation 61 of chapter 3, which keeps the mean of the picture right.

The weights are those of a flat detector at any tilt and shift. With R the distance from source to
axis, D the distance from source to detector, U the depth of a voxel before the source, both along
the detector normal, and c the cosine between a ray and the central ray,

    f = sum over views of  w  D R / U^2  (c p * h)(u),   w = half of the view's angle,

where p are line integrals, h the ramp kernel and u is measured on the detector. For the
perpendicular, centred detector of the paper this is its equation 28.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn.functional import grid_sample

from xrecon.physics.geometry import ViewGeometry
from xrecon.physics.orbit import orbit_of
from xrecon.physics.rays import grid_of
from xrecon.volume import InputError

# Voxels back-projected in one call: little enough to stay near the processor (about 10 MB).
VOXELS_PER_CALL = 2**18
WINDOWS = ("ram-lak", "shepp-logan", "cosine", "hamming", "hann")


def fdk(
    projections: torch.Tensor,
    views: Sequence[ViewGeometry],
    volume_shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    origin: tuple[float, float, float] | None = None,
    direction: np.ndarray | None = None,
    *,
    window: str = "ram-lak",
    cutoff: float = 1.0,
) -> torch.Tensor:
    """Attenuation per mm (b, 1, z, y, x) from line integrals (b, view, row, column).

    views and grid as in `Projector`; any positions about one axis (see `orbit_of`), cone or
    parallel, rectangular pixels, shifted detectors. `window` damps the ramp filter towards the
    highest frequency of the detector, times `cutoff` (0 to 1), and removes what lies above.

    A voxel that lies off the detector in a view gets nothing from it; truncated pictures and
    detectors shifted by design (half-fan) are not corrected. One to four views make no inversion:
    each counts pi over their number, the object's density is spread along the rays in streaks, and
    values are no attenuation; it is a starting volume or a baseline. Views and slabs are processed
    one by one, so that little memory is needed beside the result. Differentiable.

    Raises InputError for tensors or views that do not fit (see `orbit_of`: no full turn, an orbit
    that leans, turned detectors), for an unknown window, and when a voxel lies beside or behind a
    source.
    """
    views = check_projections(projections, views)
    orbit = orbit_of(views)
    to_lps = grid_of(volume_shape, spacing, origin, direction).to_lps
    result = projections.new_zeros(projections.shape[0], *volume_shape)
    for number, view in enumerate(views):
        picture, factor = projections[:, number], float(orbit.weights[number])
        along = orbit.filter_axes[number]
        step = view.pixel_spacing[along]
        if view.beam == "cone":
            weights = _cosines(view, orbit.central_rays[number])
            picture = picture * torch.as_tensor(weights, dtype=picture.dtype, device=picture.device)
            factor *= view.source_to_detector_mm * float(orbit.radii_mm[number])
        else:
            axis = np.array((view.row_direction, view.column_direction)[along])
            step *= float(np.linalg.norm(np.cross(axis, orbit.central_rays[number])))  # across the rays
        filtered = ramp_filter(picture.movedim(along + 1, -1), step, window=window, cutoff=cutoff)
        filtered = factor * filtered.movedim(-1, along + 1)
        _accumulate(result, filtered, view.matrix @ to_lps, cone=view.beam == "cone")
    return result[:, None]


def check_projections(projections: torch.Tensor, views: Sequence[ViewGeometry]) -> tuple[ViewGeometry, ...]:
    """The views, after a check that finite projections (b, view, row, column) belong to them."""
    views = tuple(views)
    shapes = sorted({view.shape for view in views})
    if len(shapes) != 1:
        raise InputError(f"expected one or more views with the same detector shape, got {shapes}")
    expected = (len(views), *shapes[0])
    if projections.ndim != 4 or tuple(projections.shape[1:]) != expected:
        raise InputError(f"expected projections (b, {expected}), got {tuple(projections.shape)}")
    if not projections.is_floating_point() or not torch.isfinite(projections).all():
        raise InputError(f"expected finite floating point projections, got {projections.dtype} or not finite")
    return views


def ramp_filter(
    rows: torch.Tensor, step_mm: float, *, window: str = "ram-lak", cutoff: float = 1.0
) -> torch.Tensor:
    """Rows (..., n) of samples `step_mm` apart, convolved with the ramp |f| in cycles per mm.

    Zero beyond the ends. Raises InputError for an unknown window or a cutoff not within 0 to 1.
    """
    if window not in WINDOWS:
        raise InputError(f"expected a window out of {WINDOWS}, got {window!r}")
    if not 0 < cutoff <= 1:
        raise InputError(f"expected a cutoff above 0 and up to 1, got {cutoff}")
    count = rows.shape[-1]
    length = 2 ** int(np.ceil(np.log2(max(2 * count, 2))))
    distance = np.minimum(np.arange(length), length - np.arange(length))
    kernel = np.zeros(length)
    kernel[0] = 0.25
    odd = distance % 2 == 1
    kernel[odd] = -1.0 / (np.pi * distance[odd]) ** 2
    response = np.fft.rfft(kernel).real / step_mm * _window(window, cutoff, length // 2 + 1)
    response = torch.as_tensor(response, dtype=rows.dtype, device=rows.device)
    spectrum = torch.fft.rfft(rows, n=length, dim=-1)
    return torch.fft.irfft(spectrum * response, n=length, dim=-1)[..., :count]


def _window(name: str, cutoff: float, count: int) -> np.ndarray:
    frequency = np.linspace(0.0, 1.0, count) / cutoff  # of the highest one that is kept
    shapes = {
        "ram-lak": np.ones(count),
        "shepp-logan": np.sinc(frequency / 2.0),
        "cosine": np.cos(np.pi * frequency / 2.0),
        "hamming": 0.54 + 0.46 * np.cos(np.pi * frequency),
        "hann": 0.5 + 0.5 * np.cos(np.pi * frequency),
    }
    return np.where(frequency <= 1.0, shapes[name], 0.0)


def _cosines(view: ViewGeometry, central_ray: np.ndarray) -> np.ndarray:
    """(row, column) cosines between the ray of each pixel and the central ray."""
    rays = view.pixel_positions() - np.array(view.source)
    return rays @ central_ray / np.linalg.norm(rays, axis=-1)


def _accumulate(result: torch.Tensor, picture: torch.Tensor, matrix: np.ndarray, cone: bool) -> None:
    """Adds to `result` (b, z, y, x), in place, a picture (b, row, column) smeared back along its rays.

    matrix: 3x4 from voxel index (x, y, z, 1) to w (column, row, 1). Cone: divided by w squared.
    """
    counts = result.shape[1:]
    if cone:
        corners = np.stack(np.meshgrid(*([0, n - 1] for n in counts[::-1]), [1.0], indexing="ij"), -1)
        depth = (corners.reshape(8, 4) @ matrix[2]).min()
        if depth <= 0:
            raise InputError(
                f"expected the whole volume before every source, got a voxel {-depth:.1f} mm behind one"
            )
    per_call = max(1, VOXELS_PER_CALL // (counts[1] * counts[2]))
    x, y, z = (
        torch.arange(n, dtype=result.dtype, device=result.device).reshape(shape)
        for n, shape in zip(counts[::-1], ((1, 1, -1), (1, -1, 1), (-1, 1, 1)), strict=True)
    )
    # grid_sample's coordinates, (2 c + 1) / n - 1 for pixel c of n, are as projective as pixels are
    sizes = np.array([picture.shape[2], picture.shape[1]])[:, None]
    matrix = np.vstack([(2.0 * matrix[:2] + (1.0 - sizes) * matrix[2]) / sizes, matrix[2]])
    for first in range(0, counts[0], per_call):
        here = z[first : first + per_call]
        across, down, w = (
            (float(m[0]) * x + float(m[3])) + (float(m[1]) * y + float(m[2]) * here) for m in matrix
        )
        inverse = w.reciprocal_()
        grid = torch.stack([across.mul_(inverse), down.mul_(inverse)], -1)
        # all volumes of the batch share the rays: they ride along as channels
        values = grid_sample(
            picture[None], grid.reshape(1, -1, counts[2], 2), "bilinear", "zeros", align_corners=False
        )
        values = values.reshape(picture.shape[0], *grid.shape[:-1])
        result[:, first : first + per_call] += values * inverse.square_() if cone else values
