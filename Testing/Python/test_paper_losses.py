"""Losses of X-CTRSNet, EAR and X2CT on inputs whose cost can be worked out by hand."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
import torch
from xrecon.nets.outputs import TrainingOutputs
from xrecon.training.config import LossConfig, TrainConfig, parse_config
from xrecon.training.label_losses import ClassLoss, ConsistencyLoss, segmentation_divergence
from xrecon.training.perceptual import SCALES, FilterBank, PerceptualLoss, VGG16Features
from xrecon.training.terms import PaperTerms
from xrecon.training.volume_losses import (
    axis_projection_distance,
    edge_distance,
    frequency_distance,
    mip_distance,
    soft_edges,
)
from xrecon.volume import InputError

SHAPE = (1, 1, 6, 7, 8)


def volume(seed=0, shape=SHAPE):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


VOLUME_LOSSES = {
    "frequency": frequency_distance,
    "mip": mip_distance,
    "axis projection": axis_projection_distance,
    "edge": lambda p, t: edge_distance(p, t, 0.5, 0.1),
    "perceptual": PerceptualLoss(FilterBank()),
}


@pytest.mark.parametrize("name", VOLUME_LOSSES)
def test_equal_volumes_cost_nothing_and_the_slope_leads_down(name):
    loss, target = VOLUME_LOSSES[name], volume()
    assert loss(target.clone(), target).item() == pytest.approx(0, abs=1e-7)
    prediction = (target + 0.2 * volume(1)).requires_grad_(True)
    before = loss(prediction, target)
    (slope,) = torch.autograd.grad(before, prediction)
    assert torch.isfinite(slope).all()
    step = 1e-3 * before.item() / slope.square().sum().item()
    gained = before.item() - loss(prediction - step * slope, target).item()
    assert gained == pytest.approx(1e-3 * before.item(), rel=0.05)


# -- frequency -----------------------------------------------------------------------------------
def test_frequency_distance_of_an_offset_and_of_a_wave():
    target = volume()
    # an offset c is one real coefficient of c * sqrt(voxels): root mean square c
    assert frequency_distance(target + 3.0, target).item() == pytest.approx(math.log10(4.0), abs=1e-6)
    # a sine of amplitude a is two imaginary coefficients of a * sqrt(voxels) / 2: a / sqrt(2)
    wave = torch.sin(torch.arange(8, dtype=torch.float64) * (2 * math.pi / 8)).expand(SHAPE)
    expected = math.log10(1 + 2.0 / math.sqrt(2))
    assert frequency_distance(target + 2.0 * wave, target).item() == pytest.approx(expected, abs=1e-6)


def test_frequency_distance_is_computed_in_single_precision_under_mixed_precision():
    target = volume().float()
    with torch.autocast("cpu", torch.bfloat16):
        cost = frequency_distance((target + 0.5).bfloat16(), target)
    assert cost.dtype == torch.float32 and cost.item() == pytest.approx(math.log10(1.5), abs=2e-3)


# -- projections along the axes ------------------------------------------------------------------
def test_one_bright_voxel_in_projections():
    target, bright = torch.zeros(SHAPE), torch.zeros(SHAPE)
    bright[0, 0, 2, 3, 4] = 1.0
    z, y, x = SHAPE[2:]
    shares = [1 / (y * x), 1 / (z * x), 1 / (z * y)]
    assert mip_distance(bright, target).item() == pytest.approx(np.mean(shares))
    assert axis_projection_distance(bright, target).item() == pytest.approx(3 / (x * y * z) / 3)
    # a second voxel behind the first is no more to a maximum, but twice to a mean
    bright[0, 0, 5, 3, 4] = 1.0
    assert mip_distance(bright, target).item() == pytest.approx(
        np.mean([shares[0], *np.multiply(shares[1:], 2)])
    )
    assert axis_projection_distance(bright, target).item() == pytest.approx(2 / (x * y * z))


# -- edges ---------------------------------------------------------------------------------------
def test_edges_of_a_step_are_one_on_both_sides_of_it():
    step = torch.zeros(1, 1, 4, 4, 8)
    step[..., 4:] = 1.0
    edges = soft_edges(step, 0.5, 0.01)
    assert torch.allclose(edges[0, 0, 2, 2], torch.tensor([0.0, 0, 0, 1, 1, 0, 0, 0]), atol=1e-6)
    # a wide transition lowers the edge by as much as the occupancy changes
    soft = soft_edges(step, 0.5, 0.5)[0, 0, 2, 2, 3].item()
    assert soft == pytest.approx(1 / (1 + math.exp(-1)) - 1 / (1 + math.exp(1)), abs=1e-6)


def test_a_lost_edge_costs_its_cross_entropy_and_a_known_map_less():
    step = torch.zeros(1, 1, 4, 4, 8)
    step[..., 4:] = 1.0
    lost = edge_distance(torch.zeros_like(step), step, 0.5, 0.01).item()
    # two of eight columns are edges that the prediction gives the floor's probability
    assert lost == pytest.approx(2 / 8 * -math.log(1e-6), rel=0.01)
    wanted = torch.nn.functional.max_pool3d(soft_edges(step, 0.5, 0.01), 2)
    right, wrong = (40 * wanted - 20), (20 - 40 * wanted)
    assert edge_distance(step, step, 0.5, 0.01, right).item() == pytest.approx(0, abs=1e-4)
    assert edge_distance(step, step, 0.5, 0.01, wrong).item() == pytest.approx(20, rel=0.01)


# -- perceptual ----------------------------------------------------------------------------------
def test_the_filter_bank_does_not_see_an_offset_and_measures_a_slope():
    loss, target = PerceptualLoss(FilterBank()), torch.zeros(1, 1, 16, 16, 16, dtype=torch.float64)
    assert loss(target + 0.4, target).item() == pytest.approx(0, abs=1e-12)
    maps = FilterBank()(0.5 * torch.arange(32.0).expand(1, 1, 32, 32))
    assert len(maps) == SCALES and maps[0].shape == (1, 8, 16, 16)
    # eight directions: half of them see the slope, as its cosine; each scale doubles it
    cosines = torch.tensor([max(math.cos(k * math.pi / 4), 0.0) for k in range(8)])
    for scale, features in enumerate(maps):
        middle = features[0, :, features.shape[2] // 2, features.shape[3] // 2]
        assert torch.allclose(middle, 0.5 * 2**scale * cosines, atol=1e-5)


def test_perceptual_slices_are_drawn_by_the_generator_from_all_axes():
    loss, target = PerceptualLoss(FilterBank(), slices=2), volume(shape=(1, 1, 12, 12, 12))
    spoilt = target + volume(3, (1, 1, 12, 12, 12))
    costs = [loss(spoilt, target, np.random.default_rng(seed)).item() for seed in (0, 0, 1)]
    assert costs[0] == costs[1] != costs[2]
    # a stripe pattern along one axis is seen in the slices of the other two
    stripes = torch.zeros(1, 1, 12, 12, 12)
    seen = []
    for axis in (2, 3, 4):
        pattern = stripes.clone().movedim(axis, -1)
        pattern[..., ::3] = 1.0
        seen.append(PerceptualLoss(FilterBank())(pattern.movedim(-1, axis), stripes).item())
    assert seen[0] > 1e-3 and seen == pytest.approx([seen[0]] * 3, rel=1e-5)


@pytest.fixture(scope="module")
def vgg_file(tmp_path_factory):
    """A file in the layout of torchvision's VGG16, with other numbers; and the start of its SHA-256."""
    widths = [3, 64, 64, 128, 128, 256, 256, 256]
    indices = (0, 2, 5, 7, 10, 12, 14)
    state = {}
    for index, inputs, outputs in zip(indices, widths[:-1], widths[1:], strict=True):
        state[f"features.{index}.weight"] = torch.full((outputs, inputs, 3, 3), 1.0 / (9 * inputs))
        state[f"features.{index}.bias"] = torch.zeros(outputs)
    state["classifier.6.bias"] = torch.zeros(1000)
    path = tmp_path_factory.mktemp("vgg") / "vgg16.pth"
    torch.save(state, path)
    return path, hashlib.sha256(path.read_bytes()).hexdigest()[:8]


def test_vgg_features_come_from_a_file_of_the_right_checksum_alone(vgg_file, tmp_path):
    path, digest = vgg_file
    features = VGG16Features(path, digest)
    maps = features(torch.full((2, 1, 16, 16), 0.9))
    assert [tuple(m.shape) for m in maps] == [(2, 128, 8, 8), (2, 256, 4, 4)]
    # averaging layers pass the mean of the three normalised channels on, away from the zero border
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    assert maps[0][0, 5, 4, 4].item() == pytest.approx(np.mean((0.9 - mean) / deviation), rel=1e-4)
    assert not any(p.requires_grad for p in features.parameters())
    with pytest.raises(InputError, match="sha256 of 397923af"):
        VGG16Features(path)
    with pytest.raises(InputError, match="found no file"):
        VGG16Features(tmp_path / "none.pth")
    other = tmp_path / "other.pth"
    torch.save({"features.0.weight": torch.zeros(1)}, other)
    with pytest.raises(InputError, match="do not fit VGG16"):
        VGG16Features(other, hashlib.sha256(other.read_bytes()).hexdigest())


# -- classes -------------------------------------------------------------------------------------
def certain(labels, classes=3, strength=40.0):
    """Logits that are sure of labels (b, z, y, x)."""
    return strength * torch.nn.functional.one_hot(labels, classes).movedim(-1, 1).float()


def test_segmentation_costs_nothing_when_right_and_all_of_dice_when_disjoint():
    labels = torch.zeros(1, 4, 4, 4, dtype=torch.int64)
    labels[:, :2, :2], labels[:, 2:, 2:] = 1, 2
    loss = ClassLoss()
    assert loss(certain(labels), labels).item() == pytest.approx(0, abs=1e-4)
    swapped = torch.tensor([0, 2, 1])[labels]
    # Dice is 0 for both classes; half of the voxels have a logit of 40 too little
    assert loss(certain(swapped), labels).item() == pytest.approx(1 + 0.5 * 40, rel=1e-3)


def test_divergence_is_zero_for_equal_soft_segmentations_and_one_for_disjoint():
    logits = volume(4, (2, 3, 4, 4, 4))
    assert segmentation_divergence(logits, logits.clone()).item() == pytest.approx(0, abs=1e-6)
    labels = torch.zeros(1, 4, 4, 4, dtype=torch.int64)
    labels[:, :2], labels[:, 2:] = 1, 2
    far = segmentation_divergence(certain(labels), certain(3 - labels)).item()
    assert far == pytest.approx(1, abs=1e-3)


def test_consistency_pulls_the_segmentations_together():
    """Equation 16 as printed would push them apart."""
    labels = torch.zeros(1, 4, 4, 4, dtype=torch.int64)
    labels[:, :2], labels[:, 2:] = 1, 2
    truth = certain(labels, strength=2.0).double()
    mine = certain(3 - labels, strength=0.5).double().requires_grad_(True)
    before = segmentation_divergence(mine, truth)
    ConsistencyLoss()(mine, truth, labels).backward()
    assert segmentation_divergence(mine - 50 * mine.grad, truth) < before - 1e-3
    held = truth.clone().requires_grad_(True)
    slopes = []
    for detached in (False, True):
        held.grad = None
        ConsistencyLoss()(mine.detach(), held, labels, detached=detached).backward()
        slopes.append(held.grad.clone())
    alone = held.clone().detach().requires_grad_(True)
    ClassLoss()(alone, labels).backward()
    assert torch.allclose(slopes[1], alone.grad) and not torch.allclose(slopes[0], alone.grad)


# -- settings ------------------------------------------------------------------------------------
NEW_TERMS = ("perceptual", "frequency", "mip", "axis_projection", "edge", "classes", "consistency")


def test_new_terms_are_off_by_default_and_validated():
    assert all(getattr(LossConfig(), name) == 0 for name in NEW_TERMS)
    for name in NEW_TERMS:
        with pytest.raises(InputError, match=f"loss.{name}"):
            parse_config({"loss": {name: -1}})
    for wrong, message in [
        ({"loss": {"perceptual": 1, "perceptual_features": "vgg16"}}, "perceptual_weights"),
        ({"loss": {"edge_width_hu": 0}}, "edge_width_hu"),
        ({"segmentation": {"source": "files"}}, "labels must name"),
        ({"segmentation": {"labels": {"C1": [1]}}}, "source must be 'files'"),
        ({"segmentation": {"source": "files", "labels": {"C1": [1], "C2": [1]}}}, "distinct"),
    ]:
        with pytest.raises(InputError, match=message):
            parse_config(wrong)


def test_terms_are_those_with_a_weight_by_their_names():
    config = parse_config({"loss": {"adversarial": 0, "projection": 0, **dict.fromkeys(NEW_TERMS, 1.0)}})
    target = volume(shape=(1, 1, 8, 8, 8)).float()
    labels = (target[:, 0] > 0.5).long()
    outputs = TrainingOutputs(target + 0.1, certain(labels), certain(labels))
    terms = PaperTerms(config, torch.device("cpu"))(outputs, target, labels, step=0)
    assert set(terms) == set(NEW_TERMS)
    assert terms["mip"].item() == pytest.approx(0.1, rel=1e-3)
    assert not PaperTerms(TrainConfig(), torch.device("cpu"))(outputs, target, None, step=0)
