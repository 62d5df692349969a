"""The look-up curve: monotone, sigmoid, lungs at their level, each step switchable, any exposure."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from xrecon.physics.chest_phantom import chest_phantom
from xrecon.physics.film import GREY_LEVELS, develop
from xrecon.physics.geometry import VIEWS, ViewGeometry
from xrecon.physics.radiography import render_radiographs
from xrecon.physics.radiography_settings import RadiographySettings
from xrecon.preprocess.ct import lung_center

PLAIN = RadiographySettings(film_equalization=0.0, film_edges=0.0)
EVERYWHERE = torch.ones(40, 50, dtype=torch.bool)


def ramp():
    return torch.linspace(0.0, 6.0, 2000, dtype=torch.float64).reshape(40, 50)


def test_the_plain_curve_is_the_sigmoid_of_dicom():
    """output = max / (1 + exp(-4 (x - center) / width)), PS3.3 C.11.2.1.3.1."""
    grey = develop(ramp(), EVERYWHERE, (1.0, 1.0), PLAIN) / (GREY_LEVELS - 1)
    x = ramp()
    assert (grey.flatten().diff() >= 0).all()
    inner = (grey > 0.02) & (grey < 0.98)
    logit = torch.log(grey[inner] / (1 - grey[inner]))
    slope, _ = np.polyfit(x[inner], logit, 1)
    assert slope == pytest.approx(4.0 / PLAIN.film_latitude, rel=1e-2)
    level = x.flatten()[int(0.2 * (x.numel() - 1))]
    assert float(grey.flatten()[(x.flatten() - level).abs().argmin()]) == pytest.approx(0.2, abs=2e-3)


def test_only_the_patient_s_pixels_set_the_level():
    """Air around him, or a wider detector, does not make the picture brighter."""
    x, patient = ramp(), ramp() > 2.0
    some = develop(x, patient, (1.0, 1.0), PLAIN)
    x2 = torch.where(patient, x, torch.zeros_like(x))
    np.testing.assert_array_equal(develop(x2, patient, (1.0, 1.0), PLAIN)[patient], some[patient])
    np.testing.assert_array_equal(develop(x + 0.5, patient, (1.0, 1.0), PLAIN), some)


def test_each_step_does_what_it_is_for():
    coarse = torch.where(torch.arange(200) < 100, 1.0, 4.0).double().expand(100, 200)
    fine = coarse + 0.1 * torch.cos(torch.arange(200).double() * 2)
    everywhere = torch.ones(100, 200, dtype=torch.bool)
    plain, equalized, edged = (
        develop(fine, everywhere, (1.0, 1.0), PLAIN.changed(film_latitude=8.0, film_lung_grey=0.3, **changes))
        for changes in ({}, {"film_equalization": 0.5, "film_equalization_mm": 10.0}, {"film_edges": 1.0})
    )

    def step(p):
        return float(p[:, 150:].mean() - p[:, :50].mean())

    def ripple(p):
        return float((p - p.mean(dim=1, keepdim=True))[:, 20:60].std(dim=1).mean())

    assert step(equalized) < 0.7 * step(plain)
    assert ripple(equalized) > 0.9 * ripple(plain)
    assert ripple(edged) > 1.7 * ripple(plain)
    assert step(edged) == pytest.approx(step(plain), rel=0.05)


@pytest.fixture(scope="module")
def films():
    ct = chest_phantom(spacing=(4.0, 3.0, 3.0)).volume
    views = [ViewGeometry.preset(v, shape=(128, 128), isocenter=tuple(lung_center(ct))) for v in VIEWS]
    return dict(zip(VIEWS, render_radiographs(ct, views, RadiographySettings.chest()), strict=True))


@pytest.mark.parametrize("view", ["PA", "AP"])
def test_a_frontal_film_has_black_air_dark_lungs_and_a_white_mediastinum(films, view):
    grey = films[view].array / (GREY_LEVELS - 1)
    assert grey[60, 1] < 0.12, "air beside the patient"
    lung = np.median(grey[50:60, 38:46])
    mediastinum = np.median(grey[70:80, 62:68])
    assert 0.08 < lung < 0.4 and mediastinum > 0.6
    inside = grey[grey > 0.05]
    assert np.ptp(np.percentile(inside, [5, 95])) > 0.5, "the grey scale is used"


def test_a_lateral_film_is_neither_black_nor_white(films):
    for view in ("LEFT LATERAL", "RIGHT LATERAL"):
        grey = films[view].array / (GREY_LEVELS - 1)
        inside = grey[grey > 0.05]
        low, middle, high = np.percentile(inside, [5, 50, 95])
        assert low < 0.35 < 0.8 < high + 0.15 and 0.25 < middle < 0.75
