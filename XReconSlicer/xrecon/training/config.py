"""All settings of a training run in one validated value.

Command line, panel and checkpoint read the same `TrainConfig`; the defaults of the X-Recon recipe
are the paper's (x-recon section IV; x-recon-network.md section 6). Imports no torch, since the
panel shows these values.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from xrecon.physics.view_names import EXPECTED, named_angles
from xrecon.training.recipes import RECIPES
from xrecon.volume import InputError

PneumothoraxShare = Annotated[float, Field(ge=0.01, le=0.9)]
Probability = Annotated[float, Field(ge=0, le=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GridConfig(_Strict):
    """Where volumes and radiographs are sampled; lengths in mm."""

    side: PositiveInt = Field(64, description="voxels per edge of the reconstruction")
    spacing_mm: PositiveFloat = Field(5.6, description="voxel size of the reconstruction")
    source_side: PositiveInt = Field(144, description="voxels per edge of the volume that is projected")
    source_spacing_mm: PositiveFloat = Field(2.8, description="voxel size of the volume that is projected")
    detector_pixels: PositiveInt = Field(128, description="rows and columns of the network's pictures")
    detector_spacing_mm: PositiveFloat = Field(3.4, description="pixel size on the detector")

    @model_validator(mode="after")
    def _commensurable(self) -> GridConfig:
        ratio = self.spacing_mm / self.source_spacing_mm
        if abs(ratio - round(ratio)) > 1e-6 or round(ratio) < 1:
            raise ValueError("spacing_mm must be a whole multiple of source_spacing_mm")
        if self.side * round(ratio) > self.source_side:
            raise ValueError("source_side * source_spacing_mm must cover side * spacing_mm")
        if (self.source_side - self.side * round(ratio)) % 2:
            raise ValueError("source_side must exceed the reconstruction by an even number of voxels")
        return self

    @property
    def ratio(self) -> int:
        """Voxels of the source along one of the reconstruction."""
        return round(self.spacing_mm / self.source_spacing_mm)

    @property
    def margin(self) -> int:
        """Voxels of the source before the first of the reconstruction."""
        return (self.source_side - self.side * self.ratio) // 2


class ViewConfig(_Strict):
    """The radiographs a model is trained for, and the range of distances it meets.

    `views` are presets, oblique views ("LAO", "LAO 30 CRA 10") or positioner angles ("30,10").
    """

    views: tuple[str, ...] = Field(("PA", "LEFT LATERAL"), min_length=1)
    views_per_sample: tuple[PositiveInt, PositiveInt] | None = Field(
        None, description="least and most of the views at once, drawn anew for each sample; none: all"
    )
    any_angle_probability: Probability = Field(
        0.0, description="a view from any direction in place of a named one"
    )
    secondary_deg: float = Field(
        15.0, ge=0, description="cranial or caudal angle of such a view, standard deviation"
    )
    source_to_detector_mm: tuple[PositiveFloat, PositiveFloat] = (1700.0, 1900.0)
    isocenter_to_detector_mm: tuple[PositiveFloat, PositiveFloat] = (250.0, 350.0)
    other_side_probability: Probability = Field(0.15, description="AP for PA, right for left lateral")
    # what the network is not told: positioning and calibration are never exact
    pose_jitter_deg: float = Field(2.0, ge=0, description="each view's rotation error, standard deviation")
    shift_jitter_mm: float = Field(2.0, ge=0, description="its shift along each axis, standard deviation")
    magnification_jitter: float = Field(0.01, ge=0, lt=0.3, description="relative, standard deviation")
    energy_kev: tuple[float, float] = Field((60.0, 70.0), description="range of the effective energy")

    @model_validator(mode="after")
    def _can_be_taken(self) -> ViewConfig:
        for view in self.views:
            try:
                known = named_angles(view)
            except InputError as error:
                raise ValueError(str(error)) from error
            if known is None:
                raise ValueError(f"views must be {EXPECTED}, got {view!r}")
        counts = self.views_per_sample
        if counts and not counts[0] <= counts[1] <= len(self.views):
            raise ValueError(f"views_per_sample must rise and end at most at {len(self.views)}, the views")
        return self


class AugmentationConfig(_Strict):
    """Random changes of each training sample. Each kind happens by its probability; 0 switches it off."""

    affine_probability: Probability = Field(1.0, description="rotation, scale and shift of the CT")
    rotation_deg: float = Field(8.0, ge=0, description="about each axis, uniform")
    scale: float = Field(0.15, ge=0, lt=0.9, description="each axis on its own, uniform")
    shift_mm: float = Field(15.0, ge=0, description="along each axis, uniform")
    elastic_probability: Probability = Field(1.0, description="smooth displacement of the CT")
    warp_mm: float = Field(14.0, ge=0, description="standard deviation of the displacement at the knots")
    warp_knots: tuple[PositiveInt, PositiveInt] = (4, 7)
    mirror_probability: Probability = Field(0.0, description="situs inversus; off, since it is rare")
    pneumothorax_probability: Probability = Field(0.3, description="use a subject's variant with air")
    intensity_probability: Probability = Field(1.0, description="HU offset of the CT, curve of the pictures")
    kernel: float = Field(
        0.0, ge=0, le=1, description="CT blurred or sharpened by up to this share of its detail, uniform"
    )
    hu_offset: float = Field(15.0, ge=0, description="of soft tissue and lung alike, uniform")
    gamma: float = Field(0.2, ge=0, description="grey-scale curve of normalised pictures: exp(uniform)")
    geometry_probability: Probability = Field(1.0, description="errors of a view as `geometry` gives them")
    scatter_probability: Probability = Field(0.2, description="scattered radiation in the pictures")
    scatter_to_primary: float = Field(
        1.0, ge=0, le=20, description="largest ratio behind 200 mm of water, what a grid leaves of it"
    )
    noise_probability: Probability = Field(1.0, description="noise of the pictures")
    noise: float = Field(0.01, ge=0, description="of normalised pictures, largest standard deviation")


class LossConfig(_Strict):
    """Weights; 0 switches a term off. Defaults: x-recon-network.md section 4."""

    reconstruction: float = Field(10.0, ge=0, description="mean squared error (L2)")
    absolute: float = Field(0.0, ge=0, description="mean absolute error (L1)")
    projection: float = Field(0.1, ge=0, description="multi-angle projections, random pose")
    adversarial: float = Field(1.0, ge=0, description="least squares, conditional on the radiographs")
    uncertainty: float = Field(
        0.0, ge=0, description="likelihood of the error, for networks that predict its size"
    )
    segmentation: float = Field(
        0.0, ge=0, description="Dice loss of what a frozen lung model sees in axial slices"
    )
    segmenter: str = Field("lungs-unet", description="that model: bundled, or a model folder")
    segmentation_slices: PositiveInt = Field(8, description="slices of a step, drawn anew for each")
    projection_geometry: Literal["exact", "prost"] = Field(
        "exact", description="prost: the published projector with its defects"
    )
    projection_jitter_deg: float = Field(10.0, ge=0)
    projection_jitter_fraction: float = Field(0.125, ge=0, description="of half the volume's width")
    axis_projection: float = Field(0.0, ge=0, description="means along each axis (X2CT)")
    perceptual: float = Field(0.0, ge=0, description="features of slices along each axis (X-CTRSNet)")
    perceptual_features: Literal["filter-bank", "vgg16"] = Field(
        "filter-bank", description="filter-bank: derivative filters, no weights; vgg16: the paper's"
    )
    perceptual_weights: str | None = Field(None, description="your file vgg16-397923af.pth, for vgg16")
    perceptual_slices: int = Field(8, ge=0, description="drawn of each axis at a step; 0 is all")
    frequency: float = Field(0.0, ge=0, description="log distance of the Fourier transforms (EAR)")
    mip: float = Field(0.0, ge=0, description="maximum intensity projections along each axis (EAR)")
    edge: float = Field(0.0, ge=0, description="cross-entropy of surface maps (EAR)")
    edge_hu: float = Field(150.0, description="HU of the surface")
    edge_width_hu: PositiveFloat = Field(100.0, description="HU over which a voxel becomes inside")
    classes: float = Field(0.0, ge=0, description="Dice and cross-entropy of the network's own classes")
    consistency: float = Field(
        0.0, ge=0, description="RSC: classes of the true CT, and the reconstruction's like them (X-CTRSNet)"
    )
    air: float = Field(
        0.0, ge=0, description="Dice and cross-entropy of pleural air, of networks that tell it apart"
    )
    air_shadow_steps: int = Field(
        0, ge=0, description="steps at first that learn only where the pictures show pleural air"
    )
    consistency_detached_steps: int = Field(
        0, ge=0, description="steps at first in which RSC does not change the true CT's classes to be alike"
    )

    @model_validator(mode="after")
    def _weights_given(self) -> LossConfig:
        if self.perceptual and self.perceptual_features == "vgg16" and not self.perceptual_weights:
            raise ValueError("perceptual_weights must name the file of weights that vgg16 needs")
        return self


class SegmentationConfig(_Strict):
    """Which classes a network learns beside the CT, when the loss has a term of classes."""

    source: Literal["lungs", "lungs and air", "files"] = Field(
        "lungs",
        description="lungs: found in each CT, with their air or apart from it; files: label maps, column "
        "'labels' of subjects.csv",
    )
    labels: dict[str, tuple[PositiveInt, ...]] = Field(
        default_factory=dict, description="for files: names of the classes and their values in the label maps"
    )

    @model_validator(mode="after")
    def _distinct(self) -> SegmentationConfig:
        values = [v for several in self.labels.values() for v in several]
        if self.source == "files" and (not values or not all(self.labels.values())):
            raise ValueError("labels must name each class and its values in the label maps")
        if self.source != "files" and self.labels:
            raise ValueError("labels are for label maps: the source must be 'files'")
        if len(set(values)) < len(values) or max(values, default=0) > 65535:
            raise ValueError("labels must have distinct values of at most 65535")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The classes after background, in the order of the network's channels."""
        if self.source == "files":
            return tuple(self.labels)
        lungs = ("right lung", "left lung")
        return lungs if self.source == "lungs" else (*lungs, "right pleural air", "left pleural air")


class OptimizerConfig(_Strict):
    """Adam (AdamW when `decoupled`)."""

    learning_rate: PositiveFloat = 5e-5
    betas: tuple[float, float] = (0.5, 0.99)
    weight_decay: float = Field(5e-4, ge=0)
    decoupled: bool = False
    schedule: Literal["linear", "cosine", "constant", "step"] = "linear"
    warm_fraction: float = Field(
        0.5, ge=0, le=1, description="linear, step: share of steps before the decay, or before a tenth"
    )
    gradient_clip: float = Field(0.0, ge=0, description="largest norm of the gradient; 0 is no limit")


class TrainConfig(_Strict):
    """A whole run. One epoch shows every training subject once; `steps`, when given, counts instead."""

    task: Literal["reconstruction", "lungs", "segmentation", "views"] = Field(
        "reconstruction",
        description="lungs: on axial slices; segmentation: classes of whole CTs; views: which view it is",
    )
    architecture: str = "x-recon"
    options: dict[str, Any] = Field(default_factory=dict, description="keyword arguments of the architecture")
    discriminator: dict[str, Any] = Field(
        default_factory=dict, description="keyword arguments of the discriminator (coordinates: CoordConv)"
    )
    name: str = Field("my-model", min_length=1, description="name of the exported model")
    epochs: PositiveInt = Field(200, description="passes over the training subjects")
    steps: PositiveInt | None = Field(None, description="steps of the optimiser, instead of epochs")
    batch: PositiveInt = Field(1, description="samples at once in each process")
    accumulation: PositiveInt = Field(1, description="batches whose gradients are added up for one step")
    seed: int = Field(0, ge=0)
    device: str = "auto"
    precision: Literal["float32", "bfloat16", "float64"] = Field(
        "float32", description="bfloat16: mixed precision; float64: to compare runs"
    )
    points_per_step: int = Field(
        0, ge=0, description="voxels that a step compares, of networks asked for points; 0: all"
    )
    checkpointing: bool = Field(False, description="compute activations twice instead of keeping them")
    ema_decay: float = Field(
        0.0, ge=0, lt=1, description="exponential moving average of the weights, exported in their place"
    )
    deterministic: bool = Field(False, description="the same bits in every repetition; slower on a GPU")
    memory_budget_gb: PositiveFloat = Field(4.0, description="of prepared CTs kept in memory")
    preparation_processes: PositiveInt = Field(
        1, description="CTs prepared at once, each in a process with some GB of memory"
    )
    sampling_processes: int = Field(
        0,
        ge=0,
        description="processes that make samples of a reconstruction ahead, each with its CTs; 0: a thread",
    )
    validation_fraction: float = Field(0.2, ge=0, lt=1)
    validate_every: PositiveInt = Field(200, description="steps")
    checkpoint_every: PositiveInt = Field(100, description="steps")
    sample_every_epochs: int = Field(
        20, ge=0, description="picture of a validation subject's reconstruction; 0 is never"
    )
    pneumothorax_variants: int = Field(
        0, ge=0, description="copies of each subject with synthetic pneumothorax"
    )
    pneumothorax_range: tuple[PneumothoraxShare, PneumothoraxShare] = Field(
        (0.1, 0.6), description="sizes of the copies, spread evenly: shares of the side"
    )
    pneumothorax_effusion: float = Field(
        0.0, ge=0, le=0.4, description="fluid in one of four copies, share of the side"
    )
    complete_bodies: bool = Field(
        False, description="continue a body that a CT's field of view cuts, as `xrecon drr` does"
    )
    grid: GridConfig = GridConfig()
    geometry: ViewConfig = ViewConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    loss: LossConfig = LossConfig()
    segmentation: SegmentationConfig = SegmentationConfig()
    optimizer: OptimizerConfig = OptimizerConfig()

    @model_validator(mode="after")
    def _terms_fit(self) -> TrainConfig:
        whole = [name for name in WHOLE_VOLUME_TERMS if getattr(self.loss, name)]
        if self.points_per_step and whole:
            raise ValueError(f"points_per_step leaves no whole volume for loss.{whole[0]}: set one to 0")
        if self.pneumothorax_range[0] > self.pneumothorax_range[1]:
            raise ValueError(f"pneumothorax_range must rise, got {self.pneumothorax_range}")
        self._air_fits()
        if self.sampling_processes and self.task != "reconstruction":
            raise ValueError(f"sampling_processes is for the task 'reconstruction', got {self.task!r}")
        counts = self.geometry.views_per_sample
        if self.loss.adversarial and counts and counts[0] < 2:
            raise ValueError("loss.adversarial needs two views: set it or geometry.views_per_sample")
        return self

    def _air_fits(self) -> None:
        loss = self.loss
        if bool(loss.air) != (self.segmentation.source == "lungs and air"):
            raise ValueError("loss.air and segmentation.source 'lungs and air' need each other")
        if loss.air and not (self.pneumothorax_variants and self.augmentation.pneumothorax_probability):
            raise ValueError("loss.air needs pneumothorax_variants and augmentation.pneumothorax_probability")
        if loss.air_shadow_steps and not loss.air:
            raise ValueError("loss.air_shadow_steps needs loss.air")
        if loss.air_shadow_steps and loss.adversarial:
            raise ValueError("loss.adversarial has nothing to judge in loss.air_shadow_steps: set one to 0")

    @property
    def needs_labels(self) -> bool:
        """Whether training samples need the class of each voxel."""
        loss = self.loss
        return self.task == "segmentation" or bool(loss.classes or loss.consistency or loss.air)


# Terms of the loss that points drawn from the volume cannot have.
WHOLE_VOLUME_TERMS = (
    "projection", "adversarial", "perceptual", "axis_projection", "frequency", "mip", "edge", "classes",
    "consistency", "air",
)  # fmt: skip
# Settings that are replaced as a whole, not merged.
_WHOLE = ("options", "discriminator", "labels")


def make_config(
    recipe: str = "lifting", file: Path | None = None, overrides: Mapping[str, Any] | None = None
) -> TrainConfig:
    """A recipe, changed by a JSON file, changed by dotted overrides ("loss.projection": "0.1").

    Raises InputError naming the field and what came.
    """
    if recipe not in RECIPES:
        raise InputError(f"expected a recipe out of {sorted(RECIPES)}, got {recipe!r}")
    data = json.loads(json.dumps(RECIPES[recipe]))
    if file is not None:
        try:
            _merge(data, json.loads(Path(file).read_text(encoding="utf-8")))
        except (json.JSONDecodeError, UnicodeDecodeError, AttributeError) as error:
            raise InputError(f"expected a JSON object of settings in {file}: {error}") from error
    for key, value in (overrides or {}).items():
        _merge(data, _nested(key, _parsed(value)))
    return parse_config(data)


def parse_config(data: Mapping[str, Any]) -> TrainConfig:
    """A validated config from plain data. Raises InputError naming every wrong field."""
    try:
        return TrainConfig.model_validate(data)
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'settings'}: {e['msg']}, got {e['input']!r}"
            for e in error.errors()
        )
        raise InputError(f"training settings cannot be used: {wrong}") from error


def _merge(base: dict[str, Any], changes: Mapping[str, Any]) -> None:
    for key, value in changes.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), dict) and key not in _WHOLE:
            _merge(base[key], value)
        else:
            base[key] = value


def _nested(key: str, value: Any) -> dict[str, Any]:
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def _parsed(value: Any) -> Any:
    """Command-line text as JSON where it is JSON (numbers, lists, true), else as it stands."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except json.JSONDecodeError:
        return value
