"""What a radiograph shows against what it is said to be, and how familiar it looks.

The bundled view classifier gives each picture a probability for a frontal view, a lateral view (facing the
way it hangs) and neither, in 16 layouts. What is said is compared in the standard layout that the geometry
promises, so that a right lateral hung as such is no mirrored left one. PA and AP look the same to it.

What a wrong alarm costs decides the limits. A warning costs a glance: it is given when the picture more
likely shows something else. A refusal costs a user who was right a second run with `--force`, a picture let
through costs a fluent CT of nothing: it is refused only when the classifier is nearly certain. A heart on
the other side is never refused, since some hearts are there, and shifted ones look so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xrecon.evaluation.familiarity import Familiarity, judge, picture_statistics
from xrecon.nets.registry import bundled_models, load_model
from xrecon.preprocess.appearance import look_at
from xrecon.preprocess.radiograph import canonical, canonical_axes
from xrecon.preprocess.standard_picture import standard_picture
from xrecon.preprocess.views import view_kind
from xrecon.volume import InputError, Quantity, Radiograph

if TYPE_CHECKING:
    from xrecon.nets.view_classifier import Layout, ViewClassifier

CLASSIFIER = "view-classifier"
# A picture is something else from this probability on; refused when nearly certain and the rest impossible.
WARN_PROBABILITY, REFUSE_PROBABILITY, IMPOSSIBLE = 0.6, 0.9, 0.02
# A picture is mirrored from the first share on, of the mirrored in what is found; a frontal view already
# from the second on where the place of the heart (`preprocess.appearance`), on a detector as networks have
# it, says so, too. Set on acrinflt_013, a validation subject: of 24 right frontal views none reached 0.5, of
# 24 mirrored ones 22 reached 0.8; the place of the heart alone told 11 of these, and was wrong of 6 others.
MIRRORED_SHARE, FRONTAL_SHARE = 0.8, 0.5
DETECTOR = ((128, 128), (3.4, 3.4))
FORCE_HINT = "--force, or force=True in Python, goes on nevertheless"


@dataclass(frozen=True)
class Recognition:
    """What one radiograph was found to be.

    said: its view as given. kind: "frontal", "lateral" or "neither". quarters: counter-clockwise quarters by
    which the picture, as it lies in the file, seems turned. probability: of what was found; as_said: of what
    was said; both whether mirrored or not. agrees, is_contradicted: what is to be done about it.
    """

    said: str
    kind: str
    inverted: bool
    mirrored: bool
    quarters: int
    probability: float
    as_said: float
    familiarity: Familiarity

    @property
    def agrees(self) -> bool:
        """Whether the picture most likely is what it is said to be."""
        found = (self.kind, self.inverted, self.mirrored, self.quarters)
        return found == (view_kind(self.said), False, False, 0)

    @property
    def is_contradicted(self) -> bool:
        """Whether it is surely something else, and not just mirrored."""
        sure = self.probability >= REFUSE_PROBABILITY and self.as_said <= IMPOSSIBLE
        only_mirrored = self.kind == view_kind(self.said) and not self.inverted and self.quarters == 0
        return sure and not self.agrees and not only_mirrored

    def problem(self) -> str:
        """What is seen against what was said, one sentence without a full stop; "" when nothing is wrong."""
        if self.agrees or self.probability < WARN_PROBABILITY:
            return ""
        return f"{self.said}: {self._seen()} ({self.probability:.0%} sure; as said: {self.as_said:.0%})"

    def _seen(self) -> str:
        if self.kind == "neither":
            return "the picture looks like no frontal or lateral chest radiograph"
        parts = [_TURNS[self.quarters]] if self.quarters else []
        if self.inverted:
            parts.append("inverted (dense tissue is dark)")
        if self.kind != view_kind(self.said):
            return " and ".join([f"the picture looks like a {self.kind} view", *parts])
        if self.mirrored:
            heart = "the heart lies on the other side"
            way = heart if self.kind == "frontal" else "the patient faces the other way"
            parts.append(f"mirrored ({way}; compare the side marker)")
        return "the picture seems " + " and ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "said": self.said,
            "seen": self.kind,
            "inverted": self.inverted,
            "mirrored": self.mirrored,
            "turned_deg": 90 * self.quarters,
            "probability": self.probability,
            "probability_as_said": self.as_said,
            "unfamiliarity": self.familiarity.distance,
            "unfamiliar_because": list(self.familiarity.reasons),
            "properties": self.familiarity.properties,
        }


_TURNS = {
    1: "turned by 90 degrees counter-clockwise",
    2: "turned by 180 degrees",
    3: "turned by 90 degrees clockwise",
}


@dataclass(frozen=True)
class InputCheck:
    """What was found out about all radiographs of a run; warnings are for the user."""

    found: tuple[Recognition, ...]
    warnings: tuple[str, ...]

    def to_dict(self) -> list[dict[str, Any]]:
        """Plain data for JSON."""
        return [each.to_dict() for each in self.found]


def check_radiographs(radiographs: Sequence[Radiograph], force: bool = False) -> InputCheck:
    """Compares every PA, AP or lateral radiograph with what it is said to be; other views are left out.

    force: warn where otherwise an error is raised. Raises InputError when a picture is surely something
    else, or far from everything that the classifier was trained on.
    """
    chosen = [
        r for r in radiographs if view_kind(r.view) in ("frontal", "lateral") and r.geometry is not None
    ]
    if not chosen or CLASSIFIER not in bundled_models():
        return InputCheck((), ())
    found = tuple(recognise(r) for r in chosen)
    refused = [_refusal(each) for each in found if each.is_contradicted or each.familiarity.far]
    exchanged = _exchanged(found)
    if refused and not force:
        raise InputError(f"{exchanged or '; '.join(refused)} ({FORCE_HINT})")
    warnings = [exchanged] if exchanged else [p for each in found if (p := each.problem())]
    for each in found:
        if not each.familiarity.is_usual:
            warnings.append(_unfamiliar(each))
    return InputCheck(found, tuple(warnings))


def _exchanged(found: Sequence[Recognition]) -> str:
    """A sentence when frontal and lateral are each taken for the other."""
    pairs = {(view_kind(each.said), each.kind) for each in found if each.problem()}
    if {("frontal", "lateral"), ("lateral", "frontal")} <= pairs:
        return "the frontal and the lateral radiograph seem exchanged: each looks like the other view"
    return ""


def _refusal(each: Recognition) -> str:
    return (each.problem() if each.is_contradicted else "") or _unfamiliar(each)


def _unfamiliar(each: Recognition) -> str:
    far = "far from" if each.familiarity.far else "unlike"
    reasons = "; ".join(each.familiarity.reasons)
    return f"{each.said}: the picture is {far} the radiographs the models were trained on: {reasons}"


def recognise(radiograph: Radiograph, model: str | Path = CLASSIFIER) -> Recognition:
    """What one radiograph with a view and a geometry shows.

    model: a view classifier, by its bundled name or folder. Raises InputError for non-finite pixels.
    """
    import torch

    from xrecon.nets.view_classifier import KINDS, hypothesis

    network, kind = _classifier(str(model)), view_kind(radiograph.view)
    radiograph = radiograph.require_finite(f"the {radiograph.view} radiograph")
    picture = standard_picture(canonical(radiograph).array, network.side)
    pictures = torch.as_tensor(picture)[None, None]
    with torch.inference_mode():
        probabilities = _allowed(network(pictures)[0].softmax(0).double().numpy(), radiograph.quantity)
        probabilities = _neither_if_certain(probabilities)
        embedding = network.embed(pictures)[0].double().numpy()
    familiarity = judge(network, KINDS.index(kind), picture_statistics(picture), embedding)
    sides = _by_side(probabilities)
    either = sides.sum(axis=1)
    best = int(np.argmax(either))
    seen, layout = _named(_upright_columns()[best])
    share = float(sides[best, 1] / either[best])
    mirrored = seen == "lateral" and share >= MIRRORED_SHARE
    if seen == kind == "frontal" and not layout.quarters and not layout.inverted:
        heart_too = share >= FRONTAL_SHARE and look_at(radiograph, *DETECTOR).mirrored
        mirrored = share >= MIRRORED_SHARE or heart_too
    quarters = layout.quarters
    if "column_direction" in canonical_axes(radiograph.geometry):
        quarters = -quarters % 4  # the file's picture is the mirror image of the one that was judged
    return Recognition(
        radiograph.view,
        seen,
        layout.inverted,
        mirrored,
        quarters,
        float(either[best]),
        float(either[_upright_columns().index(hypothesis(kind))]),
        familiarity,
    )


def _allowed(probabilities: np.ndarray, quantity: Quantity) -> np.ndarray:
    """Measured values are bright where dense: no inverted layout is asked about."""
    if quantity is Quantity.DISPLAY:
        return probabilities
    inverted = [_named(column)[1].inverted for column in range(len(probabilities))]
    kept = np.where(inverted, 0.0, probabilities)
    return kept / kept.sum()


def _neither_if_certain(probabilities: np.ndarray) -> np.ndarray:
    """Unless it is nearly certain that the picture is neither view, the views are compared among themselves:
    a classifier that has seen projections only calls real radiographs neither too easily."""
    from xrecon.nets.view_classifier import hypothesis

    neither = hypothesis("neither")
    if probabilities[neither] >= REFUSE_PROBABILITY:
        return probabilities
    kept = probabilities.copy()
    kept[neither] = 0.0
    return kept / kept.sum()


def _by_side(probabilities: np.ndarray) -> np.ndarray:
    """(n, 2): for each kind and layout that is not mirrored, its probability and that of its mirror image."""
    from xrecon.nets.view_classifier import hypothesis

    pairs = []
    for column in _upright_columns():
        kind, layout = _named(column)
        other = 0.0 if kind == "neither" else probabilities[hypothesis(kind, replace(layout, mirrored=True))]
        pairs.append((probabilities[column], other))
    return np.array(pairs)


def _upright_columns() -> list[int]:
    """The hypotheses that are not mirrored, neither included."""
    from xrecon.nets.view_classifier import HYPOTHESES

    return [column for column, (_kind, layout) in enumerate(HYPOTHESES) if not layout.mirrored]


def _named(column: int) -> tuple[str, Layout]:
    from xrecon.nets.view_classifier import HYPOTHESES

    return HYPOTHESES[column]


@lru_cache(maxsize=1)
def _classifier(model: str) -> ViewClassifier:
    network, _card = load_model(model)
    return network
