"""How far a model's volumes can be trusted, in its card: `quality["trust"]`.

The figures are those of `xrecon.trust_measurement`: constants measured on validation subjects, and how they
hold on the test subjects. Here they are measured along with an evaluation and written out for people.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from xrecon.assessment.cases import read_ct
from xrecon.assessment.figures import markdown_line
from xrecon.assessment.run import Plan, Result
from xrecon.nets.registry import record_quality
from xrecon.training.subjects import Subject
from xrecon.volume import InputError

Progress = Callable[[str, float, str], None]
TRUST = "trust"
# Training CTs whose radiographs serve as another patient's: more would cost time and tell little.
OTHERS = 4


def require_trust(result: Result, subjects: Sequence[Subject]) -> list[Subject]:
    """The validation subjects of a model among these CTs, on which its constants are measured.

    Raises InputError when there are none.
    """
    names = result.model.card.quality.get("validation_subjects") or []
    found = [s for s in subjects if s.name in names]
    if not found:
        raise InputError(
            f"expected a validation subject of {result.model.card.name} among the CTs, to measure on how far "
            f"it can be trusted, got none of {', '.join(names) or 'no names in its card'}"
        )
    return found


def record_trust(
    result: Result, plan: Plan, subjects: Sequence[Subject], progress: Progress
) -> dict[str, Any]:
    """Measures and writes `quality["trust"]` of a reconstruction model; returns it.

    subjects: all CTs of the folder; validation subjects calibrate, the plan's are tested on.
    """
    from xrecon.trust_measurement import check_trust, measure_trust

    chosen, model = require_trust(result, subjects), result.model.name
    others = [s for s in subjects if s.name in result.examples][:OTHERS]
    read = [[(s.name, read_ct(s)) for s in group] for group in (chosen, others, plan.subjects)]
    figures = measure_trust(model, read[0], read[1], plan.device, progress=progress)
    tested = check_trust(model, read[2], plan.device, progress=progress, constants=figures)
    figures = {**figures, "test": tested}
    record_quality(model, TRUST, figures)
    return figures


# -- for people ----------------------------------------------------------------------------------
def trust_text(figures: Mapping[str, Any]) -> Iterator[str]:
    """Paragraphs of Markdown about each part that is there."""
    tested = figures.get("test") or {}
    named, checked = (", ".join(part.get("subjects") or ()) or "no CT" for part in (figures, tested))
    yield f"Constants measured on {named}; checked on {checked}."
    scale = figures.get("reprojection")
    if scale:
        people, pairs = scale["own_count"], scale["own_count"] * scale["other_count"]
        yield (
            f"Reprojection score (0 own radiographs, 1 another patient's): distances {scale['own']:.3f} and "
            f"{scale['other']:.3f}, measured on {people} {'person' if people == 1 else 'people'}; of {pairs} "
            f"pairs of an own and another's distance {round(scale['separation'] * pairs)} in the right order."
        )
    scores = tested.get("scores")
    if scores:
        own, other = list(scores["own"].values()), list(scores["other"])
        yield f"Of the test CTs: own {_range(own)}, another patient's {_range(other)}."
    # on the CTs of the calibration the intervals hold what they say by construction
    if tested.get("uncertainty", {}).get("coverage"):
        held = ", ".join(f"{k} %: {v:.0%}" for k, v in tested["uncertainty"]["coverage"].items())
        yield f"Intervals of the uncertainty, fitted to {named}, hold on the test CTs: {held}."
    moved = (tested or figures).get("refinement")
    if moved:
        yield f"Refinement towards the radiographs changes PSNR by {moved['psnr_gain_db']:+.2f} dB."
    lesions = tested.get("lesions") or figures.get("lesions")
    if lesions:
        yield f"Lesions planted into {', '.join(lesions['cases'])}; {lesions['rule']}."
        yield "Found (found where nothing was planted), contrast recovered:"
        yield _lesion_table(lesions)


def _range(values: Sequence[float]) -> str:
    return f"{min(values):.2f} to {max(values):.2f}" if values else "-"


def _lesion_table(figures: Mapping[str, Any]) -> str:
    sizes = sorted({row["diameter_mm"] for kind in figures["classes"] for row in kind["sizes"]})
    heads = ["", *(f"{size:g} mm" for size in sizes), "preserved from"]
    lines = [markdown_line(heads), markdown_line(["---"] * len(heads))]
    for kind in figures["classes"]:
        by_size, least = {row["diameter_mm"]: row for row in kind["sizes"]}, kind["smallest_preserved_mm"]
        cells = [_lesion_cell(by_size.get(size)) for size in sizes]
        lines.append(markdown_line([kind["name"], *cells, f"{least:g} mm" if least else "no size tested"]))
    return "\n".join(lines)


def _lesion_cell(row: Mapping[str, Any] | None) -> str:
    if not row or not row["places"]:
        return "-"
    return f"{row['sensitivity']:.0%} ({row['control_rate']:.0%}), {row['recovered_contrast']:.0%}"
