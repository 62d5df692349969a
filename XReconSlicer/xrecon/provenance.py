"""What a result was made from, kept as texts in `meta`, and how much of it leaves with a file or a report.

Three circles: in memory everything is known. A data file (NRRD, NIfTI, DICOM) keeps the unique identifiers
of the source images, which mean something only to who holds those images. A report (HTML, JSON, CSV) is
made to be shared: no identifiers, no free text of the scanner's operator, no names of nodes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from xrecon.volume import Radiograph

# Key of `meta` under which a volume keeps its source images.
SOURCES = "sources"
# Free text of who ran the scanner, and the name of what was read: a reader sets it anew.
_NOT_IN_FILES = ("SeriesDescription", "file")
# A node is called as somebody called it; the notes on the sources have identifiers in them.
_NOT_IN_REPORTS = (*_NOT_IN_FILES, "node", SOURCES)
_UIDS = {
    "sop_class_uid": "SOPClassUID",
    "sop_instance_uid": "SOPInstanceUID",
    "series_uid": "SeriesInstanceUID",
    "study_uid": "StudyInstanceUID",
}


@dataclass(frozen=True)
class SourceImage:
    """One image that a result was computed from; "" where something is not known.

    view: name of the view. file: name without its folder. sha256: of the file's bytes. The others are
    DICOM's unique identifiers.
    """

    view: str = ""
    file: str = ""
    sha256: str = ""
    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    series_uid: str = ""
    study_uid: str = ""

    @property
    def is_dicom(self) -> bool:
        """Whether it can be referred to in a DICOM object."""
        return bool(self.sop_class_uid and self.sop_instance_uid)

    def shareable(self) -> dict[str, str]:
        """What a report may tell of it."""
        told = {"view": self.view, "file": self.file, "sha256": self.sha256}
        return {name: value for name, value in told.items() if value}


def source_of(radiograph: Radiograph) -> SourceImage:
    """What is known of the file that a radiograph was read from."""
    meta = radiograph.meta
    uids = {name: meta.get(keyword, "") for name, keyword in _UIDS.items()}
    return SourceImage(radiograph.view, meta.get("file", ""), meta.get("sha256", ""), **uids)


def sources_text(sources: Iterable[SourceImage]) -> str:
    """Source images as the text that `meta` keeps."""
    return json.dumps([{k: v for k, v in asdict(source).items() if v} for source in sources])


def sources_in(meta: Mapping[str, str]) -> list[SourceImage]:
    """The source images of a result, [] when it names none or other software has changed the entry."""
    try:
        found = json.loads(meta.get(SOURCES, "[]"))
        return [SourceImage(**{str(k): str(v) for k, v in each.items()}) for each in found]
    except (ValueError, TypeError, AttributeError):
        return []


def for_files(meta: Mapping[str, str]) -> dict[str, str]:
    """The entries of `meta` that go into a data file."""
    return {key: value for key, value in meta.items() if key not in _NOT_IN_FILES}


def for_reports(meta: Mapping[str, str]) -> dict[str, str]:
    """The entries of `meta` that go into a report."""
    return {key: v for key, v in meta.items() if key not in _NOT_IN_REPORTS and not key.endswith("UID")}


def shareable_name(path: Path) -> str:
    """What a report calls a source: a file by its name, a folder by its kind, since folders with DICOM
    series are mostly called after the patient."""
    return "DICOM folder" if path.is_dir() else path.name


def is_reconstructed(meta: Mapping[str, str]) -> bool:
    """Whether a volume was computed from radiographs."""
    return meta.get("synthetic", "").startswith("reconstructed")
