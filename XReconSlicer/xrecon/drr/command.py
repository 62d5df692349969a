"""`xrecon drr` on one CT, and on a folder of CTs: one after another or on a cluster, each whole or not
at all.

A run on a folder goes on where it stopped: a CT whose files are there, undamaged, and were made from
the same source with the same options is not done again. A CT that fails does not stop the others; what
was not projected, and why, is told at the end and kept in the folder's drr.json. A process that is
killed loses at most the CT it works on.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xrecon.drr.files import COMPARISON, STORE, SUMMARY, read_films, write_projected, write_stored_case
from xrecon.drr.projection import DrrOptions, Source, project_source, read_ct
from xrecon.io.atomic import atomic_write_text
from xrecon.io.checks import file_stem
from xrecon.io.folder import output_folder
from xrecon.outcome import Outcome, ProgressCallback
from xrecon.progress import json_text
from xrecon.training.store import CaseEntry, Store, file_digest, open_store, source_digest
from xrecon.training.subjects import (
    MANIFEST_NAME,
    SUFFIXES,
    Subject,
    find_subjects,
    holds_dicom,
)
from xrecon.volume import InputError, Radiograph

if TYPE_CHECKING:
    from xrecon.drr.cluster import Cluster

_PICTURES = ("dcm", "png", "nrrd")
_ABOUT = ("patient", "split", "attribution", "licence")


@dataclass
class CtResult:
    """What has become of a CT of a folder.

    numbers: of its pictures, when it is done. skipped: it was done before. failed, not_used: why not.
    entry: of its case, to be recorded in the store.
    """

    name: str
    numbers: dict[str, Any] | None = None
    skipped: bool = False
    failed: str = ""
    not_used: str = ""
    warnings: list[str] = field(default_factory=list)
    entry: CaseEntry | None = None


def drr(ct: Path, output: Path, options: DrrOptions, progress: ProgressCallback) -> Outcome:
    """Radiographs of a CT as DICOM DX, pictures and training case: all files of the CT or none."""
    films = read_films(options.films)
    _refuse_folder_run(output)
    _require_writable(output)
    store = open_store(output / STORE, create=True) if "store" in options.formats else None
    progress("read", 0.0, str(ct))
    projected = project_source(Source(ct, source_digest(ct), read_ct(ct)), options, progress)
    outcome = write_projected(projected, output, file_stem(ct), options, progress, films)
    if store is not None:
        outcome.files["store"] = output / STORE
        entry = write_stored_case(projected, output / STORE, file_stem(ct), options)
        store.record(entry)
        outcome.warnings.extend(_mixed_looks(store))
    return outcome


def drr_folder(
    data: Path,
    output: Path,
    options: DrrOptions,
    progress: ProgressCallback,
    cluster: Cluster | None = None,
) -> Outcome:
    """Radiographs of every CT in a folder: pictures in a folder of the CT's name, cases in one store.

    cluster: where the CTs are projected; one after another in this process when None.
    Raises InputError when there is no CT or none of them could be projected, and OSError when the
    output cannot be written; what was finished before stays.
    """
    if options.geometries is not None or options.isocenter is not None:
        raise InputError("expected one CT for geometries or an isocentre in LPS mm, got a folder of CTs")
    notes: list[str] = []
    subjects = list_cts(data, notes)
    films = read_films(options.films)
    _require_writable(output)
    store = open_store(output / STORE, create=True) if "store" in options.formats else None
    found: dict[str, CtResult] = {}
    for result in _results(subjects, output, options, films, cluster, progress):
        found[result.name] = result
        if result.entry is not None:
            store.record(result.entry)
    outcome = _summary([found[subject.name] for subject in subjects], notes, data, output, options, store)
    progress("project", 1.0, "done")
    return outcome


def _results(
    subjects: Sequence[Subject],
    output: Path,
    options: DrrOptions,
    films: Sequence[Radiograph],
    cluster: Cluster | None,
    progress: ProgressCallback,
) -> Iterator[CtResult]:
    """What becomes of each CT, in the order in which they are ready."""
    total = len(subjects)
    if cluster is None:
        for number, subject in enumerate(subjects):
            progress("project", number / total, f"{subject.name} ({number + 1} of {total})")
            yield project_ct(subject, output, options, films)
        return
    from xrecon.drr.cluster import run_on_cluster

    work = partial(project_ct, output=output.absolute(), options=options, films=films)
    progress("project", 0.0, f"{total} CTs on {cluster}")
    for number, (subject, result) in enumerate(run_on_cluster(work, subjects, cluster), start=1):
        if isinstance(result, OSError):  # the output cannot be written: no CT will fare better
            raise result
        progress("project", number / total, f"{subject.name} ({number} of {total} done)")
        yield CtResult(subject.name, failed=_reason(result)) if isinstance(result, Exception) else result


def _summary(
    results: Sequence[CtResult],
    notes: list[str],
    data: Path,
    output: Path,
    options: DrrOptions,
    store: Store | None,
) -> Outcome:
    """What became of the CTs, told, and kept for whoever looks into the folder tomorrow."""
    done = {r.name: r.numbers for r in results if r.numbers is not None}
    failed = {r.name: r.failed for r in results if r.failed}
    not_used = [*notes, *(r.not_used for r in results if r.not_used)]
    if not done:
        reasons = list(failed.values()) or not_used
        raise InputError(f"expected CTs to project in {data}, found none: {'; '.join(reasons[:3])}")
    if store is not None:
        store.note_failures(failed)
        not_used += _mixed_looks(store)
    told = {"subjects": list(done), "failed": failed, "not_used": not_used}
    atomic_write_text(output / SUMMARY, json_text(told))
    skipped = [r.name for r in results if r.skipped]
    files = {name: output / name if _has_pictures(options) else output / STORE for name in done}
    text = f"{len(done)} CTs, {len(skipped)} of them done before; {len(failed)} failed"
    warnings = [f"{r.name}: {note}" for r in results for note in r.warnings]
    lost = [f"{name} was not projected: {reason}" for name, reason in failed.items()]
    numbers = {"subjects": done, "skipped": skipped, "failed": failed}
    return Outcome(files, numbers, text, [*not_used, *warnings, *lost])


def _mixed_looks(store: Store) -> list[str]:
    """A warning when cases of a store were taken in different ways."""
    looks = {json.dumps(case.settings.get("radiography"), sort_keys=True) for case in store.cases.values()}
    if len(looks) < 2:
        return []
    return [f"the store {store.folder} holds radiographs of {len(looks)} different looks: train from one"]


def _refuse_folder_run(output: Path) -> None:
    """One CT's summary would take the place of that of all CTs of an earlier run."""
    try:
        told = json.loads((output / SUMMARY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    if isinstance(told, dict) and "subjects" in told:
        raise InputError(f"expected another output folder for one CT, got {output} of a run over a folder")


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
        is_series = path.is_dir() and holds_dicom(path)
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
def project_ct(
    subject: Subject, output: Path, options: DrrOptions, films: Sequence[Radiograph] = ()
) -> CtResult:
    """Projects and writes a CT of a folder unless that is done; what is wrong with it is in the result.

    The case is written, but not recorded in the store, so that many processes can do this at once.
    Raises OSError when the output cannot be written.
    """
    folder, result = output / subject.name, CtResult(subject.name)
    try:
        digest = source_digest(subject.path)
        pictures = _finished_pictures(folder, digest, options) if _has_pictures(options) else {}
        stored = "store" not in options.formats or open_store(output / STORE, create=True).holds(
            subject.name, digest, options.to_dict()
        )
        if pictures is not None and stored:
            result.numbers, result.skipped = pictures, True
            return result
        try:
            source = Source(subject.path, digest, read_ct(subject.path))
        except InputError as error:  # label maps, damaged files: named, not silently lost
            result.not_used = f"not used: {error}"
            return result
        projected = project_source(source, options, _silent)
    except Exception as error:  # one CT must not stop the others, whatever is wrong with it
        result.failed = _reason(error)
        return result
    try:
        if pictures is None:
            _remove_leftovers(folder)
            pictures = write_projected(projected, folder, subject.name, options, _silent, films).numbers
        if not stored:
            about = {name: getattr(subject, name) for name in _ABOUT}
            result.entry = write_stored_case(projected, output / STORE, subject.name, options, about)
    except InputError as error:
        result.failed = _reason(error)
        return result
    result.numbers, result.warnings = pictures, list(projected.warnings)
    return result


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
