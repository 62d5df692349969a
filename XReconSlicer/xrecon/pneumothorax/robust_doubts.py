"""Reasons to doubt a result of the robust mode, one sentence each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xrecon.pneumothorax.measures import LAA_HU
from xrecon.pneumothorax.robust_levels import Levels
from xrecon.pneumothorax.robust_regions import Region
from xrecon.pneumothorax.robust_room import MAX_LEAK_SHARE, Surroundings

# Half of healthy lungs have less than 3 % below -950 HU; from 6 % radiologists see emphysema.
EMPHYSEMA_SHARE = 0.06
THICK_MM = 3.0
NOISE_HU = 45.0
TRUNCATED_SHARE = 0.02


def about_grid(spacing: Sequence[float], levels: Levels, synthetic: bool) -> list[str]:
    """Thick slices, heavy noise, a CT that is none."""
    out = []
    if synthetic:
        out.append(
            "This CT was reconstructed from radiographs: its lungs are not right to the HU that tell air "
            "from lung, so pneumothorax can be missed and lung can be counted as air."
        )
    if max(spacing) > THICK_MM:
        out.append(
            f"Slices of {max(spacing):.1f} mm: thin layers of air mix with tissue and are missed, so the "
            "volume is probably underestimated."
        )
    if levels.noise > NOISE_HU:
        out.append(f"Noise of {levels.noise:.0f} HU: air thinner than about 5 mm is not seen.")
    return out


def about_leak(around: Surroundings) -> list[str]:
    """Outside air that ran into the lungs."""
    if around.leak <= MAX_LEAK_SHARE:
        return []
    how = (
        f"it was sealed by closing the body with a ball of {around.seal_mm:g} mm"
        if around.seal_mm is not None
        else "no ball up to 16 mm seals it, so air outside the lung mask is not trusted"
    )
    return [
        f"The outside air leaks into {100 * around.leak:.0f} % of the lungs (thin or cut chest wall); {how}."
    ]


def about_truncation(lungs: np.ndarray, spacing: tuple[float, float, float]) -> list[str]:
    """Lungs that the scan cuts; lungs: (z superior, y, x)."""
    dz, dy, dx = spacing
    total_mm2 = (float(lungs.sum()) * dz * dy * dx) ** (2.0 / 3.0)
    areas_mm2 = (dy * dx, dy * dx, dz * dx, dz * dx, dz * dy, dz * dy)
    faces = {
        "bottom": lungs[0], "top": lungs[-1], "front": lungs[:, 0], "back": lungs[:, -1],
        "right side": lungs[:, :, 0], "left side": lungs[:, :, -1],
    }
    cut = [
        name
        for (name, face), area in zip(faces.items(), areas_mm2, strict=True)
        if float(face.sum()) * area > TRUNCATED_SHARE * total_mm2
    ]
    if not cut:
        return []
    return [f"The scan cuts the lungs at the {' and '.join(cut)}: volumes hold for the part inside it."]


def about_emphysema(dark: dict[str, float]) -> list[str]:
    """Share of the remaining lung below -950 HU (after smoothing), by side."""
    return [
        f"{100 * share:.0f} % of the remaining {side} lung lies below {LAA_HU:g} HU (noise smoothed "
        "out): emphysema. Large bullae at the pleura look like pneumothorax; check the result."
        for side, share in dark.items()
        if share > EMPHYSEMA_SHARE
    ]


def about_regions(refused: Sequence[Region]) -> list[str]:
    """Regions as dark as air that were not counted."""
    large = [r for r in refused if r.ml >= 30.0 and r.wall >= 0.15]
    if not large:
        return []
    return [
        f"{len(large)} regions of together {sum(r.ml for r in large):.0f} ml are as dark as air but look "
        "like emphysema or bullae (vessels inside, no sharp edge, little wall contact) and were "
        "not counted."
    ]
