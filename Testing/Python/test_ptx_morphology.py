"""Ball morphology against SimpleITK voxel by voxel, components and floods against known answers."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from xrecon.pneumothorax import morphology
from xrecon.volume import InputError

SPACINGS = [(1.0, 1.0, 1.0), (2.5, 0.7, 0.8), (1.0, 3.0, 2.0)]
RADII = [0.5, 2.0, 3.3]


def mask_of(rng, density=0.06):
    """Random voxels and a block on three faces: what happens at borders is part of the answer."""
    mask = rng.random((11, 17, 19)) < density
    mask[:3, 5:9] = True
    mask[8:, 12:, 15:] = True
    return mask


def image(mask):
    return sitk.GetImageFromArray(mask.astype(np.uint8))


def array(result):
    return sitk.GetArrayFromImage(result) > 0


def kernel(radius_mm, spacing):
    return [int(r) for r in morphology.ball_radius(radius_mm, spacing)][::-1]


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("radius", RADII)
def test_closing_is_simpleitks_ball_closing(rng, spacing, radius):
    mask = mask_of(rng)
    expected = sitk.BinaryMorphologicalClosing(image(mask), kernel(radius, spacing), sitk.sitkBall, 1, True)
    closed = morphology.close(mask, radius, spacing)
    assert closed.sum() > mask.sum()
    np.testing.assert_array_equal(closed, array(expected))


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("radius", RADII)
def test_dilation_erosion_opening_are_simpleitks(rng, spacing, radius):
    mask, size = mask_of(rng), kernel(radius, spacing)
    dilated = sitk.BinaryDilate(image(mask), size, sitk.sitkBall, 0, 1, False)
    np.testing.assert_array_equal(morphology.dilate(mask, radius, spacing), array(dilated))
    eroded = sitk.BinaryErode(image(~mask), size, sitk.sitkBall, 0, 1, True)
    np.testing.assert_array_equal(morphology.erode(~mask, radius, spacing), array(eroded))
    dense = morphology.close(mask, 3.0, spacing)
    opened = sitk.BinaryMorphologicalOpening(image(dense), size, sitk.sitkBall, 0, 1)
    np.testing.assert_array_equal(morphology.open_(dense, radius, spacing), array(opened))


def test_radius_is_in_millimetres_with_a_voxel_minimum():
    assert morphology.ball_radius(0.0, (1, 1, 1)) == (0, 0, 0)
    assert morphology.ball_radius(3.0, (10.0, 1.5, 0.7)) == (1, 2, 4)
    mask = np.zeros((5, 5, 5), bool)
    mask[2, 2, 2] = True
    np.testing.assert_array_equal(morphology.dilate(mask, 0.0, (1, 1, 1)), mask)
    assert morphology.dilate(mask, 0.1, (1, 1, 1)).sum() == 19  # one voxel: ellipsoid of semi-axis 1.5


@pytest.mark.parametrize("radius", [-1.0, float("nan"), float("inf")])
def test_a_wrong_radius_is_refused(radius):
    with pytest.raises(InputError, match="radius"):
        morphology.close(np.ones((3, 3, 3), bool), radius, (1, 1, 1))


def test_operations_are_monotone_and_idempotent(rng):
    mask = mask_of(rng, 0.1)
    closed, opened = (f(mask, 2.0, SPACINGS[1]) for f in (morphology.close, morphology.open_))
    assert np.all(closed | ~mask) and np.all(mask | ~opened)
    np.testing.assert_array_equal(morphology.close(closed, 2.0, SPACINGS[1]), closed)
    np.testing.assert_array_equal(morphology.open_(opened, 2.0, SPACINGS[1]), opened)


@pytest.mark.parametrize("full", [True, False])
def test_full_and_empty_masks_stay(full):
    mask = np.full((4, 5, 6), full)
    for operation in (morphology.close, morphology.open_, morphology.dilate, morphology.erode):
        np.testing.assert_array_equal(operation(mask, 3.0, (1, 2, 1)), mask)
    np.testing.assert_array_equal(morphology.fill_slices(mask), mask)
    np.testing.assert_array_equal(morphology.fill_cavities(mask), mask)
    np.testing.assert_array_equal(morphology.largest(mask), mask)


def test_the_border_does_not_erode():
    mask = np.zeros((9, 9, 9), bool)
    mask[:, :, :4] = True  # touches five faces
    np.testing.assert_array_equal(morphology.close(mask, 3.0, (1, 1, 1)), mask)
    np.testing.assert_array_equal(morphology.open_(mask, 1.0, (1, 1, 1)), mask)


def test_drop_small_keeps_only_more_than_the_limit():
    mask = np.zeros((3, 3, 9), bool)
    mask[1, 1, 0:2] = True
    mask[1, 1, 4:7] = True
    assert morphology.drop_small(mask, 2.0, 1.0).sum() == 3
    assert morphology.drop_small(mask, 3.0, 1.0).sum() == 0
    assert morphology.drop_small(mask, 1.9, 1.0).sum() == 5


def test_connectivity_decides_what_a_component_is():
    mask = np.zeros((4, 4, 4), bool)
    mask[0, 0, 0] = mask[1, 1, 1] = True
    assert morphology.largest(mask, 6).sum() == 1
    assert morphology.largest(mask, 26).sum() == 2


def test_flood_reaches_only_what_the_seeds_join():
    free = np.ones((5, 5, 5), bool)
    free[2] = False
    low = morphology.flood(free, [(0, 0, 0)])
    assert low[:2].all() and not low[2:].any()
    np.testing.assert_array_equal(morphology.flood(free, [(0, 0, 0), (4, 4, 4)]), free)
    assert not morphology.flood(free, [(2, 2, 2)]).any()  # a seed in a wall reaches nothing


def test_holes_in_slices_and_cavities_in_space():
    tube = np.ones((5, 7, 7), bool)
    tube[:, 3, 3] = False  # a hole in every slice, but open at both ends
    assert morphology.fill_slices(tube).all()
    open_end = np.pad(tube, ((1, 1), (0, 0), (0, 0)))
    np.testing.assert_array_equal(morphology.fill_cavities(open_end), open_end)
    shell = np.ones((5, 7, 7), bool)
    shell[2, 3, 3] = False
    assert morphology.fill_cavities(shell).all()
