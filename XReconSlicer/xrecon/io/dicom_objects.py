"""What the DICOM objects that this package exports have in common.

General Series, Frame of Reference, General Equipment, SOP Common, General Reference and Common Instance
Reference modules (PS3.3 C.7.3.1, C.7.4.1, C.7.5.1, C.12.1, C.12.4, C.12.2): what an object is, by what it
was computed, and from which images.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from xrecon import __version__
from xrecon.io.dicom_provenance import SYNTHETIC_DATA
from xrecon.io.dicom_study import Study
from xrecon.io.radiograph_dicom import PRIVATE_CREATOR, PRIVATE_ELEMENT, PRIVATE_GROUP
from xrecon.io.radiograph_dicom_technique import code_item
from xrecon.io.sidecar import json_text
from xrecon.provenance import SourceImage, for_files

if TYPE_CHECKING:
    import pydicom
    from pydicom.valuerep import DSfloat

NOT_FOR_DIAGNOSIS = "not for diagnosis"
# Lengths that DICOM allows: LO and ST.
LONG_STRING, SHORT_TEXT = 64, 1024
_SOURCE_PURPOSE = ("121322", "DCM", "Source image for image processing operation")


def new_object(sop_class_uid: str, study: Study, modality: str, description: str) -> pydicom.Dataset:
    """A data set with file header, identifiers, patient, study, series, equipment and today's dates.

    description: of the series; cut to DICOM's 64 characters. Series and instance get new identifiers.
    """
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    now = datetime.now()
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class_uid, generate_uid()
    study.put(dataset)
    dataset.Modality, dataset.SeriesInstanceUID, dataset.SeriesNumber = modality, generate_uid(), 1
    dataset.SeriesDescription = one_line(description, LONG_STRING)
    dataset.BodyPartExamined = "CHEST"
    dataset.PositionReferenceIndicator = ""
    for kind in ("InstanceCreation", "Series", "Content"):
        setattr(dataset, f"{kind}Date", now.strftime("%Y%m%d"))
        setattr(dataset, f"{kind}Time", now.strftime("%H%M%S"))
    dataset.Manufacturer = dataset.ManufacturerModelName = "XRecon"
    dataset.DeviceSerialNumber = "none"
    dataset.SoftwareVersions = __version__
    dataset.BurnedInAnnotation, dataset.LossyImageCompression = "NO", "00"
    return dataset


def one_line(text: str, length: int) -> str:
    """Text for an attribute: without backslashes and control characters, and not too long."""
    clean = "".join(c if c.isprintable() else " " for c in text.replace("\\", "/"))
    return " ".join(clean.split())[:length].strip()


def decimal(value: float) -> DSfloat:
    """A number in the 16 characters of a decimal string, as exact as they allow."""
    from pydicom.valuerep import DSfloat

    return DSfloat(float(value) + 0.0, auto_format=True)


# -- by what it was computed ---------------------------------------------------------------------
def put_equipment(dataset: pydicom.Dataset, meta: Mapping[str, str], contribution: str) -> None:
    """The program, and the network with the checksum of its weights, as contributing equipment.

    meta: of the volume; "synthetic" marks the object as synthetic, "model" and "model_sha256" name the
    network. The checksum stands for the version: other weights have another one.
    """
    from pydicom import Dataset

    synthetic = bool(meta.get("synthetic"))
    if synthetic:
        dataset.add_new(SYNTHETIC_DATA, "CS", "YES")
    purpose = ("109100", "DCM", "Synthesizing Equipment") if synthetic else (
        "109102", "DCM", "Processing Equipment"
    )  # fmt: skip
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [code_item(*purpose)]
    item.Manufacturer = item.ManufacturerModelName = "XRecon"
    # A checksum fills the 64 characters of a value, and the last value may get a blank to an even length.
    versions = [meta.get("model", ""), meta.get("model_sha256", ""), f"XRecon {__version__}"]
    item.SoftwareVersions = [one_line(each, LONG_STRING) for each in versions if each]
    item.ContributionDateTime = dataset.ContentDate + dataset.ContentTime
    item.ContributionDescription = one_line(contribution, SHORT_TEXT)
    dataset.ContributingEquipmentSequence = [item]


def put_provenance(dataset: pydicom.Dataset, meta: Mapping[str, str]) -> None:
    """All that `meta` tells, as JSON in the private block of this package."""
    block = dataset.private_block(PRIVATE_GROUP, PRIVATE_CREATOR, create=True)
    block.add_new(PRIVATE_ELEMENT, "UT", json_text({"meta": for_files(meta)}))


# -- from what it was computed -------------------------------------------------------------------
def source_item(sop_class_uid: str, sop_instance_uid: str) -> pydicom.Dataset:
    """An item of a Source Image Sequence."""
    item = _instance_item(sop_class_uid, sop_instance_uid)
    item.PurposeOfReferenceCodeSequence = [code_item(*_SOURCE_PURPOSE)]
    return item


def _instance_item(sop_class_uid: str, sop_instance_uid: str) -> pydicom.Dataset:
    from pydicom import Dataset

    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class_uid, sop_instance_uid
    return item


def put_references(dataset: pydicom.Dataset, sources: Iterable[SourceImage]) -> None:
    """Study and series of every image that the object refers to, as a PACS needs them to find it.

    Images of the object's own study and those of other studies go into sequences of their own.
    """
    from pydicom import Dataset

    by_study: dict[str, dict[str, list[pydicom.Dataset]]] = defaultdict(lambda: defaultdict(list))
    for source in sources:
        if source.is_dicom and source.study_uid and source.series_uid:
            item = _instance_item(source.sop_class_uid, source.sop_instance_uid)
            by_study[source.study_uid][source.series_uid].append(item)
    own = by_study.pop(str(dataset.StudyInstanceUID), None)
    if own:
        dataset.ReferencedSeriesSequence = _series_items(own)
    others = []
    for study, series in by_study.items():
        item = Dataset()
        item.StudyInstanceUID, item.ReferencedSeriesSequence = study, _series_items(series)
        others.append(item)
    if others:
        dataset.StudiesContainingOtherReferencedInstancesSequence = others


def _series_items(series: Mapping[str, list[pydicom.Dataset]]) -> list[pydicom.Dataset]:
    from pydicom import Dataset

    items = []
    for uid, instances in series.items():
        item = Dataset()
        item.SeriesInstanceUID, item.ReferencedInstanceSequence = uid, instances
        items.append(item)
    return items
