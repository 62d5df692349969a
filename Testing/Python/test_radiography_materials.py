"""Coefficients against published ones, and CT numbers split into soft tissue and bone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from xrecon.physics.attenuation import (
    ENERGY_RANGE_KEV,
    attenuation_to_hu,
    hu_to_attenuation,
    water_attenuation,
)
from xrecon.physics.materials import (
    air_energy_absorption,
    bone_hu,
    density,
    linear_attenuation,
    mass_attenuation,
    split_hu,
    table,
)
from xrecon.volume import InputError

# Hubbell and Seltzer, NISTIR 5632 (1995), with coherent scattering, cm2/g.
NIST = {
    "water": {20: 0.8096, 40: 0.2683, 60: 0.2059, 80: 0.1837, 100: 0.1707},
    "cortical bone": {20: 4.001, 40: 0.6655, 60: 0.3148, 80: 0.2229, 100: 0.1855},
    "soft tissue": {20: 0.8230, 40: 0.2688, 60: 0.2048, 80: 0.1823, 100: 0.1693},
    "aluminium": {20: 3.441, 40: 0.5685, 60: 0.2778, 80: 0.2018, 100: 0.1704},
    "copper": {40: 4.862, 60: 1.593, 80: 0.7630, 100: 0.4584},
}
HU = np.concatenate([np.linspace(-1000, 3071, 97), [-3024.0, 0.0, 100.0]])


@pytest.mark.parametrize("material", NIST)
def test_coefficients_are_the_published_ones(material):
    for energy, expected in NIST[material].items():
        assert float(mass_attenuation(material, energy)) == pytest.approx(expected, rel=0.02), energy


def test_air_absorbs_as_published():
    for energy, expected in {30: 0.1537, 60: 0.03041, 100: 0.02325}.items():
        assert float(air_energy_absorption(energy)) == pytest.approx(expected, rel=0.03)


def test_scintillators_have_their_edges():
    edges = {"CsI": (32.5, 33.5), "Gd2O2S": (49.5, 50.5)}
    for material, (below, above) in edges.items():
        assert mass_attenuation(material, above) > 2.5 * mass_attenuation(material, below)


def test_tables_name_source_and_licence_and_refuse_what_they_lack():
    for name in ("attenuation", "spectra"):
        assert "MIT" in table(name)["licence"] and table(name)["source"]
    with pytest.raises(InputError, match="expected a material out of water"):
        mass_attenuation("unobtainium", 60.0)
    with pytest.raises(InputError, match="expected energies from 10.5 to 149.5 keV, got 300"):
        mass_attenuation("water", 300.0)


@pytest.mark.parametrize("bone", ["cortical bone", "hydroxyapatite"])
@pytest.mark.parametrize("threshold", [0.0, 100.0, 250.0])
@pytest.mark.parametrize("ct_energy", [60.0, 70.0, 80.0])
def test_the_split_gives_back_what_the_ct_measured(bone, threshold, ct_energy):
    """At the CT's energy the two parts attenuate exactly as the CT number says, at every CT number."""
    soft, hard = split_hu(HU, bone, threshold, ct_energy)
    mu = (soft * mass_attenuation("water", ct_energy) + hard * mass_attenuation(bone, ct_energy)) / 10.0
    expected = linear_attenuation("water", ct_energy) * (1.0 + np.maximum(HU, -1000.0) / 1000.0)
    np.testing.assert_allclose(mu, expected, rtol=1e-9, atol=1e-12)


def test_the_split_keeps_mass_plausible():
    """Soft tissue below the threshold, a mixture above, pure bone at bone's CT number."""
    soft, hard = split_hu(HU)
    assert (soft >= 0).all() and (hard >= 0).all()
    assert (hard[HU <= 100] == 0).all() and (hard[HU > 101] > 0).all()
    order = np.argsort(HU)
    assert (np.diff((soft + hard)[order]) >= -1e-12).all(), "denser with every CT number"
    np.testing.assert_allclose(soft[HU <= 100], np.maximum(1 + HU[HU <= 100] / 1000, 0))
    pure = bone_hu("cortical bone", 70.0)
    assert pure == pytest.approx(1600, abs=100)
    np.testing.assert_allclose(split_hu(np.array([pure])), [[0.0], [density("cortical bone")]], atol=1e-9)
    # Schneider et al. 1996, stoichiometric: about 1.6 g/cm3 at 1000 HU
    assert sum(split_hu(np.array(1000.0))) == pytest.approx(1.6, abs=0.05)


def test_the_split_of_tensors_is_that_of_arrays():
    for a, t in zip(split_hu(HU), split_hu(torch.as_tensor(HU)), strict=True):
        np.testing.assert_allclose(t.numpy(), a)


@pytest.mark.parametrize("energy", [30.0, 50.0, 60.0, 70.0, 100.0, 120.0])
def test_with_apatite_from_zero_the_split_is_that_of_single_energies(energy):
    """`hu_to_attenuation`, which the bundled models know, is the same mixture up to pure apatite."""
    hu = np.linspace(-1000, 2100, 63)
    soft, hard = split_hu(hu, "hydroxyapatite", 0.0)
    mu = (soft * mass_attenuation("water", energy) + hard * mass_attenuation("hydroxyapatite", energy)) / 10.0
    np.testing.assert_allclose(mu, hu_to_attenuation(hu, energy), rtol=2e-3, atol=1e-5)


def test_single_energies_reach_beyond_those_of_the_bundled_models():
    assert water_attenuation(60.0) == 0.02059 and water_attenuation(65.0) == pytest.approx(0.01994)
    for energy in (50.0, 70.0):  # hardly a step where the two tables meet
        outside = energy + np.array([-1e-6, 1e-6])
        values = [water_attenuation(e) for e in outside]
        assert values[0] == pytest.approx(values[1], rel=1e-3)
    energies = np.linspace(*ENERGY_RANGE_KEV, 121)
    assert (np.diff([water_attenuation(e) for e in energies]) < 0).all()
    for energy in (25.0, 110.0):
        mu = hu_to_attenuation(np.array([-500.0, 0.0, 800.0]), energy)
        np.testing.assert_allclose(attenuation_to_hu(mu, energy), [-500.0, 0.0, 800.0], atol=1e-9)
    with pytest.raises(InputError, match="between 20 and 140 keV, got 15"):
        hu_to_attenuation(np.zeros(1), 15.0)
