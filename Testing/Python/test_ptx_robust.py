"""PTX-Seg's robust mode, one phantom for each way in which a simpler algorithm fails."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ptx_chest import (
    LEFT_LUNG,
    RIGHT_LUNG,
    RIGHT_POCKET,
    Grid,
    chest,
    dice,
    inside,
    points,
    reordered,
)
from pydantic import ValidationError
from scipy import ndimage
from scipy.special import ndtr
from xrecon.pneumothorax.quantify import quantify
from xrecon.pneumothorax.robust_levels import Levels
from xrecon.pneumothorax.robust_regions import Region, describe, is_free_air
from xrecon.pneumothorax.segment import PtxParameters, RobustParameters, mode_of, parameters_of, ptx_seg
from xrecon.volume import InputError, Quantity

# Anisotropic and odd; the lungs of the phantom are 200 mm high.
FINE = Grid((73, 85, 121), (3.1, 3.0, 2.9))


def crescent(grid=FINE, thickness=24.0, noise=0.0, seed=5):
    """(HU, lungs with air, truth): free air in front of the right lung, seen by a scanner whose blur is half
    a voxel; the visceral pleura is 0.3 mm of tissue."""
    hu, lungs, _ = chest(grid)
    where = points(hu)
    center, semi = RIGHT_LUNG
    reach = np.sqrt(((where - (center[0], center[1] + thickness, center[2])) ** 2 / np.square(semi)).sum(-1))
    apart = where - (center[0], center[1] + thickness, center[2])
    gap = (1.0 - 1.0 / np.maximum(reach, 1e-6)) * np.linalg.norm(apart, axis=-1)  # mm, along the radius
    sigma = 0.5 * max(grid.spacing)
    line = 0.3 * 1040.0 / (np.sqrt(2.0 * np.pi) * sigma) * np.exp(-0.5 * (gap / sigma) ** 2)
    right = lungs.array == 1
    array = np.array(ndimage.gaussian_filter(hu.array, 0.5))
    # In the lung the air replaces lung; the share of wall in a voxel stays what the blur made it.
    wall = ndimage.gaussian_filter((~right).astype(np.float32), 0.5)
    array -= (1.0 - wall) * (150.0 * ndtr(gap / sigma) - line * (wall < 0.5))
    return _noisy(hu.with_array(array.astype(np.float32)), noise, seed), lungs, right & (gap > 0.0)


def _noisy(hu, noise, seed=5):
    if not noise:
        return hu
    array = hu.array + np.random.default_rng(seed).normal(0.0, noise, hu.shape).astype(np.float32)
    return hu.with_array(np.maximum(array, -1024.0))


def air_of(labels):
    return labels.array >= 3


def ml(mask, volume):
    return float(mask.sum()) * volume.voxel_ml


def both(hu, lungs):
    """Air of the robust mode and of the reference mode."""
    return air_of(ptx_seg(hu, lungs)), air_of(ptx_seg(hu, lungs, PtxParameters()))


# At 3 mm the thin ends of the air are lost, with noise more of them: hence too few ml, never too many.
@pytest.mark.parametrize(("noise", "lost"), [(0.0, 0.12), (40.0, 0.20)])
def test_free_air_is_found_whatever_the_noise(noise, lost):
    hu, lungs, truth = crescent(noise=noise)
    robust, reference = both(hu, lungs)
    assert dice(robust, truth) > 0.9
    assert 1.0 - lost < ml(robust, hu) / ml(truth, hu) < 1.02
    if noise:
        assert dice(reference, truth) < dice(robust, truth) - 0.05


@pytest.mark.parametrize("noise", [20.0, 40.0, 60.0])
def test_healthy_lungs_have_no_air(noise):
    hu, lungs, _ = chest(FINE, noise=noise)
    hu = hu.with_array(np.maximum(hu.array, -1024.0))
    assert ml(air_of(ptx_seg(hu, lungs)), hu) == 0.0


def emphysema(share, seed=4):
    """Healthy lungs with vessels in which `share` of the voxels lies near air, in clumps."""
    hu, lungs, _ = chest(FINE, noise=12.0)
    generator = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(generator.standard_normal(hu.shape), 1.6)
    holes = (lungs.array > 0) & (field > np.quantile(field[lungs.array > 0], 1.0 - share))
    branches = ndimage.gaussian_filter(generator.standard_normal(hu.shape), 0.9)
    vessels = branches > np.quantile(branches, 0.93)
    array = np.where(holes, -985.0 + generator.normal(0.0, 12.0, hu.shape), hu.array)
    array = np.where(vessels & (lungs.array > 0), -400.0, array)
    return hu.with_array(array.astype(np.float32)), lungs


@pytest.mark.parametrize("share", [0.15, 0.35])
def test_emphysema_is_no_pneumothorax_and_is_told(share):
    hu, lungs = emphysema(share)
    labels = ptx_seg(hu, lungs)
    reference = ptx_seg(hu, lungs, PtxParameters())
    assert ml(air_of(labels), hu) < 10.0 and ml(air_of(reference), hu) > 100.0
    assert "emphysema" in labels.meta["warnings"]


def test_a_bulla_inside_the_lung_is_no_pneumothorax():
    hu, lungs, _ = chest(FINE, noise=12.0)
    ball = ((-80.0, 5.0, 40.0), (20.0, 20.0, 20.0))
    array = np.where(inside(points(hu), ball), -995.0, hu.array).astype(np.float32)
    hu = hu.with_array(ndimage.gaussian_filter(array, 0.5))
    robust, reference = both(hu, lungs)
    assert ml(robust, hu) == 0.0 and ml(reference, hu) > 20.0


@pytest.mark.parametrize("kept", [0.0, 0.5])
def test_air_that_the_lung_mask_misses_is_found(kept):
    """The mask leaves the air out, wholly or behind a plane through its middle."""
    hu, lungs, truth = crescent(noise=10.0)
    high = points(hu)[..., 2] > np.quantile(points(hu)[..., 2][truth], 1.0 - kept)
    missed = lungs.with_array(np.where(truth & ~high, 0, lungs.array).astype(np.uint8))
    robust, reference = both(hu, missed)
    assert dice(robust, truth) > 0.85
    assert dice(reference, truth) < 0.75


def test_air_behind_the_wide_edges_of_a_reconstruction_is_found():
    hu, lungs, truth = crescent(thickness=40.0)
    wide = ndimage.gaussian_filter(hu.array, 1.5)
    made = hu.with_array(wide, synthetic="reconstructed from radiographs")
    assert dice(air_of(ptx_seg(made, lungs)), truth) > 0.8
    # a CT has no such edges: what lies this far from its wall does not lie on it
    assert not air_of(ptx_seg(hu.with_array(wide), lungs)).any()
    healthy, lungs, _ = chest(FINE)
    soft = ndimage.gaussian_filter(healthy.array, 1.5)
    plain = healthy.with_array(soft, synthetic="reconstructed from radiographs")
    assert not air_of(ptx_seg(plain, lungs)).any()


def test_the_trachea_in_the_lung_mask_is_no_air():
    hu, lungs, _ = chest(FINE, airway=True)
    x, y, z = np.moveaxis(points(hu), -1, 0)
    pipe = (x**2 + (y - 10.0) ** 2 < 9.0**2) & (z > 0.0)
    sloppy = lungs.with_array(np.where(pipe, 1, lungs.array).astype(np.uint8))
    robust, reference = both(hu, sloppy)
    assert ml(robust, hu) == 0.0 and ml(reference, hu) > 10.0


def test_bowel_gas_and_gas_under_the_skin_are_no_pneumothorax():
    hu, lungs, truth = crescent()
    where = points(hu)
    bowel = inside(where, ((-70.0, 0.0, -110.0), (40.0, 40.0, 9.0))) & (lungs.array == 0)
    skin = inside(where, ((-150.0, 0.0, 20.0), (8.0, 40.0, 60.0)))
    array = np.where(bowel | skin, -1000.0, hu.array).astype(np.float32)
    robust = air_of(ptx_seg(hu.with_array(array), lungs))
    assert not (robust & (bowel | skin)).any() and dice(robust, truth) > 0.9


@pytest.mark.parametrize("padding", [-3024.0, -2000.0, -1024.0, 0.0])
def test_padding_and_a_table_change_nothing(padding):
    hu, lungs, truth = crescent(noise=10.0)
    x, y, _ = np.moveaxis(points(hu), -1, 0)
    array = np.where((np.abs(y - 128.0) < 4.0) & (np.abs(x) < 150.0), 50.0, hu.array)
    array = np.where(x**2 + y**2 > 178.0**2, padding, array).astype(np.float32)
    assert dice(air_of(ptx_seg(hu.with_array(array), lungs)), truth) > 0.9


def test_a_cut_chest_wall_does_not_drain_the_air():
    """The scan's edge runs through the right lung: the flood of the outside air would take it all."""
    hu, lungs, truth = crescent(noise=10.0)
    x = points(hu)[..., 0]
    first = int(np.flatnonzero((x > -118.0).all(axis=(0, 1)))[0])
    cut = [v[:, :, first:] for v in (hu.array, lungs.array, truth)]
    small = type(hu)(cut[0], hu.spacing)
    mask = type(hu)(cut[1], hu.spacing, quantity=Quantity.LABEL)
    labels = ptx_seg(small, mask)
    assert dice(air_of(labels), cut[2]) > 0.85
    assert "cuts the lungs at the right side" in labels.meta["warnings"]


def test_thick_slices_are_measured_and_told():
    hu, lungs, truth = crescent(Grid((31, 85, 121), (7.3, 3.0, 2.9)), thickness=20.0)
    labels = ptx_seg(hu, lungs)
    assert dice(air_of(labels), truth) > 0.85 and "7.3 mm" in labels.meta["warnings"]


@pytest.mark.parametrize(
    ("axes", "flips"), [((0, 1, 2), (2,)), ((2, 0, 1), ()), ((1, 2, 0), (0, 2)), ((2, 1, 0), (1,))]
)
def test_storage_order_does_not_matter(axes, flips):
    hu, lungs, _ = crescent(noise=15.0)
    expected = ptx_seg(hu, lungs)
    moved = ptx_seg(reordered(hu, axes, flips), reordered(lungs, axes, flips))
    again = reordered(expected, axes, flips).array
    assert (again == 3).sum() > 0 and (again == 4).sum() == 0
    # Blocks start at the box of the lungs, sums run in another order: a few voxels of the edge may differ.
    assert (moved.array != again).mean() < 1e-4


def test_air_gets_the_side_it_lies_on_and_quantities_follow():
    hu, lungs, truth = crescent()
    mirrored = hu.with_array(hu.array[:, :, ::-1])
    swapped = lungs.with_array(np.array([0, 2, 1], np.uint8)[lungs.array[:, :, ::-1]])
    found = quantify(ptx_seg(mirrored, swapped))
    assert found.left_pneumothorax_ml == pytest.approx(ml(truth, hu), rel=0.12)
    assert found.right_pneumothorax_ml == 0.0
    assert RIGHT_LUNG[0][0] < LEFT_LUNG[0][0] and RIGHT_POCKET[0][0] < 0.0


def test_modes_and_settings_by_name():
    assert isinstance(parameters_of(None, {}), RobustParameters)
    assert isinstance(parameters_of(None, {"minimum_air_ml": 5}), RobustParameters)
    assert parameters_of(None, {"t_p": -940}).t_p == -940.0 and parameters_of(None, {"K_b": 4}).k_b == 4.0
    assert mode_of(parameters_of("reference", {})) == "reference" and mode_of(None) == "robust"
    with pytest.raises(InputError, match="robust"):
        parameters_of("paper", {})
    with pytest.raises(InputError, match="t_p"):
        parameters_of("robust", {"t_p": -950})
    with pytest.raises(ValidationError, match="air_hu"):
        RobustParameters(air_hu=0.0)


def test_every_setting_does_something():
    hu, lungs, truth = crescent(thickness=10.0)
    assert air_of(ptx_seg(hu, lungs)).any()
    for setting in ({"minimum_air_ml": 1000.0}, {"layer_mm": 50.0}):
        assert not air_of(ptx_seg(hu, lungs, RobustParameters(**setting))).any()
    missed = lungs.with_array(np.where(truth, 0, lungs.array).astype(np.uint8))
    for setting in ({"recover": False}, {"recover_ml": 5000.0}):
        assert ml(air_of(ptx_seg(hu, missed, RobustParameters(**setting))), hu) < 0.3 * ml(truth, hu)


def test_wrong_input_is_refused():
    hu, lungs, _ = chest()
    with pytest.raises(InputError, match="empty"):
        ptx_seg(hu, lungs.with_array(np.zeros(hu.shape, np.uint8)))
    with pytest.raises(InputError, match="grid"):
        ptx_seg(hu, lungs.moved((0.0, 0.0, 3.0)))
    with pytest.raises(InputError, match="HU"):
        ptx_seg(lungs, lungs)


# -- regions -------------------------------------------------------------------------------------
@pytest.mark.parametrize("thickness", [1.0, 1.25, 1.4, 1.6])
def test_the_share_on_the_wall_does_not_depend_on_thin_slices(thickness):
    """A slab of air 20 mm thick on a wall two voxels away from it, as the rim of partial volume leaves it."""
    spacing, shape = (thickness, 1.6, 1.6), (round(64.0 / thickness), 40, 40)
    piece, wall, room = (np.zeros(shape, bool) for _ in range(3))
    wall[:, :6], room[:, 6:], piece[4:-4, 8:20, 4:-4] = True, True, True
    g = np.where(piece, -1000.0, -600.0).astype(np.float32)
    region = describe(piece, g, room, wall, Levels(-1000.0, -850.0, 10.0, 0.0), spacing)
    assert region.wall == pytest.approx(0.30, abs=0.02) and region.step == pytest.approx(400.0)


def test_less_wall_is_enough_beside_collapsed_lung_only():
    levels = Levels(air=-1000.0, lung=-850.0, noise=10.0, smooth_mm=0.0)
    clean = Region(
        ml=190.0, offset=-8.0, spread=8.0, wall=0.35, step=265.0, step_low=210.0, vessels=0.0, holes=0.017,
        depth=11.0,
    )  # fmt: skip
    assert is_free_air(clean, levels)
    bulla = {"step": 160.0}  # the lung beside it is as everywhere
    for change in (bulla, {"wall": 0.29}, {"vessels": 0.02}, {"holes": 0.08}, {"ml": 8.0}):
        assert not is_free_air(replace(clean, **change), levels), change
