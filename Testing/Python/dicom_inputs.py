"""DICOM radiographs of the tests: a picture to write, and a CR file as a device writes it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    CTImageStorage,
    ExplicitVRLittleEndian,
    generate_uid,
)
from xrecon.io.pydicom_versions import save_dataset
from xrecon.physics.geometry import ViewGeometry
from xrecon.volume import Quantity, Radiograph, Volume

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


def ramp() -> np.ndarray:
    """Stored values that grow along rows and columns, all different and within 12 bits."""
    return (np.arange(SHAPE[0] * SHAPE[1]).reshape(SHAPE) * 3).astype(np.uint16)


def item(**values: object) -> Dataset:
    """An item of a sequence."""
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def write_ct_series(folder: Path, volume: Volume) -> list[str]:
    """A volume along the LPS axes as a CT series of 16 bits; returns the instance UIDs, feet first."""
    folder.mkdir(parents=True)
    series, study, uids = generate_uid(), generate_uid(), []
    for number, plane in enumerate(volume.array.astype(np.int16)):
        path = folder / f"{number:03d}.dcm"
        dataset = FileDataset(str(path), {}, file_meta=FileMetaDataset(), preamble=bytes(128))
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = CTImageStorage
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
        dataset.Modality, dataset.SeriesInstanceUID, dataset.StudyInstanceUID = "CT", series, study
        dataset.ImageType, dataset.PhotometricInterpretation = ["ORIGINAL", "PRIMARY", "AXIAL"], "MONOCHROME2"
        dataset.PixelSpacing = [f"{s:.6f}" for s in volume.spacing[1:]]
        dataset.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
        position = volume.index_to_world(np.array([0, 0, number]))
        dataset.ImagePositionPatient = [f"{p:.4f}" for p in position]
        dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 1
        dataset.Rows, dataset.Columns = plane.shape
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
        dataset.RescaleSlope, dataset.RescaleIntercept = "1", "0"
        dataset.PixelData = plane.tobytes()
        save_dataset(dataset, path)
        uids.append(str(dataset.SOPInstanceUID))
    return uids
