"""Makes the tables of `xrecon/physics/tables`: attenuation coefficients and X-ray tube spectra.

Run by hand, in an environment of its own:

    pip install spekpy==2.5.4 xraydb==4.5.8
    python Resources/Tables/make_physics_tables.py

Both packages are under the MIT licence. Nothing of XRecon imports them; the tables are committed.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import spekpy
import xraydb

FOLDER = Path(__file__).resolve().parents[2] / "XReconSlicer" / "xrecon" / "physics" / "tables"
FIRST_KEV, LAST_KEV = 10.5, 149.5
TUBE_KVP = range(60, 151, 5)
ANODE_DEGREES, INHERENT_ALUMINIUM_MM = 12, 2.5

# Mass fractions of ICRU Report 44 (1989) where no formula is given; densities in g/cm3.
MATERIALS = {
    "water": ("H2O", 1.0),
    "soft tissue": (
        {
            "H": 10.2, "C": 14.3, "N": 3.4, "O": 70.8, "Na": 0.2, "P": 0.3, "S": 0.3, "Cl": 0.2, "K": 0.3,
        },
        1.06,
    ),
    "cortical bone": (
        {
            "H": 3.4, "C": 15.5, "N": 4.2, "O": 43.5, "Na": 0.1, "Mg": 0.2, "P": 10.3, "S": 0.3, "Ca": 22.5,
        },
        1.92,
    ),
    # The density at which `attenuation.hu_to_attenuation` mixes it with water.
    "hydroxyapatite": ("Ca10P6O26H2", 1.92),
    "aluminium": ("Al", 2.699),
    "copper": ("Cu", 8.96),
    "CsI": ("CsI", 4.51),
    "Gd2O2S": ("Gd2O2S", 7.32),
}  # fmt: skip


def mass_attenuation(material: str | dict[str, float], energies_kev: np.ndarray) -> np.ndarray:
    """Total mass attenuation coefficient in cm2/g, coherent scattering included."""
    if isinstance(material, str):
        return np.asarray(xraydb.material_mu(material, energies_kev * 1e3, density=1.0))
    total = sum(material.values())
    return sum(
        share / total * np.asarray(xraydb.mu_elam(element, energies_kev * 1e3))
        for element, share in material.items()
    )


def attenuation_table(energies_kev: np.ndarray) -> dict:
    """Coefficients by material, and the mass energy-absorption coefficient of air for air kerma."""
    air = spekpy.Spek(kvp=120, th=ANODE_DEGREES, dk=1.0).muen_air_data
    return {
        "about": "total mass attenuation coefficients and mass energy-absorption coefficient of air, "
        "in cm2/g, one number per keV from the first",
        "source": f"xraydb {xraydb.__version__} (Elam, Ravel, Sieber, Radiat Phys Chem 2002;63:121-128); "
        f"air: SpekPy {spekpy.__version__} (PENELOPE). Compositions: ICRU Report 44 (1989)",
        "licence": "xraydb and SpekPy: MIT licence",
        "first_kev": float(energies_kev[0]),
        "density_g_per_cm3": {name: density for name, (_, density) in MATERIALS.items()},
        "mass_attenuation_cm2_per_g": {
            name: rounded(mass_attenuation(material, energies_kev))
            for name, (material, _) in MATERIALS.items()
        },
        "air_energy_absorption_cm2_per_g": rounded(air.get_muen_over_rho_air(energies_kev)),
    }


def spectra_table(energies_kev: np.ndarray) -> dict:
    """Photons per cm2, keV and mAs at 1 m from a tungsten anode, by tube voltage."""
    spectra = {}
    for kvp in TUBE_KVP:
        beam = spekpy.Spek(kvp=kvp, th=ANODE_DEGREES, dk=1.0).filter("Al", INHERENT_ALUMINIUM_MM)
        energies, photons = beam.get_spectrum()
        inside = energies >= energies_kev[0]
        assert np.allclose(energies[inside], energies_kev[: inside.sum()])
        assert photons[~inside].sum() < 1e-5 * photons.sum()
        spectra[str(kvp)] = rounded(photons[inside])
    return {
        "about": "tungsten anode: photons per cm2, keV and mAs at 1 m, one number per keV from the first",
        "source": f"SpekPy {spekpy.__version__}, casim (Poludniowski et al., Med Phys 2021;48:3630-3637)",
        "licence": "SpekPy: MIT licence",
        "anode_degrees": ANODE_DEGREES,
        "aluminium_mm": INHERENT_ALUMINIUM_MM,
        "first_kev": float(energies_kev[0]),
        "photons_per_cm2_kev_mas": spectra,
    }


def rounded(values: np.ndarray) -> list[float]:
    """Five significant digits."""
    return [float(f"{value:.5g}") for value in values]


def main() -> None:
    energies_kev = np.arange(FIRST_KEV, LAST_KEV + 0.5)
    FOLDER.mkdir(exist_ok=True)
    for name, table in (
        ("attenuation", attenuation_table(energies_kev)),
        ("spectra", spectra_table(energies_kev)),
    ):
        # one array a line, so that a change can be read in a diff
        text = re.sub(r"\[[^\]]*\]", lambda m: " ".join(m[0].split()), json.dumps(table, indent=1))
        (FOLDER / f"{name}.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
