"""The DX image we write, attribute by attribute, and how others read it."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_inputs import SHAPE, drr
from pydicom.uid import (
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    generate_uid,
)
from xrecon.io.radiograph import read_radiograph, write_radiograph_dicom
from xrecon.physics.geometry import VIEWS, ViewGeometry
from xrecon.physics.poses import positioner_angles, view_from_positioner_angles
from xrecon.volume import InputError, Quantity, Radiograph

# Attributes of Type 1 (present, with a value) of the DX IOD's mandatory modules, PS3.3 A.26.3.
TYPE_1 = """
    StudyInstanceUID Modality SeriesInstanceUID PresentationIntentType SOPClassUID SOPInstanceUID
    SamplesPerPixel PhotometricInterpretation Rows Columns BitsAllocated BitsStored HighBit
    PixelRepresentation ImageLaterality ImageType BurnedInAnnotation PixelIntensityRelationship
    PixelIntensityRelationshipSign RescaleIntercept RescaleSlope RescaleType LossyImageCompression
    PresentationLUTShape ImagerPixelSpacing
""".split()
# Type 1C whose condition holds: not ASCII only, patient not by gantry, pixels inside.
TYPE_1C = "SpecificCharacterSet PatientOrientation PixelData".split()
# Type 1C for presentation; in an image for processing the VOI LUT module shall not be (A.26.3).
WINDOW = "WindowCenter WindowWidth".split()
# Type 2: present, may be empty.
TYPE_2 = """
    PatientName PatientID PatientBirthDate PatientSex StudyDate StudyTime AccessionNumber
    ReferringPhysicianName StudyID SeriesNumber Manufacturer InstanceNumber AnatomicRegionSequence
    DetectorType AcquisitionContextSequence PositionerType
""".split()
# Values the DX image module fixes (Table C.8-70) or that follow from what is stored.
FIXED = {
    "Modality": "DX",
    "SamplesPerPixel": 1,
    "PixelRepresentation": 0,
    "RescaleIntercept": 0,
    "RescaleSlope": 1,
    "RescaleType": "US",
    "LossyImageCompression": "00",
    "BurnedInAnnotation": "NO",
    "PixelIntensityRelationship": "LOG",
}
DARK_IS_LOW = {
    "PhotometricInterpretation": "MONOCHROME2",
    "PresentationLUTShape": "IDENTITY",
    "PixelIntensityRelationshipSign": -1,
}
DARK_IS_HIGH = {
    "PhotometricInterpretation": "MONOCHROME1",
    "PresentationLUTShape": "INVERSE",
    "PixelIntensityRelationshipSign": 1,
}
CHEST = {
    "spectrum": "poly", "tube_kvp": 120.0, "grid": True, "detector": "CsI", "scintillator_mg_per_cm2": 200.0,
    "noise": True, "saturation": True, "exposure_at": "patient", "detector_air_kerma_ugy": 2.5,
}  # fmt: skip
IDEAL = {**CHEST, "spectrum": "mono", "detector": "energy", "grid": False, "noise": False, "saturation": 0}


def film(**meta: str) -> Radiograph:
    """Grey values of 12 bits, as `physics.radiography` gives them."""
    view = drr()
    grey = np.rint(np.clip(view.array * 300 + 100, 0, 4095))
    meta = {"radiography": json.dumps(CHEST), **meta}
    return replace(view, array=grey, quantity=Quantity.DISPLAY, meta=meta)


def seen_on_screen(dataset: pydicom.Dataset) -> np.ndarray:
    """P-values as a viewer makes them: VOI window (PS3.3 C.11.2.1.2.1), then the presentation LUT."""
    top = 2.0**dataset.BitsStored - 1
    center, width = float(dataset.WindowCenter), float(dataset.WindowWidth)
    shown = np.clip((dataset.pixel_array - (center - 0.5)) / (width - 1) + 0.5, 0, 1) * top
    return top - shown if dataset.PresentationLUTShape == "INVERSE" else shown


# -- what we write -----------------------------------------------------------------------------
@pytest.mark.parametrize("quantity", [Quantity.LINE_INTEGRAL, Quantity.LOG_SIGNAL, Quantity.DISPLAY])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("view", [*VIEWS, ""])
def test_every_mandatory_attribute_of_dx(
    tmp_path: Path, view: str, photometric: str, quantity: Quantity
) -> None:
    oblique = view_from_positioner_angles(30.0, 10.0, shape=SHAPE)
    radiograph = drr(view) if view else replace(drr(), geometry=oblique, view="")
    radiograph = replace(radiograph, quantity=quantity, meta={"photometric": photometric})
    write_radiograph_dicom(radiograph, tmp_path / "a.dcm")
    dataset = pydicom.dcmread(tmp_path / "a.dcm")
    shown = quantity is Quantity.DISPLAY
    demanded = TYPE_1 + TYPE_1C + (WINDOW if shown else [])
    assert [name for name in demanded if dataset.get(name) in (None, "", [])] == []
    assert [name for name in TYPE_2 if name not in dataset] == []
    expected = {**FIXED, **(DARK_IS_LOW if photometric == "MONOCHROME2" else DARK_IS_HIGH)}
    assert {name: dataset[name].value for name in expected} == expected
    assert dataset.HighBit == dataset.BitsStored - 1
    if shown:
        assert dataset.PresentationIntentType == "FOR PRESENTATION"
        assert dataset.SOPClassUID == DigitalXRayImageStorageForPresentation
    else:
        assert dataset.PresentationIntentType == "FOR PROCESSING"
        assert dataset.SOPClassUID == DigitalXRayImageStorageForProcessing
        assert not [name for name in (*WINDOW, "VOILUTSequence", "VOILUTFunction") if name in dataset]
    assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
    assert dataset.file_meta.MediaStorageSOPClassUID == dataset.SOPClassUID
    assert list(dataset.ImageType) == ["DERIVED", "SECONDARY", ""]
    assert dataset.ImageLaterality == "U"  # the chest is no paired part
    assert dataset.ViewCodeSequence[0].CodeMeaning == (dataset_view(view) or "left anterior oblique")
    for item in (*dataset.AnatomicRegionSequence, *dataset.ViewCodeSequence):
        assert item.CodeValue and item.CodingSchemeDesignator and item.CodeMeaning
    read = read_radiograph(tmp_path / "a.dcm")
    step = abs(dataset.RealWorldValueMappingSequence[0].RealWorldValueSlope)
    assert np.abs(read.array - radiograph.array).max() <= step / 2
    assert (read.quantity, read.view, read.geometry) == (quantity, view, radiograph.geometry)
    dataset.remove_private_tags()
    dataset.save_as(tmp_path / "b.dcm")
    bare = read_radiograph(tmp_path / "b.dcm")
    assert bare.quantity is quantity and np.corrcoef(bare.array.ravel(), read.array.ravel())[0, 1] > 0.999999


def dataset_view(view: str) -> str:
    return {"PA": "postero-anterior", "AP": "antero-posterior"}.get(view, view.lower())


def test_a_film_is_shown_as_its_curve_was_made(tmp_path: Path) -> None:
    """12 bits, the whole range in the window, and the same screen for both photometric interpretations."""
    for name in ("MONOCHROME2", "MONOCHROME1"):
        radiograph = film(photometric=name)
        write_radiograph_dicom(radiograph, tmp_path / "a.dcm")
        dataset = pydicom.dcmread(tmp_path / "a.dcm")
        assert (dataset.BitsStored, dataset.PhotometricInterpretation) == (12, name)
        assert np.abs(seen_on_screen(dataset) - radiograph.array).max() < 1e-9
        read = read_radiograph(tmp_path / "a.dcm")
        assert np.array_equal(read.array, radiograph.array) and "inverted" not in " ".join(read.history)
        dataset.remove_private_tags()
        dataset.save_as(tmp_path / "b.dcm")
        assert np.array_equal(read_radiograph(tmp_path / "b.dcm").array, radiograph.array)


def test_only_what_was_simulated_is_told(tmp_path: Path) -> None:
    told = ("KVP", "ExposureInuAs", "AnodeTargetMaterial", "Grid", "DetectorType", "CommentsOnRadiationDose")
    never = ("ExposureTime", "XRayTubeCurrent", "EntranceDoseInmGy", "ExposureIndex")
    found = {}
    for name, radiograph in (
        ("film", film(tube_mas="1.23", detector_air_kerma_ugy="2.1")),
        ("ideal", replace(drr(), meta={"radiography": json.dumps(IDEAL)})),
        ("no settings", drr()),
    ):
        write_radiograph_dicom(radiograph, tmp_path / "a.dcm")
        dataset = pydicom.dcmread(tmp_path / "a.dcm")
        found[name] = [str(dataset.get(keyword, "absent")) for keyword in told]
        assert not [keyword for keyword in never if keyword in dataset]
        assert dataset[0x0008, 0x001C].value == "YES"
        (equipment,) = dataset.ContributingEquipmentSequence
        assert equipment.PurposeOfReferenceCodeSequence[0].CodeValue == "109100"  # synthesizing equipment
    dose = "Simulated air kerma at the detector behind patient and grid: 2.1 uGy. Nobody was exposed."
    assert found["film"] == ["120.0", "1230", "TUNGSTEN", "RECIPROCATING", "SCINTILLATOR", dose]
    assert found["ideal"] == ["absent", "absent", "absent", "NONE", "", "absent"]
    assert found["no settings"] == ["absent", "absent", "absent", "absent", "", "absent"]


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy of dicom3tools")
def test_a_validator_finds_no_error(tmp_path: Path) -> None:
    lateral = drr("LEFT LATERAL")
    oblique = replace(lateral, view="", geometry=view_from_positioner_angles(30.0, -10.0, shape=SHAPE))
    for radiograph in (film(), film(photometric="MONOCHROME1"), lateral, oblique):
        images = [(CTImageStorage, generate_uid())]
        write_radiograph_dicom(radiograph, tmp_path / "a.dcm", source_images=images)
        command = ["dciodvfy", "-new", str(tmp_path / "a.dcm")]
        told = subprocess.run(command, capture_output=True, text=True, check=False).stderr
        assert "DXImageFor" in told
        # Synthetic Data (0008,001C) is younger than the validator's releases
        assert [e for e in told.splitlines() if e.startswith("Error") and "(0008,001c)" not in e] == []


def test_source_images_are_named_where_they_are_known(tmp_path: Path) -> None:
    images = [(CTImageStorage, generate_uid()) for _ in range(3)]
    write_radiograph_dicom(drr(), tmp_path / "a.dcm", source_images=images)
    items = pydicom.dcmread(tmp_path / "a.dcm").SourceImageSequence
    assert [(i.ReferencedSOPClassUID, i.ReferencedSOPInstanceUID) for i in items] == images
    write_radiograph_dicom(drr(), tmp_path / "b.dcm")
    assert "SourceImageSequence" not in pydicom.dcmread(tmp_path / "b.dcm")


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
