"""What the card of a trained reconstruction model says before anything is measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xrecon.nets.card import ModelCard, RadiographInput, VolumeOutput
from xrecon.preprocess.ct import HU_WINDOW
from xrecon.training.config import TrainConfig
from xrecon.training.seen import training_data
from xrecon.training.subjects import Subject

LICENCE = "CC BY 4.0, with the attributions of the training data"
INTENDED_USE = (
    "Research on few-view reconstruction. Not a medical device; not for diagnosis or treatment. "
    "Every output is synthetic: what two radiographs leave open is filled in from few other people."
)


def reconstruction_card(
    config: TrainConfig,
    options: Mapping[str, Any],
    subjects: Sequence[Subject],
    training: Mapping[str, Any],
    *,
    with_classes: bool = False,
) -> ModelCard:
    """The card of a model. options: of its architecture; subjects: it was trained on; training: steps, seed,
    hardware; with_classes: whether it gives those of the config, too."""
    grid, geometry = config.grid, config.geometry
    low, high = geometry.source_to_detector_mm
    near, far = geometry.isocenter_to_detector_mm
    return ModelCard(
        name=config.name,
        title=f"{config.architecture}, {grid.side}^3 voxels of {grid.spacing_mm:g} mm",
        description=f"Chest CT from {' + '.join(geometry.views)} radiographs.",
        architecture=config.architecture,
        options=dict(options),
        input=RadiographInput(
            views=list(geometry.views),
            view_count=geometry.views_per_sample,
            directions="any" if geometry.any_angle_probability else "named",
            shape=(grid.detector_pixels,) * 2,
            pixel_spacing=(grid.detector_spacing_mm,) * 2,
            source_to_detector_mm=(low, high),
            source_to_isocenter_mm=(low - far, high - near),
        ),
        output=VolumeOutput(
            side=grid.side,
            spacing_mm=grid.spacing_mm,
            hu_window=HU_WINDOW,
            labels=["background", *config.segmentation.names] if with_classes else [],
        ),
        licence=LICENCE,
        intended_use=INTENDED_USE,
        limitations=(
            f"Trained on {len(subjects)} people. Fine detail and lesions are not reliable; "
            "trained on projected CTs, not on real radiographs."
        ),
        training_data=[training_data(s) for s in subjects],
        training=dict(training),
    )
