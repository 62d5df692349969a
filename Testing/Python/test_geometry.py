"""View geometry: presets hang pictures as radiologists do, matrices round-trip, errors name the field."""

import numpy as np
import pytest
from xrecon.physics.geometry import VIEWS, ViewGeometry
from xrecon.volume import InputError

ODD = {"shape": (37, 31), "pixel_spacing": (3.1, 2.3), "isocenter": (12.0, -7.0, 40.0)}


def oblique(beam="cone"):
    from scipy.spatial.transform import Rotation

    rotation = Rotation.from_euler("xyz", [17, -31, 48], degrees=True).as_matrix()
    return ViewGeometry.pa(beam=beam, **ODD).moved(rotation, (5.0, 6.0, -9.0))


@pytest.mark.parametrize(
    ("view", "left", "anterior"),
    [
        ("PA", "right", None),
        ("AP", "right", None),
        ("LEFT LATERAL", None, "left"),
        ("RIGHT LATERAL", None, "right"),
    ],
)
def test_pictures_hang_as_radiologists_hang_them(view, left, anterior):
    geometry = ViewGeometry.preset(view, **ODD)
    center = np.array(ODD["isocenter"])
    row, column = geometry.project(center)
    assert geometry.project(center + [0, 0, 50])[0] < row, "superior is up"
    if left:
        assert geometry.project(center + [50, 0, 0])[1] > column, "the patient's left is on the right"
    if anterior:
        moved = geometry.project(center + [0, -50, 0])[1]
        assert (moved < column) == (anterior == "left")


def test_source_side_of_each_view():
    assert ViewGeometry.pa().source[1] > 0, "PA: behind the patient (LPS y to posterior)"
    assert ViewGeometry.ap().source[1] < 0
    assert ViewGeometry.lateral("left").source[0] < 0, (
        "left lateral: source on the right, left side at the detector"
    )
    assert ViewGeometry.lateral("right").source[0] > 0


@pytest.mark.parametrize("view", VIEWS)
def test_distances_are_what_was_asked(view):
    geometry = ViewGeometry.preset(view, source_to_detector_mm=1020.0, source_to_isocenter_mm=620.0, **ODD)
    assert geometry.source_to_detector_mm == pytest.approx(1020.0)
    assert geometry.source_to_isocenter_mm == pytest.approx(620.0)
    assert geometry.magnification == pytest.approx(1020.0 / 620.0)


@pytest.mark.parametrize("beam", ["cone", "parallel"])
def test_matrix_projects_each_pixel_onto_itself(beam):
    geometry = oblique(beam)
    pixels = geometry.project(geometry.pixel_positions())
    rows, columns = np.meshgrid(np.arange(37), np.arange(31), indexing="ij")
    np.testing.assert_allclose(pixels[..., 0], rows, atol=1e-9)
    np.testing.assert_allclose(pixels[..., 1], columns, atol=1e-9)


@pytest.mark.parametrize("beam", ["cone", "parallel"])
def test_points_along_a_ray_project_to_one_pixel(beam):
    geometry = oblique(beam)
    end = geometry.pixel_positions()[5, 27]
    start = np.array(geometry.source) if beam == "cone" else end - 900 * _beam(geometry)
    points = start + np.linspace(0.2, 0.9, 7)[:, None] * (end - start)
    np.testing.assert_allclose(geometry.project(points), np.tile([5.0, 27.0], (7, 1)), atol=1e-9)


def _beam(geometry):
    ray = np.array(geometry.detector_center) - np.array(geometry.source)
    return ray / np.linalg.norm(ray)


@pytest.mark.parametrize("scale", [1.0, -3.7, 1e-4])
def test_matrix_round_trip_at_any_scale_and_sign(scale):
    geometry = oblique().cropped((3, -4), (29, 40))
    rebuilt = ViewGeometry.from_matrix(
        scale * geometry.matrix,
        shape=geometry.shape,
        pixel_spacing=geometry.pixel_spacing,
        isocenter=geometry.isocenter,
    )
    assert rebuilt.is_close(geometry, tolerance_mm=1e-6)


def test_repr_is_the_code_that_rebuilds_it():
    geometry = oblique()
    assert eval(repr(geometry)) == geometry  # noqa: S307 - the promise under test


def test_dict_round_trip_and_its_errors():
    geometry = oblique()
    assert ViewGeometry.from_dict(geometry.to_dict()) == geometry
    with pytest.raises(InputError, match="unknown \\['sid'\\]"):
        ViewGeometry.from_dict({**geometry.to_dict(), "sid": 1})
    with pytest.raises(InputError, match="missing \\['source'\\]"):
        ViewGeometry.from_dict({k: v for k, v in geometry.to_dict().items() if k != "source"})


def test_resampling_keeps_the_detector_and_cropping_keeps_the_pixels():
    geometry = oblique()
    finer = geometry.resampled((74, 62))
    assert finer.pixel_spacing == pytest.approx((1.55, 1.15))
    np.testing.assert_allclose(finer.pixel_positions().mean((0, 1)), geometry.pixel_positions().mean((0, 1)))
    part = geometry.cropped((3, 4), (10, 11))
    np.testing.assert_allclose(part.pixel_positions(), geometry.pixel_positions()[3:13, 4:15], atol=1e-9)


@pytest.mark.parametrize("beam", ["cone", "parallel"])
def test_cropping_keeps_the_rays(beam):
    geometry = oblique(beam)
    part = geometry.cropped((3, 4), (10, 11))
    points = np.array([[12.0, -3.0, 51.0], [40.0, 20.0, 10.0], [-60.0, 31.0, 77.0]])
    np.testing.assert_allclose(part.project(points), geometry.project(points) - [3, 4], atol=1e-9)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": (0, 0, np.nan)}, "source"),
        ({"shape": (0, 4)}, "shape"),
        ({"pixel_spacing": (1.0, -1.0)}, "pixel_spacing"),
        ({"beam": "fan"}, "beam"),
        ({"row_direction": (0, 0, 2)}, "orthogonal unit vectors"),
        ({"column_direction": (0, 0, 1)}, "orthogonal unit vectors"),
        ({"source": ViewGeometry.pa().detector_center}, "detector plane"),
    ],
)
def test_errors_name_the_field(changes, message):
    with pytest.raises(InputError, match=message):
        ViewGeometry(**{**ViewGeometry.pa().to_dict(), **changes})


def test_bad_matrices_are_refused():
    good = oblique()
    options = {"shape": good.shape, "pixel_spacing": good.pixel_spacing}
    with pytest.raises(InputError, match="singular"):
        ViewGeometry.from_matrix(good.matrix[[0, 0, 2]], **options)
    skewed = np.array([[1, 0.2, 0], [0, 1, 0], [0, 0, 1]]) @ good.matrix
    with pytest.raises(InputError, match="skew"):
        ViewGeometry.from_matrix(skewed, **options)
    with pytest.raises(InputError, match="aspect ratio"):
        ViewGeometry.from_matrix(good.matrix, shape=good.shape, pixel_spacing=(3.1, 3.1))
    with pytest.raises(InputError, match="source_to_isocenter_mm"):
        ViewGeometry.pa(source_to_detector_mm=1000, source_to_isocenter_mm=1200)


@pytest.mark.parametrize("shape", [(0, 0), 16, "ab", (10.7, 10.2), (4, 4, 4), None])
def test_a_shape_that_is_none_is_refused_in_one_sentence(shape):
    with pytest.raises(InputError, match="expected shape as two positive counts"):
        ViewGeometry.pa(shape=shape)
