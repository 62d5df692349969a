"""One frame of a DICOM image: its number, and its attributes out of the functional groups.

Multi-frame XA, RF and secondary captures hold several pictures in one file. Enhanced objects
(PS3.3 A.47, A.48) keep geometry, spacing and rescaling of each frame in the Shared and Per-Frame
Functional Groups Sequences; `of_frame` lays those open, so that they read as in any other file.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from xrecon.io.dicom_tags import Tags, one_line
from xrecon.volume import InputError

if TYPE_CHECKING:
    import pydicom


def frame_count(dataset: pydicom.Dataset) -> int:
    """Number of frames, 1 where the file does not say it."""
    number = Tags(dataset).number("NumberOfFrames")
    return max(1, int(number)) if number is not None else 1


def chosen_frame(count: int, frame: int | None, name: str | Path, what: str = "frame") -> int:
    """Index (from 0) of the wanted picture of a file, `frame` being its number from 1.

    Raises InputError, with the number of pictures, when there are several and none was chosen, or the
    number lies outside.
    """
    if frame is None:
        if count == 1:
            return 0
        raise InputError(f"expected one picture, {name} has {count} {what}s: choose one, from 1 to {count}")
    if not 1 <= frame <= count:
        have = f"the {what}s 1 to {count}" if count > 1 else f"one {what}"
        raise InputError(f"expected a {what} that is there, got {frame}: {name} has {have}")
    return frame - 1


def of_frame(dataset: pydicom.Dataset, index: int) -> pydicom.Dataset:
    """The data set with the attributes of frame `index` (from 0) at its top level.

    A copy that shares the pixels. What stands at the top level already counts more; the frame's own
    groups count more than the shared ones. Raises InputError for a damaged element.
    """
    tags = Tags(dataset)
    own, shared = tags.items("PerFrameFunctionalGroupsSequence"), tags.items("SharedFunctionalGroupsSequence")
    groups = [*own[index : index + 1], *shared[:1]]
    if not groups:
        return dataset
    try:
        flat = copy.deepcopy(dataset)  # a shallow one shares the table of elements
    except Exception as error:
        raise InputError(f"expected a sound multi-frame DICOM file: {one_line(error)}") from error
    for macro in (element for group in groups for element in _elements(group) if element.VR == "SQ"):
        for item in list(macro.value or ())[:1]:  # these macros have one
            for element in _elements(item):
                if element.tag not in flat:
                    flat[element.tag] = element
    return flat


def _elements(dataset: pydicom.Dataset) -> Iterator[pydicom.DataElement]:
    """The elements that can be read; a damaged one is as good as none."""
    for tag in dataset.keys():  # noqa: SIM118 - a data set iterates over its elements
        with contextlib.suppress(Exception):
            yield dataset[tag]
