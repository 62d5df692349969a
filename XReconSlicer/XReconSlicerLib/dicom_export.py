"""A CT node and its segmentation as DICOM files in a folder, from which Slicer or a PACS can import them.

Slicer's own export knows neither the model nor the radiographs behind a synthetic CT. The files are those
that `xrecon reconstruct --dicom` and `xrecon segment --dicom` write.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import qt
import slicer
from slicer.i18n import tr as _
from xrecon.io.atomic import atomic_folder
from xrecon.io.dicom_ct_images import ct_images_of
from xrecon.io.dicom_ct_writer import write_ct_series
from xrecon.io.dicom_seg_writer import write_dicom_seg
from xrecon.io.dicom_study import Study, placeholder_study, study_of
from xrecon.io.segmentation import SegmentDescription
from xrecon.provenance import is_reconstructed, sources_in
from xrecon.volume import InputError, Quantity, Volume

from XReconSlicerLib.pneumothorax import ctOf

CT_FOLDER, SEGMENTATION_FILE = "ct", "segmentation.dcm"


def exportDicom(
    ctNode: slicer.vtkMRMLScalarVolumeNode,
    folder: str | Path,
    segmentationNode: slicer.vtkMRMLSegmentationNode | None = None,
    keepPatient: bool = False,
) -> list[str]:
    """Writes `ct/` and, with a segmentation, `segmentation.dcm` into a new folder; gives notes for the user.

    A CT that was loaded from DICOM is not written again with its segmentation, which refers to its images.
    :param keepPatient: take patient and study over, from the CT's own files or from the radiographs that it
        was computed from; they must be in Slicer's DICOM database. Otherwise a placeholder is written.
    :raises InputError: when a node cannot be used, the folder holds something, or nobody can be taken over.
    """
    ct = ctOf(ctNode)
    files = (
        [] if is_reconstructed(ct.meta) else _files((ctNode.GetAttribute("DICOM.instanceUIDs") or "").split())
    )
    study = _study(ct, files) if keepPatient else placeholder_study()
    labels, segments, notes = _labels(segmentationNode, ctNode, ct) if segmentationNode else (None, [], [])
    with atomic_folder(folder) as staging:
        if files and labels is not None:
            images = ct_images_of(files)
        else:
            images = write_ct_series(ct, staging / CT_FOLDER, study=study)
        if labels is not None:
            path = staging / SEGMENTATION_FILE
            notes += write_dicom_seg(labels, path, ct=images, study=study, segments=segments)
    return [*study.notes, *notes]


def exportByDialog(parent: qt.QWidget, ctNode: slicer.vtkMRMLScalarVolumeNode, keepPatient: bool) -> str:
    """Asks for a folder and writes the CT into a new one in it; gives a line for the status, "" when
    nothing was chosen."""
    chosen = qt.QFileDialog.getExistingDirectory(parent, _("Export DICOM files into"))
    if not chosen:
        return ""
    target = _newFolder(Path(chosen), ctNode.GetName())
    try:
        with slicer.util.WaitCursor():
            notes = exportDicom(ctNode, target, keepPatient=keepPatient)
    except (InputError, OSError) as error:
        slicer.util.errorDisplay(str(error), windowTitle="XRecon")
        return str(error)
    return " ".join([_("Exported: {folder}").format(folder=target), *notes])


def _newFolder(parent: Path, name: str) -> Path:
    """A folder of that name that is not there yet, numbered if need be."""
    safe = "".join(c if c.isalnum() or c in "-_ " else "_" for c in name).strip() or "DICOM"
    folder, number = parent / safe, 2
    while folder.exists():
        folder, number = parent / f"{safe} {number}", number + 1
    return folder


def _files(instances: Sequence[str]) -> list[Path]:
    """The files of DICOM instances, [] unless the database has all of them."""
    database = getattr(slicer, "dicomDatabase", None)
    found = [database.fileForInstance(uid) for uid in instances] if database is not None else []
    return [Path(file) for file in found] if all(found) else []


def _study(ct: Volume, files: Sequence[Path]) -> Study:
    images = [source.sop_instance_uid for source in sources_in(ct.meta) if source.is_dicom]
    files = list(files) or _files(images)
    if not files:
        raise InputError(
            _("Patient and study cannot be taken over: the images that the CT comes from are not in the "
              "DICOM database.")
        )  # fmt: skip
    return study_of(files)


def _labels(
    node: slicer.vtkMRMLSegmentationNode, ctNode: slicer.vtkMRMLScalarVolumeNode, ct: Volume
) -> tuple[Volume, list[SegmentDescription], list[str]]:
    """All segments on the CT's grid, what they are, and a note where they overlap."""
    segmentation = node.GetSegmentation()
    array = np.zeros(ct.shape, np.int16)
    segments, overlap = [], 0
    for index in range(segmentation.GetNumberOfSegments()):
        segmentId = segmentation.GetNthSegmentID(index)
        segment = segmentation.GetSegment(segmentId)
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(node, segmentId, ctNode)
        if mask is not None and np.size(mask):  # none for a segment without a voxel
            overlap += int(np.count_nonzero(array[mask > 0]))
            array[mask > 0] = index + 1
        segments.append(
            SegmentDescription(
                index + 1, segment.GetName(), tuple(segment.GetColor()), segment.GetTerminology() or ""
            )
        )
    notes = []
    if overlap:
        text = _("{count} voxels are in several segments: they were written as the last of them.")
        notes.append(text.format(count=overlap))
    return ct.with_array(array, Quantity.LABEL), segments, notes
