"""Results as DICOM objects in one folder, and the command `xrecon export`: a volume in other formats.

    <folder>/ct/0001.dcm ...      the CT series, where it is not in DICOM already
    <folder>/segmentation.dcm     the segments, tied to the CT's images

The folder appears whole or not at all.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from xrecon.io.atomic import atomic_folder
from xrecon.io.checks import file_stem, is_dicom
from xrecon.io.dicom_seg import RESAMPLED
from xrecon.io.folder import output_folder
from xrecon.outcome import Outcome, ProgressCallback
from xrecon.volume import InputError, Quantity, Volume

if TYPE_CHECKING:
    from xrecon.io.dicom_ct_images import CtImages
    from xrecon.io.dicom_seg_writer import Algorithm
    from xrecon.io.dicom_study import Study
    from xrecon.io.segmentation import SegmentDescription
    from xrecon.pipelines import Reconstruction, Segmentation

CT_FOLDER, SEGMENTATION_FILE = "ct", "segmentation.dcm"
DICOM = "dicom"
_OTHERS_PATIENT = (
    "the DICOM segmentation has a placeholder for the patient: viewers show it on the CT it was made from "
    "only with --keep-patient"
)


@dataclass(frozen=True)
class DicomTarget:
    """Where DICOM objects go, and whether patient and study of the input are taken over."""

    folder: Path
    keep_patient: bool = False


@dataclass
class DicomExport:
    """Writes DICOM objects of one study.

    staging: where they are made; target: where they will lie. study: whose they are.
    """

    staging: Path
    target: Path
    study: Study
    files: dict[str, Path] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def ct(self, volume: Volume) -> CtImages:
        """Write a volume as a CT series. Raises as `write_ct_series`."""
        from xrecon.io.dicom_ct_writer import write_ct_series

        self.files["dicom_ct"] = self.target / CT_FOLDER
        return write_ct_series(volume, self.staging / CT_FOLDER, study=self.study)

    def segmentation(
        self,
        labels: Volume,
        ct: CtImages,
        segments: Sequence[SegmentDescription],
        algorithm: Algorithm | None = None,
    ) -> None:
        """Write labels on the grid of a CT; when they are all empty, only note it."""
        from xrecon.io.dicom_seg_writer import write_dicom_seg

        if not labels.array.any():
            self.notes.append("no segment has a voxel: no DICOM segmentation was written")
            return
        self.files["dicom_segmentation"] = self.target / SEGMENTATION_FILE
        path = self.staging / SEGMENTATION_FILE
        self.notes += write_dicom_seg(
            labels, path, ct=ct, study=self.study, segments=segments, algorithm=algorithm
        )

    def of_reconstruction(self, result: Reconstruction) -> None:
        """The CT, and the classes of a model that also segments."""
        from xrecon.io.dicom_seg_writer import Algorithm
        from xrecon.io.segmentation import numbered_segments

        images = self.ct(result.volume)
        if result.labels is not None:
            found = Algorithm(result.model, family=("123110", "Artificial Intelligence"))
            self.segmentation(result.labels, images, numbered_segments(result.label_names), found)

    def of_segmentation(self, volume: Volume, result: Segmentation, ct: Path) -> None:
        """What PTX-Seg found in a CT: tied to the CT's own images where they are DICOM, else to a series
        that is written with it."""
        from xrecon.io.dicom_ct_images import ct_images_of
        from xrecon.io.dicom_series import series_files
        from xrecon.io.segmentation import PTX_SEGMENTS

        if ct.is_dir():
            images = ct_images_of(series_files(ct))
            if self.study.is_placeholder:
                self.notes.append(_OTHERS_PATIENT)
        else:
            images = self.ct(volume)
        self.segmentation(result.labels, images, PTX_SEGMENTS, ptx_algorithm(result))


def ptx_algorithm(result: Segmentation) -> Algorithm:
    """PTX-Seg with its mode and settings, as a DICOM segmentation tells it."""
    from xrecon.io.dicom_seg_writer import Algorithm
    from xrecon.io.sidecar import json_text

    settings = {"lungs": result.lung_source, **result.parameters.model_dump(mode="json")}
    return Algorithm(f"PTX-Seg, {result.mode} mode", parameters=json_text(settings))


@contextmanager
def dicom_export(target: DicomTarget | None, inputs: Sequence[Path]) -> Iterator[DicomExport | None]:
    """The export into a folder, or None without one. The folder appears when the block has succeeded.

    inputs: the files that patient and study are taken from when the target asks for it: DICOM files, or
    folders with a CT series.
    Raises InputError at once when the folder holds something or there is nobody to take over.
    """
    if target is None:
        with nullcontext() as nothing:
            yield nothing
        return
    study = _study(target.keep_patient, inputs)
    with atomic_folder(target.folder) as staging:
        yield DicomExport(staging, target.folder, study, notes=list(study.notes))


@contextmanager
def results(
    output: Path, dicom: DicomTarget | None, inputs: Sequence[Path]
) -> Iterator[tuple[Path, DicomExport | None]]:
    """A folder for the files of a result, as `output_folder`, and the export beside it, as `dicom_export`:
    when the block has succeeded both appear, or neither does."""
    appeared, was_empty = False, dicom is not None and dicom.folder.exists()
    try:
        with output_folder(output) as folder:
            with dicom_export(dicom, inputs) as exported:
                yield folder, exported
            appeared = exported is not None
    except BaseException:  # on moving the files, when the export lay in its place already
        if appeared and dicom is not None:
            shutil.rmtree(dicom.folder, ignore_errors=True)
            if was_empty:
                dicom.folder.mkdir(exist_ok=True)
        raise


def _study(keep_patient: bool, inputs: Sequence[Path]) -> Study:
    from xrecon.io.dicom_series import series_files
    from xrecon.io.dicom_study import placeholder_study, study_of

    if not keep_patient:
        return placeholder_study()
    return study_of([series_files(path)[0] if path.is_dir() else path for path in inputs])


def with_dicom(outcome: Outcome, made: DicomExport | None) -> Outcome:
    """The outcome with what was exported, and the notes on it among its warnings."""
    if made is None:
        return outcome
    return replace(outcome, files={**outcome.files, **made.files}, warnings=[*outcome.warnings, *made.notes])


# -- the command ---------------------------------------------------------------------------------
def export(
    volume: Path,
    output: Path,
    form: str,
    segmentation: Path | None,
    patient_from: Path | None,
    progress: ProgressCallback,
) -> Outcome:
    """A volume file, and labels on its grid, in another format with all that is known of their making.

    form: "dicom", or a format of `io.image.WRITE_SUFFIXES` without its dot. patient_from: a DICOM file or
    series whose patient and study a DICOM export takes over.
    A DICOM segmentation that lies between the volume's voxels is put on them, which a warning tells.
    Raises InputError for an unknown format, a volume that is not HU, labels of another kind of file on
    another grid, a DICOM segmentation of something else (`read_dicom_seg`), or patient_from without DICOM.
    """
    from xrecon.io.image import WRITE_SUFFIXES, read_volume

    known = (DICOM, *(suffix.removeprefix(".") for suffix in WRITE_SUFFIXES))
    if form not in known:
        raise InputError(f"expected a format out of {', '.join(known)}, got {form!r}")
    if patient_from is not None and form != DICOM:
        raise InputError(f"expected the format dicom to take a patient over, got {form}")
    progress("read", 0.0, volume.name)
    ct = read_volume(volume)
    labels, segments = _labels(segmentation, ct) if segmentation else (None, [])
    progress("write", 0.0, form)
    if form == DICOM:
        made = _as_dicom(volume, ct, output, labels, segments, patient_from)
    else:
        made = _as_files(volume, ct, output, form, labels, segments)
    resampled = labels.meta.get(RESAMPLED) if labels else None
    return replace(made, warnings=[*made.warnings, resampled]) if resampled else made


def _labels(path: Path, ct: Volume) -> tuple[Volume, list[SegmentDescription]]:
    from xrecon.io.dicom_seg import read_dicom_seg
    from xrecon.io.segmentation import read_segmentation, uncropped_labels

    found, segments = read_dicom_seg(path, ct) if is_dicom(path) else read_segmentation(path)
    labels = uncropped_labels(found, ct)
    if not labels.same_grid(ct):
        raise InputError(f"expected a segmentation on the grid of the volume {ct.shape}, got {labels.shape}")
    return labels, segments


def _as_dicom(
    source: Path,
    ct: Volume,
    output: Path,
    labels: Volume | None,
    segments: Sequence[SegmentDescription],
    patient_from: Path | None,
) -> Outcome:
    target = DicomTarget(output, patient_from is not None)
    with dicom_export(target, [patient_from] if patient_from else []) as made:
        images = made.ct(ct)
        if labels is not None:
            kept = labels.with_array(labels.array, Quantity.LABEL, **ct.meta)
            made.segmentation(kept, images, segments)
    return Outcome(made.files, {"source": source.name}, "", made.notes)


def _as_files(
    source: Path,
    ct: Volume,
    output: Path,
    form: str,
    labels: Volume | None,
    segments: Sequence[SegmentDescription],
) -> Outcome:
    from xrecon.io.image import write_volume
    from xrecon.io.segmentation import write_segmentation
    from xrecon.io.sidecar import read_record

    stem = "ct" if source.is_dir() else file_stem(source)
    files = {"volume": f"{stem}.{form}"}
    record = {} if source.is_dir() else read_record(source)
    with output_folder(output) as folder:
        write_volume(ct, folder / files["volume"], record or None)
        if labels is not None:
            files["segmentation"] = "segmentation.seg.nrrd"
            write_segmentation(labels, folder / files["segmentation"], segments)
    return Outcome({role: output / name for role, name in files.items()}, {"source": source.name})
