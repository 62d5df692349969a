"""Reconstruction from one to four radiographs of any pose, with its uncertainty, up to the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tiny_models
import torch
from trunk import trunk
from xrecon import cli
from xrecon.io.image import read_volume
from xrecon.io.radiograph import write_radiograph
from xrecon.nets.card import RadiographInput
from xrecon.nets.registry import create_model, load_card, save_model
from xrecon.physics.drr import render_drrs
from xrecon.physics.poses import view_from_positioner_angles
from xrecon.pipelines import reconstruct
from xrecon.preprocess.ct import body_mask
from xrecon.volume import InputError, Radiograph

SIDE, SPACING = tiny_models.SIDE, tiny_models.SPACING_MM
OPTIONS = {
    "side": SIDE,
    "field_mm": SIDE * SPACING,
    "view_widths": [4, 8, 8],
    "grid_widths": [4, 8, 8, 8],
    "embedding": 8,
}
ANGLES = {
    "PA": (0, 0),
    "LEFT LATERAL": (90, 0),
    "LAO 40 CRA 10": (40, 10),
    "RAO 30": (-30, 0),
    "LAO 150": (150, 0),
}
DETECTOR = {"shape": (60, 56), "pixel_spacing": (8.0, 8.0)}


def save(folder: Path, **changes) -> Path:
    """A model folder of an untrained any-view network."""
    torch.manual_seed(0)
    network = create_model("any-view", **OPTIONS)
    with torch.no_grad():
        network.mean_volume.fill_(0.3)
        network.head.weight.normal_(std=0.1)
        network.spread[-1].weight.normal_(std=0.5)
    card = tiny_models.card("any-view", OPTIONS)
    seen = card.input.model_copy(update={"view_count": (1, 4), "directions": "any", **changes})
    save_model(folder, network, card.model_copy(update={"input": seen}), half=False)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return save(tmp_path_factory.mktemp("any-view"))


@pytest.fixture(scope="module")
def pictures() -> dict[str, Radiograph]:
    views = [view_from_positioner_angles(*angles, **DETECTOR) for angles in ANGLES.values()]
    return dict(zip(ANGLES, render_drrs(trunk(), views), strict=True))


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_any_one_to_four_views_in_any_order(count, model, pictures):
    some = list(pictures.values())[-count:]
    result = reconstruct(some, model)
    again = reconstruct(some[::-1], model)
    np.testing.assert_allclose(again.volume.array, result.volume.array, atol=0.5)
    assert set(result.scores) == set(list(ANGLES)[-count:]) and len(result.inputs) == count
    assert result.uncertainty.same_grid(result.volume)
    deviation = result.uncertainty.array
    assert (deviation > 0).all() and deviation.std() > 0
    assert result.uncertainty.meta["statistic"].startswith("standard deviation")
    body = body_mask(result.volume)  # outside it nothing was calibrated, and errors are small
    assert 0.0 < body.mean() < 1.0
    expected = np.sqrt((deviation[body] ** 2).mean())
    assert result.to_dict()["expected_rmse_hu"] == pytest.approx(expected, rel=1e-4)


def test_every_view_counts(model, pictures):
    pairs = [[pictures["PA"], pictures[n]] for n in ("LEFT LATERAL", "RAO 30")]
    volumes = [reconstruct(pair, model).volume.array for pair in pairs]
    assert np.abs(volumes[0] - volumes[1]).max() > 1.0


def test_what_the_model_cannot_take_is_refused_with_what_it_can(model, pictures, tmp_path):
    with pytest.raises(InputError, match="1 to 4 radiographs from any side.*PA, LEFT LATERAL.*got 5"):
        reconstruct(list(pictures.values()), model)
    with pytest.raises(InputError, match="got 0"):
        reconstruct([], model)
    with pytest.raises(InputError, match="one picture twice"):
        reconstruct([pictures["PA"], pictures["PA"]], model)
    named = save(tmp_path / "named", directions="named", view_count=(1, 2))
    assert reconstruct([pictures["LEFT LATERAL"]], named).uncertainty is not None
    with pytest.raises(InputError, match="1 to 2 radiographs out of PA, LEFT LATERAL, got none known"):
        reconstruct([pictures["RAO 30"]], named)
    fixed = save(tmp_path / "fixed", directions="named", view_count=None)
    with pytest.raises(InputError, match=r"2 radiographs \(PA, LEFT LATERAL\), got 1"):
        reconstruct([pictures["PA"]], fixed)


def test_views_that_tell_the_same_are_told(model, pictures):
    near = view_from_positioner_angles(4, 0, **DETECTOR)
    other = render_drrs(trunk(seed=5), [near])[0]
    result = reconstruct([pictures["PA"], other], model)
    assert any("nearly the same line" in text for text in result.warnings)
    assert len(result.scores) == 2  # both are called PA by their angle


def test_cards_of_before_mean_exactly_their_views():
    card = load_card("lifting-64")
    assert card.input.view_count is None and card.input.directions == "named"
    data = card.input.model_dump(exclude={"view_count", "directions"})
    assert RadiographInput.model_validate(data) == card.input
    with pytest.raises(ValueError, match="directions"):
        RadiographInput.model_validate({**data, "directions": "sideways"})


def test_the_command_line_takes_further_radiographs_and_writes_the_uncertainty(
    model, pictures, tmp_path, capsys
):
    paths = []
    for number, name in enumerate(("PA", "LEFT LATERAL", "RAO 30")):
        paths.append(str(tmp_path / f"view{number}.nrrd"))
        write_radiograph(pictures[name], Path(paths[-1]))
    out = tmp_path / "out"
    command = ["reconstruct", "--force", "--pa", paths[0], "--radiographs", *paths[1:], "--model", str(model)]
    assert cli.run([*command, "--output", str(out)]) == cli.OK
    summary = json.loads((out / "reconstruction.json").read_text())
    assert summary["inputs"] == {"pa": "view0.nrrd", "others": ["view1.nrrd", "view2.nrrd"]}
    roles = {"input_pa", "input_lateral", "input_rao_30", "reprojection_rao_30", "uncertainty"}
    assert roles <= set(summary["files"])
    assert all((out / name).is_file() for name in summary["files"].values())
    expected = reconstruct([pictures[n] for n in ("PA", "LEFT LATERAL", "RAO 30")], model)
    written = read_volume(out / "uncertainty.nrrd")
    np.testing.assert_allclose(written.array, expected.uncertainty.array, rtol=1e-3)
    assert written.same_grid(read_volume(out / "reconstruction.nrrd"))
    assert summary["expected_rmse_hu"] > 0
    capsys.readouterr()
    assert cli.run(["reconstruct", "--pa", paths[0], "--output", str(tmp_path / "one")]) == cli.BAD_INPUT
    assert "2 radiographs (PA, LEFT LATERAL), got 1" in capsys.readouterr().err
    assert cli.run(["reconstruct", "--output", str(tmp_path / "none")]) == cli.BAD_INPUT
    assert "--pa, --lateral or --radiographs" in capsys.readouterr().err
    assert not (tmp_path / "one").exists() and not (tmp_path / "none").exists()
