"""What can be said of a model's trustworthiness, measured on CTs it was not trained on, for its card.

    measure_trust(model, cases, others)   -> the entry `quality["trust"]` of a card: the constants of
                                             score and uncertainty, gain of refinement, lesions
    check_trust(model, cases)             -> how the constants of a card hold on further CTs
    measure_files(...)                    -> both from a folder of CTs, as `xrecon trust`

A case is a name and a CT in HU with its table removed, as `preprocess.ct.remove_table` gives it. Cases
must be validation subjects for the first, test subjects for the second; neither may have been trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xrecon.drr.projection import DEFAULT_VIEWS, DrrOptions, project
from xrecon.evaluation.comparison import image_metrics
from xrecon.evaluation.lesion_preservation import LesionCase, lesion_preservation
from xrecon.evaluation.reprojection import reproject, score_reprojections
from xrecon.evaluation.reprojection_calibration import ReprojectionCalibration, distance, fit_reprojection
from xrecon.evaluation.uncertainty_calibration import (
    ErrorSample,
    UncertaintyCalibration,
    assess,
    error_sample,
    fit_uncertainty,
)
from xrecon.inference import run_network
from xrecon.io.atomic import atomic_write_text
from xrecon.io.folder import output_folder
from xrecon.nets.card import ModelCard
from xrecon.nets.registry import load_card, record_quality
from xrecon.outcome import Outcome
from xrecon.pipelines import Reconstruction, reconstruct
from xrecon.preprocess.ct import AIR_HU, body_mask, hu_to_unit, resample_like, unit_to_hu
from xrecon.preprocess.radiograph import network_input
from xrecon.progress import json_text
from xrecon.trust.augmentation import DEFAULT_SAMPLES
from xrecon.trust.refinement import refine
from xrecon.trust.stages import AUGMENTATION, TRUST, predicts_error, raw_deviation
from xrecon.volume import InputError, Radiograph, Volume

if TYPE_CHECKING:
    from xrecon.training.subjects import Subject

ProgressCallback = Callable[[str, float, str], None]
Case = tuple[str, Volume]
FILE_NAME = "trust.json"
REFINED_METRICS = ("psnr", "ssim", "mae_hu")


@dataclass(frozen=True, eq=False)
class _Measured:
    """What was found of one case: reconstruction, error and uncertainty, and refinement."""

    name: str
    result: Reconstruction
    own_distance: float
    source: str
    sample: ErrorSample
    refinement: dict[str, Any]
    radiographs: Sequence[Radiograph]


def measure_trust(
    model: str | Path,
    cases: Sequence[Case],
    others: Sequence[Case] = (),
    device: str = "auto",
    samples: int = DEFAULT_SAMPLES,
    lesions: bool = True,
    progress: ProgressCallback | None = None,
) -> dict[str, Any]:
    """The figures of a reconstruction model that its card keeps under `quality["trust"]`.

    cases: validation subjects. others: further people, whose radiographs serve as another patient's (they
    may be training subjects, since nothing is reconstructed from them); needed with a single case.
    samples: runs of a network that predicts no uncertainty. lesions: also plant lesions (most of the time).
    Raises InputError for a model that makes no volume, for no cases, and where there is nobody else.
    """
    say = progress or (lambda *_: None)
    found = [_measure(model, case, device, samples, say) for case in _require(model, cases)]
    inputs = {m.name: m.result.inputs for m in found}
    for name, volume in others:
        say("measure", 0.0, f"radiographs of {name}")
        inputs[name] = _inputs_of(model, volume)
    own = [m.own_distance for m in found]
    other = _other_distances(found, inputs)
    if not other:
        raise InputError("expected at least two people, to tell own from other radiographs, got one")
    # a network that predicts its error was run once
    runs = samples if found[0].source == AUGMENTATION else 0
    calibration = fit_uncertainty([m.sample for m in found], found[0].source, runs)
    figures = {
        "subjects": [m.name for m in found],
        "others": [name for name, _ in others],
        "views": list(_views(model)),
        "reprojection": fit_reprojection(own, other).to_dict(),
        "uncertainty": {**calibration.to_dict(), **_held([m.sample for m in found], calibration)},
        "refinement": _mean_refinement(found),
    }
    if lesions:
        figures["lesions"] = _lesions(model, cases, found, device, say)
    return figures


def check_trust(
    model: str | Path,
    cases: Sequence[Case],
    device: str = "auto",
    lesions: bool = True,
    progress: ProgressCallback | None = None,
    constants: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """How the constants in a model's card hold on CTs that they were not measured on.

    constants: what `measure_trust` gave, in place of the card's.
    scores: calibrated reprojection scores of own and of other radiographs. uncertainty: curve and coverage.
    Raises InputError as `measure_trust`, and when the card holds no constants.
    """
    figures = constants or load_card(model).quality.get(TRUST) or {}
    scale = ReprojectionCalibration.from_dict(figures.get("reprojection"))
    calibration = UncertaintyCalibration.from_dict(figures.get("uncertainty"))
    if scale is None or calibration is None:
        raise InputError("expected a model whose card was given its trust figures (measure_trust), got none")
    say = progress or (lambda *_: None)
    samples = calibration.samples or DEFAULT_SAMPLES
    found = [_measure(model, case, device, samples, say) for case in _require(model, cases)]
    other = _other_distances(found, {m.name: m.result.inputs for m in found})
    checked = {
        "subjects": [m.name for m in found],
        "scores": {
            "own": {m.name: scale.score(m.own_distance) for m in found},
            "other": [scale.score(d) for d in other],
        },
        "uncertainty": assess([m.sample for m in found], calibration),
        "refinement": _mean_refinement(found),
    }
    if lesions:
        checked["lesions"] = _lesions(model, cases, found, device, say)
    return checked


def measure_files(
    model: str,
    data: Path,
    output: Path,
    calibrate: Sequence[str],
    others: Sequence[str],
    test: Sequence[str],
    device: str,
    progress: ProgressCallback,
    record: bool = False,
) -> Outcome:
    """Trust figures from CTs of a folder, by name, as `trust.json`.

    calibrate: subjects for `measure_trust`; others: of it. test: subjects for `check_trust`, by the constants
    just measured or, without, by the card's. record: write all of it into the card, in the end and at once;
    an earlier test goes when the constants were measured anew without one.
    Raises InputError for unknown subjects, for ones the model was trained on (in others they may be), and for
    a test on ones that it was validated or its constants were measured on.
    """
    from xrecon.io.image import read_volume
    from xrecon.preprocess.ct import remove_table
    from xrecon.training.seen import training_data
    from xrecon.training.subjects import find_subjects

    warnings: list[str] = []
    found = {s.name: s for s in find_subjects(data, warnings)}
    known = {name: s.path for name, s in found.items()}
    unknown = sorted({*calibrate, *others, *test} - set(known))
    if unknown:
        raise InputError(f"expected CTs of {data}, got {', '.join(unknown)}: unknown")
    if not (calibrate or test) or (set(calibrate) & set(test)):
        raise InputError("expected subjects to calibrate on or to test on, and none in both")
    measured, tested = ([_digested(found[n]) for n in part] for part in (calibrate, test))
    _require_new(load_card(model), measured, tested)

    def read(names: Sequence[str]) -> list[Case]:
        return [(name, remove_table(read_volume(known[name]))) for name in names]

    numbers: dict[str, Any] = {"model": model}
    with output_folder(output) as folder:
        if calibrate:
            figures = measure_trust(model, read(calibrate), read(others), device, progress=progress)
            data = [training_data(subject).model_dump() for subject in measured]
            numbers[TRUST] = {**figures, "data": data}
        if test:
            numbers["test"] = check_trust(
                model, read(test), device, progress=progress, constants=numbers.get(TRUST)
            )
        atomic_write_text(folder / FILE_NAME, json_text(numbers))
    if record:  # once, when all is measured and written: a failure leaves the card as it was
        figures = numbers.get(TRUST) or load_card(model).quality[TRUST]
        record_quality(model, TRUST, {**figures, **({"test": numbers["test"]} if test else {})})
    return Outcome({"summary": output / FILE_NAME}, numbers, _text(numbers), warnings)


def _digested(subject: Subject) -> Subject:
    from xrecon.training.store import source_digest

    return replace(subject, sha256=source_digest(subject.path))


def _require_new(card: ModelCard, measured: Sequence[Subject], tested: Sequence[Subject]) -> None:
    """Nothing is measured on CTs that were trained on, nor tested on ones that were measured on, whatever
    they are called: CTs count by name, content and patient (`training.seen`)."""
    from xrecon.training.seen import measured_on, seen_in, trained_on, validated_on

    wrong = trained_on(card).among([*measured, *tested])
    if wrong:
        raise InputError(f"expected CTs new to the model, got {', '.join(wrong)}: trained on")
    # by whose constants it is tested
    before = {} if measured else card.quality.get(TRUST) or {}
    wrong = (validated_on(card) | seen_in(measured) | measured_on(before)).among(tested)
    if wrong:
        raise InputError(
            f"expected test CTs that the model was neither validated nor measured on, got {', '.join(wrong)}"
        )


# -- parts -----------------------------------------------------------------------------------------
def _require(model: str | Path, cases: Sequence[Case]) -> Sequence[Case]:
    card = load_card(model)
    if card.output.kind != "volume" or card.input.kind != "radiographs":
        raise InputError(f"expected a model that makes a volume from radiographs, got {card.name}")
    if not cases:
        raise InputError("expected CTs to measure on, got none")
    return cases


def _views(model: str | Path) -> tuple[str, ...]:
    """Of the radiographs that are measured with; a model that takes any gets the two of a chest stand."""
    given = load_card(model).input
    return DEFAULT_VIEWS if given.view_count else tuple(given.views)


def _options(model: str | Path) -> DrrOptions:
    return DrrOptions(views=_views(model))


def _inputs_of(model: str | Path, volume: Volume) -> list[Radiograph]:
    """Radiographs of a CT on the network's detector."""
    card = load_card(model)
    radiographs, _, _ = project(volume, _options(model), lambda *_: None)
    return [_network_input(r, card) for r in radiographs]


def _network_input(radiograph: Radiograph, card: ModelCard) -> Radiograph:
    return network_input(radiograph, tuple(card.input.shape), tuple(card.input.pixel_spacing))


def _measure(model: str | Path, case: Case, device: str, samples: int, say: ProgressCallback) -> _Measured:
    name, ct = case
    say("measure", 0.0, name)
    card = load_card(model)
    radiographs, isocenter, _ = project(ct, _options(model), lambda *_: None)
    result = reconstruct(radiographs, model, device, uncertainty_samples=0)
    window = tuple(card.output.hu_window)
    # the estimate cannot leave the window, so neither may the truth that it is judged by
    truth = resample_like(ct, result.volume, fill=AIR_HU)
    truth = truth.with_array(unit_to_hu(hu_to_unit(truth.array, window), window))
    output, used = run_network(model, result.inputs, isocenter, device, lambda *_: None)
    raw = raw_deviation(output, card, model, result.inputs, isocenter, used.name, samples, lambda *_: None)
    sample = error_sample(result.volume, truth.array, raw, body_mask(truth))
    say("measure", 0.8, f"{name}: refinement")
    return _Measured(
        name, result, distance(result.scores), predicts_error(output, card), sample,
        _refinement(result, truth), radiographs,
    )  # fmt: skip


def _refinement(result: Reconstruction, truth: Volume) -> dict[str, Any]:
    """Metrics against the truth and reprojection before and after refinement, and whether it was kept."""
    refined = refine(result.volume, result.inputs)
    before = image_metrics(result.volume.array, truth.array, None)
    after = image_metrics(refined.volume.array, truth.array, None)
    reprojections = reproject(refined.volume, refined.inputs)
    scores = score_reprojections(refined.volume, refined.inputs, reprojections)
    return {
        **{f"{name}_before": before[name] for name in REFINED_METRICS},
        **{f"{name}_after": after[name] for name in REFINED_METRICS},
        "psnr_gain_db": after["psnr"] - before["psnr"],
        "applied": refined.record["applied"],
        "reason": refined.record["reason"],
        "distance_before": distance(result.scores),
        "distance_after": distance(scores),
        "relative_residual_before": refined.record["relative_residual"]["before"],
        "relative_residual_after": refined.record["relative_residual"]["after"],
    }


def _mean_refinement(found: Sequence[_Measured]) -> dict[str, Any]:
    rows = [{"subject": m.name, **m.refinement} for m in found]
    return {
        "psnr_gain_db": float(np.mean([row["psnr_gain_db"] for row in rows])),
        "applied_share": float(np.mean([row["applied"] for row in rows])),
        "subjects": rows,
    }


def _other_distances(found: Sequence[_Measured], inputs: dict[str, list[Radiograph]]) -> list[float]:
    """Distances of each reconstruction from the radiographs of everyone else, set about one isocentre."""
    distances = []
    for measured, (name, pictures) in product(found, inputs.items()):
        if name == measured.name:
            continue
        here, there = (np.array(r[0].geometry.isocenter) for r in (measured.result.inputs, pictures))
        moved = measured.result.volume.moved(there - here)
        distances.append(distance(score_reprojections(moved, pictures, reproject(moved, pictures))))
    return distances


def _held(samples: Sequence[ErrorSample], calibration: UncertaintyCalibration) -> dict[str, Any]:
    """How the calibration fits the subjects it was made on, less what its own entries say."""
    told = assess(samples, calibration)
    # the multipliers are these subjects' own quantiles: that their intervals hold tells nothing
    left_out = {*calibration.to_dict(), "coverage"}
    return {name: value for name, value in told.items() if name not in left_out}


def _lesions(
    model: str | Path,
    cases: Sequence[Case],
    found: Sequence[_Measured],
    device: str,
    say: ProgressCallback,
) -> dict[str, Any]:
    card = load_card(model)

    def rebuilt(radiographs: Sequence[Radiograph]) -> Volume:
        """As `reconstruct` does, without its scores: this runs dozens of times."""
        inputs = [_network_input(r, card) for r in radiographs]
        isocenter = np.array(inputs[0].geometry.isocenter)
        output, _ = run_network(model, inputs, isocenter, device, lambda *_: None)
        grids = (measured.result.volume for measured in found)
        grid = next(g for g in grids if np.allclose(g.center, isocenter, atol=0.1))
        return grid.with_array(unit_to_hu(output[0], tuple(card.output.hu_window)))

    planted = [
        LesionCase(name, ct, measured.radiographs) for (name, ct), measured in zip(cases, found, strict=True)
    ]
    return lesion_preservation(rebuilt, planted, progress=say)


def _text(numbers: dict[str, Any]) -> str:
    lines = []
    for part in (TRUST, "test"):
        figures = numbers.get(part)
        if not figures:
            continue
        coverage = figures["uncertainty"].get("coverage", {})
        held = ", ".join(f"{n} %: {100 * v:.0f} %" for n, v in coverage.items())
        gain = figures["refinement"]["psnr_gain_db"]
        lines.append(
            f"{part}: {', '.join(figures['subjects'])}" + (f"; intervals hold {held}" if held else "")
        )
        lines.append(f"    refinement {gain:+.2f} dB")
        for kind in figures.get("lesions", {}).get("classes", ()):
            limit = kind["smallest_preserved_mm"]
            lines.append(f"    {kind['name']}: " + (f"from {limit:g} mm" if limit else "not preserved"))
    return "\n".join(lines)
