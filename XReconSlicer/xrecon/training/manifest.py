"""Which CTs a run is trained on, by content: `subjects.json` in the folder of the run.

    subjects    per CT: file, patient, split, SHA-256 of its content, size and time of change
    left_out    per CT that is not used: why; notes: files that were no CTs, and the like
    splits.json beside it holds the names per split

The hash tells an exchanged CT from a moved one, and finds one CT under two names: both then count
as one patient, so that it cannot be in two splits.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from xrecon.io.atomic import atomic_write_text
from xrecon.training.store import source_digest
from xrecon.training.subjects import SPLITS, Subject
from xrecon.volume import InputError

SUBJECTS_NAME, SPLITS_NAME, VERSION = "subjects.json", "splits.json", 1


@dataclass
class Manifest:
    """The CTs of a run; `left_out` is filled while they are read."""

    subjects: list[Subject]
    splits: dict[str, list[str]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def chosen(self, split: str) -> list[Subject]:
        """The subjects of a split that can be used."""
        names = set(self.splits[split])
        return [s for s in self.subjects if s.name in names and s.name not in self.left_out]

    def write(self, folder: Path) -> None:
        """Writes both files, each whole."""
        split_of = {name: split for split in SPLITS for name in self.splits[split]}
        rows = {s.name: _row(s, split_of.get(s.name, "")) for s in self.subjects}
        content = {
            "version": VERSION,
            "subjects": rows,
            "left_out": self.left_out,
            "notes": self.notes,
        }
        atomic_write_text(folder / SPLITS_NAME, json.dumps(self.splits, indent=2) + "\n")
        atomic_write_text(folder / SUBJECTS_NAME, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def identify(subjects: Sequence[Subject], folder: Path, notes: list[str]) -> list[Subject]:
    """The subjects with their content hashes, and one patient for all names of one CT.

    A hash that a manifest in `folder` gives for a file of the same size and time of change is
    believed; other files are read. Raises InputError when one CT is given as two patients in
    different splits.
    """
    known = _known(folder / SUBJECTS_NAME)
    identified: list[Subject] = []
    first_of: dict[str, Subject] = {}
    for subject in subjects:
        try:
            digest = subject.sha256 or known.get(_fingerprint(subject.path)) or source_digest(subject.path)
        except OSError as error:
            notes.append(f"not used: {subject.path} cannot be read: {error.strerror or error}")
            continue
        subject = replace(subject, sha256=digest)
        twin = first_of.setdefault(subject.origin_sha256 or digest, subject)
        if twin.patient != subject.patient:
            if twin.split != subject.split:
                raise InputError(
                    f"expected each CT in one split, but {twin.name} ({twin.split or 'no split'}) and "
                    f"{subject.name} ({subject.split or 'no split'}) have the same content"
                )
            notes.append(f"{subject.name} has the same content as {twin.name}: taken for one patient")
            subject = replace(subject, patient=twin.patient)
        identified.append(subject)
    return identified


def require_same_data(folder: Path, manifest: Manifest) -> None:
    """Raises InputError, naming the CTs, unless a begun run in `folder` had these CTs in these splits."""
    stored_splits = read_json(folder / SPLITS_NAME)
    if stored_splits != manifest.splits:
        changed = sorted({n for s in SPLITS for n in set(stored_splits.get(s, [])) ^ set(manifest.splits[s])})
        raise InputError(f"expected the patients of the run in {folder}, got another split: {changed}")
    stored = read_json(folder / SUBJECTS_NAME)
    try:
        before = {name: row["sha256"] for name, row in stored["subjects"].items()}
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(f"the run's {folder / SUBJECTS_NAME} is damaged: choose another folder") from error
    changed = sorted(s.name for s in manifest.subjects if before.get(s.name) != s.sha256)
    if changed:
        raise InputError(f"expected the CTs of the run in {folder}, got other content for {changed}")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of the run. Raises InputError when it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"the run's {path} cannot be read ({error}): choose another folder") from error


def _row(subject: Subject, split: str) -> dict[str, Any]:
    path, size, changed_ns = _fingerprint(subject.path)
    return {
        "path": path,
        "patient": subject.patient,
        "split": split,
        "sha256": subject.sha256,
        "bytes": size,
        "modified_ns": changed_ns,
    }


def _fingerprint(path: Path) -> tuple[str, int, int]:
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    stats = [file.stat() for file in files]
    return (
        str(path.absolute()),
        sum(s.st_size for s in stats),
        max((s.st_mtime_ns for s in stats), default=0),
    )


def _known(path: Path) -> Mapping[tuple[str, int, int], str]:
    """Hashes by fingerprint out of an earlier manifest; none when there is none to be read."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["subjects"].values()
        return {(row["path"], row["bytes"], row["modified_ns"]): row["sha256"] for row in rows}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
