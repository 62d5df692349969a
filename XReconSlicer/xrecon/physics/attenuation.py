"""Hounsfield units to linear attenuation coefficients and back, at one energy.

Below water the coefficient is proportional to density: mu = mu_water (1 + HU / 1000), clipped at
air. Above water the HU excess is read as bone mineral: a second slope leads through
hydroxyapatite of 1.92 g/cm3. At 70 keV, where a 120 kVp CT's HU scale is about true, both slopes
agree; at lower energies bone weighs more, as it does on a radiograph.

Coefficients in 1/mm: xraydb (Elam, Ravel, Sieber, Radiat Phys Chem 2002;63:121-128). From 50 to 70
keV they are interpolated linearly between the three values that the bundled models were trained
with, elsewhere taken from the table of `materials` (apart by less than 0.1 % where they meet).
For spectra and a finer split see `materials`.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np

from xrecon.physics.materials import linear_attenuation
from xrecon.volume import InputError

Array = TypeVar("Array")  # numpy array or torch tensor: the same kind comes back

ENERGY_RANGE_KEV = (20.0, 140.0)
_ENERGIES_KEV = (50.0, 60.0, 70.0)
_WATER_PER_MM = (0.02269, 0.02059, 0.01929)
_APATITE_PER_MM = (0.1126, 0.0781, 0.0601)
# HU of that hydroxyapatite at the energy at which the HU scale is taken to hold.
_APATITE_HU = 1000.0 * (_APATITE_PER_MM[-1] / _WATER_PER_MM[-1] - 1.0)


def water_attenuation(energy_kev: float) -> float:
    """Attenuation coefficient of water in 1/mm. Raises InputError outside 20 to 140 keV."""
    return _coefficient("water", _WATER_PER_MM, energy_kev)


def _coefficient(material: str, known: tuple[float, ...], energy_kev: float) -> float:
    low, high = ENERGY_RANGE_KEV
    if not low <= energy_kev <= high:
        raise InputError(f"expected an energy between {low:g} and {high:g} keV, got {energy_kev}")
    if _ENERGIES_KEV[0] <= energy_kev <= _ENERGIES_KEV[-1]:
        return float(np.interp(energy_kev, _ENERGIES_KEV, known))
    return float(linear_attenuation(material, energy_kev))


def _slopes(energy_kev: float) -> tuple[float, float, float]:
    water = water_attenuation(energy_kev)
    apatite = _coefficient("hydroxyapatite", _APATITE_PER_MM, energy_kev)
    return water, water / 1000.0, (apatite - water) / _APATITE_HU


def hu_to_attenuation(hu: Array, energy_kev: float = 70.0) -> Array:
    """Linear attenuation coefficient in 1/mm of HU (any shape, numpy or torch; differentiable)."""
    water, below, above = _slopes(energy_kev)
    hu = hu.clip(-1000.0, None)
    return water + below * hu.clip(None, 0.0) + above * hu.clip(0.0, None)


def attenuation_to_hu(attenuation: Array, energy_kev: float = 70.0) -> Array:
    """HU of attenuation coefficients in 1/mm; the inverse of `hu_to_attenuation` above -1000 HU."""
    water, below, above = _slopes(energy_kev)
    excess = attenuation - water
    return (excess.clip(None, 0.0) / below + excess.clip(0.0, None) / above).clip(-1000.0, None)
