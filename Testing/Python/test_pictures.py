"""Figures: right is not left, millimetres stay millimetres, colours mean what the legend says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from rotations import rotation_matrix
from xrecon.evaluation import panels, pictures
from xrecon.evaluation.panels import Letters
from xrecon.physics.geometry import ViewGeometry
from xrecon.volume import InputError, Quantity, Radiograph, Volume

SPACING = (4.0, 2.0, 3.0)


@pytest.fixture
def marked():
    """Air with one bright voxel block at the patient's left, front and top."""
    array = np.full((11, 15, 13), -1000, np.int16)
    array[8:10, 2:4, 9:11] = 1000
    return Volume(array, SPACING, (-18.0, -14.0, -20.0))


def _brightest(image: Image.Image) -> tuple[float, float]:
    """Middle of the bright pixels as fractions (row, column), letters (yellow) left out."""
    pixels = np.asarray(image, float)
    rows, columns = np.nonzero(pixels.min(axis=-1) > 200)
    return rows.mean() / image.height, columns.mean() / image.width


def _labels(shape=(9, 15, 19)):
    labels = np.zeros(shape, np.uint8)
    labels[1:8, 3:12, 2:8] = 1
    labels[1:8, 3:12, 11:17] = 2
    labels[5:8, 3:6, 11:17] = 4
    return labels


# -- orientation -----------------------------------------------------------------------------------
def test_slices_are_hung_as_radiologists_hang_them(marked):
    row, column = _brightest(pictures.slice_tile(marked, "axial", 8, pixels_per_mm=4))
    assert row < 0.4 and column > 0.6  # front up, patient's left on the right
    row, column = _brightest(pictures.slice_tile(marked, "coronal", 2, pixels_per_mm=4))
    assert row < 0.4 and column > 0.6  # top up
    row, column = _brightest(pictures.slice_tile(marked, "sagittal", 9, pixels_per_mm=4))
    assert row < 0.4 and column < 0.4  # front on the left


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0), (0, 2, 1)])
@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, 1), (-1, -1, 1), (1, -1, -1)])
def test_any_storage_order_gives_the_same_picture(marked, axes, flips):
    """The same patient stored with other index axes: transposed, reversed."""
    array = marked.array.transpose(axes)
    spacing = tuple(marked.spacing[a] for a in axes)
    direction = np.eye(3)[:, [2 - a for a in axes][::-1]].copy()
    origin = np.array(marked.origin)
    for axis, sign in enumerate(flips):
        if sign < 0:
            column = 2 - axis
            origin = origin + direction[:, column] * (array.shape[axis] - 1) * spacing[axis]
            direction[:, column] *= -1
            array = np.flip(array, axis)
    stored = Volume(array, spacing, tuple(origin), direction)
    back = pictures.axis_aligned(stored)
    assert back.same_grid(marked)
    assert np.array_equal(back.array, marked.array)


def test_an_oblique_volume_keeps_its_voxels_and_places(oblique_volume):
    aligned = pictures.axis_aligned(oblique_volume)
    assert np.array_equal(np.sort(aligned.array.ravel()), np.sort(oblique_volume.array.ravel()))
    index = np.argwhere(aligned.array == aligned.array.max())[0][::-1]
    original = np.argwhere(oblique_volume.array == oblique_volume.array.max())[0][::-1]
    assert np.allclose(aligned.index_to_world(index), oblique_volume.index_to_world(original), atol=1e-6)
    assert np.all(np.diag(aligned.direction) > 0)


def test_physical_aspect_ratio(marked):
    sizes = {p: pictures.slice_tile(marked, p, 5, pixels_per_mm=2).size for p in pictures.PLANES}
    assert sizes == {"axial": (78, 60), "coronal": (78, 88), "sagittal": (60, 88)}


def test_letters_of_radiographs_follow_the_geometry():
    expected = {
        "PA": Letters("R", "L", "S", "I"),
        "AP": Letters("R", "L", "S", "I"),
        "LEFT LATERAL": Letters("A", "P", "S", "I"),
        "RIGHT LATERAL": Letters("P", "A", "S", "I"),
    }
    for view, letters in expected.items():
        geometry = ViewGeometry.preset(view, shape=(3, 4))
        radiograph = Radiograph(np.zeros((3, 4)), geometry, view=view)
        assert pictures.radiograph_letters(radiograph) == letters
        without = pictures.radiograph_letters(Radiograph(np.zeros((3, 4)), view=view))
        assert (without.left, without.right) == (letters.left, letters.right)
    assert pictures.radiograph_letters(Radiograph(np.zeros((3, 4)))) == Letters()
    turned = ViewGeometry.pa(shape=(3, 4)).moved(rotation_matrix((0, 1, 0), 180.0), (0, 0, 0))
    assert pictures.radiograph_letters(Radiograph(np.zeros((3, 4)), turned)) == Letters("L", "R", "I", "S")


def test_letters_are_drawn_where_they_belong():
    image = Image.new("RGB", (120, 100))
    found = np.asarray(panels.lettered(image, Letters(left="R")), int)
    rows, columns = np.nonzero(found[..., 0] - found[..., 2] > 100)
    assert len(rows) > 20 and columns.max() < 30 and 30 < rows.mean() < 70


# -- numbers as grey and colour ----------------------------------------------------------------------
def test_grey_and_diverging_scales():
    assert panels.grey(np.array([[-2000.0, -1000.0, 0.0, 1000.0, 9e9]]), -1000, 1000).tolist() == [
        [0, 0, 128, 255, 255]
    ]
    low, middle, high, beyond = panels.diverging(np.array([-500.0, 0.0, 500.0, 1e6]), 500.0)
    assert low[2] > low[0] and high[0] > high[2]
    assert np.ptp(middle) == 0 and middle[0] > 240
    assert np.array_equal(high, beyond)


def test_error_map_is_reconstruction_minus_truth(marked):
    truth = marked.with_array(np.zeros(marked.shape))
    too_high = np.asarray(pictures.compare_volumes(truth, truth.with_array(np.full(truth.shape, 400.0))), int)
    too_low = np.asarray(pictures.compare_volumes(truth, truth.with_array(np.full(truth.shape, -400.0))), int)
    right_third = slice(int(too_high.shape[1] * 0.72), int(too_high.shape[1] * 0.88))
    middle = slice(too_high.shape[0] // 4, too_high.shape[0] // 4 + 20)
    redness = (too_high - too_low)[middle, right_third, 0] - (too_high - too_low)[middle, right_third, 2]
    assert redness.mean() > 100


def test_volumes_on_other_grids_are_refused(marked):
    with pytest.raises(InputError, match="one grid"):
        pictures.compare_volumes(marked, marked.moved((5.0, 0, 0)))
    with pytest.raises(InputError, match="one grid"):
        pictures.pneumothorax_picture(marked, marked.moved((5.0, 0, 0)))


def test_three_planes_cut_where_they_are_asked_to(marked):
    inside = np.asarray(pictures.three_planes(marked, center=(10.5, -9.0, 14.0)), int)
    beside = np.asarray(pictures.three_planes(marked, center=(-15.0, 10.0, -15.0)), int)
    tiles = slice(60, None)
    assert np.count_nonzero(inside[tiles].min(axis=-1) > 200) > 1000
    assert np.count_nonzero(beside[tiles].min(axis=-1) > 200) < 100


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda v: pictures.plane_pixels(v, "diagonal", 0), "plane"),
        (lambda v: pictures.plane_pixels(v, "axial", 11), "axial slice"),
        (lambda v: pictures.window_of("x"), "window"),
        (lambda v: pictures.window_of((5.0, 5.0)), "low below high"),
    ],
)
def test_bad_requests_are_refused(marked, call, message):
    with pytest.raises(InputError, match=message):
        call(marked)


# -- radiographs -------------------------------------------------------------------------------------
@pytest.fixture
def radiograph(rng):
    geometry = ViewGeometry.pa(shape=(16, 12), pixel_spacing=(5.0, 10.0))
    values = rng.uniform(0.5, 4.0, (16, 12))
    return Radiograph(values, geometry, Quantity.LINE_INTEGRAL, "PA")


def _difference(sheet: Image.Image) -> np.ndarray:
    """Pixels from the middle of the third tile of a one-row panel."""
    pixels = np.asarray(sheet, int)
    return pixels[100:150, int(pixels.shape[1] * 0.72) : int(pixels.shape[1] * 0.9)]


def test_line_integrals_are_compared_as_they_are(radiograph):
    same = _difference(pictures.radiograph_panel([radiograph], [radiograph]))
    assert same.min() > 240  # white
    higher = radiograph.with_array(radiograph.array * 1.5, "scaled")
    assert _difference(pictures.radiograph_panel([radiograph], [higher]))[..., 2].mean() < 200


def test_display_radiographs_are_compared_up_to_gain_and_offset(radiograph):
    shown = replace(radiograph, array=0.2 * radiograph.array + 7.0, quantity=Quantity.DISPLAY)
    assert _difference(pictures.radiograph_panel([shown], [radiograph])).min() > 240


def test_radiographs_keep_their_aspect_ratio_and_must_match(radiograph):
    sheet = pictures.radiograph_panel([radiograph], [radiograph], tile_pixels=240)
    assert sheet.height - 160 == panels.MARGIN * 2 + panels.TITLE_SIZE + panels.GAP
    with pytest.raises(InputError, match="one shape"):
        pictures.radiograph_panel([radiograph], [Radiograph(np.zeros((3, 3)))])
    with pytest.raises(InputError, match="as many"):
        pictures.radiograph_panel([radiograph], [])


# -- pneumothorax ------------------------------------------------------------------------------------
def test_slices_go_through_the_largest_pneumothorax():
    labels = _labels()
    z, y, x = pictures.largest_slices(labels)
    assert labels[z, y, x] == 4 or np.any(labels[z] == 4)
    assert 5 <= z < 8 and 3 <= y < 6 and 11 <= x < 17
    labels[labels == 4] = 2
    z, y, x = pictures.largest_slices(labels)
    assert 1 <= z < 8
    assert pictures.largest_slices(np.zeros((5, 7, 9), np.uint8)) == (2, 3, 4)


def test_overlay_shows_the_air_on_its_side_in_its_colour():
    labels = Volume(_labels(), (5.0, 5.0, 5.0), quantity=Quantity.LABEL)
    ct = labels.with_array(np.full(labels.shape, -1040, np.int16), Quantity.HU)
    sheet = np.asarray(pictures.pneumothorax_picture(ct, labels, tile_pixels=190), int)
    color = 255 * np.array(pictures.PTX_SEGMENTS[3].color) * pictures.OVERLAY_OPACITY
    filled = np.abs(sheet - color).max(axis=-1) < 3
    assert filled.sum() > 2000
    axial = filled[:, : sheet.shape[1] // 3]
    columns = np.nonzero(axial)[1]
    assert columns.mean() > axial.shape[1] / 2  # patient's left is on the right
    half = (sheet.shape[0] - 30) // 2
    assert not filled[:half].any()  # the upper row is the plain CT


def test_a_reconstruction_is_called_synthetic_beside_its_slices():
    labels = Volume(_labels(), (5.0, 5.0, 5.0), quantity=Quantity.LABEL)
    ct = labels.with_array(np.full(labels.shape, -1040, np.int16), Quantity.HU)
    made = ct.with_array(ct.array, synthetic="reconstructed from radiographs")
    plain, named = (
        np.asarray(pictures.pneumothorax_picture(v, labels, tile_pixels=190), int) for v in (ct, made)
    )
    assert plain.shape == named.shape
    rows, columns = np.nonzero((plain != named).any(axis=-1))
    assert rows.max() < plain.shape[0] / 2 and columns.max() < panels.MARGIN + panels.TITLE_SIZE + panels.GAP


def test_legend_wraps_and_panel_centres():
    entries = [(f"segment {k}: 12 ml", (1.0, 0.0, 0.0), True) for k in range(6)]
    assert panels.legend(entries, 300).height > panels.legend(entries, 3000).height
    small, large = Image.new("RGB", (10, 10), (255, 0, 0)), Image.new("RGB", (50, 30), (0, 255, 0))
    sheet = np.asarray(panels.panel([[small], [large]]), int)
    rows, columns = np.nonzero(sheet[..., 0] == 255)
    assert columns.mean() == pytest.approx((sheet.shape[1] - 1) / 2, abs=0.5)
    assert rows.max() < np.nonzero(sheet[..., 1] == 255)[0].min()


def test_a_panel_of_the_phantom_is_not_its_mirror_image():
    from xrecon.physics.chest_phantom import chest_phantom

    phantom = chest_phantom((8.0, 8.0, 8.0), pneumothorax_ml=600.0, side="right", noise_hu=0.0)
    sheet = np.asarray(pictures.pneumothorax_picture(phantom.volume, phantom.labels), int)
    red = (sheet[..., 0] > 80) & (sheet[..., 0] > 2 * sheet[..., 1])
    first = panels.MARGIN + panels.TITLE_SIZE + panels.GAP  # after the rows' titles
    for start in (first, first + pictures.TILE_PIXELS + panels.GAP):  # axial, coronal
        _, columns = np.nonzero(red[:-40, start : start + pictures.TILE_PIXELS])
        assert len(columns) > 500
        assert columns.mean() < 0.45 * pictures.TILE_PIXELS  # patient's right is on the left
