"""The table of the bundled models in README.md, made from their cards, between two marks.

    python -c "from xrecon.assessment.readme import refresh; refresh('README.md')"     or `make figures`
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from xrecon.assessment.air_shown import cause, false_air
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
    """Markdown of what the cards say of the test CTs: models of a kind, measured on the same CTs, side by
    side, means over patients. What each patient has stands in the cards' pages."""
    groups: dict[tuple[str, ...], list[ModelCard]] = {}
    for card in cards:
        test = card.quality.get("test") or {}
        key = (card.name,)
        if test.get("mean"):
            key = (card.output.kind, *(row["subject"] for row in test["subjects"]))
        groups.setdefault(key, []).append(card)
    return "\n\n".join(part for group in groups.values() for part in _group(group))


def _title(card: ModelCard) -> str:
    return f"[`{card.name}`](XReconSlicer/xrecon/models/{card.name}/MODEL_CARD.md)"


def _group(cards: Sequence[ModelCard]) -> Iterator[str]:
    tests = [card.quality.get("test") or {} for card in cards]
    if not tests[0].get("mean"):
        yield f"{_title(cards[0])}: {cards[0].title}. {cards[0].measured()}."
        return
    means, names = [test["mean"] for test in tests], _RECONSTRUCTION
    if cards[0].output.kind != "volume":
        names = [name for name in means[0] if name.startswith("dice_")]
    tested = ", ".join(row["subject"] for row in tests[0]["subjects"])
    lines = [markdown_line([f"mean of {tested}", *map(_title, cards)])]
    lines.append(markdown_line(["---"] * (len(cards) + 1)))
    lines.append(markdown_line(["", *(card.title for card in cards)]))
    for name in names:
        lines += _line(FIGURE_TITLES.get(name, name.replace("_", " ")), name, name, means)
        for end, title in CONTROLS_OF.items():
            if name in _CONTROLLED:
                lines += _line(f"{FIGURE_TITLES[name]}, {title}", name + end, name, means)
    yield "\n".join(lines)
    air = [line for card, test in zip(cards, tests, strict=True) for line in _air(card, test)]
    if air:
        head = "Synthetic pneumothorax, PTX-Seg on the reconstruction against the truth, Pearson's r:"
        yield "\n".join([head, "", *air])


def _line(title: str, name: str, kind: str, means: Sequence[Mapping[str, float]]) -> list[str]:
    values = [mean.get(name) for mean in means]
    if all(value is None for value in values):
        return []
    return [markdown_line([title, *("-" if v is None else number(v, kind) for v in values)])]


def _air(card: ModelCard, test: Mapping[str, Any]) -> Iterator[str]:
    told = correlation_text(test.get("pneumothorax") or {})
    if told:
        cases = test["pneumothorax"]["cases"]
        text = f"- `{card.name}`, {len(cases)} cases: {told}."
        yield " ".join(filter(None, (text, cause(cases), false_air(test))))


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
