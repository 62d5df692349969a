"""Random DICOM radiographs, as hypothesis strategies: plausible, contradicting, malformed and damaged."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from hypothesis import strategies as st
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.tag import Tag
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

# The tags that are read, each with values that mean something, contradict others, or mean nothing.
TEXTS = {
    "Modality": ["DX", "DX", "DX", "XA", "XA", "RF", "OT", "CT", "", "DX\\CR"],
    "PhotometricInterpretation": ["MONOCHROME1", "MONOCHROME2", "RGB", "", "monochrome1"],
    "PresentationLUTShape": ["IDENTITY", "INVERSE", "LIN OD"],
    "PresentationIntentType": ["FOR PROCESSING", "FOR PRESENTATION", "?"],
    "PixelIntensityRelationship": ["LIN", "LOG", "DISP", "x"],
    "VOILUTFunction": ["LINEAR", "LINEAR_EXACT", "SIGMOID", "CUBIC"],
    "ViewPosition": ["PA", "AP", "LL", "RL", "LAT", "LATERAL", "RLO", "x" * 20],
    "PatientOrientation": ["L\\F", "R\\F", "P\\F", "A\\F", "F\\L", "H\\P", "L", "L\\L", "Q\\Z", "\\"],
    "ImageLaterality": ["L", "R", "U", "B", "left"],
    "SeriesDescription": ["Chest PA", "Thorax lat.", "PA + LAT", "W033 a.p."],
    "PositionerType": ["CARM", "COLUMN"],
    "PositionerMotion": ["STATIC", "DYNAMIC"],
    "PixelSpacingCalibrationType": ["GEOMETRY", "FIDUCIAL"],
    "ShutterShape": ["RECTANGULAR", "CIRCULAR", "POLYGONAL", "RECTANGULAR\\CIRCULAR", "STAR"],
    "CollimatorShape": ["RECTANGULAR", "POLYGONAL"],
}
NUMBERS = (
    "RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth", "ImagerPixelSpacing", "PixelSpacing",
    "NominalScannedPixelSpacing", "DistanceSourceToDetector", "DistanceSourceToPatient",
    "EstimatedRadiographicMagnificationFactor", "PositionerPrimaryAngle", "PositionerSecondaryAngle",
    "DetectorPrimaryAngle", "DetectorSecondaryAngle", "NumberOfFrames", "PixelIntensityRelationshipSign",
    "ShutterLeftVerticalEdge", "ShutterRightVerticalEdge", "ShutterUpperHorizontalEdge",
    "ShutterLowerHorizontalEdge", "CenterOfCircularShutter", "RadiusOfCircularShutter",
    "VerticesOfThePolygonalShutter", "VerticesOfThePolygonalCollimator",
)  # fmt: skip
INTEGERS = (
    "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel",
    "PixelPaddingValue",
)  # fmt: skip
TABLES = ("ModalityLUTSequence", "VOILUTSequence")
SEQUENCES = (*TABLES, "ViewCodeSequence", "RealWorldValueMappingSequence", "PerFrameFunctionalGroupsSequence")
_DECIMALS = st.one_of(
    st.sampled_from(["0", "1", "-1", "2", "0.143", "0.2", "1.25", "1500", "1800", "180", "-30", "90", "400"]),
    st.sampled_from(["", "nan", "inf", "1e300", "-1e-300", "12,5", "abc", "1 2"]),
    st.floats(allow_nan=False, width=32).map(lambda x: f"{x:.6g}"),
    st.integers(-(2**31), 2**31 - 1).map(str),
)
_NUMBER_TEXTS = st.lists(_DECIMALS, min_size=1, max_size=4).map("\\".join)
_PAIRS = st.tuples(_DECIMALS, _DECIMALS).map("\\".join)


# -- writing -----------------------------------------------------------------------------------
def _encoded(keyword: str, value: bytes, implicit: bool) -> bytes:
    """An element as it stands in a file, whatever its bytes; pydicom would not write most of them."""
    tag = Tag(tag_for_keyword(keyword))
    vr = dictionary_VR(tag).split(" ")[0] if keyword != "PixelData" else "OW"
    value += b" " * (len(value) % 2)
    head = struct.pack("<HH", tag.group, tag.element)
    if implicit:
        return head + struct.pack("<I", len(value)) + value
    if vr in ("OB", "OW", "SQ", "UN", "UT"):
        return head + vr.encode() + struct.pack("<HI", 0, len(value)) + value
    return head + vr.encode() + struct.pack("<H", len(value) & 0xFFFF) + value


def _fragment(pixels: bytes) -> bytes:
    """Pixel data of a compressed image of one fragment."""
    head = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF)
    table, item = (struct.pack("<HHI", 0xFFFE, 0xE000, size) for size in (0, len(pixels)))
    return head + table + item + pixels + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def _run_length(pixels: bytes, wide: int) -> bytes:
    """Run-length coded pixels of `wide` bytes each: literal runs, the most significant byte first."""
    segments = []
    for byte in reversed(range(wide)):
        plane = pixels[byte::wide]
        runs = (plane[i : i + 128] for i in range(0, len(plane), 128))
        coded = b"".join(bytes([len(run) - 1]) + run for run in runs)
        segments.append(coded + bytes(len(coded) % 2))
    offsets = [64 + sum(map(len, segments[:i])) for i in range(wide)]
    return struct.pack("<16I", wide, *offsets, *[0] * (15 - wide)) + b"".join(segments)


def _items(datasets: list[dict[str, bytes]], implicit: bool) -> bytes:
    """The items of a sequence; a value that is a list is a sequence itself."""
    coded = []
    for dataset in datasets:
        body = b"".join(
            _encoded(keyword, _items(value, implicit) if isinstance(value, list) else value, implicit)
            for keyword, value in sorted(dataset.items(), key=lambda pair: tag_for_keyword(pair[0]))
        )
        coded.append(struct.pack("<HHI", 0xFFFE, 0xE000, len(body)) + body)
    return b"".join(coded)


def _file(elements: dict[str, Any], pixels: bytes, syntax: str) -> bytes:
    """A DICOM file; `pixels` is the whole element of the pixel data."""
    implicit = syntax == ImplicitVRLittleEndian
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = syntax, ComputedRadiographyImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    buffer = DicomBytesIO()
    buffer.write(bytes(128) + b"DICM")
    write_file_meta_info(buffer, meta)
    return buffer.getvalue() + _items([elements], implicit)[8:] + pixels


# -- strategies --------------------------------------------------------------------------------
@st.composite
def _table(draw: st.DrawFn) -> dict[str, Any]:
    item: dict[str, Any] = {}
    count = draw(st.sampled_from([0, 1, 16, 256, 4096]))
    if draw(st.booleans()) or draw(st.booleans()):
        bits = draw(st.sampled_from([8, 12, 16, 99]))
        item["LUTDescriptor"] = struct.pack("<3H", count, draw(st.sampled_from([0, 1, 100])), bits)
    if draw(st.booleans()) or draw(st.booleans()):
        entries = np.arange(count, dtype="<u2")
        item["LUTData"] = (entries[::-1] if draw(st.booleans()) else entries).tobytes()
    return item


@st.composite
def _sequence(draw: st.DrawFn, keyword: str) -> list[dict[str, Any]]:
    if keyword in TABLES:
        return [draw(_table()) for _ in range(draw(st.integers(0, 2)))]
    if keyword == "ViewCodeSequence":
        return [{"CodeValue": draw(st.sampled_from([b"272479007", b"R-10236", b"399067008", b"x", b""]))}]
    if keyword == "RealWorldValueMappingSequence":
        item = {"LUTLabel": draw(st.sampled_from([b"LINE_INTEGRAL", b"LOG_SIGNAL", b"x"]))}
        slope = draw(st.sampled_from([0.001, 0.0, -1.0, float("nan")]))
        if draw(st.booleans()):
            item |= {
                "RealWorldValueSlope": struct.pack("<d", slope),
                "RealWorldValueIntercept": struct.pack("<d", 1.0),
            }
        return [item]
    inner = {"RescaleSlope": draw(st.sampled_from([b"2", b"-1", b"x"]))}
    return [{"PixelValueTransformationSequence": [inner] * draw(st.integers(0, 2))}]


@st.composite
def radiograph_files(draw: st.DrawFn) -> bytes:
    """The bytes of a DICOM file: a sound radiograph with some tags and bytes changed."""
    rows, columns = draw(st.integers(2, 24)), draw(st.integers(2, 24))
    allocated = draw(st.sampled_from([8, 16, 16, 16, 32]))
    bits = draw(st.one_of(st.just(allocated * 3 // 4), st.integers(1, allocated)))
    kind = draw(st.sampled_from(["noise", "noise", "ramp", "ramp", "flat"]))
    top = 2 ** (bits if draw(st.integers(0, 3)) else allocated)
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    values = {
        "noise": rng.integers(0, top, (rows, columns), dtype=np.uint64),
        "ramp": np.linspace(0, top - 1, rows * columns).astype(np.uint64),
        "flat": np.zeros(rows * columns, np.uint64),
    }[kind]
    pixels = values.astype(f"<u{allocated // 8}").tobytes()
    if draw(st.integers(0, 9)) == 0:
        pixels = pixels[: draw(st.integers(0, len(pixels)))]
    syntax = draw(st.sampled_from([ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless]))
    if syntax == RLELossless:
        coded = _fragment(_run_length(pixels, allocated // 8))
    else:
        coded = _encoded("PixelData", pixels, syntax == ImplicitVRLittleEndian)
    counts = {
        "Rows": rows, "Columns": columns, "BitsAllocated": allocated, "BitsStored": bits, "HighBit": bits - 1,
        "SamplesPerPixel": 1, "PixelRepresentation": draw(st.sampled_from([0, 0, 1])),
    }  # fmt: skip
    elements: dict[str, Any] = {keyword: struct.pack("<H", count) for keyword, count in counts.items()}
    elements |= {
        "SOPClassUID": str(ComputedRadiographyImageStorage).encode(),
        "Modality": b"CR",
        "PhotometricInterpretation": b"MONOCHROME2",
    }
    for keyword in draw(st.lists(st.sampled_from(SEQUENCES), max_size=1)):
        elements[keyword] = draw(_sequence(keyword))
    elements |= draw(_changes())
    whole = _file({k: v for k, v in elements.items() if v is not None}, coded, syntax)
    return draw(_damaged(whole))


@st.composite
def _changes(draw: st.DrawFn) -> dict[str, bytes | None]:
    """Bytes of some attributes, None for one that is taken out."""
    changes: dict[str, bytes | None] = {}
    for keyword in draw(st.lists(st.sampled_from(sorted(TEXTS)), max_size=3, unique=True)):
        changes[keyword] = draw(st.sampled_from(TEXTS[keyword])).encode()
    for keyword in draw(st.lists(st.sampled_from(NUMBERS), max_size=3, unique=True)):
        if dictionary_VR(tag_for_keyword(keyword)) in ("DS", "IS"):
            text = _PAIRS if "Spacing" in keyword or "Center" in keyword else _NUMBER_TEXTS
            changes[keyword] = draw(text).encode()
        else:
            changes[keyword] = draw(st.integers(-2, 2)).to_bytes(2, "little", signed=True)
    if draw(st.integers(0, 7)) == 0:
        keyword = draw(st.sampled_from(INTEGERS))
        value = draw(st.sampled_from([0, 1, 2, 3, 7, 8, 12, 15, 16, 32, 255, 65535]))
        changes[keyword] = draw(st.sampled_from([value.to_bytes(2, "little"), b"", b"\1\0\2\0", None]))
    if draw(st.integers(0, 9)) == 0:
        changes[draw(st.sampled_from([*TEXTS, *NUMBERS]))] = draw(st.binary(max_size=12))
    return changes


@st.composite
def _damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """The file with a few bytes changed, or cut off; mostly as it is."""
    what = draw(st.sampled_from(["whole"] * 8 + ["bytes", "bytes", "cut"]))
    if what == "cut":
        return whole[: draw(st.integers(0, len(whole)))]
    if what == "whole":
        return whole
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 6))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data)


def arguments() -> st.SearchStrategy[dict[str, Any]]:
    """What a user may say beside the file."""
    return st.fixed_dictionaries(
        {},
        optional={
            "view": st.sampled_from(["", "", "PA", "AP", "LL", "front"]),
            "usual_view": st.sampled_from(["", "PA", "LEFT LATERAL"]),
            "invert": st.sampled_from([None, True, False]),
            "frame": st.sampled_from([None, None, None, 1, 1, 2, 0]),
            "voi": st.booleans(),
            "source_to_detector_mm": st.sampled_from([None, None, 1800.0, 900.0, 200.0]),
            "pixel_spacing_mm": st.sampled_from([None, None, 0.2, (0.2, 0.3), 0.0]),
        },
    )
