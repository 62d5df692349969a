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


def apply_voi_lut(values: np.ndarray, dataset: pydicom.Dataset) -> np.ndarray:
    """Values after the first VOI LUT of the data set: its table, else its window; the same for none."""
    if is_pydicom_3():
        from pydicom.pixels import apply_voi_lut as apply
    else:
        from pydicom.pixel_data_handlers.util import apply_voi_lut as apply
    return apply(values, dataset)


def native_pixels(dataset: pydicom.Dataset, index: int = 0) -> np.ndarray:
    """The stored values of frame `index` (from 0) of uncompressed pixel data, (row, column)."""
    if is_pydicom_3():
        from pydicom.pixels import pixel_array

        return pixel_array(dataset, raw=True, index=index)
    from pydicom.pixel_data_handlers import numpy_handler

    return _reshaped(dataset, numpy_handler.get_pixeldata(dataset), index)


def decoded_pixels(dataset: pydicom.Dataset, plugin: str, index: int = 0) -> np.ndarray | None:
    """The stored values of frame `index` of compressed pixel data by a decoder of pydicom, (row, column).

    `plugin` is "pydicom" (run-length), "pillow" or "pylibjpeg". None when it does not decode this
    compression; pydicom 2.4 is trusted with run-length data only. Raises what the decoder raises.
    """
    if is_pydicom_3():
        from pydicom.pixels import get_decoder, pixel_array

        if plugin not in get_decoder(dataset.file_meta.TransferSyntaxUID).available_plugins:
            return None
        return pixel_array(dataset, raw=True, index=index, decoding_plugin=plugin)
    if plugin != "pydicom":
        return None
    from pydicom.pixel_data_handlers import rle_handler

    return _reshaped(dataset, rle_handler.get_pixeldata(dataset), index)


def _reshaped(dataset: pydicom.Dataset, values: np.ndarray, index: int) -> np.ndarray:
    """(row, column) of frame `index`, without the bits above the stored ones, as pydicom 3 gives them."""
    from pydicom.pixel_data_handlers.util import reshape_pixel_array

    unused = 8 * values.dtype.itemsize - int(dataset.BitsStored)
    # Shifted up and back down: the sign of signed values is extended.
    frames = reshape_pixel_array(dataset, values)
    frame = frames[index] if frames.ndim == 3 else frames
    return (frame << unused) >> unused
