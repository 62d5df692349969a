"""From stored grey values towards line integrals.

Where a file says that its values are proportional to the beam's intensity, -log of their share of the
open beam is the log signal; where it says that they are logarithms already, they are it, less the open
beam's. Where the curve between detector and file is not known, grey values are
brought to the domain of projected CTs by a monotone curve: the open background becomes 0, and the
distribution of values over the lungs' box that of the mean chest (histogram specification, Gonzalez and
Woods, Digital Image Processing, 3.3.2). That gives numbers of the size of line integrals, not
measurements: a dense lung is not told from a change of the curve.
"""

from __future__ import annotations

import numpy as np

from xrecon.preprocess.drr_bank import line_integrals
from xrecon.preprocess.thorax import Thorax
from xrecon.volume import Quantity, Radiograph

# The open beam: this percentile of the intensity, when so much of the picture comes near to it.
OPEN_PERCENTILE, NEAR_OPEN, OPEN_SHARE = 99.5, 0.85, 0.01
# Intensities below this share of the open beam are noise and scatter: no more than 9 units of the logarithm.
LEAST_SHARE = 1e-4
# Share of the box's width whose pixels are compared: its edges show what is beside the lungs.
COMPARED_WIDTH = 0.9
# The darkest part of the picture, in percent of its pixels, is the background.
BACKGROUND_PERCENTILE = 0.5
# Grey values at that many shares give the curve; the curve is no steeper than this many times its mean.
STEEPEST = 4.0


def log_signal(radiograph: Radiograph, valid: np.ndarray) -> Radiograph | None:
    """The log signal of a radiograph whose values follow the beam's intensity or its logarithm; else None.

    valid: boolean (row, column), which pixels show the patient or the open beam. Of logarithms the unit is
    not known, so theirs is the log signal but for a constant factor.
    """
    if radiograph.quantity is not Quantity.DISPLAY:
        return None
    relation = radiograph.meta.get("beam_relation")
    if relation == "LOG":
        return _less_open_beam(radiograph, valid)
    return _of_intensity(radiograph, valid) if relation == "LIN" else None


def _of_intensity(radiograph: Radiograph, valid: np.ndarray) -> Radiograph | None:
    intensity = float(radiograph.meta["no_beam_value"]) - radiograph.array.astype(np.float64)
    seen = intensity[valid]
    open_beam = float(np.percentile(seen, OPEN_PERCENTILE))
    if open_beam <= 0:
        return None
    told = _doubt(seen > NEAR_OPEN * open_beam)
    array = -np.log(np.maximum(intensity / open_beam, LEAST_SHARE))
    note = f"-log of the intensity over the open beam, {open_beam:.4g} by the brightest pixels{told}"
    return radiograph.with_array(array.astype(np.float32), note, quantity=Quantity.LOG_SIGNAL)


def _less_open_beam(radiograph: Radiograph, valid: np.ndarray) -> Radiograph:
    """Logarithms that rise with attenuation, as the reader gives them, less the open beam's."""
    values = radiograph.array.astype(np.float64)
    seen = values[valid]
    open_beam, densest = np.percentile(seen, [100.0 - OPEN_PERCENTILE, OPEN_PERCENTILE])
    told = _doubt(seen < open_beam + (1.0 - NEAR_OPEN) * (densest - open_beam))
    note = f"logarithm of the intensity less the open beam's, {open_beam:.4g} by the darkest pixels{told}"
    return radiograph.with_array((values - open_beam).astype(np.float32), note, quantity=Quantity.LOG_SIGNAL)


def _doubt(near_open: np.ndarray) -> str:
    """What to add when hardly a pixel shows the open beam, boolean for each of them."""
    return (
        ""
        if near_open.mean() >= OPEN_SHARE
        else ", although hardly anything is as bright: its zero is a guess"
    )


def matched(radiograph: Radiograph, plane: str, thorax: Thorax, valid: np.ndarray) -> Radiograph:
    """The radiograph with grey values brought to the domain of projected CTs; still `DISPLAY`.

    plane: "frontal" or "lateral"; valid: as in `log_signal`.
    """
    curve = matching_curve(radiograph.array, plane, thorax, valid)
    note = (
        "grey values matched to the line integrals of the mean chest (background 0, histogram of the lungs)"
    )
    array = np.interp(radiograph.array, curve[0], curve[1]).astype(np.float32)
    return radiograph.with_array(array, note)


def matching_curve(
    array: np.ndarray, plane: str, thorax: Thorax, valid: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Grey values and the line integrals they become, both rising; linear between them."""
    rows, columns = thorax.slices(array.shape)
    cut = round((columns.stop - columns.start) * (1.0 - COMPARED_WIDTH) / 2.0)
    place = rows, slice(columns.start + cut, max(columns.stop - cut, columns.start + cut + 1))
    values = array[place][valid[place]]
    values = values if values.size > 100 else array[valid]
    shares, wanted = line_integrals(plane)
    grey = np.quantile(values, shares)
    background = float(np.percentile(array[valid], BACKGROUND_PERCENTILE))
    if background < grey[0]:
        grey, wanted = np.append(background, grey), np.append(0.0, wanted)
    grey, first = np.unique(grey, return_index=True)
    if len(grey) < 2:
        low, high = float(array.min()), float(array.max())
        return np.array([low, high]), np.array([0.0, float(wanted[-1])])
    wanted = wanted[first]
    mean = (wanted[-1] - wanted[0]) / (grey[-1] - grey[0])
    slopes = np.minimum(np.diff(wanted) / np.diff(grey), STEEPEST * mean)
    wanted = wanted[0] + np.append(0.0, np.cumsum(slopes * np.diff(grey)))
    top, bottom = float(array.max()), float(array.min())
    if top > grey[-1]:
        grey, wanted = np.append(grey, top), np.append(wanted, wanted[-1] + mean * (top - grey[-1]))
    if bottom < grey[0]:
        grey, wanted = np.append(bottom, grey), np.append(wanted[0] - mean * (grey[0] - bottom), wanted)
    return grey, wanted
