"""Runs a reconstruction network on radiographs that lie on its detector: pictures in, network units out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xrecon.volume import InputError, Radiograph

if TYPE_CHECKING:
    from xrecon.nets.device import Device

ProgressCallback = Callable[[str, float, str], None]


def run_network(
    model: str | Path,
    inputs: Sequence[Radiograph],
    isocenter: np.ndarray,
    device: str,
    say: ProgressCallback,
) -> tuple[np.ndarray, Device]:
    """The network's output (channel, z, y, x), the first in [0, 1] units, and the device used.

    The last channel holds the class of each voxel, for a model that also segments.
    """
    outputs, used = run_variants(model, [inputs], isocenter, device, say)
    return outputs[0], used


def run_variants(
    model: str | Path,
    variants: Sequence[Sequence[Radiograph]],
    isocenter: np.ndarray,
    device: str,
    say: ProgressCallback,
) -> tuple[list[np.ndarray], Device]:
    """The outputs of `run_network` for several sets of radiographs; the weights are read once.

    Raises InputError when an output holds NaN.
    """
    import torch

    from xrecon.nets.device import run_on_device, save_memory
    from xrecon.nets.outputs import segments, volume_and_classes
    from xrecon.nets.registry import load_model
    from xrecon.preprocess.radiograph import normalize

    def tensor(arrays: Sequence[np.ndarray], place: str) -> torch.Tensor:
        return torch.as_tensor(np.stack(arrays)[None], dtype=torch.float32, device=place)

    def compute(place: str, low_memory: bool = False) -> list[np.ndarray]:
        say("load", 0.5, f"weights onto {place}")
        network, _ = load_model(model, place)
        if low_memory:
            save_memory(network)
        call = partial(volume_and_classes, network) if segments(network) else network
        outputs = []
        for number, inputs in enumerate(variants):
            say("reconstruct", number / len(variants), f"on {place}")
            pictures = [normalize(r.array) for r in inputs]
            matrices = [r.geometry.moved(np.eye(3), -isocenter).matrix for r in inputs]
            with torch.inference_mode():
                output = call(tensor(pictures, place), tensor(matrices, place))
            outputs.append(output[0].float().cpu().numpy())
        say("reconstruct", 1.0, "done")
        return outputs

    outputs, used = run_on_device(compute, device, partial(compute, low_memory=True))
    if not all(np.all(np.isfinite(unit)) for unit in outputs):
        raise InputError(f"the model {model} gave NaN for these radiographs; its weights cannot be used")
    return outputs, used
