"""Gradients for poses: by finite differences, and by finding a pose again."""

import numpy as np
import pytest
import torch
from projector_inputs import SHAPE, SPACING, rotation, two_views, view_from_within
from scipy.spatial.transform import Rotation
from xrecon.physics import joseph_compiled
from xrecon.physics.geometry import ViewGeometry
from xrecon.physics.projector import Projector
from xrecon.physics.rays import moved_frames, view_frames
from xrecon.volume import InputError

TINY, TINY_MM = (9, 11, 8), (9.0, 7.0, 8.0)


def smooth(shape, spacing, sigma=20.0):
    z, y, x = np.meshgrid(*[(np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, spacing, strict=True)],
                          indexing="ij")  # fmt: skip
    blobs = [((4, -9, 6), 1.0), ((-22, 12, -15), 0.7), ((18, 20, 10), 0.5)]
    array = sum(
        w * np.exp(-((x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2) / (2 * sigma**2))
        for (cx, cy, cz), w in blobs
    )
    return torch.as_tensor(array)[None, None]


@pytest.mark.parametrize("backend", ["eager", "compiled"])
@pytest.mark.parametrize("beam", ["cone", "parallel"])
def test_gradcheck_for_volume_source_and_detector(backend, beam):
    if backend == "compiled" and not joseph_compiled.is_usable():
        pytest.skip("torch.compile does not work here (no C++ compiler?)")
    operator = Projector(two_views(beam, (3, 4)), TINY, TINY_MM, dtype=torch.float64, backend=backend)
    x = torch.rand(2, 1, *TINY, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    frames = operator.frames.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda moved: operator(x, moved), frames, eps=1e-6, atol=1e-4)
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(operator(x, frames).square().sum(), x)
    torch.testing.assert_close(gradient, operator.adjoint(2 * operator(x.detach())))


def test_frames_of_the_views_give_the_same_picture():
    for views in (two_views(), two_views("parallel"), [view_from_within()]):
        operator = Projector(views, SHAPE, SPACING, dtype=torch.float64)
        x = torch.rand(1, 1, *SHAPE, dtype=torch.float64)
        assert torch.equal(operator(x, operator.frames), operator(x))


def test_moved_frames_are_those_of_moved_views():
    views = two_views()
    vectors = torch.tensor([[0.3, -0.2, 0.5], [0.0, 0.0, 0.0]], dtype=torch.float64)
    shifts = torch.tensor([[3.0, -8.0, 5.0], [0.0, 1.0, 0.0]], dtype=torch.float64)
    centers = torch.tensor([[10.0, 20.0, -5.0]] * 2, dtype=torch.float64)
    expected = []
    for view, vector, shift, center in zip(views, vectors, shifts, centers, strict=True):
        turn = Rotation.from_rotvec(vector.numpy()).as_matrix()
        expected.append(view.moved(turn, shift.numpy() + center.numpy() - turn @ center.numpy()))
    moved = moved_frames(view_frames(views), vectors, shifts, centers)
    torch.testing.assert_close(moved, view_frames(expected), rtol=0, atol=1e-9)


def test_a_pose_is_found_again_by_its_gradient():
    """Five degrees and 6 mm off, brought back by descent on the difference of the pictures."""
    view = ViewGeometry.pa(shape=(24, 26), pixel_spacing=(9.0, 8.0)).moved(rotation(4, -7, 11), (0, 0, 0))
    operator = Projector([view], (25, 27, 23), (5.0, 5.5, 6.0), dtype=torch.float64)
    x, zero = smooth((25, 27, 23), (5.0, 5.5, 6.0)), torch.zeros(1, 3, dtype=torch.float64)
    true_turn = torch.tensor([[0.05, -0.06, 0.04]], dtype=torch.float64)
    true_shift = torch.tensor([[4.0, 0.0, -4.0]], dtype=torch.float64)
    with torch.no_grad():
        target = operator(x, moved_frames(operator.frames, true_turn, true_shift, zero))
    turn, shift = zero.clone().requires_grad_(), zero.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([turn, shift], max_iter=60, line_search_fn="strong_wolfe")

    def loss():
        optimizer.zero_grad()
        # radians and tens of mm are of one size
        value = (operator(x, moved_frames(operator.frames, turn, 10 * shift, zero)) - target).square().mean()
        value.backward()
        return value

    optimizer.step(loss)
    assert (turn - true_turn).abs().max() < 2e-3
    # the distance to the detector (y) hardly shows
    assert (10 * shift - true_shift)[0, [0, 2]].abs().max() < 0.1


def test_rays_that_miss_have_no_gradient_and_wrong_calls_are_refused():
    far = two_views()[0].moved(np.eye(3), (900.0, 0, 0))
    operator = Projector([far], TINY, TINY_MM)
    frames = operator.frames.clone().requires_grad_()
    seen = operator(torch.ones(1, 1, *TINY), frames)
    assert not seen.any()
    x = torch.ones(1, 1, *TINY)
    with pytest.raises(InputError, match="expected frames"):
        operator(x, frames[:, :3])
    for mode in ({"method": "siddon"}, {"presum": 2}):
        with pytest.raises(InputError, match="poses given as frames"):
            Projector([far], TINY, TINY_MM, **mode)(x, operator.frames)
