"""What is done about pictures that are not what they are said to be, with the bundled classifier."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_inputs import error_line, write_inputs, xrecon
from xrecon import cli
from xrecon.assessment.card_page import render_card
from xrecon.assessment.views_text import views_text
from xrecon.evaluation import view_recognition
from xrecon.evaluation.familiarity import Familiarity
from xrecon.evaluation.view_recognition import CLASSIFIER, Recognition, check_radiographs, recognise
from xrecon.io.radiograph import read_radiograph
from xrecon.nets.registry import load_card, load_model, save_model
from xrecon.nets.view_classifier import HYPOTHESES, hypothesis
from xrecon.physics.chest_phantom import chest_phantom
from xrecon.physics.drr import render_drrs
from xrecon.physics.geometry import ViewGeometry
from xrecon.volume import InputError, Quantity, Radiograph

VIEWS = ("PA", "AP", "LEFT LATERAL", "RIGHT LATERAL")
USUAL = Familiarity(0.5, False, (), {})


@pytest.fixture(scope="module")
def films() -> dict[str, Radiograph]:
    """Grey pictures of a phantom, which the classifier has not seen the like of."""
    chest = chest_phantom(spacing=(6.0, 6.0, 6.0), seed=2).volume
    views = [ViewGeometry.preset(v, shape=(96, 96), isocenter=tuple(chest.center)) for v in VIEWS]
    return {p.view: replace(p, quantity=Quantity.DISPLAY) for p in render_drrs(chest, views, names=VIEWS)}


def changed(film: Radiograph, array: np.ndarray) -> Radiograph:
    return film.with_array(np.ascontiguousarray(array), "changed by a test")


# -- what is seen ------------------------------------------------------------------------------------
@pytest.mark.parametrize("view", VIEWS)
def test_a_right_picture_is_seen_as_such(films: dict[str, Radiograph], view: str) -> None:
    found = recognise(films[view])
    assert found.agrees and found.problem() == "" and not found.is_contradicted
    assert found.probability == found.as_said > 0.5


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_turned_picture_is_refused_with_its_turn(films: dict, view: str, quarters: int) -> None:
    found = recognise(changed(films[view], np.rot90(films[view].array, quarters)))
    assert found.quarters == quarters and not found.mirrored and not found.inverted
    assert "turned by" in found.problem() and found.problem().startswith(view)


@pytest.mark.parametrize("view", VIEWS)
def test_an_inverted_picture_is_seen(films: dict[str, Radiograph], view: str) -> None:
    array = films[view].array
    found = recognise(changed(films[view], array.max() - array))
    assert found.inverted and "inverted" in found.problem()
    measured = replace(changed(films[view], array.max() - array), quantity=Quantity.LINE_INTEGRAL)
    assert not recognise(measured).inverted  # measured values are bright where dense


@pytest.mark.parametrize("view", VIEWS)
def test_a_mirrored_picture_is_told_and_not_refused(films: dict[str, Radiograph], view: str) -> None:
    found = recognise(changed(films[view], films[view].array[:, ::-1]))
    assert found.mirrored and not found.is_contradicted


def test_exchanged_views_are_refused_in_one_sentence(films: dict[str, Radiograph]) -> None:
    pa, lateral = films["PA"], films["LEFT LATERAL"]
    exchanged = [changed(pa, lateral.array), changed(lateral, pa.array)]
    with pytest.raises(InputError, match="seem exchanged.*--force"):
        check_radiographs(exchanged)
    forced = check_radiographs(exchanged, force=True)
    assert any("seem exchanged" in warning for warning in forced.warnings)
    assert [each["seen"] for each in forced.to_dict()] == ["lateral", "frontal"]


@pytest.mark.parametrize("kind", ["noise", "stripes", "text"])
def test_foreign_pictures_are_refused_with_a_reason(films: dict, rng: np.random.Generator, kind: str) -> None:
    y, x = np.mgrid[:96, :96]
    text = np.where((y // 3 % 2 == 0) & (rng.random((96, 96)) < 0.5), 1.0, 0.0)
    array = {"noise": rng.normal(size=(96, 96)), "stripes": np.sin(0.4 * (x + y)), "text": text}[kind]
    with pytest.raises(InputError, match="PA: "):
        check_radiographs([changed(films["PA"], array)])


def test_views_of_other_directions_are_left_out(films: dict[str, Radiograph]) -> None:
    pa = films["PA"]
    assert check_radiographs([replace(pa, view="LAO 30"), replace(pa, view="", geometry=None)]).found == ()


@pytest.mark.parametrize("name", ["rsna_patientA", "rsna_patientC"])
def test_real_radiographs_pass(data_dir: Path, name: str) -> None:
    """Neither gets a note, although the network itself leans to "neither" (0.88 and 0.84): it has seen
    projections only."""
    film = read_radiograph(data_dir / "radiographs" / f"{name}.dcm", usual_view="PA")
    (found,) = check_radiographs([film]).found
    assert not found.mirrored and not found.inverted and found.quarters == 0
    assert found.agrees and not found.problem()
    inverted = recognise(changed(film, film.array.max() - film.array))
    assert not inverted.agrees and (inverted.inverted or name == "rsna_patientC")


def test_neither_is_believed_when_it_is_nearly_certain() -> None:
    probabilities = np.full(len(HYPOTHESES), 0.01)
    probabilities[hypothesis("frontal")], probabilities[hypothesis("neither")] = 0.1, 0.0
    for share, believed in ((0.8, False), (0.95, True)):
        given = probabilities / probabilities.sum() * (1.0 - share)
        given[hypothesis("neither")] = share
        found = view_recognition._neither_if_certain(given)
        assert found.sum() == pytest.approx(1.0)
        assert HYPOTHESES[int(np.argmax(found))][0] == ("neither" if believed else "frontal")


# -- what is done about it -----------------------------------------------------------------------------
def recognition(kind: str = "frontal", probability: float = 0.99, **changes: object) -> Recognition:
    plain = Recognition("PA", kind, False, False, 0, probability, 1.0 - probability, USUAL)
    return replace(plain, **changes)


def test_only_the_nearly_certain_is_refused() -> None:
    assert recognition("lateral").is_contradicted
    assert not recognition("lateral", 0.8).is_contradicted and recognition("lateral", 0.8).problem()
    assert not recognition("lateral", 0.5).problem()
    assert not recognition("lateral", 0.95, as_said=0.04).is_contradicted
    assert not recognition(mirrored=True).is_contradicted and "heart" in recognition(mirrored=True).problem()
    assert recognition(mirrored=True, quarters=2).is_contradicted
    assert not recognition(as_said=0.99).problem()


def test_a_far_picture_is_refused_and_an_unusual_one_told(
    films: dict[str, Radiograph], monkeypatch: pytest.MonkeyPatch
) -> None:
    unusual = Familiarity(1.2, False, ("the picture is noisier than usual",), {})
    agreeing = recognition(as_said=0.99)
    monkeypatch.setattr(view_recognition, "recognise", lambda _: replace(agreeing, familiarity=unusual))
    (warning,) = check_radiographs([films["PA"]]).warnings
    assert "unlike" in warning and "noisier" in warning
    far = replace(agreeing, familiarity=replace(unusual, far=True))
    monkeypatch.setattr(view_recognition, "recognise", lambda _: far)
    with pytest.raises(InputError, match="far from.*noisier"):
        check_radiographs([films["PA"]])
    assert check_radiographs([films["PA"]], force=True).warnings


# -- through the command line ----------------------------------------------------------------------------
def test_the_command_line_refuses_exchanged_files_and_goes_on_when_forced(
    films: dict[str, Radiograph], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    files = write_inputs(tmp_path)
    for name, view in (("front", "LEFT LATERAL"), ("side", "PA")):
        array = films[view].array
        grey = np.uint8(255.0 * (array - array.min()) / np.ptp(array))
        Image.fromarray(grey).save(tmp_path / f"{name}.png")
    said = ["--pa", tmp_path / "front.png", "--lateral", tmp_path / "side.png", "--model", files / "model"]
    code, _out, err = xrecon(capfd, "reconstruct", *said, "--output", tmp_path / "no")
    assert code == cli.BAD_INPUT and "exchanged" in error_line(err) and not (tmp_path / "no").exists()
    code, out, err = xrecon(
        capfd,
        "reconstruct",
        *said,
        "--output",
        tmp_path / "out",
        "--force",
        "--no-calibrate",
        "--progress=json",
    )
    assert code == cli.OK, err
    result = json.loads(out.splitlines()[-1])
    summary = json.loads((tmp_path / "out" / "reconstruction.json").read_text())
    assert [each["seen"] for each in summary["recognition"]] == ["lateral", "frontal"]
    assert "calibration" not in summary
    assert any("exchanged" in warning for warning in result["numbers"]["warnings"])
    assert "What the radiographs look like" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


# -- another classifier, its page ---------------------------------------------------------------------------
def test_a_classifier_of_ones_own_is_asked_instead(films: dict[str, Radiograph], tmp_path: Path) -> None:
    network, card = load_model(CLASSIFIER)
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias.copy_(torch.tensor([0.0, 0.0, 20.0]))
    save_model(tmp_path / "neither", network, card, half=False)
    found = recognise(films["PA"], tmp_path / "neither")
    assert found.kind == "neither" and found.probability > 0.99
    assert recognise(films["PA"]).kind == "frontal"


def test_the_page_of_the_card_shows_the_counts() -> None:
    page = render_card(load_card(CLASSIFIER))
    assert "| mirrored frontal | 24 |" in page and "**Out:** frontal, lateral, neither." in page
    assert list(views_text({"how": "so", "subjects": ["a"]})) == []


# -- what the card records ----------------------------------------------------------------------------------
def test_the_card_records_what_was_measured_on_patients_it_has_not_seen() -> None:
    card = load_card(CLASSIFIER)
    test = card.quality["test"]
    assert {d.subject for d in card.training_data}.isdisjoint(test["subjects"])
    right = test["right pictures"]
    assert right["refused"] <= 0.01 * right["count"] and right["agree"] >= 0.8 * right["count"]
    for name in ("exchanged", "turned", "inverted", "foreign"):
        assert test[name]["caught"] >= 0.8 * test[name]["count"], name
