"""Back-projection and SIRT against linear algebra, analytic ellipsoids and the truth itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from rotations import rotation_matrix
from xrecon.physics.geometry import ViewGeometry
from xrecon.physics.iterative import backproject, sirt
from xrecon.physics.phantom import Ellipsoid, ellipsoid_line_integrals, voxelize
from xrecon.physics.poses import circular_orbit, turned, view_from_positioner_angles
from xrecon.physics.projector import Projector
from xrecon.volume import InputError

ISO = (5.0, -8.0, 12.0)
SCAN = {
    "source_to_detector_mm": 900.0,
    "source_to_isocenter_mm": 600.0,
    "shape": (13, 19),
    "pixel_spacing": (11.0, 8.0),
    "isocenter": ISO,
}
# a small oblique grid off the isocentre, with three different spacings
DIRECTION = rotation_matrix((0.4, 1.0, -0.3), 20.0)
GRID = ((6, 7, 8), (12.0, 11.0, 9.0), (-25.0, -44.0, -22.0), DIRECTION)


def some_views(count: int, **changes) -> list[ViewGeometry]:
    """Views from all sides, not on one orbit."""
    rng = np.random.default_rng(12)
    return [
        turned(view_from_positioner_angles(0.0, **{**SCAN, **changes}), tuple(angles))
        for angles in rng.uniform(-180, 180, (count, 3))
    ]


def truth(batch: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return 0.02 * torch.rand(batch, 1, *GRID[0], generator=generator, dtype=torch.float64)


def projected(views, volume: torch.Tensor, grid=GRID) -> torch.Tensor:
    return Projector(views, *grid, dtype=volume.dtype)(volume)


# -- back-projection ---------------------------------------------------------------------------
def test_plain_back_projection_is_the_adjoint():
    views = some_views(3)
    pictures = torch.rand(2, 3, *SCAN["shape"], generator=torch.Generator().manual_seed(1))
    expected = Projector(views, *GRID).adjoint(pictures)
    torch.testing.assert_close(backproject(pictures, views, *GRID, normalize="plain"), expected)
    in_parts = backproject(pictures, views, *GRID, normalize="plain", views_per_call=2)
    torch.testing.assert_close(in_parts, expected)


def test_support_makes_a_mean_of_the_rays():
    views = some_views(2, shape=(3, 2))  # too small to see all voxels
    pictures = torch.full((1, 2, 3, 2), 7.0, dtype=torch.float64)
    mean = backproject(pictures, views, *GRID)
    seen = Projector(views, *GRID, dtype=torch.float64).adjoint(torch.ones_like(pictures)) > 1e-3
    assert 0 < seen.sum() < seen.numel()
    np.testing.assert_allclose(mean[seen], 7.0, rtol=1e-9)
    assert (mean[~seen] == 0).any() and set(np.round(mean.unique().numpy(), 6)) == {0.0, 7.0}


def test_attenuation_of_a_uniform_volume_comes_back():
    views = some_views(4)
    uniform = torch.full((1, 1, *GRID[0]), 0.017, dtype=torch.float64)
    found = backproject(projected(views, uniform), views, *GRID, normalize="attenuation")
    np.testing.assert_allclose(found, uniform, rtol=1e-9)


def test_back_projection_is_differentiable():
    views = some_views(2, shape=(2, 3), pixel_spacing=(30.0, 30.0))
    pictures = torch.rand(1, 2, 2, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for normalize in ("plain", "mean", "attenuation"):
        assert torch.autograd.gradcheck(
            lambda y, how=normalize: backproject(y, views, (2, 3, 2), (30.0, 30.0, 40.0), normalize=how),
            pictures.requires_grad_(True),
        )


# -- SIRT --------------------------------------------------------------------------------------
def test_iterations_are_those_of_the_matrix():
    """Two steps with a dense system matrix and numpy, relaxed and kept from going negative."""
    views = some_views(2, shape=(5, 6), pixel_spacing=(25.0, 22.0))
    shape = GRID[0]
    operator = Projector(views, *GRID, dtype=torch.float64)
    units = torch.eye(int(np.prod(shape)), dtype=torch.float64).reshape(-1, 1, *shape)
    matrix = operator(units).reshape(len(units), -1).numpy().T
    rng = np.random.default_rng(2)
    y = matrix @ rng.uniform(0, 0.02, matrix.shape[1]) + rng.normal(scale=0.3, size=len(matrix))
    y[matrix.sum(axis=1) == 0] = 0.7  # a ray that misses everything says nothing
    columns = matrix.sum(axis=0)
    with np.errstate(divide="ignore"):
        rows = np.where(matrix.sum(axis=1) > 0, 1 / matrix.sum(axis=1), 0)
        columns = np.where(columns > 0, 1 / columns, 0)
    x, residuals = np.zeros(matrix.shape[1]), []
    for _ in range(2):
        residuals.append(np.sqrt((rows * (y - matrix @ x) ** 2).sum() / (rows * y**2).sum()))
        x = np.maximum(x + 1.3 * columns * (matrix.T @ (rows * (y - matrix @ x))), 0)
    residuals.append(np.sqrt((rows * (y - matrix @ x) ** 2).sum() / (rows * y**2).sum()))
    result = sirt(
        torch.as_tensor(y).reshape(1, *operator.output_shape), views, *GRID, iterations=2, relaxation=1.3
    )
    assert (x == 0).any(), "the constraint is at work"
    np.testing.assert_allclose(result.volume.numpy().ravel(), x, atol=1e-12)
    np.testing.assert_allclose(result.residuals, residuals, rtol=1e-9)


@pytest.mark.parametrize("nonnegative", [True, False])
@pytest.mark.parametrize("relaxation", [0.5, 1.0, 1.95])
def test_the_residual_never_rises(relaxation, nonnegative):
    views = some_views(6)
    pictures = projected(views, truth())
    noise = torch.randn(pictures.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    result = sirt(
        pictures + 0.2 * noise,
        views,
        *GRID,
        iterations=25,
        relaxation=relaxation,
        nonnegative=nonnegative,
    )
    assert result.iterations == 25 and result.stopped == "iterations"
    assert result.residuals[0] == 1.0
    assert np.all(np.diff(result.residuals) <= 1e-12), result.residuals
    assert (result.volume.min() >= 0) == nonnegative


def test_the_truth_is_reached_on_an_overdetermined_system():
    views, volume = some_views(40, shape=(24, 24), pixel_spacing=(6.0, 6.0)), truth(batch=2)
    pictures = projected(views, volume)
    result = sirt(pictures, views, *GRID, iterations=250, relaxation=1.95)
    error = torch.linalg.vector_norm(result.volume - volume) / torch.linalg.vector_norm(volume)
    assert error < 0.01
    assert result.residuals[-1] < 1e-3
    begun = sirt(pictures, views, *GRID, iterations=1, start=volume)
    torch.testing.assert_close(begun.volume, volume)
    assert begun.residuals == pytest.approx((0.0, 0.0), abs=1e-7)


def test_ordered_subsets_get_there_sooner():
    views, volume = some_views(40, shape=(24, 24), pixel_spacing=(6.0, 6.0)), truth()
    pictures = projected(views, volume)
    plain, ordered = (sirt(pictures, views, *GRID, iterations=10, subsets=n) for n in (1, 8))
    errors = [float(torch.linalg.vector_norm(r.volume - volume)) for r in (plain, ordered)]
    assert errors[1] < 0.5 * errors[0]
    assert ordered.residuals[-1] < 0.5 * plain.residuals[-1]


@pytest.mark.parametrize("subsets", [1, 3])
def test_views_per_call_changes_nothing(subsets):
    views = some_views(7)
    pictures = projected(views, truth())
    whole = sirt(pictures, views, *GRID, iterations=3, subsets=subsets)
    parts = sirt(pictures, views, *GRID, iterations=3, subsets=subsets, views_per_call=1)
    torch.testing.assert_close(parts.volume, whole.volume)
    assert parts.residuals == pytest.approx(whole.residuals)


@pytest.mark.parametrize("beam", ["cone", "parallel"])
def test_densities_of_ellipsoids(beam):
    """Exact line integrals in, attenuation per mm out: no scale error."""
    body = Ellipsoid(ISO, (58.0, 45.0, 44.0), 0.02)
    hole = Ellipsoid((ISO[0] + 18, ISO[1], ISO[2]), (17.0, 20.0, 20.0), -0.012)
    views = circular_orbit(60, beam=beam, **{**SCAN, "shape": (32, 48), "pixel_spacing": (4.7, 4.2)})
    pictures = torch.as_tensor(
        np.stack([ellipsoid_line_integrals([body, hole], view) for view in views]), dtype=torch.float32
    )[None]
    grid = ((24, 34, 36), (4.5, 3.9, 4.1), (ISO[0] - 74.0, ISO[1] - 63.0, ISO[2] - 50.0))
    found = sirt(pictures, views, *grid, iterations=12, subsets=6).volume[0, 0].numpy()
    in_hole = voxelize([Ellipsoid(hole.center, (10.0, 12.0, 12.0))], *grid).array > 0.99
    in_body = voxelize([Ellipsoid((ISO[0] - 25, ISO[1], ISO[2]), (14.0, 20.0, 20.0))], *grid).array > 0.99
    assert found[in_body].mean() == pytest.approx(0.02, rel=0.01)
    assert found[in_hole].mean() == pytest.approx(0.008, rel=0.03)


def test_two_radiographs_are_explained_and_the_null_space_is_left_alone():
    options = {**SCAN, "shape": (28, 30), "pixel_spacing": (5.0, 5.0)}
    views = [ViewGeometry.pa(**options), ViewGeometry.lateral("left", **options)]
    grid = ((18, 22, 24), (6.0, 5.0, 5.0), (ISO[0] - 57.0, ISO[1] - 52.0, ISO[2] - 51.0))
    body = Ellipsoid(ISO, (55.0, 38.0, 45.0), 0.02)
    lung = Ellipsoid((ISO[0] - 22, ISO[1], ISO[2]), (16.0, 24.0, 30.0), -0.014)
    pictures = torch.as_tensor(
        np.stack([ellipsoid_line_integrals([body, lung], view) for view in views]), dtype=torch.float32
    )[None]
    result = sirt(pictures, views, *grid, iterations=40, relaxation=1.8)
    reprojected = projected(views, result.volume, grid)
    chest = torch.as_tensor(voxelize([body, lung], *grid).array, dtype=torch.float32)[None, None]
    empty, itself, found = (
        float((projected(views, v, grid) - pictures).square().mean().sqrt())
        for v in (torch.zeros_like(chest), chest, result.volume)
    )
    # nearer to the exact pictures than the phantom's own voxels, whose edges are 5 mm wide
    assert found < itself < 0.1 * empty
    assert np.all(np.diff(result.residuals) < 0)
    # another start ends in another volume that explains the radiographs as well
    other = sirt(pictures, views, *grid, iterations=40, relaxation=1.8, start=chest)
    again = projected(views, other.volume, grid)
    assert float((again - reprojected).abs().mean()) < 0.02 * float(pictures.mean())
    assert float((other.volume - result.volume).abs().mean()) > 0.05 * float(chest.mean())
    assert float((other.volume - chest).abs().mean()) < 0.4 * float((result.volume - chest).abs().mean())


def test_it_stops_where_it_was_told_to():
    views = some_views(30, shape=(18, 18), pixel_spacing=(8.0, 8.0))
    pictures = projected(views, truth())
    calls = []
    result = sirt(
        pictures, views, *GRID, iterations=300, target=0.05, progress=lambda n, r: calls.append((n, r))
    )
    assert result.stopped == "target" and result.iterations < 300
    assert result.residuals[-2] <= 0.05 < result.residuals[-3]
    assert calls == [(n + 1, r) for n, r in enumerate(result.residuals[:-1])]
    stalled = sirt(pictures, views, *GRID, iterations=300, stall=0.03)
    assert stalled.stopped == "stalled" and 2 < stalled.iterations < 300
    before, after = stalled.residuals[-3:-1]
    assert before - after < 0.03 * before


def test_wrong_inputs_are_refused():
    views = some_views(3)
    pictures = torch.ones(1, 3, *SCAN["shape"])

    def refused(message: str, y: torch.Tensor = pictures, v: list = views, grid: tuple = GRID, **options):
        with pytest.raises(InputError, match=message):
            sirt(y, v, *grid, **options)

    refused("expected projections", pictures[:, :2])
    refused("expected projections", pictures[0])
    refused("finite floating point", pictures / 0.0)
    refused("finite floating point", pictures.long())
    refused("same detector shape", v=[*views[:2], views[2].resampled((3, 3))])
    refused("one or more views", v=[])
    refused("got zeros there", 0 * pictures)
    for options in ({"iterations": 0}, {"relaxation": 2.0}, {"relaxation": 0.0}, {"stall": -1.0}):
        refused("relaxation between 0 and 2", **options)
    refused("1 to 3 subsets", subsets=4)
    refused("views_per_call", views_per_call=0)
    refused("start volume", start=torch.zeros(1, 1, 3, 3, 3))
    refused("start volume", start=torch.full((1, 1, *GRID[0]), float("nan")))
    far = (*GRID[:2], (9000.0, 0.0, 0.0), GRID[3])
    refused("rays meet the volume", grid=far)
    with pytest.raises(InputError, match="normalize"):
        backproject(pictures, views, *GRID, normalize="max")
