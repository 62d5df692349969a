"""Starting values for the methods of other papers, at a size that two cores can train at 64^3.

Losses and their weights follow the papers, with the voxel losses of `lifting` where a paper was made for
something else than CT values. Steps and widths are for a trial: published widths are the defaults of each
architecture. All but the GAN share one optimiser, so that a comparison under one budget is fair; the papers'
learning rates are 1e-2 (EAR, BX2S-Net; batch norm), 1e-3 (X-CTRSNet) and 2e-4 (X2CT). Imports nothing of
xrecon.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def _adam(learning_rate: float, **changes: Any) -> dict[str, Any]:
    """Adam with cosine decay and clipped gradients: what all of them share, so that one budget is fair."""
    return {
        "learning_rate": learning_rate,
        "betas": [0.9, 0.99],
        "weight_decay": 0.0,
        "schedule": "cosine",
        "gradient_clip": 1.0,
        **changes,
    }


def _recipe(architecture: str, options: Mapping[str, Any], loss: Mapping[str, float], **changes: Any) -> Any:
    off = {"reconstruction": 0.0, "absolute": 0.0, "projection": 0.0, "adversarial": 0.0}
    return {
        "architecture": architecture,
        "name": f"{architecture}-64",
        "steps": 2600,
        "precision": "bfloat16",
        "pneumothorax_variants": 3,
        "options": dict(options),
        "loss": {**off, **loss},
        "optimizer": _adam(1e-3),
        **changes,
    }


_VOXELS = {"reconstruction": 10.0, "absolute": 1.0}  # what `lifting` is trained with
_X2CT = {"base_channels": 32, "dense_layers": [4, 8, 8, 4]}
# A vertebra with its neighbours: a cube of 96 mm, projected with 288 mm of the patient about it.
_VERTEBRA_GRID = {
    "side": 64,
    "spacing_mm": 1.5,
    "source_side": 192,
    "source_spacing_mm": 1.5,
    "detector_pixels": 128,
    "detector_spacing_mm": 0.95,
}
PAPER_RECIPES: Mapping[str, Mapping[str, Any]] = {
    "sit": _recipe("sit", {"width": 16}, _VOXELS),
    "psr": _recipe("psr", {"width": 64}, _VOXELS),
    "e2e": _recipe("e2e", {"widths": [16, 32, 64, 128]}, _VOXELS),
    "bx2s-net": _recipe("bx2s-net", {}, _VOXELS),
    "x2ct-cnn": _recipe("x2ct-cnn", _X2CT, {"reconstruction": 10.0, "axis_projection": 10.0}),
    "x2ct-gan": _recipe(
        "x2ct-gan",
        _X2CT,
        {"reconstruction": 10.0, "axis_projection": 10.0, "adversarial": 0.1},
        discriminator={"coordinates": False, "base_channels": 16},
        optimizer=_adam(2e-4, betas=[0.5, 0.99]),
    ),
    "x-ctrsnet": _recipe(
        "x-ctrsnet",
        {"features": 4, "width": 0.5, "segmenter_options": {"width": 4, "convs": 1}},
        # the paper's weights are all 1; the squared responses of the filter bank are of the order of 5e-4
        # where the absolute error is 0.07
        {"absolute": 1.0, "perceptual": 20.0, "classes": 1.0, "consistency": 1.0},
    ),
    "ear": _recipe(
        "ear",
        {"widths": [16, 32, 64, 128]},
        {"absolute": 1.0, "edge": 0.1, "frequency": 0.1, "mip": 0.1},
    ),
    "ear-vertebrae": _recipe(
        "ear",
        {"widths": [16, 32, 64, 128]},
        {"absolute": 1.0, "edge": 0.1, "frequency": 0.1, "mip": 0.1, "classes": 0.5},
        name="ear-vertebrae-64",
        pneumothorax_variants=0,
        grid=_VERTEBRA_GRID,
        segmentation={"source": "files", "labels": {"vertebra": [1]}},
        augmentation={"pneumothorax_probability": 0.0, "warp_mm": 3.0, "shift_mm": 5.0},
    ),
    "unet3d": _recipe("unet3d", {}, {}, task="segmentation"),
    "mulsisnet": _recipe("mulsisnet", {"width": 8, "convs": 1}, {}, task="segmentation"),
}
