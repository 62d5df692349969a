"""Radiographs in files: DICOM CR/DX, pictures (PNG, TIFF, JPEG) and 2D NRRD, NIfTI, MetaImage.

Whatever the file, the `Radiograph` that comes out is bright = dense, laid out as the docstring of
`xrecon.physics.geometry` says, and its `meta` tells for each geometry value where it came from:
"argument" over "sidecar" over "DICOM" (or "file header") over "assumed".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from xrecon.io.atomic import atomic_path, atomic_write_text
from xrecon.io.checks import file_suffix, is_dicom, require_file, write_itk
from xrecon.io.radiograph_dicom import read_dicom_picture
from xrecon.io.radiograph_dicom_writer import write_radiograph_dicom
from xrecon.io.radiograph_facts import Facts, NotARadiographError, Picture, standard_view
from xrecon.io.radiograph_geometry import build_geometry, settled, to_convention
from xrecon.io.radiograph_picture import PICTURE_SUFFIXES, read_picture
from xrecon.io.radiograph_sidecar import apply_sidecar, quantized, sidecar_text
from xrecon.io.sidecar import free_sidecar_path
from xrecon.volume import InputError, Quantity, Radiograph

__all__ = [
    "NotARadiographError",
    "read_radiograph",
    "write_radiograph",
    "write_radiograph_dicom",
    "write_radiograph_nrrd",
    "write_radiograph_png",
]

# Entries of `meta` about a picture whose values follow the beam.
_SIGNAL = ("beam_relation", "no_beam_value")


def read_radiograph(
    path: str | Path,
    *,
    view: str = "",
    usual_view: str = "",
    invert: bool | None = None,
    source_to_detector_mm: float | None = None,
    source_to_isocenter_mm: float | None = None,
    pixel_spacing_mm: float | tuple[float, float] | None = None,
    frame: int | None = None,
    voi: bool = False,
) -> Radiograph:
    """A radiograph from a file, with its sidecar `<name>.json` if there is one.

    view: a name of `geometry.VIEWS` (or PA, AP, LL, RL), any case; "" takes what the file says.
    usual_view: the view to assume, and to mark as assumed, when neither `view` nor the file says it.
    invert: True when the stored picture shows dense as dark, False when not, None to go by the
        file (DICOM's photometric interpretation, the sidecar). In any case it is inverted at most
        once, and `history` says so.
    pixel_spacing_mm: distance of pixel centres on the detector, one number or (row, column).
    frame: number of the picture, from 1, in a file that holds several (a run of XA or RF, a TIFF of
        several pages, a stack).
    voi: apply DICOM's VOI LUT, the curve for the screen. Without it the values lie before that curve,
        nearer to what the detector measured; a LUT that falls counts for the polarity either way.

    The array is float32. It holds line integrals or log signals (`quantity`) when the file says so,
    as those written by this module do; else grey values for display. A picture that DICOM's
    PatientOrientation says is mirrored or turned is put into the layout of its view. C-arm angles
    give the geometry of any view; `view` is then the preset within 15 degrees, or "". The geometry is
    None when neither view nor angles are known.

    Raises FileNotFoundError when nothing is there, and InputError for a CT or another modality,
    several slices or frames when none is chosen, colours, NaN, a constant picture, a damaged or empty
    file, an unknown view, or values that make no geometry.
    """
    path = require_file(path, "a radiograph (DICOM, PNG, TIFF, NRRD, ...)")
    if is_dicom(path):
        picture = read_dicom_picture(path, frame, voi)
    elif file_suffix(path) in PICTURE_SUFFIXES:
        picture = read_picture(path, frame)
    else:
        raise InputError(f"expected a radiograph as DICOM or {', '.join(PICTURE_SUFFIXES)}, got {path}")
    picture = apply_sidecar(picture, path)
    arguments = Facts("argument")
    arguments.put("source_to_detector_mm", source_to_detector_mm)
    arguments.put("source_to_isocenter_mm", source_to_isocenter_mm)
    arguments.put("pixel_spacing_mm", pixel_spacing_mm)
    arguments.put("view", standard_view(view) if view else None)
    picture = picture.with_facts(arguments)
    if usual_view and picture.fact("view") is None:
        assumed = Facts("assumed")
        assumed.put("view", standard_view(usual_view))
        picture = picture.with_facts(assumed)
    return _radiograph(picture, invert, path)


def _radiograph(picture: Picture, invert: bool | None, path: Path) -> Radiograph:
    if invert is not None and invert == picture.bright_is_dense:  # against what the file says of the beam
        picture = replace(picture, meta={k: v for k, v in picture.meta.items() if k not in _SIGNAL})
    array, history = _bright_is_dense(picture, invert, path)
    picture, view_notes = settled(picture.with_array(array))
    picture, notes = to_convention(picture)
    geometry, view, geometry_notes, meta = build_geometry(picture)
    return Radiograph(
        array=np.ascontiguousarray(picture.array, dtype=np.float32),
        geometry=geometry,
        quantity=picture.quantity,
        view=view,
        history=(*picture.history, *history, *view_notes, *notes, *geometry_notes),
        meta={**picture.meta, **meta, **_first_origins(picture.meta, meta), "file": path.name},
        covered=None if picture.covered is None else np.ascontiguousarray(picture.covered),
    ).require_finite(str(path))


def _first_origins(stored: Mapping[str, str], found: Mapping[str, str]) -> dict[str, str]:
    """Origins that this package recorded in a sidecar or in its own DICOM file, for values nobody has
    edited since: an assumption that was written down stays an assumption."""
    origins = {}
    for key, origin in found.items():
        value = key.removesuffix(".origin")
        unedited = stored.get(value, found.get(value)) == found.get(value)
        if value != key and origin in ("sidecar", "DICOM") and unedited:
            origins[key] = stored.get(key, origin)
    return origins


def _bright_is_dense(picture: Picture, invert: bool | None, path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """The array inverted if need be, within the range the file can store, and the note about it."""
    wanted = not picture.bright_is_dense if invert is None else invert
    if not wanted:
        return picture.array, ()
    if picture.quantity is not Quantity.DISPLAY:
        raise InputError(f"expected no inversion: {path} holds {picture.quantity}s, which are bright = dense")
    reason = picture.polarity if invert is None else "as asked"
    low, high = picture.value_range
    return (low + high) - picture.array, (f"inverted to bright = dense ({reason})",)


# -- writing -----------------------------------------------------------------------------------
def write_radiograph(radiograph: Radiograph, path: str | Path) -> None:
    """Write by extension: .dcm, .png or .nrrd. Raises as the function for that format does."""
    writers = {".dcm": write_radiograph_dicom, ".png": write_radiograph_png, ".nrrd": write_radiograph_nrrd}
    writer = writers.get(file_suffix(path))
    if writer is None:
        raise InputError(f"expected a file name ending in one of {', '.join(writers)}, got {path}")
    writer(radiograph, path)


def write_radiograph_png(radiograph: Radiograph, path: str | Path) -> None:
    """A 16-bit PNG, bright = dense, and a sidecar with scale, geometry, history and provenance.

    Values are rounded to a step that is a power of two and at most 1/32767 of their range, so
    that what reads back is written again bit for bit. Raises InputError when a value is not
    finite, OSError when the files cannot be written.
    """
    stored, scale, offset = quantized(radiograph)
    _write_with_sidecar(radiograph, stored, Path(path), scale, offset)


def write_radiograph_nrrd(radiograph: Radiograph, path: str | Path) -> None:
    """A 2D float32 NRRD (no rounding) and a sidecar. Raises as `write_radiograph_png` does."""
    radiograph.require_finite()
    _write_with_sidecar(radiograph, radiograph.array.astype(np.float32), Path(path), 1.0, 0.0)


def _write_with_sidecar(
    radiograph: Radiograph, stored: np.ndarray, path: Path, scale: float, offset: float
) -> None:
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(np.ascontiguousarray(stored))
    if radiograph.geometry is not None:
        image.SetSpacing(radiograph.geometry.pixel_spacing[::-1])
    with atomic_path(path) as temporary:
        write_itk(image, temporary)
        # Before the picture appears: a sidecar alone misleads nobody.
        atomic_write_text(free_sidecar_path(path), sidecar_text(radiograph, path, scale, offset))
