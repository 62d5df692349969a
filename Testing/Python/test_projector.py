"""The projector against analytic truth, its own adjoint, and the invariances of physics."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from xrecon.physics.attenuation import attenuation_to_hu, hu_to_attenuation, water_attenuation
from xrecon.physics.drr import nearest_view, render_drrs
from xrecon.physics.geometry import ViewGeometry
from xrecon.physics.phantom import Ellipsoid, ellipsoid_line_integrals, voxelize
from xrecon.physics.projector import Projector
from xrecon.volume import InputError, Quantity, Volume

SHAPE, SPACING = (19, 23, 17), (5.0, 3.0, 4.0)


def rotation(*angles):
    return Rotation.from_euler("xyz", angles, degrees=True).as_matrix()


def views(beam="cone", count=2, shape=(13, 11)):
    base = [
        ViewGeometry.pa(shape=shape, pixel_spacing=(9.0, 8.0), beam=beam),
        ViewGeometry.lateral("left", shape=shape, pixel_spacing=(9.0, 8.0), beam=beam),
    ]
    return [v.moved(rotation(7, 3 + 20 * i, 20), (4.0, -6.0, 9.0)) for i, v in enumerate(base[:count])]


def blob(points, sigma=14.0, center=(3.0, -4.0, 6.0)):
    return np.exp(-0.5 * ((np.asarray(points) - center) ** 2).sum(-1) / sigma**2)


def gaussian_volume(spacing=(2.0, 1.7, 2.3), shape=(61, 71, 55), direction=None, offset=(0.0, 0.0, 0.0)):
    """A Gaussian blob on an anisotropic, possibly oblique grid, and where it lies."""
    direction = np.eye(3) if direction is None else direction
    middle = direction * np.array(spacing[::-1]) @ ((np.array(shape[::-1]) - 1) / 2)
    grid = Volume(np.zeros(shape), spacing, tuple(np.array(offset) - middle), direction, Quantity.ATTENUATION)
    z, y, x = np.meshgrid(*[np.arange(n) for n in shape], indexing="ij")
    return grid.with_array(blob(grid.index_to_world(np.stack([x, y, z], -1))))


def analytic_blob(view, sigma=14.0, center=(3.0, -4.0, 6.0)):
    """Line integral of the blob along each ray: sigma sqrt(2 pi) exp(-d^2 / 2 sigma^2)."""
    ends = view.pixel_positions()
    beam = np.array(view.detector_center) - np.array(view.source)
    rays = ends - np.array(view.source) if view.beam == "cone" else np.broadcast_to(beam, ends.shape)
    rays = rays / np.linalg.norm(rays, axis=-1, keepdims=True)
    toward = np.array(center) - ends
    distance2 = (toward**2).sum(-1) - (toward * rays).sum(-1) ** 2
    return sigma * np.sqrt(2 * np.pi) * np.exp(-0.5 * distance2 / sigma**2)


def project(volume, geometries, dtype=torch.float64):
    x = torch.as_tensor(np.ascontiguousarray(volume.array), dtype=dtype)[None, None]
    return Projector.of_volume(geometries, volume, dtype=dtype)(x)[0].numpy()


@pytest.mark.parametrize("beam", ["cone", "parallel"])
@pytest.mark.parametrize("angles", [(0, 0, 0), (7, 3, 20), (0, 0, 45), (40, 35, 45)])
def test_smooth_blob_at_any_pose_on_an_oblique_grid(beam, angles):
    view = ViewGeometry.pa(shape=(37, 31), pixel_spacing=(3.0, 3.5), beam=beam).moved(
        rotation(*angles), (0, 0, 0)
    )
    volume = gaussian_volume(direction=rotation(11, -23, 8))
    truth, seen = analytic_blob(view), project(volume, [view])[0]
    # linear interpolation widens the 14 mm blob by spacing^2 / 6 in variance: 0.3 % in the peak
    assert np.linalg.norm(seen - truth) / np.linalg.norm(truth) < 3.5e-3
    for axis in (0, 1):  # no half-voxel and no half-pixel shift
        pixels = np.arange(truth.shape[axis])
        center = [(image.sum(axis=1 - axis) @ pixels) / image.sum() for image in (seen, truth)]
        assert abs(center[0] - center[1]) < 2e-3


@pytest.mark.parametrize("beam", ["cone", "parallel"])
def test_hard_ellipsoids_against_their_exact_integrals(beam):
    """Body, lungs, heart, spine and a nodule, turned and sharp-edged, on an oblique anisotropic grid."""
    bodies = [
        Ellipsoid((0, 0, 0), (150, 100, 130), 0.02, rotation(0, 0, 10)),
        Ellipsoid((-65, -5, 5), (45, 60, 95), -0.015, rotation(5, -8, 0)),
        Ellipsoid((68, 0, 0), (40, 58, 90), -0.015, rotation(-5, 6, 0)),
        Ellipsoid((25, -20, -30), (38, 33, 45), 0.014, rotation(20, 10, 30)),
        Ellipsoid((0, 70, 0), (15, 15, 120), 0.02),
        Ellipsoid((-60, 10, 40), (9, 7, 8), 0.016),
    ]
    turn = rotation(9, -14, 21)
    shape, spacing = (100, 81, 105), (3.0, 3.2, 3.1)
    origin = -(turn * np.array(spacing[::-1])) @ ((np.array(shape[::-1]) - 1) / 2)
    volume = voxelize(bodies, shape, spacing, tuple(origin), turn)
    for view in views(beam, shape=(45, 47)):
        truth, seen = ellipsoid_line_integrals(bodies, view), project(volume, [view])[0]
        # the voxels' blurred edges, not the rays, make the error: it falls with the voxel size
        assert np.linalg.norm(seen - truth) / np.linalg.norm(truth) < 1.75e-2


def test_error_falls_with_the_square_of_the_voxel_size():
    view = views(count=1, shape=(37, 31))[0]
    truth = analytic_blob(view)
    errors = [
        np.linalg.norm(project(gaussian_volume((h, h, h), (round(130 / h),) * 3), [view])[0] - truth)
        for h in (4.0, 2.0)
    ]
    assert 3.5 < errors[0] / errors[1] < 4.5


@pytest.mark.parametrize("dtype,tolerance", [(torch.float64, 1e-12), (torch.float32, 1e-6)])
@pytest.mark.parametrize("beam", ["cone", "parallel"])
def test_adjoint_by_inner_product(beam, dtype, tolerance):
    generator = torch.Generator().manual_seed(1)
    operator = Projector(views(beam), SHAPE, SPACING, direction=rotation(5, 40, 10), dtype=dtype)
    x = torch.rand(2, 1, *SHAPE, generator=generator, dtype=dtype)
    y = torch.rand(2, *operator.output_shape, generator=generator, dtype=dtype)
    forward, back = (operator(x) * y).double().sum(), (x * operator.adjoint(y)).double().sum()
    assert abs(forward - back) <= tolerance * abs(forward)
    assert torch.equal(operator.T(y), operator.adjoint(y))


def test_autograd_passes_gradcheck_both_ways():
    operator = Projector(views(shape=(3, 4)), (4, 3, 5), (9.0, 8.0, 7.0), dtype=torch.float64)
    x = torch.rand(2, 1, 4, 3, 5, dtype=torch.float64, requires_grad=True)
    y = torch.rand(2, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(operator, x)
    assert torch.autograd.gradcheck(operator.adjoint, y)
    assert torch.autograd.gradgradcheck(lambda v: operator(v) ** 2, x)


def test_no_cap_is_skipped_and_no_slab_lost():
    """A plate at each depth gives the same integral: the defect of the published projector."""
    view = ViewGeometry.pa(shape=(3, 3), pixel_spacing=(4.0, 4.0), beam="parallel")
    operator = Projector([view], (9, 24, 9), (4.0, 4.0, 4.0), dtype=torch.float64)
    for depth in range(24):
        x = torch.zeros(1, 1, 9, 24, 9, dtype=torch.float64)
        x[0, 0, :, depth] = 1.0
        assert torch.allclose(operator(x), torch.tensor(4.0, dtype=torch.float64))


def test_corner_voxels_are_seen_from_every_side():
    for beam in ("cone", "parallel"):
        for preset in ("PA", "LEFT LATERAL"):
            view = ViewGeometry.preset(preset, shape=(40, 40), pixel_spacing=(2.0, 2.0), beam=beam)
            operator = Projector([view], (8, 8, 8), (5.0, 5.0, 5.0), dtype=torch.float64)
            sums = []
            for corner in np.ndindex(2, 2, 2):
                x = torch.zeros(1, 1, 8, 8, 8, dtype=torch.float64)
                x[(0, 0, *(7 * c for c in corner))] = 1.0
                sums.append(float(operator(x).sum()))
            # cone beam: magnification differs by 2 % between front and back
            assert max(sums) / min(sums) < (1.06 if beam == "cone" else 1.0 + 1e-9)


def test_uniform_cube_gives_its_thickness():
    view = ViewGeometry.pa(shape=(5, 5), pixel_spacing=(2.0, 2.0), beam="parallel")
    x = torch.ones(1, 1, 20, 30, 25, dtype=torch.float64)
    integrals = Projector([view], (20, 30, 25), (3.0, 2.5, 2.0), dtype=torch.float64)(x)
    assert torch.allclose(integrals, torch.tensor(75.0, dtype=torch.float64))


def test_moving_the_volume_equals_moving_source_and_detector_the_other_way():
    turn, shift = rotation(13, -22, 31), np.array([8.0, -5.0, 11.0])
    volume = gaussian_volume()
    moved = replace(
        volume, origin=tuple(turn @ np.array(volume.origin) + shift), direction=turn @ volume.direction
    )
    geometries = views(shape=(17, 15))
    still = [g.moved(turn.T, -turn.T @ shift) for g in geometries]
    np.testing.assert_allclose(project(moved, geometries), project(volume, still), rtol=0, atol=1e-9)


def test_scaling_everything_scales_the_integrals():
    volume, view = gaussian_volume(), views(count=1)[0]
    bigger = replace(
        volume, spacing=tuple(3 * s for s in volume.spacing), origin=tuple(3 * o for o in volume.origin)
    )
    far = replace(
        view,
        source=tuple(3 * s for s in view.source),
        detector_center=tuple(3 * c for c in view.detector_center),
        pixel_spacing=tuple(3 * s for s in view.pixel_spacing),
    )
    np.testing.assert_allclose(project(bigger, [far]), 3 * project(volume, [view]), rtol=1e-12)


def test_axis_order_of_the_same_volume_does_not_matter():
    """The same voxels described with x and z swapped: another main axis, the same picture."""
    volume = gaussian_volume()
    swap = np.eye(3)[:, [2, 1, 0]]
    other = Volume(
        volume.array.transpose(2, 1, 0),
        volume.spacing[::-1],
        volume.origin,
        volume.direction @ swap,
        volume.quantity,
    )
    np.testing.assert_allclose(project(other, views()), project(volume, views()), atol=1e-9)


def test_several_views_and_volumes_at_once_equal_one_by_one():
    operator = Projector(views(), SHAPE, SPACING, dtype=torch.float64)
    x = torch.rand(3, 1, *SHAPE, dtype=torch.float64)
    one_by_one = torch.stack(
        [
            torch.stack(
                [Projector([v], SHAPE, SPACING, dtype=torch.float64)(x[i : i + 1])[0, 0] for v in views()]
            )
            for i in range(3)
        ]
    )
    assert torch.allclose(operator(x), one_by_one, atol=1e-10)


def test_rays_end_at_the_detector_and_start_at_the_source():
    """A source inside a uniform volume sees only what lies before it, a detector cuts what lies behind."""
    x = torch.ones(1, 1, 5, 100, 5, dtype=torch.float64)
    inside = ViewGeometry.pa(
        shape=(1, 1), pixel_spacing=(1.0, 1.0), source_to_detector_mm=400.0, source_to_isocenter_mm=0.5
    )
    operator = Projector([inside], (5, 100, 5), (4.0, 1.0, 4.0), dtype=torch.float64)
    assert float(operator(x)) == pytest.approx(50.0, abs=1.0)
    near = ViewGeometry.pa(
        shape=(1, 1), pixel_spacing=(1.0, 1.0), source_to_detector_mm=400.0, source_to_isocenter_mm=399.5
    )
    operator = Projector([near], (5, 100, 5), (4.0, 1.0, 4.0), dtype=torch.float64)
    assert float(operator(x)) == pytest.approx(50.0, abs=1.0)


def test_rays_that_miss_give_zero_and_shapes_are_checked():
    operator = Projector([views()[0].moved(np.eye(3), (900.0, 0, 0))], SHAPE, SPACING)
    assert not operator(torch.ones(1, 1, *SHAPE)).any()
    with pytest.raises(InputError, match="expected a tensor"):
        operator(torch.ones(1, 1, 3, 3, 3))
    with pytest.raises(InputError, match="expected a tensor"):
        operator.adjoint(torch.ones(1, 1, 3, 3))
    with pytest.raises(InputError, match="same detector shape"):
        Projector([views()[0], views(shape=(5, 5))[0]], SHAPE, SPACING)


def test_attenuation_has_water_and_air_and_inverts():
    hu = np.linspace(-1000, 2500, 71)
    for energy in (50.0, 63.0, 70.0):
        mu = hu_to_attenuation(hu, energy)
        assert mu[0] == pytest.approx(0.0, abs=1e-12)
        assert float(hu_to_attenuation(np.array(0.0), energy)) == pytest.approx(water_attenuation(energy))
        np.testing.assert_allclose(attenuation_to_hu(mu, energy), hu, atol=1e-9)
        np.testing.assert_allclose(hu_to_attenuation(torch.as_tensor(hu), energy).numpy(), mu)
    assert hu_to_attenuation(np.array(1000.0), 50.0) > 1.5 * hu_to_attenuation(np.array(1000.0), 70.0)
    assert float(hu_to_attenuation(np.array(-3024.0))) == 0.0, "padding is air"
    with pytest.raises(InputError, match="between 20 and 140"):
        hu_to_attenuation(hu, 150.0)


def test_drr_of_a_water_slab_and_its_labels():
    slab = Volume(np.zeros((9, 20, 9), np.int16), (10.0, 10.0, 10.0), (-40.0, -95.0, -40.0))
    view = ViewGeometry.pa(shape=(3, 3), pixel_spacing=(4.0, 4.0), beam="parallel")
    (drr,) = render_drrs(slab, [view])
    np.testing.assert_allclose(drr.array, 200.0 * water_attenuation(70.0), rtol=1e-6)
    assert drr.quantity is Quantity.LINE_INTEGRAL and drr.view == "PA" and drr.meta["synthetic"] == "DRR"
    assert nearest_view(ViewGeometry.lateral("right").moved(rotation(0, 0, 10), (0, 0, 0))) == "RIGHT LATERAL"
    assert nearest_view(ViewGeometry.pa().moved(rotation(0, 0, 25), (0, 0, 0))) == ""
    with pytest.raises(InputError, match="in HU"):
        render_drrs(slab.with_array(slab.array, Quantity.LABEL), [view])
