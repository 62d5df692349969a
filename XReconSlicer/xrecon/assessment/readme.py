"""The table of the bundled models in README.md, made from their cards, between two marks.

    python -c "from xrecon.assessment.readme import refresh; refresh('README.md')"     or `make figures`
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from xrecon.assessment.air_shown import cause
from xrecon.assessment.figures import CONTROLS_OF, FIGURE_TITLES, correlation_text, markdown_line, number
from xrecon.assessment.record import write_card_page
from xrecon.io.atomic import atomic_write_text
from xrecon.nets.card import ModelCard
from xrecon.nets.registry import bundled_models, load_card
from xrecon.volume import InputError

BEGIN, END = "<!-- figures of the bundled models: begin -->", "<!-- figures of the bundled models: end -->"
_RECONSTRUCTION = (
    "psnr", "ssim", "psnr_body", "mae_hu_body", "psnr_at_5.6mm", "reference_right_lung_dice",
    "reference_left_lung_dice",
)  # fmt: skip
_CONTROLLED = ("psnr", "ssim")


def figures_table(cards: Sequence[ModelCard]) -> str:
    """Markdown of what the cards say of the test CTs, one table a model."""
    return "\n\n".join(part for card in cards for part in _model(card))


def _title(card: ModelCard) -> str:
    page = f"XReconSlicer/xrecon/models/{card.name}/MODEL_CARD.md"
    return f"`{card.name}`: {card.title} ([card]({page}))"


def _model(card: ModelCard) -> Iterator[str]:
    test = card.quality.get("test") or {}
    if not test.get("mean"):
        yield f"{_title(card)}: {card.measured()}."
        return
    yield _title(card)
    mean, rows = test["mean"], test["subjects"]
    names = _RECONSTRUCTION if card.output.kind == "volume" else [n for n in mean if n.startswith("dice_")]
    lines = [markdown_line(["", *(row["subject"] for row in rows), "mean"])]
    lines.append(markdown_line(["---"] * (len(rows) + 2)))
    for name in (n for n in names if n in mean):
        lines.append(_line(FIGURE_TITLES.get(name, name.replace("_", " ")), name, rows, mean))
        for end, title in CONTROLS_OF.items():
            if name in _CONTROLLED and name + end in mean:
                lines.append(_line(f"{FIGURE_TITLES[name]}, {title}", name + end, rows, mean))
    yield "\n".join(lines)
    told = correlation_text(test.get("pneumothorax") or {})
    if told:
        cases = test["pneumothorax"]["cases"]
        text = (
            f"Synthetic pneumothorax, PTX-Seg on the reconstruction against the truth, Pearson's r over "
            f"{len(cases)} cases with air of {len(rows)} patients: {told}."
        )
        yield " ".join(filter(None, (text, cause(cases))))


def _line(title: str, name: str, rows: Sequence[dict], mean: dict) -> str:
    return markdown_line([title, *(number(row.get(name), name) for row in rows), number(mean[name], name)])


def refresh(readme: str | Path) -> None:
    """Writes the table of a README and the pages of all bundled models anew from their cards."""
    for name in bundled_models():
        write_card_page(name)
    update(readme)


def update(readme: str | Path) -> None:
    """Writes the table of the bundled models between the marks of a README."""
    path = Path(readme)
    before, _, after = split(path.read_text(encoding="utf-8"))
    table = figures_table([load_card(name) for name in bundled_models()])
    atomic_write_text(path, f"{before}{BEGIN}\n\n{table}\n\n{END}{after}")


def split(text: str) -> tuple[str, str, str]:
    """What stands before, between and after the marks. Raises InputError when they are not there once."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise InputError(f"expected one line {BEGIN!r} and after it one {END!r}")
    before, _, rest = text.partition(BEGIN)
    between, _, after = rest.partition(END)
    return before, between.strip(), after
