"""X-Recon's generator: published counts, equivalence with a plain second composition, structure."""

from __future__ import annotations

import math

import pytest
import reference_xrecon as reference
import torch
from xrecon.nets.xrecon_blocks import SkipLift
from xrecon.nets.xrecon_generator import XReconGenerator
from xrecon.nets.xrecon_published import load_published_state, published_names
from xrecon.nets.xrecon_volumes import repeat_middle
from xrecon.volume import InputError

PUBLISHED = {64: 25_217_655, 128: 37_517_943, 224: 98_799_735}
DEAD = 45_602
# Mean, deviation and four voxels of the plain composition in float64 (see `_voxels`).
GOLDEN = {
    (32, 64): (0.24664755516051806, 0.2805110513922123)
    + (0.11675644451500147, 0.16976178947213766, 0.7196838517108366, 0.010718351865544078),
    (64, 8): (0.31387468090716575, 0.1379274441431147)
    + (0.12428444451581268, 0.30289950577512836, 0.21218302975962308, 0.2597698109773535),
}


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _filled(side: int, base: int, **options: object) -> XReconGenerator:
    generator = XReconGenerator(side, base_channels=base, **options).double().eval()
    load_published_state(generator, reference.hashed(reference.generator_shapes(side, base)))
    return generator


def _numbers(y: torch.Tensor) -> list[float]:
    """Mean, deviation, and the voxels at (0, 0, 0), (1/4, 1/2, 3/4), (3/4, 1/4, 1/2), (-1, -1, -1)."""
    n = y.shape[-1]
    places = [(0, 0, 0), (n // 4, n // 2, 3 * n // 4), (3 * n // 4, n // 4, n // 2), (-1, -1, -1)]
    return [y.mean().item(), y.std().item()] + [y[0, 0][place].item() for place in places]


# -- size --------------------------------------------------------------------------------------
@pytest.mark.parametrize("side", PUBLISHED)
def test_parameter_counts_are_the_published_ones(side):
    with torch.device("meta"):
        assert _count(XReconGenerator(side, dead_branches=True)) == PUBLISHED[side]
        assert _count(XReconGenerator(side)) == PUBLISHED[side] - DEAD


def test_without_skips_the_count_is_published_minus_lifting_layers():
    # Published without skips: 97 610 871 at 224, of which 2 x 663 552 lifting layers stay unused.
    with torch.device("meta"):
        generator = XReconGenerator(224, skip_connections=False, dead_branches=True)
    assert _count(generator) == 97_610_871 - 2 * 663_552


@pytest.mark.parametrize(("side", "base"), [(64, 64), (128, 64), (96, 12)])
def test_every_parameter_has_a_published_name_and_shape(side, base):
    with torch.device("meta"):
        own = XReconGenerator(side, base_channels=base, dead_branches=True).state_dict()
    names = published_names()
    assert {names[k]: tuple(v.shape) for k, v in own.items()} == reference.generator_shapes(side, base)


# -- equivalence -------------------------------------------------------------------------------
@pytest.mark.parametrize(("side", "base", "batch"), [(32, 8, 2), (64, 4, 1)])
def test_equals_the_plain_composition(side, base, batch):
    images = reference.hashed_images((batch, 2, side, side))
    with torch.no_grad():
        own = _filled(side, base)(images)
        state = reference.hashed(reference.generator_shapes(side, base))
        expected = reference.generator(state, images)[2]
    assert own.shape == (batch, 1, side, side, side)
    assert (own - expected).abs().max() <= 1e-9


@pytest.mark.parametrize(("side", "base"), GOLDEN)
def test_golden_values(side, base):
    with torch.no_grad():
        own = _filled(side, base)(reference.hashed_images((1, 2, side, side)))
    assert _numbers(own) == pytest.approx(GOLDEN[side, base], abs=1e-9)


def test_unused_layers_change_nothing():
    images = reference.hashed_images((1, 2, 32, 32))
    shapes = reference.generator_shapes(32, 4)
    unused = {theirs for ours, theirs in published_names().items() if ours.startswith("unused.")}
    state = reference.hashed(shapes)
    other = {k: v + 1 if k in unused else v for k, v in state.items()}
    with torch.no_grad():
        before, after = reference.generator(state, images), reference.generator(other, images)
        complete, lean = _filled(32, 4, dead_branches=True)(images), _filled(32, 4)(images)
    assert not torch.equal(before[0], after[0])  # the auxiliary volumes do depend on them
    assert torch.equal(before[2], after[2])
    assert torch.equal(complete, lean)


# -- loading published weights -----------------------------------------------------------------
def test_running_statistics_are_ignored():
    state = reference.hashed(reference.generator_shapes(32, 4))
    state["view1Model.encoder_layer.2.running_mean"] = torch.full((4,), 7.0)
    state["view1Model.encoder_layer.2.num_batches_tracked"] = torch.tensor(3)
    generator = XReconGenerator(32, base_channels=4)
    load_published_state(generator, state)
    stem = state["view1Model.encoder_layer.1.weight"].float()
    assert torch.equal(generator.frontal.encoder.stem.weight, stem)


@pytest.mark.parametrize("wrong", ["missing", "unknown", "of another shape"])
def test_states_that_do_not_fit_are_refused_and_listed(wrong):
    state = reference.hashed(reference.generator_shapes(32, 4))
    name = "view2Model.base_link.0.weight"
    if wrong == "missing":
        del state[name]
    elif wrong == "unknown":
        name = "view3Model.surprise.weight"
        state[name] = torch.zeros(1)
    else:
        state[name] = state[name][:-1]
    generator = XReconGenerator(32, base_channels=4)
    before = {k: v.clone() for k, v in generator.state_dict().items()}
    with pytest.raises(InputError, match=rf"1 {wrong} \[{name}"):
        load_published_state(generator, state)
    assert all(torch.equal(v, before[k]) for k, v in generator.state_dict().items())


def test_weights_of_another_side_are_refused():
    with pytest.raises(InputError, match="4 of another shape"):
        load_published_state(
            XReconGenerator(64, base_channels=4), reference.hashed(reference.generator_shapes(32, 4))
        )


# -- training ----------------------------------------------------------------------------------
def _acts(name: str) -> bool:
    """Whether a parameter can change the output: a bias before an instance norm cannot."""
    if name.endswith(".weight"):
        return True
    last_stage = "stages.4.down" in name or ("stages.4.layers" in name and "grow" in name)
    return "bridge" in name or name.startswith("heads.") or last_stage


def test_exactly_the_acting_parameters_get_a_gradient():
    generator = _filled(64, 8).train()
    generator.frontal.bridge.dropout.p = generator.lateral.bridge.dropout.p = 0.0
    images = reference.hashed_images((1, 2, 64, 64))
    target = reference.hashed_images((1, 1, 64, 64, 64), seed=1)
    ((generator(images) - target) ** 2).mean().backward()
    size = {name: p.grad.abs().max().item() for name, p in generator.named_parameters()}
    assert all(math.isfinite(s) for s in size.values())
    assert {name for name, s in size.items() if s > 1e-10} == {name for name in size if _acts(name)}
    assert sum(not _acts(name) for name in size) == 239


def test_training_mode_differs_by_dropout_only():
    generator = _filled(32, 8)
    images = reference.hashed_images((1, 2, 32, 32))
    with torch.no_grad():
        evaluated = generator(images)
        generator.train()
        assert not torch.allclose(generator(images), evaluated)
        plain = _filled(32, 8, dropout=0.0).train()
        assert torch.equal(plain(images), evaluated)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_empty_pictures_give_finite_volumes(value):
    with torch.no_grad():
        assert torch.isfinite(_filled(32, 4)(torch.full((1, 2, 32, 32), value).double())).all()


def test_initial_weights():
    generator = XReconGenerator(32, base_channels=32)
    weights = torch.cat([p.flatten() for n, p in generator.named_parameters() if n.endswith("weight")])
    assert weights.mean().abs() < 1e-4
    assert weights.std().item() == pytest.approx(0.02, rel=0.01)
    assert not any(p.any() for n, p in generator.named_parameters() if n.endswith("bias"))


# -- structure ---------------------------------------------------------------------------------
def test_a_lifted_skip_has_three_distinct_slices():
    torch.manual_seed(0)
    lift = SkipLift(6, 4).double()
    x = torch.randn(2, 6, 9, 9, dtype=torch.float64)
    with torch.no_grad():
        slices = lift(x)
        reduced = lift.reduce(x)
        flat = torch.relu(reference.norm(reduced)).unsqueeze(2).expand(-1, -1, 9, -1, -1)
        volume = torch.relu(reference.norm(lift.spread.conv(flat)))
    assert slices.shape == (2, 4, 3, 9, 9)
    assert (repeat_middle(slices, 9) - volume).abs().max() < 1e-12
    assert (slices[:, :, 0] - slices[:, :, 1]).abs().max() > 1e-3
    assert (slices[:, :, 2] - slices[:, :, 1]).abs().max() > 1e-3


@pytest.mark.parametrize("fusion", [True, False])
def test_fusion_hands_the_other_view_back_to_each_branch(fusion):
    generator = XReconGenerator(32, base_channels=4, multiscale_fusion=fusion).eval()
    seen = []
    generator.frontal.merges[1].register_forward_hook(lambda module, inputs, output: seen.append(output))
    images = torch.rand(1, 2, 32, 32)
    other = torch.stack([images[:, 0], images[:, 1].flip(-1) ** 2], dim=1)
    with torch.no_grad():
        volumes = [generator(images), generator(other)]
    assert torch.equal(seen[0], seen[1]) is not fusion
    assert not torch.equal(*volumes)


def test_without_skips_no_map_of_the_encoder_reaches_the_decoder():
    generator = XReconGenerator(32, base_channels=4, skip_connections=False).eval()
    images = torch.rand(1, 2, 32, 32)
    code = torch.ones(1, generator.frontal.encoder.code_size)
    for branch in (generator.frontal, generator.lateral):
        branch.encoder.register_forward_hook(lambda module, inputs, output: (output[0], code))
    with torch.no_grad():
        assert torch.equal(generator(images), generator(images**2))


@pytest.mark.parametrize(
    "options",
    [
        {"side": 0},
        {"side": -32},
        {"side": 48},
        {"side": 100},
        {"side": 64.0},
        {"side": 32, "base_channels": 6},
        {"side": 32, "base_channels": 0},
        {"side": 32, "dropout": 1.0},
        {"side": 32, "dropout": -0.1},
        {"side": 32, "precision": "float8"},
    ],
)
def test_options_that_do_not_fit_are_refused(options):
    with pytest.raises(InputError, match="expected"):
        XReconGenerator(**options)


@pytest.mark.parametrize("shape", [(2, 32, 32), (1, 1, 32, 32), (1, 2, 64, 64), (1, 2, 32, 33)])
def test_radiographs_that_do_not_fit_are_refused(shape):
    with pytest.raises(InputError, match=r"expected radiographs \(batch, 2, 32, 32\)"):
        XReconGenerator(32, base_channels=4)(torch.zeros(shape))
