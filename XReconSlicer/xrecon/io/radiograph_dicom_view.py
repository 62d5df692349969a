"""Which view a DICOM radiograph is, by its tags: position, code, layout, or what somebody typed."""

from __future__ import annotations

import re

from xrecon.io.dicom_tags import Tags
from xrecon.io.radiograph_facts import Fact, standard_view
from xrecon.volume import InputError

# DICOM CID 4010 (DX View), in SNOMED CT and in the older SNOMED-RT codes.
VIEW_CODES = {
    "PA": ("272479007", "R-10214", "R-40888"),
    "AP": ("399348003", "R-10206"),
    "LEFT LATERAL": ("399173006", "R-10236"),
    "RIGHT LATERAL": ("399198007", "R-10232"),
    "LATERAL": ("399067008", "R-102CD"),
}
_LATERAL_NAMES = ("LATERAL", "LAT", "L")
# Texts that people or protocols fill in, the most specific first.
_TYPED = ("AcquisitionDeviceProcessingDescription", "SeriesDescription", "ProtocolName")
_WORDS = {
    "PA": r"P\.?A\.?",
    "AP": r"A\.?P\.?",
    "LEFT LATERAL": r"LL|LLAT|(?:LEFT|L|LT)[ ._-]+LAT(?:ERAL)?",
    "RIGHT LATERAL": r"RL|RLAT|(?:RIGHT|R|RT)[ ._-]+LAT(?:ERAL)?",
    "LATERAL": r"LAT(?:ERAL)?\.?",
}
# "Chest PA + LAT" names a study, not a picture.
_LATERALS = ("LEFT LATERAL", "RIGHT LATERAL")


def view_fact(tags: Tags, notes: list[str], guess: bool = True) -> Fact | None:
    """The view from ViewPosition, else ViewCodeSequence; else, for a `guess`, assumed from the directions
    that rows and columns of the picture run in, or from a description; None when nothing tells it.

    The side of a lateral comes from PatientOrientation, else from the laterality, else it is assumed.
    """
    coded = _coded_view(tags)
    position = tags.text("ViewPosition").upper()
    name, tag = (position, "ViewPosition") if position else (coded, "ViewCodeSequence")
    if position in _LATERAL_NAMES and coded in _LATERALS:
        name, tag = coded, "ViewCodeSequence"
    elif position and coded and not _agree(position, coded):
        notes.append(f"ViewCodeSequence ({coded}) contradicts ViewPosition {position}: the latter counts")
    if not name:
        return _assumed_view(tags, notes) if guess else None
    if name in _LATERAL_NAMES:
        return _lateral(tags, tag, notes)
    try:
        view = standard_view(name)
    except InputError:
        notes.append(f"ViewPosition {name} is none of the known views")
        return None
    across = _across(tags)
    if across and across != _plane(view):
        notes.append(f"PatientOrientation is that of a {across} picture, {tag} says {view}")
    return Fact(view, "DICOM", tag)


def _agree(position: str, coded: str) -> bool:
    try:
        return standard_view(position) == coded
    except InputError:
        return position in _LATERAL_NAMES and coded == "LATERAL"


def _coded_view(tags: Tags) -> str:
    for item in tags.items("ViewCodeSequence"):
        code = Tags(item).text("CodeValue")
        for view, codes in VIEW_CODES.items():
            if code in codes:
                return view
    return ""


def _lateral(tags: Tags, tag: str, notes: list[str]) -> Fact:
    """A lateral view with its side."""
    column = (tags.texts("PatientOrientation") or ("",))[0][:1].upper()
    side = {"P": "LEFT", "A": "RIGHT"}.get(column)
    if side:
        return Fact(f"{side} LATERAL", "DICOM", f"{tag}, PatientOrientation")
    for keyword in ("ImageLaterality", "Laterality"):
        side = {"L": "LEFT", "R": "RIGHT"}.get(tags.text(keyword).upper())
        if side:
            return Fact(f"{side} LATERAL", "DICOM", f"{tag}, {keyword}")
    notes.append("lateral view without a side: taken as LEFT LATERAL")
    return Fact("LEFT LATERAL", "assumed", tag)


# -- without view tags -------------------------------------------------------------------------
def _across(tags: Tags) -> str:
    """ "frontal" or "lateral" by the direction in which rows or columns run across the patient, else ""."""
    letters = {text[:1].upper() for text in tags.texts("PatientOrientation")}
    if len(letters) != 2 or not letters & set("HF"):
        return ""
    return "frontal" if letters & set("LR") else "lateral" if letters & set("AP") else ""


def _plane(view: str) -> str:
    return "lateral" if "LATERAL" in view else "frontal"


def _assumed_view(tags: Tags, notes: list[str]) -> Fact | None:
    """A view that no tag for it tells: a frontal one is PA unless a description says AP."""
    across = _across(tags)
    typed, keyword = _typed_view(tags)
    if typed and across and _plane(typed) != across:
        typed = ""
    if not typed and not across:
        return None
    if typed:
        # not what it says: notes end up in reports, and people type names there
        notes.append(f"no view in the tags for it: {typed} by a word in {keyword}, assumed")
        fact = _lateral(tags, keyword, notes) if typed == "LATERAL" else Fact(typed, "assumed", keyword)
        return Fact(fact.value, "assumed", fact.tag)
    if across == "lateral":
        fact = _lateral(tags, "PatientOrientation", notes)
        notes.append(f"no view in the tags for it: {fact.value} by PatientOrientation, assumed")
        return Fact(fact.value, "assumed", "PatientOrientation")
    notes.append("no view in the tags for it: frontal by PatientOrientation, PA assumed")
    return Fact("PA", "assumed", "PatientOrientation")


def _typed_view(tags: Tags) -> tuple[str, str]:
    """The one view that a description names, and the keyword of the description; ("", "") for none."""
    for keyword in _TYPED:
        text = tags.text(keyword).upper()
        found = {v for v, word in _WORDS.items() if re.search(rf"(?<![A-Z0-9])(?:{word})(?![A-Z0-9])", text)}
        if found & set(_LATERALS):
            found.discard("LATERAL")
        if len(found) == 1:
            return found.pop(), keyword
    return "", ""
