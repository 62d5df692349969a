"""Hints about a radiograph's looks: on a phantom, on projections of CTs, on real radiographs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from xrecon.io.image import read_volume
from xrecon.io.radiograph import read_radiograph
from xrecon.physics.chest_phantom import chest_phantom
from xrecon.physics.drr import render_drrs
from xrecon.physics.geometry import ViewGeometry
from xrecon.preprocess.appearance import cropped_to_field, exposed_field, look_at
from xrecon.preprocess.ct import lung_center, remove_table
from xrecon.volume import Quantity, Radiograph, Volume

DETECTOR = ((128, 128), (3.4, 3.4))
VIEWS = ("PA", "LEFT LATERAL", "RIGHT LATERAL")


def films(volume: Volume) -> dict[str, Radiograph]:
    """Grey pictures of a CT, one a view."""
    center = tuple(lung_center(volume))
    views = [ViewGeometry.preset(v, shape=(96, 96), isocenter=center) for v in VIEWS]
    pictures = render_drrs(volume, views, names=VIEWS)
    return {each.view: replace(each, quantity=Quantity.DISPLAY) for each in pictures}


@pytest.fixture(scope="module")
def phantom() -> dict[str, Radiograph]:
    return films(chest_phantom(spacing=(5.0, 5.0, 5.0), seed=2).volume)


def negative(radiograph: Radiograph) -> Radiograph:
    return radiograph.with_array(radiograph.array.max() - radiograph.array, "negative")


def mirrored(radiograph: Radiograph) -> Radiograph:
    return radiograph.with_array(radiograph.array[:, ::-1], "mirrored")


def told(radiograph: Radiograph) -> str:
    return " ".join(look_at(radiograph, *DETECTOR).warnings)


@pytest.mark.parametrize("view", VIEWS)
def test_good_pictures_give_no_warning_and_the_right_plane(phantom: dict, view: str) -> None:
    look = look_at(phantom[view], *DETECTOR)
    assert look.warnings == ()
    assert look.plane == ("frontal" if view == "PA" else "lateral")
    assert look.picture.shape == DETECTOR[0] and look.picture.dtype == np.float32


@pytest.mark.parametrize("view", VIEWS)
def test_inverted_and_mirrored_pictures_are_noticed(phantom: dict, view: str) -> None:
    assert "seems inverted" in told(negative(phantom[view]))
    assert "may be mirrored" in told(mirrored(phantom[view]))


def test_measured_values_are_never_called_inverted(phantom: dict) -> None:
    assert "inverted" not in told(replace(negative(phantom["PA"]), quantity=Quantity.LINE_INTEGRAL))


def test_a_picture_of_the_other_plane_is_noticed(phantom: dict) -> None:
    pa, lateral = phantom["PA"], phantom["LEFT LATERAL"]
    assert "looks like a lateral view" in told(pa.with_array(lateral.array, "exchanged"))
    assert "looks like a frontal view" in told(lateral.with_array(pa.array, "exchanged"))


def test_a_small_field_is_told_with_its_share(phantom: dict) -> None:
    pa = phantom["PA"]
    half = pa.with_array(pa.array[:48], "upper half", geometry=pa.geometry.cropped((0, 0), (48, 96)))
    share = 430.0 * 217.0 / (128 * 3.4) ** 2
    message = told(half)
    assert "of the field that the model looks at" in message
    assert abs(float(message.split("covers ")[1].split("%")[0]) / 100 - share) < 0.03


def test_shutters_are_found_exactly_and_rays_kept(rng: np.random.Generator) -> None:
    field = rng.uniform(size=(37, 41))
    framed = np.full((61, 71), 3.0)
    framed[11:48, 7:48] = field
    framed[:, :3] = -1.0  # a second shutter of another grey, from top to bottom
    assert exposed_field(framed) == ((11, 7), (37, 41))
    geometry = ViewGeometry.pa(shape=framed.shape, pixel_spacing=(5.0, 6.0))
    cropped = cropped_to_field(Radiograph(framed, geometry, view="PA"))
    assert np.array_equal(cropped.array, field)
    assert np.allclose(cropped.geometry.pixel_positions(), geometry.pixel_positions()[11:48, 7:48])


def test_a_picture_without_shutters_is_left_as_it_is(rng: np.random.Generator) -> None:
    picture = Radiograph(rng.uniform(size=(13, 17)), view="PA")
    assert cropped_to_field(picture) is picture
    assert exposed_field(np.ones((5, 7))) == ((0, 0), (5, 7))


@pytest.mark.parametrize("subject", ["lidc_0002", "lidc_0023", "fda_phantom_nl2"])
def test_projections_of_cts_give_no_false_warning(data_dir: Path, subject: str) -> None:
    ct = read_volume(data_dir / f"{subject}.nii.gz")
    coarse = Volume(
        ct.array[::3, ::3, ::3], tuple(3 * s for s in ct.spacing), ct.origin, ct.direction, ct.quantity
    )
    for view, film in films(remove_table(coarse)).items():
        assert told(film) == ""
        assert look_at(film, *DETECTOR).plane == ("frontal" if view == "PA" else "lateral")
        assert "seems inverted" in told(negative(film))
        assert "may be mirrored" in told(mirrored(film))


@pytest.mark.parametrize("name", ["rsna_patientA", "rsna_patientC"])
def test_real_radiographs_give_no_false_warning(data_dir: Path, name: str) -> None:
    film = read_radiograph(data_dir / "radiographs" / f"{name}.dcm", usual_view="PA")
    look = look_at(film, *DETECTOR)
    assert look.warnings == () and look.plane in ("frontal", "")
    assert "seems inverted" in told(negative(film))
