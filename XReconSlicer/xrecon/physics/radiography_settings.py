"""How a radiograph is taken, as plain numbers: beam, scatter, grid, detector, dose, film.

`RadiographySettings.ideal()` gives line integrals at one energy, `RadiographySettings.chest()` a
picture that looks like a chest film. Every effect can be switched by itself. The models and their
sources are described in `xrecon.physics.{materials,spectrum,scatter,detector,film}`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from xrecon.volume import InputError

BEAMS = ("mono", "poly")
BONES = ("cortical bone", "hydroxyapatite")
DETECTORS = ("CsI", "Gd2O2S", "energy", "photons")
EXPOSURES_AT = ("patient", "air")
OUTPUTS = ("log", "film")
PHOTOMETRICS = ("MONOCHROME2", "MONOCHROME1")

_CHOICES = {
    "spectrum": BEAMS,
    "bone_material": BONES,
    "detector": DETECTORS,
    "exposure_at": EXPOSURES_AT,
    "output": OUTPUTS,
    "photometric": PHOTOMETRICS,
}
# Field -> smallest and largest value that make sense, both included.
_RANGES = {
    "energy_kev": (20.0, 140.0),
    "tube_kvp": (60.0, 150.0),
    "aluminium_mm": (2.5, 50.0),
    "copper_mm": (0.0, 2.0),
    "ct_energy_kev": (50.0, 90.0),
    "bone_from_hu": (0.0, 500.0),
    "scatter_to_primary": (0.0, 20.0),
    "scatter_exponent": (0.5, 2.5),
    "scatter_spread_mm": (5.0, 200.0),
    "grid_primary_transmission": (0.05, 1.0),
    "grid_scatter_transmission": (0.0, 1.0),
    "scintillator_mg_per_cm2": (10.0, 1000.0),
    "detector_air_kerma_ugy": (0.01, 1000.0),
    "electronic_noise_ugy": (0.0, 10.0),
    "mtf_at_1_lp_per_mm": (0.05, 1.0),
    "glare_fraction": (0.0, 0.5),
    "glare_radius_mm": (1.0, 200.0),
    "saturation_ugy": (1.0, 1e6),
    "film_latitude": (0.3, 10.0),
    "film_lung_grey": (0.02, 0.5),
    "film_equalization": (0.0, 0.9),
    "film_equalization_mm": (2.0, 100.0),
    "film_edges": (0.0, 3.0),
    "film_edges_mm": (0.2, 20.0),
}


@dataclass(frozen=True)
class RadiographySettings:
    """One way of taking a radiograph. The defaults are those of `chest()`.

    Beam:
    spectrum: "poly" is that of a tungsten tube at `tube_kvp` behind `aluminium_mm` (total, the
        tube's own included) and `copper_mm` of filter; "mono" has the one energy `energy_kev`.
    Patient:
    ct_energy_kev: energy at which the CT's HU scale is taken to hold. bone_material and
        bone_from_hu: above that HU a voxel is soft tissue mixed with that bone (see `materials`).
    Scatter: `scatter` switches it.
    scatter_to_primary: ratio behind 200 mm of water in a wide field, without grid;
        scatter_exponent: how it grows with thickness; scatter_spread_mm: how far scatter is spread
        (standard deviation). grid: whether an antiscatter grid stands before the detector, with
        the share of primary and of scattered radiation that passes it.
    Detector: `blur`, `glare`, `noise` and `saturation` switch what follows them.
    detector: scintillator of `scintillator_mg_per_cm2` that integrates energy ("CsI", "Gd2O2S"), or
        one that absorbs everything and integrates energy ("energy") or counts ("photons").
    mtf_at_1_lp_per_mm: modulation transfer at one line pair per mm. glare_fraction and
        glare_radius_mm: share of the signal that is spread widely, and how widely.
    detector_air_kerma_ugy: median air kerma on the detector behind grid and patient
        (`exposure_at` "patient": what automatic exposure control aims at, with at most 20 mGy in
        the open beam), or where nothing is in the beam ("air"). electronic_noise_ugy: air kerma at
        which quantum noise equals electronic noise. saturation_ugy: air kerma above which the
        signal no longer grows.
    Picture:
    output: "log" is -log of the signal over that of the open beam; "film" applies the clinical
        look-up curve (see `film` for the fields of that name).
    photometric: how a viewer's file is to store it. Arrays are bright = dense in any case.

    Raises InputError, naming the field, for a value out of range or of another type.
    """

    spectrum: str = "poly"
    energy_kev: float = 70.0
    tube_kvp: float = 120.0
    aluminium_mm: float = 3.0
    copper_mm: float = 0.0
    ct_energy_kev: float = 70.0
    bone_material: str = "cortical bone"
    bone_from_hu: float = 100.0
    scatter: bool = True
    scatter_to_primary: float = 3.5
    scatter_exponent: float = 1.0
    scatter_spread_mm: float = 50.0
    grid: bool = True
    grid_primary_transmission: float = 0.7
    grid_scatter_transmission: float = 0.12
    detector: str = "CsI"
    scintillator_mg_per_cm2: float = 200.0
    blur: bool = True
    mtf_at_1_lp_per_mm: float = 0.6
    glare: bool = True
    glare_fraction: float = 0.03
    glare_radius_mm: float = 15.0
    noise: bool = True
    detector_air_kerma_ugy: float = 2.5
    exposure_at: str = "patient"
    electronic_noise_ugy: float = 0.1
    saturation: bool = True
    saturation_ugy: float = 100.0
    output: str = "film"
    film_latitude: float = 2.3
    film_lung_grey: float = 0.2
    film_equalization: float = 0.35
    film_equalization_mm: float = 20.0
    film_edges: float = 0.8
    film_edges_mm: float = 4.0
    photometric: str = "MONOCHROME2"

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in _CHOICES:
                if value not in _CHOICES[field.name]:
                    raise InputError(f"expected {field.name} out of {_CHOICES[field.name]}, got {value!r}")
            elif field.name in _RANGES:
                object.__setattr__(self, field.name, _number(field.name, value))
            elif not isinstance(value, bool):
                raise InputError(f"expected {field.name} to be true or false, got {value!r}")

    @classmethod
    def ideal(cls, energy_kev: float = 70.0) -> RadiographySettings:
        """Line integrals at one energy, exactly those of `drr.render_drrs`: no effect is on."""
        return cls(
            spectrum="mono",
            energy_kev=energy_kev,
            bone_material="hydroxyapatite",
            bone_from_hu=0.0,
            scatter=False,
            grid=False,
            detector="energy",
            blur=False,
            glare=False,
            noise=False,
            saturation=False,
            output="log",
        )

    @classmethod
    def chest(cls, **changes: Any) -> RadiographySettings:
        """An upright chest film: 120 kVp, grid, 2.5 uGy at a CsI flat panel, clinical look-up curve.

        The technique is that of the European guidelines on quality criteria for diagnostic
        radiographic images (EUR 16260, 1996): 125 kV, 3 mm of aluminium, a grid of ratio 10, 1800 mm.
        """
        return cls(**changes)

    @property
    def is_ideal(self) -> bool:
        """Whether pictures are line integrals: one energy and nothing that acts on the signal."""
        acting = (self.scatter, self.blur, self.glare, self.noise, self.saturation)
        return self.spectrum == "mono" and not any(acting) and self.output == "log"

    def changed(self, **changes: Any) -> RadiographySettings:
        """The same with other values. Raises InputError for a name that is no field."""
        return self.from_dict({**self.to_dict(), **changes})

    def to_dict(self) -> dict[str, Any]:
        """Numbers, strings and booleans by field name, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RadiographySettings:
        """What `to_dict` gave; fields left out have their defaults. Raises InputError."""
        unknown = sorted(set(data) - {field.name for field in fields(cls)})
        if unknown:
            known = ", ".join(field.name for field in fields(cls))
            raise InputError(f"expected radiography settings out of {known}, got {', '.join(unknown)}")
        return cls(**data)


def _number(name: str, value: Any) -> float:
    low, high = _RANGES[name]
    usable = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not usable or not low <= value <= high:
        raise InputError(f"expected {name} as a number from {low:g} to {high:g}, got {value!r}")
    return float(value)


def unused(settings: RadiographySettings, names: Iterable[str]) -> dict[str, str]:
    """Those of the names (fields) that change no pixel, each with the setting that switches it off.

    A name is told only when nothing else keeps it in use; names of no field are passed over.
    """
    s = settings
    exposed = s.noise or s.saturation
    off = {
        "energy_kev": "spectrum=poly" if s.spectrum == "poly" else "",
        "electronic_noise_ugy": "" if s.noise else "noise=false",
        "saturation_ugy": "" if s.saturation else "saturation=false",
        "mtf_at_1_lp_per_mm": "" if s.blur else "blur=false",
        "grid": "" if s.scatter or exposed else "scatter=false and noise=false",
        "grid_primary_transmission": "" if s.grid else "grid=false",
        "scintillator_mg_per_cm2": "" if s.detector in ("CsI", "Gd2O2S") else f"detector={s.detector}",
    }
    off |= dict.fromkeys(
        ("tube_kvp", "aluminium_mm", "copper_mm"), "spectrum=mono" if s.spectrum == "mono" else ""
    )
    off |= dict.fromkeys(
        ("scatter_to_primary", "scatter_exponent", "scatter_spread_mm"), "" if s.scatter else "scatter=false"
    )
    off |= dict.fromkeys(("glare_fraction", "glare_radius_mm"), "" if s.glare else "glare=false")
    off |= dict.fromkeys(
        ("detector_air_kerma_ugy", "exposure_at"), "" if exposed else "noise=false and saturation=false"
    )
    off["grid_scatter_transmission"] = off["scatter_exponent"] or off["grid_primary_transmission"]
    off |= {f.name: "output=log" for f in fields(s) if f.name.startswith("film_") and s.output == "log"}
    return {name: off[name] for name in names if off.get(name)}


def comparison_settings() -> dict[str, RadiographySettings]:
    """Settings by title for the comparison page: from line integrals to the film, one step at a time."""
    chest = RadiographySettings.chest()
    primary = chest.changed(
        scatter=False, grid=False, blur=False, glare=False, noise=False, saturation=False, output="log"
    )
    scattered = primary.changed(scatter=True)
    detected = scattered.changed(grid=True, blur=True, glare=True)
    return {
        "ideal, 70 keV": RadiographySettings.ideal(),
        "120 kVp": primary,
        "120 kVp, scatter": scattered,
        "120 kVp, scatter, grid": scattered.changed(grid=True),
        "with detector blur and glare": detected,
        "with noise at 10 uGy": detected.changed(noise=True, detector_air_kerma_ugy=10.0),
        "with noise at 2.5 uGy": detected.changed(noise=True),
        "with noise at 0.5 uGy": detected.changed(noise=True, detector_air_kerma_ugy=0.5),
        "film": chest,
        "film, MONOCHROME1": replace(chest, photometric="MONOCHROME1"),
    }
