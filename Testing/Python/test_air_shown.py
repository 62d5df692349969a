"""What a reconstruction shows of a pneumothorax: the figure, the cause it gives, and the warning to users."""

from __future__ import annotations

import numpy as np
import pytest
from xrecon.assessment.air_shown import air_shown, cause, false_air, shown_percent
from xrecon.assessment.card_page import render_card
from xrecon.assessment.figures import air_markdown
from xrecon.assessment.readme import figures_table
from xrecon.benchmark.cases import Case
from xrecon.benchmark.exact import ExactAir
from xrecon.nets.registry import load_card
from xrecon.physics.chest_phantom import chest_phantom
from xrecon.pipelines import DEFAULT_MODEL, segment
from xrecon.trust.air import air_warnings
from xrecon.volume import Quantity, Volume

SHAPE = (6, 8, 8)


def grid(array: np.ndarray) -> Volume:
    return Volume(array.astype(np.float32), (2.8, 2.8, 2.8))


def case(truth: Volume, air: np.ndarray | None) -> Case:
    labels = truth.with_array(np.zeros(SHAPE, np.uint8), Quantity.LABEL)
    exact = None if air is None else ExactAir(air, np.zeros(SHAPE), np.zeros(SHAPE))
    return Case("s", "s", "s", air is not None, truth, (), labels, "", exact)


def measured(true: float, shown: float, dice: float = 0.0) -> dict:
    return {
        "case": "s+air35", "air_change_true_hu": true, "air_change_hu": shown, "air_true_ml": 400.0,
        "air_ml": 400.0 * dice, "air_dice": dice,
    }  # fmt: skip


def test_the_change_is_that_where_the_air_is_and_nowhere_else():
    air = np.zeros(SHAPE, np.float32)
    air[2, 3, 3:6] = (1.0, 0.5, 0.4)  # the last is mostly lung
    plain, with_air = np.full(SHAPE, -850.0), np.full(SHAPE, -700.0)
    with_air[2, 3, 3:5] = (-1000.0, -900.0)
    rec, rec_air = np.full(SHAPE, -820.0), np.full(SHAPE, -500.0)
    rec_air[2, 3, 3:5] = (-840.0, -830.0)
    found = air_shown(case(grid(with_air), air), grid(rec_air), case(grid(plain), None), grid(rec))
    assert found == {"air_change_true_hu": pytest.approx(-100.0), "air_change_hu": pytest.approx(-15.0)}
    assert shown_percent([found]) == pytest.approx(15.0)
    assert air_shown(case(grid(plain), None), grid(rec), case(grid(plain), None), grid(rec)) == {}


def test_the_share_is_over_all_cases_and_needs_a_ct_that_became_darker():
    cases = [measured(-100.0, -10.0), measured(-300.0, -90.0), {"case": "not measured"}]
    assert shown_percent(cases) == pytest.approx(25.0)
    assert shown_percent([{"case": "not measured"}]) is None and shown_percent([measured(5.0, 5.0)]) is None
    assert cause([{"case": "not measured"}]) == ""


def test_the_cause_says_which_half_of_the_way_fails():
    missing = cause([measured(-200.0, -0.4)])
    assert "200 HU darker" in missing and "reconstruction 0 HU (0 %" in missing
    assert "does not show the air" in missing
    assert "missed by PTX-Seg" in cause([measured(-200.0, -150.0)])
    # a large pneumothorax shown and a small one not are no average of half
    some = cause([measured(-100.0, -10.0), measured(-100.0, -90.0), measured(-100.0, -95.0)])
    assert "65 HU (65 %; 10 to 95 % in single cases)" in some and "in 2 of 3 cases" in some
    assert "missed by PTX-Seg" not in some


def test_air_in_cts_as_scanned_is_told_with_what_the_ct_has():
    rows = [{"subject": "s", "air_ml": 12.4, "reference_air_ml": 0.0}, {"subject": "t", "air_ml": 0.0}]
    told = false_air({"subjects": [*rows, {"subject": "of a lung model"}]})
    assert told.endswith("as scanned: s 12 ml (on the CT 0 ml), t 0 ml (on the CT 0 ml).")
    assert false_air({}) == false_air({"subjects": [{"subject": "of a lung model"}]}) == ""


def test_card_and_readme_give_the_cause():
    card = load_card(DEFAULT_MODEL)
    test = {**card.quality["test"], "pneumothorax": {"cases": [measured(-200.0, -8.0)], "correlations": {}}}
    page = render_card(card.model_copy(update={"quality": {"test": test}}))
    assert "(4 %): the reconstruction does not show the air" in page
    assert "| s+air35 | - | - | 400 | 0 | 0.000 | - | -200 | -8 |" in page
    test["pneumothorax"]["correlations"] = {"air_r": 0.1}
    table = figures_table([card.model_copy(update={"quality": {"test": test}})])
    assert "does not show the air" in table
    assert false_air(card.quality["test"]) in page and false_air(card.quality["test"]) in table
    assert "change where" not in air_markdown([{"case": "older"}], "")


# -- the warning ---------------------------------------------------------------------------------
def reconstructed(model: str = DEFAULT_MODEL, **changes: str) -> dict[str, str]:
    weights = load_card(model).sha256
    return {"synthetic": "reconstructed from radiographs", "model": model, "model_sha256": weights} | changes


def test_a_reconstruction_says_what_its_model_was_measured_to_show():
    cases = load_card(DEFAULT_MODEL).quality["test"]["pneumothorax"]["cases"]
    (told,) = air_warnings(reconstructed())
    assert f"{len(cases)} held-out CTs" in told and DEFAULT_MODEL in told
    assert f"of {sum(case['air_true_ml'] for case in cases):.0f} ml of air" in told
    dice = sum(case["air_dice"] for case in cases) / len(cases)
    assert ("does not mean that there is none" in told) == (dice < 0.5)


def test_a_model_that_shows_the_air_is_told_apart(monkeypatch: pytest.MonkeyPatch):
    card = load_card(DEFAULT_MODEL)
    quality = {"test": {"pneumothorax": {"cases": [measured(-200.0, -160.0, 0.8)], "shown_percent": 80.0}}}
    monkeypatch.setattr("xrecon.trust.air.load_card", lambda _: card.model_copy(update={"quality": quality}))
    (told,) = air_warnings(reconstructed())
    assert "80 % of the darkening" in told and "is an estimate" in told and "there is none" not in told


@pytest.mark.parametrize(
    "meta",
    [{}, {"model": DEFAULT_MODEL}, {"synthetic": "pneumothorax"}, "weights", "unknown"],
)
def test_nothing_is_said_of_other_volumes(meta: dict[str, str] | str):
    if meta == "weights":
        meta = reconstructed(model_sha256="0" * 64)
    elif meta == "unknown":
        meta = reconstructed() | {"model": "somebody's"}
    assert air_warnings(meta) == []


def test_ptx_seg_tells_it_of_a_reconstruction_and_measures_the_same_as_on_a_ct():
    """Marking a CT as reconstructed changes what is said, not what is found."""
    phantom = chest_phantom((6.0, 6.0, 6.0), pneumothorax_ml=500.0, side="right", noise_hu=0.0)
    real = segment(phantom.volume, phantom.lungs)
    found = segment(phantom.volume.with_array(phantom.volume.array, **reconstructed()), phantom.lungs)
    np.testing.assert_array_equal(found.labels.array, real.labels.array)
    assert real.quantities.pneumothorax_ml > 100
    assert air_warnings(reconstructed())[0] in found.warnings
    assert not any("held-out" in text for text in real.warnings)
