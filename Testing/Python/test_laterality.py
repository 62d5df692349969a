"""Left stays left: a chiral body from radiograph file through reconstruction to PTX-Seg's sides.

Each step is also given a mirror image, which must fail the same check; a test that a mirror image
passes would prove nothing.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_models
from xrecon.commands import RadiographOptions, read_views
from xrecon.io.image import read_volume, write_volume
from xrecon.io.radiograph import read_radiograph, write_radiograph
from xrecon.physics.chest_phantom import chest_phantom
from xrecon.physics.drr import render_drrs
from xrecon.physics.geometry import ViewGeometry
from xrecon.pipelines import reconstruct, segment
from xrecon.preprocess.ct import resample
from xrecon.volume import Quantity, Radiograph, Volume

# LPS mm (x left, y posterior, z superior) of a dense ball, different on every axis.
MARK = np.array([70.0, -45.0, 60.0])
PAIRS = [("PA", "LEFT LATERAL"), ("AP", "RIGHT LATERAL"), ("PA", "RIGHT LATERAL"), ("AP", "LEFT LATERAL")]
SIDE, SPACING_MM = 32, 11.2


@pytest.fixture(scope="module")
def marked_body() -> Volume:
    """Air with one dense ball, in HU."""
    index = np.stack(np.meshgrid(*[np.arange(41)] * 3, indexing="ij"), -1)[..., ::-1]
    volume = Volume(np.zeros((41,) * 3, np.float32), (8.0,) * 3, (-160.0,) * 3)
    distance = np.linalg.norm(volume.index_to_world(index) - MARK, axis=-1)
    return volume.with_array(np.where(distance < 20.0, 1500.0, -1000.0).astype(np.float32))


@pytest.fixture(scope="module")
def backprojection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.save_backprojection(tmp_path_factory.mktemp("m") / "model", SIDE, SPACING_MM)


def brightest(volume: Volume) -> np.ndarray:
    """LPS mm of the middle of the brightest voxels: where all views agree that something is dense."""
    index = np.argwhere(volume.array >= np.percentile(volume.array, 99.95))[:, ::-1]
    return volume.index_to_world(index).mean(axis=0)


def write_views(radiographs: list[Radiograph], folder: Path, suffix: str) -> tuple[Path, Path]:
    paths = [folder / f"{name}.{suffix}" for name in ("frontal", "lateral")]
    for radiograph, path in zip(radiographs, paths, strict=True):
        write_radiograph(radiograph, path)
    return paths[0], paths[1]


@pytest.mark.parametrize("suffix", ["dcm", "png", "nrrd"])
@pytest.mark.parametrize("views", PAIRS, ids=lambda v: "+".join(v))
def test_a_mark_comes_back_where_it_was(
    views: tuple[str, str], suffix: str, marked_body: Volume, backprojection: Path, tmp_path: Path
):
    geometries = [ViewGeometry.preset(v, shape=(120, 112)) for v in views]
    pa, lateral = write_views(render_drrs(marked_body, geometries, names=views), tmp_path, suffix)
    result = reconstruct(read_views(pa, lateral, RadiographOptions()), backprojection)
    assert np.linalg.norm(brightest(result.volume) - MARK) < SPACING_MM
    # and after a file and back
    write_volume(result.volume, tmp_path / "volume.nii.gz")
    assert np.linalg.norm(brightest(read_volume(tmp_path / "volume.nii.gz")) - MARK) < SPACING_MM


@pytest.mark.parametrize("which", [0, 1], ids=["frontal", "lateral"])
def test_a_mirrored_picture_puts_the_mark_elsewhere(
    which: int, marked_body: Volume, backprojection: Path, tmp_path: Path
):
    geometries = [ViewGeometry.preset(v, shape=(120, 112)) for v in PAIRS[0]]
    radiographs = render_drrs(marked_body, geometries, names=PAIRS[0])
    flipped = radiographs[which].array[:, ::-1]
    radiographs[which] = replace(radiographs[which], array=flipped)
    pa, lateral = write_views(radiographs, tmp_path, "dcm")
    found = brightest(reconstruct(read_views(pa, lateral, RadiographOptions()), backprojection).volume)
    assert np.linalg.norm(found - MARK) > 5 * SPACING_MM
    axis = (0, 1)[which]  # a mirrored frontal picture swaps left and right, a lateral front and back
    assert np.sign(found[axis]) == -np.sign(MARK[axis])


def test_pictures_hang_as_radiologists_hang_them(marked_body: Volume, tmp_path: Path):
    """The mark is left, anterior, superior: on the right of a PA and AP, on the left of a left lateral."""
    expected_right = {"PA": True, "AP": True, "LEFT LATERAL": False, "RIGHT LATERAL": True}
    for view, right in expected_right.items():
        radiograph = render_drrs(marked_body, [ViewGeometry.preset(view, shape=(120, 112))])[0]
        write_radiograph(radiograph, tmp_path / "view.dcm")
        array = read_radiograph(tmp_path / "view.dcm").array
        row, column = np.unravel_index(np.argmax(array), array.shape)
        assert bool(column > 56) == right
        assert row < 60


# -- pneumothorax --------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def pneumothorax() -> tuple[Volume, Volume]:
    """A chest (HU) with 600 ml of air on the left, and its lungs."""
    phantom = chest_phantom((5.0, 5.0, 5.0), pneumothorax_ml=600.0, side="left", noise_hu=0.0)
    return phantom.volume, phantom.lungs


def air_ml(volume: Volume, lungs: Volume) -> tuple[float, float]:
    """Right and left pneumothorax in ml."""
    quantities = segment(volume, lungs).quantities
    return quantities.right_pneumothorax_ml, quantities.left_pneumothorax_ml


def mirrored(volume: Volume) -> Volume:
    """Left and right exchanged, and so are the labels 1 right and 2 left."""
    array = volume.array[:, :, ::-1]
    if volume.quantity is Quantity.LABEL:
        array = np.array([0, 2, 1], dtype=np.uint8)[array]
    return volume.with_array(array)


def test_sides_of_the_pneumothorax_follow_the_patient_not_the_array(pneumothorax: tuple[Volume, Volume]):
    """The same patient stored in another order of voxels has the same sides; a mirror image has not."""
    volume, lungs = pneumothorax
    right, left = air_ml(volume, lungs)
    assert left > 300.0 and right < 30.0

    def stored_otherwise(v: Volume) -> Volume:
        corner = v.index_to_world(np.array([v.shape[2] - 1, v.shape[1] - 1, 0]))
        return Volume(
            v.array[:, ::-1, ::-1], v.spacing, tuple(corner), np.diag([-1.0, -1.0, 1.0]), v.quantity
        )

    assert air_ml(stored_otherwise(volume), stored_otherwise(lungs)) == pytest.approx((right, left), abs=1.0)

    wrong = air_ml(mirrored(volume), mirrored(lungs))
    assert wrong[0] > 300.0 and wrong[1] < 30.0


def test_pneumothorax_keeps_its_side_through_files_and_reconstruction(
    pneumothorax: tuple[Volume, Volume], tmp_path: Path
):
    """Radiograph files -> network -> volume -> PTX-Seg, with a network that remembers this patient."""
    volume, lungs = pneumothorax
    grid = ((64,) * 3, (5.6,) * 3, volume.center)
    geometries = [ViewGeometry.preset(v, shape=(64, 60), isocenter=tuple(volume.center)) for v in PAIRS[0]]
    pa, lateral = write_views(render_drrs(volume, geometries), tmp_path, "dcm")

    def through(body: Volume, masks: Volume, name: str) -> tuple[tuple[float, float], float]:
        model = tiny_models.save_memory(tmp_path / name, resample(body, *grid))
        result = reconstruct(read_views(pa, lateral, RadiographOptions()), model)
        measured = air_ml(result.volume, resample(masks, *grid, fill=0, order=0))
        return measured, result.scores["PA"]["structure_correlation"]

    (right, left), agreement = through(volume, lungs, "patient")
    assert left > 200.0 and right < 60.0
    (wrong_right, wrong_left), mirror_agreement = through(mirrored(volume), mirrored(lungs), "mirror")
    assert wrong_right > 200.0 and wrong_left < 60.0  # the sides are those of the volume
    assert mirror_agreement < agreement - 0.01  # and the radiographs disagree with the mirror image
