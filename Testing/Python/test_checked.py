"""What guards a reconstruction: the order of check, intake and calibration, and what each is given."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from xrecon import checked
from xrecon.evaluation import view_recognition
from xrecon.preprocess import intake
from xrecon.volume import Radiograph


@dataclass(frozen=True)
class Result:
    """As much of a reconstruction, or of a check, as is looked at."""

    warnings: tuple[str, ...] = ()
    uncertainty: object = None


def pictures(origin: str) -> list[Radiograph]:
    """A pair whose pixel size has this origin."""
    meta = {"pixel_spacing_mm.origin": origin}
    return [Radiograph(np.ones((8, 9), np.float32), view=v, meta=meta) for v in ("PA", "LEFT LATERAL")]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was called, in order; nothing is computed. The intake measures the pixel size."""
    done: list[str] = []

    def take_in(radiographs, skip):
        done.append("intake")
        measured = {"pixel_spacing_mm.origin": "lungs of the other view"}
        return [replace(r, meta=measured) for r in radiographs], []

    def computed(name, result):
        def compute(*_args, **_options):
            done.append(name)
            return result

        return compute

    monkeypatch.setattr(view_recognition, "check_radiographs", computed("check", Result()))
    monkeypatch.setattr(intake, "take_in", take_in)
    monkeypatch.setattr(checked, "reconstruct", computed("plain", Result()))
    monkeypatch.setattr(checked, "reconstruct_calibrated", computed("calibrated", (Result(), Calibrated())))
    monkeypatch.setattr(checked, "runs_for_uncertainty", lambda _, runs, views: (runs or 0) * (views == 2))
    return done


def test_a_guess_stays_a_guess_though_the_intake_measures_it(calls: list[str]):
    """Whether the geometry was guessed was once asked after the intake had put a measure in its place."""
    checked.reconstruct_checked(pictures("assumed"))
    assert calls == ["check", "intake", "calibrated"]


@pytest.mark.parametrize(
    ("origin", "calibrate", "way"),
    [("DICOM", None, "plain"), ("DICOM", True, "calibrated"), ("assumed", False, "plain")],
)
def test_calibration_is_for_guesses_and_on_request(calls: list[str], origin: str, calibrate, way: str):
    checked.reconstruct_checked(pictures(origin), calibrate=calibrate)
    assert calls == ["check", "intake", way]


@pytest.mark.parametrize(
    ("samples", "known", "way"),
    [(None, None, []), (0, None, []), (5, None, ["plain"]), (5, "predicted", [])],
)
def test_uncertainty_is_estimated_once_with_the_geometry_that_was_taken(
    calls: list[str], monkeypatch: pytest.MonkeyPatch, samples: int | None, known: object, way: list[str]
):
    """It was once estimated in every attempt of the calibration, also when nobody wanted it."""

    def calibrated(*_args, **_options):
        calls.append("calibrated")
        return Result(uncertainty=known), Calibrated()

    monkeypatch.setattr(checked, "reconstruct_calibrated", calibrated)
    checked.reconstruct_checked(pictures("assumed"), uncertainty_samples=samples)
    assert calls == ["check", "intake", "calibrated", *way]


class Calibrated:
    """A calibration that left everything as it was."""

    radiographs = ()
    used = False

    def warnings(self) -> list[str]:
        return []
