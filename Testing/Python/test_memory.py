"""How much memory a run takes, and what there is: exact where it can be, plausible where it cannot."""

from __future__ import annotations

import tiny_models
import torch
from torch import nn
from xrecon.nets import memory
from xrecon.nets.registry import register_model

SIDE = 12
FLOATS = 4 * SIDE**3


@register_model("test-two-steps")
class TwoSteps(nn.Module):
    """Two volumes are alive at once, never three."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(7))

    def forward(self, pictures: torch.Tensor, matrices: torch.Tensor) -> torch.Tensor:
        volume = torch.zeros(1, 1, SIDE, SIDE, SIDE, device=pictures.device)
        for _ in range(5):
            volume = volume + 1.0
        return volume


def test_the_peak_is_counted_to_the_byte() -> None:
    card = tiny_models.card("test-two-steps", {})
    inputs = 4 * (2 * tiny_models.DETECTOR**2 + 2 * 12)
    assert memory.peak_bytes(card) == 4 * 7 + inputs + 2 * FLOATS


def test_needs_grow_with_the_grid() -> None:
    cards = [tiny_models.card("lifting", {"side": side, "field_mm": 300.0}) for side in (16, 32)]
    small, large = (memory.peak_bytes(card) for card in cards)
    assert 2 < large / small < 8
    assert memory.needed_bytes(cards[0], "cuda:0") > memory.needed_bytes(cards[0], "cpu") > small


def test_the_cpu_is_always_a_place() -> None:
    cpu = memory.places()[0]
    assert cpu.name == "cpu" and cpu.fault == ""
    assert cpu.total_bytes > 2**28
    assert cpu.free_bytes is None or 0 < cpu.free_bytes < cpu.total_bytes


def test_a_gpu_that_fails_its_test_is_listed_with_the_reason(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _index: "Some GPU")
    monkeypatch.setattr(memory, "cuda_fault", lambda _name: "no kernel image")
    gpu = memory.places()[1]
    assert (gpu.name, gpu.title, gpu.fault, gpu.free_bytes) == ("cuda:0", "Some GPU", "no kernel image", None)
