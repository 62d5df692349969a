"""The models that come with XRecon: how they are made from a folder of CTs, in one command each.

    xrecon train --recipe chest-default --data CTS --split SPLIT.csv --output run
    xrecon train --recipe lungs-default --data CTS --split SPLIT.csv --output run

The first is for a GPU (128^3 voxels): `chest-128` was made with it, and `lungs-unet` with the second but for
synthetic air of 4 to 72 % of a side. `chest-default-64` is the first at 64^3, for a small GPU, or two cores
and half a day. Few patients train them, so that most of what they see is augmentation: pose, shape, kernel,
noise, scatter, and a pneumothorax of up to 70 % on either side. Another `--set seed=1` makes the second lung
network of an ensemble.

The chest recipes learn first where the pictures show pleural air, then the volume with it: with the volume
alone, whose loss hardly feels it, no network showed a pneumothorax. A GPU waits for samples: give it those
of other processes where there is memory for them (`--set sampling_processes=14`). A CT with its 40 copies
takes 0.37 GB, in each process: with more than 20 CTs raise `memory_budget_gb`, or have fewer copies.
Imports nothing of xrecon.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Everything but the learning rate; also of the recipes that these came from.
ADAMW = {
    "betas": [0.9, 0.99],
    "weight_decay": 1e-4,
    "decoupled": True,
    "schedule": "cosine",
    "gradient_clip": 1.0,
}
# 358.4 mm; pixels about as fine as the voxels are behind the magnification.
_GRID = {
    "side": 128,
    "spacing_mm": 2.8,
    "source_side": 144,
    "source_spacing_mm": 2.8,
    "detector_pixels": 192,
    "detector_spacing_mm": 2.27,
}
_SMALLER_GRID = {
    "side": 64,
    "spacing_mm": 5.6,
    "source_side": 144,
    "source_spacing_mm": 2.8,
    "detector_pixels": 128,
    "detector_spacing_mm": 3.4,
}
_CHEST = {
    "architecture": "any-view",
    "options": {"finest": 1, "air": True, "detail": True, "grid_widths": [32, 48, 96, 128]},
    "name": "chest-default",
    "steps": 5155,
    "batch": 8,
    "ema_decay": 0.999,
    "precision": "bfloat16",
    "memory_budget_gb": 8.0,
    "validate_every": 500,
    "checkpoint_every": 250,
    "sample_every_epochs": 100,
    "pneumothorax_variants": 40,
    "pneumothorax_range": [0.05, 0.7],
    "pneumothorax_effusion": 0.1,
    "grid": _GRID,
    "augmentation": {"pneumothorax_probability": 0.6, "kernel": 0.5},
    "segmentation": {"source": "lungs and air"},
    "loss": {
        "reconstruction": 10.0, "absolute": 1.0, "projection": 0.0, "adversarial": 0.0, "uncertainty": 0.1,
        "air": 0.1, "air_shadow_steps": 2200,
    },
    "optimizer": {"learning_rate": 1.5e-3, **ADAMW},
}  # fmt: skip
_LUNGS = {
    "task": "lungs",
    "architecture": "lungs-unet",
    "name": "lungs-default",
    "steps": 1557,
    "batch": 16,
    "ema_decay": 0.998,
    "precision": "bfloat16",
    "validate_every": 500,
    "pneumothorax_variants": 12,
    "pneumothorax_range": [0.05, 0.7],
    "pneumothorax_effusion": 0.1,
    "augmentation": {"pneumothorax_probability": 0.5, "hu_offset": 30.0},
    "optimizer": {"learning_rate": 2e-3, **ADAMW},
}
DEFAULT_RECIPES: Mapping[str, Mapping[str, Any]] = {
    "chest-default": _CHEST,
    "chest-default-64": {**_CHEST, "name": "chest-default-64", "grid": _SMALLER_GRID},
    "lungs-default": _LUNGS,
}
