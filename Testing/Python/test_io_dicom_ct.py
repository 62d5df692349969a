"""The CT series we write: in its place for every reader, whole or not at all, and saying what it is."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_inputs import acquired
from export_inputs import ORIGIN, SHA256, SHAPE, SPACING, reconstruction, sources
from pydicom.uid import CTImageStorage
from xrecon.io import dicom_ct_writer
from xrecon.io.dicom_checks import file_problems
from xrecon.io.dicom_ct_images import ct_images_of
from xrecon.io.dicom_ct_writer import write_ct_series
from xrecon.io.dicom_series import series_files
from xrecon.io.dicom_study import placeholder_study, study_of
from xrecon.io.image import read_volume
from xrecon.volume import InputError, Quantity, Volume

PATIENT = {
    "PatientName": "Müller^Jürgen",
    "PatientID": "4711",
    "PatientBirthDate": "19700101",
    "PatientSex": "M",
    "PatientAge": "053Y",
    "StudyInstanceUID": "1.2.3",
    "SeriesInstanceUID": "1.2.3.1",
    "StudyDate": "20230415",
    "StudyTime": "101112",
    "AccessionNumber": "ACC9",
    "StudyID": "77",
    "StudyDescription": "Thorax p.a. und seitlich",
    "SpecificCharacterSet": "ISO_IR 100",
}


def written(folder: Path) -> list[pydicom.Dataset]:
    return [pydicom.dcmread(path) for path in sorted(folder.iterdir())]


# -- place and numbers ---------------------------------------------------------------------------
@pytest.mark.parametrize("left_handed", [False, True])
def test_every_reader_finds_each_voxel_in_its_place(tmp_path: Path, left_handed: bool) -> None:
    """By hand from PS3.3 C.7.6.2.1.1, by ITK's series reader, and by our own: voxel by voxel in LPS."""
    volume = reconstruction(left_handed=left_handed)
    write_ct_series(volume, tmp_path / "ct")
    expected = {
        tuple(np.round(volume.index_to_world(np.array(index[::-1])), 3)): round(float(value))
        for index, value in np.ndenumerate(volume.array)
    }
    by_hand = {}
    for dataset in written(tmp_path / "ct"):
        pixels = dataset.pixel_array * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
        along_row, along_column = np.array(dataset.ImageOrientationPatient, float).reshape(2, 3)
        between_rows, between_columns = (float(s) for s in dataset.PixelSpacing)
        for (row, column), value in np.ndenumerate(pixels):
            place = np.array(dataset.ImagePositionPatient, float)
            place = place + along_row * between_columns * column + along_column * between_rows * row
            by_hand[tuple(np.round(place, 3))] = value
    assert by_hand == expected

    image = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path / "ct")))
    array = sitk.GetArrayFromImage(image)
    assert image.GetSize() == SHAPE[::-1]
    by_itk = {
        tuple(np.round(image.TransformIndexToPhysicalPoint(tuple(map(int, index[::-1]))), 3)): value
        for index, value in np.ndenumerate(array)
    }
    assert by_itk == expected

    read = read_volume(tmp_path / "ct")
    assert np.linalg.det(read.direction) == pytest.approx(1.0)
    if not left_handed:
        assert read.same_grid(volume, 1e-6)
        assert np.array_equal(read.array, np.rint(volume.array)) and read.array.dtype == np.int16
    corners = read.index_to_world(np.array([[0, 0, 0], [12, 10, 8]]))
    places = [tuple(np.round(corner, 3)) for corner in corners]
    assert [read.array[0, 0, 0], read.array[8, 10, 12]] == [expected[place] for place in places]


def test_instances_are_numbered_along_the_normal(tmp_path: Path) -> None:
    for left_handed in (False, True):
        folder = tmp_path / str(left_handed)
        images = write_ct_series(reconstruction(left_handed=left_handed), folder)
        datasets = written(folder)
        assert [d.InstanceNumber for d in datasets] == list(range(1, SHAPE[0] + 1))
        normal = np.cross(*np.array(datasets[0].ImageOrientationPatient, float).reshape(2, 3))
        along = [np.array(d.ImagePositionPatient, float) @ normal for d in datasets]
        assert np.allclose(np.diff(along), SPACING[0], atol=1e-6)
        assert images.images == tuple((d.SOPClassUID, d.SOPInstanceUID) for d in datasets)
        assert np.allclose(images.positions, [d.ImagePositionPatient for d in datasets], atol=1e-6)
        again = ct_images_of(series_files(folder))
        assert again.images == images.images and again.series_uid == images.series_uid
        assert again.frame_of_reference_uid == images.frame_of_reference_uid


def test_integers_are_kept_bit_for_bit_and_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    volume = reconstruction()
    whole = np.random.default_rng(1).integers(-(2**15), 2**15, SHAPE).astype(np.int32)
    write_ct_series(volume.with_array(whole), tmp_path / "ct")
    assert np.array_equal(read_volume(tmp_path / "ct").array, whole)
    for array, quantity, message in (
        (whole * 2, Quantity.HU, "HU from -32768 to 32767"),
        (whole.astype(float) * np.nan, Quantity.HU, "finite"),
        (whole, Quantity.ATTENUATION, "in HU"),
    ):
        with pytest.raises(InputError, match=message):
            write_ct_series(volume.with_array(array, quantity), tmp_path / "bad")
    assert [path.name for path in tmp_path.iterdir()] == ["ct"]


# -- what it says --------------------------------------------------------------------------------
def test_it_says_what_it_is_by_whom_and_from_what(tmp_path: Path) -> None:
    write_ct_series(reconstruction(), tmp_path / "ct")
    datasets = written(tmp_path / "ct")
    assert file_problems(sorted((tmp_path / "ct").iterdir())) == []
    for dataset in datasets:
        assert list(dataset.ImageType[:2]) == ["DERIVED", "SECONDARY"]
        assert dataset[0x0008, 0x001C].value == "YES"  # Synthetic Data
        assert dataset.ContentQualification == "RESEARCH" and dataset.BurnedInAnnotation == "NO"
        assert dataset.SeriesDescription.startswith("SYNTHETIC, not for diagnosis")
        assert "not for diagnosis" in dataset.DerivationDescription
        assert dataset.DerivationCodeSequence[0].CodeMeaning == "CT estimated from radiographs"
        (equipment,) = dataset.ContributingEquipmentSequence
        assert equipment.PurposeOfReferenceCodeSequence[0].CodeValue == "109100"
        assert list(equipment.SoftwareVersions)[:2] == ["lifting-64", SHA256]
        assert equipment.SoftwareVersions[2].startswith("XRecon ")
        named = [item.ReferencedSOPInstanceUID for item in dataset.SourceImageSequence]
        assert named == ["1.2.3.1.1", "1.2.3.2.1"]
        (other,) = dataset.StudiesContainingOtherReferencedInstancesSequence
        assert other.StudyInstanceUID == "1.2.3"
        assert [s.SeriesInstanceUID for s in other.ReferencedSeriesSequence] == ["1.2.3.1", "1.2.3.2"]
    text = "\n".join(str(dataset) for dataset in datasets)
    assert "DOE" not in text and "Doe" not in text
    read = read_volume(tmp_path / "ct")
    kept = ("synthetic", "model", "model_sha256", "views", "sources", "notice")
    assert {key: read.meta[key] for key in kept} == {key: reconstruction().meta[key] for key in kept}


@pytest.mark.parametrize("length", [1, 63, 64, 90])
def test_names_of_any_length_fit(tmp_path: Path, length: int) -> None:
    """Values are padded to an even length: one that fills its 64 characters must not grow by that."""
    volume = reconstruction()
    volume = Volume(volume.array[:2], SPACING, meta={**volume.meta, "model": "m" * length})
    write_ct_series(volume, tmp_path / "ct")
    dataset = written(tmp_path / "ct")[0]
    versions = dataset.ContributingEquipmentSequence[0].SoftwareVersions
    assert list(versions)[:2] == ["m" * min(length, 64), SHA256]


def test_without_the_private_block_it_is_still_synthetic(tmp_path: Path) -> None:
    write_ct_series(reconstruction(), tmp_path / "ct")
    for path in (tmp_path / "ct").iterdir():
        dataset = pydicom.dcmread(path)
        dataset.remove_private_tags()
        dataset.save_as(path)
    assert read_volume(tmp_path / "ct").meta["synthetic"] == "reconstructed from radiographs"


def test_a_real_ct_is_derived_but_not_synthetic(tmp_path: Path) -> None:
    volume = replace(reconstruction(), meta={})
    write_ct_series(volume, tmp_path / "ct", description="Chest, one of a very long name " * 3)
    dataset = written(tmp_path / "ct")[0]
    assert (0x0008, 0x001C) not in dataset and "DerivationCodeSequence" not in dataset
    assert "SYNTHETIC" not in dataset.SeriesDescription and "not for diagnosis" in dataset.SeriesDescription
    assert dataset.ContributingEquipmentSequence[0].PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
    assert "SourceImageSequence" not in dataset
    assert "synthetic" not in read_volume(tmp_path / "ct").meta


def test_every_identifier_is_new(tmp_path: Path) -> None:
    for name in "ab":
        write_ct_series(reconstruction(), tmp_path / name)
    a, b = written(tmp_path / "a"), written(tmp_path / "b")
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "PatientID"):
        assert len({d.get(keyword) for d in a}) == 1
        assert a[0].get(keyword) != b[0].get(keyword)
    assert len({d.SOPInstanceUID for d in (*a, *b)}) == 2 * SHAPE[0]
    write_ct_series(reconstruction(), tmp_path / "c", frame_of_reference_uid="1.2.3.4")
    assert {d.FrameOfReferenceUID for d in written(tmp_path / "c")} == {"1.2.3.4"}


# -- whose it is ---------------------------------------------------------------------------------
def test_a_placeholder_unless_the_patient_is_asked_for(tmp_path: Path) -> None:
    acquired(tmp_path / "pa.dcm", **PATIENT)
    write_ct_series(reconstruction(), tmp_path / "anonymous")
    dataset = written(tmp_path / "anonymous")[0]
    assert str(dataset.PatientName) == "Anonymous^XRecon" and dataset.PatientIdentityRemoved == "YES"
    assert dataset.StudyInstanceUID != "1.2.3" and dataset.PatientBirthDate == ""
    study = study_of([tmp_path / "pa.dcm"])
    write_ct_series(reconstruction(), tmp_path / "named", study=study)
    dataset = written(tmp_path / "named")[0]
    taken = {key: str(dataset.get(key)) for key in PATIENT if key[:6] != "Series" and key[:4] != "Spec"}
    assert taken == {key: PATIENT[key] for key in taken}
    assert dataset.SpecificCharacterSet == "ISO_IR 192" and dataset.SeriesInstanceUID != "1.2.3.1"
    assert "PatientIdentityRemoved" not in dataset
    # images of the same study: the references stand in the list of its own series
    assert len(dataset.ReferencedSeriesSequence) == 2
    assert "StudiesContainingOtherReferencedInstancesSequence" not in dataset
    assert file_problems(sorted((tmp_path / "named").iterdir())) == []


def test_what_cannot_be_taken_over(tmp_path: Path) -> None:
    acquired(tmp_path / "pa.dcm", **PATIENT)
    acquired(tmp_path / "other.dcm", **{**PATIENT, "PatientID": "4712"})
    acquired(tmp_path / "no_study.dcm", PatientID="4711")
    (tmp_path / "a.png").write_bytes(b"x" * 200)
    with pytest.raises(InputError, match="images of one patient, got 2"):
        study_of([tmp_path / "pa.dcm", tmp_path / "other.dcm"])
    for number, (changes, words) in enumerate((
        ({"PatientID": "", "PatientName": "Doe^Jane"}, "2 different patient names"),
        ({"PatientID": "", "PatientBirthDate": "19600101"}, "2 different birth dates"),
    )):  # fmt: skip
        acquired(tmp_path / "first.dcm", **{**PATIENT, "PatientID": ""})
        acquired(tmp_path / f"second{number}.dcm", **{**PATIENT, **changes})
        with pytest.raises(InputError, match=words) as raised:
            study_of([tmp_path / "first.dcm", tmp_path / f"second{number}.dcm"])
        assert "Doe" not in str(raised.value) and "1960" not in str(raised.value)
    same = {**PATIENT, "PatientName": f"{PATIENT['PatientName'].upper()}^^^", "PatientBirthDate": ""}
    acquired(tmp_path / "same.dcm", **same)
    assert study_of([tmp_path / "pa.dcm", tmp_path / "same.dcm"]).attributes["PatientID"] == "4711"
    name = PATIENT["PatientName"]
    groups = ((f"{name}=山田^太郎", True), ("Somebody^Else=山田^太郎", False))
    for number, (written, fits) in enumerate(groups):
        ideographic = tmp_path / f"ideographic{number}.dcm"
        acquired(ideographic, **{**PATIENT, "PatientName": written, "SpecificCharacterSet": "ISO_IR 192"})
        if fits:
            assert study_of([tmp_path / "pa.dcm", ideographic]).attributes["PatientID"] == "4711"
        else:
            with pytest.raises(InputError, match="2 different patient names"):
                study_of([tmp_path / "pa.dcm", ideographic])
    with pytest.raises(InputError, match="valid StudyInstanceUID"):
        study_of([tmp_path / "no_study.dcm"])
    with pytest.raises(InputError, match=r"a DICOM file to take patient and study from, got a\.png"):
        study_of([tmp_path / "a.png"])


def test_values_that_dicom_does_not_allow_are_left_empty_and_told(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    """Told without the values, which pydicom would print as warnings."""
    lying = {"PatientBirthDate": "1st of May", "AccessionNumber": "A" * 30, "PatientAge": "old"}
    acquired(tmp_path / "pa.dcm", **{**PATIENT, **lying})
    recwarn.clear()
    study = study_of([tmp_path / "pa.dcm"])
    assert {note.split()[0] for note in study.notes} == set(lying)
    assert not any(value in note for note in study.notes for value in lying.values())
    write_ct_series(reconstruction(), tmp_path / "ct", study=study)
    assert written(tmp_path / "ct")[0].PatientBirthDate == ""
    assert [str(warning.message) for warning in recwarn] == []


# -- whole or not at all -------------------------------------------------------------------------
def test_a_failure_in_the_middle_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save, calls = dicom_ct_writer.save_dataset, []

    def fail(*arguments: object) -> None:
        calls.append(arguments)
        if len(calls) == 5:
            raise OSError(28, "No space left on device")
        save(*arguments)

    monkeypatch.setattr(dicom_ct_writer, "save_dataset", fail)
    with pytest.raises(OSError, match="the disk is full"):
        write_ct_series(reconstruction(), tmp_path / "deeper" / "ct")
    assert list((tmp_path / "deeper").iterdir()) == []


_KILLED = """
import os, signal, sys
sys.path[:0] = {path!r}
from export_inputs import reconstruction
from xrecon.io import dicom_ct_writer
save, calls = dicom_ct_writer.save_dataset, []
def kill(*arguments):
    calls.append(arguments)
    if len(calls) == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    save(*arguments)
dicom_ct_writer.save_dataset = kill
dicom_ct_writer.write_ct_series(reconstruction(), sys.argv[1])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_killed_writer_leaves_no_series(tmp_path: Path) -> None:
    """Not even SIGKILL: the folder is not there, and the next run can use its name."""
    target = tmp_path / "ct"
    path = [str(Path(__file__).parent), *(p for p in sys.path if p.endswith("XReconSlicer"))]
    script = _KILLED.format(path=path)
    run = subprocess.run([sys.executable, "-c", script, str(target)], capture_output=True, check=False)
    assert run.returncode == -signal.SIGKILL, run.stderr
    assert not target.exists()
    assert all(left.name.startswith(".") for left in tmp_path.iterdir())
    write_ct_series(reconstruction(), target)
    assert len(list(target.iterdir())) == SHAPE[0]


def test_a_folder_with_something_in_it_is_not_written_into(tmp_path: Path) -> None:
    (tmp_path / "ct").mkdir()
    write_ct_series(reconstruction(), tmp_path / "ct")  # empty: fine
    with pytest.raises(InputError, match="new or an empty folder"):
        write_ct_series(reconstruction(), tmp_path / "ct")
    assert len(list((tmp_path / "ct").iterdir())) == SHAPE[0]
    with pytest.raises(OSError, match="a file stands where a folder should be"):
        write_ct_series(reconstruction(), tmp_path / "ct" / "0001.dcm")


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy of dicom3tools")
@pytest.mark.parametrize("kind", ["synthetic", "real", "named"])
def test_a_validator_finds_no_error(tmp_path: Path, kind: str) -> None:
    acquired(tmp_path / "pa.dcm", **PATIENT)
    volume = reconstruction() if kind != "real" else replace(reconstruction(), meta={})
    study = study_of([tmp_path / "pa.dcm"]) if kind == "named" else placeholder_study()
    write_ct_series(volume, tmp_path / "ct", study=study)
    for path in sorted((tmp_path / "ct").iterdir())[:2]:
        run = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False)
        assert "CTImage" in run.stderr
        # Synthetic Data (0008,001C) is younger than the validator's releases
        wrong = [line for line in run.stderr.splitlines() if line.startswith("Error")]
        assert [line for line in wrong if "(0008,001c)" not in line] == []


def test_the_inputs_of_these_tests_are_what_they_should_be() -> None:
    volume = reconstruction()
    assert volume.spacing == SPACING and volume.origin == ORIGIN and len(set(SPACING)) == 3
    assert not np.allclose(np.abs(volume.direction), np.eye(3), atol=0.1)
    assert [s.sop_instance_uid for s in sources()] == ["1.2.3.1.1", "1.2.3.2.1"]
    assert isinstance(volume, Volume) and CTImageStorage.is_valid
