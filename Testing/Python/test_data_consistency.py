"""A volume moved towards its projections: a known error shrinks, and nothing moves that must not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from xrecon.physics.data_consistency import ConsistencySettings, _Smoothing, move_to_projections
from xrecon.physics.geometry import ViewGeometry
from xrecon.physics.projector import Projector
from xrecon.trust.intervals import correlated_noise
from xrecon.volume import InputError

SHAPE, SPACING = (14, 12, 13), (20.0, 22.0, 21.0)


@pytest.fixture(scope="module")
def projector() -> Projector:
    shared = {"shape": (30, 28), "pixel_spacing": (14.0, 14.0)}
    return Projector([ViewGeometry.pa(**shared), ViewGeometry.lateral("left", **shared)], SHAPE, SPACING)


@pytest.fixture(scope="module")
def truth() -> torch.Tensor:
    """Water with a cavity and a dense block, per mm."""
    volume = torch.zeros(1, 1, *SHAPE)
    volume[..., 2:12, 2:10, 2:11] = 0.019
    volume[..., 4:9, 4:8, 3:6] = 0.004
    volume[..., 6:8, 5:7, 8:10] = 0.03
    return volume


def error(seed: int = 0) -> torch.Tensor:
    noise = correlated_noise(SHAPE, SPACING, 45.0, np.random.default_rng(seed))
    return 0.002 * torch.as_tensor(noise)[None, None]


def moved(projector: Projector, truth: torch.Tensor, **changes: float):
    body = (truth > 0).float()
    start = (truth + body * error()).clamp(min=0.0)
    y = projector(truth)
    settings = ConsistencySettings(**{"correlation_mm": 45.0, "target": 0.01, **changes})
    return start, move_to_projections(start, y, projector, body, y > 0.1, settings)


def test_a_correlated_error_shrinks_and_the_residual_only_falls(projector: Projector, truth: torch.Tensor):
    start, done = moved(projector, truth)
    assert done.stopped == "target" and done.residuals[-1] <= 0.01 < done.residuals[0]
    assert all(b < a for a, b in zip(done.residuals, done.residuals[1:], strict=False))
    before, after = (float((v - truth).norm()) for v in (start, done.volume))
    assert after < 0.8 * before
    outside = truth == 0
    torch.testing.assert_close(done.volume[outside], start[outside])  # nothing may move there
    assert float(done.volume.min()) >= 0.0


def test_a_stronger_prior_moves_less_and_the_target_stops_early(projector: Projector, truth: torch.Tensor):
    start, weak = moved(projector, truth, target=0.0, prior=0.001)
    _, strong = moved(projector, truth, target=0.0, prior=1.0)
    assert float((strong.volume - start).norm()) < 0.8 * float((weak.volume - start).norm())
    assert strong.residuals[-1] > weak.residuals[-1]
    _, loose = moved(projector, truth, target=0.02)
    assert len(loose.residuals) < len(weak.residuals) and loose.residuals[-1] <= 0.02


def test_a_consistent_volume_stays_as_it_is(projector: Projector, truth: torch.Tensor):
    y = projector(truth)
    done = move_to_projections(truth, y, projector, torch.ones_like(truth), y > 0, ConsistencySettings())
    assert done.stopped == "target" and len(done.residuals) == 1
    torch.testing.assert_close(done.volume, truth)


def test_rays_that_do_not_count_may_be_anything(projector: Projector, truth: torch.Tensor):
    y = projector(truth)
    rays = y > 0.1
    rays[..., :10, :] = False
    spoilt = torch.where(rays, y, 99.0)
    settings = ConsistencySettings(iterations=4)
    start = truth * 1.05
    results = [
        move_to_projections(start, given, projector, torch.ones_like(truth), rays, settings).volume
        for given in (y, spoilt)
    ]
    torch.testing.assert_close(results[0], results[1])


def test_the_filter_is_its_own_transpose():
    a, b = (torch.randn(1, 1, *SHAPE, dtype=torch.float64) for _ in range(2))
    smooth = _Smoothing(50.0, SPACING, a)
    assert float((smooth(a) * b).sum()) == pytest.approx(float((a * smooth(b)).sum()), rel=1e-12)
    torch.testing.assert_close(_Smoothing(0.0, SPACING, a)(a), a)


def test_what_does_not_fit_is_refused(projector: Projector, truth: torch.Tensor):
    y = projector(truth)
    rays, settings = y > 0, ConsistencySettings()
    with pytest.raises(InputError, match="expected deviations"):
        move_to_projections(truth, y, projector, truth[..., :3], rays, settings)
    with pytest.raises(InputError, match="got none"):
        move_to_projections(truth, y, projector, torch.ones_like(truth), rays & ~rays, settings)
    with pytest.raises(InputError, match="got none"):
        move_to_projections(truth, y, projector, torch.zeros_like(truth), rays, settings)
    with pytest.raises(InputError, match="negative"):
        ConsistencySettings(prior=-1.0)
