"""X-Recon's generator computes the plain composition's result and gradients, with less work and memory."""

from __future__ import annotations

import gc
import shutil

import pytest
import reference_xrecon as reference
import torch
from torch.utils.flop_counter import FlopCounterMode
from xrecon.nets import xrecon_blocks, xrecon_volumes
from xrecon.nets.registry import create_model
from xrecon.nets.xrecon_generator import XReconGenerator
from xrecon.nets.xrecon_published import load_published_state, published_names
from xrecon.nets.xrecon_volumes import (
    CHANNELS_LAST,
    ChannelStatistics,
    add_repeated,
    convolve_repeated,
    norm_relu,
    repeat_middle,
    repeated_norm_relu,
)

# GFLOP of one forward pass at side 224, two for a multiplication with an addition.
PLAIN, PUBLISHED_LIMIT = 2546.1, 850.0


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _state(side: int, base: int) -> reference.State:
    return reference.hashed(reference.generator_shapes(side, base))


def _filled(side: int, base: int, **options: object) -> XReconGenerator:
    generator = XReconGenerator(side, base_channels=base, **options).double().eval()
    load_published_state(generator, _state(side, base))
    return generator


@pytest.fixture
def shallow(monkeypatch: pytest.MonkeyPatch) -> XReconGenerator:
    """One layer in each dense stage: the same structure, traced in a fraction of the time."""
    monkeypatch.setattr(xrecon_blocks, "DENSE_LAYERS", (1, 1, 1, 1, 1))
    torch.manual_seed(0)
    return XReconGenerator(32, base_channels=4, dropout=0.0).double()


# -- work --------------------------------------------------------------------------------------
def _gflop(compute) -> float:
    with FlopCounterMode(display=False) as counter:
        compute()
    return counter.get_total_flops() / 1e9


def test_a_third_of_the_arithmetic_at_224():
    with torch.device("meta"):
        generator, images = XReconGenerator(224).eval(), torch.zeros(1, 2, 224, 224)
        state = {name: torch.empty(shape) for name, shape in reference.generator_shapes(224).items()}
    assert _gflop(lambda: reference.generator(state, images)) == pytest.approx(PLAIN, abs=0.1)
    assert _gflop(lambda: generator(images)) == pytest.approx(772.3, abs=0.1)
    with torch.no_grad():
        assert _gflop(lambda: generator(images)) < PUBLISHED_LIMIT


def test_slabs_on_a_cpu_add_little_work():
    generator, images = _filled(64, 4), reference.hashed_images((1, 2, 64, 64))
    whole = _gflop(lambda: generator(images))
    with torch.no_grad():
        assert _gflop(lambda: generator(images)) < PUBLISHED_LIMIT / 772.3 * whole


# -- equivalence -------------------------------------------------------------------------------
@pytest.mark.parametrize("low_memory", [False, True])
@pytest.mark.parametrize(("side", "base", "batch", "slices"), [(32, 8, 2, 32), (64, 4, 1, 6), (32, 4, 2, 1)])
def test_slabs_of_any_thickness_equal_the_plain_composition(
    monkeypatch, side, base, batch, slices, low_memory
):
    monkeypatch.setattr(xrecon_volumes, "PIECE", slices * side**2 * base // 4 * batch)
    generator, images = _filled(side, base), reference.hashed_images((batch, 2, side, side))
    generator.low_memory = low_memory
    with torch.no_grad():
        expected = reference.generator(_state(side, base), images)[2]
        assert (generator(images) - expected).abs().max() <= 1e-9


@pytest.mark.parametrize("fusion", [True, False])
@pytest.mark.parametrize("skips", [True, False])
def test_with_and_without_gradients_is_the_same_for_every_ablation(fusion, skips):
    torch.manual_seed(3)
    generator = XReconGenerator(32, base_channels=4, multiscale_fusion=fusion, skip_connections=skips)
    generator.double().eval()
    images = reference.hashed_images((1, 2, 32, 32))
    whole = generator(images).detach()
    with torch.no_grad():
        assert (generator(images) - whole).abs().max() <= 1e-12


def test_ablations_have_equal_widths():
    full = dict(XReconGenerator(32, base_channels=4).named_parameters())
    for options in ({"skip_connections": False}, {"multiscale_fusion": False}):
        ablated = dict(XReconGenerator(32, base_channels=4, **options).named_parameters())
        assert set(ablated) <= set(full)
        different = {n for n, p in ablated.items() if p.shape != full[n].shape}
        # without skips the merging convolutions have no channels of them; nothing else changes
        assert all("merges" in n for n in different) and bool(different) is ("skip_connections" in options)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_equal_those_of_the_plain_composition(checkpointing):
    generator = _filled(32, 4, dropout=0.0, checkpointing=checkpointing).train()
    state = {name: value.requires_grad_() for name, value in _state(32, 4).items()}
    images = reference.hashed_images((2, 2, 32, 32))
    target = reference.hashed_images((2, 1, 32, 32, 32), seed=1)
    expected = ((reference.generator(state, images)[2] - target) ** 2).mean()
    loss = ((generator(images) - target) ** 2).mean()
    expected.backward()
    loss.backward()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-12)
    names = published_names()
    for name, parameter in generator.named_parameters():
        assert (parameter.grad - state[names[name]].grad).abs().max() <= 1e-9, name


def test_half_precision_is_near_float32():
    """The finest error that 50 dB leaves; the measured figures at full size are in Testing/Benchmarks."""
    generator = _filled(96, 8).float()
    images = reference.hashed_images((1, 2, 96, 96)).float()
    with torch.no_grad():
        exact = generator(images)
        generator.precision = "float16"
        half = generator(images)
    assert half.dtype == torch.float32 and not torch.equal(half, exact)
    assert -10 * torch.log10((half.clamp(0, 1) - exact.clamp(0, 1)).square().mean()) > 50


# -- the pieces --------------------------------------------------------------------------------
@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5, 9])
def test_repeated_slices_are_the_whole_volume(depth):
    torch.manual_seed(depth)
    kernel, bias = torch.randn(3, 2, 3, 3, 3).double(), torch.randn(3).double()
    second = torch.randn(2, 3, 3, 3, 3).double()
    x = torch.randn(2, 2, 1, 7, 7).double()
    volume = x.expand(-1, -1, depth, -1, -1)
    first = convolve_repeated(x, kernel, bias, depth, 3)
    assert first.shape[2] == min(depth, 3)
    volume = torch.nn.functional.conv3d(volume, kernel, bias, padding=1)
    torch.testing.assert_close(repeat_middle(first, depth), volume)
    first, volume = repeated_norm_relu(first, depth), torch.relu(reference.norm(volume))
    torch.testing.assert_close(repeat_middle(first, depth), volume)
    again = convolve_repeated(first, second, None, depth, 5)
    volume = torch.nn.functional.conv3d(volume, second, padding=1)
    torch.testing.assert_close(repeat_middle(again, depth), volume)
    other = torch.randn(2, 2, 7, depth, 7).double()
    across = again.transpose(2, 3)
    with torch.no_grad():
        added = add_repeated(other.clone(), across, axis=3)
    torch.testing.assert_close(added, other + volume.transpose(2, 3))
    torch.testing.assert_close(add_repeated(other, across, axis=3), added)


@pytest.mark.parametrize("split", [1, 2, 5])
def test_statistics_over_parts(split):
    torch.manual_seed(split)
    x = 1e4 + torch.randn(2, 3, 5, 4, 6) * torch.tensor([0.1, 1.0, 30.0]).view(1, 3, 1, 1, 1)
    x = x.contiguous(memory_format=CHANNELS_LAST)
    statistics = ChannelStatistics()
    for part in x.split(split, dim=2):
        statistics.add(part)
    mean, scale = statistics.normal()
    exact = x.double()
    variance, expected = torch.var_mean(exact, dim=(2, 3, 4), correction=0)
    torch.testing.assert_close(scale, (variance + 1e-5).rsqrt(), rtol=1e-3, atol=0)
    torch.testing.assert_close(mean, expected, rtol=1e-6, atol=0)


def test_norm_of_a_single_position_is_zero_both_ways():
    x = torch.randn(2, 3, 1, 1, 1)
    assert not norm_relu(x).any()
    with torch.no_grad():
        assert not norm_relu(x.clone()).any()


# -- memory ------------------------------------------------------------------------------------
def _saved_bytes(generator: XReconGenerator, images: torch.Tensor) -> int:
    """Bytes that a forward pass keeps for the gradients, without the parameters."""
    parameters = {p.untyped_storage().data_ptr() for p in generator.parameters()}
    sizes: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = generator(images)  # must live until the sum is taken: storages are told apart by place
    assert result.requires_grad
    return sum(sizes.values())


def test_checkpointing_keeps_a_fraction():
    generator = XReconGenerator(64, base_channels=4).train()
    images = torch.rand(1, 2, 64, 64)
    everything = _saved_bytes(generator, images)
    generator.checkpointing = True
    assert _saved_bytes(generator, images) < 0.2 * everything


def _tensors() -> list[torch.Tensor]:
    return [thing for thing in gc.get_objects() if issubclass(type(thing), torch.Tensor)]


@pytest.mark.parametrize("gradients", [True, False])
def test_no_feature_outlives_the_forward_pass(gradients):
    generator = XReconGenerator(32, base_channels=4, checkpointing=True)
    own = {id(p) for p in generator.parameters()}
    gc.collect()
    before = {id(t) for t in _tensors()}
    with torch.set_grad_enabled(gradients):
        result = generator(torch.rand(1, 2, 32, 32))
    if gradients:
        result.mean().backward()
        generator.zero_grad(set_to_none=True)
    del result
    gc.collect()
    assert not [tuple(t.shape) for t in _tensors() if id(t) not in before | own]
    assert not list(generator.buffers())


# -- torch.compile and torch.export ------------------------------------------------------------
def test_export(shallow):
    images = reference.hashed_images((1, 2, 32, 32))
    shallow.eval()
    with torch.no_grad():
        expected = shallow(images)
        program = torch.export.export(shallow, (images,))
    assert (program.module()(images) - expected).abs().max() <= 1e-9


@pytest.mark.slow
def test_compile_gives_the_same_result_and_gradients(shallow):
    images = reference.hashed_images((1, 2, 32, 32))
    expected = shallow(images)
    expected.mean().backward()
    gradients = {name: p.grad.clone() for name, p in shallow.named_parameters()}
    shallow.zero_grad()
    shallow.checkpointing = True  # the harder case: the graph has to hold what is computed again
    result = torch.compile(shallow, backend="aot_eager", fullgraph=True)(images)
    result.mean().backward()
    assert (result - expected).abs().max() <= 1e-9
    for name, parameter in shallow.named_parameters():
        assert (parameter.grad - gradients[name]).abs().max() <= 1e-9, name
    torch._dynamo.reset()


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="needs a C++ compiler")
def test_one_scale_compiles_with_inductor(shallow):
    """Lifting, permuted kernels and split convolutions; the rest is more of the same."""
    branch = shallow.lateral
    feature_map = torch.randn(1, branch.encoder.widths[2], 8, 8).double()
    volume = torch.randn(1, branch.rises[2][0].conv.in_channels, 4, 4, 4).double()
    with torch.no_grad():
        expected = branch.descend(2, volume.clone(), feature_map)
        compiled = torch.compile(branch.descend, fullgraph=True)
        assert (compiled(2, volume, feature_map) - expected).abs().max() <= 1e-9
    torch._dynamo.reset()


def test_the_registry_passes_the_options_on():
    model = create_model("x-recon", side=32, base_channels=4, checkpointing=True, precision="float32")
    assert model.generator.checkpointing and model.generator.precision == "float32"
