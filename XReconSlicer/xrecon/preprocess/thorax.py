"""Where the lungs are in a chest radiograph: found by correlation with the mean chest of projected CTs.

The picture and the mean chest are compared by the ranks of their grey values, so that the curve between
detector and screen does not matter (as in normalized cross-correlation of landmarks; Lewis, Vision
Interface 1995:120-123). Height and width of the chest are searched apart. What is found is the box around
both lungs as they are projected: from the apices to the lowest costophrenic angle, from side to side, or
from sternum to spine.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xrecon.preprocess.drr_bank import MARGIN, mean_chest

# The long side of the picture that is searched.
SEARCH_PIXELS = 64
# Heights of the lungs as shares of the picture's, and widths in relation to those of the mean chest.
HEIGHTS = np.geomspace(0.36, 0.96, 15)
WIDTHS = (0.8, 0.9, 1.0, 1.12, 1.25)
# Adults' lungs take about this share of the picture's height; what differs has to correlate so much better,
# times the square of the logarithm (a small template fits something anywhere).
USUAL_HEIGHT, HEIGHT_PENALTY = 0.66, 0.25
# Of 96 projections and films of six CTs, moved and scaled, the least had 0.64; a rotated patient with one
# opaque lung, for whom the box is wrong, 0.59.
LEAST_SCORE = 0.62
# This share of the lungs' height or width may lie beyond each side of the picture.
BEYOND = 0.1


@dataclass(frozen=True)
class Thorax:
    """The box around both lungs in pixels of a picture.

    center: (row, column). size: (rows, columns). score: correlation with the mean chest, at most 1.
    """

    center: tuple[float, float]
    size: tuple[float, float]
    score: float

    def slices(self, shape: tuple[int, int], scale: float = 1.0) -> tuple[slice, slice]:
        """The box, made larger by `scale`, as far as it lies in a picture of this shape."""
        found = []
        for center, size, n in zip(self.center, self.size, shape, strict=True):
            first, last = center - scale * size / 2.0, center + scale * size / 2.0
            found.append(slice(int(np.clip(first, 0, n - 1)), int(np.clip(last, 0, n - 1)) + 1))
        return found[0], found[1]


def find_thorax(array: np.ndarray, plane: str, spacing: tuple[float, float] = (1.0, 1.0)) -> Thorax | None:
    """The lungs in a picture (row, column), bright = dense; None when nothing is like a chest.

    plane: "frontal" (columns to the patient's left) or "lateral" (columns to posterior). spacing: of the
    pixels (row, column), of which only the ratio matters.
    """
    from skimage.feature import match_template

    small, step = _small(array, spacing)
    chest, aspect = mean_chest(plane)
    scores = np.full((len(HEIGHTS), len(WIDTHS)), -1.0)
    middles = np.zeros((*scores.shape, 2))
    for i, height in enumerate(HEIGHTS * small.shape[0]):
        for j, width in enumerate(WIDTHS):
            template = _resized(chest, (height * MARGIN[0], height * aspect * width * MARGIN[1]))
            # a little of the lungs may lie beyond the picture
            pad = [int(BEYOND * t) + 1 for t in template.shape]
            if any(t > n + 2 * p for t, n, p in zip(template.shape, small.shape, pad, strict=True)):
                continue
            found = match_template(np.pad(small, [(p, p) for p in pad], mode="edge"), template)
            place = np.unravel_index(int(np.argmax(found)), found.shape)
            scores[i, j] = found[place]
            middles[i, j] = [
                k + (t - 1) / 2.0 - p for k, t, p in zip(place, template.shape, pad, strict=True)
            ]
    likely = scores - HEIGHT_PENALTY * np.log(HEIGHTS / USUAL_HEIGHT)[:, None] ** 2
    best = np.unravel_index(int(np.argmax(likely)), scores.shape)
    if scores[best] < LEAST_SCORE:
        return None
    center = [(m + 0.5) * s - 0.5 for m, s in zip(middles[best], step, strict=True)]
    height = float(_between(HEIGHTS, likely[:, best[1]], best[0])) * small.shape[0]
    width = height * aspect * float(_between(np.array(WIDTHS), scores[best[0]], best[1]))
    size = (height * step[0], width * step[1])
    return Thorax((float(center[0]), float(center[1])), size, float(scores[best]))


def _small(array: np.ndarray, spacing: tuple[float, float]) -> tuple[np.ndarray, tuple[float, float]]:
    """Ranks of the grey values, 0 to 1, on a small picture of square pixels, and the size of those."""
    from scipy import ndimage, stats

    size = np.array(array.shape) * np.array(spacing)
    shape = tuple(int(n) for n in np.maximum(np.rint(size * SEARCH_PIXELS / size.max()), 8))
    step = tuple(n / m for n, m in zip(array.shape, shape, strict=True))
    blurred = ndimage.gaussian_filter(array.astype(np.float32), [s / 2.5 for s in step], mode="nearest")
    first = [s / 2.0 - 0.5 for s in step]
    small = ndimage.affine_transform(blurred, step, offset=first, output_shape=shape, order=1, mode="nearest")
    return (stats.rankdata(small, axis=None).reshape(shape) / small.size).astype(np.float32), step


def _resized(picture: np.ndarray, shape: tuple[float, float]) -> np.ndarray:
    from scipy import ndimage

    shape = tuple(max(2, round(n)) for n in shape)
    step = [n / m for n, m in zip(picture.shape, shape, strict=True)]
    first = [s / 2.0 - 0.5 for s in step]
    return ndimage.affine_transform(picture, step, offset=first, output_shape=shape, order=1, mode="nearest")


def _between(values: np.ndarray, scores: np.ndarray, best: int) -> float:
    """The value at the top of the parabola, over the logarithm, through the best score and its neighbours."""
    if not 0 < best < len(values) - 1 or min(scores[best - 1], scores[best + 1]) <= -1.0:
        return float(values[best])
    terms = np.polyfit(np.log(values[best - 1 : best + 2]), scores[best - 1 : best + 2], 2)
    if terms[0] >= 0:
        return float(values[best])
    return float(np.clip(np.exp(-terms[1] / (2.0 * terms[0])), values[best - 1], values[best + 1]))
