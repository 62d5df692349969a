"""The geometry of a collapsing lung: where the pleura moves to and where each voxel came from.

Every voxel of a side is described from the hilum by a direction and a relative depth t: 0 where its ray
enters the lung (the mediastinal face), 1 where the ray leaves it (chest wall, diaphragm, apex). The
visceral pleura moves from t = 1 to t = exp(-(a w - c (1 - w))), w(direction) being about 1 where air rises to
and small where the lung rests; beyond it is pleural space. The offset c keeps the pleura at the wall until
a is large enough, so that a small pneumothorax has no rim where the lung rests. a is the quantile that
gives the wanted fraction.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xrecon.pneumothorax.collapse_directions import GRAVITY, retreat_weights
from xrecon.pneumothorax.collapse_rays import Rays, hilum, positions
from xrecon.volume import Volume

ADHERENCE = 0.12
# Depth beyond the smoothed outer face that still counts: bumps of the lung between the rays.
DEPTH_RANGE = (1e-4, 1.02)


@dataclass(frozen=True)
class Plan:
    """What shall happen to one side. See `xrecon.pneumothorax.synthesize.synthesize` for the options."""

    side: str
    fraction: float
    position: str
    place: str = "general"
    loculated: bool = False
    effusion: float = 0.0


@dataclass(frozen=True)
class Collapse:
    """The new state of one side on the voxels of its box, arrays (z, y, x).

    air, fluid, lung: masks; together the side. gap_mm: signed distance to the new visceral pleura, mm,
    positive in the pleural space, defined beyond the side too. normal: unit vectors (z, y, x, 3) along which
    it grows, components along the array axes. above_mm: height over the fluid level, mm, infinite without
    fluid. source: where the voxel's lung was, LPS mm (z, y, x, 3). ratio: old / new volume of the lung
    there, 1 where it stayed.
    """

    air: np.ndarray
    fluid: np.ndarray
    lung: np.ndarray
    gap_mm: np.ndarray
    normal: np.ndarray
    above_mm: np.ndarray
    source: np.ndarray
    ratio: np.ndarray


def collapse(
    volume: Volume, inside: np.ndarray, box: tuple[slice, slice, slice], plan: Plan,
    generator: np.random.Generator,
) -> Collapse:
    """Let the lung `inside` (mask of the volume, box around it) give `plan.fraction` of its space to air."""
    where = positions(volume, box)
    mask = inside[box]
    root = hilum(where[mask], plan.side) + generator.normal(0.0, 3.0, 3).astype(np.float32)
    offset = where - root
    radius = np.linalg.norm(offset, axis=-1)
    rays = Rays.cast(volume, inside, root, float(radius[mask].max()))
    weights = retreat_weights(
        rays.directions, plan.side, plan.position, plan.place, plan.loculated, plan.fraction, plan.effusion,
        generator,
    )
    fields = rays.at(offset.reshape(-1, 3), radius.reshape(-1), (rays.near, rays.far, weights))
    near, far, weight = (f.reshape(mask.shape) for f in fields)
    span = np.maximum(far - near, 1.0)
    raw = (radius - near) / span
    depth = np.clip(raw, *DEPTH_RANGE)
    held = ADHERENCE * np.maximum(1.0 - weight, 0.0)
    order = (held - np.log(depth)) / weight
    height = -(where @ np.array(GRAVITY[plan.position], np.float32))
    level, surface = _levels(order[mask], height[mask], plan)
    space = mask & (order < level)
    air = space & (height >= surface)
    shrink = np.exp(held - level * weight)
    gap = (depth - shrink) * span
    # Beyond the depth's range the gap would stay level: it goes on along the ray.
    gap += (raw - depth) * span * (shrink < 1.0)
    steps = np.stack(np.gradient(gap, *volume.spacing), axis=-1)
    length = np.maximum(np.linalg.norm(steps, axis=-1), 1.0)
    gap = np.where(space, np.maximum(gap, 1e-3), np.where(mask, np.minimum(gap, -1e-3), gap)) / length
    # Below the least depth a ray has no lung left, and dividing by less would leave numbers that are none.
    shrink = np.clip(shrink, DEPTH_RANGE[0], 1.0)
    moved = np.where(radius < near, radius, near + (radius - near) / shrink)
    stretch = moved / np.maximum(radius, 1e-3)
    ratio = np.where(radius < near, 1.0, stretch**2 / shrink)
    return Collapse(
        air, space & ~air, mask & ~space, gap, steps / length[..., None], height - surface,
        root + offset * stretch[..., None], ratio,
    )


def _levels(order: np.ndarray, height: np.ndarray, plan: Plan) -> tuple[float, float]:
    """(Level below which `order` is pleural space, height of the fluid's surface, -inf without fluid).

    The air is `plan.fraction` of air + lung to one voxel; the fluid `plan.effusion` of the whole side,
    nearly (its surface lies at one height, and rows of voxels are not cut).
    """
    count = order.size
    ranked = np.argsort(order, kind="stable")
    surface = -np.inf
    if plan.effusion > 0.0:
        fluid = int(round(plan.effusion * count))
        room = fluid + int(round(plan.fraction * (count - fluid)))
        surface = float(np.partition(height[ranked[:room]], fluid)[fluid])
    above = np.cumsum(height[ranked] >= surface)
    taken = np.arange(1, count + 1)
    share = above / np.maximum(above + count - taken, 1)
    last = min(int(np.argmin(np.abs(share - plan.fraction))), count - 2)
    return float(order[ranked[last + 1]]), surface
