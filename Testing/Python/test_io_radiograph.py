"""Radiographs through pictures and sidecars: numbers, polarity, geometry and where each value came from."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image
from radiograph_inputs import SHAPE, geometries, save
from xrecon.io.radiograph import read_radiograph, write_radiograph, write_radiograph_dicom
from xrecon.physics.geometry import ViewGeometry
from xrecon.volume import InputError, Quantity, Radiograph


# -- round trips -------------------------------------------------------------------------------
@pytest.mark.parametrize("suffix", [".png", ".nrrd", ".dcm"])
def test_line_integrals_come_back(drr: Radiograph, tmp_path: Path, suffix: str) -> None:
    write_radiograph(drr, tmp_path / f"a{suffix}")
    read = read_radiograph(tmp_path / f"a{suffix}")
    assert read.quantity is Quantity.LINE_INTEGRAL
    assert read.array.dtype == np.float32
    step = 0.0 if suffix == ".nrrd" else np.ptp(drr.array) / 32767
    assert np.abs(read.array - drr.array).max() <= step / 2
    assert read.geometry == drr.geometry  # every bit of every number
    assert (read.view, read.history) == (drr.view, drr.history)
    assert dict(drr.meta).items() <= dict(read.meta).items()


@pytest.mark.parametrize("suffix", [".png", ".nrrd", ".dcm"])
def test_a_second_round_trip_changes_no_bit(drr: Radiograph, tmp_path: Path, suffix: str) -> None:
    write_radiograph(drr, tmp_path / f"a{suffix}")
    once = read_radiograph(tmp_path / f"a{suffix}")
    write_radiograph(once, tmp_path / f"b{suffix}")
    twice = read_radiograph(tmp_path / f"b{suffix}")
    assert np.array_equal(once.array, twice.array)
    assert once.geometry == twice.geometry


@pytest.mark.parametrize("suffix", [".png", ".nrrd", ".dcm"])
@pytest.mark.parametrize("largest", [1, 255, 4095, 65535])
def test_whole_numbers_are_stored_without_loss(
    tmp_path: Path, rng: np.random.Generator, suffix: str, largest: int
) -> None:
    array = rng.integers(0, largest, SHAPE, endpoint=True)
    array[0, :2] = 0, largest
    display = Radiograph(array, ViewGeometry.pa(shape=SHAPE), Quantity.DISPLAY, "PA")
    write_radiograph(display, tmp_path / f"a{suffix}")
    read = read_radiograph(tmp_path / f"a{suffix}")
    assert np.array_equal(read.array, array)
    assert read.quantity is Quantity.DISPLAY


def test_png_is_sixteen_bits_for_everyone(drr: Radiograph, tmp_path: Path) -> None:
    """Another program sees the same picture: bright = dense, full use of the 16 bits."""
    write_radiograph(drr, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        stored = np.array(picture)
    assert stored.dtype == np.uint16
    assert np.ptp(stored) > 32000
    assert np.corrcoef(stored.ravel(), drr.array.ravel())[0, 1] > 0.999999
    sidecar = json.loads((tmp_path / "a.json").read_text())
    assert np.allclose(stored * sidecar["scale"] + sidecar["offset"], drr.array, atol=sidecar["scale"] / 2)
    assert np.log2(sidecar["scale"]).is_integer()
    assert sidecar["bright_is_dense"] is True
    assert sorted(os.listdir(tmp_path)) == ["a.json", "a.png"]


def test_formats_that_need_a_sidecar_lie_side_by_side(drr: Radiograph, tmp_path: Path) -> None:
    """Each keeps its own, also when one of them is written again."""
    for suffix in (".png", ".nrrd", ".png", ".nrrd"):
        write_radiograph(drr, tmp_path / f"drr{suffix}")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"drr.png", "drr.json", "drr.nrrd", "drr.nrrd.json"}
    for suffix in (".png", ".nrrd"):
        read = read_radiograph(tmp_path / f"drr{suffix}")
        assert (read.geometry, read.view) == (drr.geometry, drr.view)
        assert np.abs(read.array - drr.array).max() <= np.ptp(drr.array) / 65534
    (tmp_path / "drr.png").unlink()
    write_radiograph(drr, tmp_path / "drr.nrrd")  # its sidecar stays where it is
    assert read_radiograph(tmp_path / "drr.nrrd").geometry == drr.geometry


def test_png_and_dicom_side_by_side(drr: Radiograph, tmp_path: Path) -> None:
    """The sidecar of drr.png is not applied to drr.dcm."""
    for suffix in (".dcm", ".png"):
        write_radiograph(drr, tmp_path / f"drr{suffix}")
    read = [read_radiograph(tmp_path / f"drr{suffix}") for suffix in (".dcm", ".png")]
    assert np.array_equal(read[0].array, read[1].array)
    assert [r.meta["source_to_detector_mm.origin"] for r in read] == ["DICOM", "sidecar"]


# -- pictures ----------------------------------------------------------------------------------
def test_the_sidecar_of_the_png_beside_a_dicom_file_is_not_told_of(drr: Radiograph, tmp_path: Path) -> None:
    write_radiograph_dicom(drr, tmp_path / "a.dcm")
    write_radiograph(drr, tmp_path / "a.png")
    assert not any("sidecar" in line for line in read_radiograph(tmp_path / "a.dcm").history)


def test_films_are_stored_on_one_scale(drr: Radiograph, tmp_path: Path) -> None:
    """Grey 1000 is the same pixel in a dark and in a bright film."""
    for name, low, high in (("dark.png", 3, 1000), ("bright.png", 1000, 4095)):
        array = np.linspace(low, high, drr.array.size).round().reshape(drr.array.shape)
        film = replace(drr, array=array, quantity=Quantity.DISPLAY)
        write_radiograph(film, tmp_path / name)
        stored = np.asarray(Image.open(tmp_path / name))
        np.testing.assert_array_equal(stored, 16 * array)
        np.testing.assert_array_equal(read_radiograph(tmp_path / name).array, array)


def test_bare_png(grey: np.ndarray, tmp_path: Path) -> None:
    read = read_radiograph(save(grey, tmp_path / "a.png"))
    assert np.array_equal(read.array, grey)
    assert (read.geometry, read.view, read.quantity) == (None, "", Quantity.DISPLAY)
    assert read.meta["file"] == "a.png"
    read = read_radiograph(tmp_path / "a.png", view="pa")
    assert read.geometry == ViewGeometry.pa(shape=SHAPE)
    assert read.geometry.pixel_spacing == pytest.approx((430 / 37, 430 / 37))
    origins = {name: read.meta[f"{name}.origin"] for name in ("view", "pixel_spacing_mm")}
    assert origins == {"view": "argument", "pixel_spacing_mm": "assumed"}


@pytest.mark.parametrize("kind", ["P", "RGB", "RGBA", "LA", "tif16", "png16", "float", "nrrd3d", "nii"])
def test_other_ways_to_store_grey(grey: np.ndarray, tmp_path: Path, kind: str) -> None:
    expected: np.ndarray = grey
    path = tmp_path / "a.png"
    if kind in ("P", "RGB", "RGBA", "LA"):
        Image.fromarray(grey).convert(kind).save(path)
    elif kind in ("tif16", "png16"):
        expected, path = grey.astype(np.uint16) * 200, tmp_path / f"a.{kind[:3]}"
        Image.fromarray(expected).save(path)
    elif kind == "float":
        expected, path = grey / np.float32(7), tmp_path / "a.tiff"
        Image.fromarray(expected).save(path)
    else:
        path = tmp_path / {"nrrd3d": "a.nrrd", "nii": "a.nii.gz"}[kind]
        image = sitk.GetImageFromArray(grey[None] if kind == "nrrd3d" else grey)
        image.SetSpacing((8.0, 9.0, 1.0)[: image.GetDimension()])
        sitk.WriteImage(image, str(path))
    read = read_radiograph(path, view="PA")
    assert np.array_equal(read.array, expected)
    if kind in ("nrrd3d", "nii"):
        assert read.geometry.pixel_spacing == pytest.approx((9.0, 8.0))
        assert read.meta["pixel_spacing_mm.origin"] == "file header"


def test_a_header_spacing_that_fits_no_chest_is_not_used(grey: np.ndarray, tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(grey)
    image.SetSpacing((0.2, 0.3))
    sitk.WriteImage(image, str(tmp_path / "a.nrrd"))
    read = read_radiograph(tmp_path / "a.nrrd", view="PA")
    assert read.geometry.pixel_spacing == pytest.approx((430 / 37, 430 / 37))
    assert read.meta["pixel_spacing_mm.origin"] == "assumed"
    assert "9 x 7 mm, no chest detector: not used" in " ".join(read.history)
    # what a person says is believed
    said = read_radiograph(tmp_path / "a.nrrd", view="PA", pixel_spacing_mm=0.3)
    assert said.geometry.pixel_spacing == (0.3, 0.3)
    (tmp_path / "a.json").write_text(json.dumps({"pixel_spacing_mm": [0.3, 0.2]}))
    assert read_radiograph(tmp_path / "a.nrrd", view="PA").geometry.pixel_spacing == (0.3, 0.2)


def test_jpeg(grey: np.ndarray, tmp_path: Path) -> None:
    Image.fromarray(grey).save(tmp_path / "a.jpg", quality=95)
    read = read_radiograph(tmp_path / "a.jpg")
    assert np.abs(read.array - grey).mean() < 4


# -- polarity ----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("sidecar", "invert", "inverted"),
    [
        (None, None, False),
        (None, True, True),
        (None, False, False),
        ({"bright_is_dense": False}, None, True),
        ({"bright_is_dense": False}, True, True),
        ({"bright_is_dense": False}, False, False),
        ({"bright_is_dense": True}, None, False),
        ({"bright_is_dense": True}, True, True),
    ],
)
def test_inverted_at_most_once(
    grey: np.ndarray, tmp_path: Path, sidecar: dict | None, invert: bool | None, inverted: bool
) -> None:
    read = read_radiograph(save(grey, tmp_path / "a.png", sidecar), invert=invert)
    assert np.array_equal(read.array, 255.0 - grey if inverted else grey)
    assert sum("inverted" in note for note in read.history) == inverted


def test_inversion_of_sixteen_bits_and_floats(grey: np.ndarray, tmp_path: Path) -> None:
    stored = grey.astype(np.uint16) * 99
    read = read_radiograph(save(stored, tmp_path / "a.png"), invert=True)
    assert np.array_equal(read.array, 65535.0 - stored)
    floats = grey.astype(np.float32) / 8
    read = read_radiograph(save(floats, tmp_path / "f.tif"), invert=True)
    assert np.array_equal(read.array, floats.min() + floats.max() - floats)


def test_line_integrals_are_not_inverted(drr: Radiograph, tmp_path: Path) -> None:
    write_radiograph(drr, tmp_path / "a.png")
    with pytest.raises(InputError, match="line integrals, which are bright = dense"):
        read_radiograph(tmp_path / "a.png", invert=True)


# -- sidecars and precedence -------------------------------------------------------------------
def test_arguments_over_sidecar_over_header_over_assumptions(grey: np.ndarray, tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(grey)
    image.SetSpacing((8.0, 9.0))
    sitk.WriteImage(image, str(tmp_path / "a.nrrd"))
    read = read_radiograph(tmp_path / "a.nrrd", view="LL")
    expected = ViewGeometry.lateral("left", shape=SHAPE, pixel_spacing=(9.0, 8.0))
    assert read.geometry == expected
    (tmp_path / "a.json").write_text(
        json.dumps({"view": "right lateral", "source_to_detector_mm": 1200, "source_to_isocenter_mm": 1000})
    )
    read = read_radiograph(tmp_path / "a.nrrd", source_to_detector_mm=1400.0, pixel_spacing_mm=0.5)
    assert read.view == "RIGHT LATERAL"
    assert read.geometry == ViewGeometry.lateral(
        "right",
        shape=SHAPE,
        pixel_spacing=(0.5, 0.5),
        source_to_detector_mm=1400.0,
        source_to_isocenter_mm=1000.0,
    )
    assert {key: read.meta[key] for key in read.meta if key.endswith(".origin")} == {
        "view.origin": "sidecar",
        "source_to_detector_mm.origin": "argument",
        "source_to_isocenter_mm.origin": "sidecar",
        "pixel_spacing_mm.origin": "argument",
        "isocenter.origin": "assumed",
    }


def test_what_is_assumed_leaves_the_isocentre_before_the_detector(grey: np.ndarray, tmp_path: Path) -> None:
    path = save(grey, tmp_path / "a.png")
    read = read_radiograph(path, view="AP", source_to_detector_mm=1000.0)
    assert read.geometry.source_to_isocenter_mm == pytest.approx(700.0)
    read = read_radiograph(path, view="AP", source_to_isocenter_mm=1900.0)
    assert read.geometry.source_to_detector_mm == pytest.approx(2200.0)
    assert read.meta["source_to_detector_mm.origin"] == "assumed"
    with pytest.raises(InputError, match="source_to_detector_mm above 300 mm"):
        read_radiograph(path, view="AP", source_to_detector_mm=180.0)
    with pytest.raises(InputError, match="source_to_isocenter_mm below source_to_detector_mm, got 1500"):
        read_radiograph(path, view="AP", source_to_detector_mm=1200.0, source_to_isocenter_mm=1500.0)


@pytest.mark.parametrize("suffix", [".png", ".nrrd"])
def test_an_assumption_stays_one_when_written_and_read(grey: np.ndarray, tmp_path: Path, suffix: str) -> None:
    Image.fromarray(grey).save(tmp_path / "bare.png")
    known = read_radiograph(tmp_path / "bare.png", view="PA", source_to_detector_mm=1700.0)
    write_radiograph(known, tmp_path / f"a{suffix}")
    meta = read_radiograph(tmp_path / f"a{suffix}").meta
    assert meta["source_to_detector_mm.origin"] == "argument"
    assert meta["source_to_isocenter_mm.origin"] == meta["pixel_spacing_mm.origin"] == "assumed"
    sidecar = tmp_path / "a.json"
    edited = json.loads(sidecar.read_text()) | {"source_to_isocenter_mm": 1234.0}
    del edited["geometry"]
    sidecar.write_text(json.dumps(edited))
    again = read_radiograph(tmp_path / f"a{suffix}").meta
    assert again["source_to_isocenter_mm.origin"] == "sidecar"  # somebody has measured it
    assert again["pixel_spacing_mm.origin"] == "assumed"


def test_scale_of_a_hand_written_sidecar(grey: np.ndarray, tmp_path: Path) -> None:
    sidecar = {"quantity": "line integral", "scale": 0.03125, "offset": -0.5, "pixel_spacing_mm": 0.4}
    read = read_radiograph(save(grey, tmp_path / "a.png", {**sidecar, "view": "PA"}))
    assert read.quantity is Quantity.LINE_INTEGRAL
    assert np.array_equal(read.array, grey * 0.03125 - 0.5)
    assert read.geometry.pixel_spacing == (0.4, 0.4)


def test_a_whole_geometry_wins_over_single_values(grey: np.ndarray, tmp_path: Path) -> None:
    oblique = geometries()[""]
    sidecar = {"geometry": oblique.to_dict(), "source_to_detector_mm": 777.0, "view": "PA"}
    path = save(grey, tmp_path / "a.png", sidecar)
    assert read_radiograph(path).geometry == oblique
    assert read_radiograph(path, view="PA").geometry == oblique  # the same view: nothing to replace
    other = read_radiograph(path, view="AP").geometry
    assert other.is_close(
        ViewGeometry.ap(
            shape=SHAPE,
            isocenter=oblique.isocenter,
            pixel_spacing=oblique.pixel_spacing,
            source_to_detector_mm=oblique.source_to_detector_mm,
            source_to_isocenter_mm=oblique.source_to_isocenter_mm,
        )
    )


def test_an_argument_adjusts_a_whole_geometry(grey: np.ndarray, tmp_path: Path) -> None:
    """Along the central ray of an oblique view: distances as asked, directions as before."""
    oblique = geometries()[""]
    path = save(grey, tmp_path / "a.png", {"geometry": oblique.to_dict()})
    moved = read_radiograph(path, source_to_detector_mm=1500.0, source_to_isocenter_mm=1100.0).geometry
    assert moved.source_to_detector_mm == pytest.approx(1500.0)
    assert moved.source_to_isocenter_mm == pytest.approx(1100.0)
    assert (moved.isocenter, moved.row_direction) == (oblique.isocenter, oblique.row_direction)
    assert np.allclose(moved.project(oblique.isocenter), oblique.project(oblique.isocenter))
    wider = read_radiograph(path, pixel_spacing_mm=(2.0, 1.0)).geometry
    assert wider == replace(oblique, pixel_spacing=(2.0, 1.0))


@pytest.mark.parametrize(
    ("sidecar", "message"),
    [
        ({"source_to_detector": 1800, "view": "PA"}, "source_to_detector$"),
        ({"view": "FRONT"}, "view out of .*'FRONT' in .*a.json"),
        ({"pixel_spacing_mm": [0.1, -0.1]}, "pixel_spacing_mm as a positive number"),
        ({"pixel_spacing_mm": [0.1, 0.1, 0.1]}, r"\(row, column\)"),
        ({"source_to_detector_mm": "far"}, "source_to_detector_mm as a positive number of mm, got 'far'"),
        ({"bright_is_dense": "no"}, "bright_is_dense to be true or false"),
        ({"scale": 0}, "positive scale"),
        ({"quantity": "HU"}, "quantity to be one of .*'HU'"),
        ({"geometry": {"source": [0, 0, 0]}}, "missing .*detector_center"),
        ({"geometry": ViewGeometry.pa(shape=(5, 6)).to_dict()}, r"\(5, 6\) pixels as its geometry says"),
    ],
)
def test_bad_sidecars(grey: np.ndarray, tmp_path: Path, sidecar: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_radiograph(save(grey, tmp_path / "a.png", sidecar))


def test_json_of_another_program_is_passed_over(grey: np.ndarray, tmp_path: Path) -> None:
    path = save(grey, tmp_path / "a.png", {"Modality": "DX", "meta": 3})
    assert np.array_equal(read_radiograph(path).array, grey)
    for foreign in ('[{"label": "nodule"}]', '"text"', "3"):
        (tmp_path / "a.json").write_text(foreign)
        read = read_radiograph(path)
        assert np.array_equal(read.array, grey)
        assert "a.json is no sidecar of this picture: passed over" in read.history
    (tmp_path / "a.json").write_bytes(b"\xff{")
    with pytest.raises(InputError, match="expected JSON in .*a.json"):
        read_radiograph(path)
