"""Random changes of training samples: the CT before projection, the view, and the picture after it.

Every function draws from the generator it is given, so that a sample is a function of its number.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch.nn import functional

from xrecon.physics.attenuation import water_attenuation
from xrecon.physics.geometry import ViewGeometry
from xrecon.physics.radiography_settings import RadiographySettings
from xrecon.physics.scatter import scattered
from xrecon.preprocess.ct import AIR_HU
from xrecon.preprocess.radiograph import UNIT_RANGE
from xrecon.training.config import AugmentationConfig, ViewConfig

# Slabs of a cube sampled side by side: torch spreads a grid_sample over the cores by batch only.
SLABS = 8


def rotation_matrix(angles_deg: np.ndarray) -> np.ndarray:
    """3x3 rotation about x, then y, then z by angles in degrees."""
    from scipy.spatial.transform import Rotation

    return Rotation.from_euler("xyz", angles_deg, degrees=True).as_matrix()


# -- the CT --------------------------------------------------------------------------------------
def augment_ct(
    hu: torch.Tensor,
    spacing_mm: float,
    settings: AugmentationConfig,
    rng: np.random.Generator,
    labels: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """A cube in HU (z, y, x), moved, deformed, mirrored and with another tissue scale; its label map,
    if any, moved alike."""
    above_air = hu - AIR_HU
    warp = random_warp(hu.shape[0], spacing_mm, settings, rng, hu.device)
    if rng.random() < settings.mirror_probability:
        above_air = above_air.flip(2)
        labels = None if labels is None else labels.flip(2)
    if warp is not None:
        above_air = sample_cube(above_air, warp)
        if labels is not None:
            moved = sample_cube(labels.to(hu.dtype), warp, mode="nearest")
            labels = moved.round().to(labels.dtype)
    if rng.random() < settings.intensity_probability:
        # an offset of the tissue scale leaves air at air
        above_air = above_air * (1.0 + rng.uniform(-1, 1) * settings.hu_offset / 1000.0)
    if settings.kernel:  # no number is drawn without, so that older settings give the samples they gave
        above_air = change_kernel(above_air, float(rng.uniform(-1, 1)) * settings.kernel)
    return above_air + AIR_HU, labels


def change_kernel(cube: torch.Tensor, amount: float) -> torch.Tensor:
    """A cube (z, y, x) as another reconstruction kernel shows it.

    amount: share of the detail (the cube less its mean over 3 voxels a side) that is taken away, below
    zero added: a soft or a sharp kernel. Means over larger regions stay.
    """
    padded = functional.pad(cube[None, None], (1,) * 6, mode="replicate")
    smooth = functional.avg_pool3d(padded, 3, 1)[0, 0]
    return cube + amount * (smooth - cube)


def random_warp(
    side: int,
    spacing_mm: float,
    settings: AugmentationConfig,
    rng: np.random.Generator,
    device: torch.device | str = "cpu",
) -> torch.Tensor | None:
    """Sampling grid (side, side, side, 3) on `device` of a random rotation, scale, shift and displacement.

    For `grid_sample` with align_corners=False; the last axis is (x, y, z). None when the draw
    leaves the cube as it is.
    """
    half_field = side * spacing_mm / 2.0
    linear, shift = np.eye(3), np.zeros(3)
    is_affine = rng.random() < settings.affine_probability
    if is_affine:
        linear = rotation_matrix(_uniform(settings.rotation_deg, rng)) / (1 + _uniform(settings.scale, rng))
        shift = _uniform(settings.shift_mm, rng) / half_field
    is_elastic = settings.warp_mm > 0 and rng.random() < settings.elastic_probability
    if not (is_affine or is_elastic):
        return None
    # The warp is smooth, so it is computed on every fourth voxel and interpolated: linear
    # interpolation between voxel centres leaves the affine part exact.
    coarse = side // 4 + 1
    axis = torch.linspace(-1 + 1 / side, 1 - 1 / side, coarse)
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    lattice = torch.stack([x, y, z], dim=-1) @ torch.as_tensor(linear.T, dtype=torch.float32)
    lattice = (lattice + torch.as_tensor(shift, dtype=torch.float32)).movedim(-1, 0)[None].to(device)
    if is_elastic:
        lattice = lattice + _displacement(coarse, settings, half_field, rng, device)
    grid = functional.interpolate(lattice, (side,) * 3, mode="trilinear", align_corners=True)
    return grid[0].movedim(0, -1)


def _displacement(
    coarse: int,
    settings: AugmentationConfig,
    half_field: float,
    rng: np.random.Generator,
    device: torch.device | str,
) -> torch.Tensor:
    knots = int(rng.integers(settings.warp_knots[0], settings.warp_knots[1] + 1))
    values = rng.normal(0.0, settings.warp_mm / half_field, (1, 3, knots, knots, knots))
    field = functional.interpolate(
        torch.as_tensor(values, dtype=torch.float32, device=device),
        size=(coarse,) * 3,
        mode="trilinear",
        align_corners=True,
    )
    # rounds the kinks that linear interpolation leaves at the knots
    return functional.avg_pool3d(functional.pad(field, (2,) * 6, mode="replicate"), 5, 1)


def sample_cube(cube: torch.Tensor, grid: torch.Tensor, mode: str = "bilinear") -> torch.Tensor:
    """A cube (z, y, x) at the positions of a sampling grid (z, y, x, 3); 0 outside.

    mode: "bilinear", or "nearest" for labels."""
    slabs = grid.split(-(-grid.shape[0] // SLABS))
    even = [s for s in slabs if s.shape == slabs[0].shape]
    # the cube is expanded, not copied
    sampled = functional.grid_sample(
        cube.expand(len(even), 1, *cube.shape), torch.stack(even), mode, align_corners=False
    )
    parts = [sampled.reshape(-1, *grid.shape[1:3])]
    if len(even) < len(slabs):
        parts.append(
            functional.grid_sample(cube[None, None], slabs[-1][None], mode, align_corners=False)[0, 0]
        )
    return torch.cat(parts)


def _uniform(limit: float, rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(-limit, limit, 3)


# -- the view ------------------------------------------------------------------------------------
def mispositioned(view: ViewGeometry, settings: ViewConfig, rng: np.random.Generator) -> ViewGeometry:
    """The view as it is really taken: turned, shifted and magnified by what nobody recorded."""
    rotation = rotation_matrix(rng.normal(0.0, settings.pose_jitter_deg, 3))
    moved = view.moved(rotation, rng.normal(0.0, settings.shift_jitter_mm, 3))
    # a pixel that is smaller than recorded shows everything larger
    factor = float(np.exp(rng.normal(0.0, settings.magnification_jitter)))
    return replace(moved, pixel_spacing=tuple(s / factor for s in moved.pixel_spacing))


# -- the picture ---------------------------------------------------------------------------------
def degrade(picture: np.ndarray, settings: AugmentationConfig, rng: np.random.Generator) -> np.ndarray:
    """An unknown grey-scale curve and noise on a normalised picture (row, column)."""
    low, high = UNIT_RANGE
    if settings.gamma and rng.random() < settings.intensity_probability:
        exponent = np.exp(rng.uniform(-settings.gamma, settings.gamma))
        picture = np.sign(picture) * np.abs(picture) ** exponent
    if settings.noise and rng.random() < settings.noise_probability:
        picture = picture + rng.normal(0.0, rng.uniform(0.0, settings.noise), picture.shape)
    return np.clip(picture, low, high).astype(np.float32)


def add_scatter(
    integrals: torch.Tensor,
    pixel_mm: float,
    energy_kev: float,
    settings: AugmentationConfig,
    rng: np.random.Generator,
) -> torch.Tensor:
    """Line integrals (row, column) as measured when scattered radiation reaches the detector, too.

    It lowers contrast where the patient is thick, as a missing or poor grid does. Model:
    `xrecon.physics.scatter`, of which only the strength varies.
    """
    if not settings.scatter_to_primary or rng.random() >= settings.scatter_probability:
        return integrals
    beam = RadiographySettings.chest(
        scatter_to_primary=rng.uniform(0.0, settings.scatter_to_primary), grid=False
    )
    primary, water_mm = torch.exp(-integrals), integrals / water_attenuation(energy_kev)
    return -torch.log(primary + scattered(primary, water_mm, (pixel_mm, pixel_mm), beam))
