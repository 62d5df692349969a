"""What the bundled classifier says of a picture of which nothing is known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cli_inputs import error_line, xrecon
from xrecon import cli
from xrecon.calibrated import is_guessed
from xrecon.evaluation.view_guess import guess_view
from xrecon.io.radiograph import write_radiograph
from xrecon.physics.chest_phantom import chest_phantom
from xrecon.physics.drr import render_drrs
from xrecon.physics.geometry import ViewGeometry
from xrecon.pipelines import _geometry_warnings
from xrecon.volume import Quantity, Radiograph

SEEN = {"PA": "PA", "AP": "PA", "LEFT LATERAL": "LEFT LATERAL", "RIGHT LATERAL": "RIGHT LATERAL"}


@pytest.fixture(scope="module")
def films() -> dict[str, Radiograph]:
    """Grey pictures of a phantom without view and geometry."""
    chest = chest_phantom(spacing=(6.0, 6.0, 6.0), seed=2).volume
    views = [ViewGeometry.preset(v, shape=(96, 96), isocenter=tuple(chest.center)) for v in SEEN]
    drawn = render_drrs(chest, views, names=tuple(SEEN))
    return {p.view: Radiograph(p.array, quantity=Quantity.DISPLAY) for p in drawn}


@pytest.mark.parametrize("view", SEEN)
def test_the_view_is_told_from_the_picture_alone(films: dict[str, Radiograph], view: str) -> None:
    guess = guess_view(films[view])
    assert guess.view == SEEN[view] and not guess.inverted and guess.turned_deg == 0
    assert 0.6 <= guess.probability <= 1.0 and guess.text().startswith(f"{guess.view}, ")
    said = replace(films[view], view="AP")
    assert guess_view(said) == guess, "what it is said to be does not count"


@pytest.mark.parametrize("view", ["PA", "LEFT LATERAL"])
def test_polarity_and_turn_are_told_with_it(films: dict[str, Radiograph], view: str) -> None:
    array = films[view].array
    inverted = guess_view(Radiograph(array.max() - array))
    assert inverted.view == view and inverted.inverted and "inverted" in inverted.text()
    turned = guess_view(Radiograph(np.rot90(array).copy()))
    assert turned.turned_deg == 90 and "turned by 90 degrees" in turned.text()


def test_what_is_no_chest_gets_no_view() -> None:
    noise = np.random.default_rng(0).normal(size=(96, 96)).astype(np.float32)
    guess = guess_view(Radiograph(noise))
    assert guess.view == "" and guess.text().startswith("no clear frontal or lateral view")


def test_a_guessed_view_is_still_told_and_calibrated_as_a_guess(films: dict[str, Radiograph]) -> None:
    geometry = ViewGeometry.preset("PA", shape=(96, 96))
    known = replace(films["PA"], view="PA", geometry=geometry)
    guessed = replace(known, meta={"view.origin": "model"})
    assert is_guessed([guessed]) and not is_guessed([known])

    class Card:
        class input:  # noqa: N801
            source_to_detector_mm = source_to_isocenter_mm = (0.0, 9999.0)

    assert any("PA or AP is not recorded" in text for text in _geometry_warnings([guessed], Card))
    assert not any("not recorded" in text for text in _geometry_warnings([known], Card))


def test_the_command(films: dict[str, Radiograph], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    paths = [tmp_path / "one.png", tmp_path / "two.nrrd"]
    for path, view in zip(paths, ("LEFT LATERAL", "PA"), strict=True):
        write_radiograph(films[view], path)
    code, out, err = xrecon(capfd, "recognise", "--radiographs", *paths, "--progress", "json")
    assert code == 0, err
    (result,) = [json.loads(line) for line in out.splitlines() if '"result"' in line]
    rows = result["numbers"]["radiographs"]
    assert [(row["file"], row["view"]) for row in rows] == [("one.png", "LEFT LATERAL"), ("two.nrrd", "PA")]
    code, _, err = xrecon(capfd, "recognise", "--radiographs", tmp_path / "none.png")
    assert code == cli.BAD_INPUT and "none.png" in error_line(err)
