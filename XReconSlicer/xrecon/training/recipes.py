"""Starting values of training runs by name: what each differs in from the defaults of `TrainConfig`.

Imports nothing of xrecon but the recipes of other papers, so that `training.config` can read them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xrecon.training.recipes_papers import PAPER_RECIPES

_LIFTING = {
    "architecture": "lifting",
    "name": "lifting-64",
    "steps": 2600,
    "precision": "bfloat16",
    "pneumothorax_variants": 3,
    "loss": {"reconstruction": 10.0, "absolute": 1.0, "projection": 0.0, "adversarial": 0.0},
    "optimizer": {
        "learning_rate": 1e-3,
        "betas": [0.9, 0.99],
        "weight_decay": 1e-4,
        "decoupled": True,
        "schedule": "cosine",
        "gradient_clip": 1.0,
    },
}
_LUNGS = {
    "task": "lungs",
    "architecture": "lungs-unet",
    "name": "lungs-unet",
    "steps": 800,
    "batch": 8,
    "precision": "bfloat16",
    "pneumothorax_variants": 3,
    "augmentation": {"pneumothorax_probability": 0.4, "hu_offset": 30.0},
    "optimizer": {
        "learning_rate": 2e-3,
        "betas": [0.9, 0.99],
        "weight_decay": 1e-4,
        "decoupled": True,
        "schedule": "cosine",
        "gradient_clip": 1.0,
    },
}
RECIPES: Mapping[str, Mapping[str, Any]] = {
    "x-recon": {},
    "lifting": _LIFTING,
    "lungs": _LUNGS,
    **PAPER_RECIPES,
}
