"""Stored pixel values of a DICOM image, whatever its compression.

pydicom reads uncompressed and run-length data; pillow (bundled decoders of libjpeg-turbo and
OpenJPEG) reads JPEG baseline and JPEG 2000; GDCM, as built into SimpleITK, reads the rest
(lossless JPEG, 12-bit JPEG, JPEG-LS). All three give the *stored* values: no rescaling, and no
inversion of MONOCHROME1, so that each caller applies those exactly once. Bits above the stored
ones, where old devices kept overlays, are dropped.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xrecon.io.pydicom_versions import (
    decoded_pixels,
    native_pixels,
    save_dataset,
    was_read_as_implicit_vr,
)
from xrecon.volume import InputError

if TYPE_CHECKING:
    import pydicom


def read_dataset(path: Path, *, pixels: bool = True, tags: list[str] | None = None) -> pydicom.Dataset:
    """The data set of a DICOM file (a bare one without preamble too); only `tags` if given.

    Raises InputError when the file is not DICOM.
    """
    import pydicom
    from pydicom.errors import InvalidDicomError
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

    try:
        dataset = pydicom.dcmread(path, force=True, stop_before_pixels=not pixels, specific_tags=tags)
    except (InvalidDicomError, ValueError, EOFError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"expected a DICOM file, cannot read {path}: {error}") from error
    if "SOPClassUID" not in dataset and "Modality" not in dataset:
        raise InputError(f"expected a DICOM image, got {path}")
    if "TransferSyntaxUID" not in dataset.file_meta:  # a bare data set: what the parser found out
        implicit = was_read_as_implicit_vr(dataset)
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    return dataset


def stored_pixels(dataset: pydicom.Dataset, name: str | Path) -> np.ndarray:
    """The stored values of a one-frame grey image, (row, column), integer.

    `name` is for messages. Raises InputError when the pixels are missing, coloured, several
    frames, damaged, or in a compression that cannot be read.
    """
    _expect_one_grey_frame(dataset, name)
    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        array = _decode(dataset, syntax)
    except (MemoryError, OSError):
        raise
    except Exception as error:  # decoders raise whatever they like; the file is at fault
        raise InputError(f"expected readable pixels in {name} ({syntax.name}): {error}") from error
    if array.shape != (dataset.Rows, dataset.Columns):
        raise InputError(f"expected {dataset.Rows} x {dataset.Columns} pixels in {name}, got {array.shape}")
    return array


def _expect_one_grey_frame(dataset: pydicom.Dataset, name: str | Path) -> None:
    missing = [k for k in ("Rows", "Columns", "BitsAllocated", "PixelData") if k not in dataset]
    if missing:
        raise InputError(f"expected a DICOM image with pixels, {name} has no {', '.join(missing)}")
    samples, frames = int(dataset.get("SamplesPerPixel", 1)), int(dataset.get("NumberOfFrames", 1) or 1)
    if samples != 1:
        raise InputError(f"expected a grey image, {name} has {samples} colours per pixel")
    if frames != 1:
        raise InputError(f"expected one picture per DICOM file, {name} has {frames} frames")


def _decode(dataset: pydicom.Dataset, syntax: pydicom.uid.UID) -> np.ndarray:
    from pydicom.uid import RLELossless

    if not syntax.is_compressed:
        return native_pixels(dataset)
    # Named plugins only: what else happens to be installed must not change the numbers.
    plugin = "pydicom" if syntax == RLELossless else "pillow"
    array = None
    if int(dataset.BitsAllocated) <= 16:
        try:
            array = decoded_pixels(dataset, plugin)
        except (RuntimeError, ValueError, NotImplementedError):  # pillow: no 12-bit JPEG, no signed data
            array = None
    return decode_with_gdcm(dataset) if array is None else array


def decode_with_gdcm(dataset: pydicom.Dataset) -> np.ndarray:
    """The stored values by SimpleITK's GDCM, (row, column).

    ITK rescales, and inverts MONOCHROME1, when it reads. It is given a copy without the tags
    that ask for that.
    """
    import SimpleITK as sitk
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import SecondaryCaptureImageStorage, generate_uid

    bare = Dataset()
    for keyword in ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"):
        setattr(bare, keyword, dataset.get(keyword))
    bare["PixelData"] = dataset["PixelData"]
    bare.SamplesPerPixel = 1
    bare.PhotometricInterpretation = "MONOCHROME2"
    bare.Modality = "OT"
    bare.SOPClassUID = SecondaryCaptureImageStorage
    bare.SOPInstanceUID = generate_uid()
    bare.file_meta = FileMetaDataset()
    bare.file_meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pixels.dcm"
        save_dataset(bare, path)
        return sitk.GetArrayFromImage(sitk.ReadImage(str(path), imageIO="GDCMImageIO")).squeeze(0)
