"""Every method and backend of the projector against truth, against its own adjoint, and each other."""

from functools import cache

import numpy as np
import pytest
import torch
from projector_inputs import DIRECTION, SHAPE, SPACING, chest_bodies, rotation, two_views, view_from_within
from xrecon.physics import joseph_compiled
from xrecon.physics.geometry import ViewGeometry
from xrecon.physics.phantom import ellipsoid_line_integrals, voxelize
from xrecon.physics.presum import slabs_for
from xrecon.physics.projector import Projector
from xrecon.volume import InputError

MODES = [
    {"backend": "compiled"},
    {"method": "siddon"},
    {"presum": 2},
    {"presum": 3},
    {"presum": 4, "backend": "compiled"},
]


def projector(views, dtype=torch.float64, **mode) -> Projector:
    if mode.get("backend") == "compiled" and not joseph_compiled.is_usable():
        pytest.skip("torch.compile does not work here (no C++ compiler?)")
    return Projector(views, SHAPE, SPACING, direction=DIRECTION, dtype=dtype, **mode)


def random_pair(operator: Projector, dtype=torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(2, 1, *SHAPE, generator=generator, dtype=dtype)
    return x, torch.rand(2, *operator.output_shape, generator=generator, dtype=dtype)


@pytest.mark.parametrize("dtype,tolerance", [(torch.float64, 1e-12), (torch.float32, 1e-6)])
@pytest.mark.parametrize("beam", ["cone", "parallel", "within"])
@pytest.mark.parametrize("mode", MODES, ids=str)
def test_adjoint_by_inner_product(mode, beam, dtype, tolerance):
    views = [view_from_within()] if beam == "within" else two_views(beam)
    operator = projector(views, dtype, **mode)
    x, y = random_pair(operator, dtype)
    forward, back = (operator(x) * y).double().sum(), (x * operator.adjoint(y)).double().sum()
    assert forward > 0
    assert abs(forward - back) <= tolerance * abs(forward)


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_gradcheck(mode):
    operator = projector(two_views(shape=(2, 3)), **mode)
    x = torch.rand(1, 1, *SHAPE, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(operator, x, fast_mode=True)
    y = torch.rand(1, *operator.output_shape, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(operator.adjoint, y, fast_mode=True)


@pytest.mark.parametrize("views", [two_views(), two_views("parallel"), [view_from_within()]])
def test_compiled_equals_eager(views):
    eager, compiled = projector(views), projector(views, backend="compiled")
    x, _ = random_pair(eager)
    torch.testing.assert_close(compiled(x), eager(x), rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("mode", [{}, {"method": "siddon"}, {"presum": 2}], ids=str)
def test_blocks_within_a_memory_budget_change_nothing(mode):
    """A budget far too small for all rays at once: rows are worked off one by one."""
    whole, blocks = projector(two_views(), **mode), projector(two_views(), memory_mb=1e-3, **mode)
    assert sum(1 for _ in blocks._groups()) > 10 > len(whole._kept_groups)
    x, y = random_pair(whole)
    torch.testing.assert_close(blocks(x), whole(x))
    torch.testing.assert_close(blocks.adjoint(y), whole.adjoint(y))


# -- Siddon --------------------------------------------------------------------------------------
def chords(view: ViewGeometry, half: np.ndarray) -> np.ndarray:
    """Length of each ray within the box of half widths (x, y, z) about the origin."""
    ends = view.pixel_positions()
    starts = np.array(view.source)
    if view.beam == "parallel":
        starts = ends - (np.array(view.detector_center) - np.array(view.source))
    ray = ends - starts
    cuts = np.stack([(-half - starts) / ray, (half - starts) / ray])
    low, high = np.clip(cuts.min(axis=0).max(-1), 0, 1), np.clip(cuts.max(axis=0).min(-1), 0, 1)
    return np.maximum(high - low, 0.0) * np.linalg.norm(ray, axis=-1)


@pytest.mark.parametrize("view", [*two_views(), *two_views("parallel"), view_from_within()])
def test_siddon_sees_the_exact_length_through_a_box(view):
    operator = Projector([view], SHAPE, SPACING, dtype=torch.float64, method="siddon")
    seen = operator(torch.ones(1, 1, *SHAPE, dtype=torch.float64))[0, 0].numpy()
    half = np.array(SHAPE[::-1]) * np.array(SPACING[::-1]) / 2
    np.testing.assert_allclose(seen, chords(view, half), atol=1e-9)
    assert seen.max() > 30


def test_siddon_takes_voxels_as_boxes():
    """A single voxel off the middle: the sum over all boxes' chords is that of one smaller box."""
    view = two_views()[0]
    x = torch.zeros(1, 1, 3, 3, 3, dtype=torch.float64)
    x[0, 0, 1, 1, 1] = 2.0
    seen = Projector([view], (3, 3, 3), (30.0, 20.0, 25.0), dtype=torch.float64, method="siddon")(x)
    np.testing.assert_allclose(seen[0, 0].numpy(), 2.0 * chords(view, np.array([12.5, 10, 15])), atol=1e-9)


# -- summed planes -------------------------------------------------------------------------------
@cache
def phantom(turn: tuple[float, float, float]) -> torch.Tensor:
    shape, spacing = (93, 81, 88), (3.0, 3.2, 3.1)
    direction = rotation(*turn)
    origin = -(direction * np.array(spacing[::-1])) @ ((np.array(shape[::-1]) - 1) / 2)
    volume = voxelize(chest_bodies(), shape, spacing, tuple(origin), direction)
    return torch.as_tensor(volume.array)[None, None]


def error(view: ViewGeometry, turn: tuple[float, float, float], **mode) -> float:
    truth = ellipsoid_line_integrals(chest_bodies(), view)
    x = phantom(turn)
    operator = Projector(
        [view], tuple(x.shape[2:]), (3.0, 3.2, 3.1), direction=rotation(*turn), dtype=torch.float64, **mode
    )
    return float(np.linalg.norm(operator(x)[0, 0].numpy() - truth) / np.linalg.norm(truth))


@pytest.mark.parametrize(
    "angles", [(0, 0, 0), (7, 3, 20), (0, 0, 27), (3, 0, 44), (0, 0, 45), (35, 35, 0), (110, 111, 6)]
)
def test_summed_planes_are_as_near_to_the_truth_as_joseph(angles):
    """Random and worst poses, near 45 degrees as well, where planes added as they lie err most."""
    turn = (0.0, 0.0, 0.0) if angles[0] % 2 else (2.0, -3.0, 4.0)
    view = ViewGeometry.pa(shape=(61, 67), pixel_spacing=(5.0, 4.5)).moved(rotation(*angles), (5, -8, 6))
    joseph = error(view, turn)
    assert error(view, turn, presum=2) < joseph
    assert error(view, turn, presum=4) < 1.05 * joseph


@pytest.mark.parametrize("planes", [24, 23, 3, 1])
@pytest.mark.parametrize("count", [2, 4, 8])
def test_no_plane_is_lost_when_planes_are_summed(planes, count):
    view = ViewGeometry.pa(shape=(3, 3), pixel_spacing=(4.0, 4.0), beam="parallel")
    operator = Projector([view], (9, planes, 9), (4.0, 2.5, 4.0), dtype=torch.float64, presum=count)
    for depth in range(planes):
        x = torch.zeros(1, 1, 9, planes, 9, dtype=torch.float64)
        x[0, 0, :, depth] = 1.0
        torch.testing.assert_close(operator(x), torch.full((1, 1, 3, 3), 2.5, dtype=torch.float64))


@pytest.mark.parametrize("angles", [(0, 0, 0), (0, 0, 45), (25, 0, 30), (44, 0, 0)])
@pytest.mark.parametrize("count", [2, 4, 8])
def test_tissue_at_the_border_of_the_volume_is_kept(angles, count):
    """A CT ends in tissue above and below: shifted planes must not push it out of the sum."""
    view = ViewGeometry.pa(shape=(61, 67), pixel_spacing=(5.0, 4.5)).moved(rotation(*angles), (5, -8, 6))
    grid = ((41, 45, 43), (4.0, 4.2, 4.1))
    x = torch.ones(1, 1, *grid[0], dtype=torch.float64)
    joseph = Projector([view], *grid, dtype=torch.float64)(x)
    summed = Projector([view], *grid, dtype=torch.float64, presum=count)(x)
    assert float(summed.sum() / joseph.sum()) == pytest.approx(1.0, abs=2e-3)
    assert (summed - joseph).norm() < {2: 0.005, 4: 0.009, 8: 0.019}[count] * joseph.norm()


def test_views_of_about_one_direction_share_their_sums_of_planes():
    """The order of the groups changes, the pictures do not."""
    base = [
        ViewGeometry.pa(shape=(13, 11), pixel_spacing=(9.0, 8.0)),
        ViewGeometry.lateral("left", shape=(13, 11), pixel_spacing=(9.0, 8.0)),
    ]
    views = [base[i % 2].moved(rotation(i, 0.5 * i, -i), (0, 0, 0)) for i in range(4)]
    together = Projector(views, SHAPE, SPACING, dtype=torch.float64, presum=2)
    assert len(list(together._by_slabs())) < len(together._kept_groups)
    x, y = random_pair(together)
    alone = [Projector([view], SHAPE, SPACING, dtype=torch.float64, presum=2) for view in views]
    torch.testing.assert_close(together(x), torch.cat([one(x) for one in alone], dim=1))
    back = sum(one.adjoint(y[:, i : i + 1].contiguous()) for i, one in enumerate(alone))
    torch.testing.assert_close(together.adjoint(y), back)


def test_slabs_follow_the_rays():
    straight, oblique = slabs_for(1, (0.02, -0.1), 4), slabs_for(1, (0.98, -0.52), 4)
    assert straight.shifts == ((0, 0),) * 4
    assert oblique.shifts == ((0, 0), (1, -1), (2, -1), (3, -2))
    assert straight.taps[0] == pytest.approx(1 / 12, abs=0.01)
    assert oblique.taps[1] > straight.taps[1]


def test_options_out_of_range_are_refused():
    for wrong, message in [
        ({"method": "footprint"}, "expected method"),
        ({"backend": "cuda"}, "expected backend"),
        ({"presum": 0}, "expected presum"),
        ({"presum": 9}, "expected presum"),
        ({"presum": 2, "method": "siddon"}, "expected presum"),
        ({"method": "siddon", "backend": "compiled"}, "with method='siddon'"),
        ({"presum": 1.5}, "expected presum"),
        ({"memory_mb": float("nan")}, "expected memory_mb"),
        ({"direction": 2 * np.eye(3)}, "expected an orthonormal 3x3 direction"),
        ({"direction": np.eye(2)}, "expected an orthonormal 3x3 direction"),
        ({"origin": (0.0, float("nan"), 0.0)}, "expected an origin"),
    ]:
        with pytest.raises(InputError, match=message):
            Projector(two_views(), SHAPE, SPACING, **wrong)


def test_grids_and_tensors_that_do_not_fit_are_refused():
    for shape, spacing in [
        ((9, 10), SPACING),
        ((0, 9, 10), SPACING),
        (SHAPE, (1, -1, 1)),
        (SHAPE, (1, np.nan, 1)),
    ]:
        with pytest.raises(InputError, match="expected a (shape|spacing) of three"):
            Projector(two_views(), shape, spacing)
    operator = Projector(two_views(), SHAPE, SPACING)
    for dtype in (torch.float64, torch.int32):
        with pytest.raises(InputError, match="expected a tensor of torch.float32"):
            operator(torch.ones(1, 1, *SHAPE, dtype=dtype))
        with pytest.raises(InputError, match="expected a tensor of torch.float32"):
            operator.adjoint(torch.ones(1, *operator.output_shape, dtype=dtype))


def test_without_a_compiler_the_compiled_backend_is_refused(monkeypatch):
    monkeypatch.setattr(joseph_compiled, "is_usable", lambda device: False)
    with pytest.raises(InputError, match="expected torch.compile to work"):
        Projector(two_views(), SHAPE, SPACING, backend="compiled")
