"""From the log signal to the grey values of a chest film: the clinical look-up curve.

What a digital system does between detector and viewer, in its plain form, in this order:
1. Equalization: a share of the coarse structure is taken out, so that lungs and mediastinum are seen
   in one picture (dynamic range control, Kobayashi et al.; unsharp masking with a wide kernel).
2. Edges: fine structure is raised, as every system does (unsharp masking with a narrow kernel).
3. Exposure recognition: the level of the lungs is found in the histogram of the patient's pixels.
4. A sigmoid curve, as film had (Hurter and Driffield) and as DICOM has (VOI LUT Function SIGMOID,
   PS3.3 C.11.2.1.3.1): black air, dark lungs, white mediastinum.

Fields of `RadiographySettings`: film_latitude is the width of the sigmoid in units of the log
signal: the larger, the flatter the picture. film_lung_grey is where the lungs come to lie, 0 black and 1
white. film_equalization is the share of coarse structure (of film_equalization_mm standard
deviation) taken out, film_edges how much fine structure (below film_edges_mm) is added; 0 switches off.
"""

from __future__ import annotations

import math

import torch

from xrecon.physics.blurring import convolve, gaussian
from xrecon.physics.radiography_settings import RadiographySettings

GREY_LEVELS = 4096
# The share of the patient's pixels that are darker than the lungs' level.
LUNG_QUANTILE = 0.2
_REACH = 4.0  # standard deviations


def develop(
    log_signal: torch.Tensor,
    patient: torch.Tensor,
    spacing: tuple[float, float],
    settings: RadiographySettings,
) -> torch.Tensor:
    """Whole grey values from 0 (black) to 4095 (white, dense), (row, column).

    patient: boolean (row, column), where the patient is in the beam; spacing: mm of the pixels.
    """
    picture = log_signal
    if settings.film_equalization:
        coarse = _smooth(picture, settings.film_equalization_mm, spacing)
        picture = picture - settings.film_equalization * coarse
    if settings.film_edges:
        fine = picture - _smooth(picture, settings.film_edges_mm, spacing)
        picture = picture + settings.film_edges * fine
    level = _lung_level(picture, patient)
    width = settings.film_latitude
    grey = settings.film_lung_grey
    center = level - width / 4.0 * math.log(grey / (1.0 - grey))
    curve = torch.sigmoid(4.0 * (picture - center) / width)
    return torch.round(curve * (GREY_LEVELS - 1))


def _lung_level(picture: torch.Tensor, patient: torch.Tensor) -> float:
    values = picture[patient] if bool(patient.any()) else picture.reshape(-1)
    ordered = torch.sort(values).values
    return float(ordered[int(LUNG_QUANTILE * (len(ordered) - 1))])


def _smooth(picture: torch.Tensor, sigma_mm: float, spacing: tuple[float, float]) -> torch.Tensor:
    return convolve(picture, gaussian(sigma_mm), spacing, _REACH * sigma_mm)
