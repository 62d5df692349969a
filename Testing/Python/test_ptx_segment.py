"""PTX-Seg's reference mode on a chest of formulas: known ml, every parameter's effect, sides, warnings."""

from __future__ import annotations

import numpy as np
import pytest
from ptx_chest import (
    LEFT_POCKET,
    LUNG_HU,
    OBLIQUE,
    RIGHT_POCKET,
    Grid,
    chest,
    dice,
    ellipsoid_ml,
    inside,
    points,
    reordered,
)
from pydantic import ValidationError
from xrecon.pneumothorax import segment
from xrecon.pneumothorax.quantify import quantify
from xrecon.pneumothorax.segment import PtxParameters
from xrecon.volume import InputError, Quantity

GRIDS = {"isotropic": Grid(), "oblique": OBLIQUE}


def ptx_seg(volume, lungs, parameters=None, progress=None):
    """The reference mode; its defaults where no parameters are given."""
    return segment.ptx_seg(volume, lungs, parameters or PtxParameters(), progress)


def warnings_of(labels):
    return labels.meta["warnings"]


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize("pockets", ["", "r", "l", "rl"])
def test_known_air_is_found_on_its_side(grid, pockets):
    hu, lungs, truth = chest(grid, pockets, table=True)
    labels = ptx_seg(hu, lungs, PtxParameters())
    assert labels.quantity is Quantity.LABEL and labels.array.dtype == np.uint8 and labels.same_grid(hu)
    quantities = quantify(labels)
    for letter, pocket, label, found in (
        ("r", RIGHT_POCKET, 3, quantities.right_pneumothorax_ml),
        ("l", LEFT_POCKET, 4, quantities.left_pneumothorax_ml),
    ):
        if letter in pockets:
            assert found == pytest.approx(ellipsoid_ml(pocket[1]), rel=0.06)
            assert dice(labels.array == label, truth.array == label) > 0.97
        else:
            assert found == 0.0
    np.testing.assert_array_equal(labels.array > 0, lungs.array > 0)
    assert warnings_of(labels) == ""


@pytest.mark.parametrize(
    ("axes", "flips"),
    [((0, 1, 2), (2,)), ((0, 1, 2), (0, 1)), ((2, 0, 1), ()), ((1, 2, 0), (0, 2)), ((2, 1, 0), (1,))],
)
def test_storage_order_changes_nothing_and_sides_never_swap(axes, flips):
    hu, lungs, _ = chest(OBLIQUE, "r", noise=8.0)
    expected = ptx_seg(hu, lungs)
    moved = ptx_seg(reordered(hu, axes, flips), reordered(lungs, axes, flips))
    assert (expected.array == 3).sum() > 0
    np.testing.assert_array_equal(moved.array, reordered(expected, axes, flips).array)


def test_a_mirror_image_is_not_the_patient():
    """An array flipped without its direction is another patient: the air changes sides."""
    hu, lungs, _ = chest(pockets="r")
    mirrored = hu.with_array(hu.array[:, :, ::-1])
    swapped = np.array([0, 2, 1], np.uint8)[lungs.array[:, :, ::-1]]
    found = quantify(ptx_seg(mirrored, lungs.with_array(swapped)))
    assert found.right_pneumothorax_ml == 0.0 and found.left_pneumothorax_ml > 100.0


def test_threshold_t_p():
    hu, lungs, truth = chest(pockets="r")
    hu = hu.with_array(np.where(truth.array == 3, -940.0, hu.array))
    assert not (ptx_seg(hu, lungs).array > 2).any()  # -940 is not below -950
    assert (ptx_seg(hu, lungs, PtxParameters(t_p=-930)).array == 3).any()
    at = hu.with_array(np.where(truth.array == 3, -950.0, hu.array))
    assert not (ptx_seg(at, lungs).array > 2).any()  # below, not at


def test_volume_v_t_is_exceeded_not_reached():
    hu, lungs, truth = chest(pockets="r")
    exact = float((truth.array == 3).sum()) * hu.voxel_ml
    assert (ptx_seg(hu, lungs, PtxParameters(k_p=0, v_t=exact - 0.01)).array == 3).any()
    assert not (ptx_seg(hu, lungs, PtxParameters(k_p=0, v_t=exact)).array == 3).any()


def test_ball_k_p_joins_pieces_that_are_too_small_alone():
    hu, lungs, _ = chest()
    array = np.array(hu.array)
    array[20:25, 22:26, 20:23] = -1000.0  # 7.5 ml each, one voxel of lung between them
    array[20:25, 22:26, 24:27] = -1000.0
    hu = hu.with_array(array)
    assert lungs.array[20:25, 22:26, 20:27].all()
    assert not (ptx_seg(hu, lungs, PtxParameters(k_p=0)).array > 2).any()
    joined = ptx_seg(hu, lungs, PtxParameters(k_p=5)).array == 3
    assert 15.0 < joined.sum() * hu.voxel_ml < 18.0


def test_ball_k_l_brings_back_air_the_lung_mask_missed():
    hu, lungs, truth = chest(pockets="r")
    missed = lungs.with_array(np.where(truth.array == 3, 0, lungs.array))
    assert not (ptx_seg(hu, missed, PtxParameters(k_l=0)).array > 2).any()
    back = ptx_seg(hu, missed, PtxParameters(k_l=40)).array == 3
    assert dice(back, truth.array == 3) > 0.9


def test_ball_k_b_seals_an_airway_and_a_leak_is_reported():
    hu, lungs, truth = chest(pockets="r")
    tunnel = np.array(hu.array)
    tunnel[24, 26, :20] = -1000.0  # from the side through the wall into the right lung
    hu = hu.with_array(tunnel)
    sealed = ptx_seg(hu, lungs)
    assert warnings_of(sealed) == "" and dice(sealed.array == 3, truth.array == 3) > 0.97
    leaked = ptx_seg(hu, lungs, PtxParameters(k_b=0))
    assert "k_b" in warnings_of(leaked) and "flood" in warnings_of(leaked)
    assert not (leaked.array > 2).any()


def test_threshold_t_b_decides_what_is_wall():
    hu, lungs, _ = chest(pockets="r")
    foam = hu.with_array(np.where(hu.array > 0, -600.0, hu.array))  # a wall of -600 HU
    assert "leaked" in warnings_of(ptx_seg(foam, lungs, PtxParameters(t_b=-500, k_b=0)))
    assert warnings_of(ptx_seg(foam, lungs, PtxParameters(t_b=-700, k_b=0))) == ""


def test_connectivity_26_leaks_where_6_does_not():
    hu, lungs, _ = chest(pockets="r")
    array = np.array(hu.array)
    edge = int(np.flatnonzero(array[24, 26] > 0)[0])
    first = int(np.flatnonzero(lungs.array[24, 26])[0])
    for step, x in enumerate(range(edge, first + 1)):
        array[24, 26 + step % 2, x] = -1000.0  # a staircase: joined by edges, not by faces
    hu = hu.with_array(array)
    assert "leaked" in warnings_of(ptx_seg(hu, lungs, PtxParameters(k_b=0, T=26)))
    assert warnings_of(ptx_seg(hu, lungs, PtxParameters(k_b=0, T=6))) == ""


def test_seeds_inside_the_body_are_skipped_and_reported():
    hu, lungs, truth = chest(pockets="r")
    tissue = np.array(hu.array)
    tissue[:3, :3, :3] = 40.0
    one = ptx_seg(hu.with_array(tissue), lungs)
    assert "1 of 2 seeds" in warnings_of(one) and dice(one.array == 3, truth.array == 3) > 0.97
    tissue[-3:, -3:, -3:] = 40.0
    none = ptx_seg(hu.with_array(tissue), lungs)
    assert "All 2 seeds" in warnings_of(none) and dice(none.array == 3, truth.array == 3) > 0.97
    corners = ptx_seg(hu.with_array(tissue), lungs, PtxParameters(seeds="eight corners"))
    assert "2 of 8 seeds" in warnings_of(corners)
    free = tuple(int(i) for i in np.argwhere(hu.array == -1000.0)[5000])
    assert warnings_of(ptx_seg(hu.with_array(tissue), lungs, PtxParameters(seeds=(free,)))) == ""


def test_given_seeds_are_indices_of_the_stored_array():
    hu, lungs, _ = chest(pockets="r")
    outside = ptx_seg(hu, lungs, PtxParameters(seeds=((0, 0, 0),)))
    in_pocket = tuple(int(i) for i in np.argwhere(inside(points(hu), RIGHT_POCKET))[10])
    drowned = ptx_seg(hu, lungs, PtxParameters(seeds=(in_pocket,)))
    assert (outside.array == 3).any() and not (drowned.array == 3).any() and "leaked" in warnings_of(drowned)
    flipped = reordered(hu, (0, 1, 2), (2,)), reordered(lungs, (0, 1, 2), (2,))
    mirrored_seed = (*in_pocket[:2], hu.shape[2] - 1 - in_pocket[2])
    assert not (ptx_seg(*flipped, PtxParameters(seeds=(mirrored_seed,))).array == 3).any()
    with pytest.raises(InputError, match="seeds"):
        ptx_seg(hu, lungs, PtxParameters(seeds=((0, 0, 75),)))


def test_padding_outside_the_field_of_view_is_outside_air():
    hu, lungs, truth = chest(pockets="r")
    x, y = points(hu)[..., 0], points(hu)[..., 1]
    padded = hu.with_array(np.where(x**2 + y**2 > 175.0**2, -3024.0, hu.array))
    labels = ptx_seg(padded, lungs)
    assert warnings_of(labels) == "" and dice(labels.array == 3, truth.array == 3) > 0.97


def test_stay_inside_cuts_what_closing_added():
    hu, lungs, truth = chest()
    array = np.array(hu.array)
    right = lungs.array == 1
    array[right & (points(hu)[..., 1] < -20.0)] = -1000.0  # a front of air up to a curved wall
    hu = hu.with_array(array)
    settings = {"k_p": 30.0, "k_l": 0.0}
    cut = ptx_seg(hu, lungs, PtxParameters(**settings)).array == 3
    kept = ptx_seg(hu, lungs, PtxParameters(stay_inside=False, **settings)).array == 3
    assert not (cut & ~right).any()
    assert kept.sum() >= cut.sum() and (kept & cut).sum() == cut.sum()


def test_smoothing_is_off_and_helps_against_noise():
    hu, lungs, truth = chest(pockets="r", noise=60.0)
    assert PtxParameters().smooth_mm == 0.0
    results = [ptx_seg(hu, lungs, PtxParameters(smooth_mm=s)).array > 2 for s in (0.0, 2.0, 6.0)]
    rough, smooth, too_much = (dice(found, truth.array > 2) for found in results)
    assert smooth > 0.95 and smooth > rough + 0.05
    assert too_much < smooth  # -950 HU is nearer to air than to lung, so blurring shrinks the air


def test_emphysema_on_both_sides_is_doubted():
    hu, lungs, _ = chest(pockets="r")
    dark = (lungs.array > 0) & (np.random.default_rng(0).random(hu.shape) < 0.3)
    labels = ptx_seg(hu.with_array(np.where(dark, -980.0, hu.array)), lungs)
    assert "emphysema" in warnings_of(labels)


def test_coarse_and_reconstructed_volumes_are_doubted():
    hu, lungs, _ = chest(Grid((31, 53, 75), (7.5, 5.0, 5.0)), "r")
    assert "7.5 mm" in warnings_of(ptx_seg(hu, lungs)) and "underestimated" in warnings_of(ptx_seg(hu, lungs))
    hu, lungs, _ = chest(pockets="r")
    synthetic = hu.with_array(hu.array, synthetic="reconstructed from radiographs")
    assert "lung can be counted as air" in warnings_of(ptx_seg(synthetic, lungs))


def test_scattered_air_is_doubted():
    hu, lungs, _ = chest()
    array = np.array(hu.array)
    for z in range(14, 34, 4):
        for x in (20, 49):
            array[z : z + 2, 22:30, x : x + 6] = -1000.0  # 12 ml each
    labels = ptx_seg(hu.with_array(array), lungs, PtxParameters(v_t=5.0, k_p=0.0))
    assert "separate pieces" in warnings_of(labels)


def test_one_lung_is_enough_and_none_is_refused():
    hu, lungs, truth = chest(pockets="l")
    left_only = lungs.with_array(np.where(lungs.array == 2, 2, 0).astype(np.uint8))
    labels = ptx_seg(hu, left_only)
    assert set(np.unique(labels.array)) == {0, 2, 4}
    with pytest.raises(InputError, match="empty"):
        ptx_seg(hu, lungs.with_array(np.zeros(hu.shape, np.uint8)))


def test_wrong_input_is_refused_with_a_reason():
    hu, lungs, truth = chest()
    with pytest.raises(InputError, match="grid"):
        ptx_seg(hu, lungs.moved((0.0, 0.0, 3.0)))
    with pytest.raises(InputError, match="labels"):
        ptx_seg(hu, lungs.with_array(lungs.array + 3))
    with pytest.raises(InputError, match="HU"):
        ptx_seg(lungs, lungs)
    broken = np.array(hu.array)
    broken[0, 0, 0] = np.nan
    with pytest.raises(InputError, match="NaN"):
        ptx_seg(hu.with_array(broken), lungs)


@pytest.mark.parametrize(
    ("name", "value"),
    [("t_p", "cold"), ("t_p", float("nan")), ("t_b", 9000), ("k_b", -1), ("K_l", 1000), ("v_t", -5), ("T", 7),
     ("connectivity", 4), ("seeds", "nowhere"), ("seeds", [[0, 0]]), ("smooth_mm", -1), ("k_q", 3)],
)  # fmt: skip
def test_parameters_are_checked_and_the_field_is_named(name, value):
    with pytest.raises(ValidationError, match=name):
        PtxParameters(**{name: value})
    with pytest.raises(InputError, match=name):
        PtxParameters.from_settings({name: value})


def test_parameters_take_the_papers_names_and_round_trip():
    given = PtxParameters.from_settings({"K_l": 4, "K_b": 8, "k_p": "1.5", "T": 26, "seeds": [[1, 2, 3]]})
    assert (given.k_l, given.k_b, given.k_p, given.connectivity) == (4.0, 8.0, 1.5, 26)
    assert given.seeds == ((1, 2, 3),)
    assert PtxParameters(**given.model_dump()) == given
    assert PtxParameters.model_validate_json(given.model_dump_json()) == given
    defaults = PtxParameters()
    assert (defaults.t_p, defaults.v_t) == (-950.0, 10.0)  # the two values the paper gives
    with pytest.raises(ValidationError):
        defaults.t_p = -900.0


def test_the_result_tells_its_parameters_and_progress_ends_at_one():
    hu, lungs, _ = chest(pockets="r")
    seen = []
    labels = ptx_seg(hu, lungs, PtxParameters(t_p=-960), lambda stage, share, _: seen.append((stage, share)))
    assert '"t_p":-960' in labels.meta["parameters"]
    fractions = [f for _, f in seen]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0 and {s for s, _ in seen} == {"ptx-seg"}


def test_an_independent_phantom_with_known_air():
    """The anthropomorphic phantom: vessels, bronchi, ribs, noise and partial volume; reference figures."""
    from xrecon.physics.chest_phantom import chest_phantom
    from xrecon.pneumothorax.lungs import classical_lungs

    phantom = chest_phantom((4.0, 4.0, 4.0), pneumothorax_ml=600.0, side="left", table=True)
    labels = ptx_seg(phantom.volume, classical_lungs(phantom.volume))
    found = quantify(labels)
    assert dice(labels.array == 4, phantom.labels.array == 4) > 0.9
    assert 480.0 < found.left_pneumothorax_ml < 600.0  # the rim at the pleura is above -950 HU
    assert found.right_pneumothorax_ml < 5.0


def test_integer_arrays_give_what_floats_give():
    hu, lungs, _ = chest(OBLIQUE, "rl")
    whole = hu.with_array(np.rint(hu.array).astype(np.int16))
    np.testing.assert_array_equal(ptx_seg(whole, lungs).array, ptx_seg(hu, lungs).array)
    assert LUNG_HU == -850.0
