"""A folder of projected CTs to train from: a file per case and a manifest that says what they are.

    manifest.json       schema version; per case: file, SHA-256, source, patient, licence, settings
    cases/<name>.npz    the CT as it was projected, and its radiographs

A case is a compressed NumPy archive without pickle: "hu" int16 (z, y, x), "radiograph_0", ... float32
(row, column), and "description", JSON text with the CT's grid (LPS mm) and, for each radiograph, its
geometry, view and quantity ("line integral", or what else was rendered).

Writing: a case file appears whole, then the manifest that names it. So a process that is killed loses
at most the case it works on, and whatever the manifest does not name, or names with another SHA-256,
is made again. One process writes the manifest; any number may read, or write cases of other names.

    store = open_store("radiographs")
    for name in store.cases:
        case = store.load(name)             # InputError when the file is damaged
        case.volume, case.radiographs       # Volume in HU; Radiographs with their ViewGeometry
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from xrecon.io.atomic import atomic_path, atomic_write_text
from xrecon.physics.geometry import ViewGeometry
from xrecon.volume import InputError, Quantity, Radiograph, Volume

MANIFEST, CASES, SCHEMA_VERSION = "manifest.json", "cases", 1
_INT16 = np.iinfo(np.int16)
_BLOCK = 1 << 20


@dataclass(frozen=True)
class CaseEntry:
    """What the manifest says of a case.

    file: relative to the store. sha256: of that file. source, source_sha256: name and content hash of
    the CT it was made from (`source_digest`). settings: everything that, with the source, determines
    the numbers, the seed included; plain JSON. made_by: versions of the software. shape, spacing_mm:
    of the CT, (z, y, x). views: what the radiographs are called, in their order.
    """

    name: str
    file: str
    sha256: str
    source: str
    source_sha256: str
    patient: str = ""
    split: str = ""
    attribution: str = ""
    licence: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    made_by: Mapping[str, str] = field(default_factory=dict)
    shape: tuple[int, int, int] = (0, 0, 0)
    spacing_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    views: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class StoredCase:
    """A case read back: the CT in HU, int16, and its radiographs, float32."""

    entry: CaseEntry
    volume: Volume
    radiographs: tuple[Radiograph, ...]


class Store:
    """A store's manifest and its cases; see the module. Made by `open_store`.

    cases: entries by name, sorted. failed: reasons by name of the CTs that could not be made into a
    case when the store was last written.
    """

    def __init__(self, folder: Path, cases: Mapping[str, CaseEntry], failed: Mapping[str, str]) -> None:
        self.folder = folder
        self._cases, self._failed = dict(sorted(cases.items())), dict(failed)

    @property
    def cases(self) -> Mapping[str, CaseEntry]:
        return MappingProxyType(self._cases)

    @property
    def failed(self) -> Mapping[str, str]:
        return MappingProxyType(self._failed)

    # -- reading -------------------------------------------------------------------------------
    def load(self, name: str) -> StoredCase:
        """The case of this name.

        Raises InputError when there is none, when its file is missing, or when the file's SHA-256 is
        not the manifest's.
        """
        if name not in self._cases:
            raise InputError(f"expected a case out of {list(self._cases)} in {self.folder}, got {name!r}")
        entry = self._cases[name]
        path = self.folder / entry.file
        try:
            data = path.read_bytes()
        except OSError as error:
            raise InputError(f"expected the case {name} in {path}: {error.strerror or error}") from error
        if hashlib.sha256(data).hexdigest() != entry.sha256:
            raise InputError(f"expected the SHA-256 of the manifest for {path}: the file is damaged")
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            return _case(entry, stored)

    def verify(self) -> dict[str, str]:
        """What is wrong with each case whose file is missing or damaged; {} when all are as written."""
        return {name: problem for name in self._cases if (problem := self._problem(name))}

    def holds(self, name: str, source_sha256: str, settings: Mapping[str, Any]) -> bool:
        """Whether the case was made from this source with these settings and its file is undamaged."""
        entry = self._cases.get(name)
        if entry is None or entry.source_sha256 != source_sha256:
            return False
        return _canonical(entry.settings) == _canonical(settings) and not self._problem(name)

    def _problem(self, name: str) -> str:
        entry = self._cases[name]
        path = self.folder / entry.file
        if not path.is_file():
            return f"{entry.file} is missing"
        return "" if file_digest(path) == entry.sha256 else f"{entry.file} is damaged"

    # -- writing -------------------------------------------------------------------------------
    def put(self, name: str, volume: Volume, radiographs: Sequence[Radiograph], **about: Any) -> CaseEntry:
        """Write a case, in place of an earlier one of its name, and the manifest; see `write_case`."""
        entry = write_case(self.folder, name, volume, radiographs, **about)
        self.record(entry)
        return entry

    def record(self, entry: CaseEntry) -> None:
        """Take a case that `write_case` wrote, perhaps in another process, into the manifest."""
        self._cases = dict(sorted({**self._cases, entry.name: entry}.items()))
        self._failed.pop(entry.name, None)
        self._write_manifest()

    def note_failures(self, failed: Mapping[str, str]) -> None:
        """Keep in the manifest why CTs (by name) are not in the store, in place of earlier reasons."""
        self._failed = dict(failed)
        self._write_manifest()

    def _write_manifest(self) -> None:
        data = {
            "schema": "xrecon training store",
            "schema_version": SCHEMA_VERSION,
            "cases": {name: asdict(entry) for name, entry in self._cases.items()},
            "failed": self._failed,
        }
        text = json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False)
        atomic_write_text(self.folder / MANIFEST, text + "\n")


def write_case(
    folder: str | Path,
    name: str,
    volume: Volume,
    radiographs: Sequence[Radiograph],
    *,
    source: str,
    source_sha256: str,
    settings: Mapping[str, Any],
    **about: Any,
) -> CaseEntry:
    """Write the file of a case into a store's folder; `Store.record` makes it part of the store.

    volume: the CT that was projected, in HU; rounded to whole numbers. radiographs: with their
    geometry. about: patient, split, attribution, licence, made_by.
    Raises InputError for a name that is no file name, a volume not in HU, or a radiograph without
    geometry; OSError when it cannot be written.
    """
    if Path(name).name != name or name in ("", ".", ".."):
        raise InputError(f"expected a case name without folders, got {name!r}")
    arrays = _arrays(volume, radiographs)
    file = f"{CASES}/{name}.npz"
    with atomic_path(Path(folder) / file) as temporary:
        np.savez_compressed(temporary, **arrays)
        digest = file_digest(temporary)
    return CaseEntry(
        name=name,
        file=file,
        sha256=digest,
        source=source,
        source_sha256=source_sha256,
        settings=json.loads(_canonical(settings)),
        shape=volume.shape,
        spacing_mm=volume.spacing,
        views=tuple(r.meta.get("view_name", r.view) for r in radiographs),
        **about,
    )


def open_store(folder: str | Path, *, create: bool = False) -> Store:
    """The store in a folder. `create`, to write into it: an empty one where there is none; half-written
    files of a writer that was killed are removed.

    Raises InputError when there is no store, its manifest is damaged, or it was written by a newer
    version.
    """
    folder = Path(folder)
    path = folder / MANIFEST
    if create:
        for leftover in (*folder.glob(".*.part.json"), *(folder / CASES).glob(".*.part.npz")):
            leftover.unlink(missing_ok=True)
    if not path.is_file():
        if not create:
            raise InputError(f"expected a training store (a folder with {MANIFEST}), got {folder}")
        return Store(folder, {}, {})
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        version = data["schema_version"]
        if version != SCHEMA_VERSION:
            raise InputError(f"expected schema version {SCHEMA_VERSION} of the store {folder}, got {version}")
        cases = {name: _entry(name, values) for name, values in data["cases"].items()}
        return Store(folder, cases, data.get("failed", {}))
    except KeyError as error:
        raise InputError(f"expected a training store's manifest in {path}: {error} is missing") from error
    except (ValueError, TypeError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"expected the manifest of a training store in {path}: {error}") from error


def _entry(name: str, values: Mapping[str, Any]) -> CaseEntry:
    values = {**values, **{key: tuple(values[key]) for key in ("shape", "spacing_mm", "views")}}
    unknown = set(values) - {f.name for f in fields(CaseEntry)}
    if values["name"] != name or unknown:
        told = f"{values['name']!r} with {sorted(unknown)}"
        raise InputError(f"expected the entry of the case {name}, got that of {told}")
    return CaseEntry(**values)


# -- numbers -----------------------------------------------------------------------------------
def _arrays(volume: Volume, radiographs: Sequence[Radiograph]) -> dict[str, np.ndarray]:
    """The entries of a case file."""
    if volume.quantity is not Quantity.HU:
        raise InputError(f"expected a CT in HU to store, got a volume of {volume.quantity.value}")
    rounded = np.clip(np.rint(volume.require_finite("the CT").array), _INT16.min, _INT16.max)
    description = {
        "volume": {
            "spacing": volume.spacing,
            "origin": volume.origin,
            "direction": volume.direction.tolist(),
            "meta": dict(volume.meta),
        },
        "radiographs": [_described(radiograph) for radiograph in radiographs],
    }
    arrays = {"hu": rounded.astype(np.int16), "description": np.array(json.dumps(description))}
    for number, radiograph in enumerate(radiographs):
        arrays[f"radiograph_{number}"] = radiograph.require_finite().array.astype(np.float32)
    return arrays


def _described(radiograph: Radiograph) -> dict[str, Any]:
    if radiograph.geometry is None:
        raise InputError("expected radiographs with a geometry to store, got one without")
    return {
        "geometry": radiograph.geometry.to_dict(),
        "quantity": radiograph.quantity.value,
        "view": radiograph.view,
        "history": list(radiograph.history),
        "meta": dict(radiograph.meta),
    }


def _case(entry: CaseEntry, stored: Mapping[str, np.ndarray]) -> StoredCase:
    description = json.loads(str(stored["description"]))
    radiographs = tuple(
        Radiograph(
            stored[f"radiograph_{number}"],
            ViewGeometry.from_dict(told["geometry"]),
            told["quantity"],
            told["view"],
            tuple(told["history"]),
            told["meta"],
        )
        for number, told in enumerate(description["radiographs"])
    )
    return StoredCase(entry, Volume(stored["hu"], **description["volume"]), radiographs)


def _canonical(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True, allow_nan=False)


# -- hashes ------------------------------------------------------------------------------------
def file_digest(path: str | Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def source_digest(path: str | Path) -> str:
    """SHA-256 of a CT's content: of its file, or of the names and hashes of all files in its folder."""
    path = Path(path)
    if not path.is_dir():
        return file_digest(path)
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        digest.update(f"{file.relative_to(path).as_posix()}\0{file_digest(file)}\n".encode())
    return digest.hexdigest()
