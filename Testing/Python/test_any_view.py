"""Networks for any views: any-view and pixel-inr. What must not matter, and what must."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from xrecon.nets.any_view import POOLINGS, _joined, _parted
from xrecon.nets.lifting import voxel_centers
from xrecon.nets.pixel_inr import PAPER
from xrecon.nets.ray_features import present_views, rays, sample_points, seen_volume, view_descriptors
from xrecon.nets.registry import create_model
from xrecon.physics.geometry import ViewGeometry
from xrecon.physics.poses import view_from_positioner_angles
from xrecon.physics.projector import Projector
from xrecon.training.config import OptimizerConfig
from xrecon.training.optimization import apply_gradients, make_optimizer
from xrecon.training.uncertainty import uncertainty_loss
from xrecon.volume import InputError

SIDE, FIELD, PIXELS = 8, 320.0, 24
TINY = {
    "any-view": {"view_widths": (4, 8, 8), "grid_widths": (4, 8, 8, 8), "embedding": 8},
    "pixel-inr": {"widths": (4, 8, 8), "kernel": 3, "features": 8, "width": 16, "frequencies": 6},
}
NAMES = sorted(TINY)
# One view of each quarter of the circle, one of them tilted and one shifted.
ANGLES = ((0.0, 0.0), (90.0, 0.0), (-40.0, 25.0), (150.0, -10.0))


def network(name: str, seed: int = 0, **options):
    torch.manual_seed(seed)
    made = create_model(name, side=SIDE, field_mm=FIELD, **{**TINY[name], **options})
    with torch.no_grad():  # the last layers start at zero
        for parameter in made.parameters():
            if not parameter.any():
                parameter.normal_(std=0.1)
        made.mean_volume.copy_(torch.rand(made.mean_volume.shape, generator=torch.Generator().manual_seed(7)))
    return made


def views(count: int) -> list[ViewGeometry]:
    options = {"shape": (PIXELS, PIXELS), "pixel_spacing": (18.0, 18.0)}
    made = [view_from_positioner_angles(*angles, **options) for angles in ANGLES[:count]]
    return [v.shifted((0.0, 0.0, 9.0 * i)) for i, v in enumerate(made)]


def inputs(count: int, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    matrices = torch.as_tensor(np.stack([v.matrix for v in views(count)]), dtype=torch.float32)[None]
    return torch.rand(1, count, PIXELS, PIXELS, generator=torch.Generator().manual_seed(seed)), matrices


# -- geometry ------------------------------------------------------------------------------------
def test_descriptors_say_how_a_view_stands():
    pa, ap, lateral = (
        ViewGeometry.preset(n, shape=(32, 32), pixel_spacing=(10.0, 10.0))
        for n in ("PA", "AP", "LEFT LATERAL")
    )
    far = ViewGeometry.pa(shape=(32, 32), pixel_spacing=(10.0, 10.0), source_to_isocenter_mm=900.0)
    parallel = ViewGeometry.pa(shape=(32, 32), pixel_spacing=(10.0, 10.0), beam="parallel")
    matrices = torch.as_tensor(np.stack([v.matrix for v in (pa, ap, lateral, far, parallel)]))[None]
    described = view_descriptors(torch.cat([matrices, torch.zeros(1, 1, 3, 4)], dim=1).float())[0]
    axes = described[:, :3]
    torch.testing.assert_close(axes[0].abs(), torch.tensor([0.0, 1.0, 0.0]), atol=1e-4, rtol=0)
    torch.testing.assert_close(described[0], described[1], atol=1e-4, rtol=0)  # PA and AP: one line
    assert abs(float(axes[0] @ axes[2])) < 1e-4
    torch.testing.assert_close(axes[4], axes[0], atol=1e-4, rtol=0)
    # pixel at the isocentre: 10 mm / magnification
    assert described[0, 6].item() == pytest.approx(np.log(10.0 / pa.magnification / 3.0), abs=1e-4)
    assert described[3, 6].item() == pytest.approx(np.log(10.0 / far.magnification / 3.0), abs=1e-4)
    assert not described[5].any()
    assert present_views(torch.zeros(1, 1, 3, 4)).item() == 0


def test_what_is_off_the_detector_is_known_to_be():
    (view,) = views(1)
    points = torch.tensor([[0.0, 0.0, 0.0], [500.0, 0.0, 0.0]])
    matrix = torch.as_tensor(view.matrix, dtype=torch.float32)[None]
    _, inside = sample_points(torch.rand(1, 2, PIXELS, PIXELS), matrix, points, (PIXELS, PIXELS))
    assert inside[0, 0].tolist() == [1.0, 0.0]


def test_rays_are_the_points_that_a_pixel_sees():
    parallel = ViewGeometry.lateral(shape=(32, 32), pixel_spacing=(10.0, 10.0), beam="parallel")
    seen = [*views(4), parallel]
    matrices = torch.as_tensor(np.stack([v.matrix for v in seen]), dtype=torch.float64)
    pixels = torch.tensor([[0.0, 0.0], [11.5, 11.5], [23.0, 4.0]], dtype=torch.float64)
    first, step = rays(matrices, pixels)
    for t in (-200.0, 0.0, 150.0):
        points = (first + t * step).numpy()
        for view, at in zip(seen, points, strict=True):
            np.testing.assert_allclose(view.project(at)[:, ::-1], pixels.numpy(), atol=2e-2)
    # t is measured along the viewing axis, from the isocentre's plane
    axes = view_descriptors(matrices[None])[0, :, None, :3].double()
    torch.testing.assert_close((first * axes).sum(-1), torch.zeros(5, 3).double(), atol=1e-3, rtol=0)
    torch.testing.assert_close((step * axes).sum(-1), torch.ones(5, 3).double(), atol=1e-5, rtol=0)


def test_the_mean_volume_is_seen_as_it_would_be_projected():
    """A body with one denser part away from its middle, in views of which none is a mirror of another."""
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, 32)] * 3, indexing="ij")
    body = 0.4 * ((z / 0.8) ** 2 + (y / 0.5) ** 2 + ((x - 0.1) / 0.7) ** 2 < 1)
    body += 0.5 * (((z - 0.4) / 0.2) ** 2 + ((y + 0.1) / 0.3) ** 2 + ((x + 0.3) / 0.2) ** 2 < 1)
    volume = torch.as_tensor(body, dtype=torch.float32)[None, None]
    options = {"shape": (64, 64), "pixel_spacing": (7.0, 7.0)}
    seen = [view_from_positioner_angles(*angles, **options) for angles in ANGLES]
    seen.append(ViewGeometry.pa(**options, beam="parallel"))
    matrices = torch.as_tensor(np.stack([v.matrix for v in seen]), dtype=torch.float32)
    wanted = Projector(seen, (32,) * 3, (FIELD / 32,) * 3)(volume)[0]
    found = seen_volume(volume, FIELD, torch.cat([matrices, torch.zeros(1, 3, 4)]), (64, 64), stride=2)[:, 0]
    assert not found[-1].any()  # an absent view sees nothing
    for one, other in zip(found, wanted, strict=False):
        assert np.corrcoef(one.flatten(), other.flatten())[0, 1] > 0.99
        assert (one - other / other.max()).abs().mean() < 0.03


def test_half_precision_does_not_move_what_is_sampled():
    """A ramp along the columns tells where it was sampled: in bfloat16 places would be off by 0.1 of a pixel
    and more. Values are exact in both."""
    (view,) = views(1)
    matrix = torch.as_tensor(view.matrix, dtype=torch.float32)[None]
    ramp = torch.arange(128.0).expand(1, 1, 128, 128) / 128
    points = torch.rand(200, 3, generator=torch.Generator().manual_seed(1)) * 200.0 - 100.0
    with torch.autocast("cpu", torch.bfloat16):
        half, _ = sample_points(ramp.bfloat16(), matrix, points, (PIXELS, PIXELS))
    whole, _ = sample_points(ramp, matrix, points, (PIXELS, PIXELS))
    assert half.dtype == torch.bfloat16
    # only the result is rounded
    assert torch.equal(half, whole.bfloat16())


# -- both networks -------------------------------------------------------------------------------
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_one_to_four_views_in_any_order_and_filled_up(name, count):
    made = network(name).eval()
    pictures, matrices = inputs(count)
    with torch.no_grad():
        out = made(pictures, matrices)
        assert out.shape == (1, 2 if name == "any-view" else 1, SIDE, SIDE, SIDE)
        assert torch.isfinite(out).all()
        order = torch.tensor([2, 0, 3, 1])[torch.tensor([2, 0, 3, 1]) < count]
        torch.testing.assert_close(made(pictures[:, order], matrices[:, order]), out, atol=2e-5, rtol=0)
        filled = made(
            torch.cat([pictures, torch.zeros(1, 2, PIXELS, PIXELS)], dim=1),
            torch.cat([matrices, torch.zeros(1, 2, 3, 4)], dim=1),
        )
        torch.testing.assert_close(filled, out, atol=2e-5, rtol=0)
        # every view counts
        for i in range(count):
            other = pictures.clone()
            other[:, i] = other[:, i].flip(1)
            assert (made(other, matrices) - out)[:, 0].abs().max() > 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_samples_of_a_batch_do_not_mix(name):
    made = network(name).eval()
    first, second = inputs(2, seed=1), inputs(4, seed=2)
    pad = torch.zeros(1, 2, PIXELS, PIXELS), torch.zeros(1, 2, 3, 4)
    both = [torch.cat([torch.cat([a, p], dim=1), b]) for a, b, p in zip(first, second, pad, strict=True)]
    with torch.no_grad():
        out = made(*both)
        for i, alone in enumerate((first, second)):
            torch.testing.assert_close(out[i : i + 1], made(*alone), atol=2e-5, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_patient_and_views_seen_from_another_side_are_told_apart(name):
    made = network(name).eval()
    pictures, matrices = inputs(2)
    with torch.no_grad():
        moved = made(pictures, matrices.flip(1))  # the same pictures, taken from each other's place
        assert (moved - made(pictures, matrices))[:, 0].abs().max() > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_gets_a_gradient(name):
    made = network(name)
    pictures, matrices = inputs(3)
    out = made(pictures, matrices)
    (out**2).mean().backward()
    without = [n for n, p in made.named_parameters() if p.grad is None or not p.grad.any()]
    assert not without


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_network_and_it_can_be_stored(name):
    one, again, other = network(name, 3), network(name, 3), network(name, 4)
    given = inputs(2)
    with torch.no_grad():
        assert torch.equal(one(*given), again(*given))
        assert not torch.equal(one(*given), other(*given))
        other.load_state_dict(one.state_dict())
        assert torch.equal(other(*given), one(*given))


@pytest.mark.parametrize("name", NAMES)
def test_mixed_precision_moves_the_answer_little(name):
    made, given = network(name).eval(), inputs(2)
    with torch.no_grad():
        whole = made(*given)
        with torch.autocast("cpu", torch.bfloat16):
            half = made(*given)
    assert half.dtype == torch.float32
    assert (half - whole).abs().mean() < 0.05 * whole.std()


@pytest.mark.parametrize("name", NAMES)
def test_wrong_options_are_refused(name):
    with pytest.raises(InputError, match="pooling"):
        create_model(name, pooling="median")
    with pytest.raises(InputError, match="does not take"):
        create_model(name, colour="red")


# -- any-view ------------------------------------------------------------------------------------
@pytest.mark.parametrize("pooling", POOLINGS)
def test_each_pooling_works_and_is_another_network(pooling):
    given = inputs(3)
    with torch.no_grad():
        out = network("any-view", pooling=pooling)(*given)
        untold = network("any-view", pooling=pooling, embedding=0)(*given)
    assert torch.isfinite(out).all() and torch.isfinite(untold).all()
    alone = network("any-view", pooling=pooling, uncertainty=False)(*given)
    assert alone.shape[1] == 1


def test_uncertainty_changes_nothing_of_the_volume():
    """No gradient of the second output reaches what makes the first."""
    made = network("any-view")
    made(*inputs(2))[:, 1].sum().backward()
    reached = {n.split(".")[0] for n, p in made.named_parameters() if p.grad is not None and p.grad.any()}
    assert reached == {"spread"}


def test_the_volume_learns_bit_for_bit_what_it_learns_without_uncertainty():
    settings = OptimizerConfig(learning_rate=1e-2, gradient_clip=1e-3, decoupled=True)
    target, states = torch.rand(1, 1, SIDE, SIDE, SIDE), []
    for weight in (0.0, 10.0):
        made = network("any-view")
        optimizer = make_optimizer(made, settings)
        for _ in range(3):
            out = made(*inputs(2))
            loss = (out[:, :1] - target).square().mean()
            (loss + weight * uncertainty_loss(out, target) if weight else loss).backward()
            apply_gradients(optimizer, made, settings, 1.0)
        states.append({n: p for n, p in made.state_dict().items()})
    changed = {n.split(".")[0] for n in states[0] if not torch.equal(states[0][n], states[1][n])}
    assert changed == {"spread"}


@pytest.mark.parametrize("prior", [True, False])
@pytest.mark.parametrize("full_convolutions", [0, 1, 2])
def test_parts_can_be_left_out(prior, full_convolutions):
    """For ablations: every way gives a volume, and the prior changes what is learnt of it."""
    made = network("any-view", prior=prior, full_convolutions=full_convolutions).eval()
    given = inputs(2)
    with torch.no_grad():
        residual = made(*given)[:, :1] - made.mean_volume
        made.mean_volume.copy_(made.mean_volume.flip(2))
        moved = made(*given)[:, :1] - made.mean_volume
    assert torch.isfinite(residual).all()
    assert bool((moved - residual).abs().max() > 1e-3) == prior


def test_impossible_parts_are_refused():
    with pytest.raises(InputError, match="full_convolutions as 0, 1 or 2, got 3"):
        create_model("any-view", full_convolutions=3)
    with pytest.raises(InputError, match="finest as 0 or 1, got 2"):
        create_model("any-view", finest=2)
    with pytest.raises(InputError, match="side as a positive multiple of 16, got 24"):
        create_model("any-view", side=24, finest=1)


def test_the_eight_parts_of_a_large_voxel_lie_where_it_lies():
    volume = torch.arange(2.0 * 4 * 6 * 8).reshape(2, 1, 4, 6, 8)
    parts = _parted(volume, 1)
    for part, (z, y, x) in enumerate(np.ndindex(2, 2, 2)):
        torch.testing.assert_close(parts[:, part], volume[:, 0, z::2, y::2, x::2])
    torch.testing.assert_close(_joined(parts, 1), volume)
    assert _parted(volume, 0) is volume and _joined(volume, 0) is volume


@pytest.mark.parametrize("finest", [0, 1])
def test_a_coarser_grid_still_gives_every_voxel_its_own_value_and_error(finest):
    """What is learnt differs from voxel to voxel: means of eight would leave 7/8 of the error."""
    torch.manual_seed(3)
    options = {**TINY["any-view"], "grid_widths": (16, 8, 8, 8)}
    made = create_model("any-view", side=16, field_mm=FIELD, finest=finest, **options)
    target = torch.rand(1, 1, 16, 16, 16)
    made.mean_volume.copy_(1.0 - target)
    given, optimizer = inputs(2), torch.optim.Adam(made.parameters(), 1e-2)
    errors = []
    for _ in range(60):
        out = made(*given)
        assert out.shape == (1, 2, 16, 16, 16)
        error = (out[:, :1] - target).square().mean()
        errors.append(float(error.detach()))
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
    assert errors[-1] < 0.3 * errors[0]


@pytest.mark.parametrize("side", [64, 128])
def test_the_full_network_fits_into_twelve_megabytes(side):
    with torch.device("meta"):
        made = create_model("any-view", side=side)
    assert 2 * sum(t.numel() for t in made.state_dict().values()) < 12e6


# -- pixel-inr -----------------------------------------------------------------------------------
def test_points_of_the_cube_are_the_cube_in_any_pieces():
    made = network("pixel-inr").eval()
    made.mean_volume.copy_(torch.rand(made.mean_volume.shape))
    given, points = inputs(2), voxel_centers(SIDE, FIELD, torch.device("cpu")).reshape(-1, 3)
    with torch.no_grad():
        whole = made(*given)
        at_points = made(*given, points[100:140])
        made.chunk = 77
        pieces = made(*given)
    torch.testing.assert_close(at_points, whole.flatten(2)[..., 100:140], atol=1e-5, rtol=0)
    torch.testing.assert_close(pieces, whole, atol=1e-5, rtol=0)
    with torch.enable_grad():  # computed again in backward, with the same result
        made(*given).sum().backward()
        torch.testing.assert_close(made(*given).detach(), whole, atol=1e-5, rtol=0)


def test_the_mean_volume_is_the_start():
    torch.manual_seed(0)
    made = create_model("pixel-inr", side=SIDE, field_mm=FIELD, **TINY["pixel-inr"])
    made.mean_volume.copy_(torch.rand(made.mean_volume.shape))
    with torch.no_grad():
        torch.testing.assert_close(made(*inputs(1)), made.mean_volume, atol=1e-5, rtol=0)


def test_the_papers_variant_takes_two_views_in_order():
    made = network("pixel-inr", **PAPER | {"frequencies": 3}).eval()
    assert not made.any_views and len(made.view_mlps) == 2
    assert made.view_mlps[0][0].linear.in_features == 8 + 9  # features, and the 9 numbers of the position
    pictures, matrices = inputs(2)
    with torch.no_grad():
        out = made(pictures, matrices)
        swapped = made(pictures.flip(1), matrices.flip(1))
    assert (swapped - out).abs().max() > 1e-3
    with pytest.raises(InputError, match="2 views, got 3"):
        made(*inputs(3))
    (made(pictures, matrices) ** 2).mean().backward()
    assert all(p.grad is not None and p.grad.any() for p in made.parameters())
