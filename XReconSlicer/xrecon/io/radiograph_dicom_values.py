"""What the pixel values of a DICOM radiograph mean: Modality LUT, VOI LUT, polarity, relation to the beam.

Meanings after PS3.3: C.11.1 (Modality LUT), C.11.2 (VOI LUT), C.8.11.3.1 (DX: intensity relationship,
photometric interpretation, presentation LUT shape), C.8.7.1.1.2 (X-ray image: intensity relationship).
The grey scale is turned round by the photometric interpretation alone: PresentationLUTShape INVERSE only
repeats MONOCHROME1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from xrecon.io.dicom_tags import Tags, one_line
from xrecon.io.pydicom_versions import apply_modality_lut, apply_voi_lut
from xrecon.volume import InputError

if TYPE_CHECKING:
    import pydicom

FOR_PROCESSING = "FOR PROCESSING"
_FOR_PROCESSING_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.1.1.1",  # digital X-ray
    "1.2.840.10008.5.1.4.1.1.1.2.1",  # mammography
    "1.2.840.10008.5.1.4.1.1.1.3.1",  # intra-oral
)
# Here values follow the beam (bright = much of it) unless the file says otherwise; DX states a sign.
_BEAM_MODALITIES = ("XA", "RF")
_MEASURED = ("LIN", "LOG")


@dataclass(frozen=True)
class Values:
    """Pixel values after the Modality LUT, and the VOI LUT if asked for.

    array: float64 (row, column). value_range: smallest and largest value that the file could store.
    bright_is_dense, and the reason. relation: "LIN" or "LOG" when the values are known to be proportional
    to the beam's intensity or its logarithm, else "". notes: a sentence each.
    """

    array: np.ndarray
    value_range: tuple[float, float]
    bright_is_dense: bool
    polarity: str
    relation: str = ""
    notes: tuple[str, ...] = ()

    @property
    def no_beam(self) -> float:
        """With bright = dense: the value of a pixel that no beam reached, if `relation` is "LIN"."""
        low, high = self.value_range
        return high if self.bright_is_dense else low + high


def pixel_values(tags: Tags, stored: np.ndarray, voi: bool, name: str) -> Values:
    """The values of stored pixels (row, column).

    voi: apply the VOI LUT, the curve for the screen. Without it the values lie before that curve, nearer
    to what the detector measured. Raises InputError for a Modality LUT, or an asked-for VOI LUT, that
    cannot be applied.
    """
    notes: list[str] = []
    array, value_range, direction = _modality(tags, stored, name)
    relation = tags.text("PixelIntensityRelationship").upper()
    bright, polarity, measured = _polarity(tags, relation, direction, notes)
    kind, rising = _voi(tags, array, value_range, notes)
    if kind and not measured:  # the polarity is that of the picture on the screen
        bright = bright == rising
        polarity += "" if rising else ", falling VOI LUT"
    if kind and voi:
        array, value_range = _with_voi(tags.dataset, array, value_range, name)
        bright, measured = bright == rising, False
        notes.append(f"VOI LUT applied ({kind})")
    elif kind:
        notes.append(f"VOI LUT ({kind}) is for the screen: not applied")
    elif voi:
        notes.append("no VOI LUT to apply")
    return Values(
        array, value_range, bright, polarity, relation if measured and relation in _MEASURED else "",
        tuple(notes),
    )  # fmt: skip


# -- Modality LUT ------------------------------------------------------------------------------
def _modality(tags: Tags, stored: np.ndarray, name: str) -> tuple[np.ndarray, tuple[float, float], int]:
    """Values after the Modality LUT, the range that the stored bits allow, and its direction (1 or -1)."""
    table = tags.items("ModalityLUTSequence")
    if table:
        try:
            array = np.asarray(apply_modality_lut(stored, tags.dataset), dtype=np.float64)
        except MemoryError:
            raise
        except Exception as error:  # what the table lacks decides what is raised
            raise InputError(f"expected a usable Modality LUT in {name}: {one_line(error)}") from error
        return array, (float(array.min()), float(array.max())), _direction(table[0])
    slope, intercept = tags.number("RescaleSlope") or 1.0, tags.number("RescaleIntercept") or 0.0
    limits = _stored_limits(tags, stored)
    with np.errstate(over="ignore", invalid="ignore"):  # infinite values are refused, and counted, later
        low, high = sorted(limits * slope + intercept)
        return stored * slope + intercept, (float(low), float(high)), 1 if slope > 0 else -1


def _stored_limits(tags: Tags, stored: np.ndarray) -> np.ndarray:
    bits = tags.number("BitsStored")
    bits = int(bits) if bits and 1 <= bits <= 32 else 8 * stored.dtype.itemsize
    bits = max(bits, int(np.abs(stored.astype(np.int64)).max()).bit_length())
    limits = np.array([0.0, 2.0**bits - 1])
    return limits - 2.0 ** (bits - 1) if stored.dtype.kind == "i" else limits


def _direction(item: pydicom.Dataset) -> int:
    """1 for a look-up table that rises from its first to its last entry, -1 for one that falls."""
    entries = _entries(item)
    return -1 if entries.size > 1 and entries[-1] < entries[0] else 1


def _entries(item: pydicom.Dataset) -> np.ndarray:
    """The entries of a look-up table; empty when they cannot be read."""
    tags = Tags(item)
    found = tags.value("LUTData")
    if isinstance(found, bytes):
        wide = (tags.numbers("LUTDescriptor") or (0, 0, 16))[-1] > 8
        return np.frombuffer(found[: len(found) // 2 * 2], "<u2" if wide else "u1").astype(np.float64)
    return np.array(tags.numbers("LUTData"))


# -- polarity ----------------------------------------------------------------------------------
def _polarity(tags: Tags, relation: str, direction: int, notes: list[str]) -> tuple[bool, str, bool]:
    """Whether bright is dense, how that is known, and whether the values follow the beam.

    For presentation: bright on the screen, which is MONOCHROME1's low values. For processing: the sign
    between stored values and beam intensity counts, where it is given (C.8.11.3.1.2). Angiography and
    fluoroscopy: values are proportional to the intensity or its logarithm when the file says so.
    """
    photometric = tags.text("PhotometricInterpretation").upper() or "MONOCHROME2"
    shape = tags.text("PresentationLUTShape").upper()
    if shape and (shape == "INVERSE") != (photometric == "MONOCHROME1"):
        notes.append(f"PresentationLUTShape {shape} contradicts {photometric}: the latter counts")
    sign = tags.number("PixelIntensityRelationshipSign")
    if is_for_processing(tags) and sign in (1, -1):
        return sign * direction < 0, f"for processing, PixelIntensityRelationshipSign {sign:g}", True
    if tags.text("Modality") in _BEAM_MODALITIES and relation in _MEASURED:
        sign = sign if sign in (1, -1) else 1
        return sign * direction < 0, f"PixelIntensityRelationship {relation}, sign {sign:g}", True
    if sign in (1, -1) and (sign == 1) != (photometric == "MONOCHROME1"):
        notes.append(
            f"PixelIntensityRelationshipSign {sign:g} contradicts {photometric} of a picture for the screen: "
            "the latter counts"
        )
    return photometric != "MONOCHROME1", photometric, False


def is_for_processing(tags: Tags) -> bool:
    """Whether the picture is meant for processing, by its PresentationIntentType or its SOP class."""
    intent = tags.text("PresentationIntentType").upper()
    return intent == FOR_PROCESSING or (not intent and tags.text("SOPClassUID") in _FOR_PROCESSING_CLASSES)


# -- VOI LUT -----------------------------------------------------------------------------------
def _voi(
    tags: Tags, array: np.ndarray, value_range: tuple[float, float], notes: list[str]
) -> tuple[str, bool]:
    """What the first VOI LUT is, "" for none, and whether it rises."""
    items = tags.items("VOILUTSequence")
    if items and not _entries(items[0]).size:
        notes.append("VOI LUT without entries: not used")
        return "", True
    if items:  # its LUTExplanation is free text
        return "table", _direction(items[0]) > 0
    center, width = tags.numbers("WindowCenter")[:1], tags.numbers("WindowWidth")[:1]
    if not center or not width:
        return "", True
    function = tags.text("VOILUTFunction").upper() or "LINEAR"
    shortest = 1.0 if function == "LINEAR" else np.nextafter(0.0, 1.0)
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID") or width[0] < shortest:
        notes.append(f"window {center[0]:g}/{width[0]:g} {function} is not usable: not used")
        return "", True
    return f"window {center[0]:g}/{width[0]:g} {function}", True


def _with_voi(
    dataset: pydicom.Dataset, array: np.ndarray, value_range: tuple[float, float], name: str
) -> tuple[np.ndarray, tuple[float, float]]:
    """Values after the VOI LUT and the range they can have."""
    whole = np.array_equal(array, np.rint(array)) and np.abs(array).max() < 2**31
    try:
        given = array.astype(np.int64) if whole else array  # a table is looked up by whole numbers
        shown = np.asarray(apply_voi_lut(given, dataset), dtype=np.float64)
    except MemoryError:
        raise
    except Exception as error:  # what the table lacks decides what is raised
        raise InputError(f"expected a usable VOI LUT in {name}: {one_line(error)}") from error
    return shown, (float(shown.min()), float(shown.max()))
