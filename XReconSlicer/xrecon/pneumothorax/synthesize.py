"""Synthetic pneumothorax with exact truth: the lung of one side collapses towards its hilum.

The shape of the collapse is described in `xrecon.pneumothorax.collapse`: air collects where the position and
the place say, the lung is compressed along rays towards the hilum and sampled back. The fraction is exact to
one voxel.

Truth: a voxel is air when at least half of it is free pleural air. Towards the wall that half is where the CT
itself lies half between lung and wall (`xrecon.pneumothorax.hemithorax`), towards the lung where the new
visceral pleura runs. HU are partial volumes blurred as the CT is (`xrecon.pneumothorax.compressed_lung`), so
a voxel at the rim of the air is not as dark as air.

Density follows mass: (HU + 1000) times the root of the local volume ratio (air moves between neighbouring
lobules, so density evens out), times one factor that restores the side's total mass. No voxel is pushed
beyond soft tissue (40 HU), so mass conservation ends where the whole lung is tissue-dense: lung of 0.13 g/ml
(-870 HU) at a fraction of about 0.85, denser lung earlier. `meta["mass_ratio"]` (lung after / before) reports
what was reached.

Not modelled: mediastinal shift, diaphragm depression, collapse along the fissures.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xrecon.pneumothorax import morphology
from xrecon.pneumothorax.collapse import Collapse, Plan, collapse
from xrecon.pneumothorax.collapse_directions import PLACES, POSITIONS
from xrecon.pneumothorax.compressed_lung import render
from xrecon.pneumothorax.emphysema import add_emphysema
from xrecon.pneumothorax.grids import LEFT_AIR, RIGHT_AIR, SIDES, require_hu, require_lungs
from xrecon.pneumothorax.hemithorax import find_face, whole_sides
from xrecon.pneumothorax.scanner import measure_blur, measure_grain
from xrecon.volume import InputError, Quantity, Volume

FRACTION_RANGE = (0.01, 0.9)
LOCULATED_MOST = 0.5
EFFUSION_MOST = 0.4
FRACTION_TOLERANCE = 0.02
LEAST_ML = 30.0
MARGIN_MM = 6.0


@dataclass(frozen=True)
class SyntheticPneumothorax:
    """A CT with a pneumothorax and all that is known of it, on one grid.

    volume: HU. labels: 1 right lung, 2 left lung, 3 right air, 4 left air. effusion: label 1 where at least
    half of a voxel is pleural fluid (it belongs to neither lung nor air). air_share: free air in each voxel,
    0..1 (float32 array), at least 0.5 exactly where the labels say air, for truth on coarser grids.
    emphysema: labels of `add_emphysema` before the collapse, None without.
    """

    volume: Volume
    labels: Volume
    effusion: Volume
    air_share: np.ndarray
    emphysema: Volume | None = None


def add_pneumothorax(
    volume: Volume, lungs: Volume, side: str = "right", fraction: float = 0.3,
    position: str = "supine", seed: int = 0, *, place: str = "general", loculated: bool = False,
    effusion: float = 0.0, emphysema: float = 0.0,
) -> tuple[Volume, Volume]:
    """(CT with a pneumothorax, labels 1 right lung, 2 left lung, 3 right air, 4 left air).

    The options and what is raised are those of `synthesize`, which returns more.
    """
    made = synthesize(
        volume, lungs, side, fraction, position, seed, place=place, loculated=loculated, effusion=effusion,
        emphysema=emphysema,
    )
    return made.volume, made.labels


def synthesize(
    volume: Volume, lungs: Volume, side: str = "right", fraction: float = 0.3,
    position: str = "supine", seed: int = 0, *, place: str = "general", loculated: bool = False,
    effusion: float = 0.0, emphysema: float = 0.0,
) -> SyntheticPneumothorax:
    """A pneumothorax put into a CT.

    volume: HU on any grid. lungs: labels 1 right, 2 left on the same grid, trachea left out; both sides are
    closed by 4 mm first so that vessels move with the lung, and their faces set where the CT lies half
    between lung and wall, hence the labels differ from `lungs` by a voxel at the face.
    side: "right" or "left". fraction: air / (air + lung) of that side, 0.01 to 0.9, met within one voxel
    (tolerance stated for users: 0.02). position: "supine" or "erect", which way is up. place: "general",
    "apical" or "basal". loculated: one lens of air about a place, the rest of the lung adherent (up to 0.5).
    effusion: pleural fluid as a share of the side (0 to 0.4), below a level that is horizontal in the
    position: hydropneumothorax. emphysema: share of both lungs below -950 HU wanted before the collapse,
    see `add_emphysema`; 0 leaves the lungs as they are. seed: varies the hilum by some mm, the air's shape
    and the noise; the same seed gives the same arrays.
    Volumes are float32 HU, clipped below at the CT's own minimum or -1024, and uint8 labels; `meta` tells
    the options and mass_ratio (lung mass after / before).
    Raises InputError for a wrong option, other grids or labels, or a side of less than 30 ml.
    """
    require_hu(volume)
    label_array = require_lungs(lungs, volume)
    plan = Plan(side, fraction, position, place, loculated, effusion)
    _require_plan(plan)
    generator = np.random.default_rng(seed)
    spots = None
    if emphysema > 0.0:
        volume, spots = add_emphysema(volume, lungs, emphysema, seed=seed)
    labels = whole_sides(label_array, volume.array, volume.spacing)
    inside = labels == SIDES[side]
    room_ml = float(inside.sum()) * volume.voxel_ml
    if room_ml < LEAST_ML:
        raise InputError(f"expected a {side} lung of at least {LEAST_ML:g} ml, got {room_ml:.0f} ml")
    margin = tuple(int(np.ceil(MARGIN_MM / s)) + 1 for s in volume.spacing)
    box = morphology.grown_box(inside, margin)
    state = collapse(volume, inside, box, plan, generator)
    hu, share, mass_ratio = _rendered(volume, inside[box], box, state, generator)
    array = volume.array.astype(np.float32)
    array[box] = np.maximum(hu, min(float(volume.array.min()), -1024.0))
    labels[box][state.air] = RIGHT_AIR if side == "right" else LEFT_AIR
    labels[box][state.fluid] = 0
    fluid, shares = np.zeros(volume.shape, np.uint8), np.zeros(volume.shape, np.float32)
    fluid[box], shares[box] = state.fluid, share
    meta = {
        "synthetic": "pneumothorax", "side": side, "position": position, "place": place,
        "loculated": str(loculated), "seed": str(seed), "mass_ratio": f"{mass_ratio:.3f}",
        "fraction": f"{state.air.sum() / (state.air.sum() + state.lung.sum()):.4f}",
        "effusion_ml": f"{state.fluid.sum() * volume.voxel_ml:.1f}", "emphysema": f"{emphysema:g}",
    }  # fmt: skip
    return SyntheticPneumothorax(
        volume.with_array(array, **meta), volume.with_array(labels, Quantity.LABEL, **meta),
        volume.with_array(fluid, Quantity.LABEL, **meta), shares, spots,
    )


def _require_plan(plan: Plan) -> None:
    if plan.side not in SIDES:
        raise InputError(f"expected side 'right' or 'left', got {plan.side!r}")
    if plan.position not in POSITIONS:
        raise InputError(f"expected position 'supine' or 'erect', got {plan.position!r}")
    if plan.place not in PLACES:
        raise InputError(f"expected place {', '.join(PLACES)}, got {plan.place!r}")
    least, most = FRACTION_RANGE
    most = LOCULATED_MOST if plan.loculated else most
    if not least <= plan.fraction <= most:
        kind = " of loculated air" if plan.loculated else ""
        raise InputError(f"expected a fraction{kind} from {least} to {most}, got {plan.fraction}")
    if not 0.0 <= plan.effusion <= EFFUSION_MOST:
        raise InputError(f"expected an effusion from 0 to {EFFUSION_MOST}, got {plan.effusion}")


def _rendered(
    volume: Volume, mask: np.ndarray, box: tuple[slice, slice, slice], state: Collapse,
    generator: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, float]:
    """HU, share of air, ratio of masses in the box."""
    hu = volume.array[box].astype(np.float32)
    blur = measure_blur(hu, mask, volume.spacing)
    face = find_face(hu, mask, blur, volume.spacing)
    start = np.array([s.start for s in box], np.float32)
    index = (volume.world_to_index(state.source)[..., ::-1] - start).astype(np.float32)
    return render(hu, face, state, blur, measure_grain(hu), index, volume.spacing, generator)
