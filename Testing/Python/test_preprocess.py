"""CT targets and radiograph inputs: grids, antialiasing, table, lungs, picture layout."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from xrecon.physics.geometry import ViewGeometry
from xrecon.preprocess.ct import (
    body_mask,
    hu_to_unit,
    lung_center,
    remove_table,
    resample,
    resample_like,
    unit_to_hu,
)
from xrecon.preprocess.radiograph import canonical, network_input, normalize
from xrecon.volume import InputError, Quantity, Radiograph, Volume


def body(spacing=(4.0, 3.0, 3.5), lungs=True, table=True, direction=None):
    """An elliptic trunk with two lungs of unlike size on a table sheet, odd and anisotropic."""
    shape = (45, 81, 95)
    direction = np.eye(3) if direction is None else direction
    origin = -(direction * np.array(spacing[::-1])) @ ((np.array(shape[::-1]) - 1) / 2)
    grid = Volume(np.zeros(shape, np.int16), spacing, tuple(origin), direction)
    z, y, x = (
        (np.arange(n) - (n - 1) / 2)[tuple(slice(None) if i == a else None for i in range(3))] * spacing[a]
        for a, n in enumerate(shape)
    )
    hu = np.full(shape, -1000, np.int16)
    hu[np.broadcast_to((x / 140) ** 2 + (y / 90) ** 2 < 1, shape)] = 30
    if lungs:
        hu[((x + 60) / 45) ** 2 + (y / 60) ** 2 + (z / 80) ** 2 < 1] = -850
        hu[((x - 60) / 40) ** 2 + (y / 55) ** 2 + ((z - 10) / 70) ** 2 < 1] = -850
    if table:
        sheet = (y > 94) & (y < 99) & (np.abs(x) < 150) & (z < 1e9)
        hu[np.broadcast_to(sheet, shape)] = 0
    return grid.with_array(hu)


def test_unit_scale_is_the_published_one():
    unit = hu_to_unit(np.array([-3024.0, -1024.0, -950.0, -1000.0, 0.0, 1476.0, 3000.0]))
    np.testing.assert_allclose(unit, [0, 0, 0.0296, 0.0096, 0.4096, 1, 1], atol=1e-6)
    np.testing.assert_allclose(
        unit_to_hu(hu_to_unit(np.array([-1024.0, 12.0, 1476.0]))), [-1024, 12, 1476], atol=1e-3
    )


@pytest.mark.parametrize(
    "direction", [None, Rotation.from_euler("xyz", [4, -6, 9], degrees=True).as_matrix()]
)
def test_resampling_keeps_places_and_mass(direction):
    volume = body(direction=direction, table=False)
    cube = resample(volume, (40, 52, 60), (6.0, 6.0, 6.0), (0, 0, 0))
    assert cube.spacing == (6.0, 6.0, 6.0) and np.allclose(cube.center, 0)
    lungs = lambda v: (v.array < -400) & body_mask(v)  # noqa: E731
    for v in (volume, cube):
        points = v.index_to_world(np.argwhere(lungs(v))[:, ::-1])
        np.testing.assert_allclose(points.mean(0), volume.direction @ [-9, 0, 4], atol=4)
    assert lungs(cube).sum() * cube.voxel_ml == pytest.approx(lungs(volume).sum() * volume.voxel_ml, rel=0.03)


def test_resampling_is_exact_on_linear_ramps_of_oblique_grids():
    direction = Rotation.from_euler("xyz", [14, -36, 19], degrees=True).as_matrix()
    grid = Volume(np.zeros((31, 37, 29)), (2.0, 1.5, 2.5), (3.0, -4.0, 5.0), direction)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij")[::-1], -1)
    ramp = grid.with_array(grid.index_to_world(index) @ [1.0, 2.0, -3.0])
    out = resample(ramp, (5, 7, 9), (1.0, 1.0, 1.0), grid.center)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in out.shape], indexing="ij")[::-1], -1)
    np.testing.assert_allclose(out.array, out.index_to_world(index) @ [1.0, 2.0, -3.0], atol=1e-3)


def test_coarser_grids_are_antialiased_and_labels_are_not():
    checker = (np.indices((40, 40, 40)).sum(0) % 2).astype(np.float32)
    fine = Volume(checker, (1.0, 1.0, 1.0))
    coarse = resample(fine, (8, 8, 8), (5.0, 5.0, 5.0), fine.center, fill=0.5)
    assert np.ptp(coarse.array[1:-1, 1:-1, 1:-1]) < 0.05
    labels = resample(fine, (8, 8, 8), (4.7, 4.7, 4.7), fine.center, fill=0, order=0)
    assert set(np.unique(labels.array)) == {0.0, 1.0}
    assert resample_like(fine, coarse).same_grid(coarse)


def test_table_goes_and_patient_stays():
    with_table, without = body(table=True), body(table=False)
    cleaned = remove_table(with_table)
    inside = without.array > -1000
    np.testing.assert_array_equal(cleaned.array[inside], with_table.array[inside])
    assert (cleaned.array[:, -3:] == -1000).all(), "the table sheet is air now"
    assert cleaned.meta["table"] == "removed" and cleaned.array.dtype == with_table.array.dtype


def test_lung_center_and_its_errors():
    np.testing.assert_allclose(lung_center(body()), [-2.5, 0, 0], atol=5)
    moved = body().moved((100.0, -50.0, 30.0))
    np.testing.assert_allclose(lung_center(moved) - lung_center(body()), [100, -50, 30], atol=1e-6)
    with pytest.raises(InputError, match="expected lungs in the CT"):
        lung_center(body(lungs=False))
    with pytest.raises(InputError, match="no tissue"):
        remove_table(body().with_array(np.full(body().shape, -1000, np.int16)))
    with pytest.raises(InputError, match="in HU"):
        remove_table(body().with_array(body().array, Quantity.LABEL))


def picture(view, array, quantity=Quantity.LINE_INTEGRAL, **geometry):
    return Radiograph(array, ViewGeometry.preset(view, shape=array.shape, **geometry), quantity, view)


def test_right_lateral_is_mirrored_with_its_geometry():
    array = np.arange(37 * 31, dtype=float).reshape(37, 31)
    point = np.array([10.0, 20.0, 30.0])
    right = picture("RIGHT LATERAL", array)
    turned = canonical(right)
    np.testing.assert_array_equal(turned.array, array[:, ::-1])
    row, column = right.geometry.project(point)
    np.testing.assert_allclose(turned.geometry.project(point), [row, 30 - column])
    for view in ("PA", "AP", "LEFT LATERAL"):
        assert canonical(picture(view, array)).array is array


@pytest.mark.parametrize("view", ["PA", "LEFT LATERAL", "RIGHT LATERAL"])
@pytest.mark.parametrize("turned", ["upside down", "half a turn"])
def test_a_picture_stored_upside_down_is_turned_with_its_geometry(view, turned):
    """The same rays, stored with row 0 at the feet, give the network the same picture."""
    upright = picture(view, np.random.default_rng(2).random((37, 31)))
    geometry, array = upright.geometry, upright.array[::-1]
    changes = {"row_direction": tuple(-np.array(geometry.row_direction))}
    if turned == "half a turn":
        array, changes["column_direction"] = array[:, ::-1], tuple(-np.array(geometry.column_direction))
    stored = Radiograph(array, replace(geometry, **changes), upright.quantity, view)
    expected, found = canonical(upright), canonical(stored)
    np.testing.assert_array_equal(found.array, expected.array)
    assert found.geometry.is_close(expected.geometry)
    assert "upside down" in found.history[-1]
    points = np.array([[10.0, 20.0, 30.0], [-50.0, 5.0, -40.0]])
    np.testing.assert_allclose(found.geometry.project(points), expected.geometry.project(points))
    seen = [network_input(r, (25, 23), (18.0, 20.0)).array for r in (upright, stored)]
    np.testing.assert_allclose(seen[1], seen[0], atol=1e-6)


def test_network_input_keeps_every_ray():
    """A ramp over the detector is the same ramp on the network's detector, wherever the isocentre is."""
    source = ViewGeometry.pa(shape=(61, 81), pixel_spacing=(3.0, 4.0), isocenter=(5.0, 6.0, 7.0))
    shifted = source.cropped((-4, 7), (61, 81))  # the central ray off the detector centre
    positions = shifted.pixel_positions()
    ramp = Radiograph(positions @ [0.5, 0.0, -0.25], shifted, Quantity.LINE_INTEGRAL, "PA")
    seen = network_input(ramp, (25, 23), (5.0, 5.5))
    assert seen.geometry.shape == (25, 23) and seen.geometry.pixel_spacing == (5.0, 5.5)
    np.testing.assert_allclose(seen.geometry.project(np.array(source.isocenter)), [12, 11], atol=1e-9)
    np.testing.assert_allclose(seen.array, seen.geometry.pixel_positions() @ [0.5, 0.0, -0.25], atol=1e-3)


def test_network_input_fills_and_refuses():
    array = np.random.default_rng(0).random((20, 20)) + 5.0
    wide = network_input(picture("PA", array), (40, 40), (43.0, 43.0))
    assert wide.array[0, 0] == 0.0, "line integrals: nothing in the beam"
    wide = network_input(picture("PA", array, Quantity.DISPLAY), (40, 40), (43.0, 43.0))
    assert wide.array[0, 0] >= 5.0, "display: the darkest grey, not black"
    with pytest.raises(InputError, match="view geometry"):
        canonical(Radiograph(array))
    with pytest.raises(InputError, match="NaN"):
        network_input(picture("PA", np.full((4, 4), np.nan)), (8, 8), (4.0, 4.0))
    with pytest.raises(InputError, match="all equal"):
        network_input(picture("PA", np.ones((4, 4))), (8, 8), (4.0, 4.0))


def test_normalisation_drops_gain_and_offset():
    rng = np.random.default_rng(3)
    values = rng.gamma(2.0, 1.0, (37, 31))
    unit = normalize(values)
    np.testing.assert_allclose(normalize(7.5 * values - 3.0), unit, atol=1e-6)
    assert np.percentile(unit, 1) == pytest.approx(0, abs=1e-6) and unit.max() <= 1.25


def test_masks_of_fine_grids_lie_on_the_body():
    """0.7 mm voxels are worked on in blocks of four: no side may lose or gain a block's width."""
    shape, spacing = (12, 150, 203), (3.0, 0.7, 0.7)
    y, x = np.ogrid[: shape[1], : shape[2]]
    inside = ((x - 101) / 80) ** 2 + ((y - 74) / 55) ** 2 < 1
    hu = np.where(np.broadcast_to(inside, shape), 30, -1000).astype(np.int16)
    mask = body_mask(Volume(hu, spacing))
    for axis in (1, 2):
        other = tuple(a for a in range(3) if a != axis)
        truth, found = (np.flatnonzero(m.any(axis=other)) for m in (hu > -400, mask))
        assert abs(truth[0] - found[0]) <= 2 and abs(truth[-1] - found[-1]) <= 2


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_what_is_no_ct_in_hu_is_told(dtype):
    labels = (body().array < -400).astype(dtype)
    with pytest.raises(InputError, match="label map"):
        remove_table(body().with_array(labels))
