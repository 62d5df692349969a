"""Stored pixel values of a DICOM image, whatever its compression.

pydicom reads uncompressed and run-length data; pillow (bundled decoders of libjpeg-turbo and
OpenJPEG) reads JPEG baseline and JPEG 2000; GDCM, as built into SimpleITK, reads the rest
(lossless JPEG, 12-bit JPEG, JPEG-LS). High-throughput JPEG 2000 needs pylibjpeg with its OpenJPEG
plugin; JPEG XL and video are not read. All give the *stored* values: no rescaling, and no inversion
of MONOCHROME1, so that each caller applies those exactly once.

Where the stored bits lie is told by BitsStored and HighBit. Bits above them, where old devices kept
overlays, are dropped; values that were written in more bits than BitsStored admits are kept whole.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xrecon.io.dicom_frames import chosen_frame, frame_count
from xrecon.io.dicom_tags import Tags, one_line
from xrecon.io.pydicom_versions import (
    decoded_pixels,
    native_pixels,
    save_dataset,
    was_read_as_implicit_vr,
)
from xrecon.volume import InputError

if TYPE_CHECKING:
    import pydicom

# Transfer syntaxes by UID (their names differ between versions of pydicom). High-throughput JPEG 2000:
HTJ2K = tuple(f"1.2.840.10008.1.2.4.{number}" for number in (201, 202, 203))
# ... and those that are read with what this package requires: native, deflated, RLE, JPEG (baseline,
# extended, lossless), JPEG-LS, JPEG 2000.
DECODED = (
    "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.5",
    *(f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 57, 70, 80, 81, 90, 91)),
)  # fmt: skip
# More is a mistake in the tags, for which no memory is to be taken; the largest detectors have 5e7.
MOST_PIXELS = 2**28
# A picture whose neighbours differ so much less, for its contrast, is the whole one.
MUCH_SMOOTHER = 0.7


def read_dataset(path: Path, *, pixels: bool = True, tags: list[str] | None = None) -> pydicom.Dataset:
    """The data set of a DICOM file (a bare one without preamble too); only `tags` if given.

    Raises InputError when the file is not DICOM.
    """
    import pydicom
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

    try:
        dataset = pydicom.dcmread(path, force=True, stop_before_pixels=not pixels, specific_tags=tags)
    except (MemoryError, OSError):
        raise
    except Exception as error:  # damaged headers make the parser raise whatever it likes
        raise InputError(f"expected a DICOM file, cannot read {path}: {one_line(error)}") from error
    if "SOPClassUID" not in dataset and "Modality" not in dataset:
        raise InputError(f"expected a DICOM image, got {path}")
    if "TransferSyntaxUID" not in dataset.file_meta:  # a bare data set: what the parser found out
        implicit = was_read_as_implicit_vr(dataset)
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    return dataset


def stored_pixels(dataset: pydicom.Dataset, name: str | Path, frame: int | None = None) -> np.ndarray:
    """The stored values of one frame of a grey image, (row, column), integer.

    `name` is for messages; `frame` counts from 1 and is needed when there are several. Raises
    InputError when the pixels are missing, coloured, damaged, or in a compression that cannot be
    read, and when the frame is not there.
    """
    return pixels_and_notes(dataset, name, frame)[0]


def pixels_and_notes(
    dataset: pydicom.Dataset, name: str | Path, frame: int | None = None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """As `stored_pixels`, and what had to be decided about the bits, a sentence each."""
    _expect_grey(dataset, name)
    index = chosen_frame(frame_count(dataset), frame, name)
    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        dataset, shift, notes = _with_usable_bits(dataset, name)
        array = _decode(dataset, syntax, index)
        if not shift and not syntax.is_compressed:
            array, more = _with_bits_beyond(dataset, array, index)
            notes += more
    except (InputError, MemoryError, OSError):
        raise
    except Exception as error:  # decoders raise whatever they like; the file is at fault
        raise InputError(
            f"expected readable pixels in {name} ({one_line(syntax.name)}): "
            f"{one_line(error)}{_advice(syntax)}"
        ) from error
    if array.shape != (dataset.Rows, dataset.Columns):
        raise InputError(f"expected {dataset.Rows} x {dataset.Columns} pixels in {name}, got {array.shape}")
    return array >> shift if shift else array, notes


def _expect_grey(dataset: pydicom.Dataset, name: str | Path) -> None:
    tags = Tags(dataset)
    needed = ("Rows", "Columns", "BitsAllocated", "PixelData")
    missing = [k for k in needed if (k not in dataset if k == "PixelData" else not tags.number(k))]
    if missing:
        raise InputError(f"expected a DICOM image with pixels, {name} has no {', '.join(missing)}")
    rows, columns = int(tags.number("Rows")), int(tags.number("Columns"))
    if rows * columns > MOST_PIXELS:
        raise InputError(f"expected at most {MOST_PIXELS} pixels, {name} says {rows} x {columns}")
    samples = tags.number("SamplesPerPixel")
    if samples not in (None, 1):
        raise InputError(f"expected a grey image, {name} has {samples:g} colours per pixel")


def _advice(syntax: pydicom.uid.UID) -> str:
    """What helps with a transfer syntax that this installation does not decode; "" for the usual ones."""
    if syntax in DECODED or not str(syntax).startswith("1.2.840.10008.1.2."):
        return ""
    needs = "pylibjpeg and pylibjpeg-openjpeg can be installed for it, or" if syntax in HTJ2K else "please"
    return f"; {needs} store the file uncompressed (Explicit VR Little Endian) or as lossless JPEG"


# -- bits --------------------------------------------------------------------------------------
def _with_usable_bits(
    dataset: pydicom.Dataset, name: str | Path
) -> tuple[pydicom.Dataset, int, tuple[str, ...]]:
    """The data set with bits that decoders understand, by how many the values then have to be shifted down,
    and notes. Values in the upper bits (HighBit above BitsStored - 1) are decoded whole and shifted."""
    tags = Tags(dataset)
    allocated = int(tags.number("BitsAllocated"))
    stored, high = tags.number("BitsStored"), tags.number("HighBit")
    if allocated not in (1, 8, 16, 32):
        raise InputError(f"expected 8, 16 or 32 bits per pixel in {name}, got {allocated}")
    notes = []
    bits = int(stored) if stored and 1 <= stored <= allocated else allocated
    if stored is not None and bits != stored:
        notes.append(f"BitsStored {stored:g} does not fit {allocated} allocated bits: {bits} taken")
    top = int(high) if high is not None and bits - 1 <= high < allocated else bits - 1
    if high is not None and top != high:
        notes.append(f"HighBit {high:g} does not fit {bits} stored bits: {top} taken")
    sign = tags.number("PixelRepresentation")
    if sign not in (0, 1):
        notes.append("no PixelRepresentation: values taken as unsigned")
    if top + 1 > bits:
        notes.append(f"{bits} bits stored below bit {top}: values shifted down by {top + 1 - bits}")
    wanted = {
        "BitsAllocated": allocated,
        "BitsStored": top + 1,
        "HighBit": top,
        "PixelRepresentation": 1 if sign == 1 else 0,
        "SamplesPerPixel": 1,
    }
    return _changed(dataset, wanted), top + 1 - bits, tuple(notes)


def _changed(dataset: pydicom.Dataset, wanted: Mapping[str, int]) -> pydicom.Dataset:
    """The data set with other integers: itself when it has them, else a copy (that shares the pixels)."""
    tags = Tags(dataset)
    if all(tags.number(keyword) == value for keyword, value in wanted.items()):
        return dataset
    changed = copy.deepcopy(dataset)  # a shallow one shares the table of elements
    for keyword, value in wanted.items():
        setattr(changed, keyword, value)
    return changed


def _with_bits_beyond(
    dataset: pydicom.Dataset, array: np.ndarray, index: int
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Unsigned values in all allocated bits, and a note, when BitsStored cuts a picture that has more.

    Cut values jump from the largest to 0 in the middle of the picture. So the whole ones are taken
    when they are much smoother, and none of their bits is said to be an overlay.
    """
    if array.dtype.kind != "u" or dataset.BitsStored >= dataset.BitsAllocated:
        return array, ()
    allocated = int(dataset.BitsAllocated)
    full = native_pixels(_changed(dataset, {"BitsStored": allocated, "HighBit": allocated - 1}), index)
    overlay = any(tag.group & 0xFF00 == 0x6000 and tag.element == 0x0102 for tag in dataset.keys())  # noqa: SIM118
    if overlay or np.array_equal(full, array) or _roughness(full) > MUCH_SMOOTHER * _roughness(array):
        return array, ()
    return full, (f"BitsStored {dataset.BitsStored} cuts values up to {full.max()}: all bits taken",)


def _roughness(array: np.ndarray) -> float:
    """Mean step between neighbours along rows in standard deviations of the picture."""
    values = array.astype(np.float64)
    deviation = float(values.std())
    if not deviation or array.shape[1] < 2:
        return 0.0
    return float(np.abs(np.diff(values, axis=1)).mean()) / deviation


# -- decoding ----------------------------------------------------------------------------------
def _decode(dataset: pydicom.Dataset, syntax: pydicom.uid.UID, index: int = 0) -> np.ndarray:
    from pydicom.uid import RLELossless

    if not syntax.is_compressed:
        return native_pixels(dataset, index)
    # Named plugins only: what else happens to be installed must not change the numbers.
    plugin = "pydicom" if syntax == RLELossless else "pylibjpeg" if syntax in HTJ2K else "pillow"
    array = None
    if int(dataset.BitsAllocated) <= 16:
        try:
            array = decoded_pixels(dataset, plugin, index)
        except (RuntimeError, ValueError, NotImplementedError):  # pillow: no 12-bit JPEG, no signed data
            array = None
    return decode_with_gdcm(dataset, index) if array is None else array


def decode_with_gdcm(dataset: pydicom.Dataset, index: int = 0) -> np.ndarray:
    """The stored values of frame `index` (from 0) by SimpleITK's GDCM, (row, column).

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
    if frame_count(dataset) > 1:
        bare.NumberOfFrames = frame_count(dataset)
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
        return sitk.GetArrayFromImage(sitk.ReadImage(str(path), imageIO="GDCMImageIO"))[index]
