"""Starting values of training runs by name: what each differs in from the defaults of `TrainConfig`.

Imports nothing of xrecon but more recipes, so that `training.config` can read them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xrecon.training.recipes_default import ADAMW, DEFAULT_RECIPES
from xrecon.training.recipes_papers import PAPER_RECIPES

_LIFTING = {
    "architecture": "lifting",
    "name": "lifting-64",
    "steps": 2600,
    "precision": "bfloat16",
    "pneumothorax_variants": 3,
    "loss": {"reconstruction": 10.0, "absolute": 1.0, "projection": 0.0, "adversarial": 0.0},
    "optimizer": {"learning_rate": 1e-3, **ADAMW},
}
# On two cores, more steps are worth more than a grid at the full resolution (any_view.md).
_TWO_CORES = {"finest": 1}
# The same network for the two views of a chest stand alone: all of its steps go there.
_ANY_VIEW_PAIR = {
    **_LIFTING,
    "architecture": "any-view",
    "name": "any-view-pair-64",
    "options": _TWO_CORES,
    "loss": {**_LIFTING["loss"], "uncertainty": 0.1},
}
_ANY_VIEW = {
    **_LIFTING,
    "architecture": "any-view",
    "name": "any-view-64",
    "options": _TWO_CORES,
    "geometry": {
        "views": ["PA", "LEFT LATERAL", "LAO", "RAO"],
        "views_per_sample": [1, 4],
        "any_angle_probability": 0.25,
    },
    "loss": {**_LIFTING["loss"], "uncertainty": 0.1},
}
# few-view-inr-radiotherapy at a size that two cores can train. The paper's: the architecture's own options,
# 100 epochs, all voxels, loss.reconstruction=1 alone, Adam 3e-5 and a tenth of it (schedule "step").
_PIXEL_INR = {
    **_LIFTING,
    "architecture": "pixel-inr",
    "name": "pixel-inr-64",
    "options": {"widths": [16, 32, 64, 128], "kernel": 3, "features": 32, "width": 64},
    "points_per_step": 32768,
    "optimizer": {**_LIFTING["optimizer"], "learning_rate": 3e-4, "weight_decay": 0.0},
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
    "optimizer": {"learning_rate": 2e-3, **ADAMW},
}
# Pictures of 128 pixels from DRRs that are rendered once: minutes on one core.
_VIEW_CLASSIFIER = {
    "task": "views",
    "architecture": "view-classifier",
    "name": "view-classifier",
    "steps": 800,
    "batch": 32,
    "complete_bodies": True,
    "grid": {"side": 64, "spacing_mm": 7.2, "source_side": 128, "source_spacing_mm": 3.6},
    "optimizer": {
        "learning_rate": 3e-3,
        "betas": [0.9, 0.99],
        "weight_decay": 1e-3,
        "decoupled": True,
        "schedule": "cosine",
        "gradient_clip": 1.0,
    },
}
RECIPES: Mapping[str, Mapping[str, Any]] = {
    "x-recon": {},
    "lifting": _LIFTING,
    "any-view": _ANY_VIEW,
    "any-view-pair": _ANY_VIEW_PAIR,
    "pixel-inr": _PIXEL_INR,
    "lungs": _LUNGS,
    "view-classifier": _VIEW_CLASSIFIER,
    **PAPER_RECIPES,
    **DEFAULT_RECIPES,
}
