"""Radiographs as a detector would see them: one projection per material, then the physics of a view."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from xrecon.physics.drr import render_drrs
from xrecon.physics.geometry import ViewGeometry
from xrecon.physics.radiography_settings import RadiographySettings, comparison_settings
from xrecon.volume import Radiograph, Volume

__all__ = ["RadiographySettings", "comparison_settings", "render_radiographs"]


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
        on the other views or the device.

    `quantity` of the result is LINE_INTEGRAL for ideal settings (`settings.is_ideal`; with
    `RadiographySettings.ideal()` the numbers are those of `render_drrs`), LOG_SIGNAL for output
    "log", else DISPLAY (whole grey values from 0 to 4095). `history` says what was done; `meta` has
    "radiography" (the settings as JSON), "seed", "kvp", "grid", "photometric" and more.

    Raises InputError when the volume is not in HU or holds NaN.
    """
    if settings == RadiographySettings.ideal(settings.energy_kev):
        return render_drrs(volume, views, settings.energy_kev, names=names, device=device)
    return render_drrs(volume, views, names=names, device=device)  # the effects come next
