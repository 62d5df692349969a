"""What this package wrote into DICOM objects about their making: read back into `meta`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from xrecon.io.dicom_pixels import read_dataset
from xrecon.io.radiograph_dicom import PRIVATE_CREATOR, PRIVATE_ELEMENT, PRIVATE_GROUP

if TYPE_CHECKING:
    import pydicom

SYNTHETIC_DATA = (0x0008, 0x001C)  # by number: pydicom 2 does not know the name
# DICOM has no code for it (CID 7203 can be extended): one of our own scheme.
DERIVATION_CODE = ("CTFROMXR", "99XRECON", "CT estimated from radiographs")


def own_provenance(path: str | Path) -> dict[str, str]:
    """`meta` of the volume that an object was written from.

    Where other software has removed the private block: whether the object is synthetic, since a real CT
    and an estimated one are measured in different ways. {} for an image that says nothing of the kind.
    """
    dataset = read_dataset(Path(path), pixels=False)
    try:
        text = dataset.private_block(PRIVATE_GROUP, PRIVATE_CREATOR)[PRIVATE_ELEMENT].value
        data = json.loads(text.decode("utf-8") if isinstance(text, bytes) else text)
        return {str(key): str(value) for key, value in data["meta"].items()}
    except (KeyError, ValueError, TypeError, AttributeError):
        return _standard_provenance(dataset)


def _standard_provenance(dataset: pydicom.Dataset) -> dict[str, str]:
    codes = [item.get("CodeValue") for item in dataset.get("DerivationCodeSequence") or ()]
    if DERIVATION_CODE[0] in codes:
        return {"synthetic": "reconstructed from radiographs"}
    if SYNTHETIC_DATA in dataset and dataset[SYNTHETIC_DATA].value == "YES":
        return {"synthetic": "as its DICOM file says"}
    return {}
