"""Digitally reconstructed radiographs: a CT volume and view geometries in, line integrals out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from xrecon.physics.attenuation import hu_to_attenuation
from xrecon.physics.geometry import VIEWS, ViewGeometry
from xrecon.physics.projector import Projector
from xrecon.volume import InputError, Quantity, Radiograph, Volume


def render_drrs(
    volume: Volume,
    views: Sequence[ViewGeometry],
    energy_kev: float = 70.0,
    *,
    names: Sequence[str] | None = None,
    device: torch.device | str = "cpu",
) -> list[Radiograph]:
    """Ideal radiographs (no noise, no scatter) of a CT in HU, one per view, as line integrals.

    names: what to call the views; by default the preset they are nearest to.
    Raises InputError when the volume is not in HU or holds NaN.
    """
    if volume.quantity is not Quantity.HU:
        raise InputError(f"expected a CT in HU, got a volume of {volume.quantity.value}")
    volume.require_finite("the CT")
    hu = torch.as_tensor(np.ascontiguousarray(volume.array, dtype=np.float32), device=device)
    attenuation = hu_to_attenuation(hu, energy_kev)[None, None]
    radiographs = []
    for i, view in enumerate(views):
        with torch.no_grad():
            integrals = Projector.of_volume([view], volume, device=device)(attenuation)[0, 0]
        radiographs.append(
            Radiograph(
                array=integrals.cpu().numpy(),
                geometry=view,
                quantity=Quantity.LINE_INTEGRAL,
                view=names[i] if names else nearest_view(view),
                history=(f"line integrals projected from a CT at {energy_kev:g} keV",),
                meta={**volume.meta, "synthetic": "DRR"},
            )
        )
    return radiographs


def nearest_view(view: ViewGeometry) -> str:
    """The preset whose central ray is nearest, or "" when none is within 15 degrees (as DICOM views)."""
    beam = np.array(view.detector_center) - np.array(view.source)
    beam = beam / np.linalg.norm(beam)
    cosines = {name: float(beam @ ViewGeometry.preset(name).normal) for name in VIEWS}
    best = max(cosines, key=cosines.get)
    return best if cosines[best] > np.cos(np.radians(15.0)) else ""
