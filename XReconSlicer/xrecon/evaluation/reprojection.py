"""How well a reconstructed volume explains the radiographs it was made from, beside what explains nothing.

A body's outline filled with water already gives nearly the same picture as the body, and rays through
the air beside it agree without any merit. So only rays through tissue count, slow changes are taken
away before the pictures are compared, and the same figures are given for two controls: the outline of
the reconstruction filled with water, and the mean training volume, which has not seen the radiographs.

Structure correlations measured on two held-out CTs (PA and left lateral), lifting-64: the CT itself on
the network's grid 0.97 to 0.99, the network 0.94 to 0.95, outlines 0.10 to 0.68, the mean volume 0.43
to 0.65. Given a right lateral as a left one, the lateral's fell by no more than 0.03: the network makes
a body that fits the mistaken picture too. No threshold on the score finds such a mistake.

What no such score can see is the null space: everything in a volume that projects to nothing in the
given views. Two radiographs leave most of a volume there, and a volume that is wrong in the depth
along the rays can score as well as the true one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from xrecon.volume import InputError, Quantity, Radiograph, Volume

REPROJECTION_ENERGY_KEV = 70.0
# A ray counts from this line integral on: 5 cm of water. The thinnest chest wall with lung has more.
TISSUE_LINE_INTEGRAL = 1.0
# Not counted: rays this near (at the isocentre) to where tissue ends; there the outline makes the picture.
RIM_MM = 10.0
# Gaussian whose local mean is taken away: slower changes are mostly the shape of the body. At the isocentre.
DETREND_SIGMA_MM = 30.0
# The reconstruction must lie along nearly the whole ray: rays that leave through its top say little.
FIELD_SHARE = 0.9
OUTLINE, MEAN_VOLUME = "outline", "mean_volume"
WATER_HU, AIR_HU = 0.0, -1000.0


def reproject(volume: Volume, inputs: Sequence[Radiograph]) -> list[Radiograph]:
    """Line integrals of a volume in HU through the geometries of `inputs`."""
    from xrecon.physics.drr import render_drrs

    pictures = render_drrs(
        volume, [r.geometry for r in inputs], REPROJECTION_ENERGY_KEV, names=[r.view for r in inputs]
    )
    note = f"reprojection of a reconstructed volume at {REPROJECTION_ENERGY_KEV:g} keV"
    return [replace(p, history=(note,), meta={**p.meta, "synthetic": "reprojection"}) for p in pictures]


def score_reprojections(
    volume: Volume,
    inputs: Sequence[Radiograph],
    reprojections: Sequence[Radiograph],
    mean_volume: np.ndarray | None = None,
) -> dict[str, dict[str, float]]:
    """For each view the scores of a reconstruction and of its controls over the same rays.

    volume: the reconstruction in HU, whose `reprojections` have the detectors of `inputs`.
    mean_volume: HU (z, y, x) on the grid of `volume`, or None when the model keeps none.
    The names are those of `reprojection_scores`, for the controls with "_outline" and "_mean_volume".
    """
    outline = _water_outline(volume)
    controls = {OUTLINE: outline}
    if mean_volume is not None:
        controls[MEAN_VOLUME] = volume.with_array(mean_volume)
    pictures = {name: reproject(control, inputs) for name, control in controls.items()}
    field = reproject(volume.with_array(np.full(volume.shape, WATER_HU, dtype=np.float32)), inputs)
    scores = {}
    for i, (radiograph, reprojection) in enumerate(zip(inputs, reprojections, strict=True)):
        rays = tissue_rays(radiograph, pictures[OUTLINE][i], field[i])
        of_view = reprojection_scores(reprojection, radiograph, rays)
        for name, projected in pictures.items():
            control = reprojection_scores(projected[i], radiograph, rays)
            of_view |= {f"{score}_{name}": value for score, value in control.items()}
        scores[radiograph.view] = of_view
    return scores


def _water_outline(volume: Volume) -> Volume:
    """The body of a reconstruction, lungs included, as water in air; air alone where no body is found."""
    from xrecon.preprocess.ct import body_mask

    try:
        body = body_mask(volume)
    except InputError:
        body = np.zeros(volume.shape, dtype=bool)
    return volume.with_array(np.where(body, WATER_HU, AIR_HU).astype(np.float32))


def tissue_rays(radiograph: Radiograph, outline: Radiograph, field: Radiograph) -> np.ndarray:
    """Which rays to score, boolean (row, column).

    Those that are not covered, through tissue (line integral of the radiograph from `TISSUE_LINE_INTEGRAL`
    on; for a radiograph without line integrals, that of the reconstruction's `outline` filled with water),
    along whose way the reconstruction lies (`field`: its grid as water), without a rim.
    """
    from scipy import ndimage

    measured = radiograph if radiograph.quantity is Quantity.LINE_INTEGRAL else outline
    rays = (measured.array >= TISSUE_LINE_INTEGRAL) & (field.array >= FIELD_SHARE * field.array.max())
    rays &= radiograph.seen
    pixels = RIM_MM / _pixel_mm(radiograph)
    # a disc, and beyond the detector counts as tissue: the picture ends there, not the body
    reach = np.arange(-int(pixels[0]), int(pixels[0]) + 1)[:, None] / pixels[0]
    across = np.arange(-int(pixels[1]), int(pixels[1]) + 1)[None, :] / pixels[1]
    return ndimage.binary_erosion(rays, reach**2 + across**2 <= 1.0, border_value=1)


def reprojection_scores(
    reprojection: Radiograph, radiograph: Radiograph, rays: np.ndarray
) -> dict[str, float]:
    """How well the line integrals p of a reprojection explain a radiograph y over some rays.

    structure_correlation: Pearson's, -1..1, 1 is best, of p and y less their local means over the
        rays (Gaussian, sigma 30 mm at the isocentre): blind to slow changes and to gain and offset.
        Not defined, because p or y does not vary or there are no rays, it counts as 0.
    relative_residual: |p - y| / |y|, 0 is best, nothing fitted, when y is in line integrals.
    relative_residual_fitted: |p - (a y + b)| / |p| with the best a and b, for any other y, whose
        absolute scale is lost. A fit hides errors: do not compare it with the one above.
    Residuals of no rays are not a number.
    """
    p, y = (r.array.astype(np.float64) for r in (reprojection, radiograph))
    sigma = DETREND_SIGMA_MM / _pixel_mm(radiograph)
    scores = {"structure_correlation": _correlation(_detrended(p, rays, sigma), _detrended(y, rays, sigma))}
    p, y = p[rays], y[rays]
    if radiograph.quantity is Quantity.LINE_INTEGRAL:
        name, wrong, size = "relative_residual", p - y, float(np.linalg.norm(y))
    else:
        name, size = "relative_residual_fitted", float(np.linalg.norm(p))
        terms = np.stack([y, np.ones_like(y)], axis=1)
        wrong = p - terms @ np.linalg.lstsq(terms, p, rcond=None)[0]
    scores[name] = float(np.linalg.norm(wrong)) / size if size else float("nan")
    return scores


def _pixel_mm(radiograph: Radiograph) -> np.ndarray:
    """Size of a pixel (row, column) in the plane of the isocentre."""
    geometry = radiograph.geometry
    shrink = 1.0
    if geometry.beam == "cone":
        shrink = geometry.source_to_isocenter_mm / geometry.source_to_detector_mm
    return np.array(geometry.pixel_spacing) * shrink


def _detrended(picture: np.ndarray, rays: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """The values on the rays less their local mean, which no other ray enters."""
    from scipy import ndimage

    weight = ndimage.gaussian_filter(rays.astype(np.float64), sigma, mode="constant")
    mean = ndimage.gaussian_filter(np.where(rays, picture, 0.0), sigma, mode="constant")
    return picture[rays] - mean[rays] / weight[rays]


def _correlation(p: np.ndarray, y: np.ndarray) -> float:
    if p.size < 2:
        return 0.0
    p, y = p - p.mean(), y - y.mean()
    sizes = float(np.linalg.norm(p)), float(np.linalg.norm(y))
    # what is left of a constant by rounding is no structure
    return float(p @ y) / (sizes[0] * sizes[1]) if min(sizes) > 1e-9 * p.size**0.5 else 0.0
