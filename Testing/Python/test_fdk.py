"""FDK and parallel filtered back-projection against ellipsoids with exact line integrals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import xrecon.physics.filtered_backprojection as module
from rotations import rotation_matrix
from xrecon.physics.filtered_backprojection import WINDOWS, fdk, ramp_filter
from xrecon.physics.geometry import ViewGeometry
from xrecon.physics.orbit import orbit_of
from xrecon.physics.phantom import Ellipsoid, ellipsoid_line_integrals, voxelize
from xrecon.physics.poses import circular_orbit, turned, view_from_positioner_angles
from xrecon.volume import InputError

ISO = (11.0, -6.0, 23.0)
# A body with a hole and a dense rod, all reaching through the mid-plane; per mm.
BODY = Ellipsoid(ISO, (60.0, 45.0, 50.0), 0.02)
HOLE = Ellipsoid((ISO[0] + 20, ISO[1] + 5, ISO[2]), (14.0, 18.0, 20.0), -0.012)
ROD = Ellipsoid((ISO[0] - 22, ISO[1] - 4, ISO[2]), (10.0, 10.0, 20.0), 0.015)
PHANTOM = (BODY, HOLE, ROD)
SCAN = {
    "source_to_detector_mm": 1100.0,
    "source_to_isocenter_mm": 700.0,
    "shape": (56, 90),
    "pixel_spacing": (4.1, 2.9),
    "isocenter": ISO,
}
# anisotropic, off the isocentre, an odd and an even count
GRID = ((9, 54, 61), (6.0, 2.7, 2.5), (ISO[0] - 77.0, ISO[1] - 70.0, ISO[2] - 25.0))


def line_integrals(views, ellipsoids=PHANTOM) -> torch.Tensor:
    pictures = np.stack([ellipsoid_line_integrals(ellipsoids, view) for view in views])
    return torch.as_tensor(pictures, dtype=torch.float32)[None]


def densities(volume: torch.Tensor, grid=GRID) -> dict[str, float]:
    """Mean values well inside body, hole and rod, within 10 mm of the mid-plane."""

    def inside(center, semi_axes) -> np.ndarray:
        flat = Ellipsoid(tuple(center), (*semi_axes[:2], 10.0))
        return voxelize([flat], *grid).array > 0.99

    parts = {
        "hole": inside(HOLE.center, (9.0, 13.0)),
        "rod": inside(ROD.center, (6.0, 6.0)),
        "body": inside((ISO[0] - 3, ISO[1] - 33, ISO[2]), (20.0, 5.0)),
    }
    assert all(np.count_nonzero(part) > 10 for part in parts.values())
    return {name: float(volume[0, 0].numpy()[part].mean()) for name, part in parts.items()}


TRUE = {"body": 0.02, "hole": 0.008, "rod": 0.035}


def assert_densities(volume: torch.Tensor, grid=GRID, tolerance: float = 0.0003) -> None:
    """Within 1.5 % of water's density, everywhere."""
    assert densities(volume, grid) == pytest.approx(TRUE, abs=tolerance)


# -- densities ---------------------------------------------------------------------------------
@pytest.mark.parametrize("window", ["ram-lak", "hann"])
@pytest.mark.parametrize("beam", ["cone", "parallel"])
def test_densities_in_the_mid_plane(beam, window):
    views = circular_orbit(120, start_deg=7.0, beam=beam, **SCAN)
    assert_densities(fdk(line_integrals(views), views, *GRID, window=window))


def test_half_a_turn_is_enough_for_parallel_beams():
    views = circular_orbit(90, arc_deg=178.0, beam="parallel", **SCAN)
    assert_densities(fdk(line_integrals(views), views, *GRID))


def test_the_whole_mid_plane_agrees_with_the_phantom():
    # wide enough that no voxel leaves the detector
    views = circular_orbit(180, **{**SCAN, "shape": (56, 140)})
    found = fdk(line_integrals(views), views, *GRID)[0, 0].numpy()
    truth = voxelize(PHANTOM, *GRID).array
    middle = slice(3, 6)
    error = found[middle] - truth[middle]
    assert np.sqrt((error**2).mean()) < 0.06 * 0.02
    assert found[middle].sum() == pytest.approx(truth[middle].sum(), rel=0.003), "no scale error"


def test_an_oblique_grid():
    direction = rotation_matrix((0.3, -1.0, 0.5), 25.0)
    shape, spacing = (43, 44, 46), (3.1, 2.9, 3.0)
    middle = (np.array(shape[::-1]) - 1) / 2.0
    origin = tuple(np.array(ISO) - (direction * np.array(spacing[::-1])) @ middle + [2.0, 1.0, -3.0])
    grid = (shape, spacing, origin, direction)
    views = circular_orbit(120, **SCAN)
    assert_densities(fdk(line_integrals(views), views, *grid), grid)


def test_an_orbit_about_any_axis():
    turn = rotation_matrix((1.0, 0.4, -0.2), 80.0)
    center = np.array(ISO)
    views = [view.moved(turn, center - turn @ center) for view in circular_orbit(120, **SCAN)]
    moved = [
        Ellipsoid(tuple(center + turn @ (np.array(e.center) - center)), e.semi_axes, e.density, turn)
        for e in PHANTOM
    ]
    shape, spacing, origin = GRID
    grid = (shape, spacing, tuple(center + turn @ (np.array(origin) - center)), turn)
    upright = fdk(line_integrals(circular_orbit(120, **SCAN)), circular_orbit(120, **SCAN), *GRID)
    found = fdk(line_integrals(views, moved), views, *grid)
    np.testing.assert_allclose(found, upright, atol=2e-5)


# -- detectors ---------------------------------------------------------------------------------
def _sideways(view: ViewGeometry) -> ViewGeometry:
    return replace(
        view,
        row_direction=view.column_direction,
        column_direction=view.row_direction,
        shape=view.shape[::-1],
        pixel_spacing=view.pixel_spacing[::-1],
    )


def _mirrored(view: ViewGeometry) -> ViewGeometry:
    return replace(view, column_direction=tuple(-np.array(view.column_direction)))


@pytest.mark.parametrize("change", [_sideways, _mirrored])
def test_pictures_may_be_turned_or_mirrored(change):
    views = circular_orbit(40, **SCAN)
    expected = fdk(line_integrals(views), views, *GRID)
    changed = [change(view) for view in views]
    torch.testing.assert_close(fdk(line_integrals(changed), changed, *GRID), expected, rtol=1e-4, atol=1e-6)


def test_a_shifted_detector():
    views = circular_orbit(120, principal_point=(24.0, 41.3), **SCAN)
    assert_densities(fdk(line_integrals(views), views, *GRID))


@pytest.mark.parametrize("beam", ["cone", "parallel"])
def test_a_tilted_detector(beam):
    """Turned in its place by 12 degrees about the orbit's axis: the weights must follow."""
    views = []
    for view in circular_orbit(120, beam=beam, **SCAN):
        turn = rotation_matrix((0.0, 0.0, 1.0), 12.0)
        views.append(replace(view, column_direction=tuple(turn @ np.array(view.column_direction))))
    assert_densities(fdk(line_integrals(views), views, *GRID))


# -- weights of views --------------------------------------------------------------------------
def test_views_at_uneven_steps_count_by_their_angle():
    rng = np.random.default_rng(4)
    angles = np.sort((np.arange(150) + rng.uniform(-0.45, 0.45, 150)) * 360.0 / 150) - 180.0
    order = rng.permutation(150)
    views = [view_from_positioner_angles(a, seen_from="detector", **SCAN) for a in angles[order]]
    weights = orbit_of(views).weights
    assert weights.sum() == pytest.approx(np.pi)
    gaps = np.diff(angles, append=angles[0] + 360.0)
    expected = np.deg2rad(gaps + np.roll(gaps, 1)) / 4.0
    np.testing.assert_allclose(weights, expected[order], atol=1e-9)
    assert_densities(fdk(line_integrals(views), views, *GRID), tolerance=0.0005)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_few_views_count_alike(count):
    views = [
        view_from_positioner_angles(a, seen_from="detector", **SCAN) for a in (0.0, 90.0, 45.0, -45.0)[:count]
    ]
    orbit = orbit_of(views)
    np.testing.assert_allclose(orbit.weights, np.pi / count)
    np.testing.assert_allclose(np.abs(orbit.axis), [0, 0, 1], atol=1e-9)
    found = fdk(line_integrals(views), views, *GRID)
    assert torch.isfinite(found).all() and found.std() > 0
    assert found[0, 0, 4, 26, 30] > found[0, 0, 4, 0, 0], "denser in the body than beside it"


def test_orbits_that_the_weights_do_not_fit_are_refused():
    def views(angles, **changes):
        return [view_from_positioner_angles(a, seen_from="detector", **{**SCAN, **changes}) for a in angles]

    around = np.arange(-180.0, 180.0, 10.0)
    with pytest.raises(InputError, match="a gap of 160 degrees: short scans"):
        orbit_of(circular_orbit(101, arc_deg=200.0, **SCAN))
    with pytest.raises(InputError, match="a gap of 90 degrees: short scans"):
        orbit_of(circular_orbit(46, arc_deg=90.0, beam="parallel", **SCAN))
    with pytest.raises(InputError, match="leans by 20.0 degrees"):
        orbit_of(circular_orbit(36, secondary_deg=20.0, **SCAN))
    with pytest.raises(InputError, match="turned by 30.0 degrees"):
        orbit_of(views(around, detector_angle_deg=30.0))
    with pytest.raises(InputError, match="one kind of beam"):
        orbit_of(views([0.0]) + views([90.0], beam="parallel"))
    with pytest.raises(InputError, match="one isocentre"):
        orbit_of(views([0.0]) + views([90.0], isocenter=(0.0, 0.0, 100.0)))
    with pytest.raises(InputError, match="about as far from the axis"):
        orbit_of(views(around[::2]) + views(around[1::2], source_to_isocenter_mm=1000.0))
    with pytest.raises(InputError, match="between source and detector"):
        orbit_of([replace(views([0.0])[0], isocenter=(0.0, 2000.0, 0.0))])
    assert orbit_of(views(around, detector_angle_deg=3.0)).filter_axes == (1,) * 36
    assert orbit_of([turned(views([0.0])[0], (0.0, 40.0, 0.0))]).weights == pytest.approx([np.pi])


# -- the filter --------------------------------------------------------------------------------
@pytest.mark.parametrize("step", [0.5, 2.0])
def test_the_ramp_multiplies_a_wave_by_its_frequency(step):
    position = torch.arange(400, dtype=torch.float64) * step
    for per_step in (0.05, 0.2, 0.4):
        wave = torch.cos(2 * np.pi * per_step / step * position)
        filtered = ramp_filter(wave, step)[120:280]
        np.testing.assert_allclose(filtered, per_step / step * wave[120:280], atol=0.006 / step)


def test_a_constant_has_no_ramp():
    filtered = ramp_filter(torch.ones(4001, dtype=torch.float64), 1.0)
    assert abs(filtered[2000].item()) < 2e-4 < ramp_filter(torch.ones(3, dtype=torch.float64), 1.0)[1].item()


@pytest.mark.parametrize("window", WINDOWS)
def test_windows_leave_low_frequencies_and_cut_high_ones(window):
    position = torch.arange(600, dtype=torch.float64)
    low, high = (torch.cos(2 * np.pi * f * position) for f in (0.01, 0.45))
    middle = slice(200, 400)
    whole, half = (ramp_filter(low, 1.0, window=window, cutoff=c)[middle] for c in (1.0, 0.5))
    plain = ramp_filter(low, 1.0)[middle]
    np.testing.assert_allclose(whole, plain, atol=0.05 * 0.01)
    np.testing.assert_allclose(half, plain, atol=0.2 * 0.01)
    cut = ramp_filter(high, 1.0, window=window, cutoff=0.5)[middle]
    assert cut.abs().max() < 0.02 * 0.45
    strength = ramp_filter(high, 1.0, window=window)[middle].abs().max() / 0.45
    ratio = {"ram-lak": 1.0, "shepp-logan": 0.70, "cosine": 0.16, "hamming": 0.10, "hann": 0.02}[window]
    assert strength.item() == pytest.approx(ratio, abs=0.02)


# -- the implementation ------------------------------------------------------------------------
def test_slabs_and_batches_change_nothing(monkeypatch):
    views = circular_orbit(12, **SCAN)
    one = line_integrals(views)
    both = fdk(torch.cat([one, 0.5 * one]), views, *GRID)
    assert both.shape == (2, 1, *GRID[0])
    torch.testing.assert_close(both[1], 0.5 * both[0])
    monkeypatch.setattr(module, "VOXELS_PER_CALL", 2 * GRID[0][1] * GRID[0][2] + 5)
    torch.testing.assert_close(fdk(one, views, *GRID)[0], both[0])


def test_gradients_with_respect_to_the_projections():
    views = circular_orbit(3, **{**SCAN, "shape": (4, 5), "pixel_spacing": (40.0, 50.0)})
    pictures = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    grid = ((3, 4, 2), (20.0, 20.0, 30.0), (ISO[0] - 15.0, ISO[1] - 30.0, ISO[2] - 20.0))
    assert torch.autograd.gradcheck(lambda y: fdk(y, views, *grid), pictures.requires_grad_(True))


def test_wrong_inputs_are_refused():
    views = circular_orbit(6, **SCAN)
    pictures = torch.zeros(1, 6, *SCAN["shape"])
    for wrong in (pictures[0], pictures[:, :5], pictures[..., :-1]):
        with pytest.raises(InputError, match="expected projections"):
            fdk(wrong, views, *GRID)
    with pytest.raises(InputError, match="finite floating point"):
        fdk(pictures.int(), views, *GRID)
    with pytest.raises(InputError, match="finite floating point"):
        fdk(pictures / 0.0, views, *GRID)
    with pytest.raises(InputError, match="one or more views"):
        fdk(pictures, [], *GRID)
    with pytest.raises(InputError, match="one or more views"):
        fdk(pictures, [*views[:5], views[5].resampled((7, 8))], *GRID)
    with pytest.raises(InputError, match="window"):
        fdk(pictures, views, *GRID, window="ramp")
    with pytest.raises(InputError, match="cutoff"):
        fdk(pictures, views, *GRID, cutoff=0.0)
    with pytest.raises(InputError, match="before every source"):
        fdk(pictures, views, (5, 5, 5), (50.0, 600.0, 50.0))
    with pytest.raises(InputError, match="spacing"):
        fdk(pictures, views, (5, 5, 5), (1.0, 0.0, 1.0))
    with pytest.raises(InputError, match="shape"):
        fdk(pictures, views, (5, 5), (1.0, 1.0, 1.0))
