"""PTX-Seg: lungs and pneumothorax air on a CT, by the way the parameters ask for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from xrecon.pneumothorax.algorithm1 import algorithm1
from xrecon.pneumothorax.parameters import PtxParameters
from xrecon.pneumothorax.robust import robust
from xrecon.pneumothorax.robust_parameters import RobustParameters
from xrecon.volume import InputError, Volume

__all__ = ["MODES", "PtxParameters", "RobustParameters", "mode_of", "parameters_of", "ptx_seg"]

Progress = Callable[[str, float, str], None]
MODES = {"robust": RobustParameters, "reference": PtxParameters}


def ptx_seg(
    volume: Volume,
    lungs: Volume,
    parameters: PtxParameters | RobustParameters | None = None,
    progress: Progress | None = None,
) -> Volume:
    """Labels (uint8) on the CT's grid: 1 right lung, 2 left lung, 3 right and 4 left pneumothorax.

    volume: HU on any grid. lungs: 1 right, 2 left on the same grid, the union of the networks' masks.
    parameters: `RobustParameters` for the robust mode (`xrecon.pneumothorax.robust`), the default, or
    `PtxParameters` for the reference mode, Algorithm 1 of the paper (`xrecon.pneumothorax.algorithm1`).
    The result's `meta["warnings"]` holds one sentence per line, "" when nothing is doubtful; labels 1 and 2
    are the lungs without the air.
    Raises InputError when the CT is not finite HU, the grids differ, the lungs are empty, or a seed lies
    outside the array.
    """
    if isinstance(parameters, PtxParameters):
        return algorithm1(volume, lungs, parameters, progress)
    return robust(volume, lungs, parameters, progress)


def mode_of(parameters: PtxParameters | RobustParameters | None) -> str:
    """The mode these parameters ask for: "robust" or "reference"."""
    return "reference" if isinstance(parameters, PtxParameters) else "robust"


def parameters_of(mode: str | None, settings: Mapping[str, Any]) -> PtxParameters | RobustParameters:
    """The parameters of a mode from settings by name.

    mode: "robust" or "reference"; None takes the reference mode when a setting is one of Algorithm 1's
    (t_p, K_b, ...), else the robust mode. Raises InputError for another mode, a setting the mode does not
    have, or settings of both modes.
    """
    if mode is None:
        names = set(PtxParameters.model_fields) | {"K_b", "K_l", "K_p", "T"}
        papers = [n for n in settings if n in names and n not in RobustParameters.model_fields]
        others = [n for n in settings if n in RobustParameters.model_fields and n not in names]
        if papers and others:
            raise InputError(
                f"expected settings of one mode, got {', '.join(papers)} of the reference mode and "
                f"{', '.join(others)} of the robust mode"
            )
        mode = "reference" if papers else "robust"
    if mode not in MODES:
        raise InputError(f"expected mode 'robust' or 'reference', got {mode!r}")
    return MODES[mode].from_settings(settings)
