"""The three jobs as functions: objects in, objects out, no files but a model's own weights.

    reconstruct(radiographs, model) -> Reconstruction      two radiographs to a CT
    segment(volume)                 -> Segmentation        lungs and pneumothorax of a CT, in ml
    evaluate(prediction, reference) -> dict                how near one volume is to another

Importing this file loads no torch; the functions that need it do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xrecon.pneumothorax import DEFAULT_LUNG_MODELS
from xrecon.provenance import SOURCES, for_reports, source_of, sources_in, sources_text
from xrecon.volume import GUESSED_ORIGINS, InputError, Quantity, Radiograph, Volume

if TYPE_CHECKING:
    from xrecon.nets.card import ModelCard
    from xrecon.physics.ray_support import RaySupport
    from xrecon.pneumothorax.measures import PtxMeasures
    from xrecon.pneumothorax.quantify import PtxQuantities
    from xrecon.pneumothorax.segment import PtxParameters, RobustParameters

ProgressCallback = Callable[[str, float, str], None]

NOT_FOR_DIAGNOSIS = "synthetic volume computed from radiographs; research use only, not for diagnosis"
DEFAULT_MODEL = "chest-128"
# `segment` takes this name for the thresholds-and-morphology lungs that need no weights.
CLASSICAL_LUNGS = "classical"


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """A CT computed from radiographs.

    volume: HU, axes along LPS, centred on the views' isocentre; `meta` names the model.
    inputs: the radiographs on the network's detector, in the model's order of views.
    reprojections: line integrals of `volume` in the geometries of `inputs`, pixel by pixel.
    scores: for each view how well the reprojection explains the input, beside two controls, and only
        what the views can tell (see `xrecon.evaluation.reprojection`).
    device: what it was computed on; warnings: one sentence each, for the user.
    uncertainty: the error to expect of each voxel as a standard deviation in HU, on the grid of `volume`.
        It knows errors of the kind seen in training only.
    labels: what a model that also segments found, on the grid of `volume`; the label 1 is the first of
        `label_names`. None for a model that does not.
    ray_support: which voxels how many beams hold. trust: what the stages of `xrecon.trust` found, for JSON:
        reprojection, ray_support, uncertainty, refinement, lesions.
    """

    volume: Volume
    inputs: list[Radiograph]
    reprojections: list[Radiograph]
    scores: dict[str, dict[str, float]]
    model: str
    device: str
    warnings: list[str] = field(default_factory=list)
    uncertainty: Volume | None = None
    labels: Volume | None = None
    label_names: tuple[str, ...] = ()
    ray_support: RaySupport | None = None
    trust: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and texts for a JSON file that may be shared: see `xrecon.provenance`."""
        return {
            "model": self.model,
            "device": self.device,
            "notice": NOT_FOR_DIAGNOSIS,
            "volume": {"shape_zyx": self.volume.shape, "spacing_zyx_mm": self.volume.spacing},
            "provenance": for_reports(self.volume.meta),
            "sources": [source.shareable() for source in sources_in(self.volume.meta)],
            "scores": self.scores,
            "trust": dict(self.trust),
            "labels": {name: number for number, name in enumerate(self.label_names, start=1)},
            "views": [
                {
                    "view": r.view,
                    "history": r.history,
                    "geometry": r.geometry.to_dict(),
                    "covered_share": 0.0 if r.covered is None else float(r.covered.mean()),
                    "meta": for_reports(r.meta),
                }
                for r in self.inputs
            ],
            "warnings": self.warnings,
            **({} if self.uncertainty is None else {"expected_rmse_hu": self.expected_rmse_hu}),
        }

    @property
    def expected_rmse_hu(self) -> float | None:
        """Root mean square of the uncertainty over the body, where it was calibrated, HU."""
        from xrecon.trust.stages import expected_rmse_hu

        return None if self.uncertainty is None else expected_rmse_hu(self.volume, self.uncertainty)


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Lungs and pneumothorax of a CT, on the CT's own grid.

    labels: 1 right lung, 2 left lung, 3 right pneumothorax, 4 left pneumothorax.
    lungs: the lung masks that were used, 1 right and 2 left, air included.
    quantities: volumes in ml and occupancy in percent, per side and together.
    measures: these and density, distances, mediastinal shift and radiograph indices, with intervals.
    """

    labels: Volume
    lungs: Volume
    quantities: PtxQuantities
    measures: PtxMeasures
    parameters: PtxParameters | RobustParameters
    lung_source: str
    device: str
    warnings: list[str] = field(default_factory=list)

    @property
    def mode(self) -> str:
        """How PTX-Seg worked: "robust" or "reference"."""
        from xrecon.pneumothorax.segment import mode_of

        return mode_of(self.parameters)


# -- reconstruct ---------------------------------------------------------------------------------
def reconstruct(
    radiographs: Sequence[Radiograph],
    model: str | Path = DEFAULT_MODEL,
    device: str = "auto",
    progress: ProgressCallback | None = None,
    refine: bool = False,
    uncertainty_samples: int | None = None,
    refine_poses: bool = False,
) -> Reconstruction:
    """A CT in HU from the radiographs of one patient position.

    radiographs: as the model's card asks for them, in any order, each with its view geometry: exactly its
    views, or some of them or others when the card has a `view_count`.
    model: name of a bundled model or a model folder. device: "auto", "cpu" or "cuda"; what cannot
    be used falls back to the CPU, and the result's warnings say so.
    refine: move the volume towards the radiographs where that can be shown to help (`xrecon.trust`).
    refine_poses: when refining, fit the views' poses first, and take them where that can be shown to help.
    uncertainty_samples: how often a network that predicts no error runs again to estimate it; None: as its
    card's calibration asks for, never without one.
    Raises InputError for missing geometry, the same view twice, views that the model cannot take (and says
    which it can), non-finite pixels, or a model that cannot be used; MemoryError when memory runs out.
    """
    from xrecon.evaluation.reprojection import reproject, score_reprojections
    from xrecon.inference import run_network
    from xrecon.nets.registry import load_card
    from xrecon.physics.view_names import named_by_angles
    from xrecon.preprocess.views import common_isocenter, take_views
    from xrecon.trust import stages

    say = progress or _silent
    say("load", 0.0, f"model {model}")
    card = load_card(model)
    if card.input.kind != "radiographs" or card.output.kind != "volume":
        raise InputError(f"expected a model that makes a volume from radiographs, got {card.name}")
    any_direction = card.input.directions == "any"
    if any_direction:
        radiographs = named_by_angles(radiographs)
    ordered, warnings = take_views(radiographs, card.input.views, card.input.view_count, any_direction)
    isocenter = common_isocenter(ordered)
    warnings += _geometry_warnings(ordered, card)
    say("prepare", 0.0, "radiographs onto the network's detector")
    inputs = [_network_input(r, card) for r in ordered]
    unit, used = run_network(model, inputs, isocenter, device, say)
    warnings += used.notes
    volume = _output_volume(unit[0], card, isocenter, used.name, views=", ".join(r.view for r in ordered))
    volume = volume.with_array(volume.array, **{SOURCES: sources_text(map(source_of, ordered))})
    uncertainty, told = stages.uncertainty(
        unit, volume, card, model, inputs, isocenter, used.name, uncertainty_samples, say
    )
    refined = stages.refined(volume, inputs, card, refine, say, refine_poses)
    volume, inputs = refined.volume, refined.inputs
    say("reproject", 0.0, "through the geometry of the radiographs")
    reprojections = reproject(volume, inputs)
    mean = mean_training_volume(model)
    scores = score_reprojections(volume, inputs, reprojections, None if mean is None else mean.array)
    say("reproject", 1.0, "done")
    beams = stages.support(volume, ordered, inputs)
    trust = {**stages.evidence(scores, card, beams), "uncertainty": told}
    trust = stages.after_refinement(trust, refined.record)
    result = Reconstruction(
        volume, inputs, reprojections, scores, card.name, used.name, warnings, uncertainty,
        ray_support=beams, trust=trust,
    )  # fmt: skip
    if not card.output.labels:
        return result
    labels = volume.with_array(unit[-1].astype(np.uint8), Quantity.LABEL)
    return replace(result, labels=labels, label_names=tuple(card.output.labels[1:]))


def runs_for_uncertainty(model: str | Path, samples: int | None, views: int) -> int:
    """How often `reconstruct` runs a network that predicts no error again, for its `uncertainty_samples`
    and a number of views."""
    from xrecon.nets.registry import load_card
    from xrecon.trust import stages

    return stages.runs_for_uncertainty(load_card(model), samples, views)


def with_fitted_poses(trust: Mapping[str, Any]) -> dict[str, Any]:
    """A result's `trust` when its views' poses were fitted to the radiographs: the score is no check then."""
    from xrecon.trust import stages

    return stages.with_fitted_poses(trust)


def _geometry_warnings(radiographs: Sequence[Radiograph], card: ModelCard) -> list[str]:
    from xrecon.physics.geometry import is_chest_detector

    warnings = []
    for radiograph in radiographs:
        for name in ("source_to_detector_mm", "source_to_isocenter_mm"):
            low, high = getattr(card.input, name)
            value = getattr(radiograph.geometry, name)
            # a millimetre of slack: distances are often written as whole numbers
            if not low - 1.0 <= value <= high + 1.0:
                warnings.append(
                    f"{radiograph.view}: {name} is {value:.0f}, the model is trained for {low:g} to {high:g}"
                )
            if radiograph.meta.get(f"{name}.origin") == "assumed":
                warnings.append(f"{radiograph.view}: {name} is not known, {value:.0f} was assumed")
        if radiograph.meta.get("view.origin") in GUESSED_ORIGINS:
            warnings.append(_assumed_view(radiograph.view))
        if radiograph.meta.get("pixel_spacing_mm.origin") == "assumed":
            warnings.append(f"{radiograph.view}: no pixel spacing is known, a 43 cm detector was assumed")
        elif not is_chest_detector(radiograph.array.shape, radiograph.geometry.pixel_spacing):
            size = np.multiply(radiograph.array.shape, radiograph.geometry.pixel_spacing)
            warnings.append(
                f"{radiograph.view}: the pixel spacing makes a picture of {size[0]:.0f} x {size[1]:.0f} mm, "
                "unusual for a chest"
            )
    return warnings


def _assumed_view(view: str) -> str:
    if view in ("PA", "AP"):
        return f"{view}: whether the frontal radiograph is PA or AP is not recorded, {view} was assumed"
    side = view.partition(" ")[0]
    return f"{view}: the side of the lateral is not recorded, {side} was assumed (--lateral-side)"


def _network_input(radiograph: Radiograph, card: ModelCard) -> Radiograph:
    from xrecon.preprocess.radiograph import network_input

    return network_input(radiograph, tuple(card.input.shape), tuple(card.input.pixel_spacing))


def _output_volume(
    unit: np.ndarray, card: ModelCard, isocenter: np.ndarray, device: str, views: str = "none"
) -> Volume:
    from xrecon.preprocess.ct import unit_to_hu

    spacing = (float(card.output.spacing_mm),) * 3
    expected = (card.output.side,) * 3
    if unit.shape != expected:
        raise InputError(f"expected {expected} voxels from {card.name} as its card says, got {unit.shape}")
    first = isocenter - (np.array(unit.shape[::-1]) - 1) / 2.0 * np.array(spacing)
    meta = {
        "synthetic": "reconstructed from radiographs",
        "notice": NOT_FOR_DIAGNOSIS,
        "model": card.name,
        "model_sha256": card.sha256,
        "views": views,
        "device": device,
    }
    hu = unit_to_hu(unit, tuple(card.output.hu_window))
    return Volume(hu, spacing, tuple(first), quantity=Quantity.HU, meta=meta)


def mean_training_volume(model: str | Path = DEFAULT_MODEL) -> Volume | None:
    """The mean of a model's training volumes in HU, centred at LPS zero; None when it keeps none.

    It is what can be said of a patient without a radiograph: the control of every reconstruction.
    """
    from xrecon.nets.registry import load_model

    network, card = load_model(model)
    mean = dict(network.named_buffers()).get("mean_volume")
    if mean is None or card.output.kind != "volume":
        return None
    return _output_volume(mean[0, 0].float().cpu().numpy(), card, np.zeros(3), "cpu")


# -- segment -------------------------------------------------------------------------------------
def segment(
    volume: Volume,
    lungs: Volume | None = None,
    lung_models: Sequence[str | Path] = DEFAULT_LUNG_MODELS,
    parameters: PtxParameters | RobustParameters | Mapping[str, Any] | None = None,
    device: str = "auto",
    progress: ProgressCallback | None = None,
    mode: str | None = None,
    uncertainty: Volume | None = None,
) -> Segmentation:
    """Lungs and pneumothorax of a CT in HU (real or reconstructed) by PTX-Seg.

    lungs: masks to use (1 right, 2 left, or one label for both, on the grid of `volume`); None finds them as
    the union of `lung_models`: names of bundled models, model folders, files of lungmask weights, or
    "classical". parameters: of PTX-Seg, as an object or by name. mode: "robust" or "reference" (the
    paper's Algorithm 1); None means robust, unless parameters of Algorithm 1 are given.
    uncertainty: of a reconstruction, the standard deviation of its error in HU; volumes and percentages then
    have intervals from it (`xrecon.trust.intervals`), for which everything is done again a dozen times.
    Raises InputError for a volume that is not finite HU, lungs on another grid, or wrong settings.
    """
    from xrecon.pneumothorax.lungs import given_lungs
    from xrecon.pneumothorax.lungs_chosen import find_lungs
    from xrecon.pneumothorax.quantify import quantify
    from xrecon.pneumothorax.quantify_all import measure
    from xrecon.pneumothorax.segment import ptx_seg
    from xrecon.trust.air import air_warnings
    from xrecon.trust.intervals import border_moved, interval_warnings, with_error_intervals

    say = progress or _silent
    volume.require_hounsfield("the CT")
    settings = _ptx_parameters(parameters, mode)
    used, notes, source = "cpu", (), "given"
    if lungs is None:
        say("lungs", 0.0, "finding the lungs")
        lungs, used, notes = find_lungs(volume, lung_models, device, say)
        source = " + ".join(Path(m).name for m in lung_models)
    else:
        if not lungs.same_grid(volume):
            raise InputError(
                f"expected lung masks on the grid of the CT {volume.shape}, got {lungs.shape} "
                f"with spacing {lungs.spacing} mm"
            )
        lungs = given_lungs(lungs, volume)
        notes = tuple(lungs.meta.get("lungs_note", "").splitlines())
    labels = ptx_seg(volume, lungs, settings, say)
    say("measure", 0.0, "measuring")
    quantities, measures = quantify(labels), measure(volume, labels)
    if uncertainty is not None:
        lungs_of = border_moved(lungs, volume)

        def again(drawn: Volume) -> PtxMeasures:
            return segment(drawn, lungs_of(drawn), lung_models, settings, used).measures

        measures = with_error_intervals(measures, volume, uncertainty, again, say)
    warnings = [*notes, *quantities.warnings, *air_warnings(volume.meta), *interval_warnings(measures)]
    return Segmentation(labels, lungs, quantities, measures, settings, source, used, warnings)


def _ptx_parameters(
    parameters: PtxParameters | RobustParameters | Mapping[str, Any] | None, mode: str | None
) -> PtxParameters | RobustParameters:
    from xrecon.pneumothorax.segment import MODES, parameters_of

    if parameters is None or isinstance(parameters, Mapping):
        return parameters_of(mode, parameters or {})
    if mode is not None and not isinstance(parameters, MODES.get(mode, ())):
        raise InputError(f"expected parameters of the mode {mode!r}, got {type(parameters).__name__}")
    return parameters


# -- evaluate ------------------------------------------------------------------------------------
def evaluate(prediction: Volume, reference: Volume, mask: Volume | None = None) -> dict[str, float]:
    """How near a volume is to a reference: image metrics for HU, overlap and distances for labels.

    Both are brought onto the coarser of the two grids (antialiased; nearest neighbour for labels)
    and compared where both reach, and, if given, where the label volume `mask` is not zero.

    See `xrecon.evaluation.comparison` for the metrics' names, ranges and units.
    Raises InputError when one holds HU and the other labels, or they have no voxel in common.
    """
    from xrecon.evaluation.comparison import image_metrics, label_metrics, on_one_grid

    if prediction.quantity is not reference.quantity:
        raise InputError(
            f"expected two volumes of the same quantity, got {prediction.quantity.value} "
            f"and {reference.quantity.value}"
        )
    prediction.require_finite("the prediction")
    reference.require_finite("the reference")
    p, r, inside = on_one_grid(prediction, reference, mask)
    if not inside.any():
        raise InputError("expected volumes that overlap, got two without a voxel in common")
    if p.quantity is Quantity.LABEL:
        return label_metrics(np.where(inside, p.array, 0), np.where(inside, r.array, 0), p.spacing)
    return image_metrics(p.array, r.array, None if inside.all() else inside)


def _silent(stage: str, fraction: float, message: str) -> None:
    """Progress for nobody."""
