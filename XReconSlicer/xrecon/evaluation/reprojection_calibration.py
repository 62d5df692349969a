"""The reprojection score on a scale that means something: 0 as the patient's own radiographs, 1 as another's.

The distance of a reconstruction from its radiographs is 1 less the structure correlation of
`reprojection`, averaged over the views: free of gain and offset, so it holds for line integrals and for
pictures made for viewing. Over subjects that the model was not trained on it is measured twice: of each
reconstruction from the radiographs it was made of (own), and from those of every other subject. The
medians become 0 and 1 of the score. Both lie in the model's card; without them there is no score. How many
people that were is said with every score: of one person, the zero is that person's and no model's.

The score cannot see the null space, nor a mistake that the network followed: see `reprojection`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np

from xrecon.volume import InputError

# Up to here the reconstruction counts as explaining its radiographs, from there on as failing to.
EXPLAINS, FAILS = 0.25, 0.5
NULL_SPACE = (
    "The score cannot see what does not show in the radiographs: depth along the rays, and anything that "
    "one part of the volume hides by making up for another. Many volumes, true and false ones, explain two "
    "radiographs equally well; a good score is necessary, not sufficient."
)
UNCALIBRATED = (
    "This model's card holds no figures of own and other patients' radiographs for so many views, so the "
    "agreement has no calibrated scale."
)


@dataclass(frozen=True)
class ReprojectionCalibration:
    """The constants of the scale and how well they separate.

    own, other: median distances. own_range, other_range: least and largest. separation: share of the
    pairs (an own distance, another's) in the right order, 0.5 to 1 (area under the ROC curve).
    """

    own: float
    other: float
    own_range: tuple[float, float]
    other_range: tuple[float, float]
    own_count: int
    other_count: int
    separation: float

    def score(self, distance: float) -> float:
        """0 like own radiographs, 1 like another patient's; below 0 and above 1 are possible."""
        return (distance - self.own) / (self.other - self.own)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for a card."""
        return asdict(self)

    @classmethod
    def from_dict(cls, figures: Mapping[str, Any] | None) -> ReprojectionCalibration | None:
        """What `to_dict` wrote; None of nothing. Raises InputError for anything else."""
        if not figures:
            return None
        try:
            known = {name: figures[name] for name in cls.__dataclass_fields__}
            found = cls(**{**known, "own_range": tuple(known["own_range"]),
                           "other_range": tuple(known["other_range"])})  # fmt: skip
            if not found.other > found.own:
                raise ValueError("own and other are not in order")
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"the card's calibration of the reprojection cannot be used: {error}") from error
        return found


def distance(scores: Mapping[str, Mapping[str, float]]) -> float:
    """Mean over the views of 1 - structure correlation, 0 to 2. Scores as `score_reprojections` gives."""
    return float(np.mean([1.0 - of_view["structure_correlation"] for of_view in scores.values()]))


def fit_reprojection(own: Sequence[float], other: Sequence[float]) -> ReprojectionCalibration:
    """The scale of distances measured on own and on other patients' radiographs.

    Raises InputError when there are none of either kind, or others are not farther in the median: then
    the model explains no patient better than any, and there is nothing to calibrate.
    """
    if not len(own) or not len(other):
        raise InputError(f"expected distances of own and of other radiographs, got {len(own)}, {len(other)}")
    middle = float(np.median(own)), float(np.median(other))
    if not middle[1] > middle[0]:
        raise InputError(
            "expected reconstructions nearer to their own radiographs than to others', got median distances "
            f"{middle[0]:.3f} and {middle[1]:.3f}"
        )
    order = [0.5 * (a == b) + (a < b) for a, b in product(own, other)]
    ranges = [(float(np.min(values)), float(np.max(values))) for values in (own, other)]
    return ReprojectionCalibration(*middle, *ranges, len(own), len(other), float(np.mean(order)))


def summarize(
    scores: Mapping[str, Mapping[str, float]],
    calibration: ReprojectionCalibration | None,
    tested: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The agreement of a result for JSON, report and panel; "score" is None without calibration.

    tested: scores on that scale of people it was not measured on: "own" by name, and "other".
    """
    found = distance(scores)
    by_view = {view: 1.0 - of_view["structure_correlation"] for view, of_view in scores.items()}
    facts: dict[str, Any] = {
        "distance": found, "distance_by_view": by_view, "independent": True, "cannot_see": NULL_SPACE,
    }  # fmt: skip
    if calibration is None:
        return {**facts, "score": None, "calibrated": False, "meaning": UNCALIBRATED}
    score = calibration.score(found)
    return {
        **facts,
        "score": score,
        "score_by_view": {view: calibration.score(value) for view, value in by_view.items()},
        "calibrated": True,
        "calibration": calibration.to_dict(),
        "meaning": " ".join([_meaning(score, calibration), *_tested(tested)]),
    }


def _meaning(score: float, calibration: ReprojectionCalibration) -> str:
    these = "The volume explains these radiographs"
    people = _count(calibration.own_count, "person", "people")
    own = f"those of the {people} new to it that the scale was measured on"
    if score <= EXPLAINS:
        told = f"{these} about as well as this model did {own}."
    elif score < FAILS:
        told = f"{these} less well than this model did {own}."
    else:
        told = f"{these} hardly better than another patient's volume would."
    others = _count(calibration.other_count, "comparison", "comparisons")
    return (
        f"{told} (0 is own radiographs, measured on {people}; 1 is another patient's, measured in {others}.)"
    )


def _tested(tested: Mapping[str, Any] | None) -> list[str]:
    """How the scale held on people it was not measured on, when that is known."""
    if not tested or not tested.get("own") or not tested.get("other"):
        return []
    own, other = sorted(tested["own"].values()), sorted(tested["other"])
    people, pairs = _count(len(own), "other person", "other people"), _count(len(other), "pair", "pairs")
    return [f"On {people} own radiographs scored {_range(own)}, another patient's {_range(other)} ({pairs})."]


def _range(values: Sequence[float]) -> str:
    low, high = f"{values[0]:.2f}", f"{values[-1]:.2f}"
    return low if low == high else f"{low} to {high}"


def _count(number: int, one: str, many: str) -> str:
    return f"one {one}" if number == 1 else f"{number} {many}"
