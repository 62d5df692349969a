"""Attributes of a DICOM data set as plain values, whatever a file holds in their place.

Files carry texts where numbers belong, several values where one belongs, and numbers that no
decimal string can hold. One bad attribute is no reason to refuse a picture: it counts as absent and
is noted once, with what it held.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pydicom

_LONGEST_SHOWN = 40


class Tags:
    """The attributes of one data set, by keyword; `notes` grows with those that cannot be read."""

    def __init__(self, dataset: pydicom.Dataset, notes: list[str] | None = None) -> None:
        self.dataset = dataset
        self.notes: list[str] = [] if notes is None else notes

    def value(self, keyword: str) -> Any:
        """What pydicom makes of the attribute; None when it is absent, empty or unreadable."""
        try:
            found = self.dataset.get(keyword)
        except Exception as error:  # conversion of the raw bytes raises whatever it likes
            self._note(f"{keyword} cannot be read ({_short(error)}): not used")
            return None
        return None if found is None or (np.ndim(found) == 0 and found == "") else found

    def texts(self, keyword: str) -> tuple[str, ...]:
        """A text attribute of any multiplicity, without empty entries and outer blanks."""
        found = self.value(keyword)
        values = [found] if found is None or isinstance(found, str | bytes) else _listed(found)
        texts = (one_line(v.decode("ascii", "replace") if isinstance(v, bytes) else v) for v in values if v)
        return tuple(text for text in texts if text)

    def text(self, keyword: str) -> str:
        """The first text of the attribute, "" for none."""
        return next(iter(self.texts(keyword)), "")

    def numbers(self, keyword: str) -> tuple[float, ...]:
        """A numeric attribute of any multiplicity; () when a value is missing or is no finite number."""
        found = self.value(keyword)
        if found is None:
            return ()
        try:
            numbers = tuple(float(v) for v in _listed(found))
        except (TypeError, ValueError, OverflowError):
            numbers = (np.nan,)
        if numbers and not np.isfinite(numbers).all():
            self._note(f"{keyword} {_short(found)} is no number: not used")
            return ()
        return numbers

    def number(self, keyword: str) -> float | None:
        """The one number of the attribute; None when there is none, or several."""
        numbers = self.numbers(keyword)
        if len(numbers) > 1:
            self._note(f"{keyword} has {len(numbers)} values instead of one: not used")
        return numbers[0] if len(numbers) == 1 else None

    def items(self, keyword: str) -> list[pydicom.Dataset]:
        """The items of a sequence; [] when it is absent or no sequence."""
        from pydicom import Dataset

        found = self.value(keyword)
        listed = [] if found is None or isinstance(found, str | bytes) else _listed(found)
        return [item for item in listed if isinstance(item, Dataset)]

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def _listed(found: Any) -> list[Any]:
    """The values of an attribute, one or several."""
    if isinstance(found, str | bytes) or not hasattr(found, "__iter__"):
        return [found]
    return list(found)


def one_line(what: object) -> str:
    """A text, or what a decoder complains of, as one line that can be printed."""
    text = str(what).rpartition("ITK ERROR:")[2]
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _short(what: object) -> str:
    text = one_line(what)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."
