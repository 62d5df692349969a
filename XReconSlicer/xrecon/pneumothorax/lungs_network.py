"""Lungs by a network on axial slices: from the CT's grid to the network's and back.

The network's grid lies along the LPS axes, whatever the CT's: slices of the size and spacing the card
says, centred on the lungs in x and y and covering the CT's whole height at the same spacing in z. The
table is removed first. Probabilities come back by linear interpolation, then the largest wins.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xrecon.pneumothorax import morphology
from xrecon.pneumothorax.grids import LEFT_LUNG, RIGHT_LUNG
from xrecon.preprocess.ct import AIR_HU, hu_to_unit, lung_center, remove_table, resample
from xrecon.volume import InputError, Quantity, Volume

if TYPE_CHECKING:
    from torch import nn

    from xrecon.nets.card import ModelCard, SliceInput

BATCH = 8
SLAB_VOXELS = 8_000_000


def slices_to_network(volume: Volume, card_input: SliceInput) -> Volume:
    """The network's input as a Volume (slices, rows, columns), float32 in [0, 1], axes along LPS.

    volume: HU on any grid. Table removed, antialiased onto `card_input.shape` voxels of
    `card_input.spacing_mm` centred on the lungs (on the CT where none are found), `hu_window` scaled to
    [0, 1]. Raises InputError when there is no body in the CT.
    """
    clean = remove_table(volume)
    try:
        center = np.array(lung_center(clean), dtype=np.float64)
    except InputError:  # too little air for lungs: the network may still find some
        center = np.array(clean.center)
    corners = np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in volume.shape[::-1]])).reshape(3, -1).T
    heights = volume.index_to_world(corners)[:, 2]
    spacing = float(card_input.spacing_mm)
    count = max(1, int(np.ceil((heights.max() - heights.min()) / spacing)))
    center[2] = (heights.max() + heights.min()) / 2.0
    grid = resample(clean, (count, *card_input.shape), (spacing,) * 3, center, fill=AIR_HU)
    unit = hu_to_unit(grid.array, tuple(card_input.hu_window))
    return grid.with_array(unit, Quantity.DISPLAY)


def labels_on_grid(probabilities: np.ndarray, grid: Volume, reference: Volume) -> np.ndarray:
    """Class labels (uint8) on the grid of `reference` from probabilities (class, z, y, x) on `grid`.

    Linear interpolation of every class but the first (background, which is one minus the others; beyond
    the grid all is background), then the most probable class. Computed in slabs of the box that holds
    every voxel that is not background.
    """
    from scipy import ndimage

    out = np.zeros(reference.shape, np.uint8)
    box = _foreground_box(probabilities, grid, reference)
    if box is None:
        return out
    to_grid = np.linalg.inv(grid.affine) @ reference.affine
    matrix, offset = to_grid[:3, :3][::-1, ::-1], to_grid[:3, 3][::-1]
    shape = [b.stop - b.start for b in box]
    step = max(1, SLAB_VOXELS // (shape[1] * shape[2]))
    for start in range(box[0].start, box[0].stop, step):
        slab = (slice(start, min(start + step, box[0].stop)), *box[1:])
        shift = offset + matrix @ [s.start for s in slab]
        size = tuple(s.stop - s.start for s in slab)
        found = [
            ndimage.affine_transform(p, matrix, shift, size, order=1, mode="constant", prefilter=False)
            for p in probabilities[1:].astype(np.float32)
        ]
        stacked = np.stack([1.0 - sum(found), *found])
        out[slab] = stacked.argmax(axis=0)
    return out


def _foreground_box(
    probabilities: np.ndarray, grid: Volume, reference: Volume
) -> tuple[slice, slice, slice] | None:
    """The box of `reference` outside of which the background is most probable; None when it is everywhere.

    Where no class but the background has more than its even share, the background is most probable; so it
    is between such voxels.
    """
    some = (probabilities[1:] > 1.0 / len(probabilities)).any(axis=0)
    near = morphology.grown_box(some, (0, 0, 0))
    if near is None:
        return None
    ends = np.array(np.meshgrid(*[(b.start - 1, b.stop) for b in near[::-1]])).reshape(3, -1).T
    found = reference.world_to_index(grid.index_to_world(ends))[:, ::-1]
    low, high = np.floor(found.min(axis=0)).astype(int), np.ceil(found.max(axis=0)).astype(int) + 1
    box = [(max(0, a), min(n, b)) for a, b, n in zip(low, high, reference.shape, strict=True)]
    return None if any(a >= b for a, b in box) else tuple(slice(a, b) for a, b in box)


def network_lungs(
    volume: Volume,
    model: str | Path,
    device: str,
    say: Callable[[float, str], None],
    grids: dict[str, Volume] | None = None,
) -> Volume:
    """What one lung network finds, on the grid of `volume`, cleaned by `clean_sides`.

    grids: what `slices_to_network` made of this CT for other networks, by the card's input; added to.
    """
    from scipy import special

    from xrecon.nets.registry import load_card, load_model

    require_lung_card(load_card(model))
    network, card = load_model(model, device)
    say(0.0, f"slices for {card.name}")
    grids, key = {} if grids is None else grids, card.input.model_dump_json()
    if key not in grids:
        grids[key] = slices_to_network(volume, card.input)
    grid = grids[key]
    parts = []
    for start in range(0, len(grid.array), BATCH):
        logits = classify(network, grid.array[start : start + BATCH], device)
        parts.append(special.softmax(logits, axis=1))
        say(0.1 + 0.8 * min(1.0, (start + BATCH) / len(grid.array)), f"{card.name} on axial slices")
    probabilities = np.moveaxis(np.concatenate(parts), 1, 0)
    labels = clean_sides(labels_on_grid(probabilities, grid, volume))
    say(1.0, f"{card.name} done")
    return volume.with_array(labels, Quantity.LABEL, lungs=card.name)


def classify(network: nn.Module, slices: np.ndarray, device: str) -> np.ndarray:
    """Logits (slice, class, row, column), float32, of slices (slice, row, column), float32.

    On a GPU in half precision: a class changes only where two are within rounding of each other.
    """
    import torch

    x = torch.as_tensor(slices)[:, None].to(device)
    with torch.inference_mode(), torch.autocast(device, torch.float16, enabled=device == "cuda"):
        return network(x).float().cpu().numpy()


def clean_sides(labels: np.ndarray) -> np.ndarray:
    """One piece per lung: the largest of each side, cavities filled.

    A smaller piece that touches the other side's lung becomes part of that one (a patch of the wrong
    side inside a lung); the rest is dropped. Voxels may not be claimed twice: right fills first.
    """
    out = np.zeros(labels.shape, np.uint8)
    box = morphology.grown_box(labels, (0, 0, 0))
    if box is not None:
        out[box] = _clean_box(labels[box])
    return out


def _clean_box(labels: np.ndarray) -> np.ndarray:
    main = {k: morphology.largest(labels == k, connectivity=26) for k in (RIGHT_LUNG, LEFT_LUNG)}
    grown = {}
    for label, other in ((RIGHT_LUNG, LEFT_LUNG), (LEFT_LUNG, RIGHT_LUNG)):
        strays = (labels == other) & ~main[other]
        if main[label].any():
            grown[label] = morphology.fill_cavities(morphology.largest(main[label] | strays, connectivity=26))
        else:
            grown[label] = main[label]
    out = np.zeros(labels.shape, np.uint8)
    for label, other in ((RIGHT_LUNG, LEFT_LUNG), (LEFT_LUNG, RIGHT_LUNG)):
        out[grown[label] & ~main[other] & (out == 0)] = label
    return out


def require_lung_card(card: ModelCard) -> None:
    """Raises InputError unless the model takes axial slices and gives background, right and left lung."""
    names = [n.lower() for n in getattr(card.output, "labels", [])]
    if card.input.kind != "slices" or len(names) != 3 or "right" not in names[1] or "left" not in names[2]:
        raise InputError(
            "expected a lung model (axial slices in; background, right lung, left lung out), "
            f"got {card.name} ({card.input.kind} in; {names or card.output.kind} out)"
        )
