"""An anthropomorphic chest CT made from formulas: every organ and the pneumothorax are known.

It serves where no patient's CT may go: tests of laterality (heart and arch left, liver right),
demonstrations, and measuring PTX-Seg against a pneumothorax whose volume is known. It is a
synthetic image of nobody; a method that works here has not been shown to work on patients.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xrecon.physics import chest_anatomy as anatomy
from xrecon.physics.chest_anatomy import LEFT, RIGHT, Build
from xrecon.physics.chest_bones import paint_bones
from xrecon.physics.chest_canvas import AIR_HU, Canvas
from xrecon.physics.chest_lungs import (
    Pleura,
    cage_distance,
    mediastinum_distance,
    paint_lung,
    pleural_space,
    pneumothorax_mask,
)
from xrecon.physics.chest_parts import FAT_HU, mediastinum, paint_airways, paint_belly, paint_wall
from xrecon.volume import InputError, Quantity, Volume

FIELD_MM = (350.0, 290.0, 400.0)
SIDES = {"right": RIGHT, "left": LEFT}
NOISE_HU = 11.0


@dataclass(frozen=True, eq=False)
class ChestPhantom:
    """A synthetic chest CT with its truth; all volumes share one grid.

    volume: HU, int16.
    labels: uint8, 1 right lung, 2 left lung, 3 right pneumothorax, 4 left pneumothorax, as PTX-Seg.
    lungs: uint8, 1 right, 2 left: each whole pleural space, the lung with its pneumothorax (what a
        lung network that includes air pockets would give).
    pneumothorax_ml: volume of the pneumothorax voxels in ml.
    side: "right" or "left", the side of the pneumothorax; "" without one.
    """

    volume: Volume
    labels: Volume
    lungs: Volume
    pneumothorax_ml: float
    side: str


def chest_phantom(
    spacing: tuple[float, float, float] = (2.0, 2.0, 2.0),
    seed: int = 0,
    pneumothorax_ml: float = 0.0,
    side: str = "right",
    *,
    field_mm: tuple[float, float, float] = FIELD_MM,
    center: tuple[float, float, float] = (0.0, 0.0, 0.0),
    table: bool = False,
    noise_hu: float = NOISE_HU,
) -> ChestPhantom:
    """A chest CT (LPS axes) with known lungs and, if asked, a pneumothorax of known volume.

    spacing: voxel size in mm (z, y, x). seed: 0 is the standard adult, other seeds vary size,
    fat, heart, diaphragm, density and vessels; the same seed gives the same voxels.
    pneumothorax_ml: air before and above the lung of `side`; exact to half a voxel.
    field_mm: size of the field (z, y, x). center: LPS position of its middle; the patient stays
    where it is. table: a patient table below the back. noise_hu: standard deviation of the noise.

    Raises InputError for a spacing, side or volume that cannot be.
    """
    _check(spacing, side, pneumothorax_ml, field_mm)
    random = np.random.default_rng(seed)
    build = Build() if seed == 0 else Build.random(random)
    scales = np.array([build.height, build.depth, build.width])
    shape = tuple(max(8, int(round(f / s))) for f, s in zip(field_mm, spacing, strict=True))
    canvas = Canvas(shape, np.array(spacing) / scales, np.array(center) / scales[::-1])
    fine, coarse = _textures(shape, canvas.spacing, random)
    pleurae = _paint(canvas, build, coarse)
    voxel_ml = float(np.prod(spacing)) / 1000.0
    voxels = int(round(pneumothorax_ml / voxel_ml))
    labels, lungs = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    for name, sign in SIDES.items():
        pleura, number = pleurae[sign], 1 if sign == RIGHT else 2
        air = pneumothorax_mask(canvas, pleura, voxels if name == side else 0)
        paint_lung(canvas, pleura, air, sign, build, random, 0.7 * (fine + coarse))
        inside = pleura.distance < 0
        lungs[inside] = number
        labels[inside] = number
        labels[air] = number + 2
    paint_airways(canvas)
    if table:
        _paint_table(canvas)
    hu = _scan(canvas.hu, noise_hu, random)
    volume = Volume(
        hu,
        spacing,
        origin=_origin(center, shape, spacing),
        meta={"synthetic": "anthropomorphic chest phantom", "seed": str(seed)},
    )
    air_ml = float(np.count_nonzero(labels >= 3)) * voxel_ml
    return ChestPhantom(
        volume,
        volume.with_array(labels, Quantity.LABEL),
        volume.with_array(lungs, Quantity.LABEL),
        air_ml,
        side if voxels else "",
    )


def _origin(
    center: tuple[float, ...], shape: tuple[int, ...], spacing: tuple[float, ...]
) -> tuple[float, float, float]:
    half = [(n - 1) / 2.0 * s for n, s in zip(shape[::-1], spacing[::-1], strict=True)]
    return tuple(float(c - h) for c, h in zip(center, half, strict=True))


def _check(
    spacing: tuple[float, ...], side: str, pneumothorax_ml: float, field_mm: tuple[float, ...]
) -> None:
    for name, values, upper in (("spacing", spacing, 20.0), ("field_mm", field_mm, 1000.0)):
        if len(values) != 3 or not all(np.isfinite(v) and 0 < v <= upper for v in values):
            raise InputError(f"expected {name} as three mm values above 0 up to {upper:g}, got {values}")
    if side not in SIDES:
        raise InputError(f"expected side 'right' or 'left', got {side!r}")
    if not (np.isfinite(pneumothorax_ml) and pneumothorax_ml >= 0):
        raise InputError(f"expected pneumothorax_ml as a number of ml from 0, got {pneumothorax_ml}")


def _textures(
    shape: tuple[int, ...], spacing: tuple[float, ...], random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Smooth N(0, 1) noise of two grain sizes, (fine, coarse): about 2 and 8 mm."""
    from scipy.ndimage import gaussian_filter

    grains = []
    for size_mm in (2.0, 8.0):
        sigma = [max(size_mm / s, 0.3) for s in spacing]
        noise = gaussian_filter(random.standard_normal(shape, dtype=np.float32), sigma, truncate=2.5)
        grains.append(noise / max(float(noise.std()), 1e-6))
    return grains[0], grains[1]


def _paint(canvas: Canvas, build: Build, texture: np.ndarray) -> dict[int, Pleura]:
    """Everything but lungs and airways; gives the pleural spaces, which leave the bones alone."""
    cage = cage_distance(canvas)
    dome = anatomy.diaphragm(canvas.x, canvas.y, build.right_dome, build.left_dome).astype(np.float32)
    paint_wall(canvas, build, texture)
    canvas.fill(np.maximum(cage, dome - canvas.z), FAT_HU)
    between = mediastinum_distance(canvas, build)
    paint_belly(canvas, build, cage, dome)
    for part in mediastinum(build):
        part.draw(canvas)
    before = canvas.hu.copy()
    paint_bones(canvas, build.bone)
    bone = np.abs(canvas.hu - before) > 100.0
    return {side: pleural_space(canvas, cage, dome, between, bone, side) for side in (RIGHT, LEFT)}


def _paint_table(canvas: Canvas) -> None:
    """A curved board of 14 mm foam between two thin shells, 3 mm below the back."""
    bottom = 128.0 - 0.0016 * canvas.x**2 + 0.0 * canvas.z
    edge = np.abs(canvas.x) - 190.0
    board = np.maximum(np.abs(canvas.y - bottom - 10.0) - 8.0, edge)
    shell = np.maximum(np.abs(board + 1.0) - 1.0, -3.0 - board)
    outside = (canvas.hu < -500.0) & (canvas.y > 60.0)
    canvas.paint(canvas.coverage(board) * outside, -880.0)
    canvas.paint(canvas.coverage(shell) * outside, 120.0)


def _scan(hu: np.ndarray, noise_hu: float, random: np.random.Generator) -> np.ndarray:
    """Scanner noise with a little correlation between neighbours, then whole HU."""
    if noise_hu > 0:
        noise = random.standard_normal(hu.shape, dtype=np.float32)
        for axis in range(3):
            noise = (noise + 0.35 * np.roll(noise, 1, axis)) / np.float32(np.sqrt(1 + 0.35**2))
        hu = hu + np.float32(noise_hu) * noise
    return np.clip(np.round(hu), AIR_HU - 24, 3071).astype(np.int16)
