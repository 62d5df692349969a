"""Methods without a trained network, and trained ones, under one call."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_models
import torch
from trunk import trunk
from xrecon.evaluation.calibration import fit_hu
from xrecon.evaluation.methods import Cube, Example, Method, create_method, list_methods
from xrecon.methods import reconstruction_method
from xrecon.nets.attenuation_field import fit_attenuation_field
from xrecon.physics.attenuation import hu_to_attenuation
from xrecon.physics.drr import render_drrs
from xrecon.physics.geometry import ViewGeometry
from xrecon.physics.poses import turned
from xrecon.physics.projector import Projector
from xrecon.volume import InputError, Quantity, Radiograph, Volume

CUBE = Cube(side=12, spacing_mm=26.0)
CENTER = (4.0, -7.0, 11.0)


def seen(volume: Volume, isocenter: tuple[float, float, float] = CENTER) -> list[Radiograph]:
    options = {"shape": (40, 44), "pixel_spacing": (11.0, 10.0), "isocenter": isocenter}
    return render_drrs(volume, [ViewGeometry.pa(**options), ViewGeometry.lateral(**options)])


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    return [Example(f"person{seed}", seen(trunk(seed)), trunk(seed)) for seed in range(3)]


@pytest.fixture(scope="module")
def patient() -> tuple[Volume, list[Radiograph]]:
    return trunk(7), seen(trunk(7))


def error_hu(volume: Volume, truth: Volume) -> float:
    return float(np.sqrt(np.mean((volume.array - CUBE.of(truth, np.array(CENTER))) ** 2)))


QUICK = {"sirt": {"iterations": 10}, "fdk": {}, "attenuation-field": {"steps": 30}}


@pytest.mark.parametrize("name", list_methods())
def test_every_method_answers_in_its_place_and_the_same_again(name, examples, patient):
    method = create_method(name, CUBE, examples, **QUICK.get(name, {}))
    truth, radiographs = patient
    volume = method(radiographs)
    assert volume.shape == (12,) * 3 and volume.quantity is Quantity.HU and volume.meta["method"] == name
    np.testing.assert_allclose(volume.center, CENTER, atol=1e-6)
    assert volume.array.dtype == np.float32 and np.isfinite(volume.array).all()
    assert volume.array.min() >= -1024 and volume.array.max() <= 1476
    np.testing.assert_array_equal(method(radiographs).array, volume.array)
    assert method.name == name and method.cube == CUBE
    # better than air and water alike: what a stub could say
    for constant in (-1000.0, 0.0):
        assert error_hu(volume, truth) < error_hu(volume.with_array(np.full((12,) * 3, constant)), truth)


@pytest.mark.parametrize("name", sorted(QUICK))
def test_what_looks_at_the_patient_moves_with_the_patient(name, patient):
    """No examples needed; patient and views moved together give the moved volume."""
    method, offset = create_method(name, CUBE, **QUICK[name]), np.array([30.0, -12.0, 55.0])
    truth, radiographs = patient
    there = method(seen(truth.moved(offset), tuple(np.array(CENTER) + offset)))
    here = method(radiographs)
    np.testing.assert_allclose(there.center - here.center, offset, atol=1e-6)
    assert np.abs(there.array - here.array).mean() < 8.0
    other = method(seen(trunk(3)))
    assert np.abs(other.array - here.array).mean() > 20.0


@pytest.mark.parametrize("name", sorted(QUICK))
def test_calibration_on_examples_lowers_the_error(name, examples, patient):
    truth, radiographs = patient
    raw, fitted = (create_method(name, CUBE, e, **QUICK[name])(radiographs) for e in ((), examples))
    assert error_hu(fitted, truth) < error_hu(raw, truth)


def test_the_nearest_subject_is_the_patient_when_the_patient_is_among_them(examples):
    method = create_method("nearest-subject", CUBE, examples)
    for example in examples:
        found, similarity = method.nearest(example.radiographs)
        assert found.name == example.name and similarity == pytest.approx(1.0)
        np.testing.assert_array_equal(
            method(example.radiographs).array, CUBE.of(example.volume, np.array(CENTER))
        )
    oblique = ViewGeometry.pa(shape=(40, 44), pixel_spacing=(11.0, 10.0), isocenter=CENTER)
    with pytest.raises(InputError, match="view that the examples have"):
        method(render_drrs(trunk(7), [turned(oblique, (0.0, 0.0, 45.0))]))


def test_the_mean_volume_is_the_mean(examples, patient):
    volume = create_method("mean-volume", CUBE, examples)(patient[1])
    expected = np.mean([CUBE.of(e.volume, np.array(CENTER)) for e in examples], axis=0)
    np.testing.assert_allclose(volume.array, expected, atol=1e-3)


def test_what_cannot_be_used_is_refused_with_what_can(examples, patient):
    with pytest.raises(InputError, match="attenuation-field.*got 'art'"):
        create_method("art", CUBE)
    with pytest.raises(InputError, match="does not take"):
        create_method("mean-volume", CUBE, examples, depth=3)
    for name in ("mean-volume", "nearest-subject"):
        with pytest.raises(InputError, match="examples"):
            create_method(name, CUBE)
    grey = [Radiograph(r.array, r.geometry, Quantity.DISPLAY, r.view) for r in patient[1]]
    with pytest.raises(InputError, match="line integrals for sirt"):
        create_method("sirt", CUBE)(grey)


def test_a_trained_model_is_a_method_like_the_others(tmp_path, patient):
    folder = tiny_models.save_backprojection(tmp_path / "model")
    method: Method = reconstruction_method(folder)
    volume = method(patient[1])
    assert method.name == "tiny-test-backprojection" and volume.shape == (method.cube.side,) * 3
    np.testing.assert_allclose(volume.center, CENTER, atol=1e-6)
    assert reconstruction_method("fdk", CUBE).name == "fdk"
    with pytest.raises(InputError, match="no options"):
        reconstruction_method(folder, iterations=3)
    with pytest.raises(InputError, match="no-such"):
        reconstruction_method("no-such")


def test_the_line_of_the_calibration_is_found():
    x = np.random.default_rng(0).normal(size=(4, 5, 6)) * 300 - 400
    line = fit_hu([(x, 0.5 * x + 80.0), (x + 100, 0.5 * (x + 100) + 80.0)])
    assert (line.slope, line.offset) == (pytest.approx(0.5), pytest.approx(80.0))
    flat = fit_hu([(np.full((2, 2), -300.0), np.array([[0.0, 10.0], [20.0, 30.0]]))])
    assert flat.slope == 0.0 and flat.offset == pytest.approx(15.0)


def test_the_attenuation_field_explains_its_views_and_keeps_its_budget():
    volume = trunk(2, spacing=(26.0, 26.0, 26.0), shape=(12, 12, 12))
    views = [ViewGeometry.pa(shape=(24, 24)), ViewGeometry.lateral(shape=(24, 24))]
    truth = hu_to_attenuation(torch.as_tensor(volume.array).float())[None, None]
    projections = Projector(views, (12,) * 3, (26.0,) * 3)(truth)
    fit = fit_attenuation_field(projections, views, (12,) * 3, (26.0,) * 3, steps=120)
    assert fit.residuals[-1] < 0.1 * fit.residuals[0] and len(fit.residuals) == 120
    assert (fit.volume >= 0).all()
    again = fit_attenuation_field(projections, views, (12,) * 3, (26.0,) * 3, steps=3)
    assert again.residuals == pytest.approx(fit.residuals[:1] + again.residuals[1:])
    short = fit_attenuation_field(projections, views, (12,) * 3, (26.0,) * 3, steps=50, seconds=1e-9)
    assert len(short.residuals) == 1
    smooth = fit_attenuation_field(
        projections, views, (12,) * 3, (26.0,) * 3, steps=120, variation=3.0
    ).volume
    assert smooth.diff(dim=4).abs().mean() < fit.volume.diff(dim=4).abs().mean()
    with pytest.raises(InputError, match="a step or more"):
        fit_attenuation_field(projections, views, (12,) * 3, (26.0,) * 3, steps=0)
