"""PTX-Seg: lungs and pneumothorax air on a CT, by the way the parameters ask for."""

from __future__ import annotations

from collections.abc import Callable

from xrecon.pneumothorax.algorithm1 import algorithm1
from xrecon.pneumothorax.parameters import PtxParameters
from xrecon.volume import Volume

__all__ = ["PtxParameters", "ptx_seg"]

Progress = Callable[[str, float, str], None]


def ptx_seg(
    volume: Volume, lungs: Volume, parameters: PtxParameters | None = None, progress: Progress | None = None
) -> Volume:
    """Labels (uint8) on the CT's grid: 1 right lung, 2 left lung, 3 right and 4 left pneumothorax.

    volume: HU on any grid. lungs: 1 right, 2 left on the same grid, the union of the networks' masks.
    parameters: `PtxParameters` for Algorithm 1 of the paper (`xrecon.pneumothorax.algorithm1`), the default.
    The result's `meta["warnings"]` holds one sentence per line, "" when nothing is doubtful; labels 1 and 2
    are the lungs without the air.
    Raises InputError when the CT is not finite HU, the grids differ, the lungs are empty, or a seed lies
    outside the array.
    """
    return algorithm1(volume, lungs, parameters, progress)
