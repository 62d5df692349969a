"""`xrecon drr` on one CT, and on a folder of CTs: one after another, each whole or not at all.

A run on a folder goes on where it stopped: a CT whose files are there, undamaged, and were made from
the same source with the same options is not done again. A CT that fails does not stop the others; what
was not projected, and why, is told at the end and kept in the folder's drr.json. A process that is
killed loses at most the CT it works on.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xrecon.drr.files import COMPARISON, STORE, SUMMARY, put_in_store, write_projected
from xrecon.drr.projection import DrrOptions, Source, project_source, read_ct
from xrecon.io.atomic import atomic_write_text
from xrecon.io.checks import file_stem
from xrecon.io.folder import output_folder
from xrecon.outcome import Outcome, ProgressCallback
from xrecon.progress import json_text
from xrecon.training.store import Store, file_digest, open_store, source_digest
from xrecon.training.subjects import MANIFEST_NAME, SUFFIXES, Subject, find_subjects
from xrecon.volume import InputError

_PICTURES = ("dcm", "png", "nrrd")
_ABOUT = ("patient", "split", "attribution", "licence")


@dataclass
class _Run:
    """What has become of the CTs so far: numbers of those done, reasons for the others."""

    done: dict[str, dict[str, Any]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    not_used: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def told(self) -> list[str]:
        """Everything the user should know, one sentence each."""
        lost = [f"{name} was not projected: {reason}" for name, reason in self.failed.items()]
        return [*self.not_used, *self.warnings, *lost]


def drr(ct: Path, output: Path, options: DrrOptions, progress: ProgressCallback) -> Outcome:
    """Radiographs of a CT as DICOM DX, pictures and training case: all files of the CT or none."""
    _require_writable(output)
    progress("read", 0.0, str(ct))
    projected = project_source(Source(ct, source_digest(ct), read_ct(ct)), options, progress)
    outcome = write_projected(projected, output, file_stem(ct), options, progress)
    if "store" in options.formats:
        outcome.files["store"] = output / STORE
        put_in_store(projected, open_store(output / STORE, create=True), file_stem(ct), options)
    return outcome


def drr_folder(data: Path, output: Path, options: DrrOptions, progress: ProgressCallback) -> Outcome:
    """Radiographs of every CT in a folder: pictures in a folder of the CT's name, cases in one store.

    Raises InputError when there is no CT or none of them could be projected, and OSError when the
    output cannot be written; what was finished before stays.
    """
    if options.geometries is not None or options.isocenter is not None:
        raise InputError("expected one CT for geometries or an isocentre in LPS mm, got a folder of CTs")
    run = _Run()
    subjects = list_cts(data, run.not_used)
    _require_writable(output)
    store = open_store(output / STORE, create=True) if "store" in options.formats else None
    for number, subject in enumerate(subjects):
        progress("project", number / len(subjects), f"{subject.name} ({number + 1} of {len(subjects)})")
        _one(subject, output, options, store, run)
    if not run.done:
        reasons = list(run.failed.values()) or run.not_used
        raise InputError(f"expected CTs to project in {data}, found none: {'; '.join(reasons[:3])}")
    _tell_folder(run, output, store)
    progress("project", 1.0, "done")
    files = {name: output / name if _has_pictures(options) else output / STORE for name in run.done}
    numbers = {"subjects": run.done, "skipped": run.skipped, "failed": run.failed}
    text = f"{len(run.done)} CTs, {len(run.skipped)} of them done before; {len(run.failed)} failed"
    return Outcome(files, numbers, text, run.told())


def _require_writable(output: Path) -> None:
    """Raises OutputError for an output that cannot be written, before the work and not after it."""
    with output_folder(output):
        pass


def list_cts(data: Path, notes: list[str]) -> list[Subject]:
    """The CTs of a folder as `training.subjects.find_subjects` finds them, but without reading any.

    Whether a file is a CT shows when its turn comes. Raises InputError when there is none, or two have
    one name.
    """
    data = Path(data)
    if (data / MANIFEST_NAME).is_file() or not data.is_dir():
        return find_subjects(data, notes)
    found: dict[str, Path] = {}
    for path in sorted(data.iterdir()):
        is_series = path.is_dir() and any(path.glob("*.dcm"))
        if not is_series and not (path.is_file() and path.name.lower().endswith(SUFFIXES)):
            continue
        if path.name.lower().endswith(".seg.nrrd"):
            notes.append(f"not used: {path} is a segmentation")
            continue
        name = path.name if is_series else file_stem(path)
        if name in found:
            raise InputError(
                f"expected a name of its own for every CT, got {name!r} for {found[name]} and {path}: name "
                f"them in the column 'name' of {MANIFEST_NAME}"
            )
        found[name] = path
    if not found:
        raise InputError(f"expected CTs ({', '.join(SUFFIXES)} or DICOM folders) in {data}, found none")
    return [Subject(name, path, name) for name, path in found.items()]


# -- one CT ------------------------------------------------------------------------------------
def _one(subject: Subject, output: Path, options: DrrOptions, store: Store | None, run: _Run) -> None:
    """Projects and writes a CT unless that is done; what is wrong with this CT is noted in `run`.

    Raises OSError when the output cannot be written.
    """
    folder = output / subject.name
    try:
        digest = source_digest(subject.path)
        pictures = _finished_pictures(folder, digest, options) if _has_pictures(options) else {}
        stored = store is None or store.holds(subject.name, digest, options.to_dict())
        if pictures is not None and stored:
            run.done[subject.name] = pictures
            run.skipped.append(subject.name)
            return
        try:
            source = Source(subject.path, digest, read_ct(subject.path))
        except InputError as error:  # label maps, damaged files: named, not silently lost
            run.not_used.append(f"not used: {error}")
            return
        projected = project_source(source, options, _silent)
    except Exception as error:  # one CT must not stop the others, whatever is wrong with it
        run.failed[subject.name] = _reason(error)
        return
    try:
        if pictures is None:
            _remove_leftovers(folder)
            pictures = write_projected(projected, folder, subject.name, options, _silent).numbers
        if not stored:
            about = {name: getattr(subject, name) for name in _ABOUT}
            put_in_store(projected, store, subject.name, options, about)
    except InputError as error:
        run.failed[subject.name] = _reason(error)
        return
    run.done[subject.name] = pictures
    run.warnings += [f"{subject.name}: {note}" for note in projected.warnings]


def _finished_pictures(folder: Path, digest: str, options: DrrOptions) -> dict[str, Any] | None:
    """The numbers of a CT's drr.json when it says that these pictures were made, and they are undamaged."""
    try:
        numbers = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        wanted = {suffix for suffix in options.formats if suffix in _PICTURES}
        made = {Path(name).suffix.lstrip(".") for name in numbers["files"].values()}
        same = numbers["source_sha256"] == digest and numbers["options"] == options.to_dict()
        films = [film.name for film in options.films]
        page = not options.compare or (COMPARISON in numbers["sha256"] and numbers["films"] == films)
        if not (same and page and wanted <= made):
            return None
        if any(file_digest(folder / name) != told for name, told in numbers["sha256"].items()):
            return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # none, or of another version
        return None
    return numbers


def _remove_leftovers(folder: Path) -> None:
    """Hidden folders of a run that was killed while it wrote this CT."""
    for path in folder.glob(".xrecon-*.part"):
        shutil.rmtree(path, ignore_errors=True)


def _has_pictures(options: DrrOptions) -> bool:
    return any(suffix in _PICTURES for suffix in options.formats) or options.compare


def _reason(error: Exception) -> str:
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.strerror or error}: {error.filename}" if error.filename else str(error)
    return f"{type(error).__name__}: {error}"


def _silent(*_: object) -> None:
    """No progress within a CT."""


def _tell_folder(run: _Run, output: Path, store: Store | None) -> None:
    """What became of the CTs, for whoever looks into the folder tomorrow."""
    if store is not None:
        store.note_failures(run.failed)
    told = {"subjects": list(run.done), "failed": run.failed, "not_used": run.not_used}
    atomic_write_text(output / SUMMARY, json_text(told))
