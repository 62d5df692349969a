"""Radiographs as a detector sees them: one projection per material, then the physics of a view.

Order: CT numbers to soft tissue and bone (`materials`), one line integral of density for each
(`projector`), the sum over the spectrum (`spectrum`), scatter and grid (`scatter`), quantum noise, blur,
glare, electronic noise and range of the detector (`detector`), logarithm, look-up curve (`film`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from xrecon.physics.detector import Radiation, read_out, weights
from xrecon.physics.drr import nearest_view, render_drrs
from xrecon.physics.film import GREY_LEVELS, develop
from xrecon.physics.geometry import ViewGeometry
from xrecon.physics.materials import mass_attenuation, split_hu
from xrecon.physics.projector import Projector
from xrecon.physics.radiography_settings import RadiographySettings, comparison_settings
from xrecon.physics.scatter import grid_transmission, scattered
from xrecon.physics.spectrum import Spectrum, beam_of
from xrecon.volume import InputError, Quantity, Radiograph, Volume

__all__ = [
    "RadiographySettings",
    "comparison_settings",
    "render_comparison",
    "render_radiographs",
    "take_radiograph",
]

# Rays through less water than this pass beside the patient.
PATIENT_MM = 20.0
# Automatic exposure control ends here, however little gets through the patient: air kerma in the open beam.
_BACKUP_UGY = 20_000.0
# Rays that are summed over the spectrum at once: few enough to stay in cache.
_RAYS_PER_CALL = 1 << 12
# Slices that are split into materials at once, to bound the memory.
_SLICES_PER_CALL = 16


def render_radiographs(
    volume: Volume,
    views: Sequence[ViewGeometry],
    settings: RadiographySettings,
    *,
    names: Sequence[str] | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> list[Radiograph]:
    """Radiographs of a CT in HU, one per view, as the settings say; the table is to be removed before.

    names: what to call the views; by default the preset they are nearest to.
    seed: of the noise. A view's noise depends on the seed and on that view's geometry alone, not
        on the other views.

    `quantity` of the result is LINE_INTEGRAL when `settings.is_ideal` (with
    `RadiographySettings.ideal()` the numbers are those of `render_drrs`), LOG_SIGNAL for output
    "log", else DISPLAY (whole grey values from 0 to 4095). `history` says what was done; `meta` has
    "radiography" (the settings as JSON), "seed", "photometric", and where they apply "kvp", "grid",
    "tube_mas", "detector_air_kerma_ugy" and "open_beam_air_kerma_ugy" as text.

    Raises InputError when the volume is not in HU or holds NaN, or the seed is negative.
    """
    if seed < 0:
        raise InputError(f"expected a seed from 0 on, got {seed}")
    if settings == RadiographySettings.ideal(settings.energy_kev):
        ideal = render_drrs(volume, views, settings.energy_kev, names=names, device=device)
        about = {"radiography": json.dumps(settings.to_dict()), "photometric": settings.photometric}
        return [replace(radiograph, meta={**radiograph.meta, **about}) for radiograph in ideal]
    projected = _Projected(_checked(volume), settings, device)
    radiographs = []
    for i, view in enumerate(views):
        taken = take_radiograph(projected(view), view, settings, seed=seed)
        name = names[i] if names else nearest_view(view)
        radiographs.append(replace(taken, view=name, meta={**volume.meta, **taken.meta}))
    return radiographs


def render_comparison(
    volume: Volume,
    views: Sequence[ViewGeometry],
    settings: Mapping[str, RadiographySettings] | None = None,
    *,
    names: Sequence[str] | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> list[tuple[str, list[Radiograph]]]:
    """As `render_radiographs` for several settings by title, by default `comparison_settings()`.

    A view is projected once for all settings that split the CT alike. For
    `xrecon.evaluation.radiograph_page.write_comparison`. Raises InputError likewise.
    """
    settings = comparison_settings() if settings is None else settings
    names = names or [nearest_view(view) for view in views]
    rows: list[tuple[str, list[Radiograph]]] = []
    known: dict[tuple, list[torch.Tensor]] = {}
    for title, one in settings.items():
        if one == RadiographySettings.ideal(one.energy_kev):
            taken = render_radiographs(volume, views, one, names=names, seed=seed, device=device)
        else:
            key = (one.bone_material, one.bone_from_hu, one.ct_energy_kev)
            if key not in known:
                projected = _Projected(_checked(volume), one, device)
                known[key] = [projected(view) for view in views]
            taken = [take_radiograph(a, v, one, seed=seed) for a, v in zip(known[key], views, strict=True)]
            taken = [
                replace(radiograph, view=name, meta={**volume.meta, **radiograph.meta})
                for radiograph, name in zip(taken, names, strict=True)
            ]
        rows.append((title, taken))
    return rows


def _checked(volume: Volume) -> Volume:
    if volume.quantity is not Quantity.HU:
        raise InputError(f"expected a CT in HU, got a volume of {volume.quantity.value}")
    return volume.require_finite("the CT")


class _Projected:
    """A CT split into soft tissue and bone, to be projected: view -> (2, row, column) in g/cm2."""

    def __init__(self, volume: Volume, settings: RadiographySettings, device: torch.device | str) -> None:
        how = (settings.bone_material, settings.bone_from_hu, settings.ct_energy_kev)
        self._densities = torch.empty((2, 1, *volume.shape), device=device)
        for first in range(0, volume.shape[0], _SLICES_PER_CALL):
            part = slice(first, first + _SLICES_PER_CALL)
            hu = torch.as_tensor(np.ascontiguousarray(volume.array[part], dtype=np.float32), device=device)
            for density, split in zip(self._densities, split_hu(hu, *how), strict=True):
                density[0, part] = split
        self._volume, self._device = volume, device

    @torch.no_grad()
    def __call__(self, view: ViewGeometry) -> torch.Tensor:
        integrals = Projector.of_volume([view], self._volume, device=self._device)(self._densities)
        # g/cm3 times mm is a tenth of g/cm2
        return integrals[:, 0].to(torch.float64) / 10.0


def take_radiograph(
    areal_g_per_cm2: torch.Tensor, view: ViewGeometry, settings: RadiographySettings, *, seed: int = 0
) -> Radiograph:
    """One radiograph from what lies in its rays: (2, row, column) of soft tissue and of bone.

    For those who take several pictures of one projection; `render_radiographs` calls it. Raises
    InputError for another shape than the view's, or values that are not finite.
    """
    if tuple(areal_g_per_cm2.shape) != (2, *view.shape) or not torch.isfinite(areal_g_per_cm2).all():
        raise InputError(
            f"expected finite areal densities (2, {view.shape[0]}, {view.shape[1]}), "
            f"got {tuple(areal_g_per_cm2.shape)}, perhaps with NaN"
        )
    areal = areal_g_per_cm2.to(torch.float64)
    materials = ("water", settings.bone_material)
    meta = {
        "synthetic": "DRR",
        "radiography": json.dumps(settings.to_dict()),
        "photometric": settings.photometric,
    }
    history = (f"projected from a CT as soft tissue and {settings.bone_material}",)
    if settings.is_ideal:
        mu = [float(mass_attenuation(m, settings.energy_kev)) for m in materials]
        integrals = (mu[0] * areal[0] + mu[1] * areal[1]).to(torch.float32)
        note = f"line integrals at {settings.energy_kev:g} keV"
        return Radiograph(integrals.cpu().numpy(), view, Quantity.LINE_INTEGRAL, "", (*history, note), meta)
    exposure = _expose(areal, materials, view, settings)
    signal = read_out(exposure.radiation, exposure.open_beam, view, settings, seed)
    picture, quantity = -torch.log(signal), Quantity.LOG_SIGNAL
    history += (*exposure.history, *_detector_history(settings, seed), "-log(signal / open beam)")
    if settings.output == "film":
        picture, quantity = develop(picture, exposure.patient, view.pixel_spacing, settings), Quantity.DISPLAY
        history += (f"clinical look-up curve to {GREY_LEVELS} grey values, bright = dense",)
    meta |= {**exposure.facts, "seed": str(seed)}
    return Radiograph(picture.to(torch.float32).cpu().numpy(), view, quantity, "", history, meta)


# -- exposure ----------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class _Exposure:
    """What arrives at the detector behind the patient and beside it, at the exposure asked for."""

    radiation: Radiation
    open_beam: Radiation
    patient: torch.Tensor  # boolean (row, column)
    history: tuple[str, ...]
    facts: dict[str, str]


def _expose(
    areal: torch.Tensor, materials: tuple[str, str], view: ViewGeometry, settings: RadiographySettings
) -> _Exposure:
    beam = beam_of(settings)
    thickness_mm = 10.0 * areal.sum(dim=0)
    patient = thickness_mm > PATIENT_MM
    table = torch.as_tensor(weights(settings, beam), device=areal.device)
    primary = transmit(areal, materials, beam, table)
    open_beam = table.sum(dim=0)
    through_primary, through_scatter = grid_transmission(settings)
    arriving, before_grid = through_primary * primary, primary
    if settings.scatter:
        scatter = scattered(primary, thickness_mm, view.pixel_spacing, settings)
        arriving, before_grid = arriving + through_scatter * scatter, primary + scatter
    open_beam = through_primary * open_beam
    seen = patient if bool(patient.any()) else torch.ones_like(patient)
    reference = arriving[0][seen].median() if settings.exposure_at == "patient" else open_beam[0]
    scale = settings.detector_air_kerma_ugy / reference
    if settings.exposure_at == "patient":
        scale = scale.clip(None, _BACKUP_UGY / open_beam[0])
    facts = {
        "detector_air_kerma_ugy": f"{float(scale * reference):.4g}",
        "open_beam_air_kerma_ugy": f"{float(scale * open_beam[0]):.4g}",
    }
    if settings.grid:
        factor = float(before_grid[0][seen].median() / arriving[0][seen].median())
        facts |= {"grid": "yes", "bucky_factor": f"{factor:.3g}"}
    if settings.spectrum == "poly":
        distance_m = view.source_to_detector_mm / 1000.0
        facts |= {"kvp": f"{settings.tube_kvp:g}", "tube_mas": f"{float(scale) * distance_m**2:.3g}"}
    return _Exposure(
        Radiation(*(scale * arriving)),
        Radiation(*(scale * open_beam)),
        patient,
        _exposure_history(settings, facts),
        facts,
    )


def transmit(
    areal: torch.Tensor, materials: Sequence[str], beam: Spectrum, table: torch.Tensor
) -> torch.Tensor:
    """Primary radiation behind materials: (k, row, column), the sums over the spectrum.

    areal: g/cm2 (material, row, column). table: (energy, k), what a photon of each energy counts,
    times their number. The sum is taken ray by ray, so no energy needs a projection of its own.
    """
    coefficients = np.stack([mass_attenuation(m, beam.energies_kev) for m in materials])
    mu = torch.as_tensor(coefficients, device=areal.device)
    rays = areal.reshape(len(materials), -1).T
    parts = [torch.exp(-part @ mu) @ table for part in rays.split(_RAYS_PER_CALL)]
    return torch.cat(parts).T.reshape(-1, *areal.shape[1:])


def _exposure_history(settings: RadiographySettings, facts: Mapping[str, str]) -> tuple[str, ...]:
    if settings.spectrum == "mono":
        notes = [f"one energy, {settings.energy_kev:g} keV"]
    else:
        notes = [
            f"spectrum of {settings.tube_kvp:g} kV behind {settings.aluminium_mm:g} mm Al"
            + (f" and {settings.copper_mm:g} mm Cu" if settings.copper_mm else "")
        ]
    if settings.scatter:
        notes.append(
            f"scatter of {settings.scatter_to_primary:g} times the primary radiation behind 200 mm of water, "
            f"spread by {settings.scatter_spread_mm:g} mm"
        )
    if settings.grid:
        notes.append(f"antiscatter grid, Bucky factor {facts['bucky_factor']}")
    return tuple(notes)


def _detector_history(settings: RadiographySettings, seed: int) -> tuple[str, ...]:
    notes = []
    if settings.noise:
        place = "behind the patient" if settings.exposure_at == "patient" else "in the open beam"
        notes.append(f"noise at {settings.detector_air_kerma_ugy:g} uGy {place}, seed {seed}")
    if settings.blur:
        notes.append(f"detector blur, MTF {settings.mtf_at_1_lp_per_mm:g} at 1 lp/mm")
    if settings.glare:
        notes.append(f"glare of {100 * settings.glare_fraction:g} % over {settings.glare_radius_mm:g} mm")
    return tuple(notes)
