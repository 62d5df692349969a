"""How readily the visceral pleura retreats in each direction from the hilum: where pleural air collects."""

from __future__ import annotations

import numpy as np

# Where air collects, LPS for the left side (x is mirrored for the right). General: supine anterior, a
# little lateral and caudal; erect cranial and a little lateral. Basal when supine is the deep sulcus.
RISES_TO = {
    ("supine", "general"): (0.1, -1.0, -0.15), ("erect", "general"): (0.45, -0.1, 1.0),
    ("supine", "apical"): (0.15, -0.6, 0.9), ("erect", "apical"): (0.3, -0.1, 1.0),
    ("supine", "basal"): (0.3, -0.8, -0.7), ("erect", "basal"): (0.45, -0.2, -0.9),
}  # fmt: skip
# Where fluid collects.
SINKS_TO = {"supine": (0.1, 1.0, -0.3), "erect": (0.25, 0.2, -1.0)}
# Which way is down.
GRAVITY = {"supine": (0.0, 1.0, 0.0), "erect": (0.0, 0.0, -1.0)}
POSITIONS, PLACES = ("supine", "erect"), ("general", "apical", "basal")
# How far the pleura retreats where the lung rests, relative to where air rises to.
DEPENDENT_WEIGHT = {"supine": 0.08, "erect": 0.22}
LOCAL_WEIGHT = 0.02
ADHERENT_WEIGHT = 0.002
FLUID_WEIGHT = 0.6


def retreat_weights(
    directions: np.ndarray, side: str, position: str, place: str, loculated: bool, fraction: float,
    effusion: float, generator: np.random.Generator,
) -> np.ndarray:
    """Weights (...) of unit vectors (..., 3): about 1 where air rises to, small where the lung rests.

    loculated: a lens of air about one direction, as wide as the fraction needs; elsewhere the lung
    adheres. effusion above 0: the pleura retreats where fluid sinks to as well.
    """
    mirror = np.array((1.0 if side == "left" else -1.0, 1.0, 1.0))
    rises = _unit(np.array(RISES_TO[position, place]) * mirror)
    rises = _unit(rises + generator.normal(0.0, 0.35 if loculated else 0.12, 3))
    cosine = directions @ rises
    if loculated:
        angle = np.arccos(np.clip(cosine, -1.0, 1.0))
        width = min(0.8 + 2.0 * fraction, 1.6)
        weight = np.maximum(1.0 - (angle / width) ** 2, 0.0)
        low = ADHERENT_WEIGHT
    elif place == "general":
        weight, low = _smooth((cosine + 0.6) / 1.5), DEPENDENT_WEIGHT[position]
    else:
        weight, low = _smooth((cosine + 0.1) / 1.05), LOCAL_WEIGHT
    if effusion > 0.0:
        sinks = _unit(np.array(SINKS_TO[position]) * mirror)
        weight = np.maximum(weight, FLUID_WEIGHT * _smooth((directions @ sinks + 0.1) / 0.9))
    weight = low + (1.0 - low) * weight
    waves = generator.normal(0.0, 1.0, (4, 3)) * 2.5
    ripple = np.sin(directions @ waves.T + generator.uniform(0, 2 * np.pi, 4)).mean(axis=-1)
    return weight * np.exp((0.15 if loculated else 0.35) * ripple)


def _smooth(ramp: np.ndarray) -> np.ndarray:
    clipped = np.clip(ramp, 0.0, 1.0)
    return clipped**2 * (3.0 - 2.0 * clipped)


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)
