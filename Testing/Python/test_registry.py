"""Model folders: cards say what they must, weights are checked before they are read."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from xrecon.nets import registry
from xrecon.nets.card import (
    LabelOutput,
    ModelCard,
    PictureInput,
    RadiographInput,
    SliceInput,
    TrainingData,
    VolumeOutput,
)
from xrecon.nets.registry import (
    bundled_models,
    create_model,
    list_models,
    load_card,
    load_model,
    model_folder,
    record_quality,
    save_model,
)
from xrecon.physics.geometry import ViewGeometry
from xrecon.pipelines import DEFAULT_LUNG_MODELS, DEFAULT_MODEL
from xrecon.volume import InputError

TINY = {"side": 8, "field_mm": 320.0, "view_widths": (4, 4, 8), "grid_widths": (4, 8, 8, 8)}


def tiny_card(**changes):
    values = {
        "name": "tiny",
        "title": "Tiny lifting network",
        "description": "For tests",
        "architecture": "lifting",
        "options": TINY,
        "input": RadiographInput(
            views=["PA", "LEFT LATERAL"],
            shape=(16, 16),
            pixel_spacing=(27.0, 27.0),
            source_to_detector_mm=(1700, 1900),
            source_to_isocenter_mm=(1400, 1600),
        ),
        "output": VolumeOutput(side=8, spacing_mm=40.0, hu_window=(-1024, 1476)),
        "licence": "CC0",
        "intended_use": "tests",
        "limitations": "untrained",
        "training_data": [TrainingData(subject="nobody", attribution="none", licence="CC0")],
    }
    return ModelCard(**{**values, **changes})


def test_figures_that_are_written_at_once_are_all_kept(tmp_path, monkeypatch):
    """Each reads the card, adds its own and writes it: none may read what another is about to change."""
    folder = tmp_path / "model"
    save_model(folder, create_model("lifting", **TINY), tiny_card())
    read = registry.load_card

    def slowly(model):
        card = read(model)
        time.sleep(0.02)
        return card

    monkeypatch.setattr(registry, "load_card", slowly)
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda number: record_quality(folder, f"figure {number}", number), range(6)))
    assert read(folder).quality == {f"figure {number}": number for number in range(6)}
    assert sorted(path.name for path in folder.iterdir()) == ["card.json", "weights.safetensors"]


def matrices():
    views = [ViewGeometry.pa(shape=(16, 16)), ViewGeometry.lateral(shape=(16, 16))]
    return torch.as_tensor(np.stack([v.matrix for v in views]), dtype=torch.float32)[None]


def random_network():
    torch.manual_seed(5)
    network = create_model("lifting", **TINY)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network


def test_saved_model_gives_the_same_answer(tmp_path):
    network = random_network().eval()
    card = save_model(tmp_path / "tiny", network, tiny_card(), half=False)
    again, loaded = load_model(tmp_path / "tiny")
    assert loaded == card == load_card(tmp_path / "tiny" / "card.json") and len(card.sha256) == 64
    pictures = torch.rand(1, 2, 16, 16)
    assert torch.equal(again(pictures, matrices()), network(pictures, matrices()))
    save_model(tmp_path / "half", network, tiny_card())
    smaller, _ = load_model(tmp_path / "half")
    assert torch.allclose(smaller(pictures, matrices()), network(pictures, matrices()), atol=0.05)
    assert (tmp_path / "half/weights.safetensors").stat().st_size < 0.6 * (
        tmp_path / "tiny/weights.safetensors"
    ).stat().st_size


def test_exchanged_or_damaged_weights_are_refused(tmp_path):
    folder = tmp_path / "tiny"
    save_model(folder, random_network(), tiny_card())
    weights = folder / "weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(InputError, match="sha256"):
        load_model(folder)
    weights.unlink()
    with pytest.raises(InputError, match="found none"):
        load_model(folder)


def test_weights_of_another_architecture_are_refused(tmp_path):
    card = tiny_card(options={**TINY, "grid_widths": (8, 8, 8, 8)})
    save_model(tmp_path, random_network(), card)
    with pytest.raises(InputError, match="do not fit lifting"):
        load_model(tmp_path)


def test_cards_must_be_complete_and_say_nothing_unknown(tmp_path):
    save_model(tmp_path, random_network(), tiny_card())
    path = tmp_path / "card.json"
    card = json.loads(path.read_text())
    for broken, message in [
        ({k: v for k, v in card.items() if k != "licence"}, "licence"),
        ({**card, "pickle": "x"}, "pickle"),
        ({**card, "output": {**card["output"], "spacing_mm": -1}}, "spacing_mm"),
    ]:
        path.write_text(json.dumps(broken))
        with pytest.raises(InputError, match=message):
            load_card(tmp_path)
    path.write_bytes(b"\xff\xfenot json")
    with pytest.raises(InputError, match="cannot be used"):
        load_card(tmp_path)


def test_unknown_names_list_the_known():
    with pytest.raises(InputError, match="lifting"):
        create_model("resnet")
    with pytest.raises(InputError, match="does not take"):
        create_model("lifting", depth=4)
    with pytest.raises(InputError, match="bundled models"):
        model_folder("no-such-model")
    assert {"x-recon", "x-recon-discriminator", "lifting", "lungs-unet"} <= set(list_models())


@pytest.mark.parametrize("name", ["lifting", "lungs-unet"])
def test_every_parameter_gets_a_gradient_and_nothing_is_nan(name):
    torch.manual_seed(0)
    if name == "lifting":
        out = (network := random_network())(torch.rand(2, 2, 16, 16), matrices().expand(2, -1, -1, -1))
        assert out.shape == (2, 1, 8, 8, 8)
    else:
        network = create_model(name, widths=(8, 8, 8, 16, 16, 8))
        out = network(torch.rand(2, 1, 32, 48))
        assert out.shape == (2, 3, 32, 48)
    assert torch.isfinite(out).all()
    (out**2).mean().backward()
    without = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    # a bias before a norm cancels exactly
    assert all(n.endswith("bias") for n in without), without


def test_lifting_sees_where_the_rays_come_from():
    """Moving source and detector along z by a voxel moves the features by a voxel."""
    from xrecon.nets.lifting import sample_along_rays, voxel_centers

    view = ViewGeometry.pa(shape=(32, 32), pixel_spacing=(12.0, 12.0), beam="parallel")
    features = torch.rand(1, 3, 32, 32)
    points = voxel_centers(16, 256.0, torch.device("cpu"))
    sample = lambda v: sample_along_rays(  # noqa: E731
        features, torch.as_tensor(v.matrix, dtype=torch.float32)[None], points, (32, 32)
    )
    still, moved = sample(view), sample(view.moved(np.eye(3), (0, 0, 16.0)))
    assert torch.allclose(moved[:, :, 1:], still[:, :, :-1], atol=1e-4)
    assert not torch.allclose(moved, still, atol=1e-2)


def test_lifting_projects_voxels_onto_the_right_pixel():
    from xrecon.nets.lifting import sample_along_rays, voxel_centers

    view = ViewGeometry.lateral(shape=(20, 24), pixel_spacing=(20.0, 17.0)).moved(np.eye(3), (3.0, -5.0, 8.0))
    rows, columns = torch.meshgrid(torch.arange(20.0), torch.arange(24.0), indexing="ij")
    points = voxel_centers(8, 200.0, torch.device("cpu"))
    seen = sample_along_rays(
        torch.stack([rows, columns])[None],
        torch.as_tensor(view.matrix, dtype=torch.float32)[None],
        points,
        (20, 24),
    )
    expected = view.project(points.numpy())
    np.testing.assert_allclose(seen[0].movedim(0, -1).numpy(), expected, atol=2e-3)


def test_bundled_models_load_and_say_what_they_are():
    names = bundled_models()
    assert {DEFAULT_MODEL, *DEFAULT_LUNG_MODELS} <= set(names), "the defaults must be bundled"
    for name in names:
        network, card = load_model(name)
        assert card.name == name and card.training_data and card.quality, name
        assert isinstance(card.input, RadiographInput | SliceInput | PictureInput)
        assert isinstance(card.output, VolumeOutput | LabelOutput)
        size = (model_folder(name) / "weights.safetensors").stat().st_size
        assert size <= (4e6 if isinstance(card.output, LabelOutput) else 12e6)
        assert all(d.attribution not in ("", "not stated") for d in card.training_data)
        assert all(torch.isfinite(p).all() for p in network.parameters())


def test_measured_figures_go_into_the_card_and_the_weights_still_load(tmp_path):
    save_model(tmp_path, random_network(), tiny_card(quality={"validation": {"psnr": 1.0}}))
    record_quality(tmp_path, "test", {"psnr": 2.0})
    card = record_quality(tmp_path, "test", {"psnr": 3.0})
    assert card.quality == {"validation": {"psnr": 1.0}, "test": {"psnr": 3.0}}
    assert load_model(tmp_path)[1] == card
