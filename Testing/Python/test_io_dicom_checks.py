"""The checks find what is wrong: each defect planted into a valid object is told, and only that."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest
from export_inputs import labels, reconstruction
from pydicom import Dataset
from xrecon.io import dicom_ct_writer
from xrecon.io.dicom_checks import object_problems, require_valid, series_problems
from xrecon.io.dicom_ct_writer import write_ct_series
from xrecon.io.dicom_seg_writer import write_dicom_seg
from xrecon.io.dicom_values import fits_multiplicity, value_problem

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("valid")
    ct = write_ct_series(reconstruction(), folder / "ct")
    write_dicom_seg(labels(reconstruction()), folder / "seg.dcm", ct=ct)
    return folder


def changed(keyword: str, value: Any) -> Callable[[Dataset], None]:
    def change(dataset: Dataset) -> None:
        before = pydicom.config.settings.writing_validation_mode
        pydicom.config.settings.writing_validation_mode = pydicom.config.IGNORE
        try:
            setattr(dataset, keyword, value)
        finally:
            pydicom.config.settings.writing_validation_mode = before

    return change


def removed(keyword: str) -> Callable[[Dataset], None]:
    return lambda dataset: delattr(dataset, keyword)


CT_DEFECTS = {
    "StudyDate (type 2) is missing": removed("StudyDate"),
    "RescaleSlope (type 1) is missing or empty": removed("RescaleSlope"),
    "FrameOfReferenceUID (type 1) is missing or empty": changed("FrameOfReferenceUID", ""),
    "Modality is 'MR', expected CT": changed("Modality", "MR"),
    "ContentQualification is 'TRIAL'": changed("ContentQualification", "TRIAL"),
    "PatientBirthDate: Invalid value for VR DA": changed("PatientBirthDate", "1.5.1970"),
    "SeriesDescription: The value length (65)": changed("SeriesDescription", "x" * 65),
    "SeriesInstanceUID: Invalid value for VR UI": changed("SeriesInstanceUID", "1.02.3"),
    "StudyInstanceUID: The value length (66)": changed("StudyInstanceUID", "1.2" * 22),
    "PixelSpacing has 3 values, expected 2": changed("PixelSpacing", [1, 1, 1]),
    "ImageType: Invalid value for VR CS": changed("ImageType", ["derived", "SECONDARY", "AXIAL"]),
    "HighBit is 11 for 16 bits": changed("HighBit", 11),
    "PixelData has 284 bytes, expected 286": changed("PixelData", bytes(284)),
    "is not the SOPInstanceUID of the object": changed("SOPInstanceUID", "1.2.3"),
    "SourceImageSequence 2: ReferencedSOPInstanceUID (type 1) is missing": (
        lambda dataset: delattr(dataset.SourceImageSequence[1], "ReferencedSOPInstanceUID")
    ),
    "DerivationCodeSequence 1: CodeMeaning (type 1) is missing": (
        lambda dataset: delattr(dataset.DerivationCodeSequence[0], "CodeMeaning")
    ),
    "(0008,0007) is not in DICOM's dictionary": lambda dataset: dataset.add_new(0x00080007, "LO", "x"),
}


@pytest.mark.parametrize("told", CT_DEFECTS)
def test_a_defect_of_a_ct_image_is_found(files: Path, told: str) -> None:
    dataset = pydicom.dcmread(files / "ct" / "0004.dcm")
    assert object_problems(dataset) == []
    CT_DEFECTS[told](dataset)
    problems = object_problems(dataset)
    assert len(problems) >= 1 and any(told in problem for problem in problems), problems


def frames_of(dataset: Dataset) -> Any:
    return dataset.PerFrameFunctionalGroupsSequence


SEG_DEFECTS = {
    "ContentLabel (type 1) is missing": removed("ContentLabel"),
    "SegmentationType is 'FRACTIONAL', expected BINARY": changed("SegmentationType", "FRACTIONAL"),
    "segments are numbered [1, 2, 7]": lambda d: setattr(d.SegmentSequence[2], "SegmentNumber", 7),
    "items of per-frame functional groups for": lambda d: frames_of(d).pop(),
    "frames of the segments [1, 2], expected of [1, 2, 3]": lambda d: [
        setattr(f.SegmentIdentificationSequence[0], "ReferencedSegmentNumber", 2)
        for f in frames_of(d)
        if f.SegmentIdentificationSequence[0].ReferencedSegmentNumber == 3
    ],
    "the same dimension index values": lambda d: setattr(
        frames_of(d)[1].FrameContentSequence[0], "DimensionIndexValues", [1, 1]
    ),
    "source images are not among the referenced instances": lambda d: d.ReferencedSeriesSequence[
        0
    ].ReferencedInstanceSequence.pop(),
    "slices shift sideways": lambda d: setattr(
        frames_of(d)[3].PlanePositionSequence[0], "ImagePositionPatient", [0, 0, 0]
    ),
    "SegmentSequence 1: SegmentAlgorithmName (type 1) is missing": (
        lambda d: delattr(d.SegmentSequence[0], "SegmentAlgorithmName")
    ),
}


@pytest.mark.parametrize("told", SEG_DEFECTS)
def test_a_defect_of_a_segmentation_is_found(files: Path, told: str) -> None:
    dataset = pydicom.dcmread(files / "seg.dcm")
    assert object_problems(dataset) == []
    SEG_DEFECTS[told](dataset)
    problems = object_problems(dataset)
    assert any(told in problem for problem in problems), problems


SERIES_DEFECTS = {
    "several files have the same SOPInstanceUID": ("SOPInstanceUID", "1.2.3"),
    "several files have the same InstanceNumber": ("InstanceNumber", 3),
    "PatientID is not the same": ("PatientID", "someone else"),
    "FrameOfReferenceUID is not the same": ("FrameOfReferenceUID", "1.2.3"),
    "slices shift sideways": ("ImagePositionPatient", [0, 0, 0]),
}


@pytest.mark.parametrize("told", SERIES_DEFECTS)
def test_a_defect_between_the_images_of_a_series_is_found(files: Path, told: str) -> None:
    paths = sorted((files / "ct").iterdir())
    datasets = [pydicom.dcmread(path, stop_before_pixels=True) for path in paths]
    assert series_problems(datasets) == [] and series_problems(datasets[:1]) == []
    keyword, value = SERIES_DEFECTS[told]
    for dataset in datasets[1 : 2 if "not the same" in told or "sideways" in told else 3]:
        setattr(dataset, keyword, value)
    assert any(told in problem for problem in series_problems(datasets))
    datasets = [pydicom.dcmread(path, stop_before_pixels=True) for path in paths]
    del datasets[4]
    assert any("slices are not 2.5 mm apart" in problem for problem in series_problems(datasets))


def test_a_writer_that_errs_is_caught_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dicom_ct_writer, "decimal", lambda value: round(value))
    with pytest.raises(RuntimeError, match="not valid"):
        write_ct_series(reconstruction(), tmp_path / "ct")
    assert list(tmp_path.iterdir()) == []


def test_other_objects_are_not_judged(files: Path, tmp_path: Path) -> None:
    dataset = pydicom.dcmread(files / "seg.dcm")
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    assert object_problems(dataset) == [
        "expected a CT image or a segmentation, got SOP class 1.2.840.10008.5.1.4.1.1.4"
    ]
    require_valid([files / "seg.dcm"])


def test_multiplicities_and_values() -> None:
    fits = {"1": (1,), "1-n": (1, 2, 3, 4), "2-2n": (2, 4), "3": (3,), "1-3": (1, 2, 3), "2-n": (2, 3, 4)}
    for multiplicity, counts in fits.items():
        assert [n for n in range(1, 5) if fits_multiplicity(n, multiplicity)] == list(counts)
    assert value_problem("PatientAge", "053Y") == "" and "AS" in value_problem("PatientAge", "53")
