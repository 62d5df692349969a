"""The model card: a set of weights' contract, as plain validated data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class RadiographInput(_Strict):
    """What a reconstruction network sees of each radiograph.

    The picture is resampled onto a detector of `shape` (rows, columns) with `pixel_spacing` mm
    centred on the central ray, and its 1st and 99th percentiles become 0 and 1.
    """

    kind: Literal["radiographs"] = "radiographs"
    views: list[str] = Field(min_length=1, description="views it was trained on, in the network's order")
    view_count: tuple[PositiveInt, PositiveInt] | None = Field(
        None, description="least and most radiographs at once, in any order; none: exactly `views`"
    )
    directions: Literal["named", "any"] = Field(
        "named", description="named: each radiograph is one of `views`; any: from any side of the patient"
    )
    shape: tuple[PositiveInt, PositiveInt]
    pixel_spacing: tuple[PositiveFloat, PositiveFloat]
    normalization: Literal["percentile"] = "percentile"
    source_to_detector_mm: tuple[PositiveFloat, PositiveFloat] = Field(description="range seen in training")
    source_to_isocenter_mm: tuple[PositiveFloat, PositiveFloat] = Field(description="range seen in training")


class SliceInput(_Strict):
    """What a slice network sees of a CT: axial slices centred on the body."""

    kind: Literal["slices"] = "slices"
    shape: tuple[PositiveInt, PositiveInt]
    spacing_mm: PositiveFloat
    hu_window: tuple[float, float]


class PictureInput(_Strict):
    """What a classifier sees of a radiograph: the exposed field, stretched to a square in [0, 1]."""

    kind: Literal["picture"] = "picture"
    shape: tuple[PositiveInt, PositiveInt]
    normalization: Literal["percentile"] = "percentile"


class VolumeInput(_Strict):
    """What a volume network sees of a CT: a cube along LPS, its HU window scaled to 0 and 1."""

    kind: Literal["cube"] = "cube"
    side: PositiveInt
    spacing_mm: PositiveFloat
    hu_window: tuple[float, float]


class VolumeOutput(_Strict):
    """The cube a reconstruction network gives, centred on the isocentre, axes along LPS."""

    kind: Literal["volume"] = "volume"
    side: PositiveInt
    spacing_mm: PositiveFloat
    hu_window: tuple[float, float] = Field(description="HU of the outputs 0 and 1")
    labels: list[str] = Field(
        default_factory=list, description="classes that it gives besides, in channel order; none for no"
    )


class LabelOutput(_Strict):
    """The classes a segmentation network gives, in channel order."""

    kind: Literal["labels"] = "labels"
    labels: list[str]


class TrainingData(_Strict):
    """One subject the weights were made from. sha256: of its content; patient: whose CTs count as one; "" in
    cards of before."""

    subject: str
    attribution: str
    licence: str
    sha256: str = ""
    patient: str = ""


class ModelCard(_Strict):
    """See the module's description. `options` are the keyword arguments of the architecture."""

    name: str
    title: str
    description: str
    architecture: str
    options: dict[str, Any] = Field(default_factory=dict)
    input: RadiographInput | SliceInput | PictureInput | VolumeInput = Field(discriminator="kind")
    output: VolumeOutput | LabelOutput = Field(discriminator="kind")
    sha256: str = ""
    licence: str
    intended_use: str
    limitations: str
    training_data: list[TrainingData]
    training: dict[str, Any] = Field(default_factory=dict, description="steps, hours, hardware, settings")
    quality: dict[str, Any] = Field(default_factory=dict, description="measured figures and on what")

    def measured(self) -> str:
        """The figures on held-out subjects in one line, or that there are none."""
        test = self.quality.get("test") or {}
        rows, mean = test.get("subjects", ()), test.get("mean") or {}
        names = [row.get("subject") if isinstance(row, Mapping) else row for row in rows]
        if {"psnr", "psnr_mean_volume"} <= set(mean):
            text = f"PSNR {mean['psnr']:.1f} dB, mean training volume {mean['psnr_mean_volume']:.1f} dB"
        elif {"dice_right", "dice_left"} <= set(mean):
            text = f"Dice {mean['dice_right']:.3f} right, {mean['dice_left']:.3f} left"
        elif "right pictures" in test:
            right, turned = test["right pictures"], test["turned"]
            text = (
                f"{right['agree']} of {right['count']} pictures found to be what they are, "
                f"{turned['caught']} of {turned['count']} turned ones caught"
            )
        else:
            return "not measured on held-out subjects"
        return f"{text}, on {len(names)} held-out subjects ({', '.join(map(str, names))})"
