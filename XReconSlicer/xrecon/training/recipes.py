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
_ANY_VIEW = {
    **_LIFTING,
    "architecture": "any-view",
    "name": "any-view-64",
    "geometry": {
        "views": ["PA", "LEFT LATERAL", "LAO", "RAO"],
        "views_per_sample": [1, 4],
        "any_angle_probability": 0.25,
    },
    "loss": {**_LIFTING["loss"], "uncertainty": 0.1},
}
# few-view-inr-radiotherapy section 3, with the views of a chest stand and points in place of all voxels
_PIXEL_INR = {
    "architecture": "pixel-inr",
    "name": "pixel-inr-64",
    "epochs": 100,
    "points_per_step": 131072,
    "loss": {"reconstruction": 1.0, "absolute": 0.0, "projection": 0.0, "adversarial": 0.0},
    "optimizer": {
        "learning_rate": 3e-5,
        "betas": [0.9, 0.999],
        "weight_decay": 0.0,
        "schedule": "step",
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
    "any-view": _ANY_VIEW,
    "pixel-inr": _PIXEL_INR,
    "lungs": _LUNGS,
    **PAPER_RECIPES,
}
