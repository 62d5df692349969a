"""What the bundled models were to reach: a missed target stays in the card, also one that has no figure."""

from __future__ import annotations

from xrecon.assessment.card_page import render_card
from xrecon.assessment.readme import figures_table
from xrecon.assessment.targets import targets
from xrecon.nets.card import ModelCard
from xrecon.nets.registry import load_card

OCCUPANCY = "occupancy of synthetic pneumothorax, r"


def measured(correlations: dict[str, float]) -> ModelCard:
    """A card with these correlations over cases with pneumothorax."""
    mean = {"psnr": 22.9, "ssim": 0.7, "psnr_mean_volume": 18.3, "psnr_nearest_subject": 22.9}
    mean |= {"reference_right_lung_dice": 0.91, "reference_left_lung_dice": 0.89}
    test = {"mean": mean, "subjects": [], "pneumothorax": {"cases": [], "correlations": correlations}}
    return load_card("lifting-64").model_copy(update={"quality": {"test": test}})


def test_a_missed_target_is_stated_with_its_figure():
    card = measured({"occupancy_r": 0.5})
    met = {t.name: t.met for t in targets(card)}
    assert met == {
        "PSNR (dB)": False,
        "PSNR above the mean training volume (dB)": True,
        "PSNR above the nearest training subject (dB)": False,  # as good is not above
        "SSIM": True,
        "right lung Dice": True,
        "left lung Dice": False,
        OCCUPANCY: False,
    }
    assert "| PSNR (dB) | at least 23 | 22.9 | **no** |" in render_card(card)
    assert targets(load_card("lungs-unet")) == []


def test_air_that_is_found_alike_in_every_case_misses_its_target():
    """Such a correlation does not exist; the target was once left out then, as if it were not there."""
    card = measured({"right_lung_r": 0.32})
    assert {t.name: (t.reached, t.met) for t in targets(card)}[OCCUPANCY] == (None, False)
    assert f"| {OCCUPANCY} | at least 0.77 | none | **no** |" in render_card(card)
    for page in (render_card(card), figures_table([card])):
        assert "occupancy none (found alike in every case)" in page and "right lung 0.32" in page


def test_without_cases_there_is_no_target_of_occupancy():
    assert OCCUPANCY not in {t.name for t in targets(measured({}))}
