"""The detector: what it absorbs of a beam, its noise, blur and glare, its range.

A scintillator of some mg/cm2 absorbs a photon of energy E with the probability 1 - exp(-mu/rho x) and
gives light in proportion to E. So the mean signal is m1 = sum of N(E) a(E) E, and its variance by
quantum statistics m2 = sum of N(E) a(E) E^2 (compound Poisson process; Swank, J Appl Phys
1973;44:4199-4203). Fluorescence that escapes and the spread of light per photon are left out.
The noise is drawn as Poisson numbers of mean m1^2/m2, times m2/m1: right in mean and variance.
The light then spreads, and carries the quantum noise with it; electronic noise comes after.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import numpy as np
import torch

from xrecon.physics.blurring import Response, convolve, exponential, lorentzian
from xrecon.physics.geometry import ViewGeometry
from xrecon.physics.materials import mass_attenuation
from xrecon.physics.radiography_settings import RadiographySettings
from xrecon.physics.spectrum import Spectrum

# How far the kernels reach.
_BLUR_REACH_MM, _GLARE_REACH_RADII = 5.0, 8.0
# Signals are kept above this share of the electronic noise, so that they have a logarithm.
_FLOOR_SIGMAS = 0.1


@dataclass(frozen=True, eq=False)
class Radiation:
    """What arrives at the detector, each (row, column), float64.

    kerma: air kerma in uGy. first, second: mean signal (keV or counts) per mm2, and its variance.
    """

    kerma: torch.Tensor
    first: torch.Tensor
    second: torch.Tensor


def absorption(settings: RadiographySettings, energies_kev: np.ndarray) -> np.ndarray:
    """Probability that a photon of each energy is absorbed."""
    if settings.detector in ("energy", "photons"):
        return np.ones_like(energies_kev)
    mass = settings.scintillator_mg_per_cm2 / 1000.0
    return 1.0 - np.exp(-mass_attenuation(settings.detector, energies_kev) * mass)


def weights(settings: RadiographySettings, beam: Spectrum) -> np.ndarray:
    """(energy, 3): air kerma, signal and signal variance of the beam's photons of each energy."""
    absorbed = absorption(settings, beam.energies_kev) * beam.photons_per_mm2
    gain = np.ones_like(absorbed) if settings.detector == "photons" else beam.energies_kev
    kerma = beam.kerma_weights * beam.photons_per_mm2
    return np.stack([kerma, absorbed * gain, absorbed * gain**2], axis=1)


def point_spread(settings: RadiographySettings) -> tuple[Response, float] | None:
    """Frequency response of blur and glare together and its reach in mm; None when both are off.

    Blur: the modulation transfer of scintillators is near 1 / (1 + h f^2) (Samei and Flynn, Med Phys
    2003;30:608-622 give measured curves). Glare: a share spread as exp(-r / radius).
    """
    blur = lorentzian(settings.mtf_at_1_lp_per_mm if settings.blur else 1.0)
    if not settings.glare:
        return (blur, _BLUR_REACH_MM) if settings.blur else None
    share, wide = settings.glare_fraction, exponential(settings.glare_radius_mm)
    reach = _GLARE_REACH_RADII * settings.glare_radius_mm
    return lambda frequency: blur(frequency) * (1.0 - share + share * wide(frequency)), reach


def read_out(
    radiation: Radiation,
    open_beam: Radiation,
    geometry: ViewGeometry,
    settings: RadiographySettings,
    seed: int,
) -> torch.Tensor:
    """Signal of each pixel (row, column) over that of the open beam, both behind the grid.

    radiation, open_beam: at the exposure of the picture; the latter of one pixel that nothing covers.
    """
    area = float(np.prod(geometry.pixel_spacing))
    random = np.random.default_rng([seed, *_key(geometry)])
    signal = radiation.first
    if settings.noise:
        # light per quantum; where nothing at all arrives there are no quanta either
        gain = torch.where(radiation.first > 0, radiation.second / radiation.first, 1.0)
        quanta = (radiation.first / gain * area).cpu().numpy()
        drawn = torch.as_tensor(random.poisson(quanta).astype(np.float64), device=signal.device)
        signal = drawn * gain / area
    spread = point_spread(settings)
    if spread is not None:
        signal = convolve(signal, spread[0], geometry.pixel_spacing, spread[1])
    signal = signal / open_beam.first
    floor = 1e-12
    if settings.noise and settings.electronic_noise_ugy:
        share = settings.electronic_noise_ugy / open_beam.kerma
        sigma = float(torch.sqrt(open_beam.second * share / area) / open_beam.first)
        noise = random.standard_normal(tuple(signal.shape))
        signal = signal + sigma * torch.as_tensor(noise, device=signal.device)
        floor = _FLOOR_SIGMAS * sigma
    if settings.saturation:
        signal = signal.clip(None, settings.saturation_ugy / float(open_beam.kerma))
    return signal.clip(floor, None)


def _key(geometry: ViewGeometry) -> list[int]:
    """Numbers that are the same for the same view on every machine, for the seed of its noise."""
    places = (geometry.source, geometry.detector_center, geometry.row_direction, geometry.column_direction)
    numbers = np.concatenate([*places, geometry.pixel_spacing, geometry.shape])
    # rounded, so that a view read from a file is the same; + 0 makes -0 one with 0
    text = json.dumps([geometry.beam, *(np.round(numbers, 4) + 0.0).tolist()])
    digest = hashlib.sha256(text.encode()).digest()
    return [int.from_bytes(digest[i : i + 4], "little") for i in range(0, 16, 4)]
