"""Whose and which study an exported object belongs to: a placeholder, or taken over from source images.

Patient, General Study and Patient Study modules of PS3.3 C.7.1.1, C.7.2.1 and C.7.2.2.
"""

from __future__ import annotations

import secrets
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from xrecon.io.checks import is_dicom
from xrecon.io.dicom_pixels import read_dataset
from xrecon.io.dicom_values import value_problem
from xrecon.volume import InputError

if TYPE_CHECKING:
    import pydicom

# Type 2: present in every object, empty when not known.
REQUIRED = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime",
    "ReferringPhysicianName", "StudyID", "AccessionNumber",
)  # fmt: skip
# Type 3, taken over where the source has them.
_FURTHER = (
    "IssuerOfPatientID", "PatientAge", "PatientSize", "PatientWeight", "StudyDescription",
    "PatientIdentityRemoved", "DeidentificationMethod",
)  # fmt: skip
PLACEHOLDER_NAME = "Anonymous^XRecon"


@dataclass(frozen=True)
class Study:
    """A patient and a study.

    uid: Study Instance UID. attributes: values by DICOM keyword. is_placeholder: whether patient and study
    were made up. notes: one sentence for each value of the source that could not be used.
    """

    uid: str
    attributes: Mapping[str, str]
    is_placeholder: bool = False
    notes: tuple[str, ...] = field(default=())

    def put(self, dataset: pydicom.Dataset) -> None:
        """Write the attributes into a data set, all of type 2 included."""
        dataset.StudyInstanceUID = self.uid
        for keyword in REQUIRED:
            setattr(dataset, keyword, self.attributes.get(keyword, ""))
        for keyword in _FURTHER:
            if self.attributes.get(keyword):
                setattr(dataset, keyword, self.attributes[keyword])


def placeholder_study() -> Study:
    """A patient who does not exist, each time another one, so that two exports never become one person."""
    from pydicom.uid import generate_uid

    now = datetime.now()
    attributes = {
        "PatientName": PLACEHOLDER_NAME,
        "PatientID": f"XRECON-{secrets.token_hex(4).upper()}",
        "StudyDate": now.strftime("%Y%m%d"),  # of the export, not of an examination
        "StudyTime": now.strftime("%H%M%S"),
        "StudyID": "1",
        "PatientIdentityRemoved": "YES",
        "DeidentificationMethod": "Patient and study were not taken over from the source",
    }
    return Study(str(generate_uid()), attributes, is_placeholder=True)


def study_of(paths: Sequence[str | Path]) -> Study:
    """Patient and study of the first DICOM file among `paths`.

    Values that DICOM does not allow are left out, which `notes` tells.
    Raises InputError when none is a DICOM file, the files are of different patients, or the study has no
    valid UID; FileNotFoundError when one is not there.
    """
    files = [Path(path) for path in paths if is_dicom(Path(path))]
    if not files:
        names = ", ".join(Path(path).name for path in paths) or "nothing"
        raise InputError(f"expected a DICOM file to take patient and study from, got {names}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # pydicom's, which print the values; ours do not
        datasets = [read_dataset(path, pixels=False) for path in files]
        _require_one_patient(datasets)
        return _study(datasets[0], files[0])


def _require_one_patient(datasets: Sequence[pydicom.Dataset]) -> None:
    """Raises InputError when the patient IDs differ, or, since a file may have none, names or birth dates do.

    A name or birth date that a file lacks contradicts nobody's. Names are compared as PS3.5 6.2 has them:
    each of the groups (alphabetic, ideographic, phonetic) for itself, where a file may lack one; letters of
    either case, and empty components at the end do not count.
    """

    def texts(keyword: str) -> list[str]:
        return [str(each.get(keyword, "") or "").strip() for each in datasets]

    names = [text.split("=") for text in texts("PatientName")]
    groups = [
        {" ".join(name[k].rstrip("^ ").casefold().split()) for name in names if len(name) > k} - {""}
        for k in range(max(map(len, names)))
    ]
    ids, births = set(texts("PatientID")), set(texts("PatientBirthDate")) - {""}
    for count, what in (
        (len(ids), "patient IDs"), (max(map(len, groups)), "patient names"), (len(births), "birth dates"),
    ):  # fmt: skip
        if count > 1:
            raise InputError(f"expected images of one patient, got {count} different {what}")


def _study(dataset: pydicom.Dataset, path: Path) -> Study:
    uid = str(dataset.get("StudyInstanceUID", "") or "")
    if not uid or value_problem("StudyInstanceUID", uid):
        raise InputError(f"expected a valid StudyInstanceUID to take over, got {uid!r} in {path}")
    dataset.decode()  # names are written anew in UTF-8
    attributes, notes = {}, []
    for keyword in (*REQUIRED, *_FURTHER):
        value = str(dataset.get(keyword, "") if dataset.get(keyword) is not None else "").strip()
        problem = value_problem(keyword, value) if value else ""
        if problem:  # told without the value: notes end up in reports
            notes.append(f"{keyword} of the source is not what DICOM allows and was left empty")
        elif value:
            attributes[keyword] = value
    if attributes.get("PatientIdentityRemoved") == "YES":
        attributes.setdefault("DeidentificationMethod", "As in the source images")
    return Study(uid, attributes, notes=tuple(notes))
