"""The stages of a reconstruction that say how far it can be trusted, in the order in which they run.

    uncertainty      how large the error of each voxel is expected to be
    refined          the volume moved towards the radiographs, where that helps
    evidence         agreement on a calibrated scale, beams, lesions that the model loses

Each takes the model's card, whose `quality["trust"]` holds what was measured on subjects that the model
was not trained on (`trust_measurement`). Without such figures a stage works and says "not calibrated".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xrecon.evaluation.lesion_preservation import PLEURAL_AIR, lesion_lines
from xrecon.evaluation.reprojection_calibration import ReprojectionCalibration, summarize
from xrecon.evaluation.uncertainty_calibration import UncertaintyCalibration
from xrecon.physics.ray_support import RaySupport, ray_support
from xrecon.preprocess.ct import body_mask
from xrecon.trust.intervals import AIR_KEPT, CALIBRATED, CORRELATION, LOSES_AIR, NO, NOT_MEASURED, YES
from xrecon.trust.refinement import Refined, refine
from xrecon.volume import InputError, Radiograph, Volume

if TYPE_CHECKING:
    from xrecon.nets.card import ModelCard

ProgressCallback = Callable[[str, float, str], None]
PREDICTED, AUGMENTATION = "predicted", "augmentation"
TRUST = "trust"
SOURCES = {
    PREDICTED: "predicted by the network",
    AUGMENTATION: "spread of the network's outputs under small changes of pose, grey scale and noise",
}
NO_CHECK = "The score is no independent check here: {what} fitted to the radiographs."
POSES_WERE_FITTED = NO_CHECK.format(what="the views' poses were")
VOLUME_WAS_FITTED = NO_CHECK.format(what="the volume was")
BOTH_WERE_FITTED = NO_CHECK.format(what="the volume and the views' poses were")
# What holds for the number of views only that it was measured with.
OF_THE_VIEWS = ("reprojection", "uncertainty", "refinement")
UNCALIBRATED = "not calibrated on subjects new to the model: it orders voxels at best, and is no error in HU"


def figures_of(card: ModelCard, views: int | None = None) -> Mapping[str, Any]:
    """What a card says of trust; empty when it says nothing.

    views: how many radiographs there are. Of another number than was measured with the constants of score and
    uncertainty and the gain of refinement are left out: a model for any views has others with one, and with
    four. The lesions stay, and `evidence` says with how many views they were planted.
    """
    found = card.quality.get(TRUST)
    if not isinstance(found, Mapping):
        return {}
    if views is None or _measured_views(found, card) == views:
        return found
    return {name: part for name, part in found.items() if name not in OF_THE_VIEWS}


def _measured_views(figures: Mapping[str, Any], card: ModelCard) -> int:
    """With how many views figures were measured; cards that do not say take one number of views only."""
    return len(figures.get("views") or card.input.views)


# -- uncertainty -----------------------------------------------------------------------------------
def uncertainty(
    output: np.ndarray,
    volume: Volume,
    card: ModelCard,
    model: str | Path,
    inputs: Sequence[Radiograph],
    isocenter: np.ndarray,
    device: str,
    samples: int | None,
    say: ProgressCallback,
) -> tuple[Volume | None, dict[str, Any]]:
    """The standard deviation of each voxel's error in HU on the grid of `volume`, and what it rests on.

    output: the network's, (channel, z, y, x). samples: how often the network runs again where it predicts
    no error; None: as often as the card's calibration asks for, so not at all without one.
    None where nothing is known.
    """
    calibration = UncertaintyCalibration.from_dict(figures_of(card, len(inputs)).get("uncertainty"))
    source = predicts_error(output, card)
    if source != PREDICTED:
        samples = runs_for_uncertainty(card, samples, len(inputs))
        if samples < 1:
            return None, {}
    raw = raw_deviation(output, card, model, inputs, isocenter, device, samples or 0, say)
    if calibration is not None and calibration.source != source:
        calibration = None  # it was measured for another kind of deviation
    facts: dict[str, Any] = {"source": source, "is": SOURCES[source], "calibrated": calibration is not None}
    if source == AUGMENTATION:
        facts["samples"] = samples
    if calibration is None:
        facts["meaning"] = UNCALIBRATED
    else:
        raw = calibration.sigma(raw)
        facts |= {**calibration.to_dict(), "samples": samples or 0, "meaning": _intervals(calibration)}
    meta = {"statistic": "standard deviation of the error, HU", "uncertainty": SOURCES[source]}
    # always told: a map that says nothing must not pass for one that may be trusted
    meta |= {CALIBRATED: NO if calibration is None else YES, AIR_KEPT: air_kept(figures_of(card))}
    if calibration is not None:
        meta[CORRELATION] = f"{calibration.correlation_mm:.1f}"
    return volume.with_array(raw.astype(np.float32), **meta), facts


def air_kept(figures: Mapping[str, Any]) -> str:
    """From which size on a model was found to preserve pleural air: "from 20 mm", "no", or "not measured"."""
    measured = (figures.get("test") or {}).get("lesions") or figures.get("lesions") or {}
    for kind in measured.get("classes", ()):
        if kind["name"] == PLEURAL_AIR:
            limit = kind["smallest_preserved_mm"]
            return f"from {limit:g} mm" if limit else LOSES_AIR
    return NOT_MEASURED


def runs_for_uncertainty(card: ModelCard, samples: int | None, views: int) -> int:
    """How often a network that predicts no error runs again to estimate it: `samples`, or for None as often
    as the card's calibration for so many views asks for, so not at all without one."""
    if samples is not None:
        return samples
    calibration = UncertaintyCalibration.from_dict(figures_of(card, views).get("uncertainty"))
    return calibration.samples if calibration and calibration.source == AUGMENTATION else 0


def predicts_error(output: np.ndarray, card: ModelCard) -> str:
    """ "predicted" for a network whose second channel is an error, else "augmentation"."""
    return PREDICTED if len(output) > 1 and not card.output.labels else AUGMENTATION


def raw_deviation(
    output: np.ndarray,
    card: ModelCard,
    model: str | Path,
    inputs: Sequence[Radiograph],
    isocenter: np.ndarray,
    device: str,
    samples: int,
    say: ProgressCallback,
) -> np.ndarray:
    """The deviation in HU (z, y, x) before any calibration, of the source that the network allows."""
    from xrecon.trust.augmentation import output_spread

    low, high = card.output.hu_window
    if predicts_error(output, card) == PREDICTED:
        return np.exp(0.5 * output[1]) * (high - low)
    say("uncertainty", 0.0, f"{samples} runs with changed inputs")
    return output_spread(model, inputs, isocenter, output[0], device, samples) * (high - low)


def _intervals(calibration: UncertaintyCalibration) -> str:
    told = ", ".join(f"{level} % within {k:.2f}" for level, k in calibration.multipliers.items())
    return f"on subjects new to the model, of the errors of voxels were {told} of these deviations"


def expected_rmse_hu(volume: Volume, uncertainty: Volume) -> float:
    """Root mean square of an uncertainty over the body of the volume in HU; over all of it where none shows.

    Outside the body errors are far smaller, and no calibration was made there.
    """
    try:
        body = body_mask(volume)
    except InputError:
        body = np.ones(volume.shape, dtype=bool)
    return float(np.sqrt(np.mean(uncertainty.array[body].astype(np.float64) ** 2)))


def of_refined(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What is told of an uncertainty when the volume was refined afterwards: the map is not made anew."""
    return {**facts, "is": f"{facts['is']}, before refinement"} if facts else {}


# -- refinement ------------------------------------------------------------------------------------
def refined(
    volume: Volume,
    inputs: Sequence[Radiograph],
    card: ModelCard,
    wanted: bool,
    say: ProgressCallback,
    poses: bool = False,
) -> Refined:
    """The volume moved towards its radiographs if that is wanted and helps; else as it is. poses: with the
    views' poses fitted first, where that helps."""
    if not wanted:
        return Refined(volume, list(inputs), {"applied": False, "reason": "not asked for"})
    say("refine", 0.0, "towards the radiographs")
    measured = figures_of(card, len(inputs)).get("refinement")
    return refine(volume, inputs, measured=measured, poses=poses, progress=say)


# -- evidence --------------------------------------------------------------------------------------
def support(volume: Volume, radiographs: Sequence[Radiograph], inputs: Sequence[Radiograph]) -> RaySupport:
    """Which voxels the radiographs' beams hold, as far as the network's detector shows them."""
    return ray_support(volume, [(r.geometry, i.geometry) for r, i in zip(radiographs, inputs, strict=True)])


def with_fitted_poses(trust: Mapping[str, Any]) -> dict[str, Any]:
    """A result's `trust` when its views' poses were fitted to the radiographs before."""
    return _no_check(trust, POSES_WERE_FITTED)


def after_refinement(trust: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, Any]:
    """A result's `trust` with what refinement, whose `record` it is, makes of the other entries."""
    told = {**trust, "refinement": dict(record)}
    if not record["applied"]:
        return told
    told["uncertainty"] = of_refined(trust.get("uncertainty") or {})
    posed = (record.get("poses") or {}).get("applied")
    return _no_check(told, BOTH_WERE_FITTED if posed else VOLUME_WAS_FITTED)


def _no_check(trust: Mapping[str, Any], why: str) -> dict[str, Any]:
    agreement = trust.get("reprojection")
    if not agreement:
        return dict(trust)
    told = f"{agreement['meaning']} {why}"
    return {**trust, "reprojection": {**agreement, "independent": False, "meaning": told}}


def evidence(scores: Mapping[str, Mapping[str, float]], card: ModelCard, beams: RaySupport) -> dict[str, Any]:
    """For JSON: "reprojection", "ray_support" and "lesions" of a result."""
    figures = figures_of(card, len(scores))
    calibration = ReprojectionCalibration.from_dict(figures.get("reprojection"))
    return {
        "reprojection": summarize(scores, calibration, (figures.get("test") or {}).get("scores")),
        "ray_support": beams.to_dict(),
        "lesions": _lesions(figures, card, len(scores)),
    }


def _lesions(figures: Mapping[str, Any], card: ModelCard, views: int) -> list[str]:
    # those of test subjects, where there are some: nothing was chosen by them
    measured = (figures.get("test") or {}).get("lesions") or figures.get("lesions")
    lines, count = lesion_lines(measured), _measured_views(figures, card)
    if not measured or count == views:
        return lines
    here = "there is one" if views == 1 else f"there are {views}"
    return [*lines, f"This was measured with {count} views; here {here}."]
