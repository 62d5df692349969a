"""The reprojection scores: exact on known pictures, and no reward for outlines, air or a wrong side."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from xrecon.evaluation import reprojection
from xrecon.evaluation.reprojection import reproject, reprojection_scores, score_reprojections, tissue_rays
from xrecon.physics.chest_phantom import chest_phantom
from xrecon.physics.drr import render_drrs
from xrecon.physics.geometry import ViewGeometry
from xrecon.preprocess.ct import lung_center, remove_table, resample
from xrecon.volume import Quantity, Radiograph, Volume

VIEWS = ("PA", "LEFT LATERAL")


@pytest.fixture(scope="module")
def truth() -> Volume:
    """The chest phantom on a network's grid about LPS zero."""
    phantom = remove_table(chest_phantom((6.0, 6.0, 6.0), noise_hu=0.0).volume)
    center = lung_center(phantom)
    return resample(phantom, (48,) * 3, (7.5,) * 3, center).moved(-center)


@pytest.fixture(scope="module")
def inputs(truth: Volume) -> list[Radiograph]:
    views = [ViewGeometry.preset(v, shape=(64, 60), pixel_spacing=(6.8, 7.0)) for v in VIEWS]
    return render_drrs(truth, views, names=VIEWS)


def picture(array: np.ndarray, quantity: Quantity = Quantity.LINE_INTEGRAL) -> Radiograph:
    view = ViewGeometry.pa(shape=array.shape, pixel_spacing=(10.0, 12.0))
    return Radiograph(array.astype(np.float64), view, quantity, "PA")


def scores(volume: Volume, inputs: list[Radiograph], mean: np.ndarray | None = None) -> dict:
    return score_reprojections(volume, inputs, reproject(volume, inputs), mean)


def test_scores_of_known_pictures(rng: np.random.Generator):
    p = picture(rng.random((21, 17)) + 2.0)
    rays = np.zeros(p.array.shape, dtype=bool)
    rays[3:18, 2:15] = True
    doubled = picture(np.where(rays, 2.0 * p.array, 99.0))  # rays that do not count may be anything
    assert reprojection_scores(p, doubled, rays) == pytest.approx(
        {"structure_correlation": 1.0, "relative_residual": 0.5}
    )
    shown = picture(1000.0 - 7.0 * p.array, Quantity.DISPLAY)
    assert reprojection_scores(p, shown, rays) == pytest.approx(
        {"structure_correlation": -1.0, "relative_residual_fitted": 0.0}, abs=1e-9
    )
    flat = reprojection_scores(p, picture(np.full(p.array.shape, 3.0)), rays)
    assert flat["structure_correlation"] == 0.0
    nothing = reprojection_scores(p, doubled, np.zeros_like(rays))
    assert nothing["structure_correlation"] == 0.0 and np.isnan(nothing["relative_residual"])


def test_slow_changes_are_no_structure(rng: np.random.Generator):
    """A body's shape shared by two pictures counts little where what they show is unrelated.

    Not nothing: along the rim the local mean is one-sided, which the control of the outline shows.
    """
    rows, columns = np.mgrid[:64, :64] / 63.0 - 0.5
    shape = 8.0 - 12.0 * (rows**2 + columns**2)
    rays = shape > 4.0
    one, other = (picture(shape + 0.2 * rng.standard_normal(shape.shape)) for _ in range(2))
    assert np.corrcoef(one.array[rays], other.array[rays])[0, 1] > 0.9
    assert reprojection_scores(one, other, rays)["structure_correlation"] < 0.4


def test_the_sigma_is_in_millimetres_of_the_patient(rng: np.random.Generator):
    fine = reprojection._pixel_mm(picture(rng.random((5, 5))))
    np.testing.assert_allclose(fine, np.array([10.0, 12.0]) * 1500.0 / 1800.0)


def test_rays_through_tissue_only(truth: Volume, inputs: list[Radiograph]):
    field = reproject(truth.with_array(np.zeros(truth.shape, np.float32)), inputs)
    for seen, whole in zip(inputs, field, strict=True):
        rays = tissue_rays(seen, seen, whole)
        assert 0.1 < rays.mean() < 0.9
        assert seen.array[rays].min() > reprojection.TISSUE_LINE_INTEGRAL
        assert whole.array[rays].min() >= 0.9 * whole.array.max()
        # a radiograph without line integrals takes the rays from the outline of the reconstruction
        shown = replace(seen, array=1.0 + 0.0 * seen.array, quantity=Quantity.DISPLAY)
        np.testing.assert_array_equal(tissue_rays(shown, seen, whole), rays)


@pytest.mark.parametrize("quantity", [Quantity.LINE_INTEGRAL, Quantity.DISPLAY])
def test_the_truth_beats_its_outline_and_another_patient(
    truth: Volume, inputs: list[Radiograph], quantity: Quantity
):
    other = np.roll(truth.array, (3, 2, 4), axis=(0, 1, 2))  # stands for the mean of other patients
    if quantity is Quantity.DISPLAY:
        inputs = [replace(r, array=300.0 + 40.0 * r.array, quantity=quantity) for r in inputs]
    residual = "relative_residual" if quantity is Quantity.LINE_INTEGRAL else "relative_residual_fitted"
    for of_view in scores(truth, inputs, other).values():
        assert of_view["structure_correlation"] > 0.999 and of_view[residual] < 0.001
        for control in ("outline", "mean_volume"):
            assert of_view[f"structure_correlation_{control}"] < 0.8
            assert of_view[f"{residual}_{control}"] > 0.05


def test_a_water_outline_is_not_good_even_where_plain_correlation_is(truth: Volume, inputs: list[Radiograph]):
    """What made this score necessary: over all rays that meet it, a filled outline looks well."""
    water = truth.with_array(np.where(truth.array > -950.0, 0.0, -1000.0).astype(np.float32))
    for seen, projected in zip(inputs, reproject(water, inputs), strict=True):
        hit = projected.array > 0
        assert np.corrcoef(seen.array[hit], projected.array[hit])[0, 1] > 0.75
    assert all(s["structure_correlation"] < 0.7 for s in scores(water, inputs).values())


def test_a_lateral_from_the_wrong_side_falls(truth: Volume, inputs: list[Radiograph]):
    view = ViewGeometry.lateral("right", shape=(64, 60), pixel_spacing=(6.8, 7.0))
    # its pixels, taken for those of a left lateral
    mistaken = replace(
        inputs[1], array=render_drrs(truth, [view])[0].array
    )  # its pixels, taken for a left lateral
    of_view = scores(truth, [inputs[0], mistaken])
    assert of_view["PA"]["structure_correlation"] > 0.999
    assert of_view["LEFT LATERAL"]["structure_correlation"] < 0.8


def test_a_reconstruction_without_a_body_has_scores_and_no_control_to_beat(
    truth: Volume, inputs: list[Radiograph]
):
    air = truth.with_array(np.full(truth.shape, -1000.0, dtype=np.float32))
    for of_view in scores(air, inputs).values():
        assert of_view["structure_correlation"] == 0.0 and of_view["relative_residual"] == pytest.approx(1.0)
    shown = [replace(r, quantity=Quantity.DISPLAY) for r in inputs]  # no rays at all
    of_view = scores(air, shown)["PA"]
    assert of_view["structure_correlation"] == 0.0 and np.isnan(of_view["relative_residual_fitted"])


def test_what_the_score_cannot_see(truth: Volume):
    """Null space: layers exchanged along the rays of a parallel beam change the volume, not the score."""
    view = ViewGeometry.pa(shape=(64, 60), pixel_spacing=(5.0, 6.0), beam="parallel")
    seen = render_drrs(truth, [view], names=["PA"])
    turned = truth.with_array(truth.array[:, ::-1])  # front to back
    assert np.abs(turned.array - truth.array).mean() > 20.0
    assert scores(turned, seen)["PA"]["structure_correlation"] > 0.999
