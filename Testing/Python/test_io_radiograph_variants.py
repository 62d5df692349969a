"""DICOM radiographs as devices write them, one variant of the tags after another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_inputs import SHAPE, acquired, item, ramp
from xrecon.io.radiograph import read_radiograph
from xrecon.volume import InputError


def table(entries: np.ndarray) -> pydicom.Dataset:
    made = item(LUTDescriptor=[len(entries), 0, 16], LUTExplanation="curve")
    made["LUTData"] = pydicom.DataElement("LUTData", "OW", entries.astype("<u2").tobytes())
    return made


def text(path: Path, **options: object) -> str:
    return " ".join(read_radiograph(path, **options).history)


# -- polarity ----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("tags", "inverted", "told"),
    [
        ({"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"}, True, ""),
        ({"PhotometricInterpretation": "MONOCHROME2", "PresentationLUTShape": "IDENTITY"}, False, ""),
        # lies: the photometric interpretation counts, once
        (
            {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "IDENTITY"},
            True,
            "IDENTITY contradicts MONOCHROME1",
        ),
        (
            {"PhotometricInterpretation": "MONOCHROME2", "PresentationLUTShape": "INVERSE"},
            False,
            "INVERSE contradicts MONOCHROME2",
        ),
        (
            {"PhotometricInterpretation": "MONOCHROME2", "PixelIntensityRelationshipSign": 1},
            False,
            "Sign 1 contradicts MONOCHROME2",
        ),
        # a raw picture: the sign between values and beam, and a falling rescaling turns it round
        ({"PresentationIntentType": "FOR PROCESSING", "PixelIntensityRelationshipSign": 1}, True, ""),
        (
            {
                "PresentationIntentType": "FOR PROCESSING",
                "PixelIntensityRelationshipSign": 1,
                "RescaleSlope": -1,
                "RescaleIntercept": 4095,
            },
            None,
            "",
        ),
        # ... also by its SOP class alone
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1.1", "PixelIntensityRelationshipSign": 1}, True, ""),
        # fluoroscopy: values follow the beam, whichever way the screen shows them
        ({"Modality": "XA", "PixelIntensityRelationship": "LIN"}, True, "LIN, sign 1"),
        (
            {
                "Modality": "RF",
                "PixelIntensityRelationship": "LOG",
                "PhotometricInterpretation": "MONOCHROME1",
            },
            True,
            "LOG, sign 1",
        ),
        ({"Modality": "XA", "PixelIntensityRelationship": "DISP"}, False, ""),
    ],
)
def test_dense_is_bright_after_at_most_one_inversion(
    tmp_path: Path, tags: dict, inverted: bool | None, told: str
) -> None:
    stored = acquired(tmp_path / "a.dcm", ramp(), **tags)
    read = read_radiograph(tmp_path / "a.dcm")
    # None: the rescaling has turned it round already
    assert np.array_equal(read.array, 4095.0 - stored if inverted in (True, None) else stored)
    assert sum("inverted to bright" in note for note in read.history) == bool(inverted)
    assert told in " ".join(read.history)


def test_the_relation_to_the_beam_is_kept_unless_the_user_contradicts(tmp_path: Path) -> None:
    raw = {"PresentationIntentType": "FOR PROCESSING", "PixelIntensityRelationship": "LIN"}
    acquired(tmp_path / "a.dcm", ramp(), PixelIntensityRelationshipSign=1, **raw)
    meta = read_radiograph(tmp_path / "a.dcm").meta
    assert (meta["beam_relation"], meta["no_beam_value"], meta["intent"]) == ("LIN", "4095", "for processing")
    acquired(tmp_path / "b.dcm", ramp(), PixelIntensityRelationshipSign=-1, **raw)
    assert read_radiograph(tmp_path / "b.dcm").meta["no_beam_value"] == "4095"
    assert "beam_relation" not in read_radiograph(tmp_path / "a.dcm", invert=False).meta
    acquired(tmp_path / "c.dcm", ramp(), PixelIntensityRelationship="LIN")  # for the screen
    assert "beam_relation" not in read_radiograph(tmp_path / "c.dcm").meta


# -- VOI LUT -----------------------------------------------------------------------------------
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_a_window_is_applied_when_asked_for(tmp_path: Path, photometric: str, function: str) -> None:
    """After PS3.3 C.11.2.1.2 and C.11.2.1.3, on values of 12 bits."""
    tags = {"WindowCenter": 1500, "WindowWidth": 1000, "VOILUTFunction": function}
    stored = acquired(tmp_path / "a.dcm", ramp(), PhotometricInterpretation=photometric, **tags)
    x = stored.astype(float)
    expected = {
        "LINEAR": np.clip((x - 1499.5) / 999 + 0.5, 0, 1) * 4095,
        "LINEAR_EXACT": np.clip((x - 1500) / 1000 + 0.5, 0, 1) * 4095,
        "SIGMOID": 4095 / (1 + np.exp(-4 * (x - 1500) / 1000)),
    }[function]
    if photometric == "MONOCHROME1":
        expected = expected.min() + expected.max() - expected
    read = read_radiograph(tmp_path / "a.dcm", voi=True)
    np.testing.assert_allclose(read.array, expected, atol=1e-2)
    assert f"VOI LUT applied (window 1500/1000 {function})" in read.history
    plain = read_radiograph(tmp_path / "a.dcm")
    assert np.array_equal(plain.array, 4095.0 - stored if photometric == "MONOCHROME1" else stored)
    assert f"VOI LUT (window 1500/1000 {function}) is for the screen: not applied" in plain.history


@pytest.mark.parametrize("rising", [True, False])
def test_a_falling_table_inverts_once_applied_or_not(tmp_path: Path, rising: bool) -> None:
    entries = np.arange(4096, dtype=np.uint32) ** 2 // 300
    entries = entries if rising else entries[::-1]
    stored = acquired(tmp_path / "a.dcm", ramp(), VOILUTSequence=[table(entries)])
    assert np.array_equal(read_radiograph(tmp_path / "a.dcm", voi=True).array, entries[stored])
    plain = read_radiograph(tmp_path / "a.dcm").array
    assert np.array_equal(plain, stored if rising else 4095.0 - stored)


def test_voi_luts_that_cannot_be_used(tmp_path: Path) -> None:
    stored = acquired(tmp_path / "a.dcm", ramp(), VOILUTSequence=[item(LUTExplanation="no data")])
    assert np.array_equal(read_radiograph(tmp_path / "a.dcm").array, stored)
    assert "VOI LUT without entries: not used" in text(tmp_path / "a.dcm", voi=True)
    acquired(tmp_path / "b.dcm", ramp(), WindowCenter=10, WindowWidth=-5)
    assert "window 10/-5 LINEAR is not usable" in text(tmp_path / "b.dcm", voi=True)
    acquired(tmp_path / "c.dcm", ramp(), ModalityLUTSequence=[item(ModalityLUTType="OD")])
    with pytest.raises(InputError, match="usable Modality LUT in .*c.dcm"):
        read_radiograph(tmp_path / "c.dcm")


# -- bits --------------------------------------------------------------------------------------
def test_values_in_the_upper_bits(tmp_path: Path) -> None:
    """Twelve bits, the highest being bit 15, as some digitizers store them."""
    acquired(tmp_path / "a.dcm", ramp() << 4, BitsStored=12, HighBit=15)
    assert np.array_equal(read_radiograph(tmp_path / "a.dcm").array, ramp())
    assert "shifted down by 4" in text(tmp_path / "a.dcm")


def test_bits_stored_that_cut_the_picture_are_not_believed(tmp_path: Path) -> None:
    stored = acquired(tmp_path / "a.dcm", ramp(), bits=10, PhotometricInterpretation="MONOCHROME1")
    read = read_radiograph(tmp_path / "a.dcm")
    assert np.array_equal(read.array, 4095.0 - stored)
    assert f"BitsStored 10 cuts values up to {stored.max()}: all bits taken" in read.history
    low = ramp() % 1024
    overlay = low | (np.arange(SHAPE[1]) // 9 % 2 << 12).astype(np.uint16)
    acquired(tmp_path / "b.dcm", overlay, bits=10)
    dataset = pydicom.dcmread(tmp_path / "b.dcm")
    dataset.add_new(0x60000102, "US", 12)
    dataset.save_as(tmp_path / "b.dcm")
    assert np.array_equal(read_radiograph(tmp_path / "b.dcm").array, low)


def test_signed_values(tmp_path: Path) -> None:
    stored = ramp().astype(np.int16) - 2048
    tags = {"PixelRepresentation": 1, "PhotometricInterpretation": "MONOCHROME1"}
    acquired(tmp_path / "a.dcm", stored.view(np.uint16), **tags)
    assert np.array_equal(read_radiograph(tmp_path / "a.dcm").array, -1.0 - stored)


def test_bits_that_contradict_each_other(tmp_path: Path) -> None:
    stored = acquired(tmp_path / "a.dcm", ramp(), BitsStored=99, HighBit=3)
    read = read_radiograph(tmp_path / "a.dcm")
    assert np.array_equal(read.array, stored)
    assert "BitsStored 99 does not fit 16 allocated bits" in " ".join(read.history)
    acquired(tmp_path / "b.dcm", ramp(), BitsAllocated=12)
    with pytest.raises(InputError, match="8, 16 or 32 bits per pixel in .*got 12"):
        read_radiograph(tmp_path / "b.dcm")
    acquired(tmp_path / "c.dcm", ramp(), Rows=65535, Columns=65535)
    with pytest.raises(InputError, match="at most 268435456 pixels, .*65535 x 65535"):
        read_radiograph(tmp_path / "c.dcm")


# -- where a value comes from ------------------------------------------------------------------
def test_each_fact_names_its_tag(tmp_path: Path) -> None:
    tags = {
        "ViewPosition": "LATERAL",
        "PatientOrientation": ["A", "F"],
        "DistanceSourceToDetector": 1800,
        "EstimatedRadiographicMagnificationFactor": 1.2,
        "ImagerPixelSpacing": [12, 11],
    }
    acquired(tmp_path / "a.dcm", ramp(), **tags)
    meta = read_radiograph(tmp_path / "a.dcm", source_to_detector_mm=1700).meta
    assert meta["source_to_detector_mm.origin"] == "argument" and "source_to_detector_mm.tag" not in meta
    meta = read_radiograph(tmp_path / "a.dcm").meta
    assert {key: meta[f"{key}.tag"] for key in ("view", "pixel_spacing_mm", "source_to_detector_mm")} == {
        "view": "ViewPosition, PatientOrientation",
        "pixel_spacing_mm": "ImagerPixelSpacing",
        "source_to_detector_mm": "DistanceSourceToDetector",
    }
    assert meta["source_to_isocenter_mm.tag"] == "EstimatedRadiographicMagnificationFactor"


def test_calibrated_spacing_beside_the_detectors_tells_the_magnification(tmp_path: Path) -> None:
    tags = {"ViewPosition": "PA", "ImagerPixelSpacing": [12, 12], "PixelSpacing": [10, 10]}
    acquired(tmp_path / "a.dcm", ramp(), PixelSpacingCalibrationType="GEOMETRY", **tags)
    geometry = read_radiograph(tmp_path / "a.dcm").geometry
    assert geometry.pixel_spacing == (12, 12)
    assert geometry.source_to_isocenter_mm == pytest.approx(1500)
    told = "magnification 1.200 from ImagerPixelSpacing and calibrated PixelSpacing"
    assert told in text(tmp_path / "a.dcm")
    acquired(tmp_path / "b.dcm", ramp(), **tags)  # without calibration type PixelSpacing tells nothing
    assert "magnification" not in text(tmp_path / "b.dcm")


@pytest.mark.parametrize(
    ("tags", "view"),
    [
        ({"SeriesDescription": "Chest PA"}, "PA"),
        ({"SeriesDescription": "W033 Thorax a.p."}, "AP"),
        ({"SeriesDescription": "THORAX LAT"}, "LEFT LATERAL"),
        ({"ProtocolName": "chest_lat", "PatientOrientation": ["A", "F"]}, "RIGHT LATERAL"),
        ({"SeriesDescription": "Chest PA + LAT"}, ""),
        ({"SeriesDescription": "Spa lap"}, ""),
        ({"PatientOrientation": ["P", "F"]}, "LEFT LATERAL"),
        ({"PatientOrientation": ["L", "F"], "SeriesDescription": "lateral"}, "PA"),
        ({"PatientOrientation": ["L", "R"]}, ""),
    ],
)
def test_a_view_that_no_tag_tells_is_assumed(tmp_path: Path, tags: dict, view: str) -> None:
    acquired(tmp_path / "a.dcm", ramp(), **tags)
    read = read_radiograph(tmp_path / "a.dcm")
    assert read.view == view
    assert read.meta.get("view.origin") == ("assumed" if view else None)
    assert read_radiograph(tmp_path / "a.dcm", view="AP").meta["view.origin"] == "argument"


def test_view_tags_that_contradict_each_other(tmp_path: Path) -> None:
    acquired(tmp_path / "a.dcm", ramp(), ViewPosition="PA", ViewCodeSequence=[item(CodeValue="399348003")])
    assert "ViewCodeSequence (AP) contradicts ViewPosition PA" in text(tmp_path / "a.dcm")
    acquired(tmp_path / "b.dcm", ramp(), ViewPosition="LAT", ViewCodeSequence=[item(CodeValue="R-10232")])
    assert read_radiograph(tmp_path / "b.dcm").view == "RIGHT LATERAL"


# -- shutter and collimator --------------------------------------------------------------------
def test_what_a_shutter_covers_is_one_value(tmp_path: Path) -> None:
    edges = {"LeftVertical": 5, "RightVertical": 30, "UpperHorizontal": 3, "LowerHorizontal": 28}
    tags = {f"Shutter{edge}Edge": value for edge, value in edges.items()}
    stored = acquired(tmp_path / "a.dcm", ramp(), ShutterShape="RECTANGULAR", **tags)
    radiograph = read_radiograph(tmp_path / "a.dcm")
    read = radiograph.array
    assert np.array_equal(read[2:28, 4:30], stored[2:28, 4:30])
    outside = np.ones(SHAPE, bool)
    outside[2:28, 4:30] = False
    assert len(np.unique(read[outside])) == 1 and np.array_equal(radiograph.covered, outside)
    tags = {"ShutterShape": ["CIRCULAR"], "CenterOfCircularShutter": [16, 19], "RadiusOfCircularShutter": 12}
    acquired(tmp_path / "b.dcm", ramp(), **tags)
    row, column = np.indices(SHAPE)
    inside = np.hypot(row - 15, column - 18) <= 12
    read = read_radiograph(tmp_path / "b.dcm").array
    assert np.array_equal(read[inside], ramp()[inside]) and len(np.unique(read[~inside])) == 1
    corners = [3, 3, 3, 33, 28, 33, 28, 3]
    acquired(tmp_path / "c.dcm", ramp(), ShutterShape="POLYGONAL", VerticesOfThePolygonalShutter=corners)
    read = read_radiograph(tmp_path / "c.dcm").array
    assert np.array_equal(read[3:27, 3:32], ramp()[3:27, 3:32]) and len(np.unique(read[:2])) == 1
    acquired(tmp_path / "d.dcm", ramp(), ShutterShape="CIRCULAR", RadiusOfCircularShutter=3)
    assert "lacks centre or radius" in text(tmp_path / "d.dcm")


def test_collimator_edges_count_where_the_picture_is_flat_behind_them(tmp_path: Path) -> None:
    edges = {"LeftVertical": 6, "RightVertical": 37, "UpperHorizontal": 1, "LowerHorizontal": 31}
    tags = {f"Collimator{edge}Edge": value for edge, value in edges.items()}
    tags["CollimatorShape"] = "RECTANGULAR"
    stored = acquired(tmp_path / "a.dcm", ramp(), **tags)
    unused = read_radiograph(tmp_path / "a.dcm")
    assert np.array_equal(unused.array, stored) and unused.covered is None
    assert "CollimatorShape do not fit the picture" in text(tmp_path / "a.dcm")
    blocked = ramp()
    blocked[:, :5] = 100 + ramp()[:, :1] % 2
    acquired(tmp_path / "b.dcm", blocked, **tags)
    assert len(np.unique(read_radiograph(tmp_path / "b.dcm").array[:, :5])) == 1


# -- compression and malformed tags ------------------------------------------------------------
@pytest.mark.parametrize(
    ("uid", "advice"),
    [("1.2.840.10008.1.2.4.201", "pylibjpeg-openjpeg"), ("1.2.840.10008.1.2.4.110", "uncompressed"),
     ("1.2.840.10008.1.2.4.100", "uncompressed")],
)  # fmt: skip
def test_a_compression_that_is_not_read_is_named(tmp_path: Path, uid: str, advice: str) -> None:
    from pydicom.encaps import encapsulate

    acquired(tmp_path / "a.dcm", ramp())
    dataset = pydicom.dcmread(tmp_path / "a.dcm")
    dataset.PixelData = encapsulate([b"\xff\x4f\xff\x51" + bytes(60)])
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.100"
    dataset.save_as(tmp_path / "a.dcm")
    data = (tmp_path / "a.dcm").read_bytes()
    (tmp_path / "a.dcm").write_bytes(data.replace(b"1.2.840.10008.1.2.4.100", uid.encode()))
    name = pydicom.uid.UID(uid).name
    with pytest.raises(InputError) as caught:
        read_radiograph(tmp_path / "a.dcm")
    assert name in str(caught.value) and advice in str(caught.value)


def test_tags_that_hold_nonsense_are_noted_and_passed_over(tmp_path: Path) -> None:
    stored = acquired(tmp_path / "a.dcm", ramp(), ViewPosition="PA", Modality="DX")
    data = (tmp_path / "a.dcm").read_bytes()
    # elements before the pixel data, as raw bytes: pydicom refuses to write them
    bad = b"\x28\x00\x53\x10DS\x04\x00many"  # RescaleSlope
    place = data.index(b"\xe0\x7f\x10\x00")
    (tmp_path / "b.dcm").write_bytes(data[:place] + bad + data[place:])
    read = read_radiograph(tmp_path / "b.dcm")
    assert np.array_equal(read.array, stored)
    assert "RescaleSlope many is no number: not used" in " ".join(read.history)
