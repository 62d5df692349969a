"""Pixels behind borders and markers: remembered on the way to the network, and counted by no score or fit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from trunk import trunk
from xrecon.evaluation import pictures
from xrecon.evaluation.reprojection import reproject, score_reprojections
from xrecon.physics.drr import render_drrs
from xrecon.physics.geometry import ViewGeometry
from xrecon.physics.pose_fit import fit_pose
from xrecon.preprocess.appearance import cropped_to_field
from xrecon.preprocess.intake import take_in
from xrecon.preprocess.radiograph import canonical, network_input
from xrecon.trust import refinement
from xrecon.trust.refinement import refine
from xrecon.volume import InputError, Quantity, Radiograph, Volume

NAMES = ("PA", "LEFT LATERAL")
DETECTOR = {"shape": (48, 44), "pixel_spacing": (9.0, 9.5)}


@pytest.fixture(scope="module")
def chest() -> Volume:
    return trunk(seed=4)


@pytest.fixture(scope="module")
def views(chest: Volume) -> list[Radiograph]:
    geometries = [ViewGeometry.preset(n, isocenter=tuple(chest.center), **DETECTOR) for n in NAMES]
    return render_drrs(chest, geometries, names=NAMES)


def spoilt(view: Radiograph, remembered: bool) -> Radiograph:
    """The picture with a border and a plate of lead over the chest; they are covered, or just there."""
    array, covered = view.array.copy(), np.zeros(view.array.shape, dtype=bool)
    covered[:, :9] = covered[18:30, 25:34] = True
    array[covered] = 9.0
    return replace(view, array=array, covered=covered if remembered else None)


# -- on the way ----------------------------------------------------------------------------------
def test_a_mask_has_to_fit_its_picture(views: list[Radiograph]) -> None:
    assert views[0].seen.all() and views[0].seen.shape == views[0].array.shape
    for wrong in (np.zeros((3, 3), dtype=bool), np.zeros(views[0].array.shape)):
        with pytest.raises(InputError, match="covered pixels as booleans"):
            replace(views[0], covered=wrong)


def test_the_mask_turns_with_the_picture(views: list[Radiograph]) -> None:
    spoiled = spoilt(views[0], True)
    other_way = tuple(-np.array(spoiled.geometry.column_direction))
    mirrored = replace(
        spoiled,
        array=spoiled.array[:, ::-1],
        covered=spoiled.covered[:, ::-1],
        geometry=replace(spoiled.geometry, column_direction=other_way),
    )
    upright = canonical(mirrored)
    assert np.array_equal(upright.covered, spoiled.covered) and np.array_equal(upright.array, spoiled.array)


def test_a_network_pixel_that_takes_in_a_covered_one_is_covered(views: list[Radiograph]) -> None:
    spoiled = spoilt(views[0], True)
    for shape, pixel in (((24, 22), 18.0), ((96, 88), 4.5)):
        small = network_input(spoiled, shape, (pixel, pixel))
        plain = network_input(replace(views[0], covered=None), shape, (pixel, pixel))
        changed = np.abs(small.array - plain.array) > 0.05
        assert changed.any() and small.covered[changed].all() and 0.1 < small.covered.mean() < 0.6


def test_what_lies_outside_the_picture_is_covered(views: list[Radiograph]) -> None:
    shown = replace(views[0], array=views[0].array + 3.0, quantity=Quantity.DISPLAY)
    wide = network_input(shown, (80, 80), (9.0, 9.5))
    assert wide.covered[:15].all() and wide.covered[:, :17].all() and not wide.covered[18:62, 20:60].any()
    assert network_input(shown, (40, 40), (9.0, 9.5)).covered is None


def test_the_mask_is_cropped_with_the_shutters(views: list[Radiograph]) -> None:
    spoiled = spoilt(views[0], True)
    array, covered = (np.pad(each, 6) for each in (spoiled.array, spoiled.covered))
    framed = replace(spoiled, array=array, covered=covered, geometry=None)
    cropped = cropped_to_field(framed)
    assert cropped.covered.shape == cropped.array.shape and cropped.covered.sum() <= spoiled.covered.sum()


def test_the_intake_remembers_what_it_filled(views: list[Radiograph]) -> None:
    grey = 4095.0 / (1.0 + np.exp(3.0 - views[0].array))
    large = np.kron(grey, np.ones((3, 3)))
    large[:, :18] = 4095.0
    geometry = views[0].geometry.resampled(large.shape)
    film = Radiograph(large.astype(np.float32), geometry, Quantity.DISPLAY, "PA")
    (taken,), _notes = take_in([film])
    assert taken.covered[:, :15].all() and not taken.covered[:, 40:].any()
    (left,), _notes = take_in([film], skip=("mask",))
    assert left.covered is None


# -- what counts ---------------------------------------------------------------------------------
def test_scores_leave_covered_rays_out(chest: Volume, views: list[Radiograph]) -> None:
    truth = score_reprojections(chest, views, reproject(chest, views))["PA"]
    scores = {}
    for remembered in (True, False):
        inputs = [spoilt(views[0], remembered), views[1]]
        scores[remembered] = score_reprojections(chest, inputs, reproject(chest, inputs))["PA"]
    assert truth["relative_residual"] < 1e-3 and scores[True]["relative_residual"] < 1e-3
    assert scores[True]["structure_correlation"] > 0.999
    assert scores[False]["relative_residual"] > 0.3 and scores[False]["structure_correlation"] < 0.8


def test_a_pose_is_fitted_by_what_is_seen(chest: Volume, views: list[Radiograph]) -> None:
    wrong = {
        remembered: fit_pose(chest, spoilt(views[0], remembered), iterations=6)
        for remembered in (True, False)
    }
    assert wrong[True].residual_before < 1e-3 and np.abs(wrong[True].shift_mm).max() < 1.0
    assert wrong[False].residual_before > 0.1


def test_refinement_fits_what_is_seen(
    chest: Volume, views: list[Radiograph], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rays that a refinement gets: none that is covered, in fit or in the check."""
    rays: list[torch.Tensor] = []
    whole = refinement.usable_rays

    def usable(projector: object, projections: torch.Tensor) -> torch.Tensor:
        rays.append(whole(projector, projections))
        return rays[-1]

    monkeypatch.setattr(refinement, "usable_rays", usable)
    estimate = chest.with_array(np.where(chest.array > 200, 0, chest.array))
    clean = refine(estimate, views).record["relative_residual"]["before"]
    found = {
        remembered: refine(estimate, [spoilt(views[0], remembered), views[1]]).record
        for remembered in (True, False)
    }
    assert rays[0][0, 0][spoilt(views[0], True).covered].any()  # or there were nothing to leave out
    assert found[True]["relative_residual"]["before"] == pytest.approx(clean, rel=0.5)
    assert found[False]["relative_residual"]["before"] > 3 * clean


def test_the_residual_picture_is_blank_where_the_input_is_covered(views: list[Radiograph]) -> None:
    reprojection = replace(views[0])
    plain = np.asarray(pictures.radiograph_panel([spoilt(views[0], False)], [reprojection]), int)
    blank = np.asarray(pictures.radiograph_panel([spoilt(views[0], True)], [reprojection]), int)
    clean = np.asarray(pictures.radiograph_panel([views[0]], [reprojection]), int)
    coloured = [int((np.ptp(each, axis=2) > 60).sum()) for each in (plain, blank, clean)]
    assert coloured[0] > coloured[2] + 10000 and abs(coloured[1] - coloured[2]) < 500
