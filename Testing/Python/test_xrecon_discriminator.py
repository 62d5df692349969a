"""X-Recon's discriminator: published count, equivalence with a plain second composition, conditions."""

from __future__ import annotations

import pytest
import reference_xrecon as reference
import torch
from xrecon.nets.xrecon_blocks import CoordinateChannels
from xrecon.nets.xrecon_discriminator import XReconDiscriminator
from xrecon.volume import InputError

# (side, base channels, input channels): mean, deviation and four scores of the plain composition.
GOLDEN = {
    (32, 64, 6): (-0.6384969622397559, 0.6612456435732631)
    + (-0.3115233483533906, 0.31638529778723207, -0.711293231721514, 0.1446126410210553),
    (33, 8, 3): (-0.1362293367696295, 0.6948106053676122)
    + (-0.09879742767559317, -0.7328552647604952, -0.2359730561446486, -0.1369723261472383),
}


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _filled(base: int, channels: int = 6) -> XReconDiscriminator:
    discriminator = XReconDiscriminator(base_channels=base, coordinates=channels == 6).double()
    layers = [discriminator.first, *discriminator.middle, discriminator.last]
    for name, values in reference.hashed(reference.discriminator_shapes(base, channels)).items():
        number, kind = name.split(".")
        getattr(layers[int(number)], kind).data.copy_(values)
    return discriminator


def _inputs(side: int, batch: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    volume = reference.hashed_images((batch, 1, side, side, side), seed=1)
    return volume, reference.hashed_images((batch, 2, side, side))


def test_parameter_count_is_the_published_one():
    with torch.device("meta"):
        discriminator = XReconDiscriminator()
    assert sum(p.numel() for p in discriminator.parameters()) == 11_067_457


@pytest.mark.parametrize(("side", "scores"), [(224, 31), (128, 19), (64, 11)])
def test_published_sides_of_the_output(side, scores):
    with torch.device("meta"):
        output = XReconDiscriminator()(torch.empty(1, 1, side, side, side), torch.empty(1, 2, side, side))
    assert output.shape == (1, 1, scores, scores, scores)


@pytest.mark.parametrize(("side", "base", "channels"), [(24, 8, 6), (21, 4, 3)])
def test_equals_the_plain_composition(side, base, channels):
    volume, images = _inputs(side, batch=2)
    state = reference.hashed(reference.discriminator_shapes(base, channels))
    with torch.no_grad():
        own = _filled(base, channels)(volume, images)
        expected = reference.discriminator(state, volume, images)
    assert own.shape == expected.shape
    assert (own - expected).abs().max() <= 1e-9


@pytest.mark.parametrize(("side", "base", "channels"), GOLDEN)
def test_golden_values(side, base, channels):
    with torch.no_grad():
        scores = _filled(base, channels)(*_inputs(side))
    n = scores.shape[-1]
    places = [(0, 0, 0), (n // 4, n // 2, 3 * n // 4), (3 * n // 4, n // 4, n // 2), (-1, -1, -1)]
    numbers = [scores.mean().item(), scores.std().item()] + [scores[0, 0][p].item() for p in places]
    assert numbers == pytest.approx(GOLDEN[side, base, channels], abs=1e-9)


def test_coordinates_run_from_minus_one_to_one_along_each_axis():
    appended = CoordinateChannels()(torch.zeros(2, 1, 3, 5, 9))
    assert appended.shape == (2, 4, 3, 5, 9)
    assert appended[0, 1, :, 2, 4].tolist() == [-1.0, 0.0, 1.0]
    assert appended[1, 2, 1, :, 4].tolist() == [-1.0, -0.5, 0.0, 0.5, 1.0]
    assert appended[1, 3, 2, 0].tolist() == pytest.approx([-1 + 0.25 * i for i in range(9)])
    assert appended[0, 1, 1].unique().tolist() == [0.0]  # constant across the other axes


def test_gradients_reach_volume_and_parameters_but_not_the_condition():
    discriminator = _filled(4)
    volume, images = _inputs(16)
    volume.requires_grad_(True)
    images.requires_grad_(True)
    (discriminator(volume, images) ** 2).mean().backward()
    assert images.grad is None
    assert torch.isfinite(volume.grad).all() and volume.grad.abs().max() > 0
    assert all(p.grad.abs().max() > 0 for p in discriminator.parameters())


@pytest.mark.parametrize("view", [0, 1])
def test_each_radiograph_matters(view):
    discriminator = _filled(4)
    volume, images = _inputs(16)
    other = images.clone()
    other[:, view] = other[:, view].flip(-1)
    with torch.no_grad():
        assert not torch.allclose(discriminator(volume, images), discriminator(volume, other))


def test_training_and_evaluation_agree():
    discriminator = _filled(4)
    with torch.no_grad():
        assert torch.equal(discriminator.train()(*_inputs(16)), discriminator.eval()(*_inputs(16)))
    assert not list(discriminator.buffers())


@pytest.mark.parametrize(
    ("volume", "images"),
    [
        ((1, 2, 16, 16, 16), (1, 2, 16, 16)),
        ((1, 1, 16, 16, 17), (1, 2, 16, 16)),
        ((1, 1, 4, 4, 4), (1, 2, 4, 4)),
        ((1, 1, 16, 16, 16), (1, 1, 16, 16)),
        ((2, 1, 16, 16, 16), (1, 2, 16, 16)),
        ((1, 16, 16, 16), (1, 2, 16, 16)),
    ],
)
def test_inputs_that_do_not_fit_are_refused(volume, images):
    with pytest.raises(InputError, match="expected"):
        XReconDiscriminator(base_channels=2)(torch.zeros(volume), torch.zeros(images))


def test_width_below_one_is_refused():
    with pytest.raises(InputError, match="base_channels"):
        XReconDiscriminator(base_channels=0)
