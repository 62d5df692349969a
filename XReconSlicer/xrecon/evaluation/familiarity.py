"""How like the training pictures a radiograph is: named properties, and one distance with its reasons.

A network answers any picture fluently, one of a hand or a texture as well. The distance of a picture to the
DRRs that the view classifier was trained on is Mahalanobis's over nine properties: eight that have a name in
the radiograph (contrast, noise, ...), and the distance of the classifier's own features (Lee et al., NeurIPS
2018), which stands for anatomy. Covariances are shrunk towards the diagonal. The limits are quantiles of
augmented DRRs of the training subjects; the weights keep everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from xrecon.nets.view_classifier import ViewClassifier

# Property: what is said when it is lower or higher than usual.
PROPERTIES = {
    "brightness": ("the picture is darker than usual", "the picture is brighter than usual"),
    "contrast": ("the grey values lie close together", "the picture is nearly black and white"),
    "grey levels": ("few grey levels are used", "the grey levels are spread too evenly"),
    "saturation": ("hardly any pixel is at the end of the scale", "large parts are saturated"),
    "noise": ("the picture is smoother than usual", "the picture is noisier than usual"),
    "edges": ("there are hardly any edges", "there are more or sharper edges than usual"),
    "fine structure": ("fine structure is missing", "there is too much fine structure"),
    "symmetry": ("left and right differ more than usual", "left and right are too alike"),
    "anatomy": ("the anatomy is unusually average", "the anatomy is unlike that of the training DRRs"),
}
# Of the covariance's diagonal, put in the place of as much of the whole.
SHRINKAGE = 0.1
# Quantiles of the training distances, and the factor beyond the second from which a picture is far off.
WARN_QUANTILE, FAR_QUANTILE, FAR_FACTOR = 0.995, 0.9995, 1.5
NAMED_REASONS, NOTABLE = 2, 2.5
_FLOOR = 1e-4


@dataclass(frozen=True)
class Familiarity:
    """distance: to the training pictures, 1 at the limit of a warning. far: beyond the second limit.

    reasons: sentences, the strongest first; none unless the distance exceeds 1. properties: standard
    scores by name.
    """

    distance: float
    far: bool
    reasons: tuple[str, ...]
    properties: dict[str, float]

    @property
    def is_usual(self) -> bool:
        """Whether the picture lies within the first limit."""
        return self.distance <= 1.0


def picture_statistics(picture: np.ndarray) -> np.ndarray:
    """The named properties but the last of an upright picture (row, column) in [0, 1], float64."""
    from scipy import ndimage

    picture = np.asarray(picture, dtype=np.float64)
    rough = picture - ndimage.median_filter(picture, 3)
    gradient = np.hypot(*np.gradient(picture))
    slow = ndimage.gaussian_filter(picture, picture.shape[0] / 40.0)
    shares = np.histogram(picture, bins=32, range=(0.0, 1.0))[0] / picture.size
    entropy = -float(np.sum(shares[shares > 0] * np.log2(shares[shares > 0])))
    mirrored = np.corrcoef(slow.ravel(), slow[:, ::-1].ravel())[0, 1] if slow.std() > 0 else 1.0
    return np.array(
        [
            picture.mean(),
            picture.std(),
            entropy,
            np.log(_FLOOR + np.mean((picture <= 0.004) | (picture >= 0.996))),
            np.log(_FLOOR + np.mean(np.abs(rough))),
            np.log(_FLOOR + gradient.mean()),
            np.log((_FLOOR + np.std(picture - slow)) / (_FLOOR + slow.std())),
            mirrored,
        ]
    )


def embedding_distance(embeddings: np.ndarray, mean: np.ndarray, precision: np.ndarray) -> np.ndarray:
    """Logarithm of Mahalanobis's distance (b,) of features (b, f)."""
    return np.log(_FLOOR + mahalanobis(embeddings, mean, precision))


def mahalanobis(values: np.ndarray, mean: np.ndarray, precision: np.ndarray) -> np.ndarray:
    """Distance (b,) of values (b, n), divided by the square root of n."""
    off = values - mean
    return np.sqrt(np.einsum("bi,ij,bj->b", off, precision, off).clip(0.0) / off.shape[1])


def shrunk_precision(values: np.ndarray, shrinkage: float = SHRINKAGE) -> np.ndarray:
    """Inverse of the covariance (n, n) of values (b, n), shrunk towards its diagonal."""
    covariance = np.cov(values, rowvar=False)
    diagonal = np.diag(np.diag(covariance) + 1e-6 * (1.0 + np.diag(covariance).mean()))
    return np.linalg.inv((1.0 - shrinkage) * covariance + shrinkage * diagonal)


def judge(network: ViewClassifier, kind: int, statistics: np.ndarray, embedding: np.ndarray) -> Familiarity:
    """How familiar one picture is.

    kind: index in `KINDS` of what it is said to be. statistics: of `picture_statistics`. embedding: the
    network's features (f,) of the upright picture.
    """
    mean, scale, precision, limits = (
        getattr(network, name)[kind].double().numpy()
        for name in ("statistic_mean", "statistic_scale", "statistic_precision", "distance_limits")
    )
    features = (
        network.embedding_mean[kind].double().numpy(),
        network.embedding_precision[kind].double().numpy(),
    )
    values = np.append(statistics, embedding_distance(embedding[None], *features))
    scores = (values - mean) / scale
    distance = float(mahalanobis(scores[None], np.zeros_like(scores), precision)[0])
    properties = dict(zip(PROPERTIES, map(float, scores), strict=True))
    reasons = _reasons(properties) if distance > limits[0] else ()
    return Familiarity(distance / float(limits[0]), bool(distance > limits[1]), reasons, properties)


def _reasons(properties: dict[str, float]) -> tuple[str, ...]:
    ordered = sorted(properties, key=lambda name: -abs(properties[name]))
    chosen = [n for n in ordered if abs(properties[n]) >= NOTABLE][:NAMED_REASONS] or ordered[:1]
    return tuple(PROPERTIES[name][int(properties[name] > 0)] for name in chosen)


def calibrate(
    network: ViewClassifier, kind: int, statistics: Sequence[np.ndarray], embeddings: np.ndarray
) -> None:
    """Writes the usual values of one kind of view into the network's buffers.

    statistics: (b, 8) and embeddings (b, f) of training pictures. Half of them make the features' mean and
    covariance, the other half everything else, since a picture lies nearer to a mean that it was part of.
    """
    import torch

    stack, half = np.asarray(statistics), len(statistics) // 2
    mean, precision = embeddings[:half].mean(axis=0), shrunk_precision(embeddings[:half])
    values = np.column_stack([stack[half:], embedding_distance(embeddings[half:], mean, precision)])
    center, scale = values.mean(axis=0), values.std(axis=0) + 1e-6
    scores = (values - center) / scale
    inverse = shrunk_precision(scores)
    distances = mahalanobis(scores, np.zeros(scores.shape[1]), inverse)
    limits = (
        np.quantile(distances, WARN_QUANTILE),
        FAR_FACTOR * np.quantile(distances, FAR_QUANTILE),
    )
    for name, value in {
        "embedding_mean": mean,
        "embedding_precision": precision,
        "statistic_mean": center,
        "statistic_scale": scale,
        "statistic_precision": inverse,
        "distance_limits": limits,
    }.items():
        getattr(network, name)[kind] = torch.as_tensor(np.asarray(value), dtype=torch.float32)
