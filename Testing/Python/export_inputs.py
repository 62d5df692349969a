"""A volume and a segmentation for DICOM export: odd sizes, anisotropic, oblique, without any symmetry."""

from __future__ import annotations

import numpy as np
from pydicom.uid import DigitalXRayImageStorageForProcessing
from rotations import rotation_matrix
from xrecon.provenance import SourceImage, sources_text
from xrecon.volume import Quantity, Volume

SHAPE, SPACING, ORIGIN = (9, 11, 13), (2.5, 0.703125, 1.3), (-123.4312, 57.2104, 1034.8757)
SHA256 = "0123456789abcdef" * 4


def sources(study: str = "1.2.3") -> list[SourceImage]:
    """Two radiographs of one study, each in a series of its own."""
    kind = str(DigitalXRayImageStorageForProcessing)
    return [
        SourceImage("PA", "pa.dcm", "f" * 64, kind, f"{study}.1.1", f"{study}.1", study),
        SourceImage("LEFT LATERAL", "lateral.dcm", "e" * 64, kind, f"{study}.2.1", f"{study}.2", study),
    ]


def reconstruction(study: str = "1.2.3", left_handed: bool = False) -> Volume:
    """Random HU with fractions, as `xrecon.pipelines.reconstruct` gives a volume."""
    direction = rotation_matrix((1.0, -2.0, 0.5), 25.0)
    if left_handed:
        direction = direction * np.array([1.0, 1.0, -1.0])
    meta = {
        "synthetic": "reconstructed from radiographs",
        "notice": "research use only, not for diagnosis",
        "model": "lifting-64",
        "model_sha256": SHA256,
        "views": "PA, LEFT LATERAL",
        "sources": sources_text(sources(study)),
        "file": "DOE_JOHN.nrrd",
        "SeriesDescription": "Doe, chest",
    }
    hu = np.random.default_rng(5).uniform(-1024, 3071, SHAPE).astype(np.float32)
    return Volume(hu, SPACING, ORIGIN, direction, meta=meta)


def labels(like: Volume) -> Volume:
    """Right lung, left lung and a right pneumothorax of one voxel and more; none on the left."""
    array = np.zeros(like.shape, np.uint8)
    array[1:8, 2:9, 1:5], array[2:7, 1:9, 8:12] = 1, 2
    array[6:8, 2:4, 2:4], array[4, 3, 2] = 3, 3
    return like.with_array(array, Quantity.LABEL)
