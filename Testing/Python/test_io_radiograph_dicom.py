"""The tags of other DICOM radiographs that we read: polarity, layout, distances, what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_inputs import SHAPE, acquired, drr
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import (
    JPEGBaseline8Bit,
    RLELossless,
)
from xrecon.io import dicom_pixels
from xrecon.io.radiograph import read_radiograph, write_radiograph_dicom
from xrecon.physics.geometry import VIEWS, ViewGeometry
from xrecon.volume import InputError, Quantity


# -- polarity ----------------------------------------------------------------------------------
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("invert", [None, True, False])
@pytest.mark.parametrize("decoder", ["pydicom", "gdcm"])
def test_monochrome1_is_inverted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photometric: str, invert: bool | None, decoder: str
) -> None:
    """Whichever program decodes the pixels: ITK inverts MONOCHROME1 by itself when it is let."""
    if decoder == "gdcm":
        monkeypatch.setattr(dicom_pixels, "_decode", lambda d, _, i: dicom_pixels.decode_with_gdcm(d, i))
    stored = acquired(tmp_path / "a.dcm", PhotometricInterpretation=photometric)
    read = read_radiograph(tmp_path / "a.dcm", invert=invert)
    inverted = photometric == "MONOCHROME1" if invert is None else invert
    assert np.array_equal(read.array, 4095.0 - stored if inverted else stored)
    assert sum("inverted" in note for note in read.history) == inverted


def test_the_same_picture_in_both_polarities(tmp_path: Path) -> None:
    stored = acquired(tmp_path / "2.dcm")
    acquired(tmp_path / "1.dcm", 4095 - stored, PhotometricInterpretation="MONOCHROME1")
    one, two = (read_radiograph(tmp_path / f"{n}.dcm") for n in (1, 2))
    assert np.array_equal(one.array, two.array)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("sign", [1, -1])
def test_raw_pictures_go_by_the_sign(tmp_path: Path, photometric: str, sign: int) -> None:
    """For processing, sign 1: low values are little beam, so dense is dark whatever the display is."""
    tags = {"PresentationIntentType": "FOR PROCESSING", "PixelIntensityRelationshipSign": sign}
    stored = acquired(tmp_path / "a.dcm", PhotometricInterpretation=photometric, **tags)
    assert np.array_equal(read_radiograph(tmp_path / "a.dcm").array, 4095.0 - stored if sign == 1 else stored)


def test_rescale_and_lookup_table(tmp_path: Path) -> None:
    tags = {"RescaleSlope": "0.5", "RescaleIntercept": "-100", "RescaleType": "US"}
    stored = acquired(tmp_path / "a.dcm", **tags)
    assert np.array_equal(read_radiograph(tmp_path / "a.dcm").array, stored * 0.5 - 100)
    acquired(tmp_path / "b.dcm", PhotometricInterpretation="MONOCHROME1", **tags)
    assert np.array_equal(read_radiograph(tmp_path / "b.dcm").array, (4095 - stored) * 0.5 - 100)
    table = pydicom.Dataset()
    table.LUTDescriptor, table.ModalityLUTType = [4096, 0, 16], "OD"
    squares = (np.arange(4096, dtype=np.uint32) ** 2 // 300).astype(np.uint16)
    table["LUTData"] = pydicom.DataElement("LUTData", "OW", squares.tobytes())
    acquired(tmp_path / "c.dcm", stored, ModalityLUTSequence=[table])
    assert np.array_equal(read_radiograph(tmp_path / "c.dcm").array, squares[stored])


# -- compression -------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["JPEG", "JPEG2000", "RLE"])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_lossless_compression(tmp_path: Path, kind: str, photometric: str) -> None:
    """JPEG lossless by GDCM, JPEG 2000 by pillow, RLE by pydicom: equal to the uncompressed file."""
    stored = acquired(tmp_path / "a.dcm", PhotometricInterpretation=photometric)
    dataset = pydicom.dcmread(tmp_path / "a.dcm")
    if kind == "RLE":
        dataset.compress(RLELossless)
    else:
        writer = sitk.ImageFileWriter()
        writer.SetImageIO("GDCMImageIO")
        writer.SetCompressor(kind)
        writer.UseCompressionOn()
        writer.SetFileName(str(tmp_path / "c.dcm"))
        writer.Execute(sitk.GetImageFromArray(stored))
        compressed = pydicom.dcmread(tmp_path / "c.dcm")
        dataset.PixelData = compressed.PixelData
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = compressed.file_meta.TransferSyntaxUID
        dataset.BitsStored, dataset.HighBit = compressed.BitsStored, compressed.HighBit
    assert dataset.file_meta.TransferSyntaxUID.is_compressed
    bits = dataset.BitsStored
    dataset.save_as(tmp_path / "b.dcm")
    read = read_radiograph(tmp_path / "b.dcm")
    assert np.array_equal(read.array, 2.0**bits - 1 - stored if photometric == "MONOCHROME1" else stored)


def test_jpeg_baseline_is_decoded_by_pillow_whatever_is_installed(tmp_path: Path) -> None:
    smooth = np.add.outer(np.arange(64) * 2, np.arange(48)).astype(np.uint8)
    Image.fromarray(smooth).save(tmp_path / "a.jpg", quality=90)
    acquired(tmp_path / "a.dcm", smooth.astype(np.uint16), bits=8)
    dataset = pydicom.dcmread(tmp_path / "a.dcm")
    dataset.BitsAllocated, dataset.PixelData = 8, encapsulate([(tmp_path / "a.jpg").read_bytes()])
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    dataset.save_as(tmp_path / "b.dcm")
    with Image.open(tmp_path / "a.jpg") as picture:
        expected = np.array(picture)
    assert np.array_equal(read_radiograph(tmp_path / "b.dcm").array, expected)


# -- view and layout ---------------------------------------------------------------------------
def chiral() -> np.ndarray:
    """A picture that no turn or mirror maps to itself: bright at the patient's right, low at the feet."""
    rows, columns = np.indices(SHAPE)
    return (3000 - 60 * columns + 7 * rows).astype(np.uint16)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("upside_down", [False, True])
@pytest.mark.parametrize("exchanged", [False, True])
def test_all_eight_layouts_come_out_the_same(
    tmp_path: Path, view: str, mirrored: bool, upside_down: bool, exchanged: bool
) -> None:
    column, row = {"PA": "LF", "AP": "LF", "LEFT LATERAL": "PF", "RIGHT LATERAL": "AF"}[view]
    opposite = {"L": "R", "P": "A", "A": "P", "F": "H"}
    picture, spacing = chiral(), [12.0, 9.0]
    if mirrored:
        picture, column = picture[:, ::-1], opposite[column]
    if upside_down:
        picture, row = picture[::-1], opposite[row]
    orientation = [column, row]
    if exchanged:
        picture, orientation, spacing = picture.T, orientation[::-1], spacing[::-1]
    position = {"LEFT LATERAL": "LL", "RIGHT LATERAL": "RL"}.get(view, view)
    tags = {"ViewPosition": position, "PatientOrientation": orientation, "ImagerPixelSpacing": spacing}
    acquired(tmp_path / "a.dcm", np.ascontiguousarray(picture), **tags)
    read = read_radiograph(tmp_path / "a.dcm")
    assert np.array_equal(read.array, chiral())
    assert read.geometry == ViewGeometry.preset(view, shape=SHAPE, pixel_spacing=(12.0, 9.0))
    text = " ".join(read.history)
    assert ("mirrored" in text, "upside down" in text, "exchanged" in text) == (
        mirrored,
        upside_down,
        exchanged,
    )


def test_orientation_without_view_or_against_it(tmp_path: Path) -> None:
    """Rows that run to the patient's right make a frontal picture, PA or AP: the former is assumed."""
    acquired(tmp_path / "a.dcm", chiral(), PatientOrientation=["R", "F"])
    read = read_radiograph(tmp_path / "a.dcm")
    assert np.array_equal(read.array, chiral()[:, ::-1])
    assert (read.view, read.meta["view.origin"]) == ("PA", "assumed")
    assert np.array_equal(read_radiograph(tmp_path / "a.dcm", view="PA").array, chiral()[:, ::-1])
    acquired(tmp_path / "b.dcm", chiral(), PatientOrientation=["A", "F"], ViewPosition="PA")
    read = read_radiograph(tmp_path / "b.dcm")
    assert np.array_equal(read.array, chiral())
    assert "A\\F does not fit a PA view: not followed" in " ".join(read.history)


def test_a_mirrored_copy_of_our_own_file(tmp_path: Path) -> None:
    """Other software mirrored the pixels and said so: the picture fits its geometry again."""
    write_radiograph_dicom(drr("LEFT LATERAL"), tmp_path / "a.dcm")
    dataset = pydicom.dcmread(tmp_path / "a.dcm")
    dataset.PixelData = np.ascontiguousarray(dataset.pixel_array[:, ::-1]).tobytes()
    dataset.PatientOrientation = ["A", "F"]
    dataset.save_as(tmp_path / "b.dcm")
    a, b = (read_radiograph(tmp_path / f"{name}.dcm") for name in "ab")
    assert np.array_equal(a.array, b.array)
    assert a.geometry == b.geometry


@pytest.mark.parametrize(
    ("tags", "view", "origin"),
    [
        ({"ViewPosition": "PA"}, "PA", "DICOM"),
        ({"ViewPosition": "AP"}, "AP", "DICOM"),
        ({"ViewPosition": "LL"}, "LEFT LATERAL", "DICOM"),
        ({"ViewPosition": "RL"}, "RIGHT LATERAL", "DICOM"),
        ({"ViewPosition": "LATERAL"}, "LEFT LATERAL", "assumed"),
        ({"ViewPosition": "LATERAL", "PatientOrientation": ["A", "F"]}, "RIGHT LATERAL", "DICOM"),
        ({"ViewPosition": "LAT", "PatientOrientation": ["P", "F"]}, "LEFT LATERAL", "DICOM"),
        ({"ViewPosition": "LATERAL", "ImageLaterality": "R"}, "RIGHT LATERAL", "DICOM"),
        ({"ViewPosition": "RLO"}, "", None),
        ({}, "", None),
    ],
)
def test_view_position(tmp_path: Path, tags: dict, view: str, origin: str | None) -> None:
    acquired(tmp_path / "a.dcm", **tags)
    read = read_radiograph(tmp_path / "a.dcm")
    assert read.view == view
    assert read.meta.get("view.origin") == origin
    assert (read.geometry is None) == (view == "")


@pytest.mark.parametrize(
    ("code", "view"),
    [("272479007", "PA"), ("R-10206", "AP"), ("399173006", "LEFT LATERAL"), ("399198007", "RIGHT LATERAL")],
)
def test_view_code(tmp_path: Path, code: str, view: str) -> None:
    item = pydicom.Dataset()
    item.CodeValue = code
    acquired(tmp_path / "a.dcm", ViewCodeSequence=[item])
    assert read_radiograph(tmp_path / "a.dcm").view == view


# -- distances and spacing ---------------------------------------------------------------------
@pytest.mark.parametrize(
    ("tags", "spacing", "origin"),
    [
        ({"ImagerPixelSpacing": [14, 7]}, (14, 7), "DICOM"),
        ({"ImagerPixelSpacing": [14, 7], "PixelSpacing": [10, 6]}, (14, 7), "DICOM"),
        ({"PixelSpacing": [14, 7]}, (14, 7), "DICOM"),
        # Calibrated at the patient: 1.25 times larger on the detector, from the distances ...
        (
            {
                "PixelSpacing": [14, 7],
                "PixelSpacingCalibrationType": "GEOMETRY",
                "DistanceSourceToDetector": 1500,
                "DistanceSourceToPatient": 1200,
            },
            (17.5, 8.75),
            "DICOM",
        ),
        # ... or from the magnification.
        (
            {
                "PixelSpacing": [14, 7],
                "PixelSpacingCalibrationType": "FIDUCIAL",
                "DistanceSourceToDetector": 1500,
                "EstimatedRadiographicMagnificationFactor": 1.25,
            },
            (17.5, 8.75),
            "DICOM",
        ),
        ({"NominalScannedPixelSpacing": [9, 9]}, (9, 9), "DICOM"),
        ({"ImagerPixelSpacing": [0, 0], "PixelSpacing": [8, 8]}, (8, 8), "DICOM"),
        # Of a copy with fewer pixels, and of something larger than a detector: not used.
        ({"ImagerPixelSpacing": [0.2, 0.1]}, (430 / 37, 430 / 37), "assumed"),
        ({"PixelSpacing": [18, 9]}, (430 / 37, 430 / 37), "assumed"),
        ({"ImagerPixelSpacing": [0.2, 0.2], "PixelSpacing": [14, 7]}, (14, 7), "DICOM"),
        ({}, (430 / 37, 430 / 37), "assumed"),
    ],
)
def test_pixel_spacing_on_the_detector(tmp_path: Path, tags: dict, spacing: tuple, origin: str) -> None:
    acquired(tmp_path / "a.dcm", ViewPosition="PA", **tags)
    read = read_radiograph(tmp_path / "a.dcm")
    assert read.geometry.pixel_spacing == pytest.approx(spacing)
    assert read.meta["pixel_spacing_mm.origin"] == origin
    read = read_radiograph(tmp_path / "a.dcm", pixel_spacing_mm=0.5)
    assert read.geometry.pixel_spacing == (0.5, 0.5)


@pytest.mark.parametrize(
    ("tags", "detector", "isocenter", "origins"),
    [
        ((1800, 1600, None), 1800, 1600, ("DICOM", "DICOM")),
        ((1800, None, 1.2), 1800, 1500, ("DICOM", "DICOM")),
        ((None, 1500, 1.2), 1800, 1500, ("DICOM", "DICOM")),
        ((1100, None, None), 1100, 800, ("DICOM", "assumed")),
        ((0, 0, None), 1800, 1500, ("assumed", "assumed")),
        ((180, 0, None), 1800, 1500, ("assumed", "assumed")),  # centimetres by mistake
        ((None, None, 1.2), 1800, 1500, ("assumed", "assumed")),
        # What devices call the patient is often the table or the bucky, just before the detector.
        ((1800, 1745, None), 1800, 1500, ("DICOM", "assumed")),
        ((1800, 1745, 1.25), 1800, 1440, ("DICOM", "DICOM")),
        ((1800, 1600, 1.25), 1800, 1440, ("DICOM", "DICOM")),  # the estimate counts first
        ((1800, 1745, 1.03), 1800, 1500, ("DICOM", "assumed")),
        ((1800, 800, None), 1800, 1500, ("DICOM", "assumed")),
        ((None, 1745, None), 1800, 1500, ("assumed", "assumed")),  # nothing to check it by
    ],
)
def test_distances(tmp_path: Path, tags: tuple, detector: float, isocenter: float, origins: tuple) -> None:
    keywords = (
        "DistanceSourceToDetector",
        "DistanceSourceToPatient",
        "EstimatedRadiographicMagnificationFactor",
    )
    known = {keyword: value for keyword, value in zip(keywords, tags, strict=True) if value is not None}
    acquired(tmp_path / "a.dcm", ViewPosition="AP", **known)
    read = read_radiograph(tmp_path / "a.dcm")
    assert read.geometry.source_to_detector_mm == pytest.approx(detector)
    assert read.geometry.source_to_isocenter_mm == pytest.approx(isocenter)
    assert (
        read.meta["source_to_detector_mm.origin"],
        read.meta["source_to_isocenter_mm.origin"],
    ) == origins
    history = " ".join(read.history)
    assert ("180 is not plausible" in history) == (tags[0] == 180)
    unused = bool(tags[1]) and origins[1] == "assumed"
    assert (f"DistanceSourceToPatient {tags[1]}" in history) == unused


def test_the_isocentre_of_a_c_arm_is_believed(tmp_path: Path) -> None:
    tags = {"ViewPosition": "AP", "DistanceSourceToDetector": 1000, "DistanceSourceToPatient": 950}
    acquired(tmp_path / "a.dcm", Modality="XA", **tags)
    read = read_radiograph(tmp_path / "a.dcm")
    assert read.geometry.source_to_isocenter_mm == pytest.approx(950)
    assert read.meta["source_to_isocenter_mm.origin"] == "DICOM"


def test_our_own_files_keep_unusual_geometry(tmp_path: Path) -> None:
    """What would be doubted in a file of a device is believed where this package wrote it."""
    view = drr(source_to_detector_mm=1600.0, source_to_isocenter_mm=1550.0, pixel_spacing=(0.1, 0.1))
    write_radiograph_dicom(view, tmp_path / "a.dcm")
    assert read_radiograph(tmp_path / "a.dcm").geometry == view.geometry
    other = read_radiograph(tmp_path / "a.dcm", view="AP").geometry
    assert other.source_to_isocenter_mm == pytest.approx(1550.0)
    assert other.pixel_spacing == pytest.approx((0.1, 0.1))


def test_an_argument_that_contradicts_a_tag_wins(tmp_path: Path) -> None:
    acquired(
        tmp_path / "a.dcm", ViewPosition="AP", DistanceSourceToDetector=1800, DistanceSourceToPatient=1600
    )
    read = read_radiograph(tmp_path / "a.dcm", source_to_detector_mm=1200.0)
    assert read.geometry.source_to_detector_mm == pytest.approx(1200)
    assert read.geometry.source_to_isocenter_mm == pytest.approx(900)
    assert "contradicts" in " ".join(read.history)
    tags = {"ViewPosition": "AP", "DistanceSourceToDetector": 1600, "DistanceSourceToPatient": 1800}
    acquired(tmp_path / "b.dcm", Modality="XA", **tags)
    with pytest.raises(InputError, match="source_to_isocenter_mm below source_to_detector_mm, got 1800"):
        read_radiograph(tmp_path / "b.dcm")


# -- bad inputs --------------------------------------------------------------------------------
@pytest.mark.parametrize("modality", ["CT", "MR", "US", "PT"])
def test_wrong_modality(tmp_path: Path, modality: str) -> None:
    acquired(tmp_path / "a.dcm", Modality=modality)
    with pytest.raises(InputError, match=f"expected a radiograph .*modality {modality}"):
        read_radiograph(tmp_path / "a.dcm")


def test_frames_colours_and_missing_pixels(tmp_path: Path) -> None:
    acquired(tmp_path / "a.dcm", NumberOfFrames=3)
    with pytest.raises(InputError, match="3 frames"):
        read_radiograph(tmp_path / "a.dcm")
    acquired(tmp_path / "b.dcm", SamplesPerPixel=3)
    with pytest.raises(InputError, match="3 colours per pixel"):
        read_radiograph(tmp_path / "b.dcm")
    acquired(tmp_path / "c.dcm", PhotometricInterpretation="PALETTE COLOR")
    with pytest.raises(InputError, match="got PALETTE COLOR pixels"):
        read_radiograph(tmp_path / "c.dcm")
    acquired(tmp_path / "d.dcm", PixelData=bytes(10))
    with pytest.raises(InputError, match="readable pixels in .*d.dcm"):
        read_radiograph(tmp_path / "d.dcm")
    acquired(tmp_path / "e.dcm", np.full(SHAPE, 7, np.uint16))
    with pytest.raises(InputError, match="e.dcm, got 1147 pixels all equal"):
        read_radiograph(tmp_path / "e.dcm")
    (tmp_path / "f.dcm").write_text("only text")
    with pytest.raises(InputError, match="DICOM.*f.dcm"):
        read_radiograph(tmp_path / "f.dcm")


def test_damaged_private_block(tmp_path: Path) -> None:
    write_radiograph_dicom(drr(), tmp_path / "a.dcm")
    dataset = pydicom.dcmread(tmp_path / "a.dcm")
    dataset.private_block(0x5259, "XRECON")[0x01].value = '{"scale": "many"}'
    dataset.save_as(tmp_path / "b.dcm")
    with pytest.raises(InputError, match="private XRECON block of .*b.dcm"):
        read_radiograph(tmp_path / "b.dcm")


# -- real radiographs --------------------------------------------------------------------------
@pytest.mark.parametrize(("patient", "view", "tag"), [("A", "PA", 0.143), ("C", "AP", 0.168)])
def test_real_radiographs(data_dir: Path, tmp_path: Path, patient: str, view: str, tag: float) -> None:
    """JPEG baseline CR: lungs darker than the spine, where a chest has them.

    Resampled to 1024 pixels with the spacing of before: a chest of 146 or 172 mm, which nobody has.
    """
    read = read_radiograph(data_dir / "radiographs" / f"rsna_patient{patient}.dcm")
    assert read.array.shape == (1024, 1024)
    assert (read.view, read.quantity) == (view, Quantity.DISPLAY)
    assert read.geometry.pixel_spacing == pytest.approx((430 / 1024, 430 / 1024))
    assert read.meta["pixel_spacing_mm.origin"] == "assumed"
    assert any(f"PixelSpacing {tag} x {tag} mm" in n and "not used" in n for n in read.history)
    assert read.meta["source_to_detector_mm.origin"] == "assumed"
    middle = read.array[300:600].mean(axis=0)
    assert middle[230:330].mean() < middle[480:560].mean()
    assert middle[700:800].mean() < middle[480:560].mean()
    write_radiograph_dicom(read, tmp_path / "copy.dcm")
    again = read_radiograph(tmp_path / "copy.dcm")
    assert np.array_equal(again.array, read.array)
    assert again.geometry == read.geometry
