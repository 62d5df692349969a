"""Tissue beyond the field of view: found on cut phantoms, completed nearer to the truth, left alone else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rotations import rotation_matrix
from xrecon.io.image import read_volume
from xrecon.physics.chest_phantom import chest_phantom
from xrecon.physics.drr import render_drrs
from xrecon.physics.geometry import ViewGeometry
from xrecon.preprocess.ct import remove_table
from xrecon.preprocess.projection import prepare_for_projection
from xrecon.preprocess.truncation import complete, field_of_view, find_truncation
from xrecon.volume import Volume


@pytest.fixture(scope="module")
def whole() -> Volume:
    """A chest without arms beside it: the trunk below the shoulders, odd and anisotropic."""
    ct = chest_phantom(spacing=(5.0, 3.5, 3.0), table=True).volume
    below = np.arange(ct.shape[0]) * ct.spacing[0] + ct.origin[2] < 60.0
    return Volume(ct.array[below], ct.spacing, ct.origin, ct.direction)


def cropped(volume: Volume, left_mm: float, right_mm: float) -> Volume:
    """The volume without so many mm at the low and the high end of x."""
    low, high = (round(mm / volume.spacing[2]) for mm in (left_mm, right_mm))
    origin = volume.index_to_world(np.array([low, 0.0, 0.0]))
    array = volume.array[:, :, low : volume.shape[2] - high].copy()
    return Volume(array, volume.spacing, tuple(origin), volume.direction)


def through_a_circle(volume: Volume, radius_mm: float, padding: float = -1024.0) -> Volume:
    """What a scanner reconstructs: a circle about the middle of each slice, padded around."""
    y, x = (
        (np.arange(n) - (n - 1) / 2) * s for n, s in zip(volume.shape[1:], volume.spacing[1:], strict=True)
    )
    array = volume.array.copy()
    array[:, np.hypot(y[:, None], x) > radius_mm] = padding
    return volume.with_array(array)


def body_margin(volume: Volume) -> tuple[float, float]:
    """mm of air before the body along x, at its low and high end."""
    hit = np.flatnonzero((remove_table(volume).array > -400).any(axis=(0, 1)))
    return hit[0] * volume.spacing[2], (volume.shape[2] - 1 - hit[-1]) * volume.spacing[2]


def cuts(whole: Volume) -> dict[str, Volume]:
    low, high = body_margin(whole)
    width = whole.shape[2] * whole.spacing[2]
    return {
        "both sides": cropped(whole, low + 12.0, high + 17.0),
        "one side": cropped(whole, low + 15.0, high - 10.0),
        "circle": through_a_circle(whole, (width - low - high) / 2 - 12.0),
    }


def lateral_error(volume: Volume, truth: Volume) -> float:
    """RMS difference of line integrals of a left lateral view where the truth meets tissue."""
    views = [ViewGeometry.lateral(shape=(70, 80))]
    ours, theirs = (render_drrs(v, views)[0].array for v in (volume, truth))
    return float(np.sqrt(np.mean((ours - theirs)[theirs > 1.0] ** 2)))


@pytest.mark.parametrize("name", ["both sides", "one side", "circle"])
def test_completion_brings_the_lateral_view_nearer_to_the_truth(whole: Volume, name: str):
    truth, cut = remove_table(whole), cuts(whole)[name]
    completed, (warning,) = prepare_for_projection(cut)
    left, (told,) = prepare_for_projection(cut, complete=False)
    before, after = lateral_error(left, truth), lateral_error(completed, truth)
    assert before > 0.05, "the cut is worth completing"
    assert after < 0.5 * before
    assert "ml of tissue were added" in warning and "lack the tissue" in told
    missing = (truth.array > -400).sum() * truth.voxel_ml - (left.array > -400).sum() * left.voxel_ml
    added = float(completed.meta["completed"].removesuffix(" ml"))
    assert 0.5 * missing < added < 1.6 * missing


def test_completion_keeps_what_the_ct_shows(whole: Volume):
    """Inside the field nothing changes but the blurred rim, and that only upwards; places stay."""
    cut = remove_table(cuts(whole)["both sides"])
    truncation = find_truncation(cuts(whole)["both sides"])
    completed = complete(cut, truncation)
    first = np.rint(completed.world_to_index(np.array(cut.origin))).astype(int)[::-1]
    inner = completed.array[tuple(slice(f, f + n) for f, n in zip(first, cut.shape, strict=True))]
    assert (inner >= cut.array).all()
    assert (inner != cut.array).mean() < 0.015
    deep = slice(4, -4)
    np.testing.assert_array_equal(inner[:, :, deep], cut.array[:, :, deep])
    assert completed.array.dtype == cut.array.dtype


def test_a_whole_body_is_left_alone(whole: Volume):
    assert not find_truncation(whole).gap.any()
    prepared, warnings = prepare_for_projection(whole)
    assert warnings == [] and prepared.shape == whole.shape
    np.testing.assert_array_equal(prepared.array, remove_table(whole).array)
    kept, _ = prepare_for_projection(whole, table=False)
    np.testing.assert_array_equal(kept.array, whole.array)


def test_the_cut_is_where_it_was_made(whole: Volume):
    one = find_truncation(cuts(whole)["one side"])
    degrees = np.flatnonzero(one.gap.any(axis=0))
    assert len(degrees) and (np.abs(degrees - 180) < 60).all(), "at low x, where it was cut"
    assert 0.01 < one.fraction < 0.2 and 0 < one.slices <= whole.shape[0]
    both = find_truncation(cuts(whole)["both sides"])
    assert both.fraction > one.fraction


def test_slices_cut_all_around_are_told_to_be_left_as_they_are(whole: Volume):
    """Tissue fills the circle: no skin tells how the body goes on; nobody shall think it was completed."""
    filled = through_a_circle(whole.with_array(np.full(whole.shape, 30, np.int16)), 60.0)
    prepared, warnings = prepare_for_projection(filled)
    assert find_truncation(filled).slices_without_skin == filled.shape[0]
    assert f"{filled.shape[0]} slices are cut all around and were not continued" in warnings[-1]
    _, warnings = prepare_for_projection(cuts(whole)["both sides"])
    assert not any("all around" in warning for warning in warnings)


def test_oblique_grids_are_completed_in_their_own_planes(whole: Volume):
    cut = cuts(whole)["both sides"]
    turned = Volume(cut.array, cut.spacing, (10.0, -20.0, 30.0), rotation_matrix((1.0, 0.3, 2.0), 24.0))
    a, b = prepare_for_projection(cut)[0], prepare_for_projection(turned)[0]
    np.testing.assert_array_equal(a.array, b.array)
    shift = cut.world_to_index(np.array(a.origin))
    np.testing.assert_allclose(turned.world_to_index(np.array(b.origin)), shift, atol=1e-6)


def test_a_field_of_view_needs_a_full_circle(whole: Volume, rng):
    noisy = whole.with_array(whole.array + rng.normal(0, 8, whole.shape).astype(np.float32))
    circle = through_a_circle(noisy, 130.0)
    found = field_of_view(circle)
    assert found.mean() == pytest.approx((circle.array[0] != -1024).mean(), abs=0.02)
    assert field_of_view(noisy).all(), "no padding"
    still = np.where(whole.array > -900, whole.array, -1000)  # air without noise is no padding
    assert field_of_view(whole.with_array(still)).all()


@pytest.mark.parametrize(
    ("subject", "is_cut"), [("nsclc_radiogenomics_r01-001", True), ("fourdlung_113", False)]
)
def test_real_cts(subject: str, is_cut: bool, data_dir: Path):
    ct = read_volume(data_dir / f"{subject}.nii.gz")
    # every third slice will do
    ct = Volume(ct.array[::3], (3 * ct.spacing[0], *ct.spacing[1:]), ct.origin, ct.direction)
    prepared, warnings = prepare_for_projection(ct)
    assert bool(warnings) == is_cut
    if is_cut:
        added = float(prepared.meta["completed"].removesuffix(" ml"))
        assert 50 < added < 1500 and prepared.shape[2] > ct.shape[2]
