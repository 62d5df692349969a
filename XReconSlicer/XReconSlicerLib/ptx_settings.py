"""The settings of PTX-Seg's two modes: names in the panel and in the algorithm."""

from __future__ import annotations

from typing import Any

import slicer

ROBUST, REFERENCE = "robust", "reference"
# Names of the algorithm by those of the parameter node, for each mode.
NAMES = {
    ROBUST: {
        "freeAirHu": "air_hu",
        "lungHu": "lung_hu",
        "robustSmoothMm": "smooth_mm",
        "layerMm": "layer_mm",
        "robustMinimumAirMl": "minimum_air_ml",
        "recover": "recover",
        "recoverMl": "recover_ml",
    },
    REFERENCE: {
        "lungClosingMm": "k_l",
        "bodyThresholdHu": "t_b",
        "bodyClosingMm": "k_b",
        "seeds": "seeds",
        "connectivity": "connectivity",
        "airThresholdHu": "t_p",
        "airClosingMm": "k_p",
        "minimumAirMl": "v_t",
        "stayInside": "stay_inside",
        "smoothMm": "smooth_mm",
    },
}
# A value below the range that the algorithm takes stands for "measured in the CT".
LEAST = {"freeAirHu": -1200.0, "lungHu": -1000.0, "robustSmoothMm": 0.0}


def settingsOf(parameters: Any, mode: str) -> dict[str, Any]:
    """The settings of a mode by the algorithm's names; None: measured in the CT."""
    return {name: _value(parameters, own) for own, name in NAMES[mode].items()}


def _value(parameters: Any, own: str) -> Any:
    value = getattr(parameters, own)
    return None if own in LEAST and value < LEAST[own] else value


def restoreDefaults(parameters: Any, mode: str) -> None:
    """Puts the values of a mode back, and leaves everything else alone."""
    defaults = type(parameters)(slicer.vtkMRMLScriptedModuleNode())
    with slicer.util.NodeModify(parameters):
        for own in NAMES[mode]:
            setattr(parameters, own, getattr(defaults, own))
