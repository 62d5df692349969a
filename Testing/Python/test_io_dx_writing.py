"""The DX image we write, attribute by attribute, and how others read it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_inputs import SHAPE, drr
from pydicom.uid import (
    DigitalXRayImageStorageForPresentation,
    generate_uid,
)
from xrecon.io.radiograph import read_radiograph, write_radiograph_dicom
from xrecon.physics.geometry import VIEWS, ViewGeometry
from xrecon.physics.poses import positioner_angles
from xrecon.volume import InputError, Quantity, Radiograph

# Attributes of Type 1 (present, with a value) of the DX IOD's mandatory modules, PS3.3 A.26.3.
TYPE_1 = """
    StudyInstanceUID Modality SeriesInstanceUID PresentationIntentType SOPClassUID SOPInstanceUID
    SamplesPerPixel PhotometricInterpretation Rows Columns BitsAllocated BitsStored HighBit
    PixelRepresentation ImageLaterality ImageType BurnedInAnnotation PixelIntensityRelationship
    PixelIntensityRelationshipSign RescaleIntercept RescaleSlope RescaleType LossyImageCompression
    PresentationLUTShape ImagerPixelSpacing
""".split()
# Type 1C whose condition holds: not ASCII only, patient not by gantry, for presentation, pixels inside.
TYPE_1C = "SpecificCharacterSet PatientOrientation WindowCenter WindowWidth PixelData".split()
# Type 2: present, may be empty.
TYPE_2 = """
    PatientName PatientID PatientBirthDate PatientSex StudyDate StudyTime AccessionNumber
    ReferringPhysicianName StudyID SeriesNumber Manufacturer InstanceNumber AnatomicRegionSequence
    DetectorType AcquisitionContextSequence
""".split()
# Values the DX image module fixes (Table C.8-70).
FIXED = {
    "Modality": "DX",
    "SamplesPerPixel": 1,
    "PixelRepresentation": 0,
    "RescaleIntercept": 0,
    "RescaleSlope": 1,
    "RescaleType": "US",
    "PresentationLUTShape": "IDENTITY",
    "PhotometricInterpretation": "MONOCHROME2",
    "HighBit": 15,
    "LossyImageCompression": "00",
}


# -- what we write -----------------------------------------------------------------------------
@pytest.mark.parametrize("view", VIEWS)
def test_every_mandatory_attribute_of_dx(tmp_path: Path, view: str) -> None:
    write_radiograph_dicom(drr(view), tmp_path / "a.dcm")
    dataset = pydicom.dcmread(tmp_path / "a.dcm")
    empty = [name for name in TYPE_1 + TYPE_1C if dataset.get(name) in (None, "", [])]
    assert empty == []
    assert [name for name in TYPE_2 if name not in dataset] == []
    assert {name: dataset[name].value for name in FIXED} == FIXED
    assert dataset.SOPClassUID == DigitalXRayImageStorageForPresentation
    assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
    assert list(dataset.ImageType) == ["DERIVED", "SECONDARY", ""]
    assert dataset.ImageLaterality in ("R", "L", "U", "B")
    assert dataset.PixelIntensityRelationshipSign == -1
    for item in (*dataset.AnatomicRegionSequence, *dataset.ViewCodeSequence):
        assert item.CodeValue and item.CodingSchemeDesignator and item.CodeMeaning


def test_values_have_the_form_that_their_type_demands(tmp_path: Path) -> None:
    """pydicom's own checks, with warnings as errors, also for awkward numbers."""
    view = drr(pixel_spacing=(1 / 3, 2 / 7), source_to_detector_mm=1723.4567890123)
    before = pydicom.config.settings.reading_validation_mode
    pydicom.config.settings.reading_validation_mode = pydicom.config.RAISE
    try:
        write_radiograph_dicom(view, tmp_path / "a.dcm", patient_name="Müller^Jürgen")
        dataset = pydicom.dcmread(tmp_path / "a.dcm")
        for element in dataset.iterall():
            assert element.VR != "UN"
            assert element.value is not None or element.VM == 0
        assert str(dataset.PatientName) == "Müller^Jürgen"
    finally:
        pydicom.config.settings.reading_validation_mode = before
    assert read_radiograph(tmp_path / "a.dcm").geometry == view.geometry


@pytest.mark.parametrize(
    ("view", "position", "orientation", "angle"),
    [
        ("PA", "PA", ["L", "F"], 0.0),
        ("AP", "AP", ["L", "F"], 180.0),
        ("LEFT LATERAL", "LL", ["P", "F"], 90.0),
        ("RIGHT LATERAL", "RL", ["A", "F"], -90.0),
    ],
)
def test_position_orientation_and_angles(
    tmp_path: Path, view: str, position: str, orientation: list[str], angle: float
) -> None:
    """Worked out by hand from PS3.3 C.7.6.1.1.1 and C.8.7.5.1.2, not from the code."""
    write_radiograph_dicom(drr(view), tmp_path / "a.dcm")
    dataset = pydicom.dcmread(tmp_path / "a.dcm")
    assert dataset.ViewPosition == position
    assert list(dataset.PatientOrientation) == orientation
    assert float(dataset.PositionerPrimaryAngle) == pytest.approx(angle)
    assert float(dataset.PositionerSecondaryAngle) == 0
    assert float(dataset.DistanceSourceToDetector) == 1800
    assert float(dataset.DistanceSourceToPatient) == 1500
    assert float(dataset.EstimatedRadiographicMagnificationFactor) == pytest.approx(1.2)


def test_angle_of_a_detector_above_the_head() -> None:
    turn = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # before the chest (-y) to the head (+z)
    assert positioner_angles(ViewGeometry.pa(shape=SHAPE).moved(turn, (0, 0, 0)))[1] == pytest.approx(90)


def test_labelled_synthetic_with_new_identifiers(tmp_path: Path) -> None:
    study = generate_uid()
    for name in "ab":
        write_radiograph_dicom(drr(), tmp_path / f"{name}.dcm", study_uid=study)
    a, b = (pydicom.dcmread(tmp_path / f"{name}.dcm") for name in "ab")
    assert a.StudyInstanceUID == b.StudyInstanceUID == study
    assert a.SeriesInstanceUID != b.SeriesInstanceUID
    assert a.SOPInstanceUID != b.SOPInstanceUID
    assert "synthetic" in a.SeriesDescription.lower()
    assert "synthetic" in a.ImageComments.lower()
    assert "not for diagnosis" in a.ImageComments
    assert (str(a.PatientName), a.PatientID) == ("Synthetic^DRR", "SYNTHETIC")
    with pytest.raises(InputError, match="valid DICOM UID"):
        write_radiograph_dicom(drr(), tmp_path / "c.dcm", study_uid="1.2.abc")
    again = read_radiograph(tmp_path / "a.dcm")
    write_radiograph_dicom(again, tmp_path / "again.dcm")
    assert read_radiograph(tmp_path / "again.dcm").meta["StudyInstanceUID"] != study


def test_other_programs_see_the_same_picture(tmp_path: Path) -> None:
    """ITK, as Slicer uses it: the stored values, bright = dense, and the spacing on the detector."""
    view = drr(pixel_spacing=(0.75, 0.5))
    write_radiograph_dicom(view, tmp_path / "a.dcm")
    image = sitk.ReadImage(str(tmp_path / "a.dcm"))
    assert image.GetSpacing()[:2] == pytest.approx((0.5, 0.75))
    stored = sitk.GetArrayFromImage(image)[0]
    mapping = pydicom.dcmread(tmp_path / "a.dcm").RealWorldValueMappingSequence[0]
    values = stored * mapping.RealWorldValueSlope + mapping.RealWorldValueIntercept
    assert np.abs(values - view.array).max() <= mapping.RealWorldValueSlope / 2


def test_without_the_private_block(tmp_path: Path) -> None:
    """After de-identification: values by the standard's mapping, geometry by the standard's tags."""
    view = drr("RIGHT LATERAL", pixel_spacing=(11.0, 9.0))
    write_radiograph_dicom(view, tmp_path / "a.dcm")
    expected = read_radiograph(tmp_path / "a.dcm")
    dataset = pydicom.dcmread(tmp_path / "a.dcm")
    dataset.remove_private_tags()
    dataset.save_as(tmp_path / "b.dcm")
    read = read_radiograph(tmp_path / "b.dcm")
    assert read.quantity is Quantity.LINE_INTEGRAL
    assert np.array_equal(read.array, expected.array)
    assert read.geometry.is_close(view.geometry, 1e-9)


def test_cropped_by_other_software(tmp_path: Path) -> None:
    write_radiograph_dicom(drr("AP", isocenter=(1, 2, 3)), tmp_path / "a.dcm")
    dataset = pydicom.dcmread(tmp_path / "a.dcm")
    dataset.PixelData = dataset.pixel_array[2:-3].tobytes()
    dataset.Rows = SHAPE[0] - 5
    dataset.save_as(tmp_path / "b.dcm")
    read = read_radiograph(tmp_path / "b.dcm")
    assert np.array_equal(read.array, read_radiograph(tmp_path / "a.dcm").array[2:-3])
    assert read.geometry == ViewGeometry.ap(shape=(26, 37), pixel_spacing=read.geometry.pixel_spacing)
    assert read.geometry.pixel_spacing == pytest.approx((430 / 37, 430 / 37))


def test_what_cannot_be_written(tmp_path: Path) -> None:
    bare = Radiograph(drr().array, None, Quantity.LINE_INTEGRAL, "PA")
    with pytest.raises(InputError, match="with a geometry"):
        write_radiograph_dicom(bare, tmp_path / "a.dcm")
    with pytest.raises(InputError, match=r"ending in \.dcm"):
        write_radiograph_dicom(drr(), tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []
