"""What an architecture costs: parameters, floating-point operations, memory, counted without computing.

The network is made on torch's meta device (or of fake tensors), which knows shapes but holds no numbers,
and called once on pictures (or whatever it takes) of one sample.
"""

from __future__ import annotations

import weakref
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from xrecon.nets.registry import create_model

SIDE = 64  # of the cube, or of slices and volumes, unless the options say otherwise
# What a network takes, where it is no reconstructor (attribute `kind` of its class).
RECONSTRUCTOR, SLICES, PICTURES, VOLUMES, CRITIC = "reconstructor", "slices", "pictures", "volumes", "critic"


@dataclass(frozen=True)
class Cost:
    """parameters: numbers that are learnt. flops: of one call, 2 per multiply-add, of convolutions and
    matrix products alone (no sampling, no Fourier transform). activations_mb, training_mb: most bytes
    that tensors hold at one time in one call without and with gradients, float32, counted; what
    convolutions need as workspace, and the optimiser, come on top. None: it cannot be counted."""

    input: str
    parameters: int
    flops: int | None
    activations_mb: float | None
    training_mb: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON."""
        return asdict(self)


def example_inputs(network: nn.Module, device: str = "meta", side: int = SIDE) -> tuple[torch.Tensor, ...]:
    """One sample of what a network takes: random pictures and matrices, slices, or a volume.

    side: used where the network has none of its own.
    """
    side, kind = getattr(network, "side", side), getattr(network, "kind", RECONSTRUCTOR)
    if kind in (SLICES, PICTURES):
        return (torch.rand(1, 1, side, side, device=device),)
    volume = torch.rand(1, 1, side, side, side, device=device) if kind != RECONSTRUCTOR else None
    if kind == VOLUMES:
        return (volume,)
    views = picture_count(network)
    pictures = torch.rand(1, views, side, side, device=device)
    if kind == CRITIC:
        return volume, pictures
    return pictures, torch.rand(1, views, 3, 4, device=device)


def picture_count(network: nn.Module) -> int:
    """How many radiographs a network takes; 2 where it takes any number."""
    kinds = getattr(network, "kinds", None) or getattr(network, "view_sets", None)
    if kinds:
        return len(kinds) if isinstance(kinds[0], str) else len(kinds[-1])
    return getattr(network, "views", 2)


def count_cost(name: str, with_training: bool = True, **options: Any) -> Cost:
    """The cost of an architecture with these options, its defaults where none are given.

    with_training: count the memory of a training step too, which takes longest.

    Raises InputError for a name or options that do not exist.
    """
    for place in (torch.device("meta"), FakeTensorMode()):
        with place:
            network = create_model(name, **options)
            inputs = example_inputs(network, "meta" if isinstance(place, torch.device) else "cpu")
        parameters = sum(p.numel() for p in network.parameters())
        try:
            with nullcontext() if isinstance(place, torch.device) else place:
                flops, activations = _count(network.eval(), inputs, gradients=False)
                training = _count(network.train(), inputs, gradients=True)[1] if with_training else None
            return Cost(_described(network, inputs), parameters, flops, activations, training)
        except (RuntimeError, NotImplementedError):
            continue  # fake tensors are slower, but also know mixed precision
    return Cost(_described(network, inputs), parameters, None, None, None)


def count_call(network: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[int, int]:
    """FLOP of one call without gradients, and the most bytes that its tensors take, of a network and inputs
    that are fake tensors or on the meta device."""
    flops, megabytes = _count(network.eval(), inputs, gradients=False)
    return flops, round(megabytes * 1e6)


def _described(network: nn.Module, inputs: tuple[torch.Tensor, ...]) -> str:
    sizes = "x".join(map(str, inputs[0].shape[2:]))
    kind = getattr(network, "kind", RECONSTRUCTOR)
    if kind in (RECONSTRUCTOR, PICTURES):
        return f"{inputs[0].shape[1]} pictures of {sizes}"
    return f"a slice of {sizes}" if kind == SLICES else f"a volume of {sizes}"


def _count(network: nn.Module, inputs: tuple[torch.Tensor, ...], gradients: bool) -> tuple[int, float]:
    """FLOP of a call and MB that its tensors take at most, parameters and inputs included."""
    from torch.utils.flop_counter import FlopCounterMode

    memory = _LiveBytes([*network.parameters(), *network.buffers(), *inputs])
    with torch.set_grad_enabled(gradients), FlopCounterMode(display=False) as counter, memory:
        output = network(*inputs)
        if gradients:
            output.sum().backward()
    network.zero_grad(set_to_none=True)
    return counter.get_total_flops(), memory.peak / 1e6


class _LiveBytes(TorchDispatchMode):
    """Adds up the storages that live tensors hold; `peak` is the most at one time."""

    def __init__(self, present: list[torch.Tensor]) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._known: set[int] = set()
        for tensor in present:
            self._note(tensor)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        tree_map_only(torch.Tensor, self._note, result)
        return result

    def _note(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self._known:
            self._known.add(key)
            self.live += size
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self._forget, key, size)
        return tensor

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live -= size
