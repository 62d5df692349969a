"""Attenuation coefficients of materials, and CT numbers split into soft tissue and bone.

Up to `bone_from_hu` (fat, muscle, blood, liver) a voxel is water whose density follows the CT number:
density = 1 + HU / 1000. Above, it is a mixture by volume of soft tissue of that HU and of bone,
whose share grows linearly with HU up to pure bone; beyond, bone of higher density. So at the CT's
effective energy the coefficient is exactly mu_water (1 + HU / 1000), which is what the CT measured;
at other energies bone has its own (as in the stoichiometric calibration of Schneider et al., Phys
Med Biol 1996;41:111-124). Iodine and metal are taken for bone.

Tables: `tables/attenuation.json`, made by `Resources/Tables/make_physics_tables.py` (sources and
licences stand in the file).
"""

from __future__ import annotations

import json
from functools import lru_cache
from importlib import resources
from typing import Any, TypeVar

import numpy as np

from xrecon.volume import InputError

Array = TypeVar("Array")  # numpy array or torch tensor: the same kind comes back


@lru_cache(maxsize=4)
def table(name: str) -> dict[str, Any]:
    """The content of `tables/<name>.json`."""
    path = resources.files("xrecon.physics").joinpath("tables", f"{name}.json")
    return json.loads(path.read_text(encoding="utf-8"))


def table_energies_kev() -> np.ndarray:
    """Energies of the attenuation table, the middles of bins of 1 keV."""
    data = table("attenuation")
    return data["first_kev"] + np.arange(len(data["air_energy_absorption_cm2_per_g"]))


def density(material: str) -> float:
    """g/cm3. Raises InputError for a material that is not in the table."""
    return float(_entry("density_g_per_cm3", material))


def mass_attenuation(material: str, energy_kev: np.ndarray | float) -> np.ndarray:
    """Total mass attenuation coefficient in cm2/g, interpolated in logarithms (log-log).

    Raises InputError for another material or an energy outside the table.
    """
    return _interpolated(_entry("mass_attenuation_cm2_per_g", material), energy_kev)


def air_energy_absorption(energy_kev: np.ndarray | float) -> np.ndarray:
    """Mass energy-absorption coefficient of air in cm2/g: air kerma over photon energy fluence."""
    return _interpolated(table("attenuation")["air_energy_absorption_cm2_per_g"], energy_kev)


def linear_attenuation(material: str, energy_kev: np.ndarray | float) -> np.ndarray:
    """Linear attenuation coefficient in 1/mm at the material's own density."""
    return mass_attenuation(material, energy_kev) * density(material) / 10.0


def _entry(name: str, material: str) -> Any:
    entries = table("attenuation")[name]
    if material not in entries:
        raise InputError(f"expected a material out of {', '.join(entries)}, got {material!r}")
    return entries[material]


def _interpolated(values: list[float], energy_kev: np.ndarray | float) -> np.ndarray:
    energies, wanted = table_energies_kev(), np.asarray(energy_kev, dtype=np.float64)
    if not np.all((wanted >= energies[0]) & (wanted <= energies[-1])):
        raise InputError(f"expected energies from {energies[0]:g} to {energies[-1]:g} keV, got {energy_kev}")
    return np.exp(np.interp(np.log(wanted), np.log(energies), np.log(values)))


def bone_hu(bone_material: str, ct_energy_kev: float) -> float:
    """CT number of the pure bone material at the energy at which the HU scale holds."""
    ratio = linear_attenuation(bone_material, ct_energy_kev) / linear_attenuation("water", ct_energy_kev)
    return float(1000.0 * (ratio - 1.0))


def split_hu(
    hu: Array, bone_material: str = "cortical bone", bone_from_hu: float = 100.0, ct_energy_kev: float = 70.0
) -> tuple[Array, Array]:
    """Partial densities in g/cm3 of soft tissue (as water) and of bone, of the shape of `hu`.

    hu: numpy array or torch tensor; below -1000 is air. Raises InputError for another material.
    """
    pure = bone_hu(bone_material, ct_energy_kev)
    hu = hu.clip(-1000.0, None)
    share = ((hu - bone_from_hu) / (pure - bone_from_hu)).clip(0.0, 1.0)
    soft = (1.0 + hu.clip(None, bone_from_hu) / 1000.0) * (1.0 - share)
    denser = (1.0 + hu.clip(pure, None) / 1000.0) / (1.0 + pure / 1000.0)
    return soft, share * denser * density(bone_material)
