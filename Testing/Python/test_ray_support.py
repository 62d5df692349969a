"""Which voxels the beams hold: against projected voxel centres, exact ray-box hits and a small matrix."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from xrecon.physics.geometry import ViewGeometry
from xrecon.physics.projector import Projector
from xrecon.physics.ray_support import ray_support
from xrecon.volume import InputError, Quantity, Volume

ISOCENTER = (3.0, -7.0, 12.0)


def grid(direction: np.ndarray | None = None) -> Volume:
    direction = np.eye(3) if direction is None else direction
    shape, spacing = (7, 9, 5), (21.0, 17.0, 30.0)
    middle = direction * np.array(spacing[::-1]) @ ((np.array(shape[::-1]) - 1) / 2.0)
    return Volume(np.zeros(shape), spacing, tuple(np.array(ISOCENTER) - middle), direction)


def views(**options: object) -> list[ViewGeometry]:
    shared = {"shape": (11, 8), "pixel_spacing": (9.0, 13.0), "isocenter": ISOCENTER, **options}
    return [ViewGeometry.pa(**shared), ViewGeometry.lateral("left", **shared)]


def turned() -> np.ndarray:
    angle = np.radians(20.0)
    return np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1.0]])


@pytest.mark.parametrize("beam", ["cone", "parallel"])
@pytest.mark.parametrize("direction", [np.eye(3), turned()], ids=["along", "oblique"])
def test_counts_and_angles_are_those_of_projected_centres(beam: str, direction: np.ndarray):
    volume, pair = grid(direction), views(beam=beam)
    found = ray_support(volume, [(v,) for v in pair])
    index = np.stack(np.meshgrid(*[np.arange(n) for n in volume.shape], indexing="ij"), -1)[..., ::-1]
    points = volume.index_to_world(index)
    inside = [
        np.all((v.project(points) >= -0.5) & (v.project(points) < np.array(v.shape) - 0.5), -1) for v in pair
    ]
    np.testing.assert_array_equal(found.views.array, np.sum(inside, axis=0))
    assert set(np.unique(found.views.array)) == {0, 1, 2}
    rays = [points - v.source if beam == "cone" else np.array(v.detector_center) - v.source for v in pair]
    cosine = [r / np.linalg.norm(r, axis=-1, keepdims=True) for r in rays]
    angle = np.degrees(np.arccos(np.abs(np.sum(cosine[0] * cosine[1], axis=-1))))
    expected = np.where(found.views.array == 2, angle, 0.0)
    np.testing.assert_allclose(found.crossing_deg.array, expected, atol=1e-3)
    assert found.views.quantity is Quantity.LABEL


def test_three_views_take_the_best_pair_and_an_area_can_be_narrowed():
    volume = grid()
    pa, lateral = views(shape=(80, 80))
    ap = ViewGeometry.ap(shape=(80, 80), pixel_spacing=(12.0, 19.0), isocenter=ISOCENTER)
    found = ray_support(volume, [(pa,), (ap,), (lateral,)])
    assert found.views.array.min() == 3 and found.crossing_deg.array[3, 4, 2] == pytest.approx(90.0)
    opposite = ray_support(volume, [(pa,), (ap,)])
    assert opposite.crossing_deg.array[3, 4, 2] == pytest.approx(0.0, abs=0.05)
    assert opposite.to_dict()["share_well_crossed"] == 0.0
    half = pa.cropped((0, 0), (40, 80))
    narrowed = ray_support(volume, [(half, pa), (lateral,)])
    assert set(np.unique(narrowed.views.array)) == {1, 2}


def test_rays_are_those_that_meet_the_box_and_bound_the_rank():
    volume, pair = grid(turned()), views(shape=(13, 12), pixel_spacing=(30.0, 41.0))
    found = ray_support(volume, [(v,) for v in pair])
    projector = Projector.of_volume(pair, volume, dtype=torch.float64, method="siddon")
    ones = torch.ones(1, 1, *volume.shape, dtype=torch.float64)
    hit = projector(ones) > 0
    assert found.rays == int(hit.sum()) < hit.numel()
    columns = torch.eye(volume.array.size, dtype=torch.float64).reshape(-1, 1, *volume.shape)
    rank = int(torch.linalg.matrix_rank(projector(columns).reshape(volume.array.size, -1)))
    free = 1.0 - rank / volume.array.size
    assert free >= found.undetermined_share > 0.3
    numbers = found.to_dict()
    assert sum(numbers["share_of_voxels_by_views"].values()) == pytest.approx(1.0)
    assert numbers["undetermined_share_at_least"] == pytest.approx(found.undetermined_share)


def test_what_is_no_set_of_views_is_refused():
    with pytest.raises(InputError, match="1 to 255 views"):
        ray_support(grid(), [])
    with pytest.raises(InputError, match="detector area"):
        ray_support(grid(), [()])
