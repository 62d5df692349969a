"""The geometry of any view comes back from a DX file: exactly, and from the standard's tags alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_inputs import acquired
from rotations import rotation_matrix
from xrecon.io.radiograph import read_radiograph, write_radiograph_dicom
from xrecon.io.radiograph_dicom_technique import oblique_name, patient_orientation
from xrecon.io.radiograph_positioner import detector_angles
from xrecon.physics.geometry import VIEWS, ViewGeometry
from xrecon.physics.poses import view_from_positioner_angles
from xrecon.volume import InputError, Quantity, Radiograph

OPTIONS = {
    "shape": (31, 37),
    "pixel_spacing": (13.7, 9.1),
    "source_to_detector_mm": 1723.25,
    "source_to_isocenter_mm": 1411.5,
}
ANGLES = [(30.0, 0.0), (-45.0, 20.0), (120.0, -12.5), (-150.0, 33.0), (5.0, -3.0), (88.0, 4.0), (179.0, 1.0)]


def radiograph(geometry: ViewGeometry, view: str = "") -> Radiograph:
    array = np.random.default_rng(5).gamma(2.0, 1.3, geometry.shape).astype(np.float32)
    return Radiograph(array, geometry, Quantity.LINE_INTEGRAL, view, ("computed",), {"synthetic": "yes"})


def written(
    geometry: ViewGeometry, folder: Path, view: str = "", private: bool = True, **tags: object
) -> Path:
    """A DX file; tags are set, or removed when None."""
    path = folder / "a.dcm"
    write_radiograph_dicom(radiograph(geometry, view), path)
    dataset = pydicom.dcmread(path)
    if not private:
        dataset.remove_private_tags()
    for keyword, value in tags.items():
        dataset.pop(keyword, None) if value is None else setattr(dataset, keyword, value)
    dataset.save_as(path)
    return path


def odd_views() -> dict[str, ViewGeometry]:
    """Views that no preset is: off-centre, turned about the beam, tilted, mirrored, moved."""
    lao = view_from_positioner_angles(37.0, -11.0, isocenter=(4.0, -30.0, 210.0), **OPTIONS)
    turn = rotation_matrix((1, -2, 0.5), 23.0)
    return {
        "oblique": lao,
        "off centre": lao.shifted(50 * np.array(lao.column_direction) - 35 * np.array(lao.row_direction)),
        "turned about the beam": view_from_positioner_angles(37.0, -11.0, detector_angle_deg=17.0, **OPTIONS),
        "isocentre off the beam": replace(lao, isocenter=(14.0, -10.0, 190.0)),
        "anywhere": ViewGeometry.pa(**OPTIONS).moved(turn, np.array([11.0, 7.0, -90.0])),
        "mirrored": replace(lao, column_direction=tuple(-np.array(lao.column_direction))),
        "parallel": ViewGeometry.pa(beam="parallel", **OPTIONS).moved(turn, np.zeros(3)),
    }


@pytest.mark.parametrize("name", odd_views())
def test_every_bit_comes_back(tmp_path: Path, name: str) -> None:
    geometry = odd_views()[name]
    read = read_radiograph(written(geometry, tmp_path))
    assert (read.geometry, read.view, read.history) == (geometry, "", ("computed",))


# -- from the standard's tags alone -------------------------------------------------------------
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("offset", [(0.0, 0.0), (60.0, -25.0)])
@pytest.mark.parametrize("angles", ANGLES)
def test_any_angles_without_the_private_block(
    tmp_path: Path, angles: tuple[float, float], offset: tuple[float, float], mirrored: bool
) -> None:
    """Angles, distances, spacing, an off-centre detector and a mirrored picture, about the isocentre."""
    view = view_from_positioner_angles(*angles, **OPTIONS)
    if mirrored:
        view = replace(view, column_direction=tuple(-np.array(view.column_direction)))
    column, row = np.array(view.column_direction), np.array(view.row_direction)
    view = view.shifted(offset[0] * column + offset[1] * row)
    path = written(view, tmp_path, private=False)
    read = read_radiograph(path)
    geometry = read.geometry
    if np.dot(geometry.column_direction, column) < 0:  # put into the layout of a preset near by
        stored = read_radiograph(written(view, tmp_path)).array
        assert np.array_equal(read.array, stored[:, ::-1])
        geometry = replace(geometry, column_direction=tuple(column))  # the same pixels, named backwards
    assert geometry.is_close(view, 1e-6)
    origins = {name: read.meta[f"{name}.origin"] for name in ("positioner_angles_deg", "pixel_spacing_mm")}
    assert set(origins.values()) == {"DICOM"}
    assert np.allclose([float(v) for v in read.meta["positioner_angles_deg"].split()], angles, atol=1e-8)


@pytest.mark.parametrize("turned", ["transposed", "upside down", "both"])
def test_a_turned_picture_keeps_its_place(tmp_path: Path, turned: str) -> None:
    """Near a preset the picture is put upright: each value stays on its ray, off the centre, too."""
    upright = view_from_positioner_angles(4.0, -3.0, **OPTIONS)
    column, row = np.array(upright.column_direction), np.array(upright.row_direction)
    view = upright.shifted(60.0 * column - 25.0 * row)
    if turned in ("transposed", "both"):
        view = replace(view, row_direction=tuple(column), column_direction=tuple(row))
    if turned in ("upside down", "both"):
        view = replace(view, row_direction=tuple(-np.array(view.row_direction)))
    path = written(view, tmp_path, private=False)
    read = read_radiograph(path)
    assert read.view == "PA" and np.dot(read.geometry.row_direction, row) > 0.99
    stored = read_radiograph(written(view, tmp_path)).array
    for pixel in ((2, 3), (17, 9)):
        place = view.pixel_positions()[pixel]
        found = np.round(read.geometry.project(place)).astype(int)
        np.testing.assert_allclose(read.geometry.pixel_positions()[tuple(found)], place, atol=1e-6)
        assert read.array[tuple(found)] == stored[pixel]


@pytest.mark.parametrize("view", VIEWS)
def test_presets_without_the_private_block(tmp_path: Path, view: str) -> None:
    geometry = ViewGeometry.preset(view, **OPTIONS)
    read = read_radiograph(written(geometry, tmp_path, view, private=False))
    assert read.view == view and read.geometry.is_close(geometry, 1e-9)


def test_what_the_standard_cannot_say_is_none(tmp_path: Path) -> None:
    """Place in the patient and turn about the beam: source, beam and distances are still right."""
    view = view_from_positioner_angles(37.0, -11.0, detector_angle_deg=17.0, isocenter=(9, 8, 7), **OPTIONS)
    read = read_radiograph(written(view, tmp_path, private=False)).geometry
    assert read.isocenter == (0.0, 0.0, 0.0)
    np.testing.assert_allclose(np.array(read.source), np.array(view.source) - (9, 8, 7), atol=1e-6)
    np.testing.assert_allclose(read.normal, view.normal, atol=1e-9)
    plain = view_from_positioner_angles(37.0, -11.0, **OPTIONS)
    assert read.is_close(plain, 1e-6)


@pytest.mark.parametrize(
    ("angles", "view"),
    [((4, -9), "PA"), ((-172, 0), "AP"), ((80, 3), "LEFT LATERAL"), ((-99, 0), "RIGHT LATERAL")],
)
def test_a_view_near_a_preset_has_its_name(tmp_path: Path, angles: tuple[float, float], view: str) -> None:
    path = written(view_from_positioner_angles(*angles, **OPTIONS), tmp_path, private=False)
    read = read_radiograph(path)
    assert (read.view, read.meta["view.origin"]) == (view, "DICOM")
    assert f"a {view} view by positioner angles" in " ".join(read.history)


def test_angles_and_views_that_contradict(tmp_path: Path) -> None:
    """What the user says wins, then the view's name; an assumed view gives way to the angles."""
    oblique = view_from_positioner_angles(30.0, 0.0, **OPTIONS)
    path = written(oblique, tmp_path, private=False)
    assumed = read_radiograph(path, usual_view="LEFT LATERAL")
    assert assumed.geometry.is_close(oblique, 1e-6) and assumed.meta["view.origin"] == "assumed"
    said = read_radiograph(path, view="PA")
    assert said.view == "PA" and said.geometry.is_close(oblique, 1e-6)  # 30 degrees off is still a PA
    said = read_radiograph(path, view="RIGHT LATERAL")
    assert said.geometry.is_close(ViewGeometry.lateral("right", **OPTIONS), 1e-6)
    assert "contradict the view RIGHT LATERAL (argument): not used" in " ".join(said.history)
    read = read_radiograph(written(oblique, tmp_path, private=False, ViewPosition="AP"))
    assert read.view == "AP" and "contradict the view AP (DICOM)" in " ".join(read.history)


def test_a_cropped_picture_does_not_keep_the_detector_angles(tmp_path: Path) -> None:
    view = view_from_positioner_angles(30.0, 10.0, **OPTIONS)
    path = written(view.shifted(60 * np.array(view.column_direction)), tmp_path)
    dataset = pydicom.dcmread(path)
    dataset.PixelData, dataset.Rows = dataset.pixel_array[4:].tobytes(), 27
    dataset.save_as(path)
    read = read_radiograph(path)
    expected = view_from_positioner_angles(30.0, 10.0, **{**OPTIONS, "shape": (27, 37)})
    assert read.geometry.is_close(expected, 1e-6)


# -- C-arms ------------------------------------------------------------------------------------
def c_arm(path: Path, **tags: object) -> Path:
    known = {
        "Modality": "XA",
        "DistanceSourceToDetector": 1195.0,
        "DistanceSourceToPatient": 785.0,
        "ImagerPixelSpacing": [0.37, 0.37],
        "PositionerPrimaryAngle": -32.4,
        "PositionerSecondaryAngle": 18.0,
    }
    acquired(path, **{**known, **tags})
    return path


def test_the_angles_of_a_c_arm_are_its_geometry(tmp_path: Path) -> None:
    """RAO 32.4 CRA 18: the detector before the right chest and above; worked out by hand."""
    read = read_radiograph(c_arm(tmp_path / "a.dcm"))
    primary, secondary = np.radians([-32.4, 18.0])
    towards = np.array([np.sin(primary) * np.cos(secondary), -np.cos(primary) * np.cos(secondary),
                        np.sin(secondary)])  # fmt: skip
    np.testing.assert_allclose(read.geometry.source, -785.0 * towards, atol=1e-9)
    np.testing.assert_allclose(read.geometry.detector_center, (1195.0 - 785.0) * towards, atol=1e-9)
    assert read.geometry.pixel_spacing == (0.37, 0.37)  # a field of 14 mm: no chest, but a C-arm's
    assert read.view == "" and read.geometry.column_direction[0] > 0 > read.geometry.row_direction[2]
    assert read.meta["positioner_angles_deg.origin"] == "DICOM"
    as_pa = read_radiograph(c_arm(tmp_path / "b.dcm", PositionerPrimaryAngle=0, PositionerSecondaryAngle=0))
    assert as_pa.view == "PA"


def test_the_picture_of_a_c_arm_is_mirrored_as_it_says(tmp_path: Path) -> None:
    plain = read_radiograph(c_arm(tmp_path / "a.dcm")).geometry
    mirrored = read_radiograph(c_arm(tmp_path / "b.dcm", PatientOrientation=["RA", "F"])).geometry
    np.testing.assert_allclose(mirrored.column_direction, -np.array(plain.column_direction))
    turned = read_radiograph(c_arm(tmp_path / "c.dcm", PatientOrientation=["F", "LP"])).geometry
    np.testing.assert_allclose(turned.column_direction, plain.row_direction)
    np.testing.assert_allclose(turned.row_direction, plain.column_direction)
    wrong = read_radiograph(c_arm(tmp_path / "d.dcm", PatientOrientation=["F", "H"]))
    assert wrong.geometry == plain and "does not fit the angles" in " ".join(wrong.history)


def test_angles_that_are_not_used(tmp_path: Path) -> None:
    far = read_radiograph(c_arm(tmp_path / "a.dcm", PositionerPrimaryAngle=400))
    assert far.geometry is None and "not plausible" in " ".join(far.history)
    # of a chest stand: what its column's angles mean, DICOM does not say
    stand = read_radiograph(c_arm(tmp_path / "b.dcm", Modality="DX", PositionerType="COLUMN"))
    assert stand.geometry is None
    with pytest.raises(InputError, match="source_to_isocenter_mm below"):
        read_radiograph(c_arm(tmp_path / "c.dcm", DistanceSourceToPatient=1300.0))


# -- single attributes, worked out by hand ------------------------------------------------------
def test_detector_angles_have_the_signs_of_the_standard() -> None:
    """Primary towards higher columns, secondary towards lower rows (C.8.7.5.1.4)."""
    view = ViewGeometry.pa(shape=(40, 50))
    right_and_up = view.shifted(np.array([1800.0 * np.tan(np.radians(2.0)), 0.0, 100.0]))
    assert detector_angles(right_and_up) == pytest.approx((2.0, np.degrees(np.arctan(100.0 / 1800.0))))
    assert detector_angles(view) == (0.0, 0.0)


def test_orientation_letters_by_their_share() -> None:
    assert patient_orientation(ViewGeometry.pa()) == ("L", "F")
    # down the picture: -z plus sin 20 times the beam, which goes to anterior and left
    assert patient_orientation(view_from_positioner_angles(30.0, 20.0)) == ("LP", "FAL")
    assert patient_orientation(view_from_positioner_angles(60.0)) == ("PL", "F")
    assert patient_orientation(view_from_positioner_angles(3.0)) == ("L", "F")


def test_names_of_oblique_views() -> None:
    assert oblique_name(30.0, 0.0) == "left anterior oblique"
    assert oblique_name(-30.0, 20.0) == "right anterior oblique"
    assert oblique_name(120.0, 0.0) == "left posterior oblique"
    assert oblique_name(-150.0, 0.0) == "right posterior oblique"
    assert [oblique_name(p, s) for p, s in ((0, 30), (80, 0), (176, 0), (45, 60))] == [""] * 4
