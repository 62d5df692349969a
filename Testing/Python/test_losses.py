"""Losses of X-Recon: order, zeros, scale, gradients, random poses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from xrecon.nets.xrecon_discriminator import XReconDiscriminator
from xrecon.training.losses import (
    PROJECTION_VIEWS,
    RAY_STEP,
    LeastSquaresGANLoss,
    ProjectionLoss,
    ReconstructionLoss,
)
from xrecon.volume import InputError


def _volumes(side: int = 9, batch: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """A target and a direction to spoil it in, float64."""
    generator = torch.Generator().manual_seed(5)
    shape = (batch, 1, side, side, side)
    target = torch.rand(shape, generator=generator, dtype=torch.float64)
    return target, torch.randn(shape, generator=generator, dtype=torch.float64)


@pytest.fixture(params=["reconstruction", "projection"])
def loss(request):
    return ReconstructionLoss() if request.param == "reconstruction" else ProjectionLoss(9)


# -- what both volume losses have in common ----------------------------------------------------
def test_equal_volumes_cost_nothing(loss):
    target, _ = _volumes()
    assert loss(target.clone(), target).item() == 0.0


def test_worse_volumes_cost_more(loss):
    target, spoil = _volumes(batch=2)
    costs = [loss(target + amount * spoil, target).item() for amount in (0.05, 0.1, 0.3, 1.0)]
    assert costs == sorted(costs) and costs[0] > 0


def test_descending_the_gradient_lowers_the_cost(loss):
    target, spoil = _volumes()
    prediction = (target + 0.1 * spoil).requires_grad_(True)
    before = loss(prediction, target)
    (slope,) = torch.autograd.grad(before, prediction)
    step = 1e-3 * before.item() / slope.square().sum().item()
    gained = before.item() - loss(prediction - step * slope, target).item()
    assert gained == pytest.approx(1e-3 * before.item(), rel=0.05)


def test_shapes_that_differ_are_refused(loss):
    target, _ = _volumes()
    with pytest.raises(InputError, match="shape"):
        loss(target.expand(2, -1, -1, -1, -1), target)


def test_reconstruction_is_the_mean_square():
    a, b = torch.tensor([0.0, 1.0, 3.0]), torch.tensor([0.0, 0.0, 1.0])
    assert ReconstructionLoss()(a, b).item() == pytest.approx(5 / 3)


# -- projections -------------------------------------------------------------------------------
def test_projection_gradient_is_exact():
    target, spoil = _volumes(side=5)
    loss = ProjectionLoss(5, detector_pixels=3)

    def cost(prediction: torch.Tensor) -> torch.Tensor:
        return loss(prediction, target, np.random.default_rng(1))

    assert torch.autograd.gradcheck(cost, (target + spoil).requires_grad_(True), eps=1e-6, atol=1e-6)


@pytest.mark.parametrize("view", PROJECTION_VIEWS)
@pytest.mark.parametrize("side", [4, 9, 16])
def test_the_central_ray_counts_published_samples(view, side):
    # one pixel: its ray runs through the middle of the cube, two half widths long
    volume = torch.zeros(1, 1, side, side, side, dtype=torch.float64)
    cost = ProjectionLoss(side, views=(view,), detector_pixels=1)(volume + 0.25, volume)
    assert cost.item() == pytest.approx(0.25 * 2 / RAY_STEP, rel=1e-6)
    assert 2 / RAY_STEP == pytest.approx(73.14, abs=0.01)


def test_the_cost_does_not_depend_on_the_number_of_voxels():
    costs = []
    for side in (12, 24, 48):
        volume = torch.zeros(1, 1, side, side, side)
        volume[:, :, side // 4 : side // 2, side // 3 : 2 * side // 3, : side // 2] = 1.0
        costs.append(ProjectionLoss(side)(volume, torch.zeros_like(volume)).item())
    assert costs == pytest.approx([costs[-1]] * 3, rel=0.02)


@pytest.mark.parametrize("view", PROJECTION_VIEWS)
def test_no_slab_is_lost(view):
    # on its central ray the published projector misses 12 % of the depth, and the last slab of an axis
    side, loss = 15, ProjectionLoss(15, views=(view,), detector_pixels=1)
    zero = torch.zeros(1, 1, side, side, side, dtype=torch.float64)
    axis = {"PA": 3, "LEFT LATERAL": 4, "AXIAL": 2}[view]
    costs = []
    for k in range(side):
        plate = zero.clone()
        plate.select(axis, k).fill_(1.0)
        costs.append(loss(plate, zero).item())
    assert costs == pytest.approx([2 / side / RAY_STEP] * side, rel=1e-6)


def test_the_loss_is_the_mean_over_its_views():
    target, spoil = _volumes()
    single = [
        ProjectionLoss(9, views=(view,))(target + spoil, target, np.random.default_rng(3)).item()
        for view in PROJECTION_VIEWS
    ]
    assert len(set(single)) == 3
    together = ProjectionLoss(9)(target + spoil, target, np.random.default_rng(3)).item()
    assert together == pytest.approx(np.mean(single), rel=1e-12)


def test_views_look_along_the_patient_axes():
    pa, lateral, axial = ProjectionLoss(9).views
    for view in (pa, lateral, axial):
        assert view.project(np.zeros(3)) == pytest.approx([4, 4])
    assert np.argmax(pa.source) == 1 and np.argmin(lateral.source) == 0 and np.argmin(axial.source) == 2
    posterior, left = np.array([0, 0.5, 0]), np.array([0.5, 0, 0])
    assert (axial.project(posterior) - 4).round(6).tolist()[0] > 0
    assert (axial.project(left) - 4).round(6).tolist()[1] < 0


# -- random poses ------------------------------------------------------------------------------
def _rngs(kind: str, *seeds: int) -> list:
    if kind == "numpy":
        return [np.random.default_rng(seed) for seed in seeds]
    return [torch.Generator().manual_seed(seed) for seed in seeds]


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_poses_come_from_the_seed(kind):
    target, spoil = _volumes()
    loss = ProjectionLoss(9)
    same, again, other = (loss(target + spoil, target, rng).item() for rng in _rngs(kind, 7, 7, 8))
    assert same == again != other
    (rng,) = _rngs(kind, 7)
    first, second = loss(target + spoil, target, rng), loss(target + spoil, target, rng)
    assert first.item() == same != second.item()  # each step draws anew


def test_without_jitter_or_generator_the_views_stand_still():
    target, spoil = _volumes()
    loss, still = ProjectionLoss(9), ProjectionLoss(9, jitter_deg=0.0, jitter_fraction=0.0)
    fixed = loss(target + spoil, target).item()
    assert still(target + spoil, target, np.random.default_rng(0)).item() == pytest.approx(fixed, rel=1e-12)
    assert loss(target + spoil, target, np.random.default_rng(0)).item() != pytest.approx(fixed, rel=1e-3)


def test_one_pose_moves_all_views_alike():
    loss = ProjectionLoss(9)
    posed = loss.posed_views(np.random.default_rng(2))
    fixed_frame, posed_frame = (
        np.array([v.row_direction for v in views] + [v.column_direction for v in views])
        for views in (loss.views, posed)
    )
    np.testing.assert_allclose(posed_frame @ posed_frame.T, fixed_frame @ fixed_frame.T, atol=1e-12)
    assert len({view.isocenter for view in posed}) == 1
    sources = [np.array([v.source for v in views]) for views in (loss.views, posed)]
    apart = [np.linalg.norm(s[:, None] - s[None], axis=-1) for s in sources]
    np.testing.assert_allclose(*apart, atol=1e-12)
    assert np.linalg.norm(sources[0] - sources[1]) > 0.1


def test_spread_of_the_poses():
    loss, rng = ProjectionLoss(9), np.random.default_rng(11)
    poses = [loss.posed_views(rng)[0] for _ in range(2000)]
    shifts = np.array([view.isocenter for view in poses])
    np.testing.assert_allclose(shifts.std(axis=0), 0.125, rtol=0.1)
    frames = np.array([np.column_stack([v.row_direction, v.column_direction, v.normal]) for v in poses])
    frame = np.column_stack(
        [loss.views[0].row_direction, loss.views[0].column_direction, loss.views[0].normal]
    )
    traces = np.einsum("nij,ij->n", frames, frame)
    angles = np.rad2deg(np.arccos(np.clip((traces - 1) / 2, -1, 1)))
    assert np.sqrt((angles**2).mean()) == pytest.approx(10 * np.sqrt(3), rel=0.05)


@pytest.mark.parametrize(
    "options", [{"views": ()}, {"views": ("OBLIQUE",)}, {"jitter_deg": -1.0}, {"jitter_fraction": -0.1}]
)
def test_projection_options_that_do_not_fit_are_refused(options):
    with pytest.raises(InputError, match="expected"):
        ProjectionLoss(9, **options)


@pytest.mark.parametrize("shape", [(1, 1, 9, 9, 8), (1, 2, 9, 9, 9), (1, 9, 9, 9)])
def test_projection_volumes_that_do_not_fit_are_refused(shape):
    with pytest.raises(InputError, match=r"expected volumes \(batch, 1, 9, 9, 9\)"):
        ProjectionLoss(9)(torch.zeros(shape), torch.zeros(shape))


# -- adversarial -------------------------------------------------------------------------------
@pytest.mark.parametrize(("half", "factor"), [(True, 0.5), (False, 1.0)])
def test_adversarial_values(half, factor):
    gan, real, fake = LeastSquaresGANLoss(half=half), torch.tensor([1.0, 0.0]), torch.tensor([0.5, 0.5])
    assert gan.generator(fake).item() == pytest.approx(factor * 0.25)
    assert gan.discriminator(real, fake).item() == pytest.approx(factor * (0.5 + 0.25))


def test_adversaries_pull_in_opposite_directions():
    gan = LeastSquaresGANLoss()
    real, fake = (torch.full((2, 1, 3, 3, 3), 0.5, requires_grad=True) for _ in range(2))
    gan.discriminator(real, fake).backward()
    assert (real.grad < 0).all() and (fake.grad > 0).all()  # descent: real up, generated down
    fake.grad = None
    gan.generator(fake).backward()
    assert (fake.grad < 0).all()
    assert gan.discriminator(torch.ones(3), torch.zeros(3)) == gan.generator(torch.ones(3)) == 0


def test_adversarial_training_is_conditional_on_the_radiographs():
    torch.manual_seed(0)
    gan, discriminator = LeastSquaresGANLoss(), XReconDiscriminator(base_channels=4)
    real, fake, images, others = (
        torch.rand(shape) for shape in [(1, 1, 16, 16, 16)] * 2 + [(1, 2, 16, 16)] * 2
    )
    optimizer = torch.optim.Adam(discriminator.parameters(), lr=2e-3)
    costs = []
    for _ in range(12):
        optimizer.zero_grad()
        cost = gan.discriminator(discriminator(real, images), discriminator(fake, images))
        cost.backward()
        optimizer.step()
        costs.append(cost.item())
    assert costs[-1] < 0.5 * costs[0]
    fake.requires_grad_(True)
    generator_cost = gan.generator(discriminator(fake, images))
    (slope,) = torch.autograd.grad(generator_cost, fake)
    with torch.no_grad():
        nearer = gan.generator(discriminator(fake - 1e-2 * slope / slope.abs().max(), images))
        elsewhere = gan.generator(discriminator(fake, others))
    assert nearer < generator_cost
    assert elsewhere.item() != generator_cost.item()
