"""Metrics against hand-computed numbers, scikit-image and MONAI, and under symmetries."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from monai.metrics import (
    DiceMetric,
    compute_average_surface_distance,
    compute_hausdorff_distance,
    compute_iou,
)
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from xrecon.evaluation import metrics as m
from xrecon.evaluation import surface_distance
from xrecon.preprocess.masks import surface
from xrecon.volume import InputError

SPACING = (2.5, 0.7, 1.3)


@pytest.fixture
def images(rng):
    reference = rng.uniform(0, 1, (9, 11, 13))
    return np.clip(reference + rng.normal(0, 0.1, reference.shape), 0, 1), reference


def _blob(shape, center, radii, power=2.0):
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    return (np.abs((grid - np.array(center)) / np.array(radii)) ** power).sum(axis=-1) <= 1.0


@pytest.fixture(params=["apart", "nested", "touching the edge", "one voxel", "ragged"])
def masks(request, rng):
    shape = (15, 21, 17)
    if request.param == "apart":
        return _blob(shape, (4, 5, 5), (3, 4, 4)), _blob(shape, (10, 14, 11), (3, 5, 4))
    if request.param == "nested":
        return _blob(shape, (7, 10, 8), (3, 4, 3)), _blob(shape, (7, 10, 8), (6, 8, 7), 3.0)
    if request.param == "touching the edge":
        return _blob(shape, (0, 0, 2), (9, 8, 5)), _blob(shape, (1, 2, 0), (8, 9, 7))
    if request.param == "one voxel":
        single = np.zeros(shape, bool)
        single[3, 17, 6] = True
        return single, _blob(shape, (8, 10, 8), (5, 6, 4))
    noise = rng.random(shape) < 0.1
    return _blob(shape, (7, 10, 8), (5, 7, 5)) ^ noise, _blob(shape, (7, 11, 8), (5, 6, 6))


# -- images --------------------------------------------------------------------------------------
def test_golden_numbers_by_hand():
    reference = np.zeros((2, 2, 2))
    prediction = reference.copy()
    prediction[0, 0, 0] = 0.8
    prediction[1, 1, 1] = -0.4
    assert m.mae(prediction, reference) == pytest.approx(1.2 / 8)
    assert m.mse(prediction, reference) == pytest.approx(0.8 / 8)
    assert m.psnr(prediction, reference, data_range=1.0) == pytest.approx(10.0)
    # each axis has one slice of MSE 0.16 (7.9588 dB) and one of 0.04 (13.9794 dB)
    for axis in (0, 1, 2, "mean"):
        assert m.psnr(prediction, reference, data_range=1.0, axis=axis) == pytest.approx(10.9691, abs=1e-4)


def test_data_range_of_two_published_codes_is_worth_four_decibel(images):
    ours, theirs = (m.psnr(*images, data_range=r) for r in (2500.0, 4095.0))
    assert theirs - ours == pytest.approx(20 * math.log10(4095 / 2500), abs=1e-9)
    assert theirs - ours == pytest.approx(4.29, abs=0.01)


def test_psnr_and_ssim_are_scikit_images(images):
    p, r = images
    expected = peak_signal_noise_ratio(r, p, data_range=1.0)
    assert m.psnr(p, r, data_range=1.0) == pytest.approx(expected, abs=1e-10)
    assert m.ssim(p, r, data_range=1.0) == pytest.approx(
        structural_similarity(p, r, data_range=1.0), abs=1e-12
    )
    for axis in range(3):
        pairs = list(zip(np.moveaxis(p, axis, 0), np.moveaxis(r, axis, 0), strict=True))
        slices = [structural_similarity(a, b, data_range=1.0) for a, b in pairs]
        assert m.ssim(p, r, data_range=1.0, axis=axis) == pytest.approx(np.mean(slices), abs=1e-12)
        slices = [peak_signal_noise_ratio(b, a, data_range=1.0) for a, b in pairs]
        assert m.psnr(p, r, data_range=1.0, axis=axis) == pytest.approx(np.mean(slices), abs=1e-10)


def test_mean_is_the_mean_of_the_three_axes(images):
    for metric in (m.psnr, m.ssim):
        axes = [metric(*images, data_range=1.0, axis=a) for a in range(3)]
        assert np.ptp(axes) > 1e-4
        assert metric(*images, data_range=1.0, axis="mean") == pytest.approx(np.mean(axes))


def test_unit_and_window_do_not_matter_when_the_range_goes_along(images):
    p, r = images
    hu = [x * 2500.0 - 1024.0 for x in images]
    assert m.psnr(*hu, data_range=2500.0) == pytest.approx(m.psnr(p, r, data_range=1.0), abs=1e-9)
    assert m.mae(*hu) == pytest.approx(2500 * m.mae(p, r))
    # SSIM's means shift with the offset; a factor alone changes nothing
    scaled = m.ssim(p * 2500.0, r * 2500.0, data_range=2500.0)
    assert scaled == pytest.approx(m.ssim(p, r, data_range=1.0), abs=1e-9)


def test_perfect_images():
    image = np.arange(8 * 9 * 10, dtype=np.float32).reshape(8, 9, 10)
    assert m.psnr(image, image, data_range=1.0) == math.inf
    assert m.psnr(image, image, data_range=1.0, axis=1) == 100.0
    assert m.ssim(image, image, data_range=700.0) == pytest.approx(1.0)
    assert m.cosine_similarity(image, image) == pytest.approx(1.0)
    assert m.mae(image, image) == m.mse(image, image) == 0.0


def test_symmetry_and_flips(images):
    p, r = images
    flipped = p[::-1, :, ::-1], r[::-1, :, ::-1]
    for metric in (m.psnr, m.ssim):
        value = metric(p, r, data_range=1.0)
        assert metric(r, p, data_range=1.0) == pytest.approx(value, abs=1e-12)
        assert metric(*flipped, data_range=1.0) == pytest.approx(value, abs=1e-12)
        turned = metric(p.transpose(2, 0, 1), r.transpose(2, 0, 1), data_range=1.0, axis=0)
        assert turned == pytest.approx(metric(p, r, data_range=1.0, axis=2), abs=1e-12)


def test_metrics_get_worse_with_noise(rng, images):
    _, r = images
    noise = rng.normal(0, 1, r.shape)
    rows = [
        (m.psnr(r + s * noise, r, data_range=1.0), m.ssim(r + s * noise, r, data_range=1.0))
        for s in (0.05, 0.2)
    ]
    assert rows[0][0] - rows[1][0] == pytest.approx(20 * math.log10(4), abs=1e-9)
    assert rows[0][1] > rows[1][1]


def test_integer_images_do_not_wrap_around():
    low, high = np.full((7, 7, 7), -1024, np.int16), np.full((7, 7, 7), 3071, np.int16)
    assert m.mae(low, high) == 4095.0
    assert m.mse(np.zeros((7, 7, 7), np.uint8), np.full((7, 7, 7), 255, np.uint8)) == 255.0**2


def test_cosine_ignores_a_factor_but_not_an_offset(images):
    p, r = images
    assert m.cosine_similarity(3 * p, r) == pytest.approx(m.cosine_similarity(p, r))
    assert abs(m.cosine_similarity(p - 0.5, r - 0.5) - m.cosine_similarity(p, r)) > 0.01
    assert math.isnan(m.cosine_similarity(0 * p, r))


def test_mask_limits_the_comparison(images):
    p, r = (x.copy() for x in images)
    mask = np.zeros(p.shape, bool)
    mask[2:7, 3:9, 2:11] = True
    inner = (slice(2, 7), slice(3, 9), slice(2, 11))
    assert m.psnr(p, r, data_range=1.0, mask=mask) == pytest.approx(
        m.psnr(p[inner], r[inner], data_range=1.0)
    )
    before = m.mae(p, r, mask), m.cosine_similarity(p, r, mask)
    p[~mask] = 77.0
    assert (m.mae(p, r, mask), m.cosine_similarity(p, r, mask)) == before
    whole = m.ssim(*images, data_range=1.0, mask=np.ones(p.shape))
    assert whole == pytest.approx(m.ssim(*images, data_range=1.0), abs=0.05)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda a: m.mae(a, a[1:]), "one shape"),
        (lambda a: m.mse(a[0], a[0]), "one shape"),
        (lambda a: m.mae(np.where(a > 0.5, np.nan, a), a), "finite voxels in the prediction"),
        (lambda a: m.psnr(a, np.where(a > 0.5, np.inf, a), data_range=1.0), "finite voxels in the reference"),
        (lambda a: m.psnr(a, a, data_range=0.0), "data_range"),
        (lambda a: m.ssim(a, a, data_range=-1.0), "data_range"),
        (lambda a: m.psnr(a, a, data_range=1.0, axis=3), "axis"),
        (lambda a: m.psnr(a, a, data_range=1.0, axis=0, mask=a), "mask"),
        (lambda a: m.ssim(a[:6], a[:6], data_range=1.0), "at least 7"),
        (lambda a: m.mae(a, a, np.zeros(a.shape)), "mask"),
        (lambda a: m.mae(a, a, np.ones((2, 2, 2))), "mask"),
        (lambda a: m.dice(a, a[0]), "two masks"),
        (lambda a: m.hd95(a, a, (1.0, 1.0)), "spacings"),
        (lambda a: m.assd(a, a, (1.0, 1.0, 0.0)), "spacings"),
        (lambda a: m.pearson([1.0], [1.0]), "at least 2"),
    ],
)
def test_bad_input_is_refused(images, call, message):
    with pytest.raises(InputError, match=message):
        call(images[0])


def test_thin_images_still_have_slice_wise_ssim(images):
    p, r = (x[:3] for x in images)
    assert 0 < m.ssim(p, r, data_range=1.0, axis=0) < 1
    with pytest.raises(InputError, match="at least 7"):
        m.ssim(p, r, data_range=1.0, axis="mean")


# -- segmentations -------------------------------------------------------------------------------
def _torch(mask):
    return torch.from_numpy(np.asarray(mask, np.uint8))[None, None]


def test_overlap_is_monais(masks):
    p, r = masks
    expected = DiceMetric()(_torch(p), _torch(r)).item()
    assert m.dice(p, r) == pytest.approx(expected, abs=1e-6)
    assert m.jaccard(p, r) == pytest.approx(compute_iou(_torch(p), _torch(r)).item(), abs=1e-6)
    assert m.jaccard(p, r) == pytest.approx(m.dice(p, r) / (2 - m.dice(p, r)))


@pytest.mark.parametrize("spacing", [SPACING, (1.0, 1.0, 1.0)])
def test_surface_distances_are_monais(masks, spacing):
    p, r = masks
    a, b = _torch(p), _torch(r)
    options = {"include_background": True, "spacing": spacing}
    hausdorff = compute_hausdorff_distance(a, b, percentile=95, **options).item()
    one_way = compute_average_surface_distance(a, b, **options).item()
    both_ways = compute_average_surface_distance(a, b, symmetric=True, **options).item()
    assert m.hd95(p, r, spacing) == pytest.approx(hausdorff, abs=1e-4)
    assert m.asd(p, r, spacing) == pytest.approx(one_way, abs=1e-4)
    assert m.assd(p, r, spacing) == pytest.approx(both_ways, abs=1e-4)


@pytest.mark.parametrize(
    ("near_steps", "max_far", "used"),
    [(0.5, 0, "_by_transform"), (8.0, 500, "_by_tree"), (0.5, 10**6, "_by_tree")],
)
def test_tree_and_transform_give_one_answer(masks, monkeypatch, near_steps, max_far, used):
    p, r = masks
    expected = np.concatenate(surface_distance.surface_distances(p, r, SPACING))
    monkeypatch.setattr(surface_distance, "NEAR_STEPS", near_steps)
    monkeypatch.setattr(surface_distance, "MAX_FAR_POINTS", max_far)
    monkeypatch.setattr(surface_distance, "MAX_SURFACE_SHARE", 2.0)
    calls = []
    for name in ("_by_tree", "_by_transform"):
        function = getattr(surface_distance, name)

        def noted(*arguments, name=name, function=function):
            found = function(*arguments)
            calls.append(name if found is not None else "")
            return found

        monkeypatch.setattr(surface_distance, name, noted)
    found = np.concatenate(surface_distance.surface_distances(p, r, SPACING))
    assert used in calls
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_all_at_once_are_the_single_metrics(masks):
    p, r = masks
    found = m.compare_masks(p, r, SPACING)
    assert found["dice"] == m.dice(p, r) and found["jaccard"] == m.jaccard(p, r)
    for name, metric in (("hd95_mm", m.hd95), ("asd_mm", m.asd), ("assd_mm", m.assd)):
        assert found[name] == metric(p, r, SPACING)
    assert found["volume_error_ml"] == pytest.approx(m.volume_error_ml(p, r, SPACING))
    assert found["relative_volume_error"] == pytest.approx(m.relative_volume_error(p, r))


def test_not_applicable_is_none():
    empty, full = np.zeros((5, 6, 7), bool), np.ones((5, 6, 7), bool)
    nothing = m.compare_masks(empty, empty, SPACING)
    assert nothing.pop("volume_error_ml") == 0.0
    assert set(nothing.values()) == {None}
    missed = m.compare_masks(empty, full, SPACING)
    assert missed["dice"] == missed["jaccard"] == 0.0 and missed["relative_volume_error"] == -1.0
    assert missed["hd95_mm"] is missed["asd_mm"] is missed["assd_mm"] is None


def test_shifted_plane_distances_by_hand():
    p, r = np.zeros((5, 9, 7), bool), np.zeros((5, 9, 7), bool)
    p[:, 2, :], r[:, 5, :] = True, True
    assert m.hd95(p, r, SPACING) == pytest.approx(3 * 0.7, abs=1e-6)
    assert m.asd(p, r, SPACING) == pytest.approx(3 * 0.7, abs=1e-6)
    assert m.dice(p, r) == m.jaccard(p, r) == 0.0


def test_distances_under_symmetries(masks):
    p, r = masks
    for metric in (m.hd95, m.assd):
        assert metric(p, r, SPACING) == pytest.approx(metric(r, p, SPACING), abs=1e-9)
    value = m.assd(p, r, SPACING)
    turned = m.assd(p.transpose(2, 0, 1), r.transpose(2, 0, 1), (SPACING[2], SPACING[0], SPACING[1]))
    assert turned == pytest.approx(value, abs=1e-5)
    assert m.assd(p[:, ::-1], r[:, ::-1], SPACING) == pytest.approx(value, abs=1e-5)
    doubled = m.assd(p, r, tuple(2 * s for s in SPACING))
    assert doubled == pytest.approx(2 * value, rel=1e-5)
    padded = m.assd(np.pad(p, 4), np.pad(r, 4), SPACING)
    assert padded == pytest.approx(value, abs=1e-5)


def test_a_prediction_that_misses_half_is_near_one_way_only():
    r = np.zeros((9, 21, 9), bool)
    r[2:7, 2:19, 2:7] = True
    p = r.copy()
    p[:, 10:] = False
    assert m.asd(p, r, (1.0, 1.0, 1.0)) < 0.4 < 1.0 < m.assd(p, r, (1.0, 1.0, 1.0))


def test_identical_masks(masks):
    p, _ = masks
    assert m.dice(p, p) == m.jaccard(p, p) == 1.0
    assert m.hd95(p, p, SPACING) == m.asd(p, p, SPACING) == m.assd(p, p, SPACING) == 0.0


def test_empty_masks_give_no_fake_number():
    empty, full = np.zeros((5, 6, 7), bool), np.ones((5, 6, 7), bool)
    assert math.isnan(m.dice(empty, empty)) and math.isnan(m.jaccard(empty, empty))
    assert m.dice(empty, full) == m.jaccard(full, empty) == 0.0
    for metric in (m.hd95, m.asd, m.assd):
        for pair in ((empty, empty), (empty, full), (full, empty)):
            assert math.isnan(metric(*pair, SPACING))
    assert math.isnan(m.relative_volume_error(full, empty))
    assert m.relative_volume_error(empty, full) == -1.0


def test_volume_errors_keep_their_sign():
    p, r = np.zeros((4, 5, 6), np.uint8), np.zeros((4, 5, 6), np.uint8)
    p[0, 0, :5], r[1, 1, :4] = 3, 1
    assert m.volume_error_ml(p, r, (10.0, 20.0, 5.0)) == pytest.approx(1.0)
    assert m.relative_volume_error(p, r) == pytest.approx(0.25)
    assert m.volume_error_ml(r, p, (10.0, 20.0, 5.0)) == pytest.approx(-1.0)


def test_surface_counts_the_image_border_as_outside():
    assert surface(np.ones((3, 4, 5))).sum() == 3 * 4 * 5 - 1 * 2 * 3


def test_pearson_is_numpys(rng):
    a, b = rng.normal(size=(2, 17))
    assert m.pearson(a, b) == pytest.approx(np.corrcoef(a, b)[0, 1])
    assert m.pearson(a, 2 * a + 5) == pytest.approx(1.0)
    assert math.isnan(m.pearson([1.0, 1.0], [1.0, 2.0]))


def test_limits_of_agreement_by_hand():
    bias, low, high = m.limits_of_agreement([11.0, 9.0, 13.0], [10.0, 10.0, 10.0])
    assert bias == pytest.approx(1.0)
    assert (low, high) == pytest.approx((1.0 - 1.96 * 2.0, 1.0 + 1.96 * 2.0))
    with pytest.raises(InputError, match="at least 2"):
        m.limits_of_agreement([1.0], [1.0])
