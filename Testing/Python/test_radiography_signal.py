"""The primary beam through slabs, pictures against their parts, and what a radiograph says of itself."""

from __future__ import annotations

import json

import numpy as np
import pytest
from radiography_inputs import areal, bare, flat_view, slab
from xrecon.physics.attenuation import water_attenuation
from xrecon.physics.detector import absorption
from xrecon.physics.drr import render_drrs
from xrecon.physics.geometry import ViewGeometry
from xrecon.physics.materials import bone_hu, density, mass_attenuation
from xrecon.physics.radiography import RadiographySettings, render_radiographs, take_radiograph
from xrecon.physics.spectrum import tube_spectrum
from xrecon.volume import InputError, Quantity, Volume


def log_signal(settings, material, g_per_cm2):
    """-log of the share of the signal that is left: the definition, with the spectrum's own arithmetic."""
    beam = tube_spectrum(settings.tube_kvp, settings.aluminium_mm, settings.copper_mm)
    response = absorption(settings, beam.energies_kev)
    if settings.detector != "photons":
        response = response * beam.energies_kev
    left = beam.behind({material: g_per_cm2})
    return -np.log(left.photons_per_mm2 @ response / (beam.photons_per_mm2 @ response))


@pytest.mark.parametrize("detector", ["CsI", "Gd2O2S", "energy", "photons"])
@pytest.mark.parametrize("kvp", [70.0, 120.0])
def test_slabs_of_water_and_bone(detector, kvp):
    settings = bare(detector=detector, tube_kvp=kvp)
    (water,) = render_radiographs(slab(0.0), [flat_view()], settings)
    np.testing.assert_allclose(water.array, log_signal(settings, "water", 20.0), rtol=1e-5)
    pure = bone_hu("cortical bone", 70.0)
    (bone,) = render_radiographs(slab(pure, 5), [flat_view()], settings)
    amount = 5.0 * density("cortical bone")
    np.testing.assert_allclose(bone.array, log_signal(settings, "cortical bone", amount), rtol=1e-4)


def test_effective_attenuation_falls_with_thickness():
    per_mm = []
    for voxels in (2, 5, 10, 20, 30):
        (picture,) = render_radiographs(slab(0.0, voxels), [flat_view()], bare())
        per_mm.append(picture.array.mean() / (10.0 * voxels))
    assert (np.diff(per_mm) < -1e-5).all()
    soft, hard = (water_attenuation(energy) for energy in (45.0, 90.0))
    assert soft > per_mm[0] > per_mm[-1] > hard


def chest(rng) -> Volume:
    """Something of everything, oblique and anisotropic."""
    array = rng.uniform(-1024, 1500, (11, 13, 9)).astype(np.float32)
    return Volume(array, (21.0, 17.0, 23.0), (-90.0, -100.0, -110.0))


def test_ideal_settings_give_exactly_the_line_integrals(rng):
    views = [ViewGeometry.pa(shape=(13, 11)), ViewGeometry.lateral(shape=(13, 11))]
    volume = chest(rng)
    for energy in (70.0, 55.0):
        pictures = render_radiographs(volume, views, RadiographySettings.ideal(energy), names=["a", "b"])
        for picture, expected in zip(pictures, render_drrs(volume, views, energy), strict=True):
            np.testing.assert_array_equal(picture.array, expected.array)
            assert picture.quantity is Quantity.LINE_INTEGRAL and picture.history == expected.history
            assert json.loads(picture.meta["radiography"])["energy_kev"] == energy
        assert [picture.view for picture in pictures] == ["a", "b"]


def test_one_energy_is_a_spectrum_of_one_line(rng):
    """A mono beam through the detector, its logarithm, and the plain sum of mu times path agree."""
    volume, view = chest(rng), ViewGeometry.lateral(shape=(17, 9))
    for energy in (55.0, 70.0, 100.0):
        (integrals,) = render_radiographs(volume, [view], bare(spectrum="mono", energy_kev=energy))
        assert integrals.quantity is Quantity.LINE_INTEGRAL
        # saturation far above the open beam changes nothing but sends the picture through the detector
        through = bare(
            spectrum="mono", energy_kev=energy, saturation=True, saturation_ugy=1e6, exposure_at="air"
        )
        (signal,) = render_radiographs(volume, [view], through)
        assert signal.quantity is Quantity.LOG_SIGNAL
        np.testing.assert_allclose(signal.array, integrals.array, rtol=1e-5, atol=1e-6)
    at_70 = render_radiographs(volume, [view], bare(spectrum="mono", energy_kev=70.0))[0]
    np.testing.assert_allclose(at_70.array, render_drrs(volume, [view])[0].array, rtol=1e-3)


def test_bone_stands_out_more_at_low_voltage():
    contrast = []
    for kvp in (60.0, 90.0, 150.0):
        pictures = [take_radiograph(areal(15.0, b), flat_view((64, 48)), bare(tube_kvp=kvp)) for b in (0, 1)]
        contrast.append(float(pictures[1].array[0, 0] - pictures[0].array[0, 0]))
    assert contrast[0] > 1.3 * contrast[1] > 1.3 * contrast[2]
    mono = mass_attenuation("cortical bone", np.array([30.0, 90.0]))
    assert mono[0] > contrast[0] > contrast[2] > mono[1]


def test_a_radiograph_says_how_it_was_taken(rng):
    view = ViewGeometry.pa(shape=(13, 11))
    film, log = (
        render_radiographs(chest(rng), [view], RadiographySettings(output=o), names=["PA"], seed=4)[0]
        for o in ("film", "log")
    )
    assert film.quantity is Quantity.DISPLAY and log.quantity is Quantity.LOG_SIGNAL
    assert (film.array == np.round(film.array)).all() and 0 <= film.array.min() < film.array.max() <= 4095
    assert film.array.dtype == log.array.dtype == np.float32 and film.view == "PA"
    said = RadiographySettings.from_dict(json.loads(film.meta["radiography"]))
    assert said == RadiographySettings() and film.meta["seed"] == "4" and film.meta["kvp"] == "120"
    assert float(film.meta["tube_mas"]) > 0 and film.meta["synthetic"] == "DRR"
    for word in ("120 kV", "scatter", "grid", "noise at 2.5 uGy", "blur", "glare", "log", "look-up curve"):
        assert any(word in note for note in film.history), word
    assert not any("look-up" in note for note in log.history)


def test_what_cannot_be_projected_is_told(rng):
    view = [ViewGeometry.pa(shape=(5, 5))]
    volume = chest(rng)
    with pytest.raises(InputError, match="CT in HU, got a volume of label"):
        render_radiographs(volume.with_array(volume.array, Quantity.LABEL), view, bare())
    broken = volume.array.copy()
    broken[1, 1, 1] = np.nan
    with pytest.raises(InputError, match="1 NaN"):
        render_radiographs(volume.with_array(broken), view, bare())
    with pytest.raises(InputError, match="seed from 0"):
        render_radiographs(volume, view, bare(), seed=-1)
