"""Which attributes the CT Image and Segmentation objects must have, and values that are fixed.

Type 1 (with a value) and type 2 (present, may be empty) of the mandatory modules of PS3.3 A.3 and A.51, and
those of type 1C and 2C whose condition holds for what this package writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_COMMON_1 = """
    SOPClassUID SOPInstanceUID SpecificCharacterSet StudyInstanceUID SeriesInstanceUID Modality
    FrameOfReferenceUID ImageType SamplesPerPixel PhotometricInterpretation Rows Columns BitsAllocated
    BitsStored HighBit PixelRepresentation PixelData
""".split()
_COMMON_2 = """
    PatientName PatientID PatientBirthDate PatientSex StudyDate StudyTime ReferringPhysicianName StudyID
    AccessionNumber SeriesNumber Manufacturer InstanceNumber PositionReferenceIndicator
""".split()
_CODE = ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")


@dataclass(frozen=True)
class Requirements:
    """What one kind of object must have.

    type_1, type_2: keywords. fixed: the values allowed of an attribute. items: type 1 attributes of each
    item of a sequence, by its keyword, wherever in the object it stands.
    """

    type_1: tuple[str, ...]
    type_2: tuple[str, ...]
    fixed: Mapping[str, tuple[Any, ...]]
    items: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


_ITEMS = {
    "PurposeOfReferenceCodeSequence": _CODE,
    "DerivationCodeSequence": _CODE,
    "SegmentedPropertyCategoryCodeSequence": _CODE,
    "SegmentedPropertyTypeCodeSequence": _CODE,
    "SegmentedPropertyTypeModifierCodeSequence": _CODE,
    "AlgorithmFamilyCodeSequence": _CODE,
    "SourceImageSequence": ("ReferencedSOPClassUID", "ReferencedSOPInstanceUID"),
    "ReferencedInstanceSequence": ("ReferencedSOPClassUID", "ReferencedSOPInstanceUID"),
    "ReferencedSeriesSequence": ("SeriesInstanceUID", "ReferencedInstanceSequence"),
    "StudiesContainingOtherReferencedInstancesSequence": ("StudyInstanceUID", "ReferencedSeriesSequence"),
    "ContributingEquipmentSequence": ("PurposeOfReferenceCodeSequence", "Manufacturer"),
    "SegmentSequence": (
        "SegmentNumber", "SegmentLabel", "SegmentAlgorithmType", "SegmentAlgorithmName",
        "SegmentedPropertyCategoryCodeSequence", "SegmentedPropertyTypeCodeSequence",
    ),
    "SegmentationAlgorithmIdentificationSequence": (
        "AlgorithmFamilyCodeSequence", "AlgorithmName", "AlgorithmVersion",
    ),
    "SharedFunctionalGroupsSequence": ("PixelMeasuresSequence", "PlaneOrientationSequence"),
    "PerFrameFunctionalGroupsSequence": (
        "FrameContentSequence", "PlanePositionSequence", "SegmentIdentificationSequence",
    ),
    "PixelMeasuresSequence": ("PixelSpacing", "SliceThickness"),
    "PlaneOrientationSequence": ("ImageOrientationPatient",),
    "PlanePositionSequence": ("ImagePositionPatient",),
    "FrameContentSequence": ("DimensionIndexValues",),
    "SegmentIdentificationSequence": ("ReferencedSegmentNumber",),
    "DimensionOrganizationSequence": ("DimensionOrganizationUID",),
    "DimensionIndexSequence": ("DimensionOrganizationUID", "DimensionIndexPointer"),
}  # fmt: skip

CT_IMAGE = Requirements(
    (
        *_COMMON_1, "RescaleIntercept", "RescaleSlope", "PixelSpacing", "ImageOrientationPatient",
        "ImagePositionPatient",
    ),
    (*_COMMON_2, "KVP", "AcquisitionNumber", "SliceThickness", "PatientPosition"),
    {
        "Modality": ("CT",), "SamplesPerPixel": (1,),
        "PhotometricInterpretation": ("MONOCHROME1", "MONOCHROME2"),
        "BitsAllocated": (16,), "BitsStored": (12, 13, 14, 15, 16), "BurnedInAnnotation": ("YES", "NO"),
        "LossyImageCompression": ("00", "01"), "ContentQualification": ("PRODUCT", "RESEARCH", "SERVICE"),
    },
    _ITEMS,
)  # fmt: skip

SEGMENTATION = Requirements(
    (
        *_COMMON_1, "SeriesNumber", "InstanceNumber", "ContentLabel", "SegmentationType", "SegmentSequence",
        "LossyImageCompression", "NumberOfFrames", "ContentDate", "ContentTime",
        "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "DimensionOrganizationSequence",
        "DimensionIndexSequence", "Manufacturer", "ManufacturerModelName", "DeviceSerialNumber",
        "SoftwareVersions",
    ),
    (*_COMMON_2, "ContentDescription", "ContentCreatorName"),
    {
        "Modality": ("SEG",), "SamplesPerPixel": (1,), "PhotometricInterpretation": ("MONOCHROME2",),
        "PixelRepresentation": (0,), "BitsAllocated": (1,), "BitsStored": (1,), "HighBit": (0,),
        "SegmentationType": ("BINARY",), "LossyImageCompression": ("00",), "SegmentsOverlap": ("NO",),
    },
    _ITEMS,
)  # fmt: skip
