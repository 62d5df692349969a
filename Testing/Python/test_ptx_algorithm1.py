"""Reference mode against a plain composition of SimpleITK filters, voxel by voxel, on random scenes."""

from __future__ import annotations

import numpy as np
import pytest
from ptx_simpleitk import simpleitk_ptx_seg
from scipy import ndimage
from xrecon.pneumothorax import ellipsoid_bits, morphology, sides
from xrecon.pneumothorax.algorithm1 import algorithm1
from xrecon.pneumothorax.parameters import PtxParameters
from xrecon.volume import Quantity, Volume


def scene(seed: int) -> tuple[Volume, Volume, PtxParameters]:
    """Blobs of air, lung and tissue with holes, on a small odd grid, with random parameters."""
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers((15, 25, 61), (24, 40, 75)))
    spacing = tuple(float(s) for s in rng.uniform((0.8, 0.6, 0.6), (3.0, 1.7, 1.7)))

    def blobs(scale: float) -> np.ndarray:
        field = ndimage.gaussian_filter(rng.normal(size=shape), scale)
        return field / field.std()

    z, y, x = (np.linspace(-1, 1, n).reshape([-1 if a == k else 1 for a in range(3)])
               for k, n in enumerate(shape))
    body = (x / 0.9) ** 2 + (y / 0.9) ** 2 + 0.15 * blobs(2.0) < 1.0
    right, left = (
        ((x - c) / 0.35) ** 2 + (y / 0.55) ** 2 + (z / 0.8) ** 2 + 0.2 * blobs(1.5) < 1.0
        for c in (-0.38, 0.38)
    )
    lungs = np.where(right & body, 1, np.where(left & body, 2, 0)).astype(np.uint8)
    hu = np.where(body, 40.0, -1000.0) - 880.0 * (lungs > 0)
    hu[(lungs > 0) & (blobs(1.5) > 0.6)] = -985.0
    hu[(blobs(1.0) > 2.5) & body] = -1000.0  # pipes and pits, some of them up to the skin
    hu += rng.normal(0.0, 25.0, shape)
    lungs[blobs(1.0) > 1.4] = 0  # what a network misses
    lungs[:, :, -3:] = np.where(rng.random((*shape[:2], 3)) < 0.01, 2, 0)  # and finds outside, at the border
    parameters = PtxParameters(
        k_b=float(rng.choice([0.0, 1.5, 4.0])), k_l=float(rng.choice([0.0, 2.0, 5.0])),
        k_p=float(rng.choice([0.0, 1.0, 2.5])), v_t=float(rng.choice([0.0, 0.02, 0.1])),
        t_b=-500.0 + float(rng.integers(-100, 100)), connectivity=int(rng.choice([6, 26])),
    )  # fmt: skip
    hu[0, 0, 0] = hu[-1, -1, -1] = -1000.0
    volume = Volume(hu.astype(np.float32), spacing, (3.0, -2.0, 7.0))
    return volume, volume.with_array(lungs, Quantity.LABEL), parameters


@pytest.mark.parametrize("seed", range(24))
def test_reference_mode_is_the_simpleitk_composition(seed):
    volume, lungs, parameters = scene(seed)
    expected = simpleitk_ptx_seg(volume.array, lungs.array, volume.spacing, parameters)
    np.testing.assert_array_equal(algorithm1(volume, lungs, parameters).array, expected)


def test_the_scenes_are_worth_comparing():
    found = [algorithm1(*scene(seed)) for seed in range(24)]
    air = sum((labels.array == 3).any() and (labels.array == 4).any() for labels in found)
    leaks = sum("leaked" in labels.meta["warnings"] for labels in found)
    assert air >= 12 and 3 <= leaks <= 20


@pytest.mark.parametrize("seed", range(12))
def test_packed_balls_are_the_distance_transforms(seed, monkeypatch):
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(1, (14, 23, 140)))
    mask = rng.random(shape) < rng.choice([0.002, 0.05, 0.6])
    spacing, radius = rng.uniform(0.4, 3.0, 3), float(rng.uniform(0.3, 9.0))
    operations = (morphology.dilate, morphology.erode, morphology.close, morphology.open_)
    packed = [operation(mask, radius, spacing) for operation in operations]
    monkeypatch.setattr(morphology, "MAX_BALL_ROWS", 0)
    for operation, found in zip(operations, packed, strict=True):
        np.testing.assert_array_equal(found, operation(mask, radius, spacing))


@pytest.mark.parametrize("columns", [1, 63, 64, 65, 130])
def test_bits_and_steps_hide_nothing(columns, rng, monkeypatch):
    mask = rng.random((7, 5, columns)) < 0.1
    words = ellipsoid_bits.pack(mask)
    assert words.shape == (7, 5, -(-columns // 64))
    np.testing.assert_array_equal(ellipsoid_bits.unpack(words, columns), mask)
    widths = ellipsoid_bits.half_widths((2, 3, 70))
    whole = ellipsoid_bits.dilate_words(words, widths)
    monkeypatch.setattr(ellipsoid_bits, "STEP_WORDS", 1)
    np.testing.assert_array_equal(ellipsoid_bits.dilate_words(words, widths), whole)


def test_half_widths_are_the_ellipsoid():
    radius = (2, 4, 3)
    dz, dy, dx = np.ogrid[:3, :5, :4]
    inside = (dz / 2.5) ** 2 + (dy / 4.5) ** 2 + (dx / 3.5) ** 2 <= 1.0
    np.testing.assert_array_equal(ellipsoid_bits.half_widths(radius), inside.sum(axis=2) - 1)
    near = (dz * 2.0) ** 2 + (dy * 1.0) ** 2 + (dx * 1.5) ** 2 <= 4.7**2
    found = ellipsoid_bits.metric_half_widths(4.7, (2.0, 1.0, 1.5))
    np.testing.assert_array_equal(found, near.sum(axis=2) - 1)


@pytest.mark.parametrize("seed", range(8))
def test_the_reach_changes_no_side(seed):
    rng = np.random.default_rng(seed)
    labels = rng.choice([0, 1, 2], (9, 17, 71), p=[0.97, 0.015, 0.015]).astype(np.uint8)
    where = rng.random(labels.shape) < 0.5
    spacing = tuple(rng.uniform(0.5, 3.0, 3))
    right, left = (ndimage.distance_transform_edt(labels != k, spacing) for k in (1, 2))
    expected = np.where(where, np.where(right <= left, 1, 2), 0)
    for reach in (0.5, 3.0, 6.0, 20.0, 500.0):
        np.testing.assert_array_equal(sides.nearest_side(labels, where, spacing, reach), expected)
