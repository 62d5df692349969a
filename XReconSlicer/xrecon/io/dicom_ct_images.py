"""The images of a CT series as other DICOM objects refer to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xrecon.io.dicom_pixels import read_dataset
from xrecon.io.dicom_study import Study, study_of
from xrecon.volume import InputError

_PLACE = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns")


@dataclass(frozen=True, eq=False)
class CtImages:
    """The images of one CT series.

    study: patient and study they belong to. images: (SOP class UID, SOP instance UID) of each slice.
    positions: LPS mm (slice, 3) of the centre of each slice's first pixel, in the same order. shape: rows and
    columns. spacing: mm between the centres of rows, and of columns. axes: unit vectors (2, 3) in LPS along
    which columns are counted, and rows (ImageOrientationPatient).
    """

    study: Study
    series_uid: str
    frame_of_reference_uid: str
    images: tuple[tuple[str, str], ...]
    positions: np.ndarray
    shape: tuple[int, int]
    spacing: tuple[float, float]
    axes: np.ndarray


def ct_images_of(paths: Sequence[str | Path]) -> CtImages:
    """The images in the files of one CT series, in the order of the files (`dicom_series.series_files`).

    A frame of reference that the files do not name is a new one.
    Raises InputError when a file is no CT slice with a place in the patient, or they are of several series.
    """
    from pydicom.uid import generate_uid

    headers = [read_dataset(Path(path), pixels=False) for path in paths]
    for path, header in zip(paths, headers, strict=True):
        if header.get("Modality") != "CT" or not all(header.get(keyword) for keyword in _PLACE):
            raise InputError(f"expected CT slices with a place in the patient, got {path}")
    series = {str(header.get("SeriesInstanceUID", "")) for header in headers}
    if len(series) != 1 or "" in series:
        raise InputError(f"expected the images of one CT series, got {len(series)} series")
    return CtImages(
        study_of(paths[:1]),
        series.pop(),
        str(headers[0].get("FrameOfReferenceUID", "") or generate_uid()),
        tuple((str(h.SOPClassUID), str(h.SOPInstanceUID)) for h in headers),
        np.array([h.ImagePositionPatient for h in headers], dtype=np.float64),
        (int(headers[0].Rows), int(headers[0].Columns)),
        (float(headers[0].PixelSpacing[0]), float(headers[0].PixelSpacing[1])),
        np.array(headers[0].ImageOrientationPatient, dtype=np.float64).reshape(2, 3),
    )
