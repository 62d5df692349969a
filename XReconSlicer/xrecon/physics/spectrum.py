"""The beam: photons by energy, its air kerma, filters, and what is left of it behind a patient.

Tube spectra: `tables/spectra.json` (SpekPy, tungsten anode of 12 degrees behind 2.5 mm of aluminium),
interpolated in tube voltage between steps of 5 kV; more filter by Beer-Lambert.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from xrecon.physics.materials import (
    air_energy_absorption,
    linear_attenuation,
    mass_attenuation,
    table,
)
from xrecon.physics.radiography_settings import RadiographySettings
from xrecon.volume import InputError

# Of one keV per g, in uGy, for photons per mm2 and coefficients in cm2/g.
_UGY_MM2_PER_KEV_CM2_PER_G = 1.602176634e-5


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Photons per mm2 in each of some energies (keV); for a tube, per mAs at 1 m from the focus."""

    energies_kev: np.ndarray
    photons_per_mm2: np.ndarray

    @property
    def kerma_weights(self) -> np.ndarray:
        """Air kerma in uGy of one photon per mm2 of each energy."""
        absorbed = air_energy_absorption(self.energies_kev)
        return _UGY_MM2_PER_KEV_CM2_PER_G * self.energies_kev * absorbed

    @property
    def air_kerma_ugy(self) -> float:
        """Air kerma of the whole beam."""
        return float(self.kerma_weights @ self.photons_per_mm2)

    @property
    def mean_energy_kev(self) -> float:
        """Mean over the photons."""
        return float(self.energies_kev @ self.photons_per_mm2 / self.photons_per_mm2.sum())

    def scaled(self, air_kerma_ugy: float) -> Spectrum:
        """The same beam, stronger or weaker, with that air kerma."""
        return replace(self, photons_per_mm2=self.photons_per_mm2 * (air_kerma_ugy / self.air_kerma_ugy))

    def behind(self, areal_g_per_cm2: Mapping[str, float]) -> Spectrum:
        """The beam behind g/cm2 of materials, without scatter (Beer-Lambert)."""
        depth = sum(mass_attenuation(m, self.energies_kev) * amount for m, amount in areal_g_per_cm2.items())
        return replace(self, photons_per_mm2=self.photons_per_mm2 * np.exp(-depth))

    def filtered(self, material: str, thickness_mm: float) -> Spectrum:
        """The beam behind a sheet of a material."""
        depth = linear_attenuation(material, self.energies_kev) * thickness_mm
        return replace(self, photons_per_mm2=self.photons_per_mm2 * np.exp(-depth))

    def half_value_layer_mm(self, material: str = "aluminium") -> float:
        """Thickness that halves the air kerma."""
        from scipy.optimize import brentq

        half = self.air_kerma_ugy / 2.0
        return float(brentq(lambda mm: self.filtered(material, mm).air_kerma_ugy - half, 0.0, 1000.0))


def beam_of(settings: RadiographySettings) -> Spectrum:
    """The beam of some settings: a tube's, or one energy at one photon per mm2."""
    if settings.spectrum == "mono":
        return Spectrum(np.array([settings.energy_kev]), np.ones(1))
    return tube_spectrum(settings.tube_kvp, settings.aluminium_mm, settings.copper_mm)


@lru_cache(maxsize=16)
def tube_spectrum(kvp: float, aluminium_mm: float = 3.0, copper_mm: float = 0.0) -> Spectrum:
    """A tungsten tube behind that much filter in all; photons per mm2 and mAs at 1 m.

    Raises InputError for a voltage outside 60 to 150 kV or less aluminium than the tube's own.
    """
    data = table("spectra")
    spectra = data["photons_per_cm2_kev_mas"]
    voltages = np.array([float(kv) for kv in spectra])
    if not voltages[0] <= kvp <= voltages[-1]:
        raise InputError(f"expected a tube voltage from {voltages[0]:g} to {voltages[-1]:g} kV, got {kvp}")
    if aluminium_mm < data["aluminium_mm"]:
        raise InputError(f"expected from {data['aluminium_mm']} mm of aluminium on, got {aluminium_mm}")
    above = int(np.searchsorted(voltages, kvp))
    below = above if voltages[above] == kvp else above - 1
    low, high = (np.array(list(spectra.values())[i]) for i in (below, above))
    low = np.pad(low, (0, len(high) - len(low)))
    share = 0.0 if above == below else (kvp - voltages[below]) / (voltages[above] - voltages[below])
    photons = (low + share * (high - low)) / 100.0
    energies = data["first_kev"] + np.arange(len(photons))
    # the table above holds photons that this voltage cannot make: their number goes to the others
    possible = energies <= kvp
    photons = np.where(possible, photons, 0.0) * (photons.sum() / photons[possible].sum())
    beam = Spectrum(energies, photons)
    beam = beam.filtered("aluminium", aluminium_mm - data["aluminium_mm"])
    return beam.filtered("copper", copper_mm)
