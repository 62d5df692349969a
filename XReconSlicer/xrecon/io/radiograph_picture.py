"""Radiographs from pictures: PNG, TIFF, JPEG by pillow; 2D NRRD, NIfTI, MetaImage by ITK."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from xrecon.io.checks import file_suffix, read_itk
from xrecon.io.dicom_frames import chosen_frame
from xrecon.io.radiograph_facts import Facts, NotARadiographError, Picture, implausible_spacing
from xrecon.volume import InputError

_PILLOW_SUFFIXES = (".png", ".tif", ".tiff", ".jpg", ".jpeg")
_ITK_SUFFIXES = (".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd")
PICTURE_SUFFIXES = _PILLOW_SUFFIXES + _ITK_SUFFIXES


def read_picture(path: Path, frame: int | None = None) -> Picture:
    """The picture in a file of `PICTURE_SUFFIXES`, taken as bright = dense, with no view.

    A pixel spacing other than 1 mm in an NRRD, NIfTI or MetaImage header is taken as that on the
    detector (Slicer keeps DICOM's ImagerPixelSpacing there); resolutions of pictures describe a
    screen or printer and are passed over, and so is a spacing that makes no chest detector.

    frame: which page or slice, from 1, of several. Raises InputError for colours, transparency, several
    pages or slices without a choice, or a damaged file.
    """
    facts = Facts("file header")
    if file_suffix(path) in _PILLOW_SUFFIXES:
        array, history = _by_pillow(path, frame)
    else:
        array, spacing = _by_itk(path, frame)
        history = ()
        if spacing != (1.0, 1.0):
            note = implausible_spacing(array.shape, spacing, "the pixel spacing of the file")
            history = (note,) if note else ()
            facts.put("pixel_spacing_mm", None if note else spacing)
    if array.dtype.kind in "iu" and array.dtype.itemsize <= 2:
        limits = np.iinfo(array.dtype)
        value_range = (float(limits.min), float(limits.max))
    elif np.isfinite(array).all():
        value_range = (float(array.min()), float(array.max()))
    else:
        value_range = (0.0, 0.0)  # refused later, with a message that counts the pixels
    return Picture(array.astype(np.float64), value_range, facts=facts, history=history)


def _by_pillow(path: Path, frame: int | None) -> tuple[np.ndarray, tuple[str, ...]]:
    """Grey values and notes. Grey pictures stored as colours (all channels equal) are taken."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            picture.seek(chosen_frame(getattr(picture, "n_frames", 1), frame, path, "picture"))
            mode = picture.mode
            array = np.array(picture.convert("RGB") if mode in ("P", "CMYK", "YCbCr") else picture)
            if mode == "I" and picture.format == "PNG":  # how older pillow gives 16 bits
                array = array.astype(np.uint16)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"expected a radiograph as a picture, cannot read {path}: {error}") from error
    if array.dtype == bool:
        raise InputError(f"expected grey values in {path}, got black and white only")
    if array.ndim == 2:
        return array, ()
    return _grey(array, mode, path), (f"grey values taken from a picture stored as {mode}",)


def _grey(array: np.ndarray, mode: str, path: Path) -> np.ndarray:
    """One channel of a picture (row, column, channel) whose colour channels are all equal."""
    channels = array
    if mode in ("LA", "RGBA", "PA"):
        channels, opacity = array[..., :-1], array[..., -1]
        if opacity.min() != np.iinfo(array.dtype).max:
            raise InputError(f"expected a radiograph without transparency, got {mode} in {path}")
    if not (channels == channels[..., :1]).all():
        raise NotARadiographError(f"expected a grey radiograph, got colours ({mode}) in {path}")
    return channels[..., 0]


def _by_itk(path: Path, frame: int | None) -> tuple[np.ndarray, tuple[float, float]]:
    """Array (row, column) and pixel spacing (row, column) of a 2D or single-slice image."""
    import SimpleITK as sitk

    image = read_itk(path, "a radiograph")
    if image.GetNumberOfComponentsPerPixel() != 1:
        count = image.GetNumberOfComponentsPerPixel()
        raise NotARadiographError(
            f"expected a grey radiograph, got {count} numbers per pixel (colours) in {path}"
        )
    size = image.GetSize()
    count = int(np.prod(size[2:])) if len(size) > 2 else 1
    if len(size) < 2 or (count > 1 and frame is None):
        sizes = " x ".join(map(str, size))
        raise InputError(
            f"expected one radiograph, got {sizes} voxels in {path}: is it a CT? For a stack of radiographs "
            f"choose one, from 1 to {count}"
        )
    index = chosen_frame(count, frame, path, "slice")
    column, row = image.GetSpacing()[:2]
    return sitk.GetArrayFromImage(image).reshape(-1, size[1], size[0])[index], (row, column)
