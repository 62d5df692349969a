"""Refinement of a reconstruction: kept where it helps, undone with the reason where it does not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from xrecon.evaluation.metrics import psnr
from xrecon.physics import pose_fit
from xrecon.physics.drr import render_drrs
from xrecon.physics.geometry import ViewGeometry
from xrecon.trust.refinement import refine
from xrecon.trust.words import trust_lines
from xrecon.volume import InputError, Quantity, Radiograph, Volume

SIDE, SPACING = 24, 15.0


@pytest.fixture(scope="module")
def truth() -> Volume:
    z, y, x = np.meshgrid(*[(np.arange(SIDE) - 11.5) / 12.0] * 3, indexing="ij")
    hu = np.full((SIDE,) * 3, -1000.0, dtype=np.float32)
    hu[(z / 0.95) ** 4 + (y / 0.6) ** 2 + (x / 0.8) ** 2 < 1] = 0.0  # ends within, as no chest does
    hu[(z / 0.6) ** 2 + (y / 0.35) ** 2 + ((x + 0.35) / 0.25) ** 2 < 1] = -800.0
    hu[(z / 0.5) ** 2 + (y / 0.3) ** 2 + ((x - 0.35) / 0.2) ** 2 < 1] = -750.0
    hu[14:17, 8:11, 15:18] = 400.0
    return Volume(hu, (SPACING,) * 3, (-172.5,) * 3)


@pytest.fixture(scope="module")
def inputs(truth: Volume) -> list[Radiograph]:
    names, detector = ("PA", "LEFT LATERAL"), {"shape": (40, 40), "pixel_spacing": (11.0, 11.0)}
    return render_drrs(truth, [ViewGeometry.preset(name, **detector) for name in names])


@pytest.fixture(scope="module")
def estimate(truth: Volume) -> Volume:
    """The truth without its dense block and with other lungs: what a network may give."""
    hu = truth.array.copy()
    hu[14:17, 8:11, 15:18] = 0.0
    hu[hu == -800.0] = -450.0
    hu[hu == -750.0] = -950.0
    return truth.with_array(hu)


def test_a_wrong_volume_comes_nearer_to_the_truth(truth: Volume, inputs: list, estimate: Volume):
    refined = refine(estimate, inputs)
    record = refined.record
    assert record["applied"] and record["iterations"] >= 2
    assert record["relative_residual"]["after"] < 0.4 * record["relative_residual"]["before"]
    assert record["held_out_residual"]["after"] < 0.6 * record["held_out_residual"]["before"]
    before, after = (psnr(v.array, truth.array, data_range=2500.0) for v in (estimate, refined.volume))
    assert after > before + 1.0
    assert refined.volume.same_grid(estimate) and "moved towards" in refined.volume.meta["refinement"]


def test_radiographs_that_contradict_the_volume_leave_it_alone(inputs: list, estimate: Volume):
    noise = np.abs(np.random.default_rng(0).normal(0.0, 6.0, (40, 40)))
    wrong = [replace(r, array=r.array + noise * (r.array > 0.5)) for r in inputs]
    refined = refine(estimate, wrong)
    assert not refined.record["applied"] and refined.record["reason"]
    np.testing.assert_array_equal(refined.volume.array, estimate.array)


def test_a_volume_that_explains_its_radiographs_is_not_touched(truth: Volume, inputs: list):
    record = refine(truth, inputs).record
    assert not record["applied"] and "as far as the voxel size allows" in record["reason"]


def test_pictures_without_scale_and_models_it_does_not_help_are_left(inputs: list, estimate: Volume):
    shown = [replace(r, quantity=Quantity.DISPLAY) for r in inputs]
    assert "without an absolute scale: PA, LEFT LATERAL" in refine(estimate, shown).record["reason"]
    record = refine(estimate, inputs, measured={"psnr_gain_db": -0.1}, poses=True).record
    assert not record["applied"] and "did not help this model" in record["reason"]
    assert record["poses"] == {"applied": False, "reason": "the volume is not refined"}


# -- poses -------------------------------------------------------------------------------------------
def test_a_wrong_pose_is_put_right_before_the_volume_moves(truth: Volume, inputs: list, estimate: Volume):
    """The lateral is said to stand 20 mm off along the patient: with its pose fitted the volume comes nearer
    to the truth than without, and the first view stays."""
    lateral = replace(inputs[1], geometry=inputs[1].geometry.moved(np.eye(3), (0.0, 0.0, 20.0)))
    wrong = [inputs[0], lateral]
    plain, posed = refine(estimate, wrong), refine(estimate, wrong, poses=True)
    told = posed.record["poses"]
    assert told["applied"] and posed.record["applied"] and "poses" not in plain.record
    assert told["held_out_residual"]["with"] < 0.7 * told["held_out_residual"]["without"]
    assert told["structure_residual"]["after"] < 0.5 * told["structure_residual"]["before"]
    first, second = told["views"]
    assert np.abs(first["shift_mm"][:2]).max() < 1.0 and abs(abs(second["shift_mm"][1]) - 20.0) < 3.0
    assert posed.inputs[1].geometry.source[2] == pytest.approx(inputs[1].geometry.source[2], abs=4.0)
    assert "pose refined" in posed.inputs[1].history[-1]
    errors = [psnr(v.volume.array, truth.array, data_range=2500.0) for v in (plain, posed)]
    assert errors[1] > errors[0] + 0.5
    lines = trust_lines({"refinement": posed.record})
    assert any(line.startswith("Poses refined") and "LEFT LATERAL" in line for line in lines)


def test_right_poses_stay_as_they_are(inputs: list, estimate: Volume):
    plain, posed = refine(estimate, inputs), refine(estimate, inputs, poses=True)
    told = posed.record["poses"]
    assert not told["applied"] and told["reason"] and posed.record["applied"]
    np.testing.assert_array_equal(posed.volume.array, plain.volume.array)
    assert all(a.geometry is b.geometry for a, b in zip(posed.inputs, inputs, strict=True))
    assert "Poses left as they were" in trust_lines({"refinement": posed.record})[-1]


def test_poses_beyond_positioning_and_of_one_view_are_left(
    inputs: list, estimate: Volume, monkeypatch: pytest.MonkeyPatch
):
    assert "one radiograph alone" in refine(estimate, inputs[:1], poses=True).record["poses"]["reason"]
    monkeypatch.setattr(pose_fit, "PLAUSIBLE", 0.1)
    lateral = replace(inputs[1], geometry=inputs[1].geometry.moved(np.eye(3), (0.0, 0.0, 20.0)))
    told = refine(estimate, [inputs[0], lateral], poses=True).record["poses"]
    assert not told["applied"] and "no errors of positioning" in told["reason"]


def test_no_fit_sees_the_rays_by_which_poses_are_judged(
    inputs: list, estimate: Volume, monkeypatch: pytest.MonkeyPatch
):
    """The poses were once fitted to whole pictures, the blocks chosen afterwards."""
    lateral = replace(inputs[1], geometry=inputs[1].geometry.moved(np.eye(3), (0.0, 0.0, 20.0)))
    covered = np.arange(1600).reshape(40, 40) < 40
    pictures, right = [replace(inputs[0], covered=covered), lateral], [r.geometry for r in inputs]
    fitted = []
    # covered pixels do not count in the fit (test_pose_fit)
    monkeypatch.setattr(pose_fit, "fit_views", lambda _, shown, *rest: fitted.append(shown) or right)
    told = refine(estimate, pictures, poses=True).record["poses"]
    pa, left = (r.covered for r in fitted[0])
    assert told["applied"] and pa[0].all() and 0.05 < pa[1:].mean() < 0.2 and 0.05 < left.mean() < 0.2
    # whatever the pixels show that are left out, only the judgement of the poses may change
    hidden = (pa & ~covered, left)
    changed = [
        replace(r, array=np.where(out, 2.0 * r.array, r.array))
        for r, out in zip(pictures, hidden, strict=True)
    ]
    other = refine(estimate, changed, poses=True).record["poses"]
    assert other["structure_residual"] == pytest.approx(told["structure_residual"], rel=1e-6)
    assert other["held_out_residual"]["with"] > 2.0 * told["held_out_residual"]["with"]


# -- where it may move ---------------------------------------------------------------------------------


def test_deviations_say_where_it_may_move(inputs: list, estimate: Volume):
    spread = np.zeros(estimate.shape, dtype=np.float32)
    spread[:, :, 12:] = 100.0
    refined = refine(estimate, inputs, estimate.with_array(spread))
    np.testing.assert_allclose(refined.volume.array[:, :, :12], estimate.array[:, :, :12], atol=0.05)
    other = Volume(spread[1:], estimate.spacing, estimate.origin)
    with pytest.raises(InputError, match="deviations on the grid"):
        refine(estimate, inputs, other)
