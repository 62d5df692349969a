"""DICOM out of the commands, provenance beside the other formats, and nobody's name in a report."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from cli_inputs import body, error_line, reconstruct_arguments, write_inputs, xrecon
from dicom_inputs import write_ct_series as write_plain_series
from xrecon import cli
from xrecon.io.dicom_checks import file_problems
from xrecon.io.dicom_seg import read_dicom_seg
from xrecon.io.image import read_volume
from xrecon.io.radiograph import read_radiograph
from xrecon.io.segmentation import read_segmentation
from xrecon.io.sidecar import read_record
from xrecon.physics.geometry import ViewGeometry
from xrecon.provenance import for_reports, sources_in
from xrecon.volume import Quantity

# Each is unlike any other text, so that finding it means that it has leaked.
PLANTED = {
    "PatientName": "Quvexil^Zorban",
    "PatientID": "PID-8823917",
    "PatientBirthDate": "19430817",
    "PatientAddress": "Blomqvistgatan 99",
    "OtherPatientIDs": "OPI-5529071",
    "StudyDate": "20190823",
    "SeriesDate": "20190824",
    "AcquisitionDate": "20190825",
    "ContentDate": "20190826",
    "StudyTime": "134507",
    "AccessionNumber": "ACC-771263",
    "StudyID": "SID-66121",
    "ReferringPhysicianName": "Wexford^Ilka",
    "OperatorsName": "Operetta^Olga",
    "InstitutionName": "Klinikum Nirgendwo",
    "StationName": "STAT-90210",
    "DeviceSerialNumber": "SER-31337-7",
    "StudyDescription": "Thorax of Zorban Quvexil",
    "SeriesDescription": "Zorban, standing",
    "ProtocolName": "proto-Quvexil",
    "ImageComments": "seen by Wexford",
    "PatientComments": "lives in Blomqvistgatan",
    "RequestedProcedureDescription": "req-Zorban",
}
NAMED_FOLDER = "Quvexil_Zorban_19430817"
UID_ROOT = "1.2.276.99.20190823134507"
SECRETS = """
    quvexil zorban pid-8823917 19430817 1943-08-17 blomqvist opi-5529071 20190823 20190824 20190825
    20190826 2019-08-23 134507 acc-771263 sid-66121 wexford ilka operetta nirgendwo stat-90210 ser-31337
    proto- req-zorban
""".split()
REPORTS = (".html", ".json", ".csv", ".txt")


def plant(path: Path, number: int) -> None:
    """A file of a patient, as a hospital sends it."""
    dataset = pydicom.dcmread(path)
    for keyword, value in PLANTED.items():
        setattr(dataset, keyword, value)
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"{UID_ROOT}.1", f"{UID_ROOT}.1.{number // 1000}"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{UID_ROOT}.1.1.{number}"
    dataset.save_as(path)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The inputs of `write_inputs` in a folder named after the patient, who is in the DICOM files, and the
    CT as a series in a folder of that name, too."""
    folder = tmp_path_factory.mktemp("files") / NAMED_FOLDER
    folder.mkdir()
    write_inputs(folder)
    write_plain_series(folder / "series" / NAMED_FOLDER, body())
    for number, name in enumerate(("pa", "lateral"), start=1):
        plant(folder / f"{name}.dcm", number * 1000)
    for number, path in enumerate(sorted((folder / "series" / NAMED_FOLDER).iterdir())):
        plant(path, 3000 + number)
    return folder


@pytest.fixture(scope="module")
def made(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the commands make of them: reconstruction, segmentation, both as DICOM, NIfTI."""
    out = tmp_path_factory.mktemp("out")
    series = files / "series" / NAMED_FOLDER
    result = out / "reconstruction"
    commands = [
        reconstruct_arguments(files, result, dicom=out / "dicom"),
        ["segment", "--ct", series, "--lung-model", "classical", "--report", "--output", out / "segmentation",
         "--dicom", out / "dicom-segmentation"],
        ["export", "--ct", result / "reconstruction.nrrd", "--format", "nii.gz", "--output", out / "nifti"],
        ["evaluate", "--prediction", out / "nifti" / "reconstruction.nii.gz", "--reference", series,
         "--output", out / "evaluation"],
    ]  # fmt: skip
    for command in commands:
        assert cli.run([*map(str, command), "--progress", "none"]) == 0, command
    return out


# -- de-identification ---------------------------------------------------------------------------
def text_of(path: Path) -> Iterator[str]:
    """All that can be read in a file: its text, or the fields of a NRRD or DICOM file."""
    if path.suffix in REPORTS:
        yield re.sub(r"base64,[A-Za-z0-9+/=]+", "", path.read_text(encoding="utf-8"))
    elif path.suffix == ".nrrd":
        yield path.read_bytes().partition(b"\n\n")[0].decode("utf-8", "replace")
    elif path.suffix == ".dcm":
        dataset = pydicom.dcmread(path, stop_before_pixels=True)
        yield from (str(element.value) for element in dataset.iterall() if element.VR not in ("SQ", "UI"))


def without_uids(text: str) -> str:
    return text.replace(UID_ROOT, "")


def test_no_report_tells_who_it_is_or_where_it_lay(files: Path, made: Path) -> None:
    reports = [path for path in sorted(made.rglob("*")) if path.suffix in REPORTS]
    names = {path.name for path in reports}
    assert {"report.html", "reconstruction.json", "segmentation.json", "segmentation.csv"} <= names
    # beside a volume or a picture lies data, not a report: it keeps the UIDs of the source images
    data = {"input_pa.json", "input_lateral.json", "reprojection_pa.json", "reprojection_lateral.json"}
    for path in reports:
        for text in text_of(path):
            is_data = path.name in data or path.parent.name == "nifti"
            told = (without_uids(text) if is_data else text).lower()
            assert [secret for secret in SECRETS if secret in told] == [], path
            assert str(files) not in text and str(made) not in text, path
            assert is_data or UID_ROOT not in text, path


@pytest.mark.parametrize(
    "keyword", ["AcquisitionDeviceProcessingDescription", "SeriesDescription", "ProtocolName"]
)
def test_a_view_by_a_typed_word_is_told_without_the_text(files: Path, tmp_path: Path, keyword: str) -> None:
    """History and `meta` of a radiograph go into reports."""
    dataset = pydicom.dcmread(files / "pa.dcm")
    dataset.remove_private_tags()
    told = ("ViewPosition", "ViewCodeSequence", "PatientOrientation", "PositionerPrimaryAngle")
    for name in (*told, "PositionerSecondaryAngle"):
        if name in dataset:
            delattr(dataset, name)
    setattr(dataset, keyword, "Zorban, PA standing")
    dataset.save_as(tmp_path / "typed.dcm")
    read = read_radiograph(tmp_path / "typed.dcm")
    assert read.view == "PA" and read.meta["view.origin"] == "assumed"
    assert f"no view in the tags for it: PA by a word in {keyword}, assumed" in read.history
    text = without_uids("\n".join([*read.history, *for_reports(read.meta).values()])).lower()
    assert [secret for secret in SECRETS if secret in text] == []


def test_no_data_file_tells_it_either_unless_asked(files: Path, made: Path) -> None:
    """UIDs of the source images aside, which say nothing to who has not the images."""
    paths = [path for path in sorted(made.rglob("*")) if path.suffix in (".nrrd", ".dcm")]
    assert len(paths) > 20 and any(path.suffix == ".nrrd" for path in paths)
    for path in paths:
        told = without_uids("\n".join(text_of(path)))
        assert [secret for secret in SECRETS if secret in told.lower()] == [], path
        assert str(files.parent) not in told and str(made) not in told, path


def test_the_secrets_would_be_found(files: Path, made: Path, tmp_path: Path) -> None:
    """The search itself, on the inputs and on an export that keeps the patient."""
    told = "\n".join(text_of(files / "pa.dcm")).lower()
    assert {secret for secret in SECRETS if secret in told} > {
        "quvexil",
        "pid-8823917",
        "20190823",
        "wexford",
    }
    arguments = ["--ct", made / "reconstruction" / "reconstruction.nrrd", "--patient-from", files / "pa.dcm"]
    command = ["export", *arguments, "--output", tmp_path / "named", "--progress", "none"]
    assert cli.run([str(each) for each in command]) == 0
    kept = "\n".join(text_of(tmp_path / "named" / "ct" / "0001.dcm")).lower()
    assert "quvexil" in kept and "pid-8823917" in kept and "operetta" not in kept


# -- DICOM ---------------------------------------------------------------------------------------
def test_a_reconstruction_as_dicom_is_the_reconstruction(made: Path, files: Path) -> None:
    volume = read_volume(made / "reconstruction" / "reconstruction.nrrd")
    paths = sorted((made / "dicom" / "ct").iterdir())
    assert file_problems(paths) == [] and len(paths) == volume.shape[0]
    read = read_volume(made / "dicom" / "ct")
    assert read.same_grid(volume, 1e-6) and np.array_equal(read.array, np.rint(volume.array))
    image = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(made / "dicom" / "ct")))
    assert image.GetOrigin() == pytest.approx(volume.origin, abs=1e-6)
    assert image.GetSpacing() == pytest.approx(volume.spacing[::-1], abs=1e-6)
    dataset = pydicom.dcmread(paths[0])
    named = [str(item.ReferencedSOPInstanceUID) for item in dataset.SourceImageSequence]
    assert named == [str(pydicom.dcmread(files / f"{n}.dcm").SOPInstanceUID) for n in ("pa", "lateral")]
    card = json.loads((files / "model" / "card.json").read_text())
    (equipment,) = dataset.ContributingEquipmentSequence
    assert list(equipment.SoftwareVersions)[:2] == [card["name"], card["sha256"]]


def test_segments_refer_to_the_series_they_were_found_in(made: Path, files: Path) -> None:
    path = made / "dicom-segmentation" / "segmentation.dcm"
    assert sorted(p.name for p in path.parent.iterdir()) == ["segmentation.dcm"]  # the CT is DICOM already
    expected, _ = read_segmentation(made / "segmentation" / "segmentation.seg.nrrd")
    ct = read_volume(files / "series" / NAMED_FOLDER)
    labels, segments = read_dicom_seg(path, ct)
    known = {"right lung": 1, "left lung": 2, "right pneumothorax": 3, "left pneumothorax": 4}
    found = np.zeros(labels.shape, np.uint8)
    for segment in segments:
        found[labels.array == segment.label] = known[segment.name]
    assert found.any() and np.array_equal(found, expected.array)
    dataset = pydicom.dcmread(path)
    assert dataset.FrameOfReferenceUID and (0x0008, 0x001C) not in dataset
    (study,) = dataset.StudiesContainingOtherReferencedInstancesSequence
    assert study.StudyInstanceUID == f"{UID_ROOT}.1"
    assert dataset.SegmentSequence[0].SegmentAlgorithmName == "PTX-Seg, robust mode"


def test_a_ct_that_is_no_dicom_is_exported_with_its_segments(
    files: Path, made: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """And then again from the files, by `xrecon export`, into the patient's study."""
    command = ["segment", "--ct", files / "ct.nrrd", "--lung-model", "classical", "--output", tmp_path / "o"]
    code, out, err = xrecon(capfd, *command, "--dicom", tmp_path / "d", "--progress", "json")
    assert code == 0, err
    result = json.loads(out.splitlines()[-1])
    assert Path(result["files"]["dicom_ct"]) == tmp_path / "d" / "ct"
    assert Path(result["files"]["dicom_segmentation"]).is_file()
    series = pydicom.dcmread(tmp_path / "d" / "ct" / "0001.dcm")
    segments = pydicom.dcmread(tmp_path / "d" / "segmentation.dcm")
    for keyword in ("PatientID", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert series.get(keyword) == segments.get(keyword)
    assert np.array_equal(read_volume(tmp_path / "d" / "ct").array, body().array)

    segmentation = tmp_path / "o" / "segmentation.seg.nrrd"
    command = ["export", "--ct", files / "ct.nrrd", "--segmentation", segmentation]
    command += ["--patient-from", files / "series" / NAMED_FOLDER, "--output", tmp_path / "e"]
    code, _, err = xrecon(capfd, *command)
    assert code == 0, err
    for path in (tmp_path / "e" / "segmentation.dcm", tmp_path / "e" / "ct" / "0003.dcm"):
        dataset = pydicom.dcmread(path)
        assert dataset.PatientID == PLANTED["PatientID"] and dataset.StudyInstanceUID == f"{UID_ROOT}.1"
    first, _ = read_dicom_seg(tmp_path / "d" / "segmentation.dcm", body())
    again, _ = read_dicom_seg(tmp_path / "e" / "segmentation.dcm", body())
    assert first.array.any() and np.array_equal(first.array, again.array)


def test_wrong_usage_is_told_before_anything_is_computed(
    files: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "old.dcm").write_bytes(b"x")
    png = {"pa": files / "pa.png", "lateral": files / "lateral.png"}
    export = ["export", "--ct", files / "ct.nrrd", "--output", tmp_path / "o", "--format"]
    cases = [
        (reconstruct_arguments(files, tmp_path / "o", dicom=full), "new or an empty folder"),
        ([*reconstruct_arguments(files, tmp_path / "o"), "--keep-patient"], "expected --dicom"),
        ([*reconstruct_arguments(files, tmp_path / "o", dicom=tmp_path / "d", **png), "--keep-patient"],
         "a DICOM file to take patient and study from, got pa.png, lateral.png"),
        ([*export, "jpg"], "format out of"),
        ([*export, "nrrd", "--patient-from", files / "pa.dcm"], "the format dicom"),
    ]  # fmt: skip
    for command, message in cases:
        code, _, err = xrecon(capfd, *command)
        assert code == cli.BAD_INPUT and message in error_line(err)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full"]


# -- provenance beside the other formats ---------------------------------------------------------
def test_the_sidecar_tells_of_the_making_in_every_format(made: Path, files: Path) -> None:
    card = json.loads((files / "model" / "card.json").read_text())
    first = read_record(made / "reconstruction" / "reconstruction.nrrd")
    for path in (made / "reconstruction" / "reconstruction.nrrd", made / "nifti" / "reconstruction.nii.gz"):
        volume, record = read_volume(path), read_record(path)
        assert record == first
        assert volume.meta["model"] == record["model"] == card["name"]
        assert volume.meta["model_sha256"] == record["provenance"]["model_sha256"] == card["sha256"]
        assert volume.meta["synthetic"].startswith("reconstructed")
        assert [source["view"] for source in record["sources"]] == ["PA", "LEFT LATERAL"]
        assert [len(source["sha256"]) for source in record["sources"]] == [64, 64]
        assert [s.sop_instance_uid for s in sources_in(volume.meta)] == [
            str(pydicom.dcmread(files / f"{name}.dcm").SOPInstanceUID) for name in ("pa", "lateral")
        ]
        for view in record["views"]:
            geometry = ViewGeometry.from_dict(view["geometry"])
            assert geometry.source_to_detector_mm == pytest.approx(1800.0)
            assert view["meta"]["source_to_detector_mm.origin"] == "DICOM"
            scores = record["scores"][view["view"]]
            assert {"structure_correlation", "relative_residual"} <= set(scores)


def test_a_volume_without_a_record_has_none(tmp_path: Path, files: Path) -> None:
    assert read_record(files / "ct.nrrd") == {}
    assert read_volume(files / "ct.nrrd").quantity is Quantity.HU
    (tmp_path / "a.nii.json").write_text('{"format": "xrecon volume", "record": 3}')
    assert read_record(tmp_path / "a.nii") == {}
