"""What a training step of X-Recon keeps for its gradients, from the shapes alone: nothing is computed.

    python Testing/Benchmarks/training_memory.py

torch's fake tensors pass the generator and the discriminator as in `training.reconstruction`; every
storage that autograd saves is counted once, parameters apart. To this come the weights, their gradients
and Adam's two moments (4 x the weights), the moving average when it is on, what checkpointing computes
again for one stage at a time, and the work space of the convolutions. The projection loss keeps no more
than the difference of the volumes. Prints a table in Markdown.
"""

from __future__ import annotations

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from xrecon.nets.registry import create_model

GIB = 2**30


class Saved:
    """The storages that autograd saves in a `with` block."""

    def __init__(self, *modules: nn.Module) -> None:
        self._own = {p.untyped_storage()._cdata for module in modules for p in module.parameters()}
        self._held: dict[int, torch.UntypedStorage] = {}
        self.hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, lambda tensor: tensor)

    def _pack(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._own:
            self._held[storage._cdata] = storage
        return tensor

    @property
    def gib(self) -> float:
        """GiB of all of them."""
        return sum(storage.nbytes() for storage in self._held.values()) / GIB


def measure(side: int, half: bool, checkpointing: bool) -> tuple[float, float, float]:
    """GiB of the weights, saved by the generator's step, and saved by the discriminator's step."""
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=half)
    with FakeTensorMode(allow_non_fake_inputs=True):
        network, critic = create_model("x-recon", side=side), create_model("x-recon-discriminator")
        network.generator.checkpointing = checkpointing
        weights = sum(p.numel() for m in (network, critic) for p in m.parameters()) * 4 / GIB
        pictures, target = torch.rand(1, 2, side, side), torch.rand(1, 1, side, side, side)
        generator_step, critic_step = Saved(network, critic), Saved(network, critic)
        with generator_step.hooks, autocast:
            prediction = network(pictures).float()
            critic(prediction.flip(2), pictures)
        with critic_step.hooks, autocast:
            critic(torch.cat([target, prediction.detach()]), pictures.repeat(2, 1, 1, 1))
    return weights, generator_step.gib, critic_step.gib


def main() -> None:
    """Prints the table."""
    print("| side | precision | checkpointing | weights | generator's step | discriminator's step |")
    print("|---|---|---|---|---|---|")
    for side in (128, 224):
        for half in (False, True):
            for checkpointing in (False, True):
                numbers = " | ".join(f"{n:.2f} GiB" for n in measure(side, half, checkpointing))
                name, switch = "bfloat16" if half else "float32", "on" if checkpointing else "off"
                print(f"| {side} | {name} | {switch} | {numbers} |", flush=True)


if __name__ == "__main__":
    main()
