"""The anthropomorphic chest: known air, right and left not exchanged, CT numbers of its organs."""

from __future__ import annotations

import cc3d
import numpy as np
import pytest
from xrecon.physics import chest_anatomy as anatomy
from xrecon.physics.chest_phantom import chest_phantom
from xrecon.volume import InputError, Quantity

COARSE = (5.0, 5.0, 5.0)


@pytest.fixture(scope="module")
def healthy():
    return chest_phantom(COARSE)


@pytest.fixture(scope="module")
def collapsed():
    return chest_phantom(COARSE, pneumothorax_ml=500.0, side="left")


def _at(phantom, x, y, z, radius_mm=6.0):
    """Median HU of the voxels within `radius_mm` of an LPS point."""
    volume = phantom.volume
    index = np.stack(np.meshgrid(*[np.arange(n) for n in volume.shape], indexing="ij"), axis=-1)[..., ::-1]
    away = np.linalg.norm(volume.index_to_world(index) - (x, y, z), axis=-1)
    return float(np.median(volume.array[away <= radius_mm]))


def test_one_grid_and_quantities(healthy):
    assert healthy.volume.shape == (70, 58, 80)
    assert healthy.volume.same_grid(healthy.labels) and healthy.volume.same_grid(healthy.lungs)
    assert np.allclose(healthy.volume.center, 0, atol=1e-9)
    assert healthy.volume.quantity == Quantity.HU and healthy.labels.quantity == Quantity.LABEL
    assert "synthetic" in healthy.volume.meta
    assert set(np.unique(healthy.labels.array)) == {0, 1, 2}
    assert healthy.pneumothorax_ml == 0.0 and healthy.side == ""


@pytest.mark.parametrize(
    ("spacing", "wanted", "side"),
    [(COARSE, 100.0, "left"), ((5.0, 4.0, 4.5), 37.0, "right"), ((8.0, 7.0, 9.0), 900.0, "left")],
)
def test_pneumothorax_has_the_volume_asked_for(spacing, wanted, side):
    phantom = chest_phantom(spacing, seed=3, pneumothorax_ml=wanted, side=side)
    label = 3 if side == "right" else 4
    counted = np.count_nonzero(phantom.labels.array == label) * np.prod(spacing) / 1000.0
    assert counted == pytest.approx(wanted, rel=0.01)
    assert phantom.pneumothorax_ml == pytest.approx(counted)
    assert phantom.side == side
    assert not np.any(phantom.labels.array == 7 - label)


def test_pneumothorax_is_air_before_and_above_a_whole_denser_lung(healthy, collapsed):
    labels, hu = collapsed.labels.array, collapsed.volume.array
    air, lung = labels == 4, labels == 2
    assert np.array_equal(air | lung, collapsed.lungs.array == 2)
    assert np.median(hu[air]) < -980
    pieces = np.bincount(cc3d.connected_components(air, connectivity=26).ravel())[1:]
    assert pieces.max() > 0.99 * air.sum()
    z, y, _ = np.nonzero(air)
    z_lung, y_lung, _ = np.nonzero(lung)
    assert z.mean() > z_lung.mean() and y.mean() < y_lung.mean()  # array y grows to the back
    # the collapsed lung keeps its mass: median air content falls with its volume
    before = np.median(healthy.volume.array[healthy.labels.array == 2]) + 1000
    after = np.median(hu[lung]) + 1000
    space = np.count_nonzero(healthy.labels.array == 2)
    assert after / before == pytest.approx(space / lung.sum(), rel=0.1)


def test_no_bone_in_the_labels(collapsed):
    in_lungs = collapsed.volume.array[collapsed.labels.array > 0]
    assert np.count_nonzero(in_lungs > 250) < 0.001 * in_lungs.size


def test_the_other_lung_is_unchanged(healthy, collapsed):
    assert np.array_equal(healthy.labels.array == 1, collapsed.labels.array == 1)


def test_right_is_not_left(healthy):
    x = healthy.volume.index_to_world(
        np.stack([np.arange(healthy.volume.shape[2]), *[np.zeros(healthy.volume.shape[2], int)] * 2], axis=-1)
    )[:, 0]
    right, left = (np.nonzero(healthy.labels.array == k) for k in (1, 2))
    assert x[right[2]].mean() < -40 and x[left[2]].mean() > 40
    bases = [np.nonzero(healthy.labels.array[:, 33, column])[0].min() for column in (28, 51)]
    assert bases[0] > bases[1]  # the liver lifts the right lung's base
    assert left[0].size < right[0].size  # the heart takes room from the left lung
    assert _at(healthy, 60, -45, -60) > 0 > -700 > _at(healthy, -75, -45, -20)  # apex of the heart
    assert _at(healthy, -60, 0, -90) == pytest.approx(58, abs=12)  # liver
    assert _at(healthy, 62, -42, -96) < -700  # gas in the stomach
    assert _at(healthy, 29, 42, 5) == pytest.approx(42, abs=15)  # descending aorta
    assert _at(healthy, -29, 42, 5) < -600  # lung in its place on the right


def test_a_mirrored_phantom_is_told_apart(healthy):
    hu = healthy.volume.array.astype(np.float64)
    apart = np.abs(hu - hu[:, :, ::-1]).mean()
    other = np.abs(hu - chest_phantom(COARSE, noise_hu=0.0).volume.array).mean()
    assert apart > 5 * other


@pytest.mark.parametrize(
    ("where", "low", "high"),
    [
        ((0, -135 + 2, -120), -1024, -990),  # outside, before the belly
        ((-75, 20, 10), -920, -780),  # lung
        ((0, -8, 130), -1024, -850),  # trachea
        ((20, -37, -32), 20, 65),  # heart
        ((84, 34, -112), 30, 65),  # spleen
        ((-120, 60, -175), -120, 1200),  # wall of the belly: fat, muscle or rib
    ],
)
def test_organs_have_their_ct_numbers(healthy, where, low, high):
    assert low <= _at(healthy, *where) <= high


def test_bone_and_noise():
    quiet = chest_phantom((2.5, 2.5, 2.5), noise_hu=0.0, field_mm=(60.0, 290.0, 360.0))
    assert quiet.volume.array.max() > 700
    outside = quiet.volume.array[:, 0, 0]
    assert np.all(outside == -1000)
    noisy = chest_phantom((2.5, 2.5, 2.5), noise_hu=20.0, field_mm=(60.0, 290.0, 360.0))
    tissue = np.abs(quiet.volume.array - 42) < 3
    assert np.std(noisy.volume.array[tissue]) == pytest.approx(20.0, rel=0.1)


def test_same_seed_same_voxels_other_seed_other_body():
    first, again, other = (chest_phantom((8.0, 8.0, 8.0), seed=s, pneumothorax_ml=300.0) for s in (5, 5, 6))
    assert np.array_equal(first.volume.array, again.volume.array)
    assert np.array_equal(first.labels.array, again.labels.array)
    assert not np.array_equal(first.labels.array, other.labels.array)


@pytest.mark.parametrize("seed", (1, 2))
def test_every_build_keeps_its_anatomy(seed):
    phantom = chest_phantom((8.0, 8.0, 8.0), seed=seed)
    right, left = (np.count_nonzero(phantom.labels.array == k) * phantom.volume.voxel_ml for k in (1, 2))
    assert 1500 < left < right < 3500
    build = anatomy.Build.random(np.random.default_rng(seed))
    assert build.left_dome <= build.right_dome - 9.0


def test_twelve_pairs_of_ribs_slope_down_and_mirror():
    for number in range(1, 13):
        right, left = anatomy.rib(number, anatomy.RIGHT), anatomy.rib(number, anatomy.LEFT)
        assert np.allclose(right * (-1, 1, 1), left)
        assert np.all(np.diff(right[2:, 2]) < 0)
        assert right[0, 2] - right[-1, 2] > 35


def test_field_and_table_do_not_move_the_patient(healthy):
    cut = chest_phantom(COARSE, field_mm=(100.0, 290.0, 400.0), center=(0.0, 0.0, 52.5), table=True)
    assert cut.volume.center == pytest.approx((0, 0, 52.5))
    assert _at(cut, -75, 20, 50) == pytest.approx(_at(healthy, -75, 20, 50), abs=40)
    assert np.count_nonzero(cut.volume.array[:, -6:] > -950) > 100  # the table, behind the back


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"side": "up"}, "side 'right' or 'left'"),
        ({"pneumothorax_ml": -1.0}, "pneumothorax_ml"),
        ({"pneumothorax_ml": float("nan")}, "pneumothorax_ml"),
        ({"pneumothorax_ml": 99999.0}, "pleural space"),
        ({"spacing": (0.0, 1.0, 1.0)}, "spacing"),
        ({"field_mm": (100.0, -1.0, 100.0)}, "field_mm"),
    ],
)
def test_what_cannot_be_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        chest_phantom(**{"spacing": (10.0, 10.0, 10.0), **arguments})
