"""Poses by angles and matrices: presets come out exactly, every round trip closes, nonsense is refused."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from rotations import rotation_matrix
from xrecon.physics.geometry import VIEWS, ViewGeometry
from xrecon.physics.poses import (
    angles_from_rotation,
    circular_orbit,
    detector_angle,
    euler_angles,
    positioner_angles,
    principal_point,
    rotation_from_angles,
    seen_from,
    turned,
    view_from_euler_angles,
    view_from_positioner_angles,
    with_principal_point,
)
from xrecon.physics.projection_matrices import with_first_pixel
from xrecon.volume import InputError

ODD = {"shape": (37, 31), "pixel_spacing": (3.1, 2.3), "isocenter": (12.0, -7.0, 40.0)}
BEAMS = ("cone", "parallel")
ORDERS = ["".join(axes) for axes in itertools.permutations("xyz")]
PRESET_ANGLES = {"PA": 0.0, "AP": 180.0, "LEFT LATERAL": 90.0, "RIGHT LATERAL": -90.0}


def random_views(count: int, beam: str, seed: int = 4) -> list[ViewGeometry]:
    """Any pose, detector, distances and principal point; also mirrored pictures."""
    rng, views = np.random.default_rng(seed), []
    for _ in range(count):
        to_detector = rng.uniform(600, 2200)
        shape = tuple(int(n) for n in rng.integers(1, 700, 2))
        views.append(
            view_from_positioner_angles(
                rng.uniform(-180, 180),
                np.rad2deg(np.arcsin(rng.uniform(-1, 1))),
                source_to_detector_mm=to_detector,
                source_to_isocenter_mm=to_detector * rng.uniform(0.3, 0.95),
                shape=shape,
                pixel_spacing=tuple(rng.uniform(0.1, 4.0, 2)),
                isocenter=tuple(rng.normal(scale=200.0, size=3)),
                detector_angle_deg=rng.uniform(-180, 180),
                seen_from=str(rng.choice(["detector", "source"])),
                principal_point=tuple(rng.uniform(-0.5, 1.5, 2) * shape),
                beam=beam,
            )
        )
    return views


# -- matrices ----------------------------------------------------------------------------------
def rebuilt(view: ViewGeometry, scale: float = 1.0, matrix: np.ndarray | None = None) -> ViewGeometry:
    extra = {}
    if view.beam == "parallel":
        towards = np.array(view.source) - np.array(view.detector_center)
        extra = {
            "source_side": tuple(towards + 0.3 * np.linalg.norm(towards) * np.array(view.row_direction)),
            "source_to_detector_mm": view.source_to_detector_mm,
            "source_to_isocenter_mm": float((np.array(view.isocenter) - np.array(view.source)) @ view.normal),
        }
    return ViewGeometry.from_matrix(
        scale * (view.matrix if matrix is None else matrix),
        shape=view.shape,
        pixel_spacing=view.pixel_spacing,
        isocenter=view.isocenter,
        **extra,
    )


@pytest.mark.parametrize("beam", BEAMS)
def test_matrix_to_view_to_matrix(beam):
    for number, view in enumerate(random_views(150, beam)):
        again = rebuilt(view, scale=(1.0, -2.7, 3e-4)[number % 3])
        assert again.is_close(view, tolerance_mm=1e-5)
        assert seen_from(again) == seen_from(view)
        np.testing.assert_allclose(
            again.matrix, view.matrix, rtol=1e-7, atol=1e-6 * np.abs(view.matrix).max()
        )


@pytest.mark.parametrize("beam", BEAMS)
def test_matrix_and_rays_agree_for_random_points(beam):
    # the point on the detector is found by cutting ray and plane, without the matrix
    rng = np.random.default_rng(8)
    for view in random_views(60, beam, seed=9):
        points = np.array(view.isocenter) + rng.normal(scale=60.0, size=(20, 3))
        center, normal = np.array(view.detector_center), view.normal
        ray = center - np.array(view.source)
        if beam == "cone":
            ray = points - np.array(view.source)
        hits = points + ((center - points) @ normal / (ray @ normal))[..., None] * ray
        down, right = (
            (hits - center) @ np.array(axis) / spacing + (n - 1) / 2
            for axis, spacing, n in zip(
                (view.row_direction, view.column_direction), view.pixel_spacing, view.shape, strict=True
            )
        )
        np.testing.assert_allclose(view.project(points), np.stack([down, right], -1), rtol=1e-8, atol=1e-7)


def test_matrices_of_another_pixel_origin():
    view = random_views(1, "cone")[0]
    points = np.array(view.isocenter) + [[0.0, 0, 0], [10, 20, 30]]
    corner = with_first_pixel(view.matrix, (0.5, 0.5))
    homogeneous = points @ corner[:, :3].T + corner[:, 3]
    np.testing.assert_allclose(homogeneous[:, 1::-1] / homogeneous[:, 2:], view.project(points) + 0.5)
    uneven = with_first_pixel(view.matrix, (1.0, 0.0))
    assert rebuilt(view, matrix=with_first_pixel(uneven, (0.0, 0.0), of=(1.0, 0.0))).is_close(view, 1e-5)
    assert not rebuilt(view, matrix=uneven).is_close(view, 1e-5)


def _matrix_options(**changes):
    return {"shape": (30, 40), "pixel_spacing": (2.0, 3.0), **changes}


@pytest.mark.parametrize(
    ("view", "changes", "message"),
    [
        ("cone", {"isocenter": (0.0, 1500.0, 0.0)}, "isocentre between source and detector, got it 0.000 mm"),
        ("cone", {"isocenter": (0.0, -700.0, 0.0)}, "isocentre between source and detector"),
        ("cone", {"isocenter": (0.0, 3600.0, 0.0)}, "isocentre between source and detector"),
        ("cone", {"source_side": (0, 1, 0)}, "for parallel beams only"),
        ("cone", {"source_to_detector_mm": 1800.0}, "for parallel beams only"),
        ("parallel", {}, "expected source_side"),
        ("parallel", {"source_side": (0, 1, 0)}, "holds none of them"),
        ("parallel", {"source_side": (1, 0, 0), **dict.fromkeys(["far", "near"])}, "right angle to the beam"),
        ("parallel", {"source_side": (0, 0, 0), **dict.fromkeys(["far", "near"])}, "right angle to the beam"),
        ("parallel", {"source_side": (0, 1), **dict.fromkeys(["far", "near"])}, "LPS direction"),
        (
            "parallel",
            {"source_side": (0, 1, 0), "pixel_spacing": (2.0, 2.0), **dict.fromkeys(["far", "near"])},
            "pixels of",
        ),
        (
            "parallel",
            {"source_side": (0, 1, 0), "source_to_detector_mm": 900.0, "source_to_isocenter_mm": 950.0},
            "source_to_isocenter_mm < source_to_detector_mm",
        ),
    ],
)
def test_matrices_that_make_no_view_are_refused(view, changes, message):
    changes = dict(changes)
    if "far" in changes:
        del changes["far"], changes["near"]
        changes.update(source_to_detector_mm=1800.0, source_to_isocenter_mm=1500.0)
    matrix = ViewGeometry.pa(shape=(30, 40), pixel_spacing=(2.0, 3.0), beam=view).matrix
    with pytest.raises(InputError, match=message):
        ViewGeometry.from_matrix(matrix, **_matrix_options(**changes))


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.vstack([np.eye(4)[:2], np.zeros(4)]), "with w, got zeros"),
        (np.vstack([np.eye(4)[[0, 0]], np.eye(4)[3]]), "right angle"),
        (np.vstack([np.eye(4)[0], np.zeros(4), np.eye(4)[3]]), "singular"),
        (np.full((3, 4), np.nan), "finite"),
        (np.eye(4), "3x4"),
    ],
)
def test_degenerate_matrices_are_refused(matrix, message):
    options = {"source_side": (0, 0, 1), "source_to_detector_mm": 1800.0, "source_to_isocenter_mm": 1500.0}
    with pytest.raises(InputError, match=message):
        ViewGeometry.from_matrix(matrix, shape=(5, 5), pixel_spacing=(1.0, 1.0), **options)


def test_a_tilted_parallel_detector_is_refused_not_guessed():
    view = ViewGeometry.pa(beam="parallel", **ODD)
    source = tuple(np.array(view.source) + [300.0, 0, 0])
    tilted = ViewGeometry(**{**view.to_dict(), "source": source})
    with pytest.raises(InputError, match="tilted detector"):
        rebuilt(tilted)


# -- positioner angles -------------------------------------------------------------------------
@pytest.mark.parametrize("beam", BEAMS)
@pytest.mark.parametrize("name", VIEWS)
def test_presets_come_out_of_the_angles_exactly(name, beam):
    options = {**ODD, "beam": beam, "source_to_detector_mm": 1023.4, "source_to_isocenter_mm": 711.1}
    assert view_from_positioner_angles(PRESET_ANGLES[name], **options) == ViewGeometry.preset(name, **options)
    assert view_from_positioner_angles(0.0) == ViewGeometry.pa()
    assert positioner_angles(ViewGeometry.preset(name, **options)) == (PRESET_ANGLES[name], 0.0)
    assert detector_angle(ViewGeometry.preset(name, **options)) == 0.0


@pytest.mark.parametrize(
    ("angles", "towards"),
    [
        ((30.0, 0.0), {"left": 1, "anterior": 1}),  # LAO
        ((-30.0, 0.0), {"left": -1, "anterior": 1}),  # RAO
        ((0.0, 25.0), {"head": 1, "anterior": 1}),  # cranial
        ((0.0, -25.0), {"head": -1, "anterior": 1}),  # caudal
        ((135.0, 10.0), {"left": 1, "anterior": -1, "head": 1}),
    ],
)
def test_the_detector_stands_where_the_angles_say(angles, towards):
    view = view_from_positioner_angles(*angles, **ODD)
    side = np.array(view.detector_center) - np.array(ODD["isocenter"])
    axes = {"left": (1, 0, 0), "anterior": (0, -1, 0), "head": (0, 0, 1)}
    for name, sign in towards.items():
        assert np.sign(side @ axes[name]) == sign, name
    # superior stays up, and the patient's right stays on the left of the picture
    center = np.array(ODD["isocenter"])
    row, column = view.project(center)
    assert view.project(center + [0, 0, 50])[0] < row
    assert view.project(center + [50, 0, 0])[1] > column


def test_angles_to_view_to_angles():
    rng = np.random.default_rng(6)
    for _ in range(200):
        angles = rng.uniform(-180, 180), rng.uniform(-89.9, 89.9), rng.uniform(-180, 180)
        side = str(rng.choice(["detector", "source"]))
        for beam in BEAMS:
            view = view_from_positioner_angles(
                *angles[:2], detector_angle_deg=angles[2], seen_from=side, beam=beam, **ODD
            )
            np.testing.assert_allclose([*positioner_angles(view), detector_angle(view)], angles, atol=1e-8)
            assert seen_from(view) == side


def test_view_to_angles_to_view():
    for view in random_views(100, "cone"):
        primary, secondary = positioner_angles(view)
        again = view_from_positioner_angles(
            primary,
            secondary,
            source_to_detector_mm=view.source_to_detector_mm,
            source_to_isocenter_mm=view.source_to_isocenter_mm,
            shape=view.shape,
            pixel_spacing=view.pixel_spacing,
            isocenter=view.isocenter,
            detector_angle_deg=detector_angle(view),
            seen_from=seen_from(view),
            principal_point=principal_point(view),
        )
        assert again.is_close(view, tolerance_mm=1e-6)


@pytest.mark.parametrize("secondary", [90.0, -90.0])
def test_from_the_head_the_primary_angle_is_told_as_zero(secondary):
    view = view_from_positioner_angles(35.0, secondary, **ODD)
    assert positioner_angles(view) == pytest.approx((0.0, secondary))
    again = view_from_positioner_angles(0.0, secondary, detector_angle_deg=detector_angle(view), **ODD)
    assert again.is_close(view)


def test_detector_angle_is_clockwise_as_seen_from_the_source():
    level, rolled = (view_from_positioner_angles(0.0, detector_angle_deg=a, **ODD) for a in (0.0, 20.0))
    # one who looks from behind the patient has the patient's right to the right
    up, to_the_right = np.array([0.0, 0, 1]), np.array([-1.0, 0, 0])
    was, now = -np.array(level.row_direction), -np.array(rolled.row_direction)
    assert was @ up == pytest.approx(1.0)
    assert now @ to_the_right == pytest.approx(np.sin(np.deg2rad(20.0)))


def test_angles_are_those_of_the_central_ray_whatever_part_of_the_detector_is_kept():
    view = view_from_positioner_angles(33.0, -12.0, **ODD)
    part = view.cropped((20, -3), (9, 11))
    assert positioner_angles(part) == pytest.approx((33.0, -12.0))
    assert principal_point(part) == pytest.approx((18.0 - 20.0, 15.0 + 3.0))


def test_decimals_in_a_file_do_not_mirror_a_lateral():
    for primary in (90.0000001, 89.9999999):
        assert seen_from(view_from_positioner_angles(primary)) == "detector"
    assert seen_from(view_from_positioner_angles(91.0)) == "source"
    assert seen_from(view_from_positioner_angles(91.0, seen_from="detector")) == "detector"


@pytest.mark.parametrize("beam", BEAMS)
def test_principal_point_moves_the_detector_and_not_the_rays(beam):
    view = view_from_positioner_angles(10.0, 20.0, beam=beam, **ODD)
    moved = with_principal_point(view, (4.5, 40.0))
    assert principal_point(moved) == pytest.approx((4.5, 40.0))
    points = np.array(ODD["isocenter"]) + np.random.default_rng(1).normal(scale=50, size=(9, 3))
    offset = np.array([4.5, 40.0]) - [18.0, 15.0]
    np.testing.assert_allclose(moved.project(points), view.project(points) + offset, atol=1e-8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"primary_deg": 181.0}, "primary_deg from -180 to 180"),
        ({"primary_deg": float("nan")}, "primary_deg"),
        ({"secondary_deg": -91.0}, "secondary_deg from -90 to 90"),
        ({"detector_angle_deg": float("inf")}, "detector_angle_deg"),
        ({"seen_from": "table"}, "seen_from"),
        ({"source_to_isocenter_mm": 1900.0}, "source_to_isocenter_mm < source_to_detector_mm"),
        ({"source_to_isocenter_mm": -10.0}, "source_to_isocenter_mm < source_to_detector_mm"),
        ({"principal_point": (1.0, float("nan"))}, "principal point"),
        ({"pixel_spacing": (0.0, 1.0)}, "pixel_spacing"),
    ],
)
def test_positions_out_of_range_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        view_from_positioner_angles(**{"primary_deg": 0.0, **options})


# -- Euler angles ------------------------------------------------------------------------------
@pytest.mark.parametrize("axes", ORDERS)
def test_euler_angles_are_rotations_about_the_axes_in_turn(axes):
    rng = np.random.default_rng(2)
    vectors = {"x": (1, 0, 0), "y": (0, 1, 0), "z": (0, 0, 1)}
    for _ in range(40):
        angles = (rng.uniform(-180, 180), rng.uniform(-89, 89), rng.uniform(-180, 180))
        expected = np.eye(3)
        for axis, angle in zip(axes, angles, strict=True):
            expected = expected @ rotation_matrix(vectors[axis], angle)
        np.testing.assert_allclose(rotation_from_angles(angles, axes), expected, atol=1e-14)
        np.testing.assert_allclose(angles_from_rotation(expected, axes), angles, atol=1e-9)


@pytest.mark.parametrize("axes", ORDERS)
@pytest.mark.parametrize("middle", [90.0, -90.0])
def test_gimbal_lock_gives_angles_of_the_same_rotation(axes, middle):
    rotation = rotation_from_angles((25.0, middle, -70.0), axes)
    again = angles_from_rotation(rotation, axes)
    assert again[0] == 0.0
    np.testing.assert_allclose(rotation_from_angles(again, axes), rotation, atol=1e-12)


@pytest.mark.parametrize("axes", ORDERS)
@pytest.mark.parametrize("base", VIEWS)
def test_euler_angles_to_view_to_euler_angles(base, axes):
    rng = np.random.default_rng(3)
    for _ in range(20):
        angles = (rng.uniform(-180, 180), rng.uniform(-89.9, 89.9), rng.uniform(-180, 180))
        view = view_from_euler_angles(angles, base, axes, **ODD)
        np.testing.assert_allclose(euler_angles(view, base, axes), angles, atol=1e-7)
        assert view.isocenter == ODD["isocenter"]
        assert view.source_to_isocenter_mm == pytest.approx(1500.0)
        assert view.project(np.array(ODD["isocenter"])) == pytest.approx((18.0, 15.0))


def test_views_turn_about_their_own_isocentre():
    view = ViewGeometry.pa(**ODD)
    assert turned(view, (0.0, 0.0, 0.0)) == view
    assert turned(view, (0.0, 0.0, 90.0)).is_close(ViewGeometry.lateral("left", **ODD))
    part = turned(view.cropped((2, 3), (8, 9)), (10.0, 20.0, 30.0))
    assert part.is_close(turned(view, (10.0, 20.0, 30.0)).cropped((2, 3), (8, 9)))


def test_positioner_angles_are_euler_angles_of_the_pa_view():
    view = view_from_positioner_angles(47.0, -22.0, detector_angle_deg=8.0, **ODD)
    assert euler_angles(view, "PA", "zxy") == pytest.approx((47.0, 22.0, -8.0))
    assert view.is_close(view_from_euler_angles((47.0, 22.0, -8.0), "PA", "zxy", **ODD))


def test_euler_angles_that_make_no_sense_are_refused():
    with pytest.raises(InputError, match="mirror image"):
        euler_angles(ViewGeometry.ap(), "PA")
    with pytest.raises(InputError, match="some order"):
        turned(ViewGeometry.pa(), (0, 0, 0), "xyx")
    with pytest.raises(InputError, match="three finite angles"):
        turned(ViewGeometry.pa(), (0, 0, np.nan))
    with pytest.raises(InputError, match="reflection"):
        angles_from_rotation(np.diag([1.0, 1.0, -1.0]))
    with pytest.raises(InputError, match="orthonormal"):
        angles_from_rotation(2 * np.eye(3))


# -- orbits ------------------------------------------------------------------------------------
def test_circular_orbits():
    views = circular_orbit(8, start_deg=-90.0, secondary_deg=15.0, **ODD)
    angles = np.array([positioner_angles(view) for view in views])
    np.testing.assert_allclose(angles[:, 1], 15.0)
    steps = np.diff(angles[:, 0]) % 360
    np.testing.assert_allclose(steps, 45.0)
    assert angles[0, 0] == pytest.approx(-90.0)
    assert {seen_from(view) for view in views} == {"detector"}
    ends = [positioner_angles(v)[0] for v in circular_orbit(3, arc_deg=180.0)]
    assert ends == pytest.approx([0.0, 90.0, 180.0])
    with pytest.raises(InputError, match="one or more views"):
        circular_orbit(0)
