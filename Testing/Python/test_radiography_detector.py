"""Noise against theory, modulation transfer, glare, range; the same on any pixels and in any company."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from radiography_inputs import areal, bare, flat_view, slab
from xrecon.physics.blurring import convolve, exponential, gaussian, lorentzian
from xrecon.physics.detector import absorption
from xrecon.physics.geometry import ViewGeometry
from xrecon.physics.radiography import render_radiographs, take_radiograph
from xrecon.physics.spectrum import tube_spectrum
from xrecon.volume import Volume

SHAPE = (211, 190)


def relative_variance(settings, water_g_per_cm2, kerma_ugy, area_mm2, kerma_behind=True):
    """Var(signal) / signal^2 of a pixel by compound Poisson statistics, from the spectrum itself."""
    beam = tube_spectrum(settings.tube_kvp, settings.aluminium_mm, settings.copper_mm)
    left = beam.behind({"water": water_g_per_cm2})
    reference = left if kerma_behind else beam
    photons = left.photons_per_mm2 * kerma_ugy / reference.air_kerma_ugy * area_mm2
    absorbed = photons * absorption(settings, beam.energies_kev)
    gain = np.ones_like(absorbed) if settings.detector == "photons" else beam.energies_kev
    return (absorbed @ gain**2) / (absorbed @ gain) ** 2


@pytest.mark.parametrize("detector", ["CsI", "energy", "photons"])
@pytest.mark.parametrize("kerma", [0.5, 5.0])
@pytest.mark.parametrize("exposure_at", ["patient", "air"])
def test_quantum_noise_of_a_flat_field(detector, kerma, exposure_at):
    """Behind 8 cm of water, after the logarithm: the variance is that of the absorbed photons."""
    view = flat_view(SHAPE, (0.3, 0.2))
    settings = bare(
        noise=True, electronic_noise_ugy=0.0, detector=detector, detector_air_kerma_ugy=kerma,
        exposure_at=exposure_at,
    )  # fmt: skip
    picture = take_radiograph(areal(8.0, shape=SHAPE), view, settings, seed=11).array
    quiet = take_radiograph(areal(8.0, shape=SHAPE), view, settings.changed(noise=False)).array
    expected = relative_variance(settings, 8.0, kerma, 0.06, exposure_at == "patient")
    # the standard error of a variance of n values is sqrt(2 / n) of it; the logarithm adds a little
    assert picture.var() == pytest.approx(expected, rel=4 * np.sqrt(2 / picture.size) + 2 * expected)
    assert picture.mean() == pytest.approx(quiet.mean(), abs=expected + 4 * np.sqrt(expected / picture.size))


def test_electronic_noise_equals_quantum_noise_at_the_kerma_named():
    """In the open beam at that kerma the variance doubles; behind the patient it does not depend on him."""
    view = flat_view(SHAPE, (0.3, 0.2))
    nothing = areal(0.0, shape=SHAPE)
    settings = bare(noise=True, electronic_noise_ugy=0.4, detector_air_kerma_ugy=0.4, exposure_at="air")
    both = take_radiograph(nothing, view, settings, seed=3).array
    quantum = take_radiograph(nothing, view, settings.changed(electronic_noise_ugy=0.0), seed=3).array
    assert np.exp(-both).var() / np.exp(-quantum).var() == pytest.approx(2.0, rel=0.05)
    deep, bright = areal(12.0, shape=SHAPE), settings.changed(detector_air_kerma_ugy=20.0)
    extra = []
    for amount in (nothing, deep):
        loud, calm = (
            np.exp(-take_radiograph(amount, view, bright.changed(electronic_noise_ugy=e), seed=3).array)
            for e in (0.4, 0.0)
        )
        extra.append((loud - calm).var())
    assert extra[0] == pytest.approx(extra[1], rel=0.05)


def test_noise_of_binned_pixels_is_that_of_large_pixels():
    settings = bare(noise=True, detector_air_kerma_ugy=1.0, electronic_noise_ugy=0.3)
    fine, coarse = (
        np.exp(
            -take_radiograph(areal(10.0, shape=(n, n)), flat_view((n, n), (mm, mm)), settings, seed=n).array
        )
        for n, mm in ((400, 0.2), (100, 0.8))
    )
    binned = fine.reshape(100, 4, 100, 4).mean(axis=(1, 3))
    assert binned.var() == pytest.approx(coarse.var(), rel=0.06)


def test_blur_carries_quantum_noise_and_not_electronic_noise():
    view = flat_view(SHAPE, (0.2, 0.2))
    base = bare(noise=True, detector_air_kerma_ugy=2.0, exposure_at="air")
    nothing = areal(0.0, shape=SHAPE)

    def neighbours(settings):
        a = take_radiograph(nothing, view, settings, seed=5).array.astype(float)
        a = a - a.mean()
        return (a[:, 1:] * a[:, :-1]).mean() / a.var()

    assert abs(neighbours(base.changed(electronic_noise_ugy=0.0))) < 0.02
    correlated = neighbours(base.changed(electronic_noise_ugy=0.0, blur=True))
    assert correlated > 0.2
    assert neighbours(base.changed(electronic_noise_ugy=5.0, blur=True)) < 0.5 * correlated


@pytest.mark.parametrize("mtf", [0.4, 0.7])
def test_a_bar_pattern_is_modulated_as_stated(mtf):
    """A sine of 1 line pair per mm keeps the share of its amplitude that the settings name."""
    n, spacing = 400, 0.1
    x = torch.arange(n, dtype=torch.float64) * spacing
    for frequency, expected in ((1.0, mtf), (2.0, 1 / (1 + (1 / mtf - 1) * 4))):
        wave = (torch.cos(2 * torch.pi * frequency * x) + 3.0).expand(30, n)
        out = convolve(wave, lorentzian(mtf), (0.37, spacing), 5.0)[15, 100:300]
        amplitude = 2 * (out * torch.cos(2 * torch.pi * frequency * x[100:300])).mean()
        assert float(amplitude) == pytest.approx(expected, abs=0.01)
        assert float(out.mean()) == pytest.approx(3.0, abs=1e-6)


@pytest.mark.parametrize(
    "kernel", [(gaussian(20.0), 80.0), (exponential(15.0), 120.0), (lorentzian(0.6), 5.0)]
)
def test_kernels_keep_flat_fields_and_sums_and_are_linear(kernel, rng):
    response, reach = kernel
    flat = torch.full((17, 23), 0.7, dtype=torch.float64)
    np.testing.assert_allclose(convolve(flat, response, (3.0, 5.0), reach), 0.7, rtol=1e-9)
    a, b = (torch.as_tensor(rng.random((17, 23))) for _ in range(2))
    out = convolve(a, response, (3.0, 5.0), reach)
    assert float(out.sum()) == pytest.approx(float(a.sum()), rel=5e-3)
    both = convolve(torch.stack([a, b]), response, (3.0, 5.0), reach)
    np.testing.assert_allclose(both[0], out, rtol=1e-9)
    mixed = convolve(2 * a - b, response, (3.0, 5.0), reach)
    np.testing.assert_allclose(mixed, 2 * both[0] - both[1], atol=1e-9)


def test_a_point_is_spread_as_the_kernel_says():
    """Away from the middle a point's image is the kernel itself, in 1/mm2."""
    point = torch.zeros(161, 161, dtype=torch.float64)
    point[80, 80] = 1 / 4.0  # one unit on 2 x 2 mm
    r = torch.hypot(*torch.meshgrid(*[(torch.arange(161.0) - 80) * 2] * 2, indexing="ij")).double()
    ring = (r > 20) & (r < 60)
    wide = exponential(15.0)
    expected = torch.exp(-r / 15) / (2 * torch.pi * 15**2)
    np.testing.assert_allclose(convolve(point, wide, (2.0, 2.0), 120.0)[ring], expected[ring], rtol=0.03)
    expected = torch.exp(-(r**2) / 2 / 20**2) / (2 * torch.pi * 20**2)
    np.testing.assert_allclose(
        convolve(point, gaussian(20.0), (2.0, 2.0), 80.0)[ring], expected[ring], rtol=1e-3
    )


def test_glare_fills_the_shadow_of_a_lead_disc():
    """Behind a disc far wider than the glare nothing arrives; behind a small one the glare's share does."""
    shape, spacing = (201, 201), (1.0, 1.0)
    y, x = np.ogrid[-100:101, -100:101]
    shares = []
    for radius in (3, 90):
        disc = torch.as_tensor(np.where(x**2 + y**2 < radius**2, 100.0, 0.0))
        settings = bare(glare=True, glare_fraction=0.08, glare_radius_mm=10.0, exposure_at="air")
        picture = take_radiograph(areal(disc, shape=shape), flat_view(shape, spacing), settings)
        shares.append(float(np.exp(-picture.array[100, 100])))
    assert 0.04 < shares[0] < 0.08
    assert shares[1] < 2e-4


def test_lead_gives_a_finite_picture():
    """Nothing arrives behind a metre of bone at 20 keV: the electronic noise is all there is."""
    amounts = torch.where(torch.arange(48) < 24, 500.0, 1.0).double()
    settings = bare(spectrum="mono", energy_kev=20.0, noise=True)
    picture = take_radiograph(areal(0.0, amounts), flat_view((64, 48)), settings).array
    assert np.isfinite(picture).all() and picture[:, :20].min() > picture[:, 30:].max()


def test_signal_ends_where_the_detector_saturates():
    amounts = torch.linspace(0, 30, 48, dtype=torch.float64)
    settings = bare(saturation=True, saturation_ugy=10.0, exposure_at="air", detector_air_kerma_ugy=40.0)
    cut = take_radiograph(areal(amounts), flat_view((64, 48)), settings).array[0]
    free = take_radiograph(areal(amounts), flat_view((64, 48)), settings.changed(saturation=False)).array[0]
    np.testing.assert_allclose(cut, np.maximum(free, np.log(4.0)), rtol=1e-6)


def test_a_picture_does_not_depend_on_the_pixel_size():
    """Scatter, glare, blur and film of a smooth patient: the same at 1 and at 2 mm, to interpolation."""
    settings = bare(scatter=True, grid=True, glare=True, blur=True, output="log")
    pictures = []
    for n in (160, 320):
        offsets = (torch.arange(n, dtype=torch.float64) - (n - 1) / 2) * 320.0 / n
        r2 = offsets[:, None] ** 2 / 110.0**2 + offsets**2 / 90.0**2
        amount = 18.0 * torch.exp(-r2) + 4.0 * (r2 < 1e9)
        view = flat_view((n, n), (320.0 / n, 320.0 / n))
        pictures.append(take_radiograph(areal(amount, shape=(n, n)), view, settings).array)
    binned = pictures[1].reshape(160, 2, 160, 2).mean(axis=(1, 3))
    assert np.abs(binned - pictures[0]).max() < 2e-3


def test_noise_depends_on_seed_and_view_alone():
    views = [ViewGeometry.pa(shape=(15, 17)), ViewGeometry.lateral(shape=(15, 17))]
    volume: Volume = slab(-300.0)
    settings = bare(noise=True)
    together = render_radiographs(volume, views, settings, seed=7)
    alone = render_radiographs(volume, views[1:], settings, seed=7)[0]
    np.testing.assert_array_equal(together[1].array, alone.array)
    again = ViewGeometry.from_dict(views[1].to_dict())
    np.testing.assert_array_equal(render_radiographs(volume, [again], settings, seed=7)[0].array, alone.array)
    other = render_radiographs(volume, views[1:], settings, seed=8)[0]
    assert (other.array != alone.array).mean() > 0.9
    turned = render_radiographs(volume, [ViewGeometry.lateral("right", shape=(15, 17))], settings, seed=7)[0]
    noise = [
        p.array - render_radiographs(volume, [v], bare())[0].array
        for p, v in ((alone, views[1]), (turned, turned.geometry))
    ]
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.3


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_same_picture_on_a_gpu():
    views = [ViewGeometry.pa(shape=(31, 33))]
    for settings in (bare(scatter=True, grid=True, glare=True, blur=True), bare(output="film")):
        cpu, gpu = (render_radiographs(slab(0.0), views, settings, device=d)[0] for d in ("cpu", "cuda"))
        step = 1.0 if settings.output == "film" else 1e-4
        np.testing.assert_allclose(gpu.array, cpu.array, rtol=1e-4, atol=step)
