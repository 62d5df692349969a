"""Hounsfield units to linear attenuation coefficients and back.

Below water the coefficient is proportional to density: mu = mu_water (1 + HU / 1000), clipped at
air. Above water the HU excess is read as bone mineral: a second slope leads through
hydroxyapatite of 1.92 g/cm3. At 70 keV, where a 120 kVp CT's HU scale is about true, both slopes
agree; at lower energies bone weighs more, as it does on a radiograph.
Coefficients: xraydb (Elam, Ravel, Sieber, Radiat Phys Chem 2002;63:121-128), in 1/mm.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np

from xrecon.volume import InputError

Array = TypeVar("Array")  # numpy array or torch tensor: the same kind comes back

_ENERGIES_KEV = (50.0, 60.0, 70.0)
_WATER_PER_MM = (0.02269, 0.02059, 0.01929)
_APATITE_PER_MM = (0.1126, 0.0781, 0.0601)
# HU of that hydroxyapatite at the energy at which the HU scale is taken to hold.
_APATITE_HU = 1000.0 * (_APATITE_PER_MM[-1] / _WATER_PER_MM[-1] - 1.0)


def water_attenuation(energy_kev: float) -> float:
    """Attenuation coefficient of water in 1/mm, interpolated within 50 to 70 keV.

    Raises InputError outside that range.
    """
    if not _ENERGIES_KEV[0] <= energy_kev <= _ENERGIES_KEV[-1]:
        raise InputError(f"expected an energy between 50 and 70 keV, got {energy_kev}")
    return float(np.interp(energy_kev, _ENERGIES_KEV, _WATER_PER_MM))


def _slopes(energy_kev: float) -> tuple[float, float, float]:
    water = water_attenuation(energy_kev)
    apatite = float(np.interp(energy_kev, _ENERGIES_KEV, _APATITE_PER_MM))
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
