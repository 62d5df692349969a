"""What pydicom 2.4 and pydicom 3 call by different names; Slicer 5.10 brings the former, 5.12 the latter.

Slicer's own pydicom must not be replaced, so both are served. Everything else that this package
uses of pydicom is the same in both.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pydicom


def is_pydicom_3() -> bool:
    """Whether the installed pydicom is version 3 or newer."""
    import pydicom

    return int(pydicom.__version__.split(".")[0]) >= 3


def save_dataset(dataset: pydicom.Dataset, path: str | Path) -> None:
    """Writes a DICOM file with preamble and complete header, in the transfer syntax of its `file_meta`."""
    if is_pydicom_3():
        dataset.save_as(path, enforce_file_format=True)
        return
    syntax = dataset.file_meta.TransferSyntaxUID
    dataset.is_little_endian, dataset.is_implicit_VR = syntax.is_little_endian, syntax.is_implicit_VR
    dataset.save_as(path, write_like_original=False)


def was_read_as_implicit_vr(dataset: pydicom.Dataset) -> bool:
    """Whether the file was found to be coded with implicit value representations."""
    if is_pydicom_3():
        return bool(dataset.original_encoding[0])
    return bool(dataset.read_implicit_vr)


def apply_modality_lut(stored: np.ndarray, dataset: pydicom.Dataset) -> np.ndarray:
    """Values after the Modality LUT of the data set."""
    if is_pydicom_3():
        from pydicom.pixels import apply_modality_lut as apply
    else:
        from pydicom.pixel_data_handlers.util import apply_modality_lut as apply
    return apply(stored, dataset)


def native_pixels(dataset: pydicom.Dataset) -> np.ndarray:
    """The stored values of uncompressed pixel data, (row, column)."""
    if is_pydicom_3():
        from pydicom.pixels import pixel_array

        return pixel_array(dataset, raw=True)
    from pydicom.pixel_data_handlers import numpy_handler

    return _reshaped(dataset, numpy_handler.get_pixeldata(dataset))


def decoded_pixels(dataset: pydicom.Dataset, plugin: str) -> np.ndarray | None:
    """The stored values of compressed pixel data by pydicom's own or pillow's decoder, (row, column).

    `plugin` is "pydicom" (run-length) or "pillow". None when it does not decode this compression;
    pydicom 2.4 is trusted with run-length data only. Raises what the decoder raises.
    """
    if is_pydicom_3():
        from pydicom.pixels import get_decoder, pixel_array

        if plugin not in get_decoder(dataset.file_meta.TransferSyntaxUID).available_plugins:
            return None
        return pixel_array(dataset, raw=True, decoding_plugin=plugin)
    if plugin != "pydicom":
        return None
    from pydicom.pixel_data_handlers import rle_handler

    return _reshaped(dataset, rle_handler.get_pixeldata(dataset))


def _reshaped(dataset: pydicom.Dataset, values: np.ndarray) -> np.ndarray:
    """(row, column), without the bits above the stored ones, as pydicom 3 gives them."""
    from pydicom.pixel_data_handlers.util import reshape_pixel_array

    unused = 8 * values.dtype.itemsize - int(dataset.BitsStored)
    # Shifted up and back down: the sign of signed values is extended.
    return (reshape_pixel_array(dataset, values) << unused) >> unused
