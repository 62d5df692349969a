"""The radiographs of a command line: which file is which view, and what the user says about them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xrecon.volume import InputError, Radiograph


@dataclass(frozen=True)
class RadiographOptions:
    """What the user says about the radiographs; None leaves it to the files."""

    source_to_detector_mm: float | None = None
    source_to_isocenter_mm: float | None = None
    pixel_spacing_mm: float | None = None
    lateral_side: str | None = None
    invert_pa: bool | None = None
    invert_lateral: bool | None = None
    frame_pa: int | None = None
    frame_lateral: int | None = None
    voi: bool = False
    skip: tuple[str, ...] = ()


def read_views(
    pa: Path | None, lateral: Path | None, options: RadiographOptions, others: Sequence[Path] = ()
) -> list[Radiograph]:
    """The frontal and the lateral radiograph, as far as given, and `others` of any view.

    A view recorded in the file is believed: InputError when a lateral is given as frontal or the
    other way round, when two paths name one file, and when there is no radiograph at all.
    """
    one_file = pa and lateral and pa.exists() and lateral.exists() and pa.samefile(lateral)
    if one_file and options.frame_pa == options.frame_lateral:
        raise InputError(f"expected two different radiographs, got {pa} as both --pa and --lateral")
    side = f"{options.lateral_side.upper()} LATERAL" if options.lateral_side else ""
    views = []
    if pa:
        given = _given(options, options.invert_pa, options.frame_pa)
        views.append(_read_view(pa, "frontal", "", "PA", given))
    if lateral:
        given = _given(options, options.invert_lateral, options.frame_lateral)
        views.append(_read_view(lateral, "lateral", side, "LEFT LATERAL", given))
    views += [_read_other(path, options) for path in others]
    if not views:
        raise InputError("expected radiographs (--pa, --lateral or --radiographs), got none")
    return views


def _read_other(path: Path, options: RadiographOptions) -> Radiograph:
    from xrecon.io.radiograph import read_radiograph

    radiograph = read_radiograph(path, **_given(options, None))
    if radiograph.geometry is None:
        raise InputError(
            f"expected a radiograph that says how its view stands (view or angles), got {path}: give a "
            "frontal one with --pa, a lateral one with --lateral"
        )
    return _with_checksum(radiograph, path)


def _read_view(path: Path, kind: str, wished: str, usual: str, given: Mapping[str, Any]) -> Radiograph:
    from xrecon.io.radiograph import read_radiograph
    from xrecon.preprocess.views import view_kind

    radiograph = read_radiograph(path, **given)
    if radiograph.view and view_kind(radiograph.view) != kind:
        raise InputError(f"expected a {kind} radiograph, but {path} is recorded as {radiograph.view}")
    if wished or not radiograph.view or radiograph.geometry is None:
        radiograph = read_radiograph(path, view=wished or radiograph.view, usual_view=usual, **given)
    return _with_checksum(radiograph, path)


def _with_checksum(radiograph: Radiograph, path: Path) -> Radiograph:
    with open(path, "rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return replace(radiograph, meta={**radiograph.meta, "sha256": digest})


def _given(options: RadiographOptions, invert: bool | None, frame: int | None = None) -> dict[str, Any]:
    """What the user says of every radiograph, as `read_radiograph` takes it."""
    spacing = options.pixel_spacing_mm
    return {
        "invert": invert,
        "source_to_detector_mm": options.source_to_detector_mm,
        "source_to_isocenter_mm": options.source_to_isocenter_mm,
        "pixel_spacing_mm": None if spacing is None else (spacing, spacing),
        "frame": frame,
        "voi": options.voi,
    }
