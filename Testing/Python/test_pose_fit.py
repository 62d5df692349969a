"""Poses found by descent through the projector, and the alternation with the reconstruction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dicom_inputs import acquired
from trunk import trunk
from xrecon import calibrated
from xrecon.calibrated import is_guessed, reconstruct_calibrated, residual
from xrecon.evaluation.reprojection import reproject, score_reprojections
from xrecon.io.radiograph import read_radiograph
from xrecon.physics import pose_fit
from xrecon.physics.drr import render_drrs
from xrecon.physics.geometry import ViewGeometry
from xrecon.physics.pose_fit import PoseFit, fit_pose, pose_change
from xrecon.pipelines import Reconstruction
from xrecon.volume import Quantity, Radiograph, Volume

NAMES = ("PA", "LEFT LATERAL")
DETECTOR = {"shape": (36, 32), "pixel_spacing": (12.0, 13.0)}
NOTHING = PoseFit("", (0.0,) * 3, (0.0,) * 3, 1.0, 0.0, 0.0)


@pytest.fixture(scope="module")
def chest() -> Volume:
    return trunk(seed=4)


def planted(angles: tuple[float, ...] = (0.0,) * 3, shift: tuple[float, ...] = (0.0,) * 3) -> PoseFit:
    return replace(NOTHING, angles_deg=angles, shift_mm=shift)


def taken(chest: Volume, error: PoseFit, name: str = "LEFT LATERAL") -> Radiograph:
    """A radiograph that is said to be the preset, and was taken with an error of the pose."""
    said = ViewGeometry.preset(name, isocenter=tuple(chest.center), **DETECTOR)
    (picture,) = render_drrs(chest, [error.applied(said)], names=[name])
    return replace(picture, geometry=said)


# -- one pose ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["LEFT LATERAL", "AP"])
def test_a_planted_pose_is_found(chest: Volume, name: str) -> None:
    """Degrees and mm off in every direction, from the pictures alone; the prior takes some of the tilt."""
    error = planted((3.0, -1.0, 2.5), (8.0, -12.0, 40.0))
    found = fit_pose(chest, taken(chest, error, name))
    assert np.abs(np.subtract(found.angles_deg, error.angles_deg)).max() < 1.0
    assert np.abs(np.subtract(found.shift_mm, error.shift_mm)[:2]).max() < 2.0
    assert abs(found.shift_mm[2] - 40.0) < 12.0 and abs(found.scale - 1500.0 / 1460.0) < 0.01
    assert found.residual_after < 0.2 * found.residual_before and found.is_plausible


def test_a_right_pose_stays(chest: Volume) -> None:
    found = fit_pose(chest, taken(chest, NOTHING))
    assert np.abs(found.angles_deg).max() < 0.05 and np.abs(found.shift_mm).max() < 0.5
    assert found.residual_before < 1e-4


def test_gain_and_offset_of_the_picture_do_not_matter(chest: Volume) -> None:
    picture = taken(chest, planted(shift=(0.0, 10.0, 0.0)))
    other = replace(picture, array=4000.0 * picture.array - 700.0, quantity=Quantity.DISPLAY)
    plain, film = fit_pose(chest, picture, 8), fit_pose(chest, other, 8)
    assert np.allclose(plain.shift_mm, film.shift_mm, atol=0.3)


def test_a_change_is_what_makes_the_second_geometry() -> None:
    view = ViewGeometry.lateral("right", isocenter=(12.0, -30.0, 44.0), **DETECTOR)
    change = planted((4.0, -7.0, 11.0), (9.0, -3.0, 50.0))
    moved = change.applied(view)
    found = pose_change("RIGHT LATERAL", view, moved, (0.0, 0.0))
    assert np.allclose(found.angles_deg, change.angles_deg) and np.allclose(found.shift_mm, change.shift_mm)
    assert found.applied(view).is_close(moved) and moved.isocenter == view.isocenter
    along_beam = planted(shift=(0.0, 0.0, 50.0)).applied(view)
    assert along_beam.source_to_isocenter_mm == pytest.approx(view.source_to_isocenter_mm - 50.0)
    assert along_beam.source_to_detector_mm == pytest.approx(view.source_to_detector_mm)


@pytest.mark.parametrize("change", [planted((0.0, 5.0, 0.0)), planted(shift=(0.0, -46.0, 0.0))])
def test_what_is_no_error_of_positioning_is_not_plausible(change: PoseFit) -> None:
    assert not change.is_plausible and planted((5.0, 0.0, 0.0), (0.0, 30.0, 90.0)).is_plausible


# -- reconstruct, calibrate, reconstruct -------------------------------------------------------------
@pytest.fixture
def truthful(chest: Volume, monkeypatch: pytest.MonkeyPatch) -> list[Sequence[Radiograph]]:
    """In place of a network the true volume, whatever the radiographs; the list tells what it was given."""
    calls: list[Sequence[Radiograph]] = []

    def reconstruct(
        radiographs: Sequence[Radiograph], *_: object, uncertainty_samples: int | None = None
    ) -> Reconstruction:
        assert uncertainty_samples == 0  # nobody looks at the uncertainty of an attempt
        calls.append(radiographs)
        reprojections = reproject(chest, radiographs)
        scores = score_reprojections(chest, radiographs, reprojections)
        return Reconstruction(chest, list(radiographs), reprojections, scores, "truth", "cpu")

    monkeypatch.setattr(calibrated, "reconstruct", reconstruct)
    return calls


def test_a_shifted_view_is_put_right_and_the_first_view_stands(chest: Volume, truthful: list) -> None:
    error = planted(shift=(0.0, 14.0, 0.0))
    pair = [taken(chest, NOTHING, "PA"), taken(chest, error)]
    result, done = reconstruct_calibrated(pair)
    assert done.used and done.residual_after < 0.2 * done.residual_before
    assert residual(result) == done.residual_after
    first, second = done.fits
    assert np.abs(first.shift_mm[:2]).max() < 0.5 and abs(second.shift_mm[1] - 14.0) < 1.5
    assert [w for w in result.warnings if "the residual fell from" in w and "LEFT LATERAL" in w]
    assert "pose calibrated" in " ".join(result.inputs[1].history)
    assert done.to_dict()["views"][1]["shift_mm"][1] == second.shift_mm[1]
    assert "and up to 93% counts" in done.reason


def test_calibrated_distances_are_told_as_such(chest: Volume, truthful: list) -> None:
    """The geometry once said one distance and `meta` the old one, "assumed"."""
    said = {
        "source_to_isocenter_mm": "1500", "source_to_isocenter_mm.origin": "assumed",
        "source_to_detector_mm": "1800", "source_to_detector_mm.origin": "DICOM",
        "source_to_detector_mm.tag": "DistanceSourceToDetector", "isocenter.origin": "assumed",
    }  # fmt: skip
    wrong = taken(chest, planted(shift=(0.0, 6.0, 90.0)))
    pair = [taken(chest, NOTHING, "PA"), replace(wrong, meta=said)]
    result, done = reconstruct_calibrated(pair)
    seen = result.inputs[1]
    assert done.used and abs(seen.geometry.source_to_isocenter_mm - 1500.0) > 20.0
    assert float(seen.meta["source_to_isocenter_mm"]) == pytest.approx(seen.geometry.source_to_isocenter_mm)
    assert seen.meta["source_to_isocenter_mm.origin"] == seen.meta["isocenter.origin"] == "pictures"
    kept = [name for name in said if name.startswith("source_to_detector_mm")]
    assert {name: seen.meta[name] for name in kept} == {name: said[name] for name in kept}


def test_a_right_geometry_is_left_as_it_is(chest: Volume, truthful: list) -> None:
    pair = [taken(chest, NOTHING, name) for name in NAMES]
    result, done = reconstruct_calibrated(pair)
    assert not done.used and not done.warnings() and result.warnings == []
    assert result.inputs == pair and done.residual_before == residual(result)


def test_what_is_not_plausible_is_not_tried(
    chest: Volume, truthful: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pose_fit, "PLAUSIBLE", 0.5)
    pair = [taken(chest, NOTHING, "PA"), taken(chest, planted(shift=(0.0, 14.0, 0.0)))]
    result, done = reconstruct_calibrated(pair)
    assert not done.used and result.inputs == pair and len(truthful) == 1
    assert done.reason == "the fitted poses are too far off for an error of positioning"


def test_one_view_has_nothing_to_be_calibrated_against(chest: Volume, truthful: list) -> None:
    _result, done = reconstruct_calibrated([taken(chest, NOTHING, "PA")])
    assert not done.used and "one radiograph alone" in done.reason and len(truthful) == 1


def test_only_assumed_facts_ask_for_a_calibration(chest: Volume) -> None:
    view = taken(chest, NOTHING)
    assert not is_guessed([view])
    assert not is_guessed([replace(view, meta={"source_to_detector_mm.origin": "DICOM"})])
    assert is_guessed([view, replace(view, meta={"source_to_detector_mm.origin": "assumed"})])


@pytest.mark.parametrize(
    ("without", "guessed"), [(None, False), ("DistanceSourceToPatient", True), ("ImagerPixelSpacing", True)]
)
def test_a_file_that_tells_distances_pixel_size_and_view_is_no_guess(
    tmp_path: Path, without: str | None, guessed: bool
) -> None:
    """Its isocentre is always assumed to lie before the middle of the detector: that asks for no repair."""
    tags = {
        "ViewPosition": "PA", "PatientOrientation": ["L", "F"], "ImagerPixelSpacing": [10.0, 10.0],
        "DistanceSourceToDetector": 1800.0, "DistanceSourceToPatient": 1550.0,
    }  # fmt: skip
    acquired(tmp_path / "pa.dcm", **{name: value for name, value in tags.items() if name != without})
    radiograph = read_radiograph(tmp_path / "pa.dcm")
    assert radiograph.meta["isocenter.origin"] == "assumed"
    assert is_guessed([radiograph]) is guessed
