"""DICOM radiographs of the tests: a picture to write, and a CR file as a device writes it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    ExplicitVRLittleEndian,
    generate_uid,
)
from xrecon.io.pydicom_versions import save_dataset
from xrecon.physics.geometry import ViewGeometry
from xrecon.volume import Quantity, Radiograph

SHAPE = (31, 37)


def drr(view: str = "PA", seed: int = 3, **options: object) -> Radiograph:
    array = np.random.default_rng(seed).gamma(2.0, 1.3, SHAPE).astype(np.float32)
    geometry = ViewGeometry.preset(view, shape=SHAPE, **options)
    return Radiograph(array, geometry, Quantity.LINE_INTEGRAL, view, ("computed",), {"synthetic": "yes"})


def acquired(path: Path, stored: np.ndarray | None = None, bits: int = 12, **tags: object) -> np.ndarray:
    """A CR file as a device writes it; returns the stored values."""
    if stored is None:
        stored = np.random.default_rng(9).integers(0, 2**bits, SHAPE, dtype=np.uint16)
    dataset = FileDataset(str(path), {}, file_meta=FileMetaDataset(), preamble=bytes(128))
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = ComputedRadiographyImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
    dataset.Modality, dataset.PhotometricInterpretation = "CR", "MONOCHROME2"
    dataset.SamplesPerPixel, (dataset.Rows, dataset.Columns) = 1, stored.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, bits, bits - 1
    dataset.PixelRepresentation, dataset.PixelData = 0, stored.tobytes()
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    save_dataset(dataset, path)
    return stored
