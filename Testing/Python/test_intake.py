"""Grey radiographs on their way to a network: planted borders, markers, curves and wrong scales are undone.

The truth is known: pictures are projections of a generated chest, shown through a film's curve.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from xrecon.io.radiograph import read_radiograph
from xrecon.physics.chest_phantom import chest_phantom
from xrecon.physics.drr import render_drrs
from xrecon.physics.geometry import ViewGeometry
from xrecon.preprocess.covered import find_border, find_covered, find_markers, uncovered
from xrecon.preprocess.ct import lung_center
from xrecon.preprocess.intake import STEPS, take_in
from xrecon.preprocess.radiograph import normalize
from xrecon.preprocess.signal import log_signal
from xrecon.preprocess.thorax import find_thorax
from xrecon.volume import InputError, Quantity, Radiograph

SIZE = 128
ASSUMED = {
    f"{name}.origin": "assumed"
    for name in ("source_to_detector_mm", "source_to_isocenter_mm", "pixel_spacing_mm", "isocenter")
}


@pytest.fixture(scope="module")
def chest() -> dict[str, Radiograph]:
    """Line integrals of a generated chest by plane, and where its lungs are."""
    volume = chest_phantom(spacing=(5.0, 5.0, 5.0), seed=5).volume
    names = ("PA", "LEFT LATERAL")
    views = [ViewGeometry.preset(v, shape=(SIZE, SIZE), isocenter=tuple(lung_center(volume))) for v in names]
    views = [v.moved(np.eye(3), -np.array(v.isocenter)) for v in views]
    volume = volume.moved(-lung_center(volume))
    return dict(zip(("frontal", "lateral"), render_drrs(volume, views, names=names), strict=True))


def film(radiograph: Radiograph, latitude: float = 3.0) -> Radiograph:
    """Grey values from 0 to 4095 by a sigmoid, as an unknown file's: everything about it assumed."""
    level = np.quantile(radiograph.array, 0.55)
    grey = 4095.0 / (1.0 + np.exp(-4.0 * (radiograph.array - level) / latitude / 1.5))
    return replace(
        radiograph.with_array(grey.astype(np.float32), "film", quantity=Quantity.DISPLAY), meta=dict(ASSUMED)
    )


def bordered(
    array: np.ndarray, side: str, depth: int, slope: float = 0.0, value: float = 4095.0
) -> np.ndarray:
    """The picture with a border of `depth` pixels in the middle of a side, tilted by `slope`."""
    turned = {"top": array, "bottom": array[::-1], "left": array.T, "right": array.T[::-1]}[side].copy()
    row, column = np.indices(turned.shape)
    turned[row < depth + slope * (column - turned.shape[1] / 2)] = value
    return {
        "top": turned, "bottom": turned[::-1], "left": turned.T, "right": turned[::-1].T,
    }[side]  # fmt: skip


def lettered(array: np.ndarray, row: int, column: int, value: float) -> np.ndarray:
    """The picture with an L of lead, 3 pixels thick and 14 high."""
    marked = array.copy()
    marked[row : row + 14, column : column + 3] = value
    marked[row + 11 : row + 14, column : column + 9] = value
    return marked


# -- borders and markers -----------------------------------------------------------------------
@pytest.mark.parametrize("plane", ["frontal", "lateral"])
@pytest.mark.parametrize("side", ["top", "bottom", "left", "right"])
def test_a_planted_border_is_found_and_filled(chest: dict, plane: str, side: str) -> None:
    clean = film(chest[plane]).array
    dirty = bordered(clean, side, 13, slope=0.05 if plane == "frontal" else 0.0)
    truth = dirty != clean
    found, sides = find_border(dirty)
    assert set(sides) == {side}
    assert (found & truth).sum() >= 0.97 * truth.sum()
    assert (found & ~truth).mean() < 0.04  # up to the step's width beside the edge
    filled = uncovered(dirty, find_covered(dirty))
    assert np.abs(filled - clean)[truth].mean() < 0.5 * np.abs(dirty - clean)[truth].mean()


@pytest.mark.parametrize("plane", ["frontal", "lateral"])
@pytest.mark.parametrize("latitude", [2.0, 5.0])
def test_a_picture_without_border_and_marker_is_left_alone(chest: dict, plane: str, latitude: float) -> None:
    covered = find_covered(film(chest[plane], latitude).array)
    assert not covered.sides and covered.markers.mean() < 0.002


@pytest.mark.parametrize(("row", "column"), [(8, 8), (10, 110), (108, 6)])
def test_a_planted_marker_is_found_and_filled(chest: dict, row: int, column: int) -> None:
    clean = film(chest["frontal"]).array
    value = 4095.0 if clean[row : row + 14, column : column + 9].mean() < 2000 else 0.0
    dirty = lettered(clean, row, column, value)
    truth = dirty != clean
    covered = find_covered(dirty)
    assert covered.marker_count == 1 and (covered.markers & truth).sum() > 0.9 * truth.sum()
    assert covered.markers.mean() < 0.02
    filled = uncovered(dirty, covered)
    assert np.abs(filled - clean)[truth].mean() < 0.2 * np.abs(dirty - clean)[truth].mean()


def test_what_lies_in_the_chest_is_no_marker(chest: dict) -> None:
    dirty = lettered(film(chest["frontal"]).array, 56, 48, 4095.0)
    box = find_thorax(dirty, "frontal").slices(dirty.shape)
    assert find_markers(dirty, np.zeros(dirty.shape, bool), box)[1] == 0


# -- lungs -------------------------------------------------------------------------------------
@pytest.mark.parametrize("plane", ["frontal", "lateral"])
def test_the_lungs_are_found_wherever_they_are(chest: dict, plane: str) -> None:
    """Within 25 mm, that is 2 standard deviations of what projected CTs gave, and 20 % of the height."""
    grey = film(chest[plane]).array
    plain = find_thorax(grey, plane)
    spacing = 430.0 / SIZE
    middle = np.array([(SIZE - 1) / 2.0] * 2)
    assert np.abs((np.array(plain.center) - middle) * spacing).max() < 40.0
    for zoom, shift in ((0.85, (6.0, -8.0)), (1.15, (-4.0, 6.0))):
        offset = middle - (middle + shift) / zoom
        moved = ndimage.affine_transform(grey, [1 / zoom, 1 / zoom], offset=offset, order=1, mode="nearest")
        found = find_thorax(moved, plane)
        expected = middle + shift + (np.array(plain.center) - middle) * zoom
        assert np.abs((np.array(found.center) - expected) * spacing).max() < 25.0
        assert found.size[0] / plain.size[0] / zoom == pytest.approx(1.0, abs=0.2)


def test_nothing_is_found_where_there_is_no_chest(rng: np.random.Generator) -> None:
    assert find_thorax(ndimage.gaussian_filter(rng.normal(size=(120, 120)), 6), "frontal") is None


# -- towards line integrals --------------------------------------------------------------------
@pytest.mark.parametrize("latitude", [2.0, 3.5])
@pytest.mark.parametrize("plane", ["frontal", "lateral"])
def test_matched_values_are_nearer_to_line_integrals(chest: dict, plane: str, latitude: float) -> None:
    grey = film(chest[plane], latitude)
    (seen,), notes = take_in([grey])
    truth = normalize(chest[plane].array)
    error = [float(np.sqrt(np.mean((normalize(r.array) - truth) ** 2))) for r in (grey, seen)]
    assert error[1] < 0.75 * error[0]
    assert seen.quantity is Quantity.DISPLAY and "matched to the line integrals" in seen.history[-1]
    (same,), _ = take_in([grey], skip=("match", "mask", "place"))
    assert np.array_equal(same.array, grey.array)


def test_intensities_become_the_log_signal_to_a_constant_factor(chest: dict) -> None:
    intensity = 60000.0 * np.exp(-chest["frontal"].array.astype(np.float64))
    stored = (65535.0 - intensity).astype(np.float32)  # bright = dense, as the reader gives it
    meta = {**ASSUMED, "beam_relation": "LIN", "no_beam_value": "65535"}
    raw = replace(chest["frontal"], array=stored, quantity=Quantity.DISPLAY, meta=meta)
    (seen,), _ = take_in([raw])
    assert seen.quantity is Quantity.LOG_SIGNAL
    np.testing.assert_allclose(seen.array, chest["frontal"].array, atol=0.05)
    assert "-log of the intensity over the open beam" in seen.history[-1]
    assert take_in([raw], skip=["linearise"])[0][0].quantity is Quantity.DISPLAY
    assert log_signal(film(chest["frontal"]), np.ones((SIZE, SIZE), bool)) is None


def test_logarithms_of_the_intensity_are_the_log_signal_already(chest: dict) -> None:
    """They were once matched by histogram, as an unknown curve is, and lost their straight line."""
    plain = chest["frontal"].array.astype(np.float64)
    meta = {**ASSUMED, "beam_relation": "LOG", "no_beam_value": "4095"}
    stored = (500.0 * plain + 200.0).astype(np.float32)
    raw = replace(chest["frontal"], array=stored, quantity=Quantity.DISPLAY, meta=meta)
    (seen,), _ = take_in([raw], skip=("place",))
    assert seen.quantity is Quantity.LOG_SIGNAL
    np.testing.assert_allclose(seen.array, 500.0 * (plain - plain.min()), atol=15.0)
    assert np.abs(normalize(seen.array) - normalize(plain)).max() < 1e-4
    assert "logarithm of the intensity less the open beam's" in seen.history[-1]
    assert take_in([raw], skip=["linearise"])[0][0].quantity is Quantity.DISPLAY


# -- scale and place ---------------------------------------------------------------------------
def test_a_wrong_assumed_pixel_size_is_set_right_by_the_other_view(chest: dict) -> None:
    pa, lateral = (film(chest[plane]) for plane in ("frontal", "lateral"))
    wide = replace(lateral.geometry, pixel_spacing=tuple(1.6 * s for s in lateral.geometry.pixel_spacing))
    known = {**ASSUMED, "pixel_spacing_mm.origin": "DICOM"}
    pa = replace(pa, meta=known)
    (_, right), notes = take_in([pa, replace(lateral, geometry=wide)])
    assert right.geometry.pixel_spacing[0] == pytest.approx(lateral.geometry.pixel_spacing[0], rel=0.2)
    assert right.meta["pixel_spacing_mm.origin"] == "lungs of the other view"
    assert any("assumed pixel size times 0." in note for note in notes)
    (_, told), notes = take_in([pa, replace(lateral, geometry=wide, meta=known)])
    assert told.geometry.pixel_spacing == wide.pixel_spacing  # recorded, not assumed: told, not changed
    assert any("seems wrong" in note for note in notes)
    assert take_in([pa, replace(lateral, geometry=wide)], skip=["scale"])[0][1].geometry.pixel_spacing == (
        wide.pixel_spacing
    )


@pytest.mark.parametrize("shift", [(20, 0), (0, -18)])
def test_the_field_of_view_is_put_on_the_lungs(chest: dict, shift: tuple[int, int]) -> None:
    pa = film(chest["frontal"])
    moved = pa.with_array(ndimage.shift(pa.array, shift, order=0, mode="nearest"), "moved")
    (placed,), notes = take_in([moved])
    at = placed.geometry.project(np.zeros(3))
    expected = (SIZE - 1) / 2.0 + np.array(shift)
    assert np.abs(at - expected).max() * 430.0 / SIZE < 45.0
    assert any("onto the lungs" in note for note in notes) and placed.meta["isocenter.origin"] == "lungs"
    known = replace(moved, meta={})
    assert take_in([known])[0][0].geometry == known.geometry
    assert take_in([moved], skip=["place"])[0][0].geometry == moved.geometry


def heights_mm(radiographs: list[Radiograph]) -> list[float]:
    """How far below the middle of the picture one point of the patient lies, at the isocentre."""
    rows = [(r.geometry.project(np.zeros(3))[0], r.geometry) for r in radiographs]
    return [(row - (SIZE - 1) / 2.0) * g.pixel_spacing[0] / g.magnification for row, g in rows]


@pytest.mark.parametrize("shift", [-45.0, -37.0, -30.0, 30.0, 37.0, 45.0])
def test_views_that_agree_still_agree_when_they_were_placed(chest: dict, shift: float) -> None:
    """Each view was once moved alone when it was 30 mm off: one moved, the other not."""
    pair = [film(chest[plane]) for plane in ("frontal", "lateral")]
    moved = []
    for r in pair:
        pixels = shift * r.geometry.magnification / r.geometry.pixel_spacing[0]
        moved.append(r.with_array(ndimage.shift(r.array, (pixels, 0), order=1, mode="nearest"), "moved"))
    placed, _ = take_in(moved)
    heights = heights_mm(placed)
    assert heights[0] == pytest.approx(heights[1], abs=0.01)
    if abs(shift) > 40.0:
        assert abs(heights[0] - shift) < abs(shift) / 2  # and it was moved towards the lungs


def test_views_whose_lungs_lie_far_apart_are_placed_singly(chest: dict) -> None:
    pa, lateral = (film(chest[plane]) for plane in ("frontal", "lateral"))
    far = lateral.with_array(ndimage.shift(lateral.array, (32, 0), order=1, mode="nearest"), "moved")
    shift = 32 * lateral.geometry.pixel_spacing[0] / lateral.geometry.magnification
    heights = heights_mm(take_in([pa, far])[0])
    assert abs(heights[1] - heights[0] - shift) < 40.0
    known = replace(pa, meta={**ASSUMED, "isocenter.origin": "DICOM"})
    placed, _ = take_in([known, far])
    assert placed[0].geometry == known.geometry
    assert abs(heights_mm(placed)[1] - heights_mm(placed)[0] - shift) < 40.0


# -- what is left alone ------------------------------------------------------------------------
def test_measured_values_and_unknown_views_come_back_as_they_are(chest: dict) -> None:
    odd = replace(film(chest["frontal"]), geometry=None)
    given = [chest["frontal"], odd, replace(film(chest["frontal"]), view="")]
    taken, notes = take_in(given)
    assert all(a is b for a, b in zip(taken, given, strict=True)) and notes == []
    with pytest.raises(InputError, match="expected steps out of mask, .* to skip, got crop"):
        take_in(given, skip=["crop"])
    nothing, _ = take_in([film(chest["frontal"])], skip=STEPS)
    assert np.array_equal(nothing[0].array, film(chest["frontal"]).array)


def test_a_real_radiograph_with_borders_and_a_marker(data_dir: Path) -> None:
    (seen,), notes = take_in([read_radiograph(data_dir / "radiographs" / "rsna_patientA.dcm")])
    assert any("top border" in n and "bottom border" in n and "1 marker" in n for n in notes)
    row, column, height, width = (float(v) for v in seen.meta["lungs_box"].split())
    assert abs(row - 425) < 40 and abs(column - 540) < 40  # looked at
    assert abs(height - 530) < 80 and abs(width - 720) < 80
    (rotated,), notes = take_in([read_radiograph(data_dir / "radiographs" / "rsna_patientC.dcm")])
    assert any("nothing like the lungs of an upright chest" in note for note in notes)
