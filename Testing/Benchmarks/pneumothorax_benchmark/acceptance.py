"""What the robust mode shall reach, and whether it did."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pneumothorax_benchmark.tables import Row, relative_error

DICE_TOLERANCE = 0.02


@dataclass(frozen=True)
class Criterion:
    """wanted: the words; applies: to which rows; value: a row's figure; good: whether it will do."""

    wanted: str
    applies: Callable[[Row], bool]
    value: Callable[[Row], float | None]
    good: Callable[[float], bool]
    unit: str


def _with_air(least: float) -> Callable[[Row], bool]:
    return lambda r: r["kind"] == "pneumothorax" and r["fraction"] >= least


CRITERIA = (
    Criterion(
        "healthy, noise up to 40 HU: below 10 ml false air",
        lambda r: r["kind"] in ("healthy", "real") and r["noise_hu"] <= 40,
        lambda r: r["false_ml"], lambda v: v < 10.0, "ml",
    ),
    Criterion(
        "emphysema without pneumothorax: below 50 ml", lambda r: r["kind"] == "emphysema",
        lambda r: r["false_ml"], lambda v: v < 50.0, "ml",
    ),
    Criterion(
        "8 % or more: Dice at least 0.85", _with_air(0.08), lambda r: r["dice"], lambda v: v >= 0.85, "",
    ),
    Criterion(
        "25 % or more: Dice at least 0.93", _with_air(0.25), lambda r: r["dice"], lambda v: v >= 0.93, "",
    ),
    Criterion(
        "8 % or more: ml error at most 8 %", _with_air(0.08), relative_error, lambda v: abs(v) <= 8.0, "%",
    ),
    Criterion(
        "real CTs without pneumothorax: below 10 ml", lambda r: r["kind"] == "real",
        lambda r: r["false_ml"], lambda v: v < 10.0, "ml",
    ),
)  # fmt: skip


def verdicts(rows: Sequence[Row], mode: str = "robust") -> str:
    """A Markdown table: each criterion, in how many cases it holds, the worst case, reached or missed.

    A criterion is reached when every case reaches it.
    """
    lines = ["| wanted | cases | hold | worst | case | verdict |", "| --- | --- | --- | --- | --- | --- |"]
    for criterion in CRITERIA:
        tested = [
            (value, row["case"]) for row in rows
            if row["mode"] == mode and criterion.applies(row) and (value := criterion.value(row)) is not None
        ]  # fmt: skip
        lines.append(_line(criterion.wanted, tested, criterion.good, criterion.unit))
    against = _against_reference(rows, mode)
    wanted = "no case worse than the reference mode by more than 2 Dice points"
    lines.append(_line(wanted, against, lambda v: v >= -DICE_TOLERANCE, ""))
    return "\n".join(lines)


def _against_reference(rows: Sequence[Row], mode: str) -> list[tuple[float, str]]:
    """(Dice less that of the reference mode, case) of the cases with pneumothorax."""
    reference = {r["case"]: r["dice"] for r in rows if r["mode"] == "reference"}
    return [
        (r["dice"] - reference[r["case"]], r["case"]) for r in rows
        if r["mode"] == mode and r["truth_ml"] and reference.get(r["case"]) is not None
    ]  # fmt: skip


def _line(
    wanted: str, tested: Sequence[tuple[float, str]], good: Callable[[float], bool], unit: str
) -> str:
    if not tested:
        return f"| {wanted} | 0 | - | - | - | not measured |"
    hold = sum(good(value) for value, _ in tested)
    # The worst is the value farthest on the wrong side: small for Dice, large for errors.
    rising = good(-1.0)  # errors: less is better
    worst = max(tested, key=lambda pair: abs(pair[0])) if rising else min(tested)
    verdict = "reached" if hold == len(tested) else "missed"
    return f"| {wanted} | {len(tested)} | {hold} | {worst[0]:.3g} {unit} | {worst[1]} | {verdict} |"
