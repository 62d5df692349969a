"""Reasons to doubt a result of PTX-Seg, one sentence each, for the result's warnings."""

from __future__ import annotations

import numpy as np

from xrecon.pneumothorax import morphology
from xrecon.pneumothorax.grids import LEFT_AIR, LEFT_LUNG, RIGHT_AIR, RIGHT_LUNG
from xrecon.pneumothorax.parameters import PtxParameters
from xrecon.volume import Volume

# A sealed chest leaks less than 0.1 % and an open one most of the lung.
MAX_LEAK_SHARE = 0.02
# Four CTs without pneumothorax had 0.5 to 9.5 % of the lung below -950 HU.
MAX_DARK_SHARE = 0.10
# Judgement, not measurement: a pneumothorax is one piece, or a few where the lung adheres.
MAX_PIECES = 5
AIR_CONNECTIVITY = 26
# Above this voxel size air is mixed with tissue: of 794 ml synthetic pneumothorax in one CT 469 ml were
# found at 5.6 mm, and 135 ml when a blur of one voxel (standard deviation) came on top.
COARSE_MM = 5.0


def before(volume: Volume, settings: PtxParameters) -> list[str]:
    """What makes the threshold t_p unreliable whatever the lungs look like."""
    widest = max(volume.spacing)
    if volume.meta.get("synthetic", "").startswith("reconstructed"):
        # measured with lifting-64 on two held-out CTs without pneumothorax: 289 and 387 ml of air
        return [
            f"This CT was reconstructed from radiographs, and {settings.t_p:g} HU is nearer to air than such "
            "a CT is right: pneumothorax can be missed and lung can be counted as air."
        ]
    if widest > COARSE_MM:
        return [
            f"Voxels of {widest:.1f} mm mix air with tissue: air rises above {settings.t_p:g} HU and its "
            "volume is probably underestimated."
        ]
    return []


def about_leak(outside: np.ndarray, m_l: np.ndarray) -> list[str]:
    """A flood that took more than 2 % of the lungs."""
    share = np.count_nonzero(outside & m_l) / max(np.count_nonzero(m_l), 1)
    if share <= MAX_LEAK_SHARE:
        return []
    return [
        f"The flood of the outside air took {100 * share:.1f} % of the lungs: it leaked through an "
        "airway, a thin chest wall or a cut edge of the scan. Raise k_b; the pneumothorax is too small."
    ]


def about_air(hu: np.ndarray, labels: np.ndarray, settings: PtxParameters) -> list[str]:
    """Doubts about what counts as air: emphysema or noise in the other lung, many pieces."""
    warnings: list[str] = []
    voxels = {"right": np.count_nonzero(labels == RIGHT_AIR), "left": np.count_nonzero(labels == LEFT_AIR)}
    for side, lung, air in (("right", RIGHT_LUNG, RIGHT_AIR), ("left", LEFT_LUNG, LEFT_AIR)):
        other = voxels["left" if side == "right" else "right"]
        room = (labels == lung) | (labels == air)
        dark = np.count_nonzero(room & (hu < settings.t_p)) / max(np.count_nonzero(room), 1)
        if dark > MAX_DARK_SHARE and 0 < voxels[side] + other and voxels[side] <= other:
            warnings.append(
                f"{100 * dark:.0f} % of the {side} lung, the side with less air, lies below "
                f"{settings.t_p:g} HU: emphysema or noise is probably counted as pneumothorax on both sides."
            )
    pieces = morphology.count_components(labels >= RIGHT_AIR, AIR_CONNECTIVITY)
    if pieces > MAX_PIECES:
        warnings.append(
            f"The air lies in {pieces} separate pieces: typical of noise, emphysema or large "
            "airways, not of one pneumothorax."
        )
    return warnings
