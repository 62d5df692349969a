"""Volumes in files: NRRD, NIfTI and MetaImage in and out, DICOM CT series in.

Exactness of a round trip: the array is bit-equal in every format. NRRD and MetaImage keep the
grid to 1e-9 mm. NIfTI stores its affine in 32-bit floats, so a grid comes back within about
1e-4 mm at 1 m from the origin (well inside `volume.GRID_TOLERANCE_MM`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xrecon.io.atomic import atomic_path, atomic_write_text
from xrecon.io.checks import file_suffix, is_dicom, read_itk, require_file, require_whole_nifti, write_itk
from xrecon.io.sidecar import free_sidecar_path, provenance_text, read_provenance
from xrecon.provenance import for_files
from xrecon.volume import InputError, Quantity, Volume

if TYPE_CHECKING:
    import SimpleITK

READ_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
WRITE_SUFFIXES = (".nrrd", ".nii", ".nii.gz", ".mha")
# NRRD holds provenance as key:=value lines with this prefix; the others get a sidecar.
META_PREFIX = "xrecon."


def read_volume(path: str | Path, quantity: Quantity = Quantity.HU) -> Volume:
    """A volume from a file (NIfTI, NRRD, MetaImage) or from a folder (its largest DICOM CT series).

    `quantity` says what the numbers should be; a file written by this package that says
    otherwise is refused. Labels stored as floating point are converted to integers. Numbers come
    as the file has them, so padding below -1024 HU is kept. `meta` gets "file", the name.

    Raises FileNotFoundError when nothing is there, and InputError for what is not one 3D image
    of finite numbers: a picture, a colour or time series, a radiograph, another modality, a
    folder without CT, a series with missing slices, a damaged or empty file.
    """
    path, quantity = Path(path), Quantity(quantity)
    what = "a CT volume" if quantity is Quantity.HU else f"a volume ({quantity.value})"
    if path.is_dir():
        from xrecon.io.dicom_series import read_series

        _expect_quantity(Quantity.HU, quantity, path)
        return read_series(path).require_finite(str(path))
    require_file(path, f"{what} as a file or a DICOM folder")
    if is_dicom(path):
        from xrecon.io.dicom_series import refuse_single_file

        refuse_single_file(path)
    if file_suffix(path) == ".seg.nrrd":
        from xrecon.io.segmentation import read_segmentation

        _expect_quantity(Quantity.LABEL, quantity, path)
        return read_segmentation(path)[0]
    if file_suffix(path) not in READ_SUFFIXES:
        raise InputError(f"expected {what} as {', '.join(READ_SUFFIXES)} or a DICOM folder, got {path}")
    return _from_file(path, quantity, what)


def _from_file(path: Path, quantity: Quantity, what: str) -> Volume:
    if file_suffix(path) in (".nii", ".nii.gz"):
        require_whole_nifti(path, what)
    image = read_itk(path, what)
    try:
        volume = from_sitk(image, quantity)
    except InputError as error:
        raise InputError(f"{error} in {path}") from error
    stored, meta = read_provenance(path)
    if stored is not None:
        _expect_quantity(stored, quantity, path)
    volume = volume.require_finite(str(path))
    array = _as_labels(volume.array, path) if quantity is Quantity.LABEL else volume.array
    return volume.with_array(array, **{**meta, "file": path.name})


def _expect_quantity(stored: Quantity, wanted: Quantity, path: Path) -> None:
    if stored is not wanted:
        raise InputError(f"expected numbers that are {wanted.value!r}, but {path} holds {stored.value!r}")


def _as_labels(array: np.ndarray, path: Path) -> np.ndarray:
    """Integers from labels that a program stored as floating point."""
    if np.issubdtype(array.dtype, np.integer):
        return array
    labels = np.rint(array)
    if not np.array_equal(labels, array):
        raise InputError(f"expected whole numbers as labels, {path} has fractions: is it an image?")
    return labels.astype(np.int16 if np.abs(labels).max() < 2**15 else np.int32)


def write_volume(volume: Volume, path: str | Path, record: Mapping[str, Any] | None = None) -> None:
    """Write a volume by extension: .nrrd, .nii, .nii.gz or .mha, compressed, whole or not at all.

    Grid, quantity and `meta` (as `provenance.for_files` gives it) are kept: NRRD in fields "xrecon.*",
    the others in a sidecar `<name>.json` beside the image. Truth values become uint8, float16 becomes
    float32. record: more about the making of the volume (scores, views, their geometry), for the sidecar,
    which NRRD then gets too; `sidecar.read_record` reads it.

    Raises InputError for another extension, OSError (naming the folder) when it cannot be written.
    """
    path = Path(path)
    suffix = file_suffix(path)
    if suffix == ".seg.nrrd":
        raise InputError(f"expected xrecon.io.segmentation.write_segmentation for {path}")
    if suffix not in WRITE_SUFFIXES:
        raise InputError(f"expected a file name ending in one of {', '.join(WRITE_SUFFIXES)}, got {path}")
    volume = replace(volume, meta=for_files(volume.meta))
    image = to_sitk(volume)
    with atomic_path(path) as temporary:
        if suffix != ".nrrd":
            for key in image.GetMetaDataKeys():  # MetaImage would write them, but breaks at line ends
                image.EraseMetaData(key)
        write_itk(image, temporary)
        if suffix != ".nrrd" or record is not None:
            # Before the image appears: a sidecar alone misleads nobody.
            text = provenance_text(path, volume.quantity, volume.meta, record)
            atomic_write_text(free_sidecar_path(path), text)


def to_sitk(volume: Volume) -> SimpleITK.Image:
    """The volume as a SimpleITK image (LPS, index order x, y, z), `meta` in its dictionary."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(storable(volume.array))
    image.SetSpacing(volume.spacing[::-1])
    image.SetOrigin(volume.origin)
    image.SetDirection(volume.direction.ravel().tolist())
    for key, value in {**volume.meta, "quantity": volume.quantity.value}.items():
        image.SetMetaData(META_PREFIX + key, str(value))
    return image


def from_sitk(image: SimpleITK.Image, quantity: Quantity = Quantity.HU) -> Volume:
    """A SimpleITK image as a Volume; "xrecon.*" entries of its dictionary become `meta`.

    Raises InputError when the image is not 3D with more than one slice, has several components
    (colour, vectors), or its dictionary says that it holds another quantity.
    """
    import SimpleITK as sitk

    size = image.GetSize()
    while len(size) > 3 and size[-1] == 1:  # NIfTI from other programs: one time point
        image = image[(slice(None),) * (len(size) - 1) + (0,)]
        size = image.GetSize()
    if image.GetNumberOfComponentsPerPixel() != 1:
        count = image.GetNumberOfComponentsPerPixel()
        raise InputError(f"expected one number per voxel, got {count} (colour or vectors)")
    if len(size) != 3 or size[2] < 2:
        raise InputError(f"expected a 3D image with several slices, got size {' x '.join(map(str, size))}")
    meta = {
        key.removeprefix(META_PREFIX): image.GetMetaData(key)
        for key in image.GetMetaDataKeys()
        if key.startswith(META_PREFIX)
    }
    stored = meta.pop("quantity", None)
    if stored is not None and stored != Quantity(quantity).value:
        raise InputError(f"expected numbers that are {Quantity(quantity).value!r}, got {stored!r}")
    return Volume(
        array=sitk.GetArrayFromImage(image),
        spacing=image.GetSpacing()[::-1],
        origin=image.GetOrigin(),
        direction=np.array(image.GetDirection()).reshape(3, 3),
        quantity=quantity,
        meta=meta,
    )


# What neither ITK's writers nor Slicer take, and what holds the same numbers.
_STORABLE: Mapping[str, type] = {"bool": np.uint8, "float16": np.float32}


def storable(array: np.ndarray) -> np.ndarray:
    """The same numbers in a type and byte order that ITK and Slicer can store.

    64-bit integers become 32-bit when they fit (Slicer reads no 64-bit images).
    """
    array = np.ascontiguousarray(array)
    if array.dtype.name in _STORABLE:
        return array.astype(_STORABLE[array.dtype.name])
    if array.dtype.kind in "iu" and array.dtype.itemsize == 8:
        small = np.iinfo(np.int32)
        if small.min <= array.min() and array.max() <= small.max:
            return array.astype(np.int32)
    return array.astype(array.dtype.newbyteorder("="), copy=False)
