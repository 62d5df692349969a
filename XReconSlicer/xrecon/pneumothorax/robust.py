"""PTX-Seg's robust mode."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from xrecon.pneumothorax import (
    morphology,
    robust_air,
    robust_doubts,
    robust_edge,
    robust_grid,
    robust_levels,
    robust_room,
    sides,
)
from xrecon.pneumothorax.grids import (
    LEFT_LUNG,
    RIGHT_AIR,
    RIGHT_LUNG,
    anatomical_view,
    require_hu,
    require_lungs,
)
from xrecon.pneumothorax.robust_judge import Judge
from xrecon.pneumothorax.robust_levels import Levels
from xrecon.pneumothorax.robust_parameters import RobustParameters
from xrecon.pneumothorax.robust_room import Surroundings
from xrecon.volume import InputError, Quantity, Volume

__all__ = ["robust"]

Progress = Callable[[str, float, str], None]
Box = tuple[slice, slice, slice]
Spacing = tuple[float, float, float]
COARSE_MM = 3.0
WORKING_MM = 1.6
MARGIN_MM = 12.0
CANDIDATE_SHARE = 0.4


def robust(
    volume: Volume,
    lungs: Volume,
    parameters: RobustParameters | None = None,
    progress: Progress | None = None,
) -> Volume:
    """Labels (uint8) on the CT's grid: 1 right lung, 2 left lung, 3 right and 4 left pneumothorax.

    volume: HU on any grid. lungs: 1 right, 2 left on the same grid, with or without the pleural air.
    `meta["warnings"]` holds one sentence per line, "" when nothing is doubtful.
    Raises InputError when the CT is not finite HU, the grids differ or the lungs are empty.
    """
    settings = parameters or RobustParameters()
    say = progress or _silent
    require_hu(volume)
    view = anatomical_view(volume)
    given = view.apply(require_lungs(lungs, volume))
    if not given.any():
        raise InputError("expected lungs in the lung mask, got an empty mask")
    say("ptx-seg", 0.0, "air around the patient and in the airways")
    scene = prepare(view.apply(volume.array), given, view.spacing, settings)
    say("ptx-seg", 0.4, "candidates for free air")
    labels, count = robust_air.candidates(
        scene.g, scene.room, scene.levels, settings.layer_mm, scene.spacing
    )
    # A candidate is smaller than the air it stands for: its rim of partial volume comes later.
    judge = Judge(scene.g, scene.room, scene.wall, scene.levels, scene.spacing)
    air, refused = judge.accepted(labels, count, CANDIDATE_SHARE * settings.minimum_air_ml)
    say("ptx-seg", 0.7, "edges of the air")
    result = _labels(scene, air, given, view.spacing, settings)
    synthetic = volume.meta.get("synthetic", "").startswith("reconstructed")
    warnings = [
        *robust_doubts.about_grid(view.spacing, scene.levels, synthetic),
        *robust_doubts.about_leak(scene.around),
        *robust_doubts.about_truncation(given > 0, view.spacing),
        *robust_doubts.about_emphysema(_dark_shares(scene, air)),
        *robust_doubts.about_regions(refused),
    ]
    say("ptx-seg", 1.0, "done")
    return volume.with_array(
        view.restore(result), Quantity.LABEL, segmentation="PTX-Seg robust",
        warnings="\n".join(warnings), parameters=settings.model_dump_json(),
    )


@dataclass(frozen=True)
class Scene:
    """What the decisions look at, on the working grid of `box`: hu, g (smoothed), lungs (0, 1, 2), room,
    wall; `factors`: fine voxels per working voxel; around: masks of the coarse grid of the whole CT."""

    hu: np.ndarray
    g: np.ndarray
    lungs: np.ndarray
    room: np.ndarray
    wall: np.ndarray
    spacing: Spacing
    levels: Levels
    box: Box
    factors: robust_grid.Factors
    around: Surroundings


def prepare(hu: np.ndarray, given: np.ndarray, spacing: Spacing, settings: RobustParameters) -> Scene:
    """Steps 1 to 4, arrays in anatomical order."""
    f = robust_grid.factors_for(spacing, COARSE_MM, hu.shape)
    c_spacing = robust_grid.coarser(spacing, f)
    c_lungs = robust_grid.block_share(given > 0, f)
    around = robust_room.surroundings(robust_grid.block_mean(hu, f), c_lungs, c_spacing)
    missed = np.zeros(c_lungs.shape, bool)
    if settings.recover and around.seal_mm is not None:
        missed = robust_room.missed_air(around.enclosed, c_lungs, c_spacing, settings.recover_ml)
    margin = [int(np.ceil(MARGIN_MM / s)) for s in c_spacing]
    c_box = morphology.grown_box(c_lungs | missed, margin)
    if c_box is None:
        raise InputError("expected lungs of at least one 3 mm block, got a smaller mask")
    box = tuple(slice(s.start * k, min(s.stop * k, n)) for s, k, n in zip(c_box, f, hu.shape, strict=True))
    shape = tuple(s.stop - s.start for s in box)
    w = robust_grid.factors_for(spacing, WORKING_MM, shape)

    def working(mask: np.ndarray) -> np.ndarray:
        return robust_grid.block_share(robust_grid.spread(mask[c_box], f, shape), w)

    w_spacing = robust_grid.coarser(spacing, w)
    w_hu = robust_grid.block_mean(hu[box], w)
    right = robust_grid.block_share(given[box] == RIGHT_LUNG, w)
    lungs = np.where(right, RIGHT_LUNG, LEFT_LUNG * robust_grid.block_share(given[box] == LEFT_LUNG, w))
    lungs = lungs.astype(np.uint8)
    outside, airway, extra = (working(m) for m in (around.outside, around.airway, missed))
    noise = robust_levels.noise_sd(w_hu)
    sigma = settings.smooth_mm
    if sigma is None:
        sigma = robust_levels.smoothing_mm(noise, w_spacing)
    g = robust_levels.smoothed(w_hu, sigma, w_spacing)
    air = settings.air_hu
    if air is None:
        air = robust_levels.air_level(g, airway, outside, w_spacing)
    lung = settings.lung_hu
    if lung is None:
        lung = robust_levels.lung_level(g, lungs > 0, air, w_spacing)
    room = (robust_room.room_of(lungs > 0, w_spacing) | extra) & ~airway & ~outside
    wall = robust_air.wall_of(w_hu, lungs > 0, w_spacing)
    return Scene(w_hu, g, lungs, room, wall, w_spacing, Levels(air, lung, noise, sigma), box, w, around)


def _labels(
    scene: Scene, air: np.ndarray, given: np.ndarray, spacing: Spacing, settings: RobustParameters
) -> np.ndarray:
    """Lung and air on the fine grid."""
    found = np.zeros(given.shape, bool)
    if air.any():
        box = morphology.grown_box(air, [int(np.ceil(24.0 / s)) for s in scene.spacing])
        hu, room, wall = scene.hu[box], scene.room[box], scene.wall[box]
        whole = robust_air.along_the_wall(air[box], hu, room, wall, scene.levels, scene.spacing)
        field = np.full(air.shape, robust_edge.FAR_OUT, np.float32)
        field[box] = robust_edge.margin(whole, hu, room, wall, scene.spacing)
        fine = robust_grid.interpolated(field, scene.factors, found[scene.box].shape) >= 0.0
        found[scene.box] = morphology.drop_small(
            fine, settings.minimum_air_ml, float(np.prod(spacing)) / 1000.0
        )
    labels = sides.nearest_side(given, (given > 0) | found, spacing)
    return np.where(found, labels + (RIGHT_AIR - RIGHT_LUNG), labels).astype(np.uint8)


def _dark_shares(scene: Scene, air: np.ndarray) -> dict[str, float]:
    """Share of each remaining lung below -950 HU, two voxels from the air."""
    near = morphology.dilate(air, 2.0 * max(scene.spacing), scene.spacing)
    out = {}
    for side, label in (("right", RIGHT_LUNG), ("left", LEFT_LUNG)):
        rest = (scene.lungs == label) & ~near & scene.room
        out[side] = float((scene.g[rest] < robust_doubts.EMPHYSEMA_HU).mean()) if rest.any() else 0.0
    return out


def _silent(stage: str, fraction: float, message: str) -> None:
    """Progress for nobody."""
