"""The two types at the door: what they refuse, and where their voxels lie."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest
from rotations import rotation_matrix
from xrecon.physics.geometry import ViewGeometry
from xrecon.volume import InputError, Quantity, Radiograph, Volume


# -- Volume: places ----------------------------------------------------------------------------
def test_places_by_hand() -> None:
    """Columns of the direction are the axes x, y, z; spacing is in array order z, y, x."""
    direction = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])  # x runs to posterior, y to the right
    volume = Volume(np.zeros((3, 5, 7)), (4.0, 2.0, 0.5), (10.0, 20.0, 30.0), direction)
    assert volume.index_to_world(np.array([6, 0, 0])) == pytest.approx((10, 23, 30))
    assert volume.index_to_world(np.array([0, 4, 0])) == pytest.approx((2, 20, 30))
    assert volume.index_to_world(np.array([0, 0, 2])) == pytest.approx((10, 20, 38))
    assert volume.center == pytest.approx((6, 21.5, 34))
    assert volume.voxel_ml == pytest.approx(0.004)
    assert volume.shape == (3, 5, 7)


def test_oblique_places_against_the_affine(oblique_volume: Volume, rng: np.random.Generator) -> None:
    index = rng.uniform(-20, 20, (4, 5, 3))
    world = oblique_volume.index_to_world(index)
    homogeneous = np.concatenate([index, np.ones((4, 5, 1))], axis=-1) @ oblique_volume.affine.T
    assert np.allclose(world, homogeneous[..., :3], atol=1e-9)
    assert np.allclose(oblique_volume.world_to_index(world), index, atol=1e-9)
    assert np.allclose(oblique_volume.affine[3], (0, 0, 0, 1))


def test_defaults_are_lps() -> None:
    volume = Volume(np.zeros((1, 1, 1)), (1, 1, 1))
    assert volume.origin == (0.0, 0.0, 0.0)
    assert np.array_equal(volume.direction, np.eye(3))
    assert volume.quantity is Quantity.HU
    assert dict(volume.meta) == {}


def test_moved(oblique_volume: Volume) -> None:
    moved = oblique_volume.moved((1.5, -2.0, 3.0))
    assert moved.center - oblique_volume.center == pytest.approx((1.5, -2.0, 3.0))
    assert moved.array is oblique_volume.array


def test_same_grid(oblique_volume: Volume) -> None:
    """By the farthest corner: a rotation of 0.01 degrees moves it 10 micrometres or so."""

    def turned(degrees: float) -> Volume:
        direction = oblique_volume.direction @ rotation_matrix((0, 0, 1), degrees)
        return Volume(oblique_volume.array, oblique_volume.spacing, oblique_volume.origin, direction)

    assert oblique_volume.same_grid(turned(0.0))
    assert oblique_volume.same_grid(turned(0.001))
    assert not oblique_volume.same_grid(turned(0.1))
    assert not oblique_volume.same_grid(oblique_volume.moved((0, 0, 0.002)))
    assert oblique_volume.same_grid(oblique_volume.moved((0, 0, 0.002)), tolerance_mm=0.01)
    shorter = Volume(
        oblique_volume.array[:-1], oblique_volume.spacing, oblique_volume.origin, oblique_volume.direction
    )
    assert not oblique_volume.same_grid(shorter)


# -- Volume: values ----------------------------------------------------------------------------
def test_with_array_keeps_the_grid_and_adds_provenance(oblique_volume: Volume) -> None:
    mask = oblique_volume.with_array(oblique_volume.array > 0, Quantity.LABEL, made="by threshold")
    assert mask.same_grid(oblique_volume)
    assert mask.quantity is Quantity.LABEL
    assert dict(mask.meta) == {**oblique_volume.meta, "made": "by threshold"}
    assert "made" not in oblique_volume.meta
    with pytest.raises(InputError, match=r"shape \(9, 11, 13\), got \(9, 11, 12\)"):
        oblique_volume.with_array(oblique_volume.array[..., 1:])


def test_nothing_can_be_changed_by_accident(oblique_volume: Volume) -> None:
    with pytest.raises(FrozenInstanceError):
        oblique_volume.origin = (0, 0, 0)
    with pytest.raises(ValueError, match="read-only"):
        oblique_volume.direction[0, 0] = 2
    with pytest.raises(TypeError):
        oblique_volume.meta["model"] = "other"
    direction, meta = np.eye(3), {"a": "b"}
    volume = Volume(np.zeros((2, 2, 2)), (1, 1, 1), direction=direction, meta=meta)
    direction[0, 0], meta["a"] = -1, "c"
    assert volume.direction[0, 0] == 1
    assert volume.meta["a"] == "b"


def test_quantity_by_name() -> None:
    assert Volume(np.zeros((2, 2, 2)), (1, 1, 1), quantity="label").quantity is Quantity.LABEL
    with pytest.raises(ValueError, match="grey"):
        Volume(np.zeros((2, 2, 2)), (1, 1, 1), quantity="grey")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"array": np.zeros((4, 4))}, r"3D array .*\(4, 4\)"),
        ({"array": np.zeros((0, 4, 4))}, r"non-empty .*\(0, 4, 4\)"),
        ({"spacing": (1, 0, 1)}, "positive voxel spacings"),
        ({"spacing": (1, -1, 1)}, "positive voxel spacings"),
        ({"spacing": (1, np.nan, 1)}, "positive voxel spacings"),
        ({"spacing": (1, 1)}, "three positive"),
        ({"origin": (0, 0, np.inf)}, "finite origin"),
        ({"origin": (0, 0)}, "finite origin"),
        ({"direction": np.eye(2)}, "orthonormal 3x3"),
        ({"direction": np.diag([1, 1, 2])}, "orthonormal 3x3"),
        ({"direction": np.array([[1, 0.001, 0], [0, 1, 0], [0, 0, 1]])}, "orthonormal 3x3"),
        ({"direction": np.full((3, 3), np.nan)}, "orthonormal 3x3"),
    ],
)
def test_what_is_no_volume(changes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Volume(**{"array": np.zeros((2, 3, 4)), "spacing": (1, 1, 1), **changes})


def test_a_direction_written_with_six_decimals_is_accepted() -> None:
    direction = np.round(rotation_matrix((1, 2, 3), 40), 6)
    assert Volume(np.zeros((2, 2, 2)), (1, 1, 1), direction=direction).shape == (2, 2, 2)
    left_handed = np.diag([1.0, 1.0, -1.0])
    assert np.array_equal(
        Volume(np.zeros((2, 2, 2)), (1, 1, 1), direction=left_handed).direction, left_handed
    )


def test_require_finite(oblique_volume: Volume) -> None:
    assert oblique_volume.require_finite() is oblique_volume
    array = oblique_volume.array.astype(float)
    array[0, 0, :2] = np.nan, -np.inf
    with pytest.raises(InputError, match="finite numbers in the CT, got 2 NaN"):
        oblique_volume.with_array(array).require_finite("the CT")


# -- Radiograph --------------------------------------------------------------------------------
def test_radiograph_fits_its_geometry(rng: np.random.Generator) -> None:
    geometry = ViewGeometry.pa(shape=(31, 37))
    radiograph = Radiograph(rng.normal(size=(31, 37)), geometry, "line integral", "PA", ["made"], {"a": "b"})
    assert radiograph.quantity is Quantity.LINE_INTEGRAL
    assert radiograph.history == ("made",)
    assert radiograph.require_finite() is radiograph
    with pytest.raises(InputError, match=r"\(31, 37\) pixels as its geometry says, got \(37, 31\)"):
        Radiograph(np.zeros((37, 31)), geometry)
    with pytest.raises(InputError, match="2D radiograph"):
        Radiograph(np.zeros((1, 31, 37)))
    with pytest.raises(InputError, match="non-empty"):
        Radiograph(np.zeros((0, 3)))
    with pytest.raises(TypeError):
        radiograph.meta["a"] = "c"


def test_radiograph_tells_what_was_done(rng: np.random.Generator) -> None:
    radiograph = Radiograph(rng.normal(size=(5, 6)), history=("read",))
    changed = radiograph.with_array(radiograph.array * 2, "doubled", quantity=Quantity.LINE_INTEGRAL)
    assert changed.history == ("read", "doubled")
    assert changed.quantity is Quantity.LINE_INTEGRAL
    assert radiograph.history == ("read",)
    geometry = ViewGeometry.pa(shape=(5, 6))
    smaller = Radiograph(radiograph.array, geometry).with_array(
        radiograph.array[:, 1:], "cropped", geometry=geometry.cropped((0, 1), (5, 5))
    )
    assert smaller.geometry.shape == smaller.array.shape
    with pytest.raises(InputError, match="as its geometry says"):
        Radiograph(radiograph.array, geometry).with_array(radiograph.array[:, 1:], "cropped")


def test_radiograph_without_a_picture() -> None:
    with pytest.raises(InputError, match="in a.png, got 1 NaN"):
        Radiograph(np.array([[1.0, np.nan]])).require_finite("a.png")
    with pytest.raises(InputError, match="a picture in a.png, got 6 pixels all equal to 3"):
        Radiograph(np.full((2, 3), 3)).require_finite("a.png")


def test_numpy_is_enough(repository: Path) -> None:
    code = (
        "import sys, xrecon, xrecon.volume, xrecon.physics.geometry;"
        "heavy = {'torch', 'SimpleITK', 'scipy', 'skimage', 'pydicom'} & set(sys.modules);"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    environment = {**os.environ, "PYTHONPATH": str(repository / "XReconSlicer")}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
