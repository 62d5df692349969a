"""Tube spectra: half-value layers, photons per air kerma, filters, hardening."""

from __future__ import annotations

import numpy as np
import pytest
from xrecon.physics.radiography_settings import RadiographySettings
from xrecon.physics.spectrum import Spectrum, beam_of, tube_spectrum
from xrecon.volume import InputError

# kV, mm Al in all, mm Cu -> what SpekPy 2.5.4 itself says: half-value layer in mm Al, mean energy in
# keV, air kerma in uGy per mAs at 1 m.
SPEKPY = {
    (60, 3, 0): (2.3058, 36.760, 40.313),
    (80, 3, 0): (3.0292, 43.831, 70.195),
    (120, 3, 0): (4.6201, 55.418, 142.24),
    (120, 3, 0.1): (6.6344, 60.361, 91.199),
    (125, 10, 0): (8.0049, 64.614, 60.273),
    (150, 3, 0.2): (9.1411, 70.876, 115.15),
}


@pytest.mark.parametrize("technique", SPEKPY)
def test_beams_are_those_of_spekpy(technique):
    layer, mean, kerma = SPEKPY[technique]
    beam = tube_spectrum(*technique)
    assert beam.half_value_layer_mm() == pytest.approx(layer, rel=0.01)
    assert beam.mean_energy_kev == pytest.approx(mean, rel=0.005)
    assert beam.air_kerma_ugy == pytest.approx(kerma, rel=0.01)


@pytest.mark.parametrize(("kvp", "added_mm", "photons"), [(70, 21, 30174), (90, 30, 32362), (120, 40, 31077)])
def test_photons_per_kerma_are_those_of_the_standard_beams(kvp, added_mm, photons):
    """IEC 62220-1: photons per mm2 and uGy of the beams RQA 5, 7 and 9."""
    beam = tube_spectrum(kvp, 2.5 + added_mm).scaled(1.0)
    assert beam.photons_per_mm2.sum() == pytest.approx(photons, rel=0.025)
    assert beam.air_kerma_ugy == pytest.approx(1.0)


def test_voltages_between_the_table_s_lie_between():
    values = [tube_spectrum(kv) for kv in (100, 102.5, 105)]
    for measure in (Spectrum.half_value_layer_mm, lambda b: b.mean_energy_kev, lambda b: b.air_kerma_ugy):
        low, middle, high = (measure(beam) for beam in values)
        assert low < middle < high and middle == pytest.approx((low + high) / 2, rel=0.005)
    assert len(tube_spectrum(150.0).energies_kev) == 140


@pytest.mark.parametrize("material", ["water", "cortical bone"])
def test_a_beam_hardens(material):
    """Each further centimetre attenuates less and the mean energy rises; one energy does neither."""
    amounts = np.linspace(0, 20, 11)
    for beam, hardens in ((tube_spectrum(120), True), (Spectrum(np.array([60.0]), np.ones(1)), False)):
        behind = [beam.behind({material: a}) for a in amounts]
        slope = -np.diff([np.log(b.air_kerma_ugy) for b in behind])
        energy = np.diff([b.mean_energy_kev for b in behind])
        if hardens:
            assert (np.diff(slope) < 0).all() and (energy > 0).all()
        else:
            np.testing.assert_allclose(slope, slope[0])
            np.testing.assert_allclose(energy, 0.0, atol=1e-9)


def test_settings_name_their_beam():
    mono = beam_of(RadiographySettings.ideal(60.0))
    assert mono.energies_kev.tolist() == [60.0]
    filtered = beam_of(RadiographySettings(tube_kvp=120, aluminium_mm=3, copper_mm=0.1))
    assert filtered.half_value_layer_mm() == pytest.approx(6.634, rel=0.01)


def test_what_no_tube_gives_is_refused():
    with pytest.raises(InputError, match="tube voltage from 60 to 150 kV, got 40"):
        tube_spectrum(40)
    with pytest.raises(InputError, match="2.5 mm of aluminium on, got 1"):
        tube_spectrum(100, 1.0)


def test_no_photon_has_more_energy_than_the_tube_voltage():
    for kvp in (60.5, 62.5, 77.0, 97.3, 120.0, 149.0):
        beam = tube_spectrum(kvp)
        assert beam.energies_kev[beam.photons_per_mm2 > 0].max() <= kvp
