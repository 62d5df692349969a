"""Synthetic pneumothorax: exact fraction and masks, mass, place of the air, determinism."""

from __future__ import annotations

import numpy as np
import pytest
from ptx_chest import OBLIQUE, Grid, chest, points, reordered
from xrecon.pneumothorax.synthesize import FRACTION_TOLERANCE, add_pneumothorax
from xrecon.volume import InputError, Quantity

SIDE_LABELS = {"right": (1, 3), "left": (2, 4)}


def share(labels, side):
    lung, air = SIDE_LABELS[side]
    return (labels.array == air).sum() / np.isin(labels.array, (lung, air)).sum()


def mass(hu, where):
    return float((hu.array[where].astype(np.float64) + 1000.0).sum()) * hu.voxel_ml / 1000.0


@pytest.mark.parametrize("grid", [Grid(), OBLIQUE], ids=["isotropic", "oblique"])
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize(("position", "fraction"), [("supine", 0.01), ("erect", 0.35), ("supine", 0.9)])
def test_the_fraction_is_met(grid, side, position, fraction):
    hu, lungs, _ = chest(grid)
    _, labels = add_pneumothorax(hu, lungs, side, fraction, position, seed=4)
    count = np.isin(labels.array, SIDE_LABELS[side]).sum()
    assert share(labels, side) == pytest.approx(fraction, abs=1.0 / count)
    assert FRACTION_TOLERANCE >= 1.0 / count
    other = "left" if side == "right" else "right"
    assert share(labels, other) == 0.0


def test_labels_cover_the_lungs_and_touch_nothing_else():
    hu, lungs, _ = chest(noise=10.0)
    result, labels = add_pneumothorax(hu, lungs, "left", 0.4, seed=1)
    assert labels.quantity is Quantity.LABEL and labels.array.dtype == np.uint8
    assert result.quantity is Quantity.HU and result.array.dtype == np.float32
    assert result.same_grid(hu) and labels.same_grid(hu)
    np.testing.assert_array_equal(np.isin(labels.array, (1, 3)), lungs.array == 1)
    assert not ((lungs.array == 2) & ~np.isin(labels.array, (2, 4))).any()
    from scipy import ndimage

    far = ~ndimage.binary_dilation(np.isin(labels.array, (2, 4)), np.ones((3, 3, 3)))
    np.testing.assert_array_equal(result.array[far], hu.array[far])
    assert result.meta["synthetic"] == "pneumothorax" and result.meta["side"] == "left"


def test_the_air_is_air_with_the_noise_of_the_ct():
    hu, lungs, _ = chest(noise=15.0)
    result, labels = add_pneumothorax(hu, lungs, "right", 0.5, seed=1)
    from scipy import ndimage

    deep = ndimage.binary_erosion(labels.array == 3, np.ones((3, 3, 3)))
    assert deep.sum() > 500
    assert result.array[deep].mean() == pytest.approx(-1000.0, abs=3.0)
    steps = np.diff(result.array, axis=2)[deep[:, :, 1:] & deep[:, :, :-1]]
    assert np.median(np.abs(steps)) == pytest.approx(0.6745 * 15.0 * np.sqrt(2), rel=0.25)
    clean, _ = add_pneumothorax(chest()[0], lungs, "right", 0.5, seed=1)
    inner = ndimage.binary_erosion(deep, np.ones((3, 3, 3)))
    np.testing.assert_allclose(clean.array[inner], -1000.0, atol=1.0)


@pytest.mark.parametrize(("fraction", "expected"), [(0.1, 1.0), (0.35, 1.0), (0.6, 1.0), (0.8, 1.0)])
def test_mass_is_conserved_while_the_lung_has_air(fraction, expected):
    hu, lungs, _ = chest()
    before = mass(hu, lungs.array == 1)
    result, labels = add_pneumothorax(hu, lungs, "right", fraction, seed=2)
    assert float(result.meta["mass_ratio"]) == pytest.approx(expected, abs=0.002)
    # measured from outside: the lung's own voxels, the pleural line and wall shares set aside
    from scipy import ndimage

    lung = labels.array == 1
    core = ndimage.binary_erosion(lung | ~np.isin(labels.array, (1, 3)), np.ones((3, 3, 3))) & lung
    density_before = before / float((lungs.array == 1).sum())
    density_after = mass(result, core) / core.sum()
    assert density_after / density_before == pytest.approx(1.0 / (1.0 - fraction), rel=0.15)


def test_mass_conservation_ends_at_soft_tissue():
    hu, lungs, _ = chest()
    dense = hu.with_array(np.where(lungs.array == 1, -500.0, hu.array))
    result, labels = add_pneumothorax(dense, lungs, "right", 0.9, seed=2)
    # 0.5 g/ml squeezed to a tenth would be 5 g/ml: at most 1.04 is kept, a fifth of the mass
    assert float(result.meta["mass_ratio"]) == pytest.approx(0.1 * 1.04 / 0.5, rel=0.05)
    assert result.array[labels.array == 1].max() <= 40.0 + 1e-3


def test_what_is_denser_than_tissue_keeps_its_number():
    hu, lungs, _ = chest()
    array = np.array(hu.array)
    calcified = np.random.default_rng(0).random(hu.shape) < 0.1
    array[(lungs.array == 1) & calcified] = 300.0
    result, labels = add_pneumothorax(hu.with_array(array), lungs, "right", 0.3, seed=2)
    assert result.array[labels.array == 1].max() <= 300.0


def center_of(labels, label):
    return points(labels)[labels.array == label].mean(axis=0)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("grid", [Grid(), OBLIQUE], ids=["isotropic", "oblique"])
def test_air_rises(side, grid):
    hu, lungs, _ = chest(grid)
    lung, air = SIDE_LABELS[side]
    _, supine = add_pneumothorax(hu, lungs, side, 0.3, "supine", seed=0)
    _, erect = add_pneumothorax(hu, lungs, side, 0.3, "erect", seed=0)
    ahead = center_of(supine, lung)[1] - center_of(supine, air)[1]
    above = center_of(erect, air)[2] - center_of(erect, lung)[2]
    assert ahead > 15.0 and above > 15.0
    assert center_of(supine, air)[1] < center_of(erect, air)[1] - 10.0
    assert center_of(erect, air)[2] > center_of(supine, air)[2] + 10.0
    # the lung stays at the mediastinum, and the air lies beside it
    outward = -1.0 if side == "right" else 1.0
    assert outward * (center_of(supine, air)[0] - center_of(supine, lung)[0]) > 0.0


def test_air_and_lung_are_each_one_piece():
    from xrecon.pneumothorax.morphology import label_components

    hu, lungs, _ = chest()
    for position in ("supine", "erect"):
        _, labels = add_pneumothorax(hu, lungs, "right", 0.3, position, seed=5)
        for label in (1, 3):
            sizes = np.sort(label_components(labels.array == label, 26)[1][1:])
            assert sizes[-1] / sizes.sum() > 0.97


def test_more_air_contains_less_air():
    hu, lungs, _ = chest()
    small, large = (add_pneumothorax(hu, lungs, "left", f, seed=3)[1].array == 4 for f in (0.2, 0.5))
    assert not (small & ~large).any()


def test_vessels_move_with_the_lung():
    hu, lungs, _ = chest()
    array = np.array(hu.array)
    where = points(hu)
    marker = (np.abs(where[..., 0] + 110.0) < 8.0) & (np.abs(where[..., 2] - 6.0) < 8.0)
    marker &= (np.abs(where[..., 1]) < 30.0) & (lungs.array == 1)  # a vessel inside, not touching the wall
    array[marker] = 30.0
    result, labels = add_pneumothorax(hu.with_array(array), lungs, "right", 0.5, "supine", seed=0)
    dense = (result.array > -450.0) & (labels.array == 1)
    assert where[dense][:, 0].mean() > where[marker][:, 0].mean() + 15.0  # towards the hilum
    assert not (result.array[labels.array == 3] > -300.0).any()


def test_the_same_seed_gives_the_same_arrays_and_another_seed_does_not():
    hu, lungs, _ = chest(noise=10.0)
    first, second, other = (add_pneumothorax(hu, lungs, "right", 0.3, seed=s) for s in (7, 7, 8))
    np.testing.assert_array_equal(first[0].array, second[0].array)
    np.testing.assert_array_equal(first[1].array, second[1].array)
    assert (first[1].array != other[1].array).any()


def test_input_is_not_changed_and_storage_order_does_not_matter():
    hu, lungs, _ = chest(OBLIQUE)
    before = hu.array.copy(), lungs.array.copy()
    _, labels = add_pneumothorax(hu, lungs, "right", 0.3, seed=7)
    np.testing.assert_array_equal(hu.array, before[0])
    np.testing.assert_array_equal(lungs.array, before[1])
    moved = [reordered(v, (2, 0, 1), (0, 2)) for v in (hu, lungs)]
    _, again = add_pneumothorax(*moved, "right", 0.3, seed=7)
    expected = reordered(labels, (2, 0, 1), (0, 2))
    # sums in another order differ in the last digit, which may move single voxels on the pleura
    assert (again.array != expected.array).sum() <= 0.002 * (expected.array == 3).sum()


def test_the_clamp_of_the_ct_holds():
    hu, lungs, _ = chest(noise=30.0)
    clamped = hu.with_array(np.maximum(np.rint(hu.array), -1024).astype(np.int16))
    result, _ = add_pneumothorax(clamped, lungs, "right", 0.5, seed=1)
    assert result.array.min() >= -1024.0 and np.isfinite(result.array).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"side": "both"}, "side"), ({"position": "prone"}, "position"), ({"fraction": 0.0}, "fraction"),
        ({"fraction": 0.95}, "fraction"), ({"fraction": float("nan")}, "fraction"),
    ],
)  # fmt: skip
def test_wrong_options_are_refused(change, words):
    hu, lungs, _ = chest()
    with pytest.raises(InputError, match=words):
        add_pneumothorax(hu, lungs, **change)


def test_wrong_volumes_are_refused():
    hu, lungs, _ = chest()
    with pytest.raises(InputError, match="grid"):
        add_pneumothorax(hu, lungs.moved((1.0, 0.0, 0.0)))
    with pytest.raises(InputError, match="at least 30 ml"):
        add_pneumothorax(hu, lungs.with_array(np.where(lungs.array == 2, 2, 0)), "right")
    with pytest.raises(InputError, match="HU"):
        add_pneumothorax(lungs, lungs)
