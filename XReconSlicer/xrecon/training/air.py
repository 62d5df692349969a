"""Whether a network shows the pleural air of validation patients: how training with `loss.air` is judged."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from xrecon.nets.outputs import TrainingOutputs
from xrecon.training.datasets import Batch
from xrecon.training.labels import FIRST_AIR

Run = Callable[[Batch], TrainingOutputs]


def air_figures(run: Run, plain: Batch, with_air: Sequence[Batch]) -> dict[str, float]:
    """dice_air: of the voxels more likely air than not, mean over the copies. air_shown_percent: darkening
    where the air is, of the reconstructions less that of the patient as scanned, in percent of the CT's.

    run: a network on a batch of one. plain: the patient as scanned; with_air: the copies. NaN without any.
    """
    from xrecon.evaluation.metrics import dice  # loads scikit-image

    if not with_air:
        return {"dice_air": float("nan"), "air_shown_percent": float("nan")}
    without = run(plain).volume[0, 0]
    overlaps, shown, true = [], 0.0, 0.0
    for batch in with_air:
        outputs = run(batch)
        air = batch.labels[0] >= FIRST_AIR
        found = (outputs.air[0, 0] > 0).cpu().numpy()
        overlaps.append(dice(found, air.cpu().numpy()))
        place = air.to(without.device)
        if place.any():
            shown += float((outputs.volume[0, 0] - without)[place].mean())
            true += float((batch.target[0, 0] - plain.target[0, 0])[air].mean())
    share = 100.0 * shown / true if true < 0 else float("nan")
    return {"dice_air": float(np.mean(overlaps)), "air_shown_percent": share}
