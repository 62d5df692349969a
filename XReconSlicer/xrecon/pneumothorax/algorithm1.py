"""Reference mode of PTX-Seg: Algorithm 1 of the X-Recon paper (section III.B) to the letter.

| paper | parameter      | unit               | the paper gives | steps                                     |
| ----- | -------------- | ------------------ | --------------- | ----------------------------------------- |
| K_l   | `k_l`          | mm, radius of ball | nothing         | 3, closes the union of lung masks         |
| t_b   | `t_b`          | HU                 | nothing         | 4, body is at or above                    |
| K_b   | `k_b`          | mm, radius of ball | nothing         | 4, closes the body                        |
| T     | `connectivity` | 6, 18 or 26        | nothing         | 5, growing pattern: neighbours of a voxel |
| x     | `seeds`        | voxel indices      | two corners     | 5, where the air outside is grown from    |
| t_p   | `t_p`          | HU                 | -950            | 6, air is below                           |
| K_p   | `k_p`          | mm, radius of ball | nothing         | 7, closes the air                         |
| v_t   | `v_t`          | ml                 | 10              | 7, a region of more than this counts      |

The steps, with the reading chosen where the paper is silent or ambiguous:

1-2 M_l: the union of lung masks. Given by the caller (`xrecon.pneumothorax.lungs`).
3   M_l <- M_l closed by K_l. The paper writes a ring operator, usually an opening; its text says closing
    everywhere. Kernels have no shape or size in the paper: balls in mm here (see `morphology` for the exact
    ball).
4   M_bc <- Threshold(I, t_b) closed by K_b. Sense: body is I >= t_b. The text wants small holes within the
    lungs filled and the trachea closed off. So K_b must seal airways that reach the border, and need not
    fill the lungs. Field-of-view padding (-2000, -3024) lies below t_b and so is outside air.
5   M_b <- (Grow(M_bc, x_0, T) | Grow(M_bc, x_max, T))'. Region growing has no pattern named T in the
    literature: read as the neighbourhood. What grows are the voxels of M_bc', for the text calls the result
    M_b'. x_max = (D, W, H) is out of range and read as (D-1, W-1, H-1). Corners are taken in anatomical order
    (right-anterior-inferior and left-posterior-superior), so the order of storage does not matter. A seed
    inside the body grows nothing and is reported. Air enclosed by the body stays in M_b.
6   M_pc <- Threshold(M_l & M_b, t_p). A mask has no values: read as the voxels of M_l & M_b with I < t_p.
    The text names a threshold t_p, then "less than -950": read as one threshold, used once.
7   M_p <- Measure(M_pc closed by K_p, v_t). The order is the text's: threshold, closing, volume. Regions are
    pieces with 26 neighbours; one of exactly v_t ml does not exceed it. What the closing adds beyond
    M_l & M_b stays, as written; `stay_inside` cuts it off.

Right and left are not part of the algorithm: every voxel takes the side of the nearest lung label.

A closing stays within the box of what is closed. So all steps but 4 and 5 look at the box of the lungs only.

Known weaknesses, measured on synthetic pneumothorax: noise and emphysema below t_p count as air. The
warnings in the result's `meta` say when that is likely; `smooth_mm` helps against noise and departs from
the paper, as `stay_inside` does.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from xrecon.pneumothorax import doubts, morphology, sides
from xrecon.pneumothorax.grids import (
    RIGHT_AIR,
    RIGHT_LUNG,
    anatomical_view,
    require_hu,
    require_lungs,
)
from xrecon.pneumothorax.parameters import PtxParameters
from xrecon.volume import InputError, Quantity, Volume

__all__ = ["algorithm1"]

Box = tuple[slice, slice, slice]
Progress = Callable[[str, float, str], None]
Spacing = tuple[float, float, float]


def algorithm1(
    volume: Volume, lungs: Volume, parameters: PtxParameters | None = None, progress: Progress | None = None
) -> Volume:
    """Labels (uint8) on the CT's grid: 1 right lung, 2 left lung, 3 right and 4 left pneumothorax.

    volume: HU on any grid. lungs: 1 right, 2 left on the same grid, the union of the networks' masks.
    parameters: see `PtxParameters`; the defaults are the paper's where it gives any.
    The result's `meta["warnings"]` holds one sentence per line, "" when nothing is doubtful; labels 1 and 2
    are the closed lungs without the air.
    Raises InputError when the CT is not finite HU, the grids differ, the lungs are empty, or a seed lies
    outside the array.
    """
    settings = parameters or PtxParameters()
    say = progress or _silent
    require_hu(volume)
    view = anatomical_view(volume)
    hu = view.apply(volume.array)
    given = view.apply(require_lungs(lungs, volume))
    box = morphology.grown_box(given, (0, 0, 0))
    if box is None:
        raise InputError("expected lungs in the lung mask, got an empty mask")
    warnings = doubts.before(volume, settings)
    say("ptx-seg", 0.0, "closing the lungs")
    m_l = morphology.close(given[box] > 0, settings.k_l, view.spacing)
    say("ptx-seg", 0.1, "closing the body")
    m_bc = morphology.close(hu >= settings.t_b, settings.k_b, view.spacing)
    say("ptx-seg", 0.5, "flooding the air outside")
    outside = _outside(m_bc, _seeds(settings, volume, view.apply), settings.connectivity, warnings)[box]
    warnings += doubts.about_leak(outside, m_l)
    say("ptx-seg", 0.7, "air inside the lungs")
    m_p = _air(hu, m_l & ~outside, box, settings, view.spacing)
    m_l |= m_p
    labels = sides.nearest_side(given[box], m_l, view.spacing, settings.k_l + max(view.spacing))
    sides.one_side_a_piece(labels, m_p)
    np.add(labels, RIGHT_AIR - RIGHT_LUNG, out=labels, where=m_p)
    warnings += doubts.about_air(hu[box], labels, settings)
    whole = np.zeros(hu.shape, np.uint8)
    whole[box] = labels
    say("ptx-seg", 1.0, "done")
    return volume.with_array(
        view.restore(whole), Quantity.LABEL,
        segmentation="PTX-Seg", warnings="\n".join(warnings), parameters=settings.model_dump_json(),
    )


def _seeds(
    settings: PtxParameters, volume: Volume, apply: Callable[[np.ndarray], np.ndarray]
) -> list[tuple[int, int, int]]:
    """Seed voxels as indices of the anatomical view."""
    shape = np.array(apply(np.broadcast_to(np.uint8(0), volume.shape)).shape)
    if settings.seeds == "two corners":
        return [(0, 0, 0), tuple(int(n) - 1 for n in shape)]
    if settings.seeds == "eight corners":
        return [tuple(int(i) for i in np.array(corner) * (shape - 1)) for corner in np.ndindex(2, 2, 2)]
    outside = [s for s in settings.seeds if any(i >= n for i, n in zip(s, volume.shape, strict=True))]
    if outside:
        raise InputError(f"seeds: expected voxel indices (z, y, x) inside {volume.shape}, got {outside[0]}")
    marked = np.zeros(volume.shape, np.uint8)
    for seed in settings.seeds:
        marked[seed] = 1
    return [tuple(int(i) for i in index) for index in np.argwhere(apply(marked))]


def _outside(
    m_bc: np.ndarray, seeds: list[tuple[int, int, int]], connectivity: int, warnings: list[str]
) -> np.ndarray:
    """Step 5 before the inversion: what the seeds reach without entering the body."""
    blocked = sum(bool(m_bc[seed]) for seed in seeds)
    if blocked == len(seeds):
        warnings.append(
            f"All {blocked} seeds lie inside the body, so no outside air was found and the whole scan counts "
            "as body: air outside the patient that a lung mask covers would be counted. Set other seeds."
        )
        return np.zeros(m_bc.shape, bool)
    if blocked:
        warnings.append(
            f"{blocked} of {len(seeds)} seeds lie inside the body and were skipped; the outside air may be "
            "incomplete (try seeds = \"eight corners\")."
        )
    return morphology.flood(~m_bc, seeds, connectivity)


def _air(
    hu: np.ndarray, allowed: np.ndarray, box: Box, settings: PtxParameters, spacing: Spacing
) -> np.ndarray:
    """Steps 6 and 7 in the box of the lungs: air below t_p in `allowed`, closed, without small pieces."""
    values = _smoothed(hu, box, settings.smooth_mm, spacing) if settings.smooth_mm > 0 else hu[box]
    closed = morphology.close(allowed & (values < settings.t_p), settings.k_p, spacing)
    if settings.stay_inside:
        closed &= allowed
    voxel_ml = float(np.prod(spacing)) / 1000.0
    return morphology.drop_small(closed, settings.v_t, voxel_ml, doubts.AIR_CONNECTIVITY)


def _smoothed(hu: np.ndarray, box: Box, smooth_mm: float, spacing: Spacing) -> np.ndarray:
    """The CT in `box` (float32) after a Gaussian that also sees what lies around the box."""
    from scipy import ndimage

    sigma = [smooth_mm / s for s in spacing]
    reach = [int(4.0 * s + 0.5) for s in sigma]  # where scipy cuts the Gaussian off
    around = tuple(slice(max(0, b.start - r), b.stop + r) for b, r in zip(box, reach, strict=True))
    smooth = ndimage.gaussian_filter(hu[around].astype(np.float32), sigma, mode="nearest")
    return smooth[tuple(slice(b.start - a.start, b.stop - a.start) for a, b in zip(around, box, strict=True))]


def _silent(stage: str, fraction: float, message: str) -> None:
    """Progress for nobody."""
