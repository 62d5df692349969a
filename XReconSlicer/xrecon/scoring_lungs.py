"""How good a lung network is on CTs it has not seen, alone and inside PTX-Seg.

There are no hand-drawn lungs in the open CTs, so the reference is the classical segmentation, and
the figures say so. For pneumothorax there is exact truth: a synthetic one of known size is put
into each CT, and the network and PTX-Seg are asked to find it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from xrecon.volume import Volume

ProgressCallback = Callable[[str, float, str], None]
# Side and share of the hemithorax of the synthetic pneumothorax put into each CT.
TRIALS = (("right", 0.3, "supine"), ("left", 0.15, "erect"))


def score_lungs(volume: Volume, model: str | Path, device: str) -> dict[str, float]:
    """Figures of one CT (HU, table removed):

    dice_right, dice_left: against the classical segmentation, without pneumothorax.
    and for each trial, e.g. right_30_...:
    hemithorax_dice: lung and pleural air of the affected side.
    air_kept: share of the pleural air inside the mask.
    truth_ml, ptx_seg_ml, ptx_seg_dice: the air in truth, as PTX-Seg with this network measures it,
    and their overlap (on both sides together: false air counts).
    """
    from xrecon.evaluation.metrics import dice
    from xrecon.pneumothorax.lungs import classical_lungs, segment_lungs
    from xrecon.pneumothorax.segment import ptx_seg
    from xrecon.pneumothorax.synthesize import add_pneumothorax

    reference = classical_lungs(volume)
    found = segment_lungs(volume, [model], device=device)
    row = {
        f"dice_{side}": dice(found.array == label, reference.array == label)
        for label, side in ((1, "right"), (2, "left"))
    }
    healthy = ptx_seg(volume, found)
    row["healthy_ptx_seg_ml"] = float((healthy.array >= 3).sum() * volume.voxel_ml)
    for side, fraction, position in TRIALS:
        ct, truth = add_pneumothorax(volume, reference, side, fraction, position=position, seed=1)
        lungs = segment_lungs(ct, [model], device=device)
        measured = ptx_seg(ct, lungs)
        lung, air = (1, 3) if side == "right" else (2, 4)
        name = f"{side}_{round(100 * fraction)}"
        row |= {
            f"{name}_hemithorax_dice": dice(lungs.array == lung, np.isin(truth.array, (lung, air))),
            f"{name}_air_kept": float((lungs.array[truth.array == air] == lung).mean()),
            f"{name}_truth_ml": float((truth.array >= 3).sum() * volume.voxel_ml),
            f"{name}_ptx_seg_ml": float((measured.array >= 3).sum() * volume.voxel_ml),
            f"{name}_ptx_seg_dice": dice(measured.array >= 3, truth.array >= 3),
        }
    return row
