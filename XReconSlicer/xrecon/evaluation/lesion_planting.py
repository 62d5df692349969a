"""Spheres of one HU put into a CT, and their shadows into its radiographs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xrecon.volume import InputError, Quantity, Radiograph, Volume

Box = tuple[slice, slice, slice]
SHADOW_MARGIN_PIXELS = 3


@dataclass(frozen=True)
class PlantedSphere:
    """center: LPS mm (x, y, z). hu: what it consists of."""

    center: tuple[float, float, float]
    diameter_mm: float
    hu: float


def planted_share(volume: Volume, sphere: PlantedSphere) -> np.ndarray:
    """The share of each voxel (z, y, x) that the sphere takes, 0 to 1, its edge linear over a voxel."""
    box = sphere_box(volume, sphere)
    share = np.zeros(volume.shape)
    share[box] = _share(volume, sphere, box)
    return share


def sphere_box(volume: Volume, sphere: PlantedSphere) -> Box:
    """The voxels that a sphere can reach and some about them, for smoothing; cut at the edges."""
    index = volume.world_to_index(np.array(sphere.center))[::-1]
    reach = [sphere.diameter_mm / 2.0 / s + 5.0 for s in volume.spacing]
    ends = zip(index, reach, volume.shape, strict=True)
    return tuple(slice(max(0, int(i - r)), max(0, min(n, int(i + r) + 2))) for i, r, n in ends)


def _share(volume: Volume, sphere: PlantedSphere, box: Box) -> np.ndarray:
    index = volume.world_to_index(np.array(sphere.center))[::-1]
    grids = np.ogrid[box]
    distance = np.sqrt(
        sum(((g - i) * s) ** 2 for g, i, s in zip(grids, index, volume.spacing, strict=True))
    )
    voxel = float(np.cbrt(np.prod(volume.spacing)))
    return np.clip((sphere.diameter_mm / 2.0 - distance) / voxel + 0.5, 0.0, 1.0)


def plant(volume: Volume, spheres: Sequence[PlantedSphere]) -> list[tuple[Box, np.ndarray]]:
    """For each sphere, which must not overlap, its box and the HU (z, y, x) there with it."""
    planted = []
    for sphere in spheres:
        box = sphere_box(volume, sphere)
        share = _share(volume, sphere, box)
        planted.append((box, (volume.array[box] * (1.0 - share) + sphere.hu * share).astype(np.float32)))
    return planted


def with_shadows(
    volume: Volume,
    radiographs: Sequence[Radiograph],
    spheres: Sequence[PlantedSphere],
    energy_kev: float,
) -> list[Radiograph]:
    """The radiographs of a CT as they are with the spheres in it.

    Line integrals are sums over the attenuation, so the projected change of each sphere's box is added.
    Raises InputError for radiographs that are not line integrals.
    """
    for radiograph in radiographs:
        if radiograph.quantity is not Quantity.LINE_INTEGRAL:
            raise InputError(
                f"expected line integrals to plant lesions into, got {radiograph.quantity.value}"
            )
    pictures = [np.array(r.array, dtype=np.float32) for r in radiographs]
    for box, hu in plant(volume, spheres):
        for picture, radiograph in zip(pictures, radiographs, strict=True):
            _add_shadow(picture, radiograph, volume, box, hu, energy_kev)
    note = f"shadows of {len(spheres)} planted lesions added"
    return [r.with_array(p, note) for r, p in zip(radiographs, pictures, strict=True)]


def _add_shadow(
    picture: np.ndarray, radiograph: Radiograph, volume: Volume, box: Box, hu: np.ndarray, energy_kev: float
) -> None:
    """Adds the projected change of a box to the part of the picture that it falls on, in place."""
    import torch

    from xrecon.physics.attenuation import hu_to_attenuation
    from xrecon.physics.projector import Projector

    before = np.asarray(volume.array[box], dtype=np.float32)
    change = hu_to_attenuation(hu, energy_kev) - hu_to_attenuation(before, energy_kev)
    start = np.array([s.start for s in box][::-1], dtype=np.float64)
    ends = np.array(np.meshgrid(*[(s.start - 1, s.stop) for s in box][::-1])).reshape(3, -1).T
    seen = radiograph.geometry.project(volume.index_to_world(ends.astype(np.float64)))
    margin = SHADOW_MARGIN_PIXELS
    first = np.maximum(np.floor(seen.min(axis=0)).astype(int) - margin, 0)
    last = np.minimum(np.ceil(seen.max(axis=0)).astype(int) + margin + 1, picture.shape)
    if np.any(last <= first):
        return  # beside the picture
    view = radiograph.geometry.cropped(tuple(first), tuple(int(n) for n in last - first))
    projector = Projector([view], change.shape, volume.spacing, tuple(volume.index_to_world(start)),
                          volume.direction)  # fmt: skip
    with torch.no_grad():
        shadow = projector(torch.as_tensor(np.ascontiguousarray(change, dtype=np.float32))[None, None])
    picture[first[0] : last[0], first[1] : last[1]] += shadow[0, 0].numpy()
