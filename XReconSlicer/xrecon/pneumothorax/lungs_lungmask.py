"""Lungs by lungmask's networks (R231, LTRCLobes, R231CovidWeb): to their slices and back.

What the networks expect, after lungmask 0.2.22: axial slices in the order of LPS, HU clipped to
[-1024, 600], each cropped to the body and brought to 256 x 256, scaled as (HU + 1024) / 1624. Labels are
cleaned at that size and come back by nearest neighbours. Lobes become right and left lung.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cc3d
import numpy as np

from xrecon.pneumothorax import morphology
from xrecon.pneumothorax.grids import anatomical_view
from xrecon.volume import Quantity, Volume

SIDE = 256
BODY_SIDE, BODY_HU = 128, -500.0
HU_WINDOW = (-1024, 600)
# Smaller pieces are not worth a neighbour: they are dropped.
MIN_PIECE_VOXELS = 3
FlatBox = tuple[slice, slice]


def lungmask_lungs(
    volume: Volume, path: str | Path, device: str, say: Callable[[float, str], None], batch: int = 4
) -> Volume:
    """Labels 1 right, 2 left of a file of lungmask weights, on the grid of `volume`.

    meta["lungs_note"] tells the file's checksum and licence. Raises InputError as `load_lungmask`.
    """
    from xrecon.nets.lungmask_unet import SIDES_OF_CLASSES, load_lungmask
    from xrecon.pneumothorax.lungs_network import classify

    weights = load_lungmask(path, device)
    view = anatomical_view(volume)
    hu = view.apply(volume.array)
    boxes = [body_box(plane) for plane in hu]
    found = np.zeros((len(hu), SIDE, SIDE), np.uint8)
    for start in range(0, len(hu), batch):
        part = slice(start, start + batch)
        slices = np.stack([to_network(p[box]) for p, box in zip(hu[part], boxes[part], strict=True)])
        found[part] = classify(weights.network, slices, device).argmax(axis=1)
        say(0.95 * min(1.0, (start + batch) / len(hu)), f"{weights.name} on axial slices")
    found = np.array(SIDES_OF_CLASSES[weights.classes], np.uint8)[clean_labels(found)]
    labels = np.zeros(hu.shape, np.uint8)
    for plane, box, small in zip(labels, boxes, found, strict=True):
        if small.any():
            plane[box] = _resized(small, plane[box].shape, order=0)
    say(1.0, f"{weights.name} done")
    return volume.with_array(
        view.restore(labels), Quantity.LABEL, lungs=weights.name, lungs_note=weights.note
    )


def _resized(plane: np.ndarray, shape: tuple[int, int], order: int) -> np.ndarray:
    """A plane at another size, the centres of its corner pixels in place; order 0 or 1."""
    from scipy import ndimage

    return ndimage.zoom(plane, [n / m for n, m in zip(shape, plane.shape, strict=True)], order=order)


def body_box(plane: np.ndarray) -> FlatBox:
    """The box around the body in an axial slice in HU; the whole slice where there is none.

    Found at 128 x 128: what is above -500 HU, closed, filled, and opened by two pixels; the largest piece.
    """
    from scipy import ndimage

    cross = ndimage.generate_binary_structure(2, 1)
    solid = _resized(plane, (BODY_SIDE, BODY_SIDE), order=0) > BODY_HU
    solid = ndimage.binary_fill_holes(ndimage.binary_closing(solid, cross), np.ones((3, 3)))
    pieces, count = ndimage.label(ndimage.binary_erosion(solid, cross, iterations=2), cross)
    if count == 0:
        return slice(0, plane.shape[0]), slice(0, plane.shape[1])
    largest = 1 + int(np.argmax(np.bincount(pieces.reshape(-1))[1:]))
    body = ndimage.binary_dilation(pieces == largest, cross, iterations=2)
    return ndimage.find_objects(_resized(body.astype(np.uint8), plane.shape, order=0))[0]


def to_network(plane: np.ndarray) -> np.ndarray:
    """A cropped slice in HU as the networks see it: (256, 256), float32, 0 at -1024 HU and 1 at 600 HU."""
    low, high = HU_WINDOW
    resized = _resized(np.clip(plane, low, high), (SIDE, SIDE), order=1)
    return ((resized - np.float32(low)) / np.float32(high - low)).astype(np.float32)


def clean_labels(labels: np.ndarray) -> np.ndarray:
    """One piece without cavities per label (uint8, slices, rows, columns).

    From the smallest on, a piece that is not the largest of its label joins the piece with which it shares
    the longest border. Pieces have 26 neighbours, borders six.
    """
    pieces = cc3d.connected_components(labels, connectivity=26)
    stats = cc3d.statistics(pieces)
    sizes, boxes = stats["voxel_counts"].astype(np.int64), stats["bounding_boxes"]
    owner = np.zeros(sizes.size, np.uint8)
    owner[pieces] = labels
    largest = {k: int(sizes[owner == k].max()) for k in np.unique(owner[1:])}
    root = np.arange(sizes.size)
    for piece in np.argsort(sizes[1:], kind="stable") + 1:
        kind = owner[piece]
        if MIN_PIECE_VOXELS <= sizes[piece] < largest[kind]:
            box = tuple(slice(max(0, b.start - 2), b.stop + 2) for b in boxes[piece])
            target = _neighbour(pieces[box], root, piece)
            if target:
                root[root == piece] = target
                if sizes[target] == largest[owner[target]]:
                    largest[owner[target]] += int(sizes[piece])
                sizes[target] += sizes[piece]
    joined = owner[root][pieces]
    out = np.zeros(labels.shape, np.uint8)
    fill = morphology.fill_slices if len(labels) == 1 else morphology.fill_cavities
    for label in largest:
        out[fill(morphology.largest(joined == label, connectivity=26))] = label
    return out


def _neighbour(pieces: np.ndarray, root: np.ndarray, piece: int) -> int:
    """The piece that shares the longest border with `piece` and all that joined it; 0 for none."""
    from scipy import ndimage

    merged = root[pieces]
    own = merged == piece
    around = merged[ndimage.binary_dilation(own) & ~own]
    counts = np.bincount(around, minlength=1)
    counts[0] = 0
    return int(counts.argmax()) if counts.any() else 0
