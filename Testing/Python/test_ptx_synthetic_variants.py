"""Synthetic pneumothorax in other places, loculated, with fluid, in emphysema; exact halves of voxels."""

from __future__ import annotations

import numpy as np
import pytest
from ptx_chest import OBLIQUE, Grid, chest, dice, points
from scipy import ndimage
from xrecon.pneumothorax.emphysema import add_emphysema
from xrecon.pneumothorax.hemithorax import whole_sides
from xrecon.pneumothorax.synthesize import synthesize
from xrecon.volume import InputError, Quantity

FINE = Grid((59, 66, 94), (4.0, 4.0, 4.0))


@pytest.fixture(scope="module")
def clean():
    hu, lungs, _ = chest()
    return hu, lungs


def center(made, label):
    return points(made.labels)[made.labels.array == label].mean(axis=0)


@pytest.mark.parametrize("position", ["supine", "erect"])
def test_apical_air_lies_above_basal_air(clean, position):
    apical, basal = (
        synthesize(*clean, "left", 0.12, position, place=place, seed=1) for place in ("apical", "basal")
    )
    assert center(apical, 4)[2] > center(clean_labels(clean), 2)[2] + 20.0
    assert center(basal, 4)[2] < center(clean_labels(clean), 2)[2] - 10.0
    assert float(apical.labels.meta["fraction"]) == pytest.approx(0.12, abs=0.002)


def clean_labels(clean):
    class Made:
        labels = clean[1]

    return Made


def test_loculated_air_touches_less_of_the_wall(clean):
    touched = {}
    for loculated in (False, True):
        made = synthesize(*clean, "right", 0.12, seed=3, loculated=loculated)
        side = np.isin(made.labels.array, (1, 3))
        face = side & ~ndimage.binary_erosion(side)
        touched[loculated] = (made.labels.array[face] == 3).mean()
        assert float(made.labels.meta["fraction"]) == pytest.approx(0.12, abs=0.002)
        pieces, count = ndimage.label(made.labels.array == 3, np.ones((3, 3, 3)))
        assert np.bincount(pieces.ravel())[1:].max() > 0.97 * (made.labels.array == 3).sum()
    assert touched[True] < 0.75 * touched[False]


@pytest.mark.parametrize(("position", "down"), [("supine", (0, 1, 0)), ("erect", (0, 0, -1))])
@pytest.mark.parametrize("grid", [Grid(), OBLIQUE], ids=["isotropic", "oblique"])
def test_the_fluid_level_is_horizontal(grid, position, down):
    hu, lungs, _ = chest(grid)
    made = synthesize(hu, lungs, "right", 0.3, position, effusion=0.15, seed=2)
    depth = points(hu) @ np.array(down, float)
    air, fluid = made.labels.array == 3, made.effusion.array == 1
    assert depth[air].max() < depth[fluid].min() + 1e-3
    assert (made.labels.array[fluid] == 0).all() and not made.air_share[fluid].any()
    lung = (made.labels.array == 1).sum()
    assert air.sum() / (air.sum() + lung) == pytest.approx(0.3, abs=2.0 / lung)
    assert fluid.sum() / (air.sum() + lung + fluid.sum()) == pytest.approx(0.15, abs=0.03)
    inner = ndimage.binary_erosion(fluid)
    assert np.median(made.volume.array[inner]) == pytest.approx(12.0, abs=5.0)


def test_labels_are_the_halves_of_the_shares_and_hu_their_partial_volumes(clean):
    made = synthesize(*clean, "right", 0.3, seed=1)
    air, share = made.labels.array == 3, made.air_share
    np.testing.assert_array_equal(share >= 0.5, air)
    assert share.sum() == pytest.approx(air.sum(), rel=0.03)
    # the phantom's own edges are ideal steps: whole voxels of air are air, mixed ones lie between
    whole = ndimage.binary_erosion(share == 1.0)
    np.testing.assert_allclose(made.volume.array[whole], -1000.0, atol=3.0)
    mixed = (share > 0.3) & (share < 0.7)
    assert mixed.sum() > 100
    assert -990.0 < made.volume.array[mixed].mean() < -750.0


def test_finer_voxels_give_the_same_air():
    ml = []
    for grid in (Grid(), FINE):
        hu, lungs, _ = chest(grid)
        made = synthesize(hu, lungs, "left", 0.1, seed=6)
        ml.append(((made.labels.array == 4).sum() * hu.voxel_ml, center(made, 4)))
    assert ml[0][0] == pytest.approx(ml[1][0], rel=0.03)
    np.testing.assert_allclose(ml[0][1], ml[1][1], atol=4.0)


def test_a_mask_off_by_a_voxel_is_set_on_the_edge_of_the_ct(clean):
    hu, lungs = clean
    for change in (ndimage.binary_erosion, ndimage.binary_dilation):
        wrong = np.zeros(hu.shape, np.uint8)
        for label in (1, 2):
            wrong[change(lungs.array == label)] = label
        assert dice(wrong == 1, lungs.array == 1) < 0.96
        set_right = whole_sides(wrong, hu.array, hu.spacing)
        assert dice(set_right == 1, lungs.array == 1) > 0.99


@pytest.mark.parametrize("share", [0.05, 0.4])
def test_emphysema_has_the_share_of_low_density(clean, share):
    hu, lungs = clean
    array = np.array(hu.array)
    vessel = (np.abs(points(hu)[..., 2]) < 3.0) & (lungs.array > 0)
    array[vessel] = 0.0
    ill, marks = add_emphysema(hu.with_array(array), lungs, share, bullae=0, seed=2)
    inside = (lungs.array > 0) & ~ndimage.binary_dilation(vessel, iterations=2)
    assert (ill.array[inside] < -950.0).mean() == pytest.approx(share, abs=0.2 * share + 0.02)
    np.testing.assert_array_equal(ill.array[vessel], 0.0)
    np.testing.assert_array_equal(ill.array[lungs.array == 0], array[lungs.array == 0])
    assert marks.quantity is Quantity.LABEL and set(np.unique(marks.array)) <= {0, 1}
    low = marks.array == 1
    upper = points(hu)[..., 2] > 0.0
    assert low[upper & inside].mean() > low[~upper & inside].mean()


def test_bullae_are_dark_rooms_with_walls(clean):
    hu, lungs = clean
    ill, marks = add_emphysema(hu, lungs, 0.02, bullae=5, seed=3)
    bulla = marks.array == 2
    assert bulla.sum() * hu.voxel_ml > 5.0 and not bulla[lungs.array == 0].any()
    assert ill.array[bulla].mean() < -970.0
    again, _ = add_emphysema(hu, lungs, 0.02, bullae=5, seed=3)
    np.testing.assert_array_equal(ill.array, again.array)


def test_pneumothorax_in_emphysema_keeps_mass_and_tells_the_spots(clean):
    made = synthesize(*clean, "right", 0.3, seed=1, emphysema=0.3)
    assert made.emphysema is not None and (made.emphysema.array > 0).any()
    assert float(made.volume.meta["mass_ratio"]) == pytest.approx(1.0, abs=0.01)
    assert (made.volume.array[made.labels.array == 2] < -950.0).mean() > 0.1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"place": "middle"}, "place"), ({"fraction": 0.6, "loculated": True}, "loculated"),
        ({"effusion": 0.6}, "effusion"), ({"emphysema": 0.9}, "emphysema"),
    ],
)  # fmt: skip
def test_wrong_options_are_refused(clean, change, words):
    with pytest.raises(InputError, match=words):
        synthesize(*clean, **change)


def test_emphysema_refuses(clean):
    hu, lungs = clean
    with pytest.raises(InputError, match="share"):
        add_emphysema(hu, lungs, 0.0)
    with pytest.raises(InputError, match="bullae"):
        add_emphysema(hu, lungs, 0.1, bullae=-1)
    with pytest.raises(InputError, match="empty"):
        add_emphysema(hu, lungs.with_array(np.zeros(hu.shape, np.uint8)))
