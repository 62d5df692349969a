"""Sidecars: `<name>.json` beside an image, for what its format cannot hold.

A sidecar that names another file under "file" belongs to that one and is passed over, so that
`ct.nii.gz` and `ct.mha`, or `drr.png` and `drr.dcm`, can lie in one folder. Where both of two want
one, the second has it under its whole name: `drr.json` for `drr.png`, `drr.nrrd.json` for `drr.nrrd`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xrecon.io.checks import file_stem
from xrecon.volume import InputError, Quantity


def sidecar_path(path: str | Path) -> Path:
    """`<name>.json` for `<name>.nii.gz`, `<name>.png`, ..., or `<name>.png.json` where that exists."""
    whole = _whole_name(path)
    return whole if whole.is_file() else Path(path).with_name(f"{file_stem(path)}.json")


def free_sidecar_path(path: str | Path) -> Path:
    """Where to write the sidecar of an image without taking that of another one that is there."""
    usual = sidecar_path(path)
    try:
        data = json.loads(usual.read_text(encoding="utf-8"))
        other = data.get("file", Path(path).name)
        taken = other != Path(path).name and usual.with_name(other).is_file()
    except (OSError, ValueError, AttributeError, TypeError):  # none, or another program's
        return usual
    return _whole_name(path) if taken else usual


def _whole_name(path: str | Path) -> Path:
    return Path(path).with_name(f"{Path(path).name}.json")


def read_json(path: str | Path) -> dict[str, Any]:
    """The sidecar of an image, {} when there is none or it belongs to another file or program.

    A list or a number is no sidecar of this package. Raises InputError when it is no JSON at all.
    """
    sidecar = sidecar_path(path)
    if not sidecar.is_file():
        return {}
    try:
        data = json.loads(sidecar.read_text(encoding="utf-8"))
    except ValueError as error:  # not JSON, or not UTF-8
        raise InputError(f"expected JSON in {sidecar}, the sidecar of {Path(path).name}: {error}") from error
    if not isinstance(data, dict):
        return {}
    return {} if data.get("file", Path(path).name) != Path(path).name else data


def json_text(data: Mapping[str, Any]) -> str:
    """Readable JSON that keeps every bit of a float."""
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


# -- volumes -----------------------------------------------------------------------------------
_FORMAT = "xrecon volume"
RECORD_FORMAT = "xrecon reconstruction"


def provenance_text(
    path: str | Path, quantity: Quantity, meta: Mapping[str, str], record: Mapping[str, Any] | None = None
) -> str:
    """The sidecar of a volume in a format without free fields; record: see `read_record`."""
    data = {"format": _FORMAT, "file": Path(path).name, "quantity": quantity.value, "meta": dict(meta)}
    return json_text(data if record is None else {**data, "record": dict(record)})


def read_record(path: str | Path) -> dict[str, Any]:
    """What the file beside a volume tells of its making, {} when it tells nothing.

    Of a reconstruction, by the names of `pipelines.Reconstruction.to_dict`: the model with the checksum of
    its weights, the source images, the views with their geometry and the origin of each of its values, the
    scores and the warnings. It is in `reconstruction.json` beside `reconstruction.nrrd`, and goes along
    when `xrecon export` writes the volume in another format.
    Raises InputError when the sidecar is not JSON.
    """
    data = read_json(path)
    if data.get("format") == RECORD_FORMAT:
        return {key: value for key, value in data.items() if key not in ("format", "file", "files")}
    record = data.get("record", {}) if data.get("format") == _FORMAT else {}
    return record if isinstance(record, dict) else {}


def read_provenance(path: str | Path) -> tuple[Quantity | None, dict[str, str]]:
    """Quantity and provenance from a volume's sidecar; (None, {}) when it has none of ours.

    Raises InputError when the sidecar is not JSON or names an unknown quantity.
    """
    data = read_json(path)
    if data.get("format") != _FORMAT:
        return None, {}
    try:
        quantity = Quantity(data["quantity"])
    except (KeyError, ValueError) as error:
        names = [q.value for q in Quantity]
        raise InputError(f"expected a quantity out of {names} in {sidecar_path(path)}") from error
    return quantity, {str(key): str(value) for key, value in data.get("meta", {}).items()}
