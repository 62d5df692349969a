"""Which CTs a model has seen: by name, by content, and by patient, all as its card keeps them.

A copy under another name has the content, another CT of a patient the patient. Cards of before have names
alone; a patient who is not named there is called as the CT, which is what a folder without a table does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xrecon.nets.card import ModelCard, TrainingData
from xrecon.nets.registry import record_qualities
from xrecon.training.subjects import Subject

NAMES, DATA = "validation_subjects", "validation_data"


@dataclass(frozen=True)
class Seen:
    """Names, SHA-256 of contents, and patients of CTs."""

    names: frozenset[str] = frozenset()
    contents: frozenset[str] = frozenset()
    patients: frozenset[str] = frozenset()

    def __or__(self, other: Seen) -> Seen:
        return Seen(self.names | other.names, self.contents | other.contents, self.patients | other.patients)

    def among(self, subjects: Sequence[Subject]) -> list[str]:
        """Names of the subjects that are among these CTs, by any of the three, sorted."""
        return sorted(s.name for s in subjects if self._has(s))

    def _has(self, subject: Subject) -> bool:
        contents = {subject.sha256, subject.origin_sha256} - {""}
        known = subject.name in self.names or subject.patient in self.patients
        return known or bool(contents & self.contents)


def trained_on(card: ModelCard) -> Seen:
    """The CTs that the weights were made from."""
    return _seen([data.model_dump() for data in card.training_data])


def validated_on(card: ModelCard) -> Seen:
    """The CTs that were looked at during the training."""
    names = card.quality.get(NAMES) or ()
    return _seen([{"subject": name} for name in names if name not in _told(card)]) | _seen(
        card.quality.get(DATA) or ()
    )


def measured_on(figures: Mapping[str, Any]) -> Seen:
    """The CTs that the constants of a card's trust figures were measured on."""
    told = figures.get("data") or ()
    known = {data["subject"] for data in told}
    names = [{"subject": name} for name in figures.get("subjects") or () if name not in known]
    return _seen([*told, *names])


def seen_in(subjects: Sequence[Subject]) -> Seen:
    """These CTs themselves."""
    return _seen([training_data(subject).model_dump() for subject in subjects])


def _told(card: ModelCard) -> set[str]:
    """Names of validation CTs of which the card says more."""
    return {data["subject"] for data in card.quality.get(DATA) or ()}


def _seen(rows: Sequence[Mapping[str, Any]]) -> Seen:
    names = frozenset(row["subject"] for row in rows)
    contents = frozenset(row["sha256"] for row in rows if row.get("sha256"))
    return Seen(names, contents, frozenset(row.get("patient") or row["subject"] for row in rows))


# -- writing ---------------------------------------------------------------------------------------
def training_data(subject: Subject) -> TrainingData:
    """What a card says of one subject; unknown rights are said to be unknown."""
    return TrainingData(
        subject=subject.name,
        attribution=subject.attribution or "not stated",
        licence=subject.licence or "not stated",
        sha256=subject.origin_sha256 or subject.sha256,
        patient=subject.patient,
    )


def record_validation(folder: str | Path, quality: Mapping[str, Any], subjects: Sequence[Subject]) -> None:
    """Writes validation figures into a card, and of which CTs they are: never the one without the other."""
    data = [training_data(subject).model_dump() for subject in subjects]
    names = [subject.name for subject in subjects]
    record_qualities(folder, {"validation": dict(quality), NAMES: names, DATA: data})
