"""The pages of models' cards and the README's figures: what is told, and that it is what the cards hold."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_models
from xrecon.assessment.card_page import render_card
from xrecon.assessment.page import worst_case
from xrecon.assessment.readme import BEGIN, END, figures_table, split, update
from xrecon.assessment.record import CARD_PAGE, means_of_all
from xrecon.assessment.run import Model, Result
from xrecon.assessment.table import figures_of
from xrecon.assessment.trust import trust_text
from xrecon.nets.card import LabelOutput
from xrecon.nets.registry import bundled_models, load_card, model_folder
from xrecon.volume import InputError


def test_no_page_of_a_card_gives_limits_that_cannot_be():
    """Cards of before hold t intervals of two patients, "Dice 0.652 to 1.112" among them."""
    card = load_card("any-view-64")
    test = card.quality["test"]
    third = {**test["subjects"][0], "subject": "c", "patient": "c"}
    wide = {**test, "intervals": {**test["intervals"], "reference_right_lung_hd95_mm": [-49.3, 84.9]}}
    quality = {**card.quality, "test": {**wide, "subjects": [*test["subjects"], third]}}
    for told, head in ((card, "range"), (card.model_copy(update={"quality": quality}), "95 % interval")):
        page = render_card(told)
        heads, cells = (
            next([c.strip() for c in line.split("|")] for line in page.splitlines() if line.startswith(start))
            for start in ("|  | mean |", "| right lung HD95 (mm) |")
        )
        low, high = (float(v) for v in cells[heads.index(head)].split(" to "))
        assert 0.0 <= low <= float(cells[2]) <= high, head
    assert (low, high) == (0.0, 84.9)


def row(case: str, **figures: float | None) -> dict:
    """A row of a result."""
    return {"case": case, "subject": case, "patient": case, "fraction": 0.0, **figures}


def test_a_figure_that_the_first_ct_lacks_is_not_lost():
    """None there: not applicable to that CT, such as a distance to an empty mask."""
    rows = [row("a", dice_right=0.9, hd95_mm=None), row("b", dice_right=0.8, hd95_mm=4.0, dice_left=0.7)]
    halves = Model("halves", tiny_models.card("x", {}).model_copy(
        update={"output": LabelOutput(labels=["background", "lung"])}), "halves")  # fmt: skip
    result = Result(halves, rows)
    assert means_of_all(result) == pytest.approx({"dice_right": 0.85, "hd95_mm": 4.0, "dice_left": 0.7})
    assert {"dice right", "hd95 mm", "dice left"} <= set(figures_of(result))
    assert worst_case(result) == {"subject": "b", "figure": "dice_left", "value": 0.7}


def test_a_page_tells_training_and_what_is_not_known():
    card = load_card("lifting-64")
    page = render_card(card)
    assert "| steps | 2600 |" in page and "Armato SG III" in page and "smooth displacement" in page
    bare = card.model_copy(update={"quality": {}, "training": {}})
    assert "Not measured on held-out CTs." in render_card(bare) and "not recorded" in render_card(bare)


def test_trust_is_told_as_far_as_it_was_measured():
    lesions = {
        "rule": "found", "cases": ["a"],
        "classes": [{"name": "nodule", "smallest_preserved_mm": None, "sizes": [
            {"diameter_mm": 10.0, "places": 4, "sensitivity": 0.5, "control_rate": 0.05,
             "recovered_contrast": 0.12},
            {"diameter_mm": 20.0, "places": 0, "sensitivity": None, "control_rate": None,
             "recovered_contrast": None},
        ]}],
    }  # fmt: skip
    figures = {
        "subjects": ["v"],
        "reprojection": {
            "own": 0.05, "other": 0.5, "separation": 0.75, "own_count": 1, "other_count": 4,
        },
        "uncertainty": {"coverage": {"95": 0.95}},
        "test": {"subjects": ["t"], "uncertainty": {"coverage": {"95": 0.93}}, "lesions": lesions},
    }
    text = "\n".join(trust_text(figures))
    assert "Constants measured on v; checked on t." in text and "95 %: 93%" in text
    # what holds by construction is no result, and a share of pairs says of how many
    assert "95 %: 95%" not in text
    assert "measured on 1 person; of 4 pairs of an own and another's distance 3 in the right order" in text
    assert "| nodule | 50% (5%), 12% | - | no size tested |" in text
    assert list(trust_text({})) == ["Constants measured on no CT; checked on no CT."]
    page = render_card(load_card("lifting-64").model_copy(update={"quality": {"trust": figures}}))
    assert "## How far to trust it" in page and "no size tested" in page


# -- the bundled models --------------------------------------------------------------------------
@pytest.mark.parametrize("name", bundled_models())
def test_bundled_pages_and_pictures_are_those_of_the_cards(name: str):
    """After a change of a card: `make figures`."""
    card, folder = load_card(name), model_folder(name)
    assert (folder / CARD_PAGE).read_text(encoding="utf-8") == render_card(card)
    pictures = list(folder.glob("*.png"))
    assert sum(path.stat().st_size for path in pictures) < 150_000
    worst = (card.quality.get("test") or {}).get("worst_case") or {}
    assert [path.name for path in pictures] == [worst[key] for key in ("picture",) if key in worst]


def test_the_readme_gives_the_figures_of_the_cards(repository: Path):
    """After a change of a card or of the table: `make figures`."""
    _, table, _ = split((repository / "README.md").read_text(encoding="utf-8"))
    assert table == figures_table([load_card(name) for name in bundled_models()])
    line = next(line for line in table.splitlines() if line.startswith("| PSNR (dB) |"))
    names = ("any-view-64", "chest-128", "lifting-64")
    psnr = [load_card(name).quality["test"]["mean"]["psnr"] for name in names]
    assert line == f"| PSNR (dB) | {' | '.join(f'{value:.2f}' for value in psnr)} |"
    assert "lungs-unet" in table and "view-classifier" in table


def test_the_table_is_put_between_its_marks(tmp_path: Path):
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}\nreplaced\n{END}\nafter\n")
    update(readme)
    before, table, after = split(readme.read_text())
    assert (before, after) == ("before\n", "\nafter\n") and "replaced" not in table and "lifting-64" in table
    for wrong in ("nothing", f"{END} {BEGIN}", f"{BEGIN} {BEGIN} {END}"):
        with pytest.raises(InputError, match="figures of the bundled models"):
            split(wrong)
