"""A model's card as a page for people: MODEL_CARD.md, made from card.json and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from xrecon.assessment.air_shown import cause, false_air
from xrecon.assessment.figures import (
    CONTROLS_OF,
    FIGURE_TITLES,
    air_markdown,
    correlation_text,
    markdown_line,
    number,
)
from xrecon.assessment.targets import Target, targets
from xrecon.assessment.trust import TRUST, trust_text
from xrecon.assessment.views_text import views_text
from xrecon.evaluation.intervals import FEWEST, by_patient, possible_range
from xrecon.nets.card import ModelCard

NOTICE = "Made by `xrecon train` and `xrecon evaluate --record` from `card.json`; not to be edited."
# Settings of the augmentation that switch a kind on, and what that kind is called.
_KINDS = {
    "affine_probability": ("rotation, scale and shift", ("rotation_deg", "scale", "shift_mm")),
    "elastic_probability": ("smooth displacement", ("warp_mm",)),
    "mirror_probability": ("mirrored patients", ()),
    "pneumothorax_probability": ("synthetic pneumothorax", ()),
    "intensity_probability": ("tissue scale and grey-scale curve", ("hu_offset", "gamma")),
    "geometry_probability": ("errors of the recorded geometry", ()),
    "scatter_probability": ("scattered radiation", ("scatter_to_primary",)),
    "noise_probability": ("noise", ("noise",)),
    "kernel": ("reconstruction kernel, softer and sharper", ()),
}


def render_card(card: ModelCard) -> str:
    """The page as Markdown."""
    sections = (_head, _data, _training, _results, _air, _trust, _failure)
    return "\n\n".join(part for section in sections for part in section(card)) + "\n"


def _head(card: ModelCard) -> Iterator[str]:
    yield f"# {card.name}"
    yield f"{card.title}. {card.description}"
    yield f"_{NOTICE}_"
    yield f"**Intended use.** {card.intended_use}"
    yield f"**Limitations.** {card.limitations}"
    yield f"**Licence.** {card.licence}"
    yield f"**In:** {_input(card)} **Out:** {_output(card)} Weights: SHA-256 `{card.sha256}`."


def _input(card: ModelCard) -> str:
    given = card.input
    if given.kind == "radiographs":
        rows, columns = given.shape
        low, high = given.source_to_detector_mm
        views = " + ".join(given.views)
        if given.view_count:
            least, most = given.view_count
            any_way = given.directions == "any"
            views = f"{least} to {most} {'views of any pose' if any_way else f'of {views}'}"
        return (
            f"{views}, {rows} x {columns} pixels of {given.pixel_spacing[0]:g} "
            f"mm, source to detector {low:g} to {high:g} mm."
        )
    if given.kind == "picture":
        return f"a radiograph of any kind, {given.shape[0]} x {given.shape[1]} pixels."
    window = f"HU {given.hu_window[0]:g} to {given.hu_window[1]:g}"
    if given.kind == "slices":
        return (
            f"axial slices, {given.shape[0]} x {given.shape[1]} pixels of {given.spacing_mm:g} mm, {window}."
        )
    return f"a cube of {given.side}^3 voxels of {given.spacing_mm:g} mm, {window}."


def _output(card: ModelCard) -> str:
    made = card.output
    if made.kind == "labels":
        # of voxels the first label is none of the classes; a picture may be any of its labels
        first = 0 if card.input.kind == "picture" else 1
        return f"{', '.join(made.labels[first:])}."
    also = f", and {', '.join(made.labels[1:])}" if made.labels else ""
    return f"{made.side}^3 voxels of {made.spacing_mm:g} mm{also}."


def _data(card: ModelCard) -> Iterator[str]:
    yield "## Data"
    yield f"Trained on {len(card.training_data)} CTs:"
    rows = [(d.subject, d.attribution, d.licence) for d in card.training_data]
    yield _table(("CT", "attribution", "licence"), rows)
    validated = card.quality.get("validation_subjects") or []
    yield f"Validated on: {', '.join(validated) or 'none'} (watched, not chosen by)."
    tested = (card.quality.get("test") or {}).get("data") or []
    if tested:
        yield "Tested on CTs that were in neither training, augmentation, validation nor tuning:"
        yield _table(
            ("CT", "attribution", "licence"), [(d["subject"], d["attribution"], d["licence"]) for d in tested]
        )


def _training(card: ModelCard) -> Iterator[str]:
    training, config = card.training, card.training.get("config") or {}
    yield "## Training"
    sessions = training.get("environment") or []
    hardware = ", then ".join(s["device"] if s["device"] != "cpu" else _cpu(s) for s in sessions)
    facts = {
        "architecture": f"`{card.architecture}`",
        "steps": training.get("steps"),
        "batch": _times(config.get("batch"), config.get("accumulation"), training.get("processes")),
        "hours": training.get("hours"),
        "hardware": hardware or training.get("hardware") or "not recorded",
        "seed": training.get("seed", config.get("seed")),
        "precision": training.get("precision", config.get("precision")),
        "software": "; ".join(map(_software, sessions)) or "not recorded",
        "note": training.get("note"),
    }
    yield _table(("", ""), [(k, str(v)) for k, v in facts.items() if v is not None])
    kinds = list(_augmentation(config))
    if kinds:
        yield f"Augmentation: {'; '.join(kinds)}."


def _cpu(session: Mapping[str, Any]) -> str:
    return f"CPU ({session['system']}, {session['threads']} of {session['processors']} processors)"


def _software(session: Mapping[str, Any]) -> str:
    source, packages = session["source"], session["packages"]
    at = f"commit {source['commit'][:12]}" if source.get("commit") else "no checkout"
    changed = ", changed" if source.get("modified") else ""
    return (
        f"xrecon {session['xrecon']} ({at}{changed}, source {source['sha256'][:12]}), Python "
        f"{session['python']}, " + ", ".join(f"{name} {packages[name]}" for name in ("torch", "numpy"))
    )


def _times(*factors: int | None) -> str | None:
    known = [f for f in factors if f]
    return " x ".join(map(str, known)) if known else None


def _augmentation(config: Mapping[str, Any]) -> Iterator[str]:
    settings = config.get("augmentation") or {}
    for name, (title, sizes) in _KINDS.items():
        # cards of before kinds had a probability: what had a size was done to every sample
        share = settings.get(name, 1.0 if sizes and all(settings.get(size) for size in sizes) else 0.0)
        if not share:
            continue
        details = [f"{size} {settings[size]:g}" for size in sizes if settings.get(size) is not None]
        if name == "pneumothorax_probability":
            if not config.get("pneumothorax_variants"):
                continue
            low, high = config.get("pneumothorax_range", (0.1, 0.6))
            details = [f"{config['pneumothorax_variants']} per CT", f"{low:.0%} to {high:.0%} of a side"]
            if "pneumothorax_effusion" in config:  # since when copies are of several kinds
                fluid = config["pneumothorax_effusion"]
                also = f", with {fluid:.0%} fluid" if fluid else ""
                details.append(f"free, loculated, with emphysema{also}")
        what = f"up to {share:.0%} of the detail" if name == "kernel" else f"probability {share:g}"
        yield f"{title} ({', '.join([what, *details])})"


# -- what was measured ---------------------------------------------------------------------------
def _results(card: ModelCard) -> Iterator[str]:
    test = card.quality.get("test") or {}
    yield "## Results"
    if "right pictures" in test:
        yield from views_text(test)
        return
    if not test.get("mean") or card.input.kind == "picture":
        yield "Not measured on held-out CTs."
        return
    mean, limits, subjects = test["mean"], test.get("intervals") or {}, test["subjects"]
    people = [{"patient": row["subject"], **row} for row in subjects]
    few = len({row["patient"] for row in people}) < FEWEST
    yield _conditions(card, test)
    names = [name for name in FIGURE_TITLES if name in mean]
    names += [n for n in mean if card.output.kind == "labels" and n not in names]
    rows = []
    for name in names:
        found = _range(people, name) if few else _possible(limits.get(name), name)
        cells = [number(mean[name], name), _interval(found, name)]
        cells += [number(row.get(name), name) for row in subjects]
        cells += [number(mean.get(name + end), name) for end in _controls(mean)]
        rows.append((FIGURE_TITLES.get(name, name.replace("_", " ")), *cells))
    heads = ["", "mean", "range" if few else "95 % interval", *(row["subject"] for row in subjects)]
    yield _table((*heads, *(CONTROLS_OF[end] for end in _controls(mean))), rows)
    set_before = targets(card)
    if set_before:
        yield "Targets, set before training (means over the held-out CTs):"
        cells = [(t.name, _wanted(t), _reached(t), "yes" if t.met else "**no**") for t in set_before]
        yield _table(("", "target", "reached", "met"), cells)


def _wanted(target: Target) -> str:
    return f"more than {target.least:g}" if target.exclusive else f"at least {target.least:g}"


def _reached(target: Target) -> str:
    return "none" if target.reached is None else f"{target.reached:.3g}"


def _controls(mean: Mapping[str, Any]) -> list[str]:
    return [end for end in CONTROLS_OF if f"psnr{end}" in mean]


def _conditions(card: ModelCard, test: Mapping[str, Any]) -> str:
    told, conditions = (
        [f"{len(test['subjects'])} held-out CTs; an indication, not a study."],
        test.get("conditions"),
    )
    if conditions:
        side, mm = conditions["side"], conditions["spacing_mm"]
        told.append(
            f"Ideal projections ({' + '.join(conditions['views'])}) of each CT without its table; compared "
            f"on {side}^3 voxels of {mm:g} mm, whole grid, HU clipped to [-1024, 1476], PSNR in 3D with "
            "range 2500."
        )
        told.append(
            f"Lungs: PTX-Seg with `{conditions['lungs']}` on the reconstruction against the same on the CT."
        )
        known = (test.get("controls") or {}).get("nearest_subject_of") or []
        told.append(f"Nearest subject: out of {len(known)} training CTs." if known else "")
    if card.output.kind == "labels":
        told.append(
            "Reference: the classical segmentation (no hand-drawn lungs), and synthetic pneumothorax."
        )
    return " ".join(filter(None, told))


def _range(rows: Sequence[Mapping[str, Any]], name: str) -> list[float] | None:
    """The smallest and the largest value of the patients, who are too few for an interval."""
    values = by_patient(rows, name)
    return [min(values), max(values)] if values else None


def _possible(limits: Sequence[float | None] | None, name: str) -> Sequence[float | None] | None:
    """The limits that a card gives, cut at what the figure can be."""
    if not limits or None in limits:
        return None
    low, high = possible_range(name)
    return [max(limits[0], low), min(limits[1], high)]


def _interval(limits: Sequence[float | None] | None, name: str) -> str:
    if not limits or None in limits:
        return "-"
    return f"{number(limits[0], name)} to {number(limits[1], name)}"


def _air(card: ModelCard) -> Iterator[str]:
    test = card.quality.get("test") or {}
    measured = test.get("pneumothorax")
    if not measured:
        return
    yield "## Pneumothorax in the reconstruction"
    yield (
        "Synthetic pneumothoraxes of known size are put into the test CTs; PTX-Seg measures them on the "
        "reconstruction. Occupancy: air / (air + lung) of both sides."
    )
    yield air_markdown(measured["cases"], "")
    told = correlation_text(measured)
    yield f"Pearson's r over the cases: {told}." if told else "Too few cases for a correlation."
    why = cause(measured["cases"])
    if why:
        yield why
    false = false_air(test)
    if false:
        yield false


def _trust(card: ModelCard) -> Iterator[str]:
    figures = card.quality.get(TRUST)
    if figures:
        yield "## How far to trust it"
        yield from trust_text(figures)


def _failure(card: ModelCard) -> Iterator[str]:
    worst = (card.quality.get("test") or {}).get("worst_case")
    if not worst:
        return
    name = worst["figure"]
    yield "## Where it fails"
    yield (
        f"The worst of the test CTs is {worst['subject']}: {FIGURE_TITLES.get(name, name.replace('_', ' '))} "
        f"{number(worst['value'], name)}."
    )
    if worst.get("picture"):
        yield f"![What the model made of it]({worst['picture']})"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [markdown_line(heads), markdown_line(["---"] * len(heads))]
    return "\n".join([*lines, *(markdown_line(row) for row in rows)])
