"""Analytic ellipsoids: exact chords, invariance under rigid motion, agreement with brute force."""

from __future__ import annotations

import numpy as np
import pytest
from rotations import rotation_matrix
from xrecon.physics.geometry import ViewGeometry
from xrecon.physics.phantom import Ellipsoid, ellipsoid_line_integrals, voxelize
from xrecon.volume import InputError, Quantity

TURN = rotation_matrix((0.3, -1.0, 2.0), 37.0)


def _scene():
    return [
        Ellipsoid((5.0, -12.0, 8.0), (60.0, 35.0, 45.0), 0.02, TURN),
        Ellipsoid((22.0, -8.0, 15.0), (12.0, 20.0, 9.0), -0.015, TURN.T),
        Ellipsoid((-30.0, 10.0, -20.0), (8.0, 8.0, 8.0), 0.05),
    ]


def _oblique_view(beam="cone"):
    view = ViewGeometry.pa(shape=(9, 13), pixel_spacing=(17.0, 13.0), beam=beam)
    return view.moved(rotation_matrix((1.0, 0.4, -0.7), 51.0), (3.0, -4.0, 7.0))


def _by_brute_force(scene, view, samples=40001):
    """Riemann sums along each ray over the same segment."""
    pixels = view.pixel_positions().reshape(-1, 3)
    if view.beam == "cone":
        starts, rays = np.array(view.source), pixels - np.array(view.source)
    else:
        way = np.array(view.detector_center) - np.array(view.source)
        starts, rays = pixels - 2 * way, np.broadcast_to(3 * way, pixels.shape)
    t = (np.arange(samples) + 0.5) / samples
    sums = np.zeros(len(pixels))
    for i, ray in enumerate(rays):
        points = (starts if view.beam == "cone" else starts[i]) + t[:, None] * ray
        inside = sum(e.density * e.contains(points) for e in scene)
        sums[i] = inside.sum() / samples * np.linalg.norm(ray)
    return sums.reshape(view.shape)


@pytest.mark.parametrize("beam", ["cone", "parallel"])
def test_oblique_views_agree_with_brute_force(beam):
    view = _oblique_view(beam)
    exact = ellipsoid_line_integrals(_scene(), view)
    assert exact.shape == (9, 13) and exact.dtype == np.float64
    assert np.count_nonzero(exact) > 20
    assert np.abs(exact - _by_brute_force(_scene(), view)).max() < 0.02


def test_central_ray_through_a_sphere_is_its_diameter():
    for beam in ("cone", "parallel"):
        view = ViewGeometry.lateral("left", shape=(1, 1), beam=beam, isocenter=(4.0, 5.0, 6.0))
        sphere = Ellipsoid((4.0, 5.0, 6.0), (30.0, 30.0, 30.0), 0.5)
        assert ellipsoid_line_integrals([sphere], view)[0, 0] == pytest.approx(30.0, abs=1e-12)


def test_off_centre_chord_of_a_parallel_beam():
    view = ViewGeometry.pa(shape=(1, 3), pixel_spacing=(1.0, 6.0), beam="parallel")
    chord = ellipsoid_line_integrals([Ellipsoid((0, 0, 0), (10.0, 25.0, 7.0))], view)[0]
    assert chord == pytest.approx([50 * 0.8, 50.0, 50 * 0.8], abs=1e-10)


def test_rigid_motion_of_scene_and_view_changes_nothing():
    rotation, shift = rotation_matrix((-2.0, 1.0, 0.2), 73.0), np.array([40.0, -7.0, 90.0])
    moved = [
        Ellipsoid(tuple(rotation @ np.array(e.center) + shift), e.semi_axes, e.density, rotation @ e.rotation)
        for e in _scene()
    ]
    view = _oblique_view()
    before = ellipsoid_line_integrals(_scene(), view)
    assert np.allclose(ellipsoid_line_integrals(moved, view.moved(rotation, shift)), before, atol=1e-9)


def test_density_is_linear_and_a_cavity_of_the_same_shape_cancels():
    view = _oblique_view()
    one, two, three = _scene()
    total = ellipsoid_line_integrals([one, two, three], view)
    parts = sum(ellipsoid_line_integrals([e], view) for e in (one, two, three))
    assert np.allclose(total, parts, atol=1e-12)
    hole = Ellipsoid(one.center, one.semi_axes, -one.density, one.rotation)
    assert np.all(ellipsoid_line_integrals([one, hole], view) == 0)


def test_a_ray_ends_at_source_and_detector():
    view = ViewGeometry.pa(shape=(1, 1), source_to_detector_mm=1000.0, source_to_isocenter_mm=600.0)
    around_source = Ellipsoid(view.source, (50.0, 50.0, 50.0))
    behind_source = Ellipsoid((0.0, 800.0, 0.0), (50.0, 50.0, 50.0))
    behind_detector = Ellipsoid((0.0, -500.0, 0.0), (50.0, 50.0, 50.0))
    integrals = [
        ellipsoid_line_integrals([e], view)[0, 0] for e in (around_source, behind_source, behind_detector)
    ]
    assert integrals == pytest.approx([50.0, 0.0, 0.0], abs=1e-9)
    parallel = ViewGeometry.pa(shape=(1, 1), beam="parallel")
    assert ellipsoid_line_integrals([behind_detector], parallel)[0, 0] == pytest.approx(100.0)


def test_patient_left_appears_on_the_right_of_a_pa_picture():
    view = ViewGeometry.pa(shape=(5, 9), pixel_spacing=(20.0, 20.0))
    picture = ellipsoid_line_integrals([Ellipsoid((55.0, 0.0, 30.0), (15.0, 15.0, 15.0))], view)
    row, column = np.unravel_index(np.argmax(picture), picture.shape)
    assert column > 4 and row < 2


def test_voxel_mass_and_place_on_an_oblique_anisotropic_grid():
    ellipsoid = Ellipsoid((3.0, -2.0, 5.0), (9.0, 14.0, 11.0), 0.7, TURN)
    direction = rotation_matrix((1.0, -2.0, 0.5), 25.0)
    volume = voxelize([ellipsoid], (31, 35, 29), (1.5, 1.1, 1.4), None, direction, supersample=4)
    assert volume.quantity == Quantity.ATTENUATION
    assert volume.center == pytest.approx((0, 0, 0), abs=1e-12)
    mass = volume.array.sum() * volume.voxel_ml
    assert mass == pytest.approx(0.7 * ellipsoid.volume_ml, rel=2e-3)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in volume.shape], indexing="ij"), axis=-1)[..., ::-1]
    world = volume.index_to_world(index)
    middle = (world * volume.array[..., None]).sum(axis=(0, 1, 2)) / volume.array.sum()
    assert middle == pytest.approx(ellipsoid.center, abs=0.02)
    assert volume.array.max() == pytest.approx(0.7) and volume.array.min() == 0.0


def test_voxels_of_one_sample_are_the_inside_test():
    scene = _scene()
    volume = voxelize(scene, (9, 11, 13), (9.0, 8.0, 10.0), (-60.0, -45.0, -35.0), TURN, supersample=1)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in volume.shape], indexing="ij"), axis=-1)[..., ::-1]
    points = volume.index_to_world(index)
    assert np.allclose(volume.array, sum(e.density * e.contains(points) for e in scene), atol=1e-15)


def test_ellipsoids_outside_or_across_the_edge_of_the_grid():
    assert not voxelize([Ellipsoid((500.0, 0, 0), (9.0, 9.0, 9.0))], (5, 5, 5), (2.0, 2.0, 2.0)).array.any()
    around = voxelize([Ellipsoid((0.0, 0, 0), (99.0, 99.0, 99.0), 3.0)], (5, 7, 3), (2.0, 2.0, 2.0))
    assert np.all(around.array == 3.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((0, 0), (1, 1, 1)), "center"),
        (((0, 0, np.nan), (1, 1, 1)), "center"),
        (((0, 0, 0), (1, 0, 1)), "semi-axes"),
        (((0, 0, 0), (1, 1, 1), np.inf), "density"),
        (((0, 0, 0), (1, 1, 1), 1.0, np.ones((3, 3))), "rotation"),
    ],
)
def test_bad_ellipsoids_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        Ellipsoid(*arguments)


def test_bad_supersample_is_refused():
    with pytest.raises(InputError, match="supersample"):
        voxelize(_scene(), (3, 3, 3), (1.0, 1.0, 1.0), supersample=0)
