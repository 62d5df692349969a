"""Lungs for PTX-Seg: union of any number of masks, networks, or the classical fallback.

A lung mask is a label Volume on the CT's grid: 1 right, 2 left, 0 elsewhere, pleural air included.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from xrecon.pneumothorax import DEFAULT_LUNG_MODELS, morphology, sides
from xrecon.pneumothorax.grids import LEFT_LUNG, RIGHT_LUNG, anatomical_view, require_hu, require_lungs
from xrecon.pneumothorax.lungs_classical import classical_lungs, trachea_and_main_bronchi
from xrecon.volume import InputError, Quantity, Volume

__all__ = ["classical_lungs", "given_lungs", "segment_lungs", "split_left_right", "unite_lungs"]

BODY_HU = -400.0
# Lungs whose centres lie this far apart the wrong way round are labelled the wrong way round.
EXCHANGED_MM = 20.0


def unite_lungs(masks: Sequence[Volume]) -> Volume:
    """The union of lung masks (PTX-Seg, Algorithm 1, step 2) on their common grid.

    A voxel in several masks takes the side most of them say; at a draw the earliest mask decides.
    The result's meta: "lungs" names the sources, "lungs_note" holds what each says of itself, a line each.
    Raises InputError for no masks, different grids or labels other than 0, 1, 2.
    """
    if not masks:
        raise InputError("expected at least one lung mask, got none")
    arrays = [require_lungs(m, masks[0]) for m in masks]
    out = np.zeros(masks[0].shape, np.uint8)
    votes = np.zeros(masks[0].shape, np.int16)
    for array in arrays:
        votes += (array == LEFT_LUNG).astype(np.int16) - (array == RIGHT_LUNG).astype(np.int16)
        out = np.where(out == 0, array, out)
    out[votes > 0], out[votes < 0] = LEFT_LUNG, RIGHT_LUNG
    sources = " + ".join(dict.fromkeys(m.meta.get("lungs", "mask") for m in masks))
    notes = "\n".join(dict.fromkeys(m.meta["lungs_note"] for m in masks if m.meta.get("lungs_note")))
    return masks[0].with_array(out, Quantity.LABEL, lungs=sources, lungs_note=notes)


def split_left_right(mask: Volume, volume: Volume | None = None) -> Volume:
    """A lung mask (any label above 0) as 1 right, 2 left; every voxel of the mask keeps a label.

    Two large pieces are told apart by position; joined lungs are cut where they are thinnest; small
    pieces go to the nearer lung. volume: the CT, whose body gives the middle plane; without it the
    middle of the mask is taken, and a single lung cannot be told from two joined ones.
    Raises InputError for an empty mask or another grid.
    """
    if volume is not None and not mask.same_grid(volume):
        raise InputError(f"expected a mask on the grid of the CT {volume.shape}, got {mask.shape}")
    view = anatomical_view(mask)
    inside = view.apply(mask.array) > 0
    if volume is None:
        columns = np.flatnonzero(inside.any(axis=(0, 1)))
        middle = float(columns.mean()) if columns.size else 0.0
    else:
        hu = view.apply(require_hu(volume).array)
        body = morphology.fill_slices(morphology.largest(hu > BODY_HU)) | inside
        middle = float(np.average(np.arange(body.shape[2]), weights=body.sum(axis=(0, 1)) + 1e-9))
    labels = sides.two_sides(inside, view.spacing, middle)
    labels = sides.nearest_side(labels, inside, view.spacing)
    return mask.with_array(view.restore(labels), Quantity.LABEL)


def given_lungs(mask: Volume, volume: Volume) -> Volume:
    """A user's lung mask as 1 right, 2 left, on the grid of the CT.

    Both labels, or one label on one lung: taken as given, unless right and left are exchanged. One label
    on both lungs: sides by components and the body's middle plane (`split_left_right`), which
    meta["lungs_note"] tells.
    Raises InputError for another grid, other labels, or the label 1 on the patient's left of the label 2.
    """
    labels = require_lungs(mask, volume)
    present = [k for k in (RIGHT_LUNG, LEFT_LUNG) if (labels == k).any()]
    if len(present) == 2:
        _require_right_is_right(anatomical_view(mask).apply(labels), anatomical_view(mask).spacing[2])
    if len(present) != 1:
        return mask
    try:
        split = split_left_right(mask, volume)
    except InputError:  # too small for lungs: nothing to split
        return mask
    if (split.array == RIGHT_LUNG).any() and (split.array == LEFT_LUNG).any():
        note = f"The lung mask has the label {present[0]} only, on both lungs: right and left by position."
        return split.with_array(split.array, Quantity.LABEL, lungs_note=note)
    return mask


def _require_right_is_right(labels: np.ndarray, column_mm: float) -> None:
    """labels: in anatomical order, x growing to the patient's left."""
    right, left = (
        float(np.average(np.arange(labels.shape[2]), weights=(labels == k).sum(axis=(0, 1)))) * column_mm
        for k in (RIGHT_LUNG, LEFT_LUNG)
    )
    if right > left + EXCHANGED_MM:
        raise InputError(
            "expected the label 1 on the patient's right and 2 on the left, got a lung mask whose label 1 "
            f"lies {right - left:.0f} mm to the left of its label 2: exchange the labels, or check the "
            "orientation"
        )


def segment_lungs(
    volume: Volume,
    models: Sequence[str | Path] = DEFAULT_LUNG_MODELS,
    device: str = "cpu",
    progress: Callable[[str, float, str], None] | None = None,
) -> Volume:
    """The union of what lung networks find: labels 1 right, 2 left on the grid of `volume`.

    Trachea and main bronchi are taken out where a trachea is found: networks often keep some of them, and
    PTX-Seg would count their air.

    volume: HU, any grid. models: names of bundled models; model folders whose card takes axial slices and
    gives background, right lung, left lung; files of lungmask weights (.pth); or "R231", "LTRCLobes",
    "R231CovidWeb" where the `lungmask` package has put them. device: "cpu" or "cuda".
    Raises InputError when the volume is not finite HU, no model is given, or one does not fit.
    """
    from xrecon.nets.lungmask_unet import find_lungmask
    from xrecon.pneumothorax.lungs_lungmask import lungmask_lungs
    from xrecon.pneumothorax.lungs_network import network_lungs

    if not models:
        raise InputError("expected at least one lung model, got none")
    require_hu(volume)
    files = [find_lungmask(model) for model in models]
    found, grids = [], {}
    for number, (model, file) in enumerate(zip(models, files, strict=True)):

        def say(fraction: float, message: str, number: int = number) -> None:
            if progress is not None:
                progress("lungs", (number + fraction) / len(models), message)

        if file is None:
            found.append(network_lungs(volume, model, device, say, grids))
        else:
            found.append(lungmask_lungs(volume, file, device, say))
    lungs = unite_lungs(found)
    lungs.array[trachea_and_main_bronchi(volume)] = 0
    return lungs
