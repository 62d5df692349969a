"""PTX-Seg's robust mode: free pleural air told from emphysema, bullae, airways, bowel gas and noise.

Free air has no vessels, is homogeneous, and lies between the chest wall and a sharp pleural line. So regions
are judged, not voxels. The steps, and where their numbers come from:

1  Surroundings, on blocks of up to 3 mm (`robust_room`): air (below -480 HU, half-way to tissue) that reaches
   a lateral face is outside, never what the lung mask holds, whatever padding or a table does there. When
   that flood reaches over 2 % of the lungs, the body is closed by balls of 4 to 16 mm until it stops. Trachea
   and main bronchi leave by region growing with explosion control (`airways`).
2  Room: the lung mask closed by 4 mm, and enclosed air of more than 20 ml that the mask missed and that lies
   on the lungs with a tenth of its surface (bowel and skin are parted from them by diaphragm and chest wall).
3  Levels, on blocks of up to 1.6 mm (`robust_levels`): noise in soft tissue; a Gaussian that leaves 8 HU of
   it; air from the trachea, or else beside the skin; lung from the mode inside the mask.
4  Candidates (`robust_air`): layers of 3 mm below half-way from air to lung, grown to 55 % of the way.
5  Judgement (`robust_regions`, `robust_judge`): a candidate is free air with over 40 % of its surface on the
   wall, a step of 60 HU to the lung, under 10 % holes and 3 % vessels; below 10 ml it must be clearer, and
   for a clean one beside collapsed lung 30 % of wall are enough. A refused one is cut where it is narrow (air
   that has run together with emphysema) and its parts are judged more strictly; so are pieces of 1 to 4 ml
   where there is other free air. The limits lie in the gaps between what the development subjects showed;
   the figures stand beside the constants. In a CT computed from radiographs, whose edges are wide, the wall
   may be 8 mm away.
6  Edge (`robust_edge`): thin ends along the wall are followed for 2 cm; towards the lung the edge is where a
   fitted mean profile has the visceral pleura, at the wall where a voxel is half air. Pieces of more than
   10 ml stay (v_t of the paper).

Measured on the development subjects (lungs from the bundled network; synthetic pneumothorax, 1.6 mm, noise of
10 to 40 HU added; the limits were chosen on these CTs: the figures flatter). No pneumothorax: 0 ml in seven
CTs as they are and three with 40 HU of noise; with 15 to 45 % emphysema and bullae 0 ml in eight, 10 ml in
one. 8 to 10 % of the hemithorax: Dice 0.88 to 0.98 (five cases); 25 to 60 %: 0.93 to 0.98 (seven, three with
emphysema), volume within 7.5 %. 2 to 7 s of CPU each; 300x450x450 voxels: 6 s, 0.4 GiB extra.

Known weaknesses: air under about 4 mm thick is lost, so small pneumothorax is measured too small (8 %: by 10
to 11 %); a phantom at 3 mm voxels loses 9 % of its air without noise and 16 % with 40 HU. Where free air
touches emphysema, some of it is cut off or taken along (30 %: Dice 0.93). Bullae that lie flat on the wall
over 40 % of their surface, and pneumothorax within a fissure, are judged wrongly. No CT with a real
pneumothorax was at hand.
"""

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
from xrecon.pneumothorax.measures import LAA_HU
from xrecon.pneumothorax.robust_judge import Judge
from xrecon.pneumothorax.robust_levels import Levels
from xrecon.pneumothorax.robust_parameters import RobustParameters
from xrecon.pneumothorax.robust_regions import RECONSTRUCTED_TOUCHING_MM
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
    synthetic = volume.meta.get("synthetic", "").startswith("reconstructed")
    touching_mm = RECONSTRUCTED_TOUCHING_MM if synthetic else None
    judge = Judge(scene.g, scene.room, scene.wall, scene.levels, scene.spacing, touching_mm)
    air, refused = judge.accepted(labels, count, CANDIDATE_SHARE * settings.minimum_air_ml)
    say("ptx-seg", 0.7, "edges of the air")
    result = _labels(scene, air, given, view.spacing, settings)
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
    sides.one_side_a_piece(labels, found)
    return np.where(found, labels + (RIGHT_AIR - RIGHT_LUNG), labels).astype(np.uint8)


def _dark_shares(scene: Scene, air: np.ndarray) -> dict[str, float]:
    """Share of each remaining lung below -950 HU, two voxels from the air."""
    near = morphology.dilate(air, 2.0 * max(scene.spacing), scene.spacing)
    out = {}
    for side, label in (("right", RIGHT_LUNG), ("left", LEFT_LUNG)):
        rest = (scene.lungs == label) & ~near & scene.room
        out[side] = float((scene.g[rest] < LAA_HU).mean()) if rest.any() else 0.0
    return out


def _silent(stage: str, fraction: float, message: str) -> None:
    """Progress for nobody."""
