"""Whether single values are what DICOM allows: representation, length, number (PS3.5 6.2, PS3.6)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pydicom

# Synthetic Data, of 2022
_YOUNG = (0x0008001C,)
# Representations that are written as text; pydicom reads some of them as numbers.
_TEXTS = ("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UI", "UR", "UT")
_MULTIPLICITY = re.compile(r"(\d+)(?:-(?:(\d+)|(\d*)n))?")


def value_problem(keyword: str, value: Any) -> str:
    """What is wrong with one value of an attribute, "" when nothing is."""
    from pydicom.datadict import dictionary_VR, tag_for_keyword

    return _representation_problem(dictionary_VR(tag_for_keyword(keyword)), value)


def _representation_problem(representation: str, value: Any) -> str:
    from pydicom.config import RAISE
    from pydicom.valuerep import validate_value

    written = str(value) if representation in _TEXTS else value
    try:
        validate_value(representation, written, RAISE)
    except (ValueError, TypeError) as error:
        return str(error)
    return ""


def element_problems(element: pydicom.DataElement) -> list[str]:
    """What is wrong with an attribute: other representation than the dictionary's, too many or too long
    values. Private attributes are not looked at."""
    from pydicom.datadict import dictionary_has_tag, dictionary_VM, dictionary_VR, keyword_for_tag

    if element.tag.is_private:
        return []
    name = keyword_for_tag(element.tag) or f"({element.tag.group:04X},{element.tag.element:04X})"
    if not dictionary_has_tag(element.tag):
        # younger than the dictionary of the installed pydicom
        return [] if element.tag in _YOUNG else [f"{name} is not in DICOM's dictionary"]
    allowed = dictionary_VR(element.tag).split(" or ")
    if element.VR not in allowed:
        return [f"{name} has representation {element.VR}, expected {' or '.join(allowed)}"]
    if element.VR in ("SQ", "OB", "OW"):
        return []
    values = [] if element.is_empty else list(element.value) if element.VM > 1 else [element.value]
    wrong = [_representation_problem(element.VR, value) for value in values]
    problems = [f"{name}: {problem}" for problem in wrong if problem]
    multiplicity = dictionary_VM(element.tag)
    if values and not fits_multiplicity(len(values), multiplicity):
        problems.append(f"{name} has {len(values)} values, expected {multiplicity}")
    return problems


def fits_multiplicity(count: int, multiplicity: str) -> bool:
    """Whether so many values are what the dictionary means by "1", "1-3", "1-n" or "2-2n"."""
    for part in multiplicity.split(" or "):
        found = _MULTIPLICITY.fullmatch(part)
        if found is None:
            continue
        low, high, factor = int(found[1]), found[2], found[3]
        if high is None and factor is None and count == low:
            return True
        if high is not None and low <= count <= int(high):
            return True
        if factor is not None and count >= low and count % int(factor or 1) == 0:
            return True
    return False
