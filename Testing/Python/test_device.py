"""What happens when memory runs out half-way: a slower way, then the CPU, and it is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny_models
import torch
from xrecon.nets import device as devices
from xrecon.nets import xrecon_generator
from xrecon.nets.registry import create_model, save_model
from xrecon.nets.xrecon_finest import FinestScale
from xrecon.physics.drr import render_drrs
from xrecon.physics.geometry import ViewGeometry
from xrecon.pipelines import reconstruct
from xrecon.volume import Radiograph, Volume

CPU_FULL = "DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes."


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "choose_device", lambda _: devices.Device("cuda"))


def _fails(error: Exception, places: tuple[str, ...], calls: list[str], name: str):
    def compute(place: str) -> str:
        calls.append(f"{name} on {place}")
        if place in places:
            raise error
        return f"{name} on {place}"

    return compute


GPU_FULL = torch.cuda.OutOfMemoryError("CUDA out of memory")


@pytest.mark.parametrize(
    ("fast_fails", "slow_fails", "expected", "notes"),
    [
        ((), (), "fast on cuda", []),
        (("cuda",), (), "slow on cuda", ["the GPU's memory did not suffice at once"]),
        (("cuda",), ("cuda",), "fast on cpu", ["the GPU's memory did not suffice; computed on the CPU"]),
        (
            ("cuda", "cpu"),
            ("cuda",),
            "slow on cpu",
            ["the GPU's memory did not suffice; computed on the CPU", "the computer's memory did not"],
        ),
    ],
)
def test_ways_are_tried_in_order_and_told(gpu, fast_fails, slow_fails, expected, notes):
    calls: list[str] = []
    fast, slow = _fails(GPU_FULL, fast_fails, calls, "fast"), _fails(GPU_FULL, slow_fails, calls, "slow")
    result, used = devices.run_on_device(fast, low_memory=slow)
    assert result == expected == calls[-1] and used.name == expected.split()[-1]
    assert len(used.notes) == len(notes) and all(n in u for n, u in zip(notes, used.notes, strict=True))


def test_when_nothing_suffices_the_first_reason_is_given():
    calls: list[str] = []
    fast = _fails(RuntimeError(CPU_FULL), ("cpu",), calls, "fast")
    slow = _fails(MemoryError("no such way"), ("cpu",), calls, "slow")
    with pytest.raises(MemoryError, match="you tried to allocate"):
        devices.run_on_device(fast, "cpu", slow)
    assert calls == ["fast on cpu", "slow on cpu"]


def test_other_errors_are_not_taken_for_want_of_memory(gpu):
    calls: list[str] = []
    with pytest.raises(RuntimeError, match="shapes"):
        devices.run_on_device(_fails(RuntimeError("shapes differ"), ("cuda",), calls, "fast"))
    assert calls == ["fast on cuda"]


def test_what_was_computed_is_freed_before_the_next_try():
    held: list[int] = []

    class Large:
        def __init__(self) -> None:
            held.append(1)

        def __del__(self) -> None:
            held.pop()

    def fast(place: str) -> None:
        large = Large()
        raise RuntimeError(f"{CPU_FULL} {large}")

    assert devices.run_on_device(fast, "cpu", lambda _: len(held))[0] == 0


def test_a_network_without_a_second_way():
    with pytest.raises(MemoryError, match="Linear has no way"):
        devices.save_memory(torch.nn.Linear(1, 1))


@pytest.fixture
def pair() -> list[Radiograph]:
    side, spacing = 16, 22.4
    hu = np.full((side,) * 3, -1000.0, dtype=np.float32)
    hu[3:13, 4:11, 2:12] = 0.0
    origin = (-(side - 1) / 2 * spacing,) * 3
    views = [ViewGeometry.preset(view, shape=(60, 56)) for view in tiny_models.VIEWS]
    return render_drrs(Volume(hu, (spacing,) * 3, origin), views)


def test_reconstruct_holds_no_full_volume_when_memory_is_short(
    pair: list[Radiograph], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    options = {"side": 32, "base_channels": 4}
    torch.manual_seed(0)
    folder = tmp_path / "m"
    save_model(folder, create_model("x-recon", **options), tiny_models.card("x-recon", options, 32, 11.2))
    expected = reconstruct(pair, folder, device="cpu")

    class Full(FinestScale):
        def __init__(self, side: int, keep: bool = True) -> None:
            if keep:
                raise RuntimeError(CPU_FULL)
            super().__init__(side, keep)

    monkeypatch.setattr(xrecon_generator, "FinestScale", Full)
    result = reconstruct(pair, folder, device="cpu")
    assert any("computer's memory did not suffice at once" in w for w in result.warnings)
    assert abs(result.volume.array - expected.volume.array).max() < 0.1  # HU
