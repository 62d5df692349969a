"""What every reader asks first: is there a file, of what kind, and can ITK read and write it?"""

from __future__ import annotations

import errno
import gzip
import math
import shutil
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xrecon.volume import InputError

if TYPE_CHECKING:
    import SimpleITK

COMPOUND_SUFFIXES = (".seg.nrrd", ".nii.gz")
DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")


def file_suffix(path: str | Path) -> str:
    """The extension in lower case, ".nii.gz" and ".seg.nrrd" as one; "" when there is none."""
    name = Path(path).name.lower()
    for suffix in COMPOUND_SUFFIXES:
        if name.endswith(suffix) and len(name) > len(suffix):
            return suffix
    return Path(name).suffix


def file_stem(path: str | Path) -> str:
    """The name without folder and without the extension that `file_suffix` finds."""
    name = Path(path).name
    return name[: len(name) - len(file_suffix(path))]


def require_file(path: str | Path, what: str) -> Path:
    """The path, if it is a file with something in it; `what` says what was expected.

    Raises FileNotFoundError when nothing is there, InputError for a folder or an empty file.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"expected {what}, got the folder {path}")
    if not path.exists():
        raise FileNotFoundError(errno.ENOENT, f"expected {what}, found nothing at", str(path))
    if path.stat().st_size == 0:
        raise InputError(f"expected {what}, got the empty file {path} (0 bytes)")
    return path


def is_dicom(path: Path) -> bool:
    """Whether the file has the DICOM preamble (PS3.10 section 7.1) or a DICOM extension."""
    if file_suffix(path) in DICOM_SUFFIXES:
        return True
    with open(path, "rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def _reason(error: RuntimeError) -> str:
    """The last telling line of a SimpleITK error, without source file and line number."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].removeprefix("ITK ERROR: ") if lines else type(error).__name__


def read_itk(path: Path, what: str) -> SimpleITK.Image:
    """The image in a file that ITK knows.

    Raises InputError, naming the file and ITK's reason, when it cannot be read.
    """
    import SimpleITK as sitk

    try:
        return sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise InputError(f"expected {what}, cannot read {path}: {_reason(error)}") from error


_NIFTI1_HEADER, _NIFTI2_HEADER = 348, 540


def require_whole_nifti(path: Path, what: str) -> None:
    """Check that a NIfTI file holds all its voxels; ITK fills what is missing with zeros in silence.

    Raises InputError when it is no NIfTI file, is cut short, or its compression is damaged.
    """
    with open(path, "rb") as stream:
        zipped = stream.read(2) == b"\x1f\x8b"
    try:
        with (gzip.open if zipped else open)(path, "rb") as stream:
            header = stream.read(_NIFTI2_HEADER)
            expected, present = _nifti_bytes(header), len(header)
            while chunk := stream.read(1 << 20):
                present += len(chunk)
    except (EOFError, gzip.BadGzipFile, zlib.error, struct.error) as error:
        raise InputError(f"expected {what}, cannot read {path}: {error}") from error
    if not expected or present < expected:
        reason = f"{present} bytes where {expected} should be" if expected else "it has no NIfTI header"
        raise InputError(f"expected {what}, cannot read {path}: {reason}")


def _nifti_bytes(header: bytes) -> int:
    """Length of the (uncompressed) file that its header announces, 0 when it is no NIfTI header.

    Field offsets: NIfTI-1.1 (nifti1.h) and NIfTI-2 (nifti2.h). Raises struct.error when too short.
    """
    for order in "<>":
        size = struct.unpack_from(order + "i", header)[0]
        if size == _NIFTI1_HEADER:
            dim = struct.unpack_from(order + "8h", header, 40)
            bits = struct.unpack_from(order + "h", header, 72)[0]
            offset = struct.unpack_from(order + "f", header, 108)[0]
        elif size == _NIFTI2_HEADER:
            dim = struct.unpack_from(order + "8q", header, 16)
            bits = struct.unpack_from(order + "h", header, 14)[0]
            offset = struct.unpack_from(order + "q", header, 168)[0]
        else:
            continue
        return int(offset) + math.prod(max(n, 1) for n in dim[1 : dim[0] + 1]) * bits // 8
    return 0


def write_itk(image: SimpleITK.Image, path: Path) -> None:
    """Write and read back, because ITK's NIfTI writer says nothing when the disk is full.

    Raises OSError when the file cannot be written or does not hold the same array afterwards.
    """
    import SimpleITK as sitk

    try:
        sitk.WriteImage(image, str(path), True)
        written = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise _write_error(path, _reason(error)) from error
    arrays = [sitk.GetArrayViewFromImage(i) for i in (image, written)]
    if not np.array_equal(*arrays, equal_nan=image.GetPixelID() in (sitk.sitkFloat32, sitk.sitkFloat64)):
        raise _write_error(path, "what was written is not what reads back")


def _write_error(path: Path, reason: str) -> OSError:
    free = shutil.disk_usage(path.parent).free / 1e6
    return OSError(errno.EIO, f"cannot write into the folder {path.parent} ({free:.0f} MB free): {reason}")
