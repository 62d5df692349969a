"""DICOM files written by XRecon, read by Slicer's own reader, and the export of nodes: nothing may move."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
import slicer
import vtk
from mrml_inputs import obliqueVolume
from xrecon.io.dicom_checks import file_problems
from xrecon.io.dicom_ct_writer import write_ct_series
from xrecon.io.dicom_seg import read_dicom_seg
from xrecon.io.image import read_volume
from xrecon.io.radiograph import read_radiograph, write_radiograph_dicom
from xrecon.io.segmentation import PTX_SEGMENTS
from xrecon.physics.geometry import ViewGeometry
from xrecon.provenance import source_of, sources_text
from xrecon.volume import InputError, Quantity, Radiograph, Volume
from XReconSlicerLib.mrml import volumeFromNode, volumeToNode
from XReconSlicerLib.pneumothorax import ctOf
from XReconSlicerLib.scene import markSynthetic
from XReconSlicerLib.segments import segmentationToNode

from XReconSlicer import XReconSlicerLogic

RAS_OF_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
MODEL = {"model": "lifting-64", "model_sha256": "a1" * 32, "synthetic": "reconstructed from radiographs"}


class Database:
    """Slicer's DICOM database as far as it is asked: the file of an instance."""

    def __init__(self, *paths: Path) -> None:
        self.files = {str(pydicom.dcmread(p, stop_before_pixels=True).SOPInstanceUID): str(p) for p in paths}

    def fileForInstance(self, uid: str) -> str:
        return self.files.get(uid, "")


def places(array: np.ndarray, ijkToRas: np.ndarray) -> dict[tuple[float, ...], float]:
    """Values by RAS position of every voxel of an array (k, j, i)."""
    index = np.argwhere(np.ones(array.shape, bool))
    ras = np.c_[index[:, ::-1], np.ones(len(index))] @ ijkToRas.T
    return {tuple(p): float(v) for p, v in zip(np.round(ras[:, :3], 3).tolist(), array.ravel(), strict=True)}


def matrixOf(node: slicer.vtkMRMLScalarVolumeNode) -> np.ndarray:
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


@pytest.mark.parametrize("leftHanded", [False, True])
def test_slicer_reads_the_series_in_its_place(tmp_path: Path, leftHanded: bool) -> None:
    """By Slicer's own archetype reader, from one file of the series; chiral, oblique and anisotropic."""
    volume = obliqueVolume().moved((0.0002, 0.0003, 0.0002))  # no coordinate half-way between roundings
    if leftHanded:
        direction = volume.direction * np.array([1.0, 1.0, -1.0])
        volume = Volume(volume.array, volume.spacing, volume.origin, direction)
    write_ct_series(volume, tmp_path / "ct")
    node = slicer.util.loadVolume(str(tmp_path / "ct" / "0001.dcm"))
    found = places(slicer.util.arrayFromVolume(node), matrixOf(node))
    expected = places(volume.array, RAS_OF_LPS @ volume.affine)
    assert len(found) == volume.array.size and found == expected


@pytest.fixture
def radiographs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """A PA and a lateral of one patient in Slicer's DICOM database."""
    picture = np.random.default_rng(3).uniform(0.1, 5.0, size=(37, 31)).astype(np.float32)
    paths, study = [], pydicom.uid.generate_uid()
    for view in ("PA", "LEFT LATERAL"):
        geometry = ViewGeometry.preset(view, shape=picture.shape)
        paths.append(tmp_path / f"{view}.dcm")
        taken = Radiograph(picture, geometry, Quantity.LINE_INTEGRAL, view)
        write_radiograph_dicom(taken, paths[-1], patient_name="Doe^Jane", patient_id="77", study_uid=study)
    monkeypatch.setattr(slicer, "dicomDatabase", Database(*paths), raising=False)
    return paths


def syntheticNode(radiographs: list[Path]) -> slicer.vtkMRMLScalarVolumeNode:
    """As `addReconstruction` leaves it."""
    sources = sources_text(source_of(read_radiograph(path)) for path in radiographs)
    volume = obliqueVolume()
    node = volumeToNode(volume.with_array(volume.array, **MODEL, sources=sources), "Synthetic CT")
    markSynthetic(node, "not for diagnosis")
    return node


def segmentsOn(node: slicer.vtkMRMLScalarVolumeNode) -> tuple[slicer.vtkMRMLSegmentationNode, Volume]:
    """PTX-Seg's four segments, the last one empty."""
    ct = volumeFromNode(node)
    array = np.zeros(ct.shape, np.uint8)
    array[1:8, 2:9, 1:5], array[2:7, 1:9, 8:12], array[6:8, 2:4, 2:4] = 1, 2, 3
    labels = ct.with_array(array, Quantity.LABEL)
    return segmentationToNode(labels, PTX_SEGMENTS, "segments", reference=node), labels


def _mask(
    node: slicer.vtkMRMLSegmentationNode, number: int, on: slicer.vtkMRMLScalarVolumeNode
) -> np.ndarray:
    """A segment's voxels on the grid of a volume node."""
    segmentId = node.GetSegmentation().GetNthSegmentID(number)
    return np.asarray(slicer.util.arrayFromSegmentBinaryLabelmap(node, segmentId, on)) > 0


def test_a_synthetic_ct_and_its_segments_are_exported(radiographs: list[Path], tmp_path: Path) -> None:
    logic = XReconSlicerLogic()
    node = syntheticNode(radiographs)
    segmentation, labels = segmentsOn(node)
    notes = logic.exportDicom(node, str(tmp_path / "out"), segmentation)
    assert notes == ["without a voxel and left out of the DICOM segmentation: left pneumothorax"]
    assert file_problems(sorted((tmp_path / "out" / "ct").iterdir())) == []
    ct = read_volume(tmp_path / "out" / "ct")
    assert np.array_equal(ct.array, obliqueVolume().array) and ct.same_grid(obliqueVolume(), 1e-6)
    assert {key: ct.meta[key] for key in MODEL} == MODEL
    found, segments = read_dicom_seg(tmp_path / "out" / "segmentation.dcm", ct)
    assert np.array_equal(found.array, labels.array)
    assert [s.name for s in segments] == [s.name for s in PTX_SEGMENTS[:3]]
    series, seg = (pydicom.dcmread(tmp_path / "out" / name) for name in ("ct/0001.dcm", "segmentation.dcm"))
    assert str(series.PatientName) == "Anonymous^XRecon" and series.StudyInstanceUID == seg.StudyInstanceUID
    named = [item.ReferencedSOPInstanceUID for item in series.SourceImageSequence]
    assert named == [pydicom.dcmread(path).SOPInstanceUID for path in radiographs]
    kinds = [item.SegmentedPropertyTypeCodeSequence[0].CodeValue for item in seg.SegmentSequence]
    assert kinds == ["39607008", "39607008", "36118008"] and seg[0x0008, 0x001C].value == "YES"
    again = slicer.util.loadVolume(str(tmp_path / "out" / "ct" / "0001.dcm"))
    assert np.allclose(matrixOf(again), matrixOf(node), rtol=0, atol=1e-6)
    # the file's segments beside the series that Slicer read: each voxel where it was segmented
    shown = segmentationToNode(found, segments, "read back", reference=again)
    for number in range(3):
        there, before = (_mask(shown, number, again), _mask(segmentation, number, node))
        assert there.any() and np.array_equal(there, before)  # the grids are the same, see above


def test_the_patient_is_kept_when_asked(radiographs: list[Path], tmp_path: Path) -> None:
    logic = XReconSlicerLogic()
    node = syntheticNode(radiographs)
    logic.exportDicom(node, str(tmp_path / "out"), keepPatient=True)
    first, source = pydicom.dcmread(tmp_path / "out" / "ct" / "0001.dcm"), pydicom.dcmread(radiographs[0])
    for keyword in ("PatientName", "PatientID", "StudyInstanceUID"):
        assert first.get(keyword) == source.get(keyword)
    assert first.SeriesInstanceUID != source.SeriesInstanceUID
    slicer.dicomDatabase.files.clear()
    with pytest.raises(InputError, match="not in the DICOM database"):
        logic.exportDicom(node, str(tmp_path / "other"), keepPatient=True)
    assert not (tmp_path / "other").exists()


def test_segments_of_a_ct_from_dicom_refer_to_its_own_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logic = XReconSlicerLogic()
    images = write_ct_series(obliqueVolume(), tmp_path / "ct")
    node = slicer.util.loadVolume(str(tmp_path / "ct" / "0001.dcm"))
    node.SetAttribute("DICOM.instanceUIDs", " ".join(uid for _, uid in images.images))
    monkeypatch.setattr(slicer, "dicomDatabase", Database(*(tmp_path / "ct").iterdir()), raising=False)
    segmentation, labels = segmentsOn(node)
    logic.exportDicom(node, str(tmp_path / "out"), segmentation, keepPatient=True)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["segmentation.dcm"]
    seg = pydicom.dcmread(tmp_path / "out" / "segmentation.dcm")
    assert seg.StudyInstanceUID == images.study.uid
    assert seg.FrameOfReferenceUID == images.frame_of_reference_uid
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == images.series_uid
    found, _ = read_dicom_seg(tmp_path / "out" / "segmentation.dcm", labels)
    assert found.array.any() and np.array_equal(found.array, labels.array)


def test_a_segmentation_knows_that_its_ct_is_synthetic(radiographs: list[Path]) -> None:
    """A CT from radiographs is measured with other warnings: its node must not forget what it is."""
    assert ctOf(syntheticNode(radiographs)).meta["synthetic"] == "reconstructed from radiographs"
    assert "synthetic" not in ctOf(volumeToNode(obliqueVolume(), "real")).meta
