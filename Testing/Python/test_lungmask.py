"""lungmask's networks: names and sizes of their files, checksums, slices there and back, labels cleaned.

The figures were also compared by hand with the lungmask package 0.2.22 on equal random weights.
"""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from ptx_chest import OBLIQUE, Grid, chest, dice, reordered
from xrecon.nets import lungmask_unet
from xrecon.nets.lungmask_unet import LungmaskUNet, find_lungmask, load_lungmask
from xrecon.pipelines import segment
from xrecon.pneumothorax import lungs_lungmask
from xrecon.pneumothorax.lungs import segment_lungs
from xrecon.pneumothorax.lungs_lungmask import body_box, clean_labels, to_network
from xrecon.volume import InputError


def state_of(classes: int, depth: int = 2, width: int = 2) -> dict[str, torch.Tensor]:
    """A state dict as lungmask writes it, with the branches that are not used."""
    torch.manual_seed(classes)
    state = LungmaskUNet(classes, depth, width).state_dict()
    state = {"down_path.0.residual_input_conv.weight": torch.zeros(width, 1, 1, 1), **state}
    last = {name: state.pop(name) for name in ("last.weight", "last.bias")}
    return {**state, **last}


@pytest.fixture
def threshold_file(tmp_path):
    """Weights that call what is darker than -400 HU lung: right where the first channel says nothing else."""
    network = LungmaskUNet(3, depth=1, width=2)
    with torch.no_grad():
        for value in network.state_dict().values():
            value.zero_()
        for name, value in network.named_buffers():
            if name.endswith("running_var"):
                value.fill_(1.0 - 1e-5)
        first, second = network.down_path[0].block[0], network.down_path[0].block[3]
        first.weight[:, 0, 1, 1] = torch.tensor([-1.0, 0.0])
        first.bias[:] = torch.tensor([624.0 / 1624.0, 0.0])
        second.weight[0, 0, 1, 1] = 1.0
        for norm in (network.down_path[0].block[2], network.down_path[0].block[5]):
            norm.weight.fill_(1.0)
        network.last.weight[1, 0] = 100.0
        network.last.bias[:] = torch.tensor([0.5, 0.0, -9.0])
    torch.save(network.state_dict(), tmp_path / "mine.pth")
    return tmp_path / "mine.pth"


def test_the_published_size():
    with torch.device("meta"):
        state = LungmaskUNet().state_dict()
    assert len(state) == 227 - 91  # 13 blocks with 7 entries of unused branches
    unused = sum(a * b + 5 * b + 1 for a, b in [
        (1, 64), (64, 128), (128, 256), (256, 512), (512, 1024),
        *[(2 * w, w) for w in (512, 256, 128, 64)] * 2,
    ])  # fmt: skip
    assert sum(v.numel() for v in state.values()) + unused == 31_073_890
    assert state["up_path.0.up.1.weight"].shape == (512, 1024, 1, 1)
    assert state["up_path.3.conv_block.block.5.running_var"].shape == (64,)
    assert list(state)[-1] == "last.bias"


def test_the_network_of_full_size_runs():
    network = LungmaskUNet(classes=6).eval()
    with torch.inference_mode():
        assert network(torch.rand(1, 1, 32, 16)).shape == (1, 6, 32, 16)


@pytest.mark.parametrize("classes", [3, 6])
def test_a_file_tells_its_sizes_and_its_checksum(tmp_path, classes):
    path = tmp_path / "mine.pth"
    state = state_of(classes, depth=3, width=4)
    torch.save(state, path)
    weights = load_lungmask(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert (weights.classes, weights.name, weights.sha256) == (classes, "mine", digest)
    assert not weights.network.training and len(weights.network.down_path) == 3
    assert digest in weights.note and "not one of" in weights.note and "Apache-2.0" in weights.note
    for name, value in weights.network.state_dict().items():
        torch.testing.assert_close(value, state[name])


def test_published_files_are_known_by_checksum(tmp_path, monkeypatch):
    path = tmp_path / "copy.pth"
    torch.save(state_of(3), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    known = lungmask_unet.Published("R231", "unet_r231-d5d2fc3d.pth", digest, 3)
    lobes = lungmask_unet.Published("LTRCLobes", "unet_ltrclobes-3a07043d.pth", "3a07043d", 6)
    monkeypatch.setattr(lungmask_unet, "PUBLISHED", (known, lobes))
    assert load_lungmask(path).name == "lungmask R231"
    assert "as published by checksum" in load_lungmask(path).note
    other = tmp_path / lobes.file  # a file that bears another one's name
    other.write_bytes(path.read_bytes())
    with pytest.raises(InputError, match="damaged or was exchanged"):
        load_lungmask(other)


def test_what_is_no_lungmask_file_is_refused(tmp_path):
    for content, word in (
        ({"weight": torch.zeros(3)}, "U-Net"),
        (state_of(4), "3 classes"),
        ({**state_of(3), "extra.weight": torch.zeros(1)}, "extra.weight"),
        (LungmaskUNet(3, 2, 2), "U-Net"),  # a pickled object could run code
    ):
        torch.save(content, tmp_path / "wrong.pth")
        with pytest.raises(InputError, match=word):
            load_lungmask(tmp_path / "wrong.pth")


def test_weights_are_looked_up_and_never_downloaded(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert find_lungmask("lungs-unet") is None
    with pytest.raises(InputError, match="downloads no weights: take unet_r231-d5d2fc3d.pth from https"):
        find_lungmask("r231")
    with pytest.raises(InputError, match="found no file$"):
        find_lungmask(tmp_path / "none.pth")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "unet_r231-d5d2fc3d.pth").write_bytes(b"")
    assert find_lungmask("R231").parent == tmp_path / "checkpoints"


def test_slices_are_cropped_to_the_body():
    plane = np.full((200, 300), -1000.0, np.float32)
    plane[40:160, 60:250] = 40.0
    plane[80:120, 90:150] = -850.0
    plane[180:184] = 0.0  # a thin table
    rows, columns = body_box(plane)
    for found, (low, high) in ((rows, (40, 160)), (columns, (60, 250))):
        assert abs(found.start - low) <= 4 and abs(found.stop - high) <= 4
    assert body_box(np.full((64, 80), -1000.0)) == (slice(0, 64), slice(0, 80))
    unit = to_network(plane[rows, columns])
    assert unit.shape == (256, 256) and unit.dtype == np.float32
    assert unit[128, 250] == pytest.approx(1064 / 1624) and unit[128, 100] == pytest.approx(174 / 1624)
    assert to_network(np.array([[-3000.0, 5000.0]] * 2)).min() == 0.0


def test_small_pieces_join_the_neighbour_with_the_longest_border():
    labels = np.zeros((3, 12, 20), np.uint8)
    labels[:, 1:11, 1:9] = 1
    labels[:, 1:11, 9:19] = 2
    labels[1, 3:6, 3:6] = 2  # inside the right lung
    labels[1, 8, 3] = 2  # too small for a neighbour: a cavity, filled
    labels[1, 5, 15] = 0
    expected = labels.copy()
    expected[1, 3:6, 3:6] = expected[1, 8, 3] = 1
    expected[1, 5, 15] = 2
    labels[0, 0, 19] = 1  # far from all
    np.testing.assert_array_equal(clean_labels(labels), expected)
    np.testing.assert_array_equal(clean_labels(labels[1:2]), expected[1:2])
    assert not clean_labels(np.zeros((2, 3, 4), np.uint8)).any()


def dark_halves(network: object, slices: np.ndarray, device: str) -> np.ndarray:
    """Logits that call the dark middle of the picture lung: right in its left half."""
    rows, columns = np.linspace(-1, 1, slices.shape[1])[:, None], np.linspace(-1, 1, slices.shape[2])
    lung = (slices < 624.0 / 1624.0) & (rows**2 + columns**2 < 0.95)
    return np.stack([~lung, lung & (columns < 0), lung & (columns >= 0)], axis=1).astype(np.float32)


@pytest.mark.parametrize("grid", [Grid(), OBLIQUE], ids=["isotropic", "oblique"])
def test_masks_come_back_in_place(threshold_file, monkeypatch, grid):
    monkeypatch.setattr("xrecon.pneumothorax.lungs_network.classify", dark_halves)
    hu, lungs, _ = chest(grid, noise=5.0)
    told = []
    found = segment_lungs(hu, [threshold_file], progress=lambda _, share, text: told.append((share, text)))
    for label in (1, 2):
        assert dice(found.array == label, lungs.array == label) > 0.93
    assert found.meta["lungs"] == "mine" and "SHA256" in found.meta["lungs_note"] and told[-1][0] == 1.0
    moved = segment_lungs(reordered(hu, (2, 0, 1), (0, 2)), [threshold_file])
    np.testing.assert_array_equal(moved.array, reordered(found, (2, 0, 1), (0, 2)).array)


def test_lobes_become_lungs(tmp_path, monkeypatch):
    torch.save(state_of(6), tmp_path / "lobes.pth")
    hu, lungs, _ = chest(Grid((5, 53, 75)))
    lobe = np.arange(lungs_lungmask.SIDE) * 6 // lungs_lungmask.SIDE
    logits = np.broadcast_to(np.eye(6)[lobe].T[None, :, None], (1, 6, 256, 256))
    monkeypatch.setattr(
        "xrecon.pneumothorax.lungs_network.classify", lambda n, s, d: np.repeat(logits, len(s), axis=0)
    )
    found = segment_lungs(hu, [tmp_path / "lobes.pth"]).array
    assert np.unique(found[2, 26][found[2, 26] > 0]).tolist() == [1, 2]
    # the classes of the left lobes come first
    assert np.flatnonzero(found[2, 26] == 2).max() < np.flatnonzero(found[2, 26] == 1).min()


def test_networks_are_united_with_thresholds_and_the_result_tells(threshold_file):
    hu, lungs, _ = chest(pockets="r")
    result = segment(hu, lung_models=(threshold_file, "classical"), device="cpu")
    assert result.lung_source == "mine.pth + classical"
    told = "\n".join(result.warnings)
    assert "SHA256" in told and "fallback" in told
    for label in (1, 2):
        assert dice(result.labels.array % 2 == label % 2, lungs.array % 2 == label % 2) > 0.9
