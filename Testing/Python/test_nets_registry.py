"""Every registered network alike: shapes, gradients, seeds, weights to file and back, and learning."""

from __future__ import annotations

import pytest
import torch
from nets_inputs import NAMES, TINY, all_outputs, is_reconstructor, kind_of, sample, tiny_network
from safetensors.torch import load, save
from xrecon.nets.cost import count_cost
from xrecon.nets.registry import create_model, list_models, stored_costs
from xrecon.volume import InputError

RECONSTRUCTORS = [name for name in NAMES if is_reconstructor(name)]
EXPECTED = {
    "any-view", "bx2s-net", "e2e", "ear", "lifting", "lungs-unet", "mulsisnet", "pixel-inr", "psr", "sit",
    "unet3d", "view-classifier", "x-ctrsnet", "x-recon", "x-recon-discriminator", "x2ct-cnn", "x2ct-gan",
}  # fmt: skip


def test_the_methods_of_the_papers_are_there():
    assert EXPECTED <= set(list_models())


@pytest.mark.parametrize("name", RECONSTRUCTORS)
def test_shape_table(name):
    """(b, view, rows, columns) of any size and matrices -> (b, 1, z, y, x), finite.

    Networks that also say how far they may be wrong give a second channel.
    """
    network = tiny_network(name).eval()
    pictures, matrices = sample(network, batch=2)
    side = network.side
    with torch.no_grad():
        out = network(pictures, matrices)
        channels = 2 if getattr(network, "predicts_uncertainty", False) else 1
        assert out.shape == (2, channels, side, side, side) and torch.isfinite(out).all()
        # a detector of another size, with matrices to match
        scale = torch.diag(torch.tensor([1.5, 1.25, 1.0]))
        other = network(torch.rand(2, pictures.shape[1], side * 5 // 4, side * 3 // 2), scale @ matrices)
    assert other.shape == out.shape and torch.isfinite(other).all()


@pytest.mark.parametrize("name", [n for n in NAMES if kind_of(n) == "volumes"])
def test_segmenters_give_classes_of_each_voxel(name):
    network = tiny_network(name, classes=4)
    assert network(torch.rand(2, 1, 16, 8, 24)).shape == (2, 4, 16, 8, 24)
    with pytest.raises(InputError, match="classes"):
        create_model(name, classes=1)


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_gets_a_gradient(name):
    network = tiny_network(name)
    for parameter in network.parameters():  # a head that starts at zero hides what lies before it
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    outputs = all_outputs(network, sample(network, batch=2))
    sum((out * torch.randn_like(out)).mean() for out in outputs).backward()
    without = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    # of a single position, which is what the last of five levels sees at side 32, a norm leaves nothing
    without = [n for n in without if not (name == "x-recon" and ".stages.4." in n)]
    # a bias before a norm cancels; it is there because published weights bring it along
    allowed = name in ("x-recon", "x-recon-discriminator", "x2ct-cnn", "x2ct-gan", "lifting", "lungs-unet")
    assert not without or (allowed and all(n.endswith("bias") for n in without)), without


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_gives_the_same_weights_and_answers(name):
    first, again, other = tiny_network(name, 3), tiny_network(name, 3), tiny_network(name, 4)
    inputs = sample(first)
    with torch.no_grad():
        answers = [network.eval()(*inputs) for network in (first, again)]
    assert torch.equal(*answers)
    pairs = zip(first.parameters(), other.parameters(), strict=True)
    assert any(not torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("name", NAMES)
def test_weights_survive_a_file(name):
    network, fresh = tiny_network(name, 5), tiny_network(name, 6)
    fresh.load_state_dict(load(save({k: v.contiguous() for k, v in network.state_dict().items()})))
    inputs = sample(network)
    with torch.no_grad():
        assert torch.equal(network.eval()(*inputs), fresh.eval()(*inputs))


@pytest.mark.parametrize("name", RECONSTRUCTORS)
def test_one_pair_can_be_learnt_by_heart(name):
    """The error of a single pair falls below a third of the best constant's."""
    network = tiny_network(name).train()
    inputs, side = sample(network), network.side
    axis = torch.linspace(-1, 1, side)
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    target = torch.sigmoid(12 * (0.6 - ((x - 0.2) ** 2 + 1.5 * y**2 + 0.8 * z**2).sqrt()))[None, None]
    # sines of high frequency take small steps only
    rate, steps = (1e-3, 150) if name == "pixel-inr" else (1e-2, 60)
    optimizer = torch.optim.Adam(network.parameters(), rate)
    for _ in range(steps):
        loss = (network(*inputs)[:, :1] - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss < 0.3 * target.var(correction=0):
            return
    assert loss < 0.3 * target.var(correction=0), f"{float(loss):.4f} of {float(target.var()):.4f}"


@pytest.mark.parametrize("name", [n for n in RECONSTRUCTORS if hasattr(tiny_network(n), "view_sets")])
def test_views_that_a_network_cannot_take_are_refused_with_what_it_can(name):
    network = tiny_network(name)
    with pytest.raises(InputError, match="frontal"):
        network(torch.rand(1, 3, 16, 16), torch.rand(1, 3, 3, 4))
    if (("frontal",),) != network.view_sets[:1]:
        return
    assert tiny_network(name, views=1)(torch.rand(1, 1, 16, 16)).shape[1:] == (1, 16, 16, 16)
    with pytest.raises(InputError, match=r"frontal; or frontal \+ lateral"):
        tiny_network(name, views=3)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("sit", {"side": 24}),
        ("psr", {"side": 12}),
        ("e2e", {"side": 18}),
        ("bx2s-net", {"widths": (4,)}),
        ("x2ct-cnn", {"base_channels": 6}),
        ("x-ctrsnet", {"segmenter": "sit"}),
        ("x-ctrsnet", {"classes": 1}),
        ("any-view", {"side": 12}),
        ("any-view", {"pooling": "median"}),
        ("pixel-inr", {"kernel": 4}),
        ("pixel-inr", {"pooling": "attention"}),
        ("ear", {"norm": "layer"}),
        ("ear", {"side": 4}),
        ("mulsisnet", {"width": 0}),
        ("unet3d", {"widths": (4, 4)}),
    ],
)
def test_options_that_do_not_fit_are_refused(name, wrong):
    with pytest.raises(InputError, match="expected"):
        tiny_network(name, **wrong)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("sit", {"residual": False}),
        ("psr", {"residual": False}),
        ("e2e", {"residual_units": 0}),
        ("bx2s-net", {"attention": False}),
        ("x2ct-cnn", {"skip_connections": False}),
        ("x-ctrsnet", {"exchange": False}),
        ("x-ctrsnet", {"hierarchical": False}),
        ("x-ctrsnet", {"classes": 0}),
        ("x-ctrsnet", {"segmenter": "unet3d", "segmenter_options": {"widths": (4, 4, 8)}}),
        ("ear", {"frequency": False}),
        ("ear", {"edge_attention": False}),
        ("ear", {"attention": False}),
        ("ear", {"norm": "batch", "classes": 0}),
    ],
)
def test_ablations_change_the_network_and_still_work(name, options):
    network, whole = tiny_network(name, **options), tiny_network(name)
    outputs = all_outputs(network, sample(network, batch=2))
    assert outputs[0].shape == (2, 1, 16, 16, 16) and all(torch.isfinite(o).all() for o in outputs)
    if set(options) != {"residual"} or name == "sit":
        assert network.state_dict().keys() != whole.state_dict().keys()


# -- counted costs -------------------------------------------------------------------------------
def test_costs_are_those_of_a_layer_that_can_be_counted_by_hand():
    """A bias-free 3x3x3 convolution costs 27 multiply-adds per output, and so on through the network."""
    one = count_cost("unet3d", widths=(1, 1, 1), classes=2)
    two = count_cost("unet3d", widths=(2, 1, 1), classes=2)
    voxels = 64**3
    # at full resolution from 1 to w channels and from 2 w to 2; below, at an eighth of the voxels, from w
    # to 1 and from 2 back to w
    more = 2 * 27 * (voxels + 2 * 2 * voxels + voxels / 8 + 2 * voxels / 8)
    assert two.flops - one.flops == pytest.approx(more, rel=1e-6)
    assert one.training_mb > one.activations_mb > 2 * 4 * voxels / 1e6


def test_costs_agree_with_the_network_that_computes():
    """EAR needs fake tensors: meta tensors know no mixed precision."""
    cost, network = count_cost("ear", **TINY["ear"]), tiny_network("ear")
    assert cost.parameters == sum(p.numel() for p in network.parameters())
    assert cost.flops > 0 and cost.training_mb > cost.activations_mb > 4 * cost.parameters / 1e6
    assert cost.input == "2 pictures of 16x16"


def test_the_stored_costs_are_those_of_the_networks():
    """`python Resources/Tables/count_costs.py` writes them anew."""
    stored = stored_costs()
    assert list(stored) == NAMES
    for name, cost in stored.items():
        with torch.device("meta"):
            assert cost["parameters"] == sum(p.numel() for p in create_model(name).parameters()), name
    for name in ("sit", "any-view"):
        cost = count_cost(name, with_training=False)
        assert {**cost.to_dict(), "training_mb": None} == {**stored[name], "training_mb": None}


def test_models_tells_the_costs_at_once_and_counts_them_anew_when_asked(monkeypatch):
    from xrecon import commands
    from xrecon.nets import registry

    text = commands.models().text
    assert all(f"\n{name}: " in text for name in NAMES) and "x-recon: 37.4" in text
    monkeypatch.setattr(registry, "list_models", lambda: ["unet3d"])
    monkeypatch.setattr(registry, "stored_costs", lambda: {})
    assert "unet3d: not counted" in commands.models().text
    told = commands.models(costs=True)
    cost = told.numbers["costs"]["unet3d"]
    assert cost["input"] == "a volume of 64x64x64" and f"{cost['flops'] / 1e9:.1f} GFLOP" in told.text
    assert 0 < cost["activations_mb"] < cost["training_mb"] and "MB with gradients (counted)" in told.text
