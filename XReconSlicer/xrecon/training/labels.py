"""Classes of voxels for training: from a prepared subject's label map to the network's grid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from xrecon.training.config import GridConfig, SegmentationConfig
from xrecon.volume import InputError, Quantity, Volume

# Label values of a prepared subject (1, 2 lung; 3, 4 its pleural air) to classes 1 right, 2 left.
LUNG_CLASSES = np.array([0, 1, 2, 1, 2], dtype=np.uint8)
# From this value on a prepared subject's labels, and the classes "lungs and air", are pleural air.
FIRST_AIR = 3


def classes_of(labels: np.ndarray, settings: SegmentationConfig) -> np.ndarray:
    """A prepared subject's label map (z, y, x) as classes, 0 background, in the order of the names.

    "lungs and air" are the labels as they are; with label maps from files the prepared subject holds
    classes already (`file_classes`).
    """
    return LUNG_CLASSES[labels] if settings.source == "lungs" else labels


def file_classes(labels: Volume, settings: SegmentationConfig) -> Volume:
    """A label map as its file has it -> classes, uint8, on the same grid.

    Raises InputError when it is no label map, or holds none of the values that the settings name.
    """
    if labels.quantity is not Quantity.LABEL:
        raise InputError(f"expected a label map, got a volume of {labels.quantity.value}")
    classes = np.zeros(labels.shape, dtype=np.uint8)
    for number, values in enumerate(settings.labels.values(), start=1):
        classes[np.isin(labels.array, values)] = number
    if not classes.any():
        wanted = {name: list(values) for name, values in settings.labels.items()}
        raise InputError(f"expected labels out of {wanted}, found {np.unique(labels.array)[:10].tolist()}")
    return labels.with_array(classes)


def label_center(classes: Volume) -> np.ndarray:
    """LPS mm (x, y, z) of the middle of the box around all classes."""
    index = np.argwhere(classes.array)
    middle = (index.min(axis=0) + index.max(axis=0)) / 2.0
    return classes.index_to_world(middle[::-1])


def to_label_target(classes: torch.Tensor, grid: GridConfig) -> torch.Tensor:
    """Classes of the source cube (z, y, x) -> those of the network's grid, int64 (1, z, y, x).

    Each voxel takes the class that fills most of it.
    """
    ratio, margin = grid.ratio, grid.margin
    inner = classes[(slice(margin, grid.source_side - margin),) * 3] if margin else classes
    if ratio == 1:
        return inner[None].long()
    best, winner = None, None
    for number in range(int(inner.max()) + 1):
        share = functional.avg_pool3d((inner == number)[None, None].float(), ratio)[:, 0]
        if best is None:
            best, winner = share, torch.zeros(share.shape, dtype=torch.int64, device=share.device)
            continue
        winner[share > best] = number
        best = torch.maximum(best, share)
    return winner


def dice_by_name(found: np.ndarray, truth: np.ndarray, names: Sequence[str]) -> dict[str, float]:
    """Dice of each class (z, y, x), as `dice_<name>`; NaN where neither has it."""
    from xrecon.evaluation.metrics import dice  # loads scikit-image

    return {
        f"dice_{name.replace(' ', '_')}": dice(found == number, truth == number)
        for number, name in enumerate(names, start=1)
    }


def mean_dice(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """Means over subjects, by name, of those that have the class; NaN when none has it."""
    means = {}
    for name in rows[0] if rows else ():
        known = [row[name] for row in rows if not np.isnan(row[name])]
        means[name] = float(np.mean(known)) if known else float("nan")
    return means
